"""What an AU or AIFF file holds where its header has a length that is too small, or none.

libsndfile reads such files up to the length in the header. They are given to it with another header: of AU, whose
length may be left open, or of WAV where the samples are little-endian.
"""

import struct
from dataclasses import dataclass
from typing import BinaryIO

from sondino.audio.decoded import Section
from sondino.audio.wav import NEVER_FINISHED, PADDING, TOO_SMALL, is_tag, wav_header

AU_UNKNOWN = 0xFFFFFFFF
_AU_CODECS = {(b"NONE", 1): 2, (b"NONE", 2): 3, (b"NONE", 3): 4, (b"NONE", 4): 5, (b"FL32", 4): 6, (b"FL64", 8): 7}
_AU_WIDTHS = {1: 1, 2: 1, 3: 2, 4: 3, 5: 4, 6: 4, 7: 8, 27: 1}
_SAME = {b"twos": b"NONE", b"in24": b"NONE", b"in32": b"NONE", b"fl32": b"FL32", b"fl64": b"FL64"}


@dataclass(frozen=True)
class Mended:
    """A file with a header that is right, and the sentence about the one that it has."""

    file: Section
    note: str


def mended_au(handle: BinaryIO, size: int) -> Mended | None:
    """An AU file of `size` bytes whose header has no length or one that is too small; None where it is right."""
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
    return Mended(Section(handle, [header, (start, stop)]), _note(declared, stop - start, speed))


def mended_aiff(handle: BinaryIO, size: int) -> Mended | None:
    """An AIFF or AIFC file of `size` bytes whose header has no length or one that is too small; None as above."""
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
        fmt = struct.pack("<HHIIHH", 1, channels, rate, rate * frame, frame, 8 * width)
        header = wav_header(fmt, stop - start)
    else:
        codec = _AU_CODECS.get((_SAME.get(coding, coding), width))
        codec = {b"ulaw": 1, b"ULAW": 1, b"alaw": 27, b"ALAW": 27}.get(coding, codec)
        if codec is None:
            return None
        frame = channels * _AU_WIDTHS[codec]
        stop = size - (size - start) % frame
        header = struct.pack(">4s5I", b".snd", 24, AU_UNKNOWN, codec, rate, channels)
    return Mended(Section(handle, [header, (start, stop)]), _note(declared, stop - start, rate * frame))


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
    sentence = TOO_SMALL if declared else NEVER_FINISHED
    return sentence.format(claimed=declared / max(1, speed), seconds=held / max(1, speed))
