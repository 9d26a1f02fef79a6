"""Read the tables that tables.py writes, in blocks of rows: memory does not grow with their length."""

import csv
import math
import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from sondino.embedding.part_tables import is_part_table, part_files
from sondino.embedding.tables import arrow_of
from sondino.errors import OptionError, SondinoError, require
from sondino.files import check_unpacked
from sondino.text import format_error, from_cell, unescape

if TYPE_CHECKING:
    import pyarrow

BLOCK_BYTES = 16 << 20
MOST_ROW_BYTES = 64 << 20


@dataclass(frozen=True)
class Rows:
    """Some rows of a table.

    Attributes:
        ids: the clip of each row.
        starts: (n,) seconds, where a row is a window; None where a row is a clip.
        embeddings: (n, dim) float32.
        channels: (n,) from 1, where each channel of a file has rows of its own; else None.
    """

    ids: Sequence[str]
    starts: NDArray[np.float64] | None
    embeddings: NDArray[np.float32]
    channels: NDArray[np.int64] | None = None


def read_rows(table: str | Path) -> Iterator[Rows]:
    """All rows of a table in blocks of about 16 MB; one empty block at least.

    Args:
        table: .npz, .npy (and its .ids.csv), .csv, .parquet or .lance, as `embed` writes them; or a folder of Parquet
            files, those that its manifest.json names, or all by name.

    Raises:
        OptionError: no such file, another suffix, or not a table of embeddings.
        SondinoError: it is damaged.
        MissingExtra: .parquet without pyarrow, .lance without pylance.
    """
    table = Path(table)
    suffix = table.suffix.lower()
    if is_part_table(table):
        with report_damage(table):
            yield from read_parts(table)
        return
    if suffix not in READERS:
        raise OptionError(
            f"table {table} must end in one of {', '.join(READERS)}, as `sondino embed` writes them, or be a folder of "
            "Parquet files"
        )
    if not (table.is_dir() if suffix == ".lance" else table.is_file()):
        raise OptionError(f"table {table}: no such file; `sondino embed ... --output {table.name}` makes one")
    with report_damage(table):
        yield from READERS[suffix](table)


def read_arrow(table: str | Path) -> "pyarrow.Table":
    """A whole table for pyarrow, with the columns and types of one in Parquet.

    Raises:
        OptionError, SondinoError: as of `read_rows`.
        MissingExtra: pyarrow is not installed.
    """
    pyarrow = require("pyarrow", "tables")
    blocks = [arrow_of(rows.ids, rows.channels, rows.starts, rows.embeddings) for rows in read_rows(table)]
    return pyarrow.concat_tables(blocks)


def read_npz(table: Path) -> Iterator[Rows]:
    """`ids` and `vectors`; where each row is a window also `clip`, its place in `ids`, and `start`."""
    with zipfile.ZipFile(table) as archive, ExitStack() as opened:
        check_unpacked(archive)
        members = set(archive.namelist())
        if not {"ids.npy", "vectors.npy"} <= members:
            raise OptionError(
                f"table {table} holds no arrays `ids` and `vectors`: it is not a table of `sondino embed`"
            )

        def column(name: str, dimensions: int = 1) -> Npy:
            return Npy(table, opened.enter_context(archive.open(f"{name}.npy")), dimensions)

        embeddings, ids = column("vectors", 2), column("ids")
        numbers = column("channel").match(embeddings) if "channel.npy" in members else None
        if not {"clip.npy", "start.npy"} <= members:
            ids.match(embeddings)
            for count in embeddings.counts():
                channels = None if numbers is None else numbers.take(count).astype(np.int64)
                yield Rows(_strings(ids.take(count)), None, embeddings.take_float32(count), channels)
            return
        names = ids.take(ids.rows)
        clips, starts = column("clip").match(embeddings), column("start").match(embeddings)
        for count in embeddings.counts():
            places = clips.take(count)
            if count and not 0 <= places.min() <= places.max() < len(names):
                raise _damaged(table, "`clip` names clips that are not in `ids`")
            name_of = _strings(names[places])
            channels = None if numbers is None else numbers.take(count).astype(np.int64)
            yield Rows(name_of, starts.take(count).astype(np.float64), embeddings.take_float32(count), channels)


def read_npy(table: Path) -> Iterator[Rows]:
    """The embeddings, and row for row their ids, per window also starts, from `<stem>.ids.csv` beside them."""
    beside = table.with_name(table.stem + ".ids.csv")
    if not beside.is_file():
        raise OptionError(f"table {table} has no {beside.name} beside it, which has the ids of its rows")
    with table.open("rb") as file, _open_csv(beside) as lines:
        embeddings = Npy(table, file, 2)
        keys = csv.reader(lines)
        names = next(keys, [])
        keyed = _keys_in(names, beside)
        for count in embeddings.counts():
            rows = list(islice(keys, count))
            starts, channels = keyed.starts(rows), keyed.channels(rows)
            if len(rows) < count:
                break
            yield Rows([from_cell(row[0]) for row in rows], starts, embeddings.take_float32(count), channels)
        if len(rows) < count or next(keys, None) is not None:
            raise SondinoError(f"{beside}: does not have one row for each embedding of {table.name}; make both again")


