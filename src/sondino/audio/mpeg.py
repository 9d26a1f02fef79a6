"""How long an MPEG audio file really is: layers I, II and III, free format too; and MP3 files put together in one.

libsndfile takes an mp3's length from its Xing header, or guesses it from the first frame's bit rate, and reads no
further. A variable-rate file without that header, or several files put together, would lose its end silently, or
seem truncated when it is complete.
"""

import mmap
from collections.abc import Iterator
from dataclasses import dataclass
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

DECODER_DELAY = 529  # samples that a decoder adds to those that the encoder put before the sound
_TAG_PLACES = (13, 15, 21, 23, 36, 38)  # of a Xing header in its frame: behind the side information, and a CRC

_Bytes = bytes | mmap.mmap


@dataclass(frozen=True)
class _Tag:
    """A frame with a Xing header: its first byte and the one behind it, and what the header says.

    Attributes:
        at: first byte of the frame.
        end: behind its last byte.
        covered: bytes of this sound, the frame included; 0 where the header does not say.
        delay: samples that the encoder put before the sound.
    """

    at: int
    end: int
    covered: int
    delay: int


@once_a_file
def mpeg_frames(handle: BinaryIO) -> int | None:
    """Samples a channel in an MPEG audio file, counted from its frame headers; None where its Xing header is right.

    Args:
        handle: binary file; its position is moved.
    """
    with mapped(handle) as data:
        begin = _behind_tags(data, 0)
        # A file that is shorter than its Xing header says is truncated, and the header is still right.
        if _covers_all(data, begin, _first_tag(data, begin)):
            return None
        return _count(data, begin)


@once_a_file
def mpeg_held(handle: BinaryIO) -> int | None:
    """Samples a channel that are there where the file ends before its Xing header says; None where it does not.

    Args:
        handle: binary file; its position is moved.
    """
    with mapped(handle) as data:
        tag = _first_tag(data, _behind_tags(data, 0))
        if tag is None or tag.at + tag.covered <= len(data):
            return None
        return max(0, _count(data, tag.end, whole=True) - tag.delay - DECODER_DELAY)


def mpeg_starts(data: _Bytes) -> list[int]:
    """Where each sound of an MPEG audio file begins: at a Xing header, and behind the bytes that one covers.

    What an encoder put before and behind a sound can then be left out of each. Between sounds without such headers
    nothing says where they join.
    """
    begin = _behind_tags(data, 0)
    first = _first_tag(data, begin)
    if _covers_all(data, begin, first):
        return [0]
    tags = list(_tags(data, begin, len(data)))
    starts = {0} | {tag.at for tag in tags if tag != first}
    for tag, following in zip(tags, [*(tag.at for tag in tags), len(data)][1:], strict=True):
        place = _behind_tags(data, tag.at + tag.covered)
        length = frame_header(data[place : place + 3])[0]
        if tag.covered and place < following and frame_header(data[place + length : place + length + 3])[1]:
            starts.add(place)
    return sorted(starts)


def _covers_all(data: _Bytes, begin: int, tag: _Tag | None) -> bool:
    return tag is not None and tag.covered > 0.98 * (len(data) - begin) - 1024


def _first_tag(data: _Bytes, begin: int) -> _Tag | None:
    return next(_tags(data, begin, begin + 4096), None)


def _tags(data: _Bytes, begin: int, stop: int) -> Iterator[_Tag]:
    """The frames with a Xing header between two bytes."""
    places = []
    for name in (b"Xing", b"Info"):
        at = begin
        while (at := data.find(name, at, stop)) >= 0:
            places.append(at)
            at += 4
    for place in sorted(places):
        for offset in _TAG_PLACES:
            at = place - offset
            head = data[at : at + 4] if at >= begin else b""
            length = frame_header(head[:3])[0]
            if not length or offset not in (side := _side_information(head), side + 2) or place + 8 > len(data):
                continue
            flags = data[place + 7]
            fields = place + 8 + 4 * (flags & 1)
            covered = int.from_bytes(data[fields : fields + 4], "big") if flags & 2 else 0
            encoder = fields + 4 * (flags >> 1 & 1) + 100 * (flags >> 2 & 1) + 4 * (flags >> 3 & 1)
            named = data[encoder : encoder + 4] in (b"LAME", b"Lavf", b"Lavc")
            delay = int.from_bytes(data[encoder + 21 : encoder + 23], "big") >> 4 if named else 0
            yield _Tag(at, at + length, covered, delay)
            break


def _side_information(head: bytes) -> int:
    """Where the side information of a layer III frame with this header ends, without a CRC."""
    mono = head[3] >> 6 == 3
    if head[1] >> 3 & 3 == 3:  # MPEG 1
        return 4 + (17 if mono else 32)
    return 4 + (9 if mono else 17)


def _behind_tags(data: _Bytes, at: int) -> int:
    """The first byte behind the ID3 tags at a byte."""
    while True:
        if data[at : at + 3] == b"ID3" and len(data) > at + 10:
            at += 10 + (data[at + 6] << 21 | data[at + 7] << 14 | data[at + 8] << 7 | data[at + 9])
        elif data[at : at + 3] == b"TAG":
            at += 128
        else:
            return at


def _count(data: _Bytes, begin: int, whole: bool = False) -> int:
    """Samples a channel in the frames from a byte on.

    Args:
        data: the file.
        begin: of the first frame, or before it.
        whole: leave a frame out that the file ends in.
    """
    at, samples, end = begin, 0, len(data) - 4
    free = 0  # bytes of a frame of free format without padding, once known
    while at < end:
        length, frame, slot = frame_header(data[at : at + 3])
        if frame and not length:
            free = free or _free_length(data, at, slot)
            length = free + slot * (data[at + 2] >> 1 & 1) if free else 0
        if whole and at + length > len(data):
            break
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
