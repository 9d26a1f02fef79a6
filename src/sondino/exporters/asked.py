"""What can be asked of an export, checked without torch."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from sondino.errors import OptionError

To = Literal["onnx", "openvino", "executorch", "litert", "web"]
Precision = Literal["f32", "f16", "int8"]
MAX_WINDOW_SECONDS = 60.0
"""Seconds of a fixed window."""


@dataclass(frozen=True)
class Asked:
    """What is asked of an export, as in `sondino.export`.

    Raises:
        OptionError: values that there are not, or that do not go together.
    """

    to: To
    precision: Precision = "f32"
    window: float | None = None
    dynamic: bool = False
    body_only: bool = False
    calibrate: Path | None = None
    gallery: Path | None = None

    def __post_init__(self) -> None:
        for name, choices in (("to", get_args(To)), ("precision", get_args(Precision))):
            if getattr(self, name) not in choices:
                raise OptionError(f"{name} is {getattr(self, name)!r}: give one of {', '.join(choices)}")
        if self.window is not None and not 0 < self.window <= MAX_WINDOW_SECONDS:
            raise OptionError(f"window is {self.window:g} s: give seconds above 0, {MAX_WINDOW_SECONDS:g} at most")
        if self.window is not None and self.dynamic:
            raise OptionError("window fixes the length and dynamic leaves it open: give one of them")
        if self.precision == "int8" and self.calibrate is None:
            raise OptionError(
                "precision int8 needs calibrate: name a folder of real audio, like that it will be used on"
            )
        if self.precision != "int8" and self.calibrate is not None:
            raise OptionError(f"calibrate is for precision int8, and precision is {self.precision}: leave it out")
        if self.to == "web" and (self.window is not None or self.dynamic or self.body_only):
            raise OptionError(
                "to web takes no window, dynamic or body-only: the page cuts audio into windows as the bundle does"
            )
        if self.to != "web" and self.gallery is not None:
            raise OptionError(f"gallery is for web, and to is {self.to}: leave it out")
