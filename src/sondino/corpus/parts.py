"""Files that are whole or absent: matrices filled in parts, each counted only once it is on disk."""

import os
import shutil
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from filelock import FileLock
from numpy.typing import DTypeLike, NDArray

from sondino.errors import RunError
from sondino.files import disk_error, make_folder, new_file, read_json, write_json


@dataclass(frozen=True)
class Parts:
    """Rows of a few matrices in equal parts, with one small marker file for each part that is whole.

    A marker is written only after the data of its part is on disk, and by a rename, so what has a marker is whole
    however the process ended.
    """

    folder: Path
    rows: int
    size: int
    """Rows a part."""

    @property
    def count(self) -> int:
        """How many parts there are."""
        return -(-self.rows // self.size)

    def span(self, part: int) -> tuple[int, int]:
        """First row of a part and the one after its last."""
        return part * self.size, min(self.rows, (part + 1) * self.size)

    def marker(self, part: int) -> Path:
        """The file that marks a part as complete."""
        return self.folder / "parts" / f"{part:06d}.json"

    def prepare(self, **matrices: tuple[tuple[int, ...], DTypeLike]) -> None:
        """Create the matrices (name: shape, dtype) that are not there, and make sure that markers speak of them."""
        with FileLock(self.folder / ".prepare.lock"):  # of several processes that share the parts, one prepares
            self._prepare(matrices)

    def _prepare(self, matrices: Mapping[str, tuple[tuple[int, ...], DTypeLike]]) -> None:
        if not all((self.folder / f"{name}.npy").exists() for name in matrices):
            shutil.rmtree(self.folder / "parts", ignore_errors=True)  # of a matrix that someone has removed
        for name, (shape, dtype) in matrices.items():
            create_matrix(self.folder / f"{name}.npy", shape, dtype)

    def mark(self, part: int, values: Mapping[str, Any]) -> None:
        """Mark a part as complete; its data must be on disk."""
        make_folder(self.folder / "parts")
        write_json(self.marker(part), values)

    def done(self) -> set[int]:
        """The parts that are whole."""
        try:
            names = [file.name for file in (self.folder / "parts").iterdir()]
        except FileNotFoundError:
            return set()
        return {int(name[:6]) for name in names if len(name) == 11 and name.endswith(".json")} & set(range(self.count))

    def rows_done(self) -> int:
        """Rows of the parts that are whole."""
        return sum(stop - first for first, stop in map(self.span, self.done()))

    def records(self) -> Iterator[dict[str, Any]]:
        """The values of every whole part's marker, in order of parts."""
        for part in sorted(self.done()):
            yield read_json(self.marker(part))


def create_matrix(file: Path, shape: tuple[int, ...], dtype: DTypeLike) -> None:
    """Create a .npy file of zeros that takes its room as it is filled; one that is there already stays.

    Raises:
        RunError: the disk has less room than the whole matrix needs, or it cannot be written.
    """
    if file.exists():
        return
    needed = int(np.prod(shape, dtype=np.int64)) * np.dtype(dtype).itemsize
    try:
        free = shutil.disk_usage(file.parent).free
        if needed > free:
            raise RunError(
                f"{file} needs {needed / 1e9:.1f} GB and {free / 1e9:.1f} GB are free: make room, or give "
                "another folder"
            )
        with new_file(file) as opened:
            header = {"descr": np.lib.format.dtype_to_descr(np.dtype(dtype)), "fortran_order": False, "shape": shape}
            np.lib.format.write_array_header_1_0(opened, header)
            opened.truncate(opened.tell() + needed)
    except OSError as error:
        raise disk_error(file, error) from error


def matrix_offset(opened: BinaryIO) -> int:
    """Bytes of header before the first number of an open .npy file."""
    opened.seek(0)
    np.lib.format.read_magic(opened)
    np.lib.format.read_array_header_1_0(opened)
    return opened.tell()


def write_rows(file: Path, first: int, rows: NDArray[Any]) -> int:
    """Write rows of a matrix made by `create_matrix`, put them on disk, and return their CRC-32.

    Plain writes, not a memory map: on a full disk they fail with an error that can be reported, where a map
    kills the process.
    """
    content = np.ascontiguousarray(rows)
    try:
        with file.open("r+b") as opened:
            width = content.itemsize * int(np.prod(content.shape[1:], dtype=np.int64))
            opened.seek(matrix_offset(opened) + first * width)
            opened.write(content.data)
            opened.flush()
            os.fsync(opened.fileno())
    except OSError as error:
        raise disk_error(file, error) from error
    return zlib.crc32(content.data)


def read_rows(file: Path, spans: Sequence[tuple[int, int]], dim: int, dtype: DTypeLike) -> NDArray[Any]:
    """Rows of a matrix in stretches of neighbours, read by plain reads: mapped pages would count as our memory."""
    with file.open("rb") as opened:
        offset, width = matrix_offset(opened), dim * np.dtype(dtype).itemsize
        rows = np.empty((sum(stop - start for start, stop in spans), dim), dtype=dtype)
        place = 0
        for start, stop in spans:
            opened.seek(offset + start * width)
            block = rows[place : place + stop - start]
            if opened.readinto(block.data) != block.nbytes:
                raise RunError(f"{file} is shorter than it was written: remove {file.parent} and make it again")
            place += stop - start
    return rows
