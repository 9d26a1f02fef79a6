"""Unpacking untrusted archives: plain files only, nothing outside the folder, no more bytes than expected.

Zip (whole, or split into .z01, .z02, ... and .zip, which Python's zipfile cannot read) and tar.
"""

from __future__ import annotations

import gzip
import io
import lzma
import os
import re
import stat
import struct
import tarfile
import zipfile
import zlib
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from itertools import accumulate
from pathlib import Path
from typing import BinaryIO

from sondino.errors import SondinoError
from sondino.files import disk_error
from sondino.hub.download import BLOCK
from sondino.text import first_line

MEMBERS = 1_000_000
"""Files that an archive may hold; the largest data set has 290,000 in one."""

_END = struct.Struct("<4s4H2LH")  # the record that ends a zip
_LITTER = re.compile(r"(^|/)(__MACOSX/|\._|\.DS_Store$|Thumbs\.db$)")


@dataclass(frozen=True)
class _Member:
    """One file of an archive; `at` of `of` bytes of the archive are behind once it is read."""

    name: str
    size: int
    plain: bool
    content: Callable[[], Iterator[bytes]]
    at: int
    of: int


class _Damaged(Exception):
    """An archive that breaks off or is no archive."""


_DAMAGED = (
    *(_Damaged, zipfile.BadZipFile, tarfile.TarError, gzip.BadGzipFile),
    *(zlib.error, lzma.LZMAError, struct.error, EOFError, NotImplementedError),
)


