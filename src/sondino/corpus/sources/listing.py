"""Where a clip's file lies, and the list of what was given, before anything is opened."""

import io
import os
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, BinaryIO

from sondino.errors import require

if TYPE_CHECKING:
    import pyarrow as pa
else:
    pa = require("pyarrow", "train")

NOT_UTF8 = "its name is not UTF-8: rename it"

Opener = Callable[[], AbstractContextManager[str | BinaryIO]]
"""Gives a file as what `sondino.audio` reads: a local path, or an open binary file. Called in any thread."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where the bytes of one file of sound lie.

    Attributes:
        path: of the file that holds them, from the listing's root, or a URL.
        offset: first byte of a tar's member; None: not in a tar.
        length: bytes of a tar's member, or of an object of a store; None: of a local file, or not known.
        group: row group of a Parquet file.
        row: in that row group, or in an HDF5 file.
        column: of the Parquet file, or data set of the HDF5 file.
    """

    path: str
    offset: int | None = None
    length: int | None = None
    group: int | None = None
    row: int | None = None
    column: str | None = None


PLACE_COLUMNS = ("path", "offset", "length", "group", "row", "column")
"""Of a table of entries or clips; one that it does not have holds nothing."""
IDENTITY = "identity"
"""Column of entries alone: size and ETag of the object of a store that holds the file, where they are known."""


@dataclass(frozen=True)
class Listing:
    """What was given, before anything is opened: a row for each file or stretch of a file."""

    root: str
    """Folder, or URL, that relative paths start from."""
    entries: pa.Table
    """Columns of PLACE_COLUMNS and IDENTITY, and what a source gave of id, start, duration (s), label, split."""
    skipped: list[tuple[str, str]] = field(default_factory=list)
    """(path, reason) of what was passed over."""
    notes: tuple[str, ...] = ()
    """Messages to report."""


def is_url(path: str) -> bool:
    """Whether a path is to be opened by fsspec."""
    return "://" in path


def joined(root: str, path: str) -> str:
    """A stored path as a whole one, or as a URL."""
    if is_url(path):
        return path
    return f"{root.rstrip('/')}/{path}" if is_url(root) else os.path.join(root, path)  # noqa: PTH118


def not_utf8(name: str) -> bool:
    """Whether a name has bytes that are not UTF-8, which Parquet cannot hold."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return True
    return False


def make_entries(
    paths: Sequence[str],
    offsets: Sequence[int | None] | None = None,
    lengths: Sequence[int | None] | None = None,
    **more: Any,
) -> pa.Table:
    """A table of entries: path, offset and length, and further columns as they are given."""
    missing = pa.nulls(len(paths), pa.int64())
    columns = {
        "path": pa.array(paths, pa.string()),
        "offset": missing if offsets is None else pa.array(offsets, pa.int64()),
        "length": missing if lengths is None else pa.array(lengths, pa.int64()),
    }
    return pa.table(columns | more)


def strings(cells: Sequence[str | None]) -> pa.Array:
    """Cells as an array, null where they are empty."""
    return pa.array([cell or None for cell in cells], pa.string())


def places_of(table: pa.Table, rows: Sequence[int] | None = None) -> list[Place]:
    """The places of some rows of a table of entries or clips, or of all."""
    chosen = table if rows is None else table.take(pa.array(rows, pa.int64()))
    names = [name for name in PLACE_COLUMNS if name in chosen.column_names]
    return [Place(**row) for row in chosen.select(names).to_pylist()]


def in_memory(content: bytes) -> Opener:
    """How to open bytes that are there."""
    return lambda: nullcontext(io.BytesIO(content))


def failing(error: Exception) -> Opener:
    """How to open what cannot be: the error is raised where the sound is wanted."""

    def opener() -> AbstractContextManager[str | BinaryIO]:
        raise error

    return opener
