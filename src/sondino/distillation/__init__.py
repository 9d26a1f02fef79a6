"""Distillation from output embeddings alone (S-SONDO, arXiv 2604.24933)."""

from sondino.errors import require

for _module in ("torch", "accelerate", "safetensors", "pyarrow", "sklearn", "yaml", "onnx", "onnxscript"):
    require(_module, "train")
