"""Bundles: the ONNX model that embeds, its torch module, its head, and reading and writing their files."""
