"""Copies of AudioSet on disk, whatever their files are called: the id of 11 characters joins them to the metadata."""

from __future__ import annotations

import csv
import os
import re
import tarfile
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sondino.audio.tars import tar_sounds
from sondino.audio.walk import SUFFIXES, search_audio
from sondino.errors import AudioError, MissingExtra, OptionError, require
from sondino.files import make_folder, new_file, text_file
from sondino.tasks.audioset.metadata import Metadata, Segments, check_place
from sondino.text import first_line

# ID, ID_30.000, ID_30.000_40.000 or ID_30.0-40.0; with Y before it in PANNs' files.
_NAME = re.compile(r"([A-Za-z0-9_-]{11})(?:_\d[\d.]*(?:[_-]\d[\d.]*)?)?")
ID_COLUMNS = ("video_id", "id", "ytid", "YTID", "youtube_id", "__key__", "key", "filename", "file_name", "path")
"""Columns of Parquet files that may hold the ids, the first that is there."""
BATCH = 65_536


@dataclass(frozen=True)
class Copies:
    """What a folder has of the clips of the metadata.

    Attributes:
        paths: row -> its file, of clips that are files of their own.
        inside: marks (rows,) the clips that lie in tars, Parquet or HDF5 files.
        archives: such file -> how many clips of the metadata it holds.
        unknown: names whose id is none of the metadata's, or that have none.
        repeated: further files of clips that have one already.
        skipped: (path, reason) of what cannot be used.
    """

    paths: dict[int, Path]
    inside: NDArray[np.bool_]
    archives: dict[str, int] = field(default_factory=dict)
    unknown: list[str] = field(default_factory=list)
    repeated: int = 0
    skipped: list[tuple[str, str]] = field(default_factory=list)

    def on_their_own(self) -> NDArray[np.bool_]:
        """Which rows (rows,) of the metadata are files of their own."""
        found = np.zeros_like(self.inside)
        found[list(self.paths)] = True
        return found

    def present(self) -> NDArray[np.bool_]:
        """Which rows (rows,) of the metadata are there."""
        return self.inside | self.on_their_own()


def possible_ids(name: str) -> list[str]:
    """The ids that a file's name may hold, likeliest first: `ID_30.000_40.000.wav` holds ID, and so does `YID.wav`."""
    base = name.replace("\\", "/").rpartition("/")[2]
    head, dot, suffix = base.rpartition(".")
    stem = head if f"{dot}{suffix}".lower() in SUFFIXES else base
    starts = (0, 1) if stem.startswith("Y") else (0,)
    return [match[1] for start in starts if (match := _NAME.fullmatch(stem, start))]


def find_copies(metadata: Metadata, folder: Path) -> Copies:
    """Find the clips of the metadata in a folder; sound is not opened, but its names are read.

    Files of their own may be called as the published S-SONDO code, PANNs, audtorch or audioset-download call them. In
    tars the members' names count, in Parquet files the column of ids, in HDF5 files of PANNs audio_name.

    Args:
        metadata: of the clips.
        folder: that is searched with its subfolders.

    Raises:
        AudioError: there is no such folder, or nothing in it.
        OptionError: the folder is an address.
    """
    check_place(folder)
    if not folder.is_dir():
        raise AudioError(f"{folder} is no folder: give the one that AudioSet's clips, tars or Parquet files lie in")
    others = sorted(f for f in folder.rglob("*") if f.suffix.lower() in (".parquet", ".h5", ".hdf5") and f.is_file())
    try:
        found = search_audio(folder, tars=True)
        files, tars, skipped = found.files, found.tars, found.skipped
    except AudioError:
        if not others:
            raise
        files, tars, skipped = [], [], []
    skipped = [row for row in skipped if Path(row[0]) not in set(others)]
    copies = Copies({}, np.zeros(len(metadata.segments), bool), skipped=list(skipped))
    lookup = Lookup(metadata.segments)
    repeated = 0
    for begin in range(0, len(files), BATCH):
        some = files[begin : begin + BATCH]
        for file, row in zip(some, lookup.rows([file.name for file in some]), strict=True):
            if row < 0:
                copies.unknown.append(str(file))
            elif row in copies.paths:
                repeated += 1
            else:
                copies.paths[row] = file
    for file in [*tars, *others]:
        try:
            names = list(_names_inside(file))
        except MissingExtra:
            raise
        except Exception as error:  # what damaged archives raise
            copies.skipped.append((str(file), f"cannot be read: {first_line(error)}"))
            continue
        rows = lookup.rows(names)
        copies.unknown.extend(f"{file}: {name}" for name, row in zip(names, rows, strict=True) if row < 0)
        known = rows[rows >= 0]
        repeated += int(copies.inside[known].sum()) + len(known) - len(np.unique(known))
        copies.inside[known] = True
        copies.archives[str(file)] = len(np.unique(known))
    return Copies(copies.paths, copies.inside, copies.archives, copies.unknown, repeated, copies.skipped)


