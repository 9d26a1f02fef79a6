"""Stretches of files as paths: `dawn.wav#t=12.5,15` is what lies between 12.5 and 15 s (W3C Media Fragments)."""

import os
import re
from typing import NamedTuple

_MARK = "#t="
_FRAGMENT = re.compile(r"(.+)#t=(\d+(?:\.\d+)?)(?:,(\d+(?:\.\d+)?))?", re.DOTALL)


class Stretch(NamedTuple):
    """A file and what of it is meant: from `start`, `duration` seconds or, where that is None, to the end."""

    file: str
    start: float
    duration: float | None


def stretch_of(path: str) -> Stretch:
    """The file of a path, and the stretch that it names; all of a file whose own name looks like that of a stretch."""
    found = _FRAGMENT.fullmatch(path) if _MARK in path else None
    if found is None or os.path.lexists(path):
        return Stretch(path, 0.0, None)
    start, end = float(found[2]), None if found[3] is None else float(found[3])
    if end is not None and end <= start:
        return Stretch(path, 0.0, None)
    return Stretch(found[1], start, None if end is None else round(end - start, 9))


def why_no_stretch(path: str) -> str:
    """Why a path that looks like a stretch is none: its end is not after its start; "" otherwise."""
    found = _FRAGMENT.fullmatch(path) if _MARK in path else None
    if found is None or found[3] is None or float(found[3]) > float(found[2]) or os.path.lexists(path):
        return ""
    return f"the end of the stretch, {found[3]} s, must be after its start, {found[2]} s"


def path_of(file: str, start: float = 0.0, duration: float | None = None) -> str:
    """The path of a stretch of a file, to the microsecond; of all of it the file's own."""
    if start == 0 and duration is None:
        return file
    end = "" if duration is None else f",{_seconds(start + duration)}"
    return f"{file}{_MARK}{_seconds(start)}{end}"


def _seconds(value: float) -> str:
    return f"{value:.6f}".rstrip("0").rstrip(".")
