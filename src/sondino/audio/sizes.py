"""What an AU, AIFF, CAF or FLAC file holds where its header has a length that is too small, or none.

libsndfile reads such files up to the length in the header. They are given to it with another header, whose length is
left open: for AIFF, which cannot do that, one of AU, or of WAV where the samples are little-endian.
"""

import os
import re
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import BinaryIO

from sondino.audio.decoded import Section, once_a_file
from sondino.audio.wav import CUT, NEVER_FINISHED, PADDING, TOO_SMALL, is_tag, wav_format, wav_header

AU_UNKNOWN = 0xFFFFFFFF
FLAC_TAIL = 1 << 17  # bytes at the end that hold the beginning of the last frame
_AU_CODECS = {(b"NONE", 1): 2, (b"NONE", 2): 3, (b"NONE", 3): 4, (b"NONE", 4): 5, (b"FL32", 4): 6, (b"FL64", 8): 7}
_AU_WIDTHS = {1: 1, 2: 1, 3: 2, 4: 3, 5: 4, 6: 4, 7: 8, 27: 1}
_SAME = {b"twos": b"NONE", b"in24": b"NONE", b"in32": b"NONE", b"fl32": b"FL32", b"fl64": b"FL64"}


@dataclass(frozen=True)
class Corrected:
    """A file with a header that is right, and the message about the one that it has."""

    file: Section
    note: str


def corrected_file(handle: BinaryIO, size: int) -> Corrected | None:
    """A file of `size` bytes whose header has no length, or one that is too small; None where it is right."""
    handle.seek(0)
    readers: dict[bytes, Callable[[BinaryIO, int], Corrected | None]] = {
        b".snd": _au, b"dns.": _au, b"FORM": _aiff, b"caff": _caf, b"fLaC": _flac,
    }  # fmt: skip
    reader = readers.get(handle.read(4))
    return None if reader is None else reader(handle, size)


def _au(handle: BinaryIO, size: int) -> Corrected | None:
    handle.seek(0)
    head = handle.read(24)
    order = {b".snd": ">", b"dns.": "<"}.get(head[:4])
    if order is None or len(head) < 24:
        return None
    start, declared, codec, rate, channels = struct.unpack(order + "5I", head[4:])
    if declared == AU_UNKNOWN or start < 24 or not _more(handle, start + declared, size):
        return None
    speed = rate * channels * _AU_WIDTHS.get(codec, 1)
    header = head[:8] + struct.pack(order + "I", AU_UNKNOWN) + head[12:24]
    stop = size
    if codec in _AU_WIDTHS:
        stop -= (size - start) % max(1, channels * _AU_WIDTHS[codec])
    header = header[:4] + struct.pack(order + "I", 24) + header[8:]
    return Corrected(Section(handle, [header, (start, stop)]), _note(declared, stop - start, speed))


def _aiff(handle: BinaryIO, size: int) -> Corrected | None:
    at, common, data = 12, b"", None
    while at + 8 <= size:
        handle.seek(at)
        kind, length = struct.unpack(">4sI", handle.read(8))
        if kind == b"COMM":
            common = handle.read(min(length, 64))
        elif kind == b"SSND":
            data = (at + 16, max(0, length - 8))
            break
        at += 8 + length + length % 2
    if data is None or len(common) < 18:
        return None
    start, declared = data
    if not _more(handle, start + declared, size):
        return None
    channels, _, bits, exponent, mantissa = struct.unpack(">hIhHQ", common[:18])
    rate = round(mantissa * 2.0 ** (exponent - 16383 - 63))
    width, coding = (bits + 7) // 8, common[18:22] or b"NONE"
    frame = channels * width
    if not 0 < rate < 1 << 32 or channels < 1 or width < 1:
        return None
    stop = size - (size - start) % frame
    if coding in (b"sowt", b"raw ") and not (coding == b"raw " and width > 1):
        fmt = wav_format(struct.pack("<HHIIHH", 1, channels, rate, rate * frame, frame, 8 * width), "<")
        assert fmt is not None
        header = wav_header(fmt, stop - start)
    else:
        codec = _AU_CODECS.get((_SAME.get(coding, coding), width))
        codec = {b"ulaw": 1, b"ULAW": 1, b"alaw": 27, b"ALAW": 27}.get(coding, codec)
        if codec is None:
            return None
        frame = channels * _AU_WIDTHS[codec]
        stop = size - (size - start) % frame
        header = struct.pack(">4s5I", b".snd", 24, AU_UNKNOWN, codec, rate, channels)
    return Corrected(Section(handle, [header, (start, stop)]), _note(declared, stop - start, rate * frame))


def _caf(handle: BinaryIO, size: int) -> Corrected | None:
    at, speed = 8, 0.0
    while True:
        handle.seek(at)
        chunk = handle.read(12)
        if len(chunk) < 12:
            return None
        kind, length = struct.unpack(">4sq", chunk)
        if kind == b"data":
            break
        if kind == b"desc" and length >= 32:
            rate, _, _, packet, frames = struct.unpack(">d4sIII", handle.read(24))
            speed = rate * packet / max(1, frames)  # bytes a second; 0 where packets have no one length
        if length < 0:
            return None
        at += 12 + length
    start = at + 12
    pieces: list[bytes | tuple[int, int]] = [(0, at + 4), b"\xff" * 8, (at + 12, size)]
    if not speed or length < 4:  # libsndfile reads on where there is no length
        return None
    if start + length > size + 1:  # libsndfile refuses it; some leave the last byte out, which is padding
        return Corrected(Section(handle, pieces), CUT.format(seconds=(size - start - 4) / speed))
    if start + length + 12 > size:
        return None
    handle.seek(start + length)
    kind, following = struct.unpack(">4sq", handle.read(12))
    if re.fullmatch(rb"[a-z]{4}", kind) and 0 <= following <= size - start - length - 12:
        return None
    if not _more(handle, start + length, size):
        return None
    return Corrected(Section(handle, pieces), _note(length - 4, size - start - 4, round(speed)))


