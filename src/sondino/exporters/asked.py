"""What can be asked of an export, checked without torch."""

from pathlib import Path
from typing import Literal, get_args

from sondino.errors import OptionError

To = Literal["onnx", "openvino", "executorch", "litert", "web"]
Precision = Literal["f32", "f16", "int8"]
MAX_WINDOW_SECONDS = 60.0
"""Seconds of a fixed window."""


def check_options(
    to: str,
    precision: str,
    window: float | None,
    dynamic: bool,
    body_only: bool,
    calibrate: Path | None,
    gallery: Path | None,
) -> None:
    """Raise OptionError for values that there are not, or that do not go together."""
    for name, value, choices in (("to", to, get_args(To)), ("precision", precision, get_args(Precision))):
        if value not in choices:
            raise OptionError(f"{name} is {value!r}: give one of {', '.join(choices)}")
    if window is not None and not 0 < window <= MAX_WINDOW_SECONDS:
        raise OptionError(f"window is {window:g} s: give seconds above 0, {MAX_WINDOW_SECONDS:g} at most")
    if window is not None and dynamic:
        raise OptionError("window fixes the length and dynamic leaves it open: give one of them")
    if precision == "int8" and calibrate is None:
        raise OptionError("precision int8 needs calibrate: name a folder of real audio, like that it will be used on")
    if precision != "int8" and calibrate is not None:
        raise OptionError(f"calibrate is for precision int8, and precision is {precision}: leave it out")
    if to == "web" and (window is not None or dynamic or body_only):
        raise OptionError(
            "to web takes no window, dynamic or body-only: the page cuts audio into windows as the bundle does"
        )
    if to != "web" and gallery is not None:
        raise OptionError(f"gallery is for web, and to is {to}: leave it out")
