"""What a decoder opens and gives, and a part of a file as a file of its own."""

import io
import mmap
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import wraps
from typing import BinaryIO, TypeVar

import numpy as np
from numpy.typing import NDArray

from sondino.errors import AudioError


@dataclass(frozen=True)
class FilePart:
    """Some bytes of a file as a sound by itself: a member of a tar file, or a file that has another name for users.

    Attributes:
        name: of the sound, for messages.
        file: that holds it.
        offset: first byte.
        length: bytes; None: to the end.
        start: seconds where what is meant begins.
        duration: seconds of it; None: to the end.
        owner: what must live as long as this does, such as a temporary file.
    """

    name: str
    file: str
    offset: int = 0
    length: int | None = None
    start: float = 0.0
    duration: float | None = None
    owner: object = None

    @contextmanager
    def opened(self) -> Iterator[BinaryIO]:
        """The bytes as a file by themselves, read as they are needed."""
        with ExitStack() as stack:
            try:
                handle: BinaryIO = stack.enter_context(open(self.file, "rb"))  # noqa: PTH123
                end = handle.seek(0, os.SEEK_END) if self.length is None else self.offset + self.length
            except OSError as error:
                raise AudioError(f"{self.name}: cannot be read ({error.strerror or error})") from error
            yield Section(handle, [(self.offset, end)])  # type: ignore[misc]


Source = str | os.PathLike[str] | BinaryIO | FilePart
"""A path, a binary file open for reading, or a part of a file."""

BLOCK_SAMPLES = 1 << 16  # samples of all channels together in one decoded block: what a processor's cache holds
REMEMBERED = 4096  # files of which facts are kept
LOWEST_RATE, HIGHEST_RATE = 100, 10_000_000  # hertz: a header with a rate outside them is damaged


Found = TypeVar("Found")


@dataclass(frozen=True)
class Decoded:
    """An open audio file.

    Attributes:
        rate: hertz.
        channels: number of channels.
        frames: length, or None where nothing but decoding gives it.
        blocks: (first frame, number of frames or None for all) -> blocks (frames, channels) float32. Warns if
            fewer samples can be decoded than the file should have.
        floats: its samples are stored as floats, whose full scale is not known.
        held: frames that are there of a file that is known to be cut short; None: all of `frames`.
    """

    rate: int
    channels: int
    frames: int | None
    blocks: Callable[[int, int | None], Iterator[NDArray[np.float32]]]
    floats: bool = False
    held: int | None = None

    @property
    def length(self) -> int | None:
        """Frames that are there, as far as that is known without decoding; None where it is not."""
        return self.frames if self.held is None else self.held


def source_name(source: Source) -> str:
    """A source in messages: its path, or the name of the open file."""
    if isinstance(source, FilePart):
        return source.name
    if isinstance(source, (str, os.PathLike)):
        return os.fspath(source)
    return str(getattr(source, "name", "") or "an open file")


def check_file_rate(name: str, rate: int) -> None:
    """Raises AudioError where a header's rate (hertz) cannot be that of sound."""
    if not LOWEST_RATE <= rate <= HIGHEST_RATE:
        raise AudioError(f"{name}: a rate of {rate} Hz is outside 100 Hz to 10 MHz; its header is damaged")


@contextmanager
def mapped(handle: BinaryIO) -> Iterator[bytes | mmap.mmap]:
    """All bytes of a file, mapped into memory where it is a plain one; read where it is not."""
    handle.seek(0)
    try:
        data: bytes | mmap.mmap = mmap.mmap(handle.fileno(), 0, access=mmap.ACCESS_READ)
    except (OSError, ValueError, AttributeError):
        data = handle.read()  # a member of a tar file, or bytes
    try:
        yield data
    finally:
        if isinstance(data, mmap.mmap):
            data.close()


def once_a_file(find: Callable[[BinaryIO], Found]) -> Callable[[BinaryIO], Found]:
    """Remember what was found in a file as long as it does not change: a recording is opened for every clip of it."""
    known: dict[tuple[object, ...], Found] = {}

    @wraps(find)
    def found(handle: BinaryIO) -> Found:
        key: tuple[object, ...] | None = getattr(handle, "identity", None)  # an object of a store has one
        if key is None:
            try:
                facts = os.fstat(handle.fileno())
            except (OSError, ValueError, AttributeError):
                return find(handle)  # not a plain file: a member of a tar file, or bytes
            key = (facts.st_dev, facts.st_ino, facts.st_size, facts.st_mtime_ns)
        if key not in known:
            if len(known) >= REMEMBERED:
                known.clear()
            known[key] = find(handle)
        return known[key]

    return found


class Section(io.RawIOBase):
    """Bytes, and stretches (first byte, last byte + 1) of a file, one after the other as one file to read."""

    def __init__(self, handle: BinaryIO, pieces: Sequence[bytes | tuple[int, int]]) -> None:
        self._handle = handle
        self._pieces = pieces
        lengths = [len(piece) if isinstance(piece, bytes) else piece[1] - piece[0] for piece in pieces]
        self._starts = [sum(lengths[:i]) for i in range(len(lengths) + 1)]
        self._at = 0

    def readable(self) -> bool:  # noqa: D102
        return True

    def seekable(self) -> bool:  # noqa: D102
        return True

    def tell(self) -> int:  # noqa: D102
        return self._at

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:  # noqa: D102
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._starts[-1]}[whence]
        self._at = max(0, base + offset)
        return self._at

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]  # noqa: D102
        done = 0
        for number, piece in enumerate(self._pieces):
            start, stop = self._starts[number], self._starts[number + 1]
            if not start <= self._at < stop or done == len(buffer):
                continue
            wanted = min(len(buffer) - done, stop - self._at)
            skip = self._at - start
            if isinstance(piece, bytes):
                data = piece[skip : skip + wanted]
            else:
                self._handle.seek(piece[0] + skip)
                data = self._handle.read(wanted)
            buffer[done : done + len(data)] = data
            done += len(data)
            self._at += len(data)
            if len(data) < wanted:  # the file has become shorter
                break
        return done
