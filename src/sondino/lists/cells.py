"""What the readers of CSV and of Parquet are given, and what they give: the cells of the columns that are read."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import sondino.raven as raven

TEXT = ("path", "id", "label", "labels", "fold", "split", "source")
SECONDS = ("start", "end", "duration")
COLUMNS = (*TEXT, *SECONDS)
UNNAMED = (*raven.UNNAMED, "licence", "author")
"""Columns that decide nothing: no note names them as not read. A gallery shows licence and author."""


@dataclass(frozen=True)
class ListToRead:
    """A list to read, and what its reader needs and does not use."""

    file: Path
    unused: Mapping[str, str]
    labelled: bool


@dataclass
class Cells:
    """A list as it stands in its file: text of every column, numbers of Parquet as they are."""

    lines: list[int]
    text: dict[str, list[str]]
    seconds: Mapping[str, Sequence[str | float | None]]
    unread: tuple[str, ...] = ()
    written: Mapping[str, str] = field(default_factory=dict)  # names of ours -> as they stand in the file
