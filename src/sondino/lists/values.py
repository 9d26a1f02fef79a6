"""The values of a list: parts, seconds, and a duration from each start and end."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import sondino.raven as raven
from sondino.errors import OptionError
from sondino.lists.cells import SECONDS, Cells

SPLITS = {"": "train", "train": "train", "valid": "valid", "validation": "valid", "val": "valid", "test": "test"}
"""What a cell of `split` may hold, and which part it means."""
BETWEEN_LABELS = ";"
"""In a cell of `labels`."""


def row_name(file: Path, line: int) -> str:
    """A row in messages, such as "line 3"; of Parquet "row 3"."""
    return f"{'row' if file.suffix.lower() == '.parquet' else 'line'} {line}"


def check_splits(file: Path, lines: Sequence[int], cells: Sequence[str]) -> None:
    """Raises OptionError, with the row, where a cell of `split` is no part."""
    for line, value in zip(lines, cells, strict=True):
        if value not in SPLITS:
            raise OptionError(f"{file}, {row_name(file, line)}: split is {value!r}: give train, valid or test")


def seconds_of(file: Path, name: str, lines: Sequence[int], cells: Sequence[str | float | None]) -> list[float | None]:
    """The numbers of a column, None where a cell is empty; OptionError, with the row, where one is no number."""
    values = []
    for line, cell in zip(lines, cells, strict=True):
        try:
            values.append(number_of(cell))
        except (ValueError, OverflowError) as error:
            raise OptionError(
                f"{file}, {row_name(file, line)}, column {name}: {cell!r} is no number: give seconds, or leave it empty"
            ) from error
    return values


def number_of(cell: str | float | None) -> float | None:
    """A cell's number; NaN, which some tools write for nothing, is nothing."""
    if cell is None or (isinstance(cell, str) and not cell.strip()):
        return None
    value = float(cell)
    if math.isinf(value) or (isinstance(cell, str) and "_" in cell):
        raise ValueError(cell)
    return None if math.isnan(value) else value


def durations_of(file: Path, table: Cells, seconds: Mapping[str, Sequence[float | None]]) -> list[float | None]:
    """Each row's duration, from its end where it has one; OptionError where the two do not agree."""
    nothing: list[float | None] = [None] * len(table.lines)
    names = [table.written.get(name, name) for name in SECONDS]
    found = []
    rows = zip(table.lines, *(seconds.get(name, nothing) for name in SECONDS), strict=True)
    for line, start, end, duration in rows:
        try:
            found.append(raven.length(start or 0.0, end, duration, names))
        except ValueError as error:
            raise OptionError(f"{file}, {row_name(file, line)}: {error}") from error
    return found
