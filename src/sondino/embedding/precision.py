"""Which precision and engine `auto` stands for: float32, or bfloat16 where it is faster for what is embedded."""

from collections.abc import Sequence

from sondino.audio.reading import info
from sondino.embedding.inputs import Input
from sondino.errors import SondinoError
from sondino.model.model import Model
from sondino.model.sessions import Engine, Precision, why_not

WORTH_ITS_START = (2e11, 2e12)
"""Multiply-adds from which on bfloat16 is faster, on one thread and on more.

OpenVINO's start and the comparison with float32 take about a second. One thread saves 9 ms for 10^9 multiply-adds, two
save 3 ms or nothing, since ONNX Runtime's share the work better (benchmarks/LOG.md).
"""


def choose_precision(model: Model, files: Sequence[Input]) -> tuple[Engine, Precision, str]:
    """The engine and precision that embed files soonest, and why.

    Args:
        model: in float32.
        files: as `list_inputs` lists them.
    """
    macs = model.costs().macs
    reason = why_not("bfloat16")
    if reason is None and model.config.get("precision") == "int8":
        reason = "the model computes in int8"
    if reason is None and (macs is None or not _are_worth(files, macs, model.threads)):
        reason = "what is to be embedded takes less time than OpenVINO to start"
    if reason is not None:
        return "onnxruntime", "float32", f"float32 by ONNX Runtime, since {reason}"
    return "openvino", "bfloat16", "bfloat16 by OpenVINO, which this processor computes in"


def _are_worth(files: Sequence[Input], macs: int, threads: int) -> bool:
    """Whether a model of so many multiply-adds for 10 s has so much to do on these files."""
    left = WORTH_ITS_START[threads > 1]
    for file in files:
        try:
            left -= info(file.sound).duration / 10 * macs  # type: ignore[arg-type]
        except SondinoError:
            continue  # it will be listed as skipped
        if left <= 0:
            return True
    return False
