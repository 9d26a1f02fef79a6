"""Labels that lie beside recordings: Audacity's label tracks and Raven's selection tables."""

import csv
import math
import re
from dataclasses import dataclass
from pathlib import Path

import sondino.raven as raven
from sondino.errors import OptionError
from sondino.raven import BEGIN, DELTA, END, OFFSET, SELECTION

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


def track_of(recording: Path) -> tuple[Path | None, list[Path]]:
    """The text file beside a recording that holds its labels, and others that might but are not used.

    Of dawn.wav, the first there is of dawn.txt, dawn.Table.1.selections.txt, dawn.selections.txt and dawn.labels.txt,
    or the same behind dawn.wav: what a person exported comes before what `sondino classify` or BirdNET wrote
    (dawn.BirdNET.selection.table.txt).
    """
    endings = (".txt", ".Table.1.selections.txt", ".selections.txt", ".labels.txt", ".BirdNET.selection.table.txt")
    names = [recording.with_name(name + ending) for ending in endings for name in (recording.stem, recording.name)]
    found = [file for file in dict.fromkeys(names) if file.is_file() and _lines(file) is not None]
    return (found[0], found[1:]) if found else (None, [])


def read_track(file: Path, recording: Path) -> list[Mark]:
    """The labels in a label track or a selection table; those without a length have a duration of 0.

    Raises:
        OptionError: a line of it cannot be used; the message names it.
    """
    lines = _lines(file) or []
    if lines and BEGIN in lines[0].split("\t"):
        return _selections(file, lines, recording.name)
    return _labels(file, lines)


def _lines(file: Path) -> list[str] | None:
    """The lines of a track or a table, in any of the usual encodings; None where a text is neither."""
    try:
        content = file.read_bytes() if file.stat().st_size <= MOST_BYTES else b"\0"
    except OSError:
        return None
    for encoding in ("utf-16",) if content[:2] in (b"\xff\xfe", b"\xfe\xff") else ("utf-8-sig", "cp1252", "latin-1"):
        try:
            lines = content.decode(encoding).splitlines()
            break
        except UnicodeDecodeError:
            continue
    else:
        return None
    while lines and not lines[0].strip():
        del lines[0]
    if not lines:
        return []
    return lines if BEGIN in lines[0].split("\t") or _is_label(lines[0]) else None


def _is_label(line: str) -> bool:
    start, end = ([_number(cell) for cell in line.split("\t")] + [None, None])[:2]
    return start is not None and end is not None and 0 <= start <= end


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
        marks.append(_mark(_number(start) or 0.0, _number(end) or 0.0, title[0] if title else ""))
    return marks


def _selections(file: Path, lines: list[str], recording: str) -> list[Mark]:
    """A selection table of one recording: each selection once, though Raven writes a row for each of its views."""
    rows = list(csv.DictReader(lines, delimiter="\t", quoting=csv.QUOTE_NONE))
    names = list(rows[0]) if rows else []
    label = next((name for name in LABELS if name in names), None)
    if rows and label is None:
        raise OptionError(f"{file} has no column {' or '.join(LABELS[:2])}: name the column of the labels Annotation")
    marks: dict[tuple[str, Mark], None] = {}
    for number, row in enumerate(rows, start=2):
        of = re.split(r"[/\\]", row.get("Begin Path") or row.get("Begin File") or recording)[-1]
        if of != recording:
            raise OptionError(
                f"{file}, line {number} is a selection of {of}, and the table lies beside {recording}: save a table "
                "for each recording, or give it as a list (--labels)"
            )
        begin, end, delta, offset = (_number(row.get(name)) for name in (BEGIN, END, DELTA, OFFSET))
        try:
            duration = None if begin is None else raven.length(begin, end, delta)
        except ValueError as error:
            raise OptionError(f"{file}, line {number}: {error}") from error
        if begin is None or duration is None or duration < 0:
            raise OptionError(
                f"{file}, line {number}: {BEGIN} and {END} (or {DELTA}) must be seconds, the end behind the beginning"
            )
        if (OFFSET in row and offset is None) or (offset or 0) < 0:
            raise OptionError(
                f"{file}, line {number}: {OFFSET} must be seconds, 0 or more: fill it in, or leave the column out"
            )
        start = begin if offset is None else offset
        marks[row.get(SELECTION) or str(number), _mark(start, start + duration, row.get(label or "") or "")] = None
    return [mark for _, mark in marks]


def _mark(start: float, end: float, label: str) -> Mark:
    return Mark(start, round(end - start, 9) if end - start >= FEWEST_SECONDS else 0.0, label.strip())


def _number(text: str | None) -> float | None:
    try:
        value = float((text or "").replace(",", "."))  # a decimal comma, as some settings write it
    except ValueError:
        return None
    return value if math.isfinite(value) else None