class Lookup:
    """Rows of the metadata by the names of files; sorted once."""

    def __init__(self, segments: Segments) -> None:
        self._order = np.argsort(segments.ids, kind="stable")
        self._sorted = segments.ids[self._order]

    def rows(self, names: Sequence[str]) -> NDArray[np.int64]:
        """The row of each name (len(names),), -1 where none of its possible ids is in the metadata."""
        found = np.full(len(names), -1, dtype=np.int64)
        if len(self._sorted) == 0:
            return found
        pairs = [(place, one.encode()) for place, name in enumerate(names) for one in possible_ids(name)]
        if not pairs:
            return found
        places, ids = np.array([place for place, _ in pairs]), np.array([one for _, one in pairs])
        near = np.minimum(np.searchsorted(self._sorted, ids), len(self._sorted) - 1)
        good = self._sorted[near] == ids
        # The likeliest id is written last.
        found[places[good][::-1]] = self._order[near[good]][::-1]
        return found


def _names_inside(file: Path) -> Iterator[str]:
    """The names of the clips in a tar, Parquet or HDF5 file."""
    suffix = file.suffix.lower()
    if suffix == ".parquet":
        yield from _parquet_ids(file)
    elif suffix in (".h5", ".hdf5"):
        yield from _hdf5_names(file)
    else:
        try:
            for member in tar_sounds(file):
                yield member.name
        except tarfile.TarError as error:
            raise OptionError(f"not a whole, uncompressed tar file ({error})") from error


def _parquet_ids(file: Path) -> Iterator[str]:
    with require("pyarrow.parquet", "tables").ParquetFile(file, pre_buffer=False) as opened:
        names = opened.schema_arrow.names
        column = next((name for name in ID_COLUMNS if name in names), None)
        if column is None:
            raise OptionError(f"none of its columns is one of {', '.join(ID_COLUMNS)}")
        for batch in opened.iter_batches(BATCH, columns=[column]):
            yield from (str(cell) for cell in batch.column(0).to_pylist() if cell is not None)


def _hdf5_names(file: Path) -> Iterator[str]:
    """The names in a file of PANNs; a clip that was missing when it was packed has an empty one."""
    h5py: Any = require("h5py", "hdf5")
    with h5py.File(file, "r") as opened:
        if "audio_name" not in opened:
            raise OptionError("it has no data set audio_name, which PANNs' files have")
        for cell in opened["audio_name"][:]:
            name = cell.decode("utf-8", "replace") if isinstance(cell, bytes) else str(cell)
            if name.strip("\0 "):
                yield name.strip("\0 ")


def write_list(metadata: Metadata, copies: Copies, out: Path, rows: NDArray[np.bool_] | None = None) -> int:
    """Write a list of the clips that are files: path, id, label (several joined by `;`) and split.

    `sondino corpus`, `distill` and `evaluate` take it.

    Args:
        metadata: of the clips.
        copies: as `find_copies` found them.
        out: .csv, or .parquet.
        rows: marks (rows,) the clips that are wanted; None: all.

    Returns:
        How many clips it lists.

    Raises:
        OptionError: another suffix, or no clip to list.
    """
    if out.suffix.lower() not in (".csv", ".parquet"):
        raise OptionError(f"{out}: a list ends in .csv or .parquet")
    wanted = [row for row in sorted(copies.paths) if rows is None or rows[row]]
    if not wanted:
        inside = (
            f": {int(copies.inside.sum()):,} lie in archives, which `sondino corpus FOLDER --audioset METADATA` takes"
            if copies.archives
            else ""
        )
        raise OptionError(f"no clip of the metadata is a file of its own there{inside}")
    home = os.path.abspath(out.parent)  # noqa: PTH100
    marks = np.zeros(len(metadata.segments), bool)
    marks[wanted] = True
    cells = (cell for cell, mark in zip(metadata.cells(), marks.tolist(), strict=True) if mark)
    lines = (
        (_from(home, copies.paths[row]), metadata.segments.ids[row].decode(), cell, metadata.split_of(row))
        for row, cell in zip(wanted, cells, strict=True)
    )
    names = ("path", "id", "label", "split")
    if out.suffix.lower() == ".csv":
        with text_file(out) as text:
            writer = csv.writer(text, lineterminator="\n")
            writer.writerow(names)
            writer.writerows(lines)
    else:
        pa, parquet = require("pyarrow", "tables"), require("pyarrow.parquet", "tables")
        make_folder(out.parent)
        table = pa.table(dict(zip(names, map(list, zip(*lines, strict=True)), strict=True)))
        with new_file(out) as opened:
            parquet.write_table(table, opened)
    return len(wanted)


def _from(home: str, file: Path) -> str:
    """A file's path from the list's folder where it is below it, else the whole path."""
    whole = os.path.abspath(file)  # noqa: PTH100
    return os.path.relpath(whole, home).replace(os.sep, "/") if whole.startswith(home + os.sep) else whole


def count_parts(metadata: Metadata, present: NDArray[np.bool_]) -> list[dict[str, Any]]:
    """Rows, present and missing clips of each set."""
    segments = metadata.segments
    rows = Counter(segments.set_of.tolist())
    here = Counter(segments.set_of[present].tolist())
    return [
        {"set": name, "segments": rows[number], "present": here[number], "missing": rows[number] - here[number]}
        for number, name in enumerate(segments.sets)
    ]
