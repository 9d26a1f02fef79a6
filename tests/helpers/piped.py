"""Sound as it comes through a pipe: pieces of bytes, raw samples, and WAV by hand."""

import struct
from collections.abc import Iterator

import numpy as np

from helpers.tiny_bundle import TINY_RATE

SCALES = {"s16le": 2**15, "s24le": 2**23, "s32le": 2**31}


class Chunks:
    """A source that gives a piece a call and never more than is asked for, as a pipe does."""

    name = "<chunks>"

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self.pieces, self.left, self.given = pieces, b"", 0

    def read1(self, limit: int) -> bytes:
        self.left = self.left or next(self.pieces, b"")
        piece, self.left = self.left[:limit], self.left[limit:]
        self.given += len(piece)
        return piece

    def read(self, limit: int = -1) -> bytes:
        raise AssertionError("a read that waits for all that it asks for")


def raw(x: np.ndarray, sample_format: str = "s16le") -> bytes:
    if sample_format == "f32le":
        return x.astype("<f4").tobytes()
    whole = np.round(x.astype(np.float64) * (SCALES[sample_format] - 1)).astype("<i4")
    if sample_format == "s24le":
        return whole.reshape(-1, 1).view(np.uint8)[:, :3].tobytes()
    return whole.astype("<i2" if sample_format == "s16le" else "<i4").tobytes()


def wav(
    samples: bytes,
    rate: int = TINY_RATE,
    channels: int = 1,
    codec: int = 1,
    width: int = 2,
    size: int | None = None,
    extra: bytes = b"",
    extensible: bool = False,
) -> bytes:
    """A WAV by hand, since no library writes broken ones."""
    fmt = struct.pack("<HHIIHH", codec, channels, rate, rate * channels * width, channels * width, 8 * width)
    if extensible:
        guid = struct.pack("<H", codec) + bytes.fromhex("000000001000800000aa00389b71")
        fmt = struct.pack("<H", 0xFFFE) + fmt[2:] + struct.pack("<HHI", 22, 8 * width, 0) + guid
    size = len(samples) if size is None else size
    riff = 0xFFFFFFFF if size > 0x7FFF0000 else size + 36
    head = b"RIFF" + struct.pack("<I", riff) + b"WAVE" + b"fmt " + struct.pack("<I", len(fmt)) + fmt + extra
    return head + b"data" + struct.pack("<I", size) + samples


def cut_up(data: bytes, sizes: tuple[int, ...] = (1, 700, 3, 4096, 11)) -> Iterator[bytes]:
    at = turn = 0
    while at < len(data):
        piece = data[at : at + sizes[turn % len(sizes)]]
        yield piece
        at, turn = at + len(piece), turn + 1
