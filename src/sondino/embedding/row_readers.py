"""Read single rows of a table of embeddings by their numbers, without what lies before them where the format allows."""

import struct
import zipfile
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from sondino.embedding.part_tables import MANIFEST, is_part_table, part_files
from sondino.embedding.table_readers import Npy, arrow_embeddings, report_damage
from sondino.errors import OptionError, SondinoError, require

Span = tuple[int, int]
"""First row and the one after the last."""


@dataclass(frozen=True)
class RowReader:
    """A table that is read by row.

    Attributes:
        rows: how many it has.
        read: gives the embeddings (rows, dim) of one or more spans that ascend and do not overlap.
    """

    rows: int
    read: Callable[[Sequence[Span]], NDArray[np.float32]]


LOCAL_HEADER = struct.Struct("<26xHH")
"""Of a member of a zip file: the lengths of its name and of its extra field, at its end."""


def files_of(table: Path) -> list[Path]:
    """The files that a table consists of, in a fixed order.

    Raises:
        OptionError, SondinoError: as of `part_files`.
    """
    if is_part_table(table):
        manifest = table / MANIFEST
        return [*([manifest] if manifest.exists() else []), *(part.path for part in part_files(table))]
    if table.is_dir():
        return sorted(file for file in table.rglob("*") if file.is_file())
    beside = table.with_name(table.stem + ".ids.csv")
    return [table, beside] if table.suffix.lower() == ".npy" and beside.is_file() else [table]


@contextmanager
def open_rows(table: Path) -> Iterator[RowReader]:
    """A table opened to read single rows.

    Parquet is read from the beginning of the row group that holds a row: the small groups of `sondino embed` cost
    little, groups of gigabytes much.

    Raises:
        OptionError: a .csv, or an .npz that is compressed: their rows can only be read from the front.
        SondinoError: the table is damaged.
    """
    suffix = table.suffix.lower()
    with ExitStack() as opened, report_damage(table):
        if is_part_table(table) or suffix == ".parquet":
            paths = [part.path for part in part_files(table)] if is_part_table(table) else [table]
            yield _parquet_rows(paths, opened)
        elif suffix == ".lance":
            yield _lance_rows(table)
        elif suffix in (".npy", ".npz"):
            file = opened.enter_context(table.open("rb"))
            if suffix == ".npz":
                _seek_member(table, file, "vectors.npy")
            yield _npy_rows(table, file)
        else:
            raise OptionError(
                f"table {table} can only be read from its beginning: an index needs .npz, .npy, .parquet, .lance or a "
                "folder of Parquet files"
            )


def _seek_member(table: Path, file: IO[bytes], name: str) -> None:
    """Go to the first byte of a member of a zip file."""
    with zipfile.ZipFile(table) as archive:
        member = archive.getinfo(name)
    if member.compress_type != zipfile.ZIP_STORED:
        raise OptionError(
            f"table {table} is compressed, and can only be read from its beginning: an index needs one that is not "
            "(numpy.savez in place of savez_compressed)"
        )
    file.seek(member.header_offset)
    lengths = LOCAL_HEADER.unpack(file.read(LOCAL_HEADER.size))
    file.seek(sum(lengths), 1)


def _npy_rows(table: Path, file: IO[bytes]) -> RowReader:
    embeddings = Npy(table, file, 2)
    begin = file.tell()

    def read(spans: Sequence[Span]) -> NDArray[np.float32]:
        found = []
        for first, last in spans:
            file.seek(begin + first * embeddings.row_bytes)
            found.append(embeddings.take_float32(last - first))
        return np.concatenate(found)

    return RowReader(embeddings.rows, read)


def _lance_rows(table: Path) -> RowReader:
    dataset = require("lance", "lance").dataset(str(table))

    def read(spans: Sequence[Span]) -> NDArray[np.float32]:
        rows = np.concatenate([np.arange(first, last) for first, last in spans])
        return arrow_embeddings(dataset.take(rows, columns=["vector"]).column("vector").combine_chunks(), table)

    return RowReader(dataset.count_rows(), read)


def _parquet_rows(paths: Sequence[Path], opened: ExitStack) -> RowReader:
    parquet = require("pyarrow.parquet", "tables")
    files = [opened.enter_context(parquet.ParquetFile(path, buffer_size=1 << 20, pre_buffer=False)) for path in paths]
    counts = [[file.metadata.row_group(at).num_rows for at in range(file.num_row_groups)] for file in files]
    groups = [(path, file, at) for path, file, n in zip(paths, files, counts, strict=True) for at in range(len(n))]
    begins = [0, *accumulate(count for of_file in counts for count in of_file)]

    def read(spans: Sequence[Span]) -> NDArray[np.float32]:
        found = []
        for group, pieces in _by_group(spans, begins):
            path, file, at = groups[group]
            found.append(_rows_of_group(path, file, at, pieces))
        return np.concatenate(found)

    return RowReader(begins[-1], read)


def _by_group(spans: Sequence[Span], begins: Sequence[int]) -> Iterator[tuple[int, list[Span]]]:
    """The groups that hold spans, each with the spans within it."""
    group = -1
    pieces: list[Span] = []
    for first, last in spans:
        while first < last:
            own = bisect_right(begins, first) - 1
            end = min(last, begins[own + 1])
            if own != group:
                if pieces:
                    yield group, pieces
                group, pieces = own, []
            pieces.append((first - begins[own], end - begins[own]))
            first = end
    if pieces:
        yield group, pieces


def _rows_of_group(path: Path, file: Any, group: int, spans: Sequence[Span]) -> NDArray[np.float32]:
    """Some rows of a row group, which is read in small batches up to the last of them."""
    found = []
    begin, at = 0, 0
    for batch in file.iter_batches(batch_size=1024, row_groups=[group], columns=["vector"]):
        end = begin + len(batch)
        embeddings = None
        while at < len(spans) and spans[at][0] < end:
            first, last = max(spans[at][0], begin), min(spans[at][1], end)
            if embeddings is None:
                embeddings = arrow_embeddings(batch.column("vector"), path)
            found.append(embeddings[first - begin : last - begin])
            if spans[at][1] > end:
                break  # it goes on in the next batch
            at += 1
        if at == len(spans):
            return np.concatenate(found)
        begin = end
    raise SondinoError(f"{path}: a row group has fewer rows than its footer says; make the table again")
