"""A trained student as a file that other runtimes read."""

from sondino.errors import require


def require_export() -> None:
    """MissingExtra, with the pip line, where something is not installed that exporting needs."""
    for module in ("torch", "onnx", "onnxscript"):
        require(module, "train")
