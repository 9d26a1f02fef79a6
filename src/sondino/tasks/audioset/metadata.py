"""AudioSet's metadata: segment lists, strong labels, and names of labels. 2 million rows take 65 MB of memory."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sondino.encoder.audioset import audioset_names
from sondino.errors import AudioError, OptionError
from sondino.lists import BETWEEN_LABELS
from sondino.tasks.audioset.ontology import Node, read_ontology

ID_LENGTH = 11
BLOCK = 1 << 20
"""Bytes of a segment list that are read at a time."""
_LINE = re.compile(
    r'^[ \t]*"?([A-Za-z0-9_-]{11})"?[ \t]*,[ \t]*(\d+(?:\.\d+)?)[ \t]*,[ \t]*(\d+(?:\.\d+)?)[ \t]*,[ \t]*'
    r'(?:"([^"\n]*)"|([^",\n]*))[ \t]*\r?$',
    re.MULTILINE,
)
_SET = re.compile(r"#.*\bset=(\w+)")
EVALUATION = ("eval", "evaluation", "test")
"""Sets whose clips are in the part test."""


@dataclass(frozen=True)
class Segments:
    """Rows of segment lists.

    Attributes:
        ids: (rows,) of the videos, 11 bytes each.
        start: (rows,) milliseconds.
        end: (rows,) milliseconds.
        first: (rows + 1,) where each row's labels begin in `numbers`.
        numbers: of the labels, row after row: places in `mids`.
        mids: ids of the labels, such as /m/09x0r.
        sets: names of the lists, such as balanced_train.
        set_of: (rows,) place of each row's list in `sets`.
    """

    ids: NDArray[np.bytes_]
    start: NDArray[np.int32]
    end: NDArray[np.int32]
    first: NDArray[np.int64]
    numbers: NDArray[np.int16]
    mids: tuple[str, ...]
    sets: tuple[str, ...]
    set_of: NDArray[np.int8]

    def __len__(self) -> int:
        return len(self.ids)

    def take(self, rows: NDArray[np.integer]) -> Segments:
        """Some rows, in the order given."""
        counts = np.diff(self.first)[rows]
        first = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
        places = np.arange(first[-1]) + np.repeat(self.first[:-1][rows] - first[:-1], counts)
        return replace(
            self,
            ids=self.ids[rows],
            start=self.start[rows],
            end=self.end[rows],
            first=first,
            numbers=self.numbers[places],
            set_of=self.set_of[rows],
        )

    def rows_of_labels(self) -> NDArray[np.int64]:
        """The row of each of `numbers`."""
        return np.repeat(np.arange(len(self)), np.diff(self.first))

    def counts(self, rows: NDArray[np.bool_] | None = None) -> NDArray[np.int64]:
        """How many rows have each label (labels,); of those that `rows` marks, or of all."""
        numbers = self.numbers if rows is None else self.numbers[rows[self.rows_of_labels()]]
        return np.bincount(numbers, minlength=len(self.mids))


@dataclass(frozen=True)
class Metadata:
    """What a folder of AudioSet's files holds.

    Attributes:
        segments: of all its lists.
        names: of the labels, by their ids; a label without one is called by its id.
        ontology: the nodes by their ids; empty where ontology.json is not there.
        strong: facts of the strong labels, by file.
    """

    segments: Segments
    names: Mapping[str, str]
    ontology: Mapping[str, Node] = field(default_factory=dict)
    strong: Mapping[str, Strong] = field(default_factory=dict)

    def label_names(self) -> list[str]:
        """The names of the segments' labels, in the order of their numbers."""
        return [self.names.get(mid, mid) for mid in self.segments.mids]

    def cells(self) -> Iterator[str]:
        """The labels of each row as a list's cell holds them, joined by `;`: some names have commas."""
        names, numbers = self.label_names(), self.segments.numbers.tolist()
        first = self.segments.first.tolist()
        for begin, stop in pairwise(first):
            yield BETWEEN_LABELS.join(names[number] for number in numbers[begin:stop])

    def split_of(self, row: int) -> str:
        """The part that a row is in: train or test."""
        return split_of_set(self.segments.sets[self.segments.set_of[row]])


