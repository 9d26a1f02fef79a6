"""Tables of embeddings on disk: .npz, .npy with a CSV of ids, .csv, .parquet. Written in parts, then renamed."""

import io
import zipfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from sondino.errors import OptionError, require
from sondino.files import new_file
from sondino.text import CsvWriter, escape


@dataclass
class TablePart:
    """The embeddings of some files.

    Attributes:
        ids: one a file.
        counts: how many rows each file has.
        embeddings: (rows, dim) float32.
        starts: (rows,) seconds.
        seconds: of audio.
        skipped: (path, reason) of the files that are not in it.
    """

    ids: list[str]
    counts: list[int]
    embeddings: NDArray[np.float32]
    starts: NDArray[np.float64]
    seconds: float
    skipped: list[tuple[str, str]]

    def row_ids(self) -> list[str]:
        """The id of each row."""
        return [name for name, count in zip(self.ids, self.counts, strict=True) for _ in range(count)]


Writer = Callable[[Path, Iterable[TablePart], int, int, int, bool], None]
"""Called with (output, parts, files, rows, dim, per_window); the output appears complete or not at all."""


def writer_for(output: Path) -> Writer:
    """The writer for an output's suffix.

    Raises:
        OptionError: a suffix that no writer has, or the output is a folder.
        MissingExtra: .parquet without pyarrow.
    """
    suffix = output.suffix.lower()
    if suffix not in WRITERS:
        raise OptionError(f"output {output} must end in one of {', '.join(WRITERS)}")
    if output.is_dir():
        raise OptionError(f"output {output} is a folder; name a file")
    if suffix == ".parquet":
        require("pyarrow", "tables")
    return WRITERS[suffix]


def write_npz(output: Path, parts: Iterable[TablePart], files: int, rows: int, dim: int, per_window: bool) -> None:
    """`ids` (files,) str and `vectors` (rows, dim) float32; per window also `clip` (rows,) and `start` (rows,).

    Embeddings are written part by part; ids and starts are held in memory.
    """
    ids: list[str] = []
    counts: list[int] = []
    starts: list[NDArray[np.float64]] = []
    with new_file(output) as file, zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        with archive.open("vectors.npy", "w", force_zip64=True) as entry:
            _npy_header(entry, rows, dim)
            for part in parts:
                entry.write(np.ascontiguousarray(part.embeddings, np.float32).tobytes())
                ids += part.ids
                counts += part.counts
                starts.append(part.starts)
        others: dict[str, NDArray[Any]] = {"ids": np.array(ids, dtype=np.str_)}
        if per_window:
            others["clip"] = np.repeat(np.arange(files, dtype=np.int64), counts)
            others["start"] = np.concatenate(starts)
        for name, array in others.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as entry:
                np.lib.format.write_array(entry, array, allow_pickle=False)


def write_npy(output: Path, parts: Iterable[TablePart], files: int, rows: int, dim: int, per_window: bool) -> None:
    """Embeddings (rows, dim) float32, and beside them `<stem>.ids.csv`: id, per window also start, row for row."""
    with (
        new_file(output.with_name(output.stem + ".ids.csv")) as names,
        new_file(output) as file,
        _csv(names) as table,
    ):
        table.writerow(["id", "start"] if per_window else ["id"])
        _npy_header(file, rows, dim)
        for part in parts:
            file.write(np.ascontiguousarray(part.embeddings, np.float32).tobytes())
            table.writerows(_keys(part, per_window))


def write_csv(output: Path, parts: Iterable[TablePart], files: int, rows: int, dim: int, per_window: bool) -> None:
    """Columns id, per window also start, then v0, v1, ...; nine digits, which restore the same float32."""
    with new_file(output) as file, _csv(file) as table:
        keys = ["id", "start"] if per_window else ["id"]
        table.writerow([*keys, *(f"v{i}" for i in range(dim))])
        for part in parts:
            for key, embedding in zip(_keys(part, per_window), part.embeddings.tolist(), strict=True):
                table.writerow([*key, *(f"{value:.9g}" for value in embedding)])


def write_parquet(output: Path, parts: Iterable[TablePart], files: int, rows: int, dim: int, per_window: bool) -> None:
    """Columns `id`, per window also `start`, and `vector`: a list of `dim` float32."""
    pyarrow, parquet = require("pyarrow", "tables"), require("pyarrow.parquet", "tables")
    fields = [pyarrow.field("id", pyarrow.string())]
    if per_window:
        fields.append(pyarrow.field("start", pyarrow.float64()))
    embedding = pyarrow.list_(pyarrow.float32(), dim)
    schema = pyarrow.schema([*fields, pyarrow.field("vector", embedding)])
    with new_file(output) as file, parquet.ParquetWriter(file, schema) as table:
        for part in parts:
            flat = pyarrow.array(np.ascontiguousarray(part.embeddings, np.float32).reshape(-1))
            # File names need not be UTF-8, Parquet's strings must.
            columns = [pyarrow.array([escape(name) for name in part.row_ids()], pyarrow.string())]
            if per_window:
                columns.append(pyarrow.array(part.starts))
            columns.append(pyarrow.FixedSizeListArray.from_arrays(flat, dim))
            if len(part.embeddings):
                table.write_table(pyarrow.Table.from_arrays(columns, schema=schema))


WRITERS: dict[str, Writer] = {
    ".npz": write_npz,
    ".npy": write_npy,
    ".csv": write_csv,
    ".parquet": write_parquet,
}


def _keys(part: TablePart, per_window: bool) -> Iterator[list[str]]:
    for name, start in zip(part.row_ids(), part.starts.tolist(), strict=True):
        yield [name, f"{start:.9g}"] if per_window else [name]


def _npy_header(file: IO[bytes], rows: int, dim: int) -> None:
    np.lib.format.write_array_header_1_0(file, {"descr": "<f4", "fortran_order": False, "shape": (rows, dim)})


@contextmanager
def _csv(file: IO[bytes]) -> Iterator[Any]:
    text = io.TextIOWrapper(file, encoding="utf-8", newline="")
    try:
        yield CsvWriter(text)
        text.flush()
    finally:
        text.detach()
