"""How long an MPEG audio file really is: layers I, II and III, free format too.

libsndfile takes an mp3's length from its Xing header, or guesses it from the first frame's bit rate, and reads no
further. A variable-rate file without that header, or several files put together, would lose its end silently, or
seem truncated when it is complete.
"""

import mmap
from functools import lru_cache
from typing import BinaryIO

from sondino.audio.decoded import mapped, once_a_file

# Kilobits a second by the header's four bits, for each (MPEG 1, layer); MPEG 2 and 2.5 share their tables.
BIT_RATES = {
    (True, 1): (0, 32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448),
    (True, 2): (0, 32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    (True, 3): (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (False, 1): (0, 32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256),
    (False, 2): (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
    (False, 3): (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
SAMPLE_RATES = {3: (44100, 48000, 32000), 2: (22050, 24000, 16000), 0: (11025, 12000, 8000)}
MAX_FRAME = 16384  # bytes of a frame of free format, at most; those of a table are shorter
TAGS = (b"TAG", b"APETAGEX", b"LYRICSBEGIN", b"ID3")

_Bytes = bytes | mmap.mmap


@once_a_file
def mpeg_frames(handle: BinaryIO) -> int | None:
    """Samples a channel in an MPEG audio file, counted from its frame headers; None where its Xing header is right.

    Args:
        handle: binary file; its position is moved.
    """
    with mapped(handle) as data:
        return _count(data)


def _count(data: _Bytes) -> int | None:
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
    free = 0  # bytes of a frame of free format without padding, once known
    while at < end:
        length, frame, slot = frame_header(data[at : at + 3])
        if frame and not length:
            free = free or _free_length(data, at, slot)
            length = free + slot * (data[at + 2] >> 1 & 1) if free else 0
        # A header is valid only if the next one follows at its length, or a tag, or the file ends there.
        if length and (at + length >= end or data[at + length] == 0xFF or _is_tag(data, at + length)):
            samples += frame
            at += length
        else:
            at = data.find(b"\xff", at + 1)
            if at < 0:
                break
    return samples


def _is_tag(data: _Bytes, at: int) -> bool:
    return data[at : at + 11].startswith(TAGS)


@lru_cache(4096)  # most frames of a file have the same
def frame_header(head: bytes) -> tuple[int, int, int]:
    """Bytes and samples of the frame with these header bytes, and bytes of its padding; no bytes: of free format.

    Returns:
        (0, 0, 0) where they are no header.
    """
    if len(head) < 3 or head[0] != 0xFF or head[1] & 0xE0 != 0xE0:
        return 0, 0, 0
    version, layer = head[1] >> 3 & 3, 4 - (head[1] >> 1 & 3)
    bits, rate = head[2] >> 4, head[2] >> 2 & 3
    if version == 1 or layer == 4 or bits == 15 or rate == 3:
        return 0, 0, 0
    first = version == 3
    samples = 384 if layer == 1 else 1152 if layer == 2 or first else 576
    slot = 4 if layer == 1 else 1
    kilobits = BIT_RATES[first, layer][bits]
    if not kilobits:
        return 0, samples, slot
    slots = samples // 8 // slot * kilobits * 1000 // SAMPLE_RATES[version][rate] + (head[2] >> 1 & 1)
    return slots * slot, samples, slot


def _free_length(data: _Bytes, at: int, slot: int) -> int:
    """Bytes of a frame of free format without padding: from one header to the next like it, and to a third."""

    def same_kind(place: int) -> bool:
        other = data[place : place + 3]
        return len(other) == 3 and other[:2] == data[at : at + 2] and not (other[2] ^ data[at + 2]) & 0xFC

    def padding(place: int) -> int:
        return slot * (data[place + 2] >> 1 & 1)

    place = at
    while (place := data.find(data[at : at + 2], place + 1, at + MAX_FRAME)) >= 0:
        length = place - at - padding(at)
        third = place + length + padding(place) if same_kind(place) else len(data)
        if length > 24 and (same_kind(third) or third >= len(data) - 4 > place):
            return length
    return 0
