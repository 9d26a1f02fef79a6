"""How long an MPEG audio file really is.

libsndfile takes an mp3's length from its Xing header, or guesses it from the first frame's bit rate, and reads no
further. A variable-rate file without that header, or several files put together, would lose its end silently, or
seem truncated when it is complete.
"""

import mmap
from typing import BinaryIO

# Kilobits a second by the header's four bits: layer III of MPEG 1, then of MPEG 2 and 2.5.
BIT_RATES = (
    (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 0),
    (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160, 0),
)
SAMPLE_RATES = {3: (44100, 48000, 32000, 0), 2: (22050, 24000, 16000, 0), 0: (11025, 12000, 8000, 0)}


def mpeg_frames(handle: BinaryIO) -> int | None:
    """Samples a channel in an mp3, counted from its frame headers; None where its Xing header can be trusted.

    Args:
        handle: binary file at its beginning; its position is moved.
    """
    try:
        data: bytes | mmap.mmap = mmap.mmap(handle.fileno(), 0, access=mmap.ACCESS_READ)
    except (OSError, ValueError, AttributeError):
        data = handle.read()  # not a plain file: a member of a tar file, or bytes
    try:
        return _count(data)
    finally:
        if isinstance(data, mmap.mmap):
            data.close()


def _count(data: bytes | mmap.mmap) -> int | None:
    at = 0
    if data[:3] == b"ID3" and len(data) > 10:
        at = 10 + (data[6] << 21 | data[7] << 14 | data[8] << 7 | data[9])
    tag = max(data.find(b"Xing", at, at + 4096), data.find(b"Info", at, at + 4096))
    # The tag has the number of bytes it covers. A shorter file is truncated, and the tag is still right; further
    # bytes may be another file's audio.
    if tag >= 0 and len(data) > tag + 16 and data[tag + 7] & 2:
        skip = 8 + 4 * (data[tag + 7] & 1)
        if int.from_bytes(data[tag + skip : tag + skip + 4], "big") > 0.98 * (len(data) - at) - 1024:
            return None
    samples, end = 0, len(data) - 4
    while at < end:
        length, frame = _header(data[at], data[at + 1], data[at + 2])
        # A header is valid only if the next one follows at its length, or the file ends there.
        if length and (at + length >= end or data[at + length] == 0xFF):
            samples += frame
            at += length
        else:
            at = data.find(b"\xff", at + 1)
            if at < 0:
                break
    return samples


def _header(sync: int, kind: int, rate: int) -> tuple[int, int]:
    """Bytes and samples of the layer III frame with these three header bytes; (0, 0) where they are none."""
    version = kind >> 3 & 3
    if sync != 0xFF or kind & 0xE6 != 0xE2 or version == 1:
        return 0, 0
    hertz = SAMPLE_RATES[version][rate >> 2 & 3]
    bits = BIT_RATES[0 if version == 3 else 1][rate >> 4]
    if not hertz or not bits:
        return 0, 0
    samples = 1152 if version == 3 else 576
    return samples // 8 * bits * 1000 // hertz + (rate >> 1 & 1), samples
