"""Read a list: the rows of it that name a sound, their values checked."""

import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import sondino.raven as raven
from sondino.errors import Note, OptionError
from sondino.lists.cells import ListToRead
from sondino.lists.csv_reader import read_csv
from sondino.lists.parquet_reader import read_parquet
from sondino.lists.values import check_splits, durations_of, row_name, seconds_of
from sondino.text import escape

MOST_NAMED = 8
"""Columns that are not read and are named."""


@dataclass(frozen=True)
class SoundList:
    """The rows of a list.

    Attributes:
        file: the list.
        lines: the number of each row's line in a CSV, of each row in Parquet, from 1.
        text: column -> cells, "" where empty.
        seconds: column -> cells, None where empty: start and duration, `end` being made one.
        skipped: (row, reason) of rows without a path.
        unread: columns about something else, which hold anything.
    """

    file: Path
    lines: list[int]
    text: dict[str, list[str]]
    seconds: dict[str, list[float | None]]
    skipped: list[tuple[str, str]] = field(default_factory=list)
    unread: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.lines)

    def place(self, row: int) -> str:
        """A row in messages, such as "line 3"."""
        return row_name(self.file, self.lines[row])

    def notes(self) -> tuple[str, ...]:
        """A message with the columns that are not read; none where all are."""
        if not self.unread:
            return ()
        more = f" and {len(self.unread) - MOST_NAMED} more" if len(self.unread) > MOST_NAMED else ""
        named = ", ".join(map(escape, self.unread[:MOST_NAMED]))
        return (f"{self.file.name} has columns that are not read: {named}{more}",)

    def warn(self) -> None:
        """Give the notes as warnings, where no result has notes of its own."""
        for note in self.notes():
            warnings.warn(note, Note, stacklevel=3)


def read_list(file: Path, unused: Mapping[str, str], labelled: bool = False) -> SoundList:
    """Read a list, and refuse every column and value that would not be used as it is meant.

    Args:
        file: .parquet, or CSV in UTF-8, with a column path.
        unused: columns that the caller does not use -> why, and what to do; refused where they hold anything.
        labelled: whether a column label or labels is needed.

    Raises:
        OptionError: it cannot be read, or a column or value is refused: the message names it.
        MissingExtra: Parquet without pyarrow.
    """
    if file.exists() and not file.is_file():  # opening a named pipe may wait for ever
        raise OptionError(f"{file} is not a file: give a CSV or Parquet list")
    form = ListToRead(file, unused, labelled)
    table = read_parquet(form) if file.suffix.lower() == ".parquet" else read_csv(form)
    lines, text = table.lines, table.text
    if not lines:
        names = ", ".join(filter(None, table.written.values()))
        raise OptionError(f"{file} has no rows below the names of its columns ({names}): write a row for each sound")
    if "split" in text:
        check_splits(file, lines, text["split"])
    seconds = {
        name: seconds_of(file, table.written.get(name, name), lines, cells) for name, cells in table.seconds.items()
    }
    if "end" in seconds:
        seconds["duration"] = durations_of(file, table, seconds)
        del seconds["end"]
    if raven.OFFSET in seconds:  # after the durations, since an end counts from where its start does
        for row, begin_and_offset in enumerate(zip(seconds["start"], seconds[raven.OFFSET], strict=True)):
            if None in begin_and_offset:
                raise OptionError(
                    f"{file}, {row_name(file, lines[row])}: {raven.BEGIN} or {raven.OFFSET} is empty: fill it in, "
                    f"or leave the column {raven.OFFSET} out where the table is of one recording"
                )
        seconds["start"] = seconds.pop(raven.OFFSET)
    lacking = [row for row, path in enumerate(text["path"]) if not path]
    again = raven.repeated([*text.values(), *seconds.values()]) if raven.VIEW in table.written else set()
    if not lacking and not again:
        return SoundList(file, lines, text, seconds, unread=table.unread)
    skipped = [(f"{row_name(file, lines[row])} of {file.name}", "has no path") for row in lacking]
    there = [row for row, path in enumerate(text["path"]) if path and row not in again]
    return SoundList(
        file,
        [lines[row] for row in there],
        {name: [cells[row] for row in there] for name, cells in text.items()},
        {name: [values[row] for row in there] for name, values in seconds.items()},
        skipped,
        table.unread,
    )
