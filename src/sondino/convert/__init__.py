"""Published checkpoints as bundles: S-SONDO's students, the taggers of EfficientAT and PANNs, MATPAC and M2D."""

from sondino.errors import require

for _module in ("torch", "onnx", "onnxscript", "safetensors"):
    require(_module, "train")

from sondino.convert.conversion import check_free, convert, read_published, write_converted  # noqa: E402 - after the sentence
from sondino.convert.published import Kind, Published  # noqa: E402

__all__ = ["Kind", "Published", "check_free", "convert", "read_published", "write_converted"]
