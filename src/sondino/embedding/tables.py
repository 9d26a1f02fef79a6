"""Tables of embeddings on disk: .npz, .npy with a CSV of ids, .csv, .parquet, .lance. Written in parts."""

import io
import zipfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from sondino.arrow import arrow_schema
from sondino.errors import OptionError, require
from sondino.files import free_folder, new_file, replacing
from sondino.text import CsvWriter, escape

if TYPE_CHECKING:
    import pyarrow


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
        channels: of each of `ids`, from 1, where each channel of a file has rows of its own; else empty.
    """

    ids: list[str]
    counts: list[int]
    embeddings: NDArray[np.float32]
    starts: NDArray[np.float64]
    seconds: float
    skipped: list[tuple[str, str]]
    channels: list[int] = field(default_factory=list)

    @property
    def files(self) -> int:
        """How many files it is of: channels of one file follow each other."""
        return (
            sum(at == 0 or name != self.ids[at - 1] for at, name in enumerate(self.ids))
            if self.channels
            else len(self.ids)
        )

    def row_channels(self) -> list[int]:
        """The channel of each row."""
        return [number for number, count in zip(self.channels, self.counts, strict=True) for _ in range(count)]

    def row_ids(self) -> list[str]:
        """The id of each row."""
        return [name for name, count in zip(self.ids, self.counts, strict=True) for _ in range(count)]


@dataclass(frozen=True)
class TableForm:
    """How large a table is, and which columns it has.

    Attributes:
        clips: files, or channels of files.
        rows: embeddings.
        dim: dimension of the embeddings.
        per_window: whether each window has a row, with its start.
        by_channel: whether each channel of a file has rows of its own, with its number.
    """

    clips: int
    rows: int
    dim: int
    per_window: bool = False
    by_channel: bool = False


Writer = Callable[[Path, Iterable[TablePart], TableForm], None]
"""The output appears complete or not at all."""


def is_data_set(output: str) -> bool:
    """Whether an output names a data set of parts: a name with / at its end, a folder, or the address of a store."""
    return output.endswith("/") or "://" in output or (Path(output).is_dir() and Path(output).suffix != ".lance")


def writer_for(output: Path) -> Writer:
    """The writer for an output's suffix.

    Raises:
        OptionError: a suffix that no writer has, or the output is a folder; a .lance that is no dataset.
        MissingExtra: .parquet without pyarrow, .lance without pylance.
    """
    suffix = output.suffix.lower()
    if suffix not in WRITERS:
        raise OptionError(f"output {output} must end in one of {', '.join(WRITERS)}")
    if suffix == ".lance":
        require("lance", "lance")
        free_folder(output, is_lance, LANCE)
    elif output.is_dir():
        raise OptionError(f"output {output} is a folder; name a file")
    if suffix == ".parquet":
        require("pyarrow", "tables")
    return WRITERS[suffix]


def write_npz(output: Path, parts: Iterable[TablePart], form: TableForm) -> None:
    """`ids` (files,), `vectors` (rows, dim) float32; per window also `clip` and `start` (rows,), by channel `channel`.

    Embeddings are written part by part; ids and starts are held in memory.
    """
    ids: list[str] = []
    counts: list[int] = []
    starts: list[NDArray[np.float64]] = []
    channels: list[int] = []
    with new_file(output) as file, zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        with archive.open("vectors.npy", "w", force_zip64=True) as entry:
            _npy_header(entry, form.rows, form.dim)
            for part in parts:
                entry.write(np.ascontiguousarray(part.embeddings, np.float32).tobytes())
                ids += part.ids
                counts += part.counts
                starts.append(part.starts)
                channels += part.row_channels() if form.by_channel else []
        others: dict[str, NDArray[Any]] = {"ids": np.array(ids, dtype=np.str_)}
        if form.per_window:
            others["clip"] = np.repeat(np.arange(form.clips, dtype=np.int64), counts)
            others["start"] = np.concatenate(starts)
        if form.by_channel:
            others["channel"] = np.array(channels, np.int64)
        for name, array in others.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as entry:
                np.lib.format.write_array(entry, array, allow_pickle=False)


def write_npy(output: Path, parts: Iterable[TablePart], form: TableForm) -> None:
    """Embeddings (rows, dim) float32, and beside them `<stem>.ids.csv`: id, per window also start, row for row."""
    with (
        new_file(output.with_name(output.stem + ".ids.csv")) as names,
        new_file(output) as file,
        _csv(names) as table,
    ):
        table.writerow(key_columns(form.per_window, form.by_channel))
        _npy_header(file, form.rows, form.dim)
        for part in parts:
            file.write(np.ascontiguousarray(part.embeddings, np.float32).tobytes())
            table.writerows(_keys(part, form))


def write_csv(output: Path, parts: Iterable[TablePart], form: TableForm) -> None:
    """Columns id, per window also start, then v0, v1, ...; nine digits, which restore the same float32."""
    with new_file(output) as file, _csv(file) as table:
        table.writerow([*key_columns(form.per_window, form.by_channel), *(f"v{i}" for i in range(form.dim))])
        for part in parts:
            for key, embedding in zip(_keys(part, form), part.embeddings.tolist(), strict=True):
                table.writerow([*key, *(f"{value:.9g}" for value in embedding)])


def write_parquet(output: Path, parts: Iterable[TablePart], form: TableForm) -> None:
    """Columns `id`, per window also `start`, and `vector`: a list of numbers, float32."""
    parquet = require("pyarrow.parquet", "tables")
    schema = _schema_of(form.dim, form.per_window, form.by_channel)
    with new_file(output) as file, parquet.ParquetWriter(file, schema) as table:
        for rows in _arrow_parts(parts, form):
            table.write_table(rows)


LANCE = "Lance dataset"


def write_lance(output: Path, parts: Iterable[TablePart], form: TableForm) -> None:
    """A Lance dataset, which LanceDB opens as a table: a folder with the columns of `write_parquet`."""
    pyarrow, lance = require("pyarrow", "lance"), require("lance", "lance")
    schema = _schema_of(form.dim, form.per_window, form.by_channel)
    raised: list[BaseException] = []

    def batches() -> Iterator[Any]:
        try:
            for rows in _arrow_parts(parts, form):
                yield from rows.to_batches()
        except BaseException as error:
            raised.append(error)  # Lance makes an OSError of it
            raise

    with replacing(output, is_lance, LANCE) as new:
        try:
            lance.write_dataset(pyarrow.RecordBatchReader.from_batches(schema, batches()), str(new), schema=schema)
        except Exception:
            if raised:
                raise raised[0] from None
            raise


def is_lance(folder: Path) -> bool:
    """Whether a folder is a Lance dataset."""
    return (folder / "_versions").is_dir()


def _arrow_parts(parts: Iterable[TablePart], form: TableForm) -> "Iterator[pyarrow.Table]":
    for part in parts:
        starts = part.starts if form.per_window else None
        channels = part.row_channels() if form.by_channel else None
        if len(part.embeddings):
            yield arrow_of(part.row_ids(), channels, starts, part.embeddings)


def _schema_of(dim: int, per_window: bool, by_channel: bool) -> "pyarrow.Schema":
    pyarrow = require("pyarrow", "tables")
    kinds = {
        "id": "string",
        **({"channel": "int32"} if by_channel else {}),
        **({"start": "float64"} if per_window else {}),
    }
    return arrow_schema(kinds).append(pyarrow.field("vector", pyarrow.list_(pyarrow.float32(), dim)))


def arrow_of(
    ids: Sequence[str],
    channels: Sequence[int] | NDArray[np.int64] | None,
    starts: NDArray[np.float64] | None,
    embeddings: NDArray[np.float32],
) -> "pyarrow.Table":
    """Rows as a table of Arrow, with the columns of `write_parquet`.

    Args:
        ids: of each row.
        channels: of each row; None: there is no such column.
        starts: (rows,) seconds; None: there is no such column.
        embeddings: (rows, dim).

    Raises:
        MissingExtra: pyarrow is not installed.
    """
    pyarrow = require("pyarrow", "tables")
    dim = embeddings.shape[1]
    flat = pyarrow.array(np.ascontiguousarray(embeddings, np.float32).reshape(-1))
    # File names need not be UTF-8, Parquet's strings must.
    columns = [pyarrow.array([escape(name) for name in ids], pyarrow.string())]
    if channels is not None:
        columns.append(pyarrow.array(channels, pyarrow.int32()))
    if starts is not None:
        columns.append(pyarrow.array(starts, pyarrow.float64()))
    columns.append(pyarrow.FixedSizeListArray.from_arrays(flat, dim))
    return pyarrow.Table.from_arrays(columns, schema=_schema_of(dim, starts is not None, channels is not None))


WRITERS: dict[str, Writer] = {
    ".npz": write_npz,
    ".npy": write_npy,
    ".csv": write_csv,
    ".parquet": write_parquet,
    ".lance": write_lance,
}


def key_columns(per_window: bool, by_channel: bool) -> list[str]:
    """The columns of a CSV in front of the numbers of an embedding."""
    return ["id", *(["channel"] if by_channel else []), *(["start"] if per_window else [])]


def _keys(part: TablePart, form: TableForm) -> Iterator[list[str]]:
    channels = part.row_channels() if form.by_channel else [0] * len(part.embeddings)
    for name, channel, start in zip(part.row_ids(), channels, part.starts.tolist(), strict=True):
        yield [name, *([str(channel)] if form.by_channel else []), *([f"{start:.9g}"] if form.per_window else [])]


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