@dataclass(frozen=True)
class Strong:
    """Strong labels: sounds with their times within a segment.

    Attributes:
        ids: of the videos (sounds,).
        begin: milliseconds at which the segment begins in the video (sounds,).
        start: seconds of each sound from there (sounds,).
        end: seconds (sounds,).
        mids: label of each sound (sounds,).
    """

    ids: tuple[str, ...]
    begin: NDArray[np.int64]
    start: NDArray[np.float64]
    end: NDArray[np.float64]
    mids: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.ids)


def split_of_set(name: str) -> str:
    """The part, train or test, that a set's clips are in."""
    return "test" if name in EVALUATION else "train"


def check_place(place: Path) -> None:
    """Raises OptionError for an address: a path keeps one `/` of it."""
    if re.match(r"[A-Za-z][A-Za-z0-9+.-]+:/", place.as_posix()):
        raise OptionError(
            f"{place.as_posix().replace(':/', '://', 1)}: AudioSet's lists, and folders that are searched for its "
            "clips, are on this machine; sound in a store gets labels by `sondino corpus ADDRESS --audioset METADATA`"
        )


def read_metadata(place: Path) -> Metadata:
    """Read AudioSet's files: segment lists and, where they are there, names, ontology and strong labels.

    Args:
        place: a folder that holds them, or one segment list, in whose folder the other files are looked for. Names that
            no file gives are those of AudioSet's 527 classes.

    Raises:
        AudioError: there is no such place, or no segment list in it.
        OptionError: a file is of another form; the message names it and the line. Or an address was given.
    """
    check_place(place)
    if not place.exists():
        raise AudioError(f"{place} does not exist: give the folder of AudioSet's CSV files, or one of them")
    folder = place if place.is_dir() else place.parent
    lists = sorted(folder.glob("*segments*.csv")) if place.is_dir() else [place]
    if not lists:
        raise AudioError(
            f"{place} holds no segment list: it needs eval_segments.csv, balanced_train_segments.csv or the like"
        )
    ontology_file = folder / "ontology.json"
    ontology = read_ontology(ontology_file) if ontology_file.exists() else {}
    names = audioset_names() | {node.id: node.name for node in ontology.values()}
    for file, mid, name in (("mid_to_display_name.tsv", 0, 1), ("class_labels_indices.csv", 1, 2)):
        if (folder / file).exists():
            names |= _read_names(folder / file, mid, name)
    strange = next((name for name in names.values() if BETWEEN_LABELS in name), None)
    if strange is not None:
        raise OptionError(
            f"the label {strange!r} has a {BETWEEN_LABELS} in its name, which joins labels in a list: rename it"
        )
    strong = {file.name: read_strong(file) for file in sorted(folder.glob("*strong*.tsv"))} if place.is_dir() else {}
    return Metadata(read_segments(lists), names, ontology, strong)


def _read_names(file: Path, mid: int, name: int) -> dict[str, str]:
    delimiter = "\t" if file.suffix == ".tsv" else ","
    with file.open(newline="", encoding="utf-8-sig") as lines:
        rows = [row for row in csv.reader(lines, delimiter=delimiter) if row]
    if any(len(row) <= name for row in rows):
        raise OptionError(f"{file} has lines with too few cells: get it again from AudioSet's page")
    return {row[mid]: row[name] for row in rows if row[mid] != "mid"}


def read_segments(files: Sequence[Path]) -> Segments:
    """Read segment lists: `#` lines, then id, start, end and quoted labels.

    Args:
        files: the lists; each one's set is named by its file, or by `set=NAME` in one of its `#` lines.

    Raises:
        OptionError: a line is of another form, or the file is no UTF-8.
    """
    place: dict[str, int] = {}
    sets: list[str] = []
    parts: list[
        tuple[NDArray[np.bytes_], NDArray[np.int32], NDArray[np.int32], NDArray[np.int64], NDArray[np.int16]]
    ] = []
    set_of: list[NDArray[np.int8]] = []
    for file in files:
        name = file.stem.replace("_segments", "")
        before = len(parts)
        for found, text in _blocks(file):
            if match := _SET.search(text):
                name = match[1]
            if found:
                parts.append(_as_arrays(found, place))
        sets.append(name)
        set_of += [np.full(len(part[0]), len(sets) - 1, np.int8) for part in parts[before:]]
    if not parts:
        raise OptionError(f"{files[0]} holds no segments: its lines are id, start, end and labels in double quotes")
    ids, start, end, counts, numbers = (np.concatenate(column) for column in zip(*parts, strict=True))
    first = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    return Segments(ids, start, end, first, numbers, tuple(place), tuple(sets), np.concatenate(set_of))