def unpack(
    files: Sequence[Path],
    folder: Path,
    limit: int,
    strip: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> list[str]:
    """Write the files of an archive into a folder.

    Links and devices are never made, and no mode or owner is taken over. Nothing is written where a name leads out of
    the folder or where more than `limit` bytes would come out: the archive is refused, and what was written stays.

    Args:
        files: the archive; where it is in parts, all of them in order.
        folder: where to; made if needed. Files of the same names are overwritten.
        limit: bytes that may come out.
        strip: folders at the beginning of each name to leave out.
        progress: called with (bytes done, bytes in all).

    Returns:
        Names of links and devices, which were left out.

    Raises:
        SondinoError: the archive is damaged, dangerous, or of a kind that cannot be read.
        RunError: the disk is full or cannot be written.
    """
    name = files[-1].name
    left_out: list[str] = []
    written = count = 0
    try:
        for member in _members(files, limit):
            count += 1
            parts = _parts(member.name, name)
            if written + member.size > limit or count > MEMBERS:
                raise _too_much(name, limit)
            if not member.plain:
                left_out.append(member.name)
            elif parts[strip:] and not _LITTER.search("/".join(parts)):
                written += _write(folder.joinpath(*parts[strip:]), member, limit - written, name, limit)
            if progress:
                progress(member.at, member.of)
    except _DAMAGED as error:
        reason = first_line(error).rstrip(":")
        raise SondinoError(
            f"{name} is damaged or no archive ({reason}): delete {files[-1]} and fetch it again"
        ) from error
    return left_out


def _write(target: Path, member: _Member, left: int, archive: str, limit: int) -> int:
    """Write one file; its size."""
    size = 0
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with target.open("wb") as file:
            for block in member.content():
                size += len(block)
                if size > left:
                    raise _too_much(archive, limit)
                file.write(block)
    except gzip.BadGzipFile:
        raise  # an OSError, but nothing is wrong with the disk
    except OSError as error:
        raise disk_error(target, error) from error
    return size


def _parts(name: str, archive: str) -> list[str]:
    """The folders and the file that a name is made of."""
    straight = name.replace("\\", "/")
    parts = [part for part in straight.split("/") if part not in ("", ".")]
    if straight.startswith("/") or re.match(r"[A-Za-z]:", straight) or ".." in parts or "\0" in straight:
        raise SondinoError(
            f"{archive} holds {name!r}, which would lie outside of the folder: do not use this archive, "
            "and warn whoever gave it to you"
        )
    return parts


def _too_much(archive: str, limit: int) -> SondinoError:
    return SondinoError(
        f"{archive} holds more than the {limit / 1e6:,.0f} MB that are expected of it, or far too many files: "
        "it is not the archive that was published"
    )


def _members(files: Sequence[Path], limit: int) -> Iterator[_Member]:
    return _zip_members(files, limit) if files[-1].suffix == ".zip" else _tar_members(files[-1])


def _tar_members(file: Path) -> Iterator[_Member]:
    of = file.stat().st_size
    with file.open("rb") as raw, tarfile.open(fileobj=raw, mode="r:*") as tar:

        def content(entry: tarfile.TarInfo) -> Iterator[bytes]:
            opened = tar.extractfile(entry)
            while opened is not None and (block := opened.read(BLOCK)):
                yield block

        while (entry := tar.next()) is not None:
            tar.members = []  # type: ignore[attr-defined]  # it would keep all 300,000 of them
            if not entry.isdir():
                yield _Member(entry.name, entry.size, entry.isfile(), partial(content, entry), raw.tell(), of)


def _zip_members(files: Sequence[Path], limit: int) -> Iterator[_Member]:
    starts = [0, *accumulate(file.stat().st_size for file in files)][:-1]
    with _Joined(files) as joined:
        try:
            pack = zipfile.ZipFile(joined)
        except zipfile.BadZipFile as error:
            if "multiple disks" in str(error):
                raise SondinoError(
                    f"{files[-1].name} is a split zip of a kind that cannot be read here: join it with "
                    f"zip -s 0 {files[-1].name} --out whole.zip, and unpack that"
                ) from error
            raise
        # In a split zip an offset counts from its part's beginning; zipfile took all to be in the directory's part.
        shift = starts[_directory_part(joined, len(files))]
        entries = [entry for entry in pack.infolist() if not entry.is_dir()]
        at, of = 0, sum(entry.file_size for entry in entries)
        if of > limit:
            raise _too_much(files[-1].name, limit)
        for entry in entries:
            at += entry.file_size
            if entry.volume >= len(files):
                raise _Damaged(f"{entry.filename} lies in part {entry.volume + 1} of {len(files)}")
            start = entry.header_offset - shift + starts[entry.volume]
            kind = stat.S_IFMT(entry.external_attr >> 16)  # 0 where the zip was not made on Unix
            plain = kind in (0, stat.S_IFREG)
            yield _Member(entry.filename, entry.file_size, plain, partial(_inflated, joined, start, entry), at, of)


def _directory_part(joined: _Joined, parts: int) -> int:
    """The number of the part in which a zip's directory begins."""
    joined.seek(max(0, joined.size - (1 << 16) - _END.size))
    tail = joined.read()
    place = tail.rfind(b"PK\5\6")
    _, part, begins, *_ = _END.unpack_from(tail, place)
    if part != parts - 1 or begins > part:
        raise _Damaged(f"it has {part + 1} parts, and {parts} are here")
    return int(begins)


def _inflated(joined: _Joined, start: int, entry: zipfile.ZipInfo) -> Iterator[bytes]:
    """The content of a zip's member, checked against its size and CRC."""
    if entry.flag_bits & 1 or entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise _Damaged(f"{entry.filename} is locked, or packed by a method that is not known")
    joined.seek(start)
    head = joined.read(30)
    if head[:4] != b"PK\3\4":
        raise _Damaged(f"{entry.filename} is not where it should be")
    joined.seek(start + 30 + sum(struct.unpack_from("<2H", head, 26)))
    packed, left = zlib.decompressobj(-zlib.MAX_WBITS), entry.compress_size
    size = crc = 0
    while left:
        block = joined.read(min(BLOCK, left))
        if not block:
            raise _Damaged(f"{entry.filename} breaks off")
        left -= len(block)
        while block:
            plain = block
            if entry.compress_type == zipfile.ZIP_DEFLATED:
                plain, block = packed.decompress(block, BLOCK), packed.unconsumed_tail
            else:
                block = b""
            size, crc = size + len(plain), zlib.crc32(plain, crc)
            yield plain
    plain = packed.flush() if entry.compress_type == zipfile.ZIP_DEFLATED else b""
    if (size + len(plain), zlib.crc32(plain, crc)) != (entry.file_size, entry.CRC):
        raise _Damaged(f"the checksum of {entry.filename} is wrong")
    yield plain


class _Joined(io.BufferedIOBase):
    """Several files, one after another, read as one."""

    def __init__(self, files: Sequence[Path]) -> None:
        self._open = ExitStack()
        self._files: list[BinaryIO] = [self._open.enter_context(file.open("rb")) for file in files]
        self._ends = list(accumulate(file.stat().st_size for file in files))
        self._at = 0
        self.size = self._ends[-1]

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        self._at = max(0, offset + {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self.size}[whence])
        return self._at

    def read(self, size: int | None = -1) -> bytes:
        left = self.size - self._at if size is None or size < 0 else size
        blocks = []
        while left > 0 and self._at < self.size:
            number = bisect_right(self._ends, self._at)
            end = self._ends[number]
            file = self._files[number]
            file.seek(self._at - (self._ends[number - 1] if number else 0))
            block = file.read(min(left, end - self._at))
            if not block:  # it has become shorter
                break
            self._at += len(block)
            left -= len(block)
            blocks.append(block)
        return b"".join(blocks)

    def close(self) -> None:
        self._open.close()
        super().close()
