"""Labels that lie beside recordings: Audacity's label tracks and Raven's selection tables."""

import csv
import math
from dataclasses import dataclass
from pathlib import Path

from sondino.errors import OptionError

BEGIN, END = "Begin Time (s)", "End Time (s)"
LABELS = ("Annotation", "Label", "Labels", "Species", "Common Name", "Call Type", "Type")
"""Columns of a selection table that may hold the label, the likeliest first."""
MOST_BYTES = 1 << 26
FEWEST_SECONDS = 1e-3


@dataclass(frozen=True)
class Mark:
    """A label of a stretch: start and duration in seconds."""

    start: float
    duration: float
    label: str


def tracks_of(recording: Path) -> list[Path]:
    """The text files beside a recording that may hold its labels, by their names.

    Of dawn.wav: dawn.txt, dawn.wav.txt, and dawn or dawn.wav with .labels.txt, .selections.txt or
    .Table.1.selections.txt, as Audacity, Raven and `sondino classify` name them.
    """
    names = (recording.name, recording.stem)
    endings = (".txt", ".labels.txt", ".selections.txt", ".Table.1.selections.txt")
    found = [recording.with_name(name + ending) for name in names for ending in endings]
    return [file for file in dict.fromkeys(found) if file.is_file()]


def read_track(file: Path) -> list[Mark] | None:
    """The labels in a label track or a selection table; None where a text file is neither.

    Raises:
        OptionError: a line of it cannot be used; the message names it.
    """
    try:
        if file.stat().st_size > MOST_BYTES:
            return None
        text = file.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError):
        return None
    lines = text.splitlines()
    if not lines:
        return []
    if BEGIN in lines[0].split("\t"):
        return _selections(file, lines)
    return _labels(file, lines) if _is_label(lines[0]) else None


def _is_label(line: str) -> bool:
    cells = line.split("\t")
    return len(cells) >= 2 and _number(cells[0]) is not None and _number(cells[1]) is not None


def _labels(file: Path, lines: list[str]) -> list[Mark]:
    """A label track: start, end and title between tabs; a backslash begins the frequencies of the line above."""
    marks = []
    for number, line in enumerate(lines, start=1):
        if not line.strip() or line.startswith("\\"):
            continue
        if not _is_label(line):
            raise OptionError(
                f"{file}, line {number}: {line[:60]!r} is no label: give start, end and label, with tabs between"
            )
        start, end, *title = line.split("\t")
        marks.append(_mark(file, number, float(start), float(end), title[0] if title else ""))
    return marks


def _selections(file: Path, lines: list[str]) -> list[Mark]:
    """A selection table: its rows of one view, since Raven writes a row for each view of a selection."""
    rows = list(csv.DictReader(lines, delimiter="\t"))
    names = list(rows[0]) if rows else []
    label = next((name for name in LABELS if name in names), None)
    if rows and label is None:
        raise OptionError(f"{file} has no column {' or '.join(LABELS[:2])}: name the column of the labels Annotation")
    marks: dict[str, Mark] = {}
    for number, row in enumerate(rows, start=2):
        begin, end = _number(row.get(BEGIN)), _number(row.get(END))
        if begin is None or end is None:
            raise OptionError(f"{file}, line {number}: {BEGIN} and {END} must be seconds")
        offset = _number(row.get("File Offset (s)"))
        start = begin if offset is None else offset  # times may count on over several files
        found = _mark(file, number, start, start + end - begin, row.get(label or "") or "")
        marks.setdefault(row.get("Selection") or str(number), found)
    return list(marks.values())


def _mark(file: Path, line: int, start: float, end: float, label: str) -> Mark:
    if start < 0 or end - start < FEWEST_SECONDS:
        raise OptionError(
            f"{file}, line {line}: a label from {start:g} to {end:g} s is no stretch of sound: give it a length"
        )
    return Mark(start, round(end - start, 9), label.strip())


def _number(text: str | None) -> float | None:
    try:
        value = float(text or "")
    except ValueError:
        return None
    return value if math.isfinite(value) else None
