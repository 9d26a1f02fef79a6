"""A trained student as a file that other runtimes read."""

from sondino.errors import require

for _module in ("torch", "onnx", "onnxscript", "onnxruntime"):
    require(_module, "train")
