"""Which precision and engine `auto` stands for: float32, or bfloat16 where it is faster for what is embedded."""

from collections.abc import Sequence

from sondino.audio.reading import info
from sondino.audio.windows import Windowing, seconds_in_windows
from sondino.embedding.inputs import Input
from sondino.encoder.pipeline import resolve_windowing
from sondino.errors import SondinoError
from sondino.model.model import Model
from sondino.model.sessions import Engine, Precision, why_not

WORTH_ITS_START = (2e11, 4e11)
"""Multiply-adds from which on bfloat16 is faster, on one thread and on more.

OpenVINO's start and the comparison with float32 take about a second. One thread saves 8 ms for 10^9 multiply-adds, two
4 ms (benchmarks/LOG.md).
"""

SAMPLED = 32  # files whose length is read: the others are taken to have as many seconds a byte


def choose_precision(
    model: Model, files: Sequence[Input], windowing: Windowing | None = None
) -> tuple[Engine, Precision, str]:
    """The engine and precision that embed files soonest, and why.

    Args:
        model: in float32.
        files: as `list_inputs` lists them, each channel that is embedded by itself.
        windowing: how they are cut; None: as the model cuts them.
    """
    reason = "the model computes in int8" if model.config.get("precision") == "int8" else None
    macs = model.costs().macs
    worth = WORTH_ITS_START[model.threads > 1]
    if reason is None and (
        macs is None or seconds_of(files, model.sample_rate, windowing or resolve_windowing(model)) / 10 * macs < worth
    ):
        reason = "what is to be embedded takes less time than OpenVINO to start"
    if reason is None:
        reason = why_not("bfloat16")  # last, since it imports OpenVINO
    if reason is not None:
        return "onnxruntime", "float32", f"float32 by ONNX Runtime, since {reason}"
    return "openvino", "bfloat16", "bfloat16 by OpenVINO, which this processor computes in"


def seconds_of(files: Sequence[Input], sample_rate: int, windowing: Windowing) -> float:
    """About how many seconds of windows are cut from files: windows that overlap count each by itself."""
    seconds = size = 0.0
    for file in files[:: -(-len(files) // SAMPLED) or 1]:
        try:
            duration = info(file.sound).duration  # type: ignore[arg-type]
        except SondinoError:
            continue  # it will be listed as skipped
        seconds += seconds_in_windows(duration, sample_rate, windowing)
        size += file.size
    return seconds / size * sum(file.size for file in files) if size else 0.0