def _blocks(file: Path) -> Iterator[tuple[list[tuple[str, ...]], str]]:
    """The rows of a segment list, block by block, and the `#` lines of each block."""
    number = 1
    rest = ""
    try:
        with file.open(encoding="utf-8-sig", newline="") as opened:
            while True:
                block = opened.read(BLOCK)
                text = rest + block
                cut = text.rfind("\n") + 1 if block else len(text)
                text, rest = text[:cut], text[cut:]
                found = _LINE.findall(text)
                remarks = ""
                if len(found) < text.count("\n") + (not text.endswith("\n") and text != ""):
                    remarks = _check_others(file, text, number)
                yield found, remarks
                number += text.count("\n")
                if not block:
                    return
    except (OSError, UnicodeDecodeError) as error:
        raise OptionError(f"{file} cannot be read ({error}): give a segment list of AudioSet") from error


def _check_others(file: Path, text: str, number: int) -> str:
    """The `#` lines of a text; any other line that is no segment is an error."""
    remarks = []
    for line, cells in enumerate(text.splitlines(), start=number):
        if cells.startswith("#"):
            remarks.append(cells)
        elif cells.strip() and not _LINE.match(cells) and not (line <= 4 and cells.upper().startswith("YTID")):
            raise OptionError(
                f"{file}, line {line} is no segment ({cells[:60]!r}): a line is an id of 11 characters, start, end and "
                "the labels in double quotes"
            )
    return "\n".join(remarks)


def _as_arrays(
    found: list[tuple[str, ...]], place: dict[str, int]
) -> tuple[NDArray[np.bytes_], NDArray[np.int32], NDArray[np.int32], NDArray[np.int64], NDArray[np.int16]]:
    """Ids, starts, ends, numbers of labels per row, and the labels of a block's rows; `place` takes new labels."""
    ids, starts, ends, quoted, plain = zip(*found, strict=True)
    cells = [one or other for one, other in zip(quoted, plain, strict=True)]
    counts = np.array([cell.count(",") + 1 if cell.strip() else 0 for cell in cells], dtype=np.int64)
    names = (
        [name.strip() for name in ",".join(cell for cell in cells if cell.strip()).split(",")] if counts.any() else []
    )
    for name in dict.fromkeys(names):
        place.setdefault(name, len(place))
    numbers = np.fromiter(map(place.__getitem__, names), np.int16, len(names))
    times = [np.rint(np.array(column, dtype=np.float64) * 1000).astype(np.int32) for column in (starts, ends)]
    return np.array(ids, dtype=f"S{ID_LENGTH}"), times[0], times[1], counts, numbers


def read_strong(file: Path) -> Strong:
    """Read strong labels: segment_id (ID_milliseconds), start_time_seconds, end_time_seconds, label.

    Raises:
        OptionError: a line is of another form; the message names it.
    """
    rows: list[tuple[str, int, float, float, str]] = []
    with file.open(newline="", encoding="utf-8-sig") as lines:
        for number, row in enumerate(csv.reader(lines, delimiter="\t"), start=1):
            if not row or row[0] == "segment_id":
                continue
            try:
                name, _, begin = row[0].rpartition("_")  # ids hold underscores themselves
                rows.append((name, int(begin), float(row[1]), float(row[2]), row[3]))
                if len(name) != ID_LENGTH:
                    raise ValueError(name)
            except (ValueError, IndexError) as error:
                raise OptionError(
                    f"{file}, line {number} is no strong label: a line is ID_MILLISECONDS, start, end and a label, "
                    "with tabs between"
                ) from error
    return Strong(
        tuple(row[0] for row in rows),
        np.array([row[1] for row in rows], np.int64),
        np.array([row[2] for row in rows], np.float64),
        np.array([row[3] for row in rows], np.float64),
        tuple(row[4] for row in rows),
    )


def segment_lines(metadata: Metadata, rows: Iterable[int]) -> Iterator[str]:
    """Rows in the form of AudioSet's own segment lists."""
    segments = metadata.segments
    for row in rows:
        own = segments.numbers[segments.first[row] : segments.first[row + 1]].tolist()
        labels = ",".join(segments.mids[number] for number in own)
        start, end = segments.start[row] / 1000, segments.end[row] / 1000
        yield f'{segments.ids[row].decode()}, {start:.3f}, {end:.3f}, "{labels}"'
