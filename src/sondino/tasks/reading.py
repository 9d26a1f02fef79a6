"""What the readers of data sets share: their lists, which of the listed files are there, and a count of them."""

from __future__ import annotations

import csv
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from operator import itemgetter
from pathlib import Path

from sondino.audio.walk import why_unusable
from sondino.errors import OptionError
from sondino.tasks.labelled import Clip, Labelled, SplitKind, published
from sondino.tasks.task import Task

OTHER_SUFFIXES = (".wav", ".flac", ".ogg", ".mp3", ".au")
"""What people convert clips to: a clip is taken under its own name with any of them."""


class Files:
    """Which files lie below a folder. Each subfolder is listed once, as data sets have up to 300,000 files."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._names: dict[str, set[str]] = {}

    def find(self, name: str) -> str | None:
        """The path of a file by its name below the folder, or of the same clip in another format; None if neither."""
        inside, _, base = name.rpartition("/")
        there = self._list(inside)
        if base not in there:
            stem = base.rpartition(".")[0]
            base = next((stem + suffix for suffix in OTHER_SUFFIXES if stem + suffix in there), "")
            if not base:
                return None
        return os.path.join(self.folder, inside, base)  # noqa: PTH118 - pathlib takes seconds for so many

    def _list(self, inside: str) -> set[str]:
        if inside not in self._names:
            try:
                with os.scandir(self.folder / inside) as entries:
                    self._names[inside] = {entry.name for entry in entries}
            except OSError:
                self._names[inside] = set()
        return self._names[inside]


def collect(task: Task, folder: Path, rows: Iterable[Clip], split_kind: SplitKind, look: bool = False) -> Labelled:
    """The clips of a data set's list that are there; the others are in `skipped`, and a note counts them.

    Args:
        task: the data set.
        folder: where it lies.
        rows: clips as listed, `path` being a name below the folder.
        split_kind: what `Clip.fold` means.
        look: whether to look for files without content, which takes a while where there are many.

    Raises:
        OptionError: nothing is there, or nothing to train on, or nothing to score on.
    """
    files = Files(folder)
    clips: list[Clip] = []
    missing: list[tuple[str, str]] = []
    for row in rows:
        path = files.find(row.path)
        reason = why_unusable(path) if path is not None and look else ""
        if path is None:
            missing.append((str(folder / row.path), f"is listed by {task.title} and not there"))
        elif reason:
            missing.append((path, reason))
        elif look and not os.stat(path).st_size:  # noqa: PTH116 - of thousands
            missing.append((path, "is empty"))
        else:
            clips.append(replace(row, path=path))
    if not clips:
        such = f" (the first is {missing[0][0]})" if missing else ""
        raise OptionError(
            f"{folder} has the lists of {task.title} and none of its {len(missing)} clips{such}: "
            f"unpack its sound there, or give --data ROOT where it lies"
        )
    folds = {clip.fold for clip in clips}
    lacks = sorted({"train", "test"} - folds) if split_kind == "split" else []
    if lacks or len(folds) < 2:
        holds = f"nothing of the {' and '.join(lacks)} part" if lacks else f"fold {folds.pop()} alone"
        raise OptionError(f"{folder} holds {holds} of {task.title}: unpack all of it there")
    notes = [f"{len(clips)} of {task.clips} clips of {task.title} are there"] if len(clips) < task.clips else []
    return published(clips, split_kind, task.multi_label, task.title, missing, notes)


def read_columns(file: Path, columns: Sequence[str], delimiter: str = ",") -> Iterator[tuple[str, ...]]:
    """Two columns or more of a data set's list, row by row.

    Raises:
        OptionError: the file is missing or broken, or lacks a column.
    """
    header, rows = read_table(file, delimiter)
    lacking = [name for name in columns if name not in header]
    if lacking:
        raise OptionError(f"{file} lacks the column {lacking[0]}, so it is not the published list: fetch it again")
    pick = itemgetter(*(header.index(name) for name in columns))
    return (pick(row) for row in rows)


def read_table(file: Path, delimiter: str = ",") -> tuple[list[str], Iterator[list[str]]]:
    """The header of a data set's list, and its rows, each as long as the header.

    Raises:
        OptionError: the file is missing or broken.
    """
    rows = _rows(file, delimiter)
    header = next(rows, [])

    def checked() -> Iterator[list[str]]:
        for row in rows:
            if len(row) == len(header):
                yield row
            elif row:
                raise OptionError(f"{file} breaks off or is damaged ({delimiter.join(row)[:60]!r}): fetch it again")

    return header, checked()


def _rows(file: Path, delimiter: str) -> Iterator[list[str]]:
    try:
        with file.open(newline="", encoding="utf-8-sig") as lines:
            yield from csv.reader(lines, delimiter=delimiter, strict=True)
    except OSError as error:
        raise OptionError(f"{file} cannot be read ({error.strerror or error}): unpack the data set again") from error
    except (csv.Error, UnicodeDecodeError) as error:
        raise OptionError(f"{file} is damaged ({error}): unpack the data set again") from error


def first_there(folder: Path, *names: str) -> str:
    """The first of some names below a folder that exists; the first of all where none does."""
    return next((name for name in names if (folder / name).exists()), names[0])
