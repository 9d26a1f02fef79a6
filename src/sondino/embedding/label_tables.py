"""Tables of labels, of detections and of clips: their rows read again, and those of an older table that stay."""

import csv
import json
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from sondino.arrow import Kinds
from sondino.embedding.append import Stays
from sondino.embedding.table_readers import report_damage
from sondino.errors import OptionError, require
from sondino.schema import parse_json
from sondino.text import from_cell, unescape

Row = Sequence[Any]
"""The values of a row, None where there is none, in the order of the columns."""


def kept_csv(table: Path, columns: Sequence[str], stays: Stays) -> Iterator[list[str]]:
    """The rows of a CSV that stay, as they are written there.

    Raises:
        OptionError: it has other columns.
    """
    with report_damage(table, "classify"), table.open(encoding="utf-8-sig", newline="") as opened:
        rows = csv.reader(opened, strict=True)
        names = next(rows, [])
        if names != list(columns):
            raise other_columns(table, names, columns)
        start = names.index("start") if "start" in names else None
        for row in rows:
            if row and stays(from_cell(row[0]), math.nan if start is None else float(row[start])):
                yield row


def other_columns(table: Path, names: Sequence[str], columns: Sequence[str]) -> OptionError:
    """The error of a table with other columns than a call writes."""
    has, writes = ", ".join(names) or "none", ", ".join(columns)
    return OptionError(f"{table} has the columns {has}, and this call writes {writes}: name another output")


def kept_json(table: Path, stays: Stays) -> Iterator[str]:
    """The lines of a table of JSON lines that stay, as they are written there."""
    with report_damage(table, "classify"), table.open(encoding="utf-8") as lines:
        for line in lines:
            if line.strip():
                row = parse_json(line.encode())
                if stays(unescape(row["path"]), float(row.get("start", math.nan))):
                    yield line.rstrip("\n") + "\n"


def read_labels(table: Path, kinds: Kinds) -> Iterator[Row]:
    """The rows of a table that `detect_files` or `classify_files` wrote.

    Args:
        table: .csv, .jsonl or .parquet.
        kinds: its columns.

    Raises:
        OptionError: it is of another format, is not there, or has other columns.
        SondinoError: it is damaged.
        MissingExtra: .parquet without pyarrow.
    """
    readers = {".csv": _of_csv, ".jsonl": _of_json, ".parquet": _of_parquet}
    if table.suffix.lower() not in readers or table.is_dir():
        what = "a folder with a file of each recording" if table.is_dir() else "written for another program"
        raise OptionError(f"{table} is {what}: for a table, give an output that ends in {', '.join(readers)}, or none")
    if not table.exists():
        raise OptionError(f"{table} is no longer there: make it again with `sondino classify`")
    yield from readers[table.suffix.lower()](table, kinds)


def _of_csv(table: Path, kinds: Kinds) -> Iterator[Row]:
    for row in kept_csv(table, list(kinds), lambda path, start: True):
        yield [_value(from_cell(cell), kind) for cell, kind in zip(row, kinds.values(), strict=True)]


def _value(cell: str, kind: str) -> str | float | None:
    """A cell as its column's type: text, a number, or None for an empty one."""
    if not cell:
        return None
    return cell if kind == "string" else float(cell) if kind.startswith("float") else int(cell)


def _of_json(table: Path, kinds: Kinds) -> Iterator[Row]:
    with report_damage(table, "classify"):
        for line in kept_json(table, lambda path, start: True):
            found = json.loads(line)
            labels = found.pop("labels", [{}])  # a clip's line has all of its labels
            for rank, label in enumerate(labels, start=1):
                row = {"rank": rank, **found, **label}
                yield [unescape(value) if isinstance(value := row[name], str) else value for name in kinds]


def _of_parquet(table: Path, kinds: Kinds) -> Iterator[Row]:
    parquet = require("pyarrow.parquet", "tables")
    with report_damage(table, "classify"), parquet.ParquetFile(table) as opened:
        for batch in opened.iter_batches(columns=list(kinds)):
            for row in zip(*(batch.column(name).to_pylist() for name in kinds), strict=True):
                yield [unescape(value) if isinstance(value, str) else value for value in row]