def _flac(handle: BinaryIO, size: int) -> Corrected | None:
    handle.seek(0)
    head = handle.read(26)
    if len(head) < 26 or head[4] & 0x7F:
        return None
    rate = int.from_bytes(head[18:21], "big") >> 4
    declared = int.from_bytes(head[21:26], "big") & (1 << 36) - 1
    block = struct.unpack(">H", head[8:10])[0]
    held = _flac_samples(handle, size, block) if declared and rate else 0
    if held <= declared:
        return None
    # A total of 0 stands for one that is not known.
    pieces: list[bytes | tuple[int, int]] = [(0, 21), bytes([head[21] & 0xF0]) + bytes(4), (26, size)]
    return Corrected(Section(handle, pieces), _note(declared, held, rate))


@once_a_file
def flac_held(handle: BinaryIO) -> int | None:
    """Samples a channel that are there of a FLAC file that is cut short by its header; None where it is not.

    A file that ends in its last frame is not distinguished from one with a tag behind it.
    """
    size = handle.seek(0, os.SEEK_END)
    handle.seek(0)
    head = handle.read(26)
    if head[:4] != b"fLaC" or len(head) < 26 or head[4] & 0x7F:
        return None
    declared = int.from_bytes(head[21:26], "big") & (1 << 36) - 1
    block = struct.unpack(">H", head[8:10])[0]
    handle.seek(max(0, size - FLAC_TAIL))
    tail = handle.read()
    last = _last_flac_frame(tail)
    if last is None or last[1] * block + last[2] >= declared:
        return None
    at, number, length = last
    return number * block + (length if _crc(tail[at:], 16, 0x8005) == 0 else 0)


def flac_is_whole(handle: BinaryIO) -> bool:
    """Whether the last frame of a FLAC file ends with as many samples as its header says: nothing is put behind it."""
    size = handle.seek(0, os.SEEK_END)
    handle.seek(0)
    head = handle.read(26)
    if len(head) < 26 or head[4] & 0x7F:
        return False
    declared = int.from_bytes(head[21:26], "big") & (1 << 36) - 1
    return 0 < declared == _flac_samples(handle, size, struct.unpack(">H", head[8:10])[0])


def _flac_samples(handle: BinaryIO, size: int, block: int) -> int:
    """Samples before and in the last frame of a FLAC file, of blocks of one size; 0 where it is not found."""
    handle.seek(max(0, size - FLAC_TAIL))
    _, number, length = _last_flac_frame(handle.read()) or (0, 0, 0)
    return number * block + length


def _last_flac_frame(tail: bytes) -> tuple[int, int, int] | None:
    """First byte, number and samples of the last frame; None where there is none.

    Samples may look like a frame's header, but not like one with the number before or after that of a frame.
    """
    found: dict[int, tuple[int, int, int]] = {}
    for frame in _flac_frames(tail):
        if frame[1] + 1 in found:
            return found[frame[1] + 1]
        found.setdefault(frame[1], frame)
    return found.get(0)  # the only one


def _flac_frames(tail: bytes) -> Iterator[tuple[int, int, int]]:
    """First byte, number and samples of each frame of blocks of one size, from the last to the first."""
    at = len(tail)
    while (at := tail.rfind(b"\xff\xf8", 0, at)) >= 0:
        head = tail[at : at + 16]
        if len(head) < 16:
            continue
        extra = next((bit for bit in range(8) if not head[4] & 0x80 >> bit), 8)
        length = 4 + max(1, extra)  # the number of the frame is coded as UTF-8 codes a character
        code = head[2] >> 4
        sizes = {6: 1, 7: 2}.get(code, 0)
        end = length + sizes + {12: 1, 13: 2, 14: 2}.get(head[2] & 15, 0)
        if extra in (1, 8) or code == 0 or _crc(head[:end], 8, 0x07) != head[end]:
            continue
        number = head[4] & (0x7F if extra == 0 else (1 << (7 - extra)) - 1)
        for byte in head[5:length]:
            number = number << 6 | byte & 0x3F
        coded = int.from_bytes(head[length : length + sizes], "big") + 1
        last = coded if sizes else 192 if code == 1 else 576 << code - 2 if code < 6 else 256 << code - 8
        yield at, number, last


def _crc(data: bytes, bits: int, polynomial: int) -> int:
    value, top, mask = 0, 1 << bits - 1, (1 << bits) - 1
    for byte in data:
        value ^= byte << bits - 8
        for _ in range(8):
            value = (value << 1 ^ polynomial if value & top else value << 1) & mask
    return value


def _more(handle: BinaryIO, at: int, size: int) -> bool:
    """Whether samples follow at the byte where the header says that they end."""
    left = size - at
    handle.seek(at)
    head = handle.read(8)
    if left <= 8 or is_tag(head):
        return False
    # A chunk of an AIFF: an id of four letters and a size that fits.
    if head[:4].replace(b" ", b"a").isalnum() and struct.unpack(">I", head[4:])[0] <= left:
        return False
    handle.seek(at)
    return left >= PADDING or any(handle.read(left))


def _note(declared: int, held: int, speed: int) -> str:
    message = TOO_SMALL if declared else NEVER_FINISHED
    return message.format(claimed=declared / max(1, speed), seconds=held / max(1, speed))