def read_csv(table: Path) -> Iterator[Rows]:
    """Columns id, per window also start, then one for each dimension of the embedding."""
    with _open_csv(table) as lines:
        rows = csv.reader(lines)
        names = next(rows, [])
        keyed = _keys_in(names, table)
        keys = keyed.count
        dim = len(names) - keys
        if dim < 1:
            raise OptionError(f"table {table} has no columns of numbers after {', '.join(names)}")
        # A number takes many times its four bytes while it is text.
        size = max(1, BLOCK_BYTES // (dim * 64))
        line = 1
        while True:
            block = [row for row in islice(rows, size) if row]
            for row in block:
                line += 1
                if len(row) != len(names):
                    raise SondinoError(f"{table}: row {line} has {len(row)} fields, where the first has {len(names)}")
            embeddings = np.array([[float(value) for value in row[keys:]] for row in block], np.float32)
            if block or line == 1:
                yield Rows([from_cell(row[0]) for row in block], keyed.starts(block),
                           embeddings.reshape(len(block), dim), keyed.channels(block))  # fmt: skip
            if not block:
                return


def read_parquet(table: Path) -> Iterator[Rows]:
    """Columns `id`, `vector` (a list of numbers), per window also start."""
    pyarrow, parquet = require("pyarrow", "tables"), require("pyarrow.parquet", "tables")
    try:
        # In small reads: by default pyarrow reads a whole row group first, which may be large.
        with parquet.ParquetFile(table, buffer_size=1 << 20, pre_buffer=False) as file:
            schema = file.schema_arrow
            columns, dim, size = _arrow_form(schema, table)
            rows = 0
            for batch in file.iter_batches(batch_size=size, columns=columns):
                rows += len(batch)
                yield _arrow_rows(batch, table)
            if rows != file.metadata.num_rows:
                raise _damaged(table, f"it has {rows} of {file.metadata.num_rows} rows")
            if rows == 0:
                yield Rows([], np.zeros(0) if "start" in columns else None, np.zeros((0, dim), np.float32))
    except pyarrow.ArrowException as error:
        raise _damaged(table, error) from error


def read_parts(folder: Path) -> Iterator[Rows]:
    """The Parquet files of a table in parts, one after the other."""
    form: tuple[int, bool, bool] | None = None
    for part in part_files(folder):
        count = 0
        for rows in read_parquet(part.path):
            found = (rows.embeddings.shape[1], rows.starts is not None, rows.channels is not None)
            expected = (part.dim, part.per_window)
            form = form or found
            if found != form or (part.rows is not None and found[:2] != expected):
                raise SondinoError(
                    f"{part.path} has another dimension or other columns than the rest of the table: make it again"
                )
            count += len(rows.ids)
            yield rows
        if part.rows not in (None, count):
            raise SondinoError(
                f"{part.path} has {count} rows, and the table's manifest says {part.rows}: make it again"
            )


def read_lance(table: Path) -> Iterator[Rows]:
    """The columns of `read_parquet`, of a Lance dataset."""
    dataset = require("lance", "lance").dataset(str(table))
    columns, dim, size = _arrow_form(dataset.schema, table)
    rows = 0
    for batch in dataset.to_batches(columns=columns, batch_size=size):
        rows += len(batch)
        yield _arrow_rows(batch, table)
    if rows == 0:
        yield Rows([], np.zeros(0) if "start" in columns else None, np.zeros((0, dim), np.float32))


def _arrow_form(schema: Any, table: Path) -> tuple[list[str], int, int]:
    """The columns that a table of embeddings has, its dimension (0: not fixed) and how many rows a block has."""
    if not {"id", "vector"} <= set(schema.names):
        raise OptionError(f"table {table} has no columns `id` and `vector`: it is not a table of `sondino embed`")
    columns = ["id", "vector", *(name for name in ("channel", "start") if name in schema.names)]
    dim = getattr(schema.field("vector").type, "list_size", 0)
    # Rows of a table without a fixed dimension are counted by what one row takes.
    return columns, dim, max(1, BLOCK_BYTES // (4 * (dim or 4096)))


READERS: dict[str, Callable[[Path], Iterator[Rows]]] = {
    ".npz": read_npz,
    ".npy": read_npy,
    ".csv": read_csv,
    ".parquet": read_parquet,
    ".lance": read_lance,
}


class Npy:
    """An open .npy, read from the front in blocks of rows."""

    def __init__(self, table: Path, file: IO[bytes], dimensions: int) -> None:
        self.table, self.file = table, file
        version = np.lib.format.read_magic(file)
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        self.shape, by_column, self.dtype = read(file)
        kinds = "fiu" if dimensions > 1 else "fiuUS"
        if len(self.shape) != dimensions or self.dtype.kind not in kinds or (by_column and dimensions > 1):
            if self.dtype.kind in "mM":
                held = "embeddings" if dimensions > 1 else "ids or times"
                raise OptionError(
                    f"table {table} has {held} of {self.dtype}: save ids as strings, and embeddings and times as floats"
                )
            order = " stored column by column" if by_column else ""
            raise OptionError(
                f"table {table} holds an array {self.shape} of {self.dtype}{order}, not numbers (rows, dim) "
                "with one id a row: it is not a table of `sondino embed`"
            )
        self.rows = self.shape[0]
        self.row_bytes = self.dtype.itemsize * math.prod(self.shape[1:])
        if self.rows < 0 or not 0 <= self.row_bytes <= MOST_ROW_BYTES:
            raise _damaged(table, f"an array of shape {self.shape}")

    def match(self, embeddings: "Npy") -> "Npy":
        """Itself, if it has a row for each embedding."""
        if self.rows != embeddings.rows:
            raise SondinoError(
                f"{self.table}: holds {embeddings.rows} embeddings and {self.rows} ids or starts; make it again"
            )
        return self

    def counts(self) -> Iterator[int]:
        """How many rows each block has."""
        size = max(1, BLOCK_BYTES // max(1, self.row_bytes))
        for first in range(0, max(1, self.rows), size):
            yield min(size, self.rows - first)

    def take(self, count: int) -> NDArray[Any]:
        """The next rows."""
        data = self.file.read(count * self.row_bytes)
        if len(data) < count * self.row_bytes:
            raise _damaged(self.table, "it is truncated")
        return np.frombuffer(data, self.dtype).reshape(count, *self.shape[1:])

    def take_float32(self, count: int) -> NDArray[np.float32]:
        """The next rows, as float32."""
        with np.errstate(over="ignore"):  # what float32 cannot hold becomes infinite
            return self.take(count).astype(np.float32, copy=False)


def arrow_embeddings(column: Any, table: Path) -> NDArray[np.float32]:
    """A column of lists of numbers as (rows, dim)."""
    if column.null_count or column.flatten().null_count:
        raise SondinoError(f"{table}: has rows without an id or an embedding; leave them out")
    if len(set(column.value_lengths().to_pylist())) > 1:
        raise SondinoError(f"{table}: its embeddings differ in length; make it again with `sondino embed`")
    return column.flatten().to_numpy(zero_copy_only=False).astype(np.float32, copy=False).reshape(len(column), -1)


def _arrow_rows(batch: Any, table: Path) -> Rows:
    ids = batch.column("id")
    if ids.null_count:
        raise SondinoError(f"{table}: has rows without an id or an embedding; leave them out")
    embeddings = arrow_embeddings(batch.column("vector"), table)
    starts = batch.column("start").to_numpy(zero_copy_only=False) if "start" in batch.schema.names else None
    channels = None
    if "channel" in batch.schema.names:
        channels = batch.column("channel").to_numpy(zero_copy_only=False).astype(np.int64)
    return Rows([unescape(str(name)) for name in ids.to_pylist()], starts, embeddings, channels)


def _strings(ids: NDArray[Any]) -> list[str]:
    return [str(name) for name in ids.tolist()]


@dataclass(frozen=True)
class _Keys:
    """Which columns of a CSV stand in front of the numbers: an id, and perhaps a channel and a start."""

    channel: int | None
    start: int | None

    @property
    def count(self) -> int:
        return 1 + (self.channel is not None) + (self.start is not None)

    def starts(self, rows: Sequence[Sequence[str]]) -> NDArray[np.float64] | None:
        return None if self.start is None else np.array([float(row[self.start]) for row in rows], np.float64)

    def channels(self, rows: Sequence[Sequence[str]]) -> NDArray[np.int64] | None:
        return None if self.channel is None else np.array([int(row[self.channel]) for row in rows], np.int64)


def _keys_in(names: list[str], table: Path) -> _Keys:
    """The keys of a CSV; raises if it has no id."""
    if names[:1] != ["id"]:
        raise OptionError(f"table {table} does not begin with a column `id`: it is not a table of `sondino embed`")
    channel = 1 if names[1:2] == ["channel"] else None
    at = 1 if channel is None else 2
    return _Keys(channel, at if names[at : at + 1] == ["start"] else None)


def _open_csv(file: Path) -> IO[str]:
    return file.open(
        encoding="utf-8", errors="surrogateescape", newline=""
    )  # of another program, names need not be UTF-8


@contextmanager
def report_damage(table: Path, command: str = "embed") -> Iterator[None]:
    """Turn the exceptions of a broken file into a SondinoError: zipfile, csv and NumPy raise many kinds."""
    try:
        yield
    except SondinoError:
        raise
    except Exception as error:
        raise _damaged(table, format_error(error), command) from error


def _damaged(table: Path, reason: object, command: str = "embed") -> SondinoError:
    return SondinoError(f"{table}: cannot be read ({reason}); make it again with `sondino {command}`")
