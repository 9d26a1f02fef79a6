"""What a WAV holds, for files and pipes alike: RIFF, RIFX (big-endian), RF64 and BW64.

A header may have a wrong length: recorders write 0 and never come back after a power cut, programs that write to a
pipe write a number that stands for "unknown", a 32-bit size wraps past 4 GiB, and files are put together. What is
there is read; where the header says otherwise, a message says so. The page of `sondino demo` follows the same rules
(web/src/riff.ts) but for RIFX, which it leaves to the browser; all are tested on tests/data/wav_headers.json.
"""

import re
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

TAGS = (b"RIFF", b"RIFX", b"RF64", b"BW64")
PCM, FLOAT, EXTENSIBLE = 1, 3, 0xFFFE  # codecs of a WAV header
SAMPLE_FORMATS = {
    (PCM, 1): "u8",
    (PCM, 2): "s16le",
    (PCM, 3): "s24le",
    (PCM, 4): "s32le",
    (FLOAT, 4): "f32le",
    (FLOAT, 8): "f64le",
}
WIDTHS = {name: width for (_, width), name in SAMPLE_FORMATS.items()}
UNKNOWN = (1 << 63) - 1  # sizes from here on stand for "unknown", as 0 does
PADDING = 4096  # zero bytes at the end, fewer than these, are no samples
NEVER_FINISHED = "its header was never finished; all {seconds:.2f} s after it are read"
TOO_SMALL = "its header says {claimed:.2f} s, {seconds:.2f} s are there and are read"
CUT = "truncated or damaged (it is cut short); read up to {seconds:.2f} s"
FOLLOW = "{count} sounds follow one another in this file; all are read"
LEFT_OUT = "another sound follows, which cannot be read and is left out"

END_CHUNKS = 1 << 16  # bytes at the end of a file in which chunks behind samples of no length are looked for

_ID = re.compile(rb"[A-Za-z0-9_ ]{4}")
_AT_END_IDS = (b"LIST", b"JUNK", b"PEAK", b"_PMX", b"iXML", b"bext", b"cue ", b"smpl", b"inst", b"fact", b"acid",
               b"afsp", b"id3 ", b"ID3 ")  # fmt: skip
_AT_END = re.compile(b"|".join(_AT_END_IDS))


@dataclass(frozen=True)
class WavFormat:
    """A fmt chunk: hertz, channels, codec, bytes a sample, bytes a frame, bytes a second, its bytes and their order."""

    rate: int
    channels: int
    codec: int
    bits: int
    width: int
    frame: int
    bytes_per_second: int
    body: bytes
    order: str

    @property
    def sample_format(self) -> str | None:
        """The format of its samples, None where they are compressed."""
        return SAMPLE_FORMATS.get((self.codec, self.width))


def byte_order(tag: bytes) -> str:
    """The order of bytes in a WAV that begins so, as `struct` and NumPy write it."""
    return ">" if tag == b"RIFX" else "<"


def wav_format(body: bytes, order: str) -> WavFormat | None:
    """Read the body of a fmt chunk; None where it is too short."""
    if len(body) < 16:
        return None
    codec, channels, rate, bytes_per_second, frame, bits = struct.unpack(f"{order}HHIIHH", body[:16])
    if codec == EXTENSIBLE and len(body) >= 26:
        (codec,) = struct.unpack(f"{order}H", body[24:26])
    # The width of a sample is that of the frame; where that is wrong, that of its bits.
    width = frame // channels if channels and frame and frame % channels == 0 else (bits + 7) // 8
    pcm = (codec, width) in SAMPLE_FORMATS
    frame = channels * width if pcm else max(frame, 1)
    return WavFormat(rate, channels, codec, bits, width, frame, rate * frame if pcm else bytes_per_second, body, order)


def is_wav(head: bytes) -> bool:
    """Whether these twelve bytes begin a WAV."""
    return head[:4] in TAGS and head[8:12] == b"WAVE"


def is_chunk(head: bytes, left: int, order: str) -> bool:
    """Whether these eight bytes begin a chunk that ends within `left` bytes."""
    if len(head) < 8 or not _ID.fullmatch(head[:4]) or head[:4].isspace():
        return False
    return chunk_size(head, order) <= left - 8


def chunk_size(head: bytes, order: str) -> int:
    """The size of the chunk that these eight bytes begin."""
    return int(struct.unpack(f"{order}I", head[4:8])[0])


def chunks_at_end(data: bytes, order: str) -> int:
    """Where chunks begin that end just where `data` ends; its length where there are none."""
    for found in _AT_END.finditer(data):
        if _are_chunks(data[found.start() :], order, whole=True):
            return found.start()
    return len(data)


def before_chunks_at_end(pieces: Iterable[bytes], order: str) -> Iterator[bytes]:
    """The bytes before `chunks_at_end`, as they come: only what may be such chunks is held back."""
    held = b""
    for piece in pieces:
        held += piece
        while held:
            found = _AT_END.search(held)
            if found is None:
                begun = (n for n in (3, 2, 1) if any(name.startswith(held[-n:]) for name in _AT_END_IDS))
                kept = held[len(held) - next(begun, 0) :]  # the last bytes may begin an id
                yield held[: len(held) - len(kept)]
                held = kept
                break
            if found.start():
                yield held[: found.start()]
                held = held[found.start() :]
            if _are_chunks(held, order, whole=False):
                break
            yield held[:1]
            held = held[1:]
    yield held[: chunks_at_end(held, order)]


def _are_chunks(data: bytes, order: str, whole: bool) -> bool:
    """Whether these bytes are chunks without samples; where they are not the whole, whether they may begin some."""
    at = 0
    while at + 8 <= len(data):
        head = data[at : at + 8]
        left = len(data) if whole else END_CHUNKS
        if not is_chunk(head, left - at, order) or head[:4] == b"data":
            return False
        size = chunk_size(head, order)
        at += 8 + size + size % 2
    return at >= len(data) or not whole


def is_tag(head: bytes) -> bool:
    """Whether a tag begins here that players put behind the chunks."""
    return head.startswith((b"ID3", b"TAG", b"APETAGEX"))


def declared_size(tag: bytes, size: int, ds64: bytes) -> int:
    """Bytes of samples by the header: 0 where it was never written, UNKNOWN where a number stands for that.

    Args:
        tag: the first four bytes of the WAV.
        size: of the data chunk.
        ds64: the body of the ds64 chunk; empty where there is none.
    """
    if tag in (b"RF64", b"BW64") and size == 0xFFFFFFFF:
        large = int(struct.unpack("<Q", ds64[8:16])[0]) if len(ds64) >= 16 else UNKNOWN
        return min(large, UNKNOWN)
    return size


def is_stand_in(size: int) -> bool:
    """Whether a size is one that programs write which do not know the length: 2 or 4 GiB, or a little less."""
    return 0x7FFFF000 <= size <= 0x80001000 or 0xFFFFF000 <= size <= 0xFFFFFFFF or size >= UNKNOWN


def wav_samples(data: bytes, sample_format: str, channels: int, order: str) -> NDArray[np.float32]:
    """Whole frames of bytes as (frames, channels) float32, whole numbers scaled to -1..1.

    Args:
        data: the bytes.
        sample_format: one of `SAMPLE_FORMATS`.
        channels: in a frame.
        order: of the bytes, as `byte_order` gives it.
    """
    width = WIDTHS[sample_format]
    if sample_format[0] == "f":
        with np.errstate(over="ignore"):  # what float32 cannot hold becomes infinite, and counts as such
            x = np.frombuffer(data, f"{order}f{width}").astype(np.float32)
        return x.reshape(-1, channels)
    if sample_format == "u8":
        x = np.frombuffer(data, np.uint8).astype(np.float32)
        x -= 128
    elif sample_format == "s24le":
        wide = np.zeros((len(data) // 3, 4), np.uint8)  # the upper three bytes of 32 bits
        wide[:, 1:] = np.frombuffer(data, np.uint8).reshape(-1, 3)[:, :: 1 if order == "<" else -1]
        x = wide.view("<i4")[:, 0].astype(np.float32)
        width = 4
    else:
        x = np.frombuffer(data, f"{order}i{width}").astype(np.float32)
    x *= np.float32(2.0 ** (1 - 8 * width))
    return x.reshape(-1, channels)


# ---- files ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class WavSound:
    """One sound of a WAV file.

    Attributes:
        format: of its samples.
        start: its first byte.
        stop: behind its last byte.
        note: what is wrong with its header, as a message; empty where nothing is.
        cut: the file ends before the length in its header.
        as_declared: the header says the same.
    """

    format: WavFormat
    start: int
    stop: int
    note: str
    cut: bool
    as_declared: bool


def wav_sounds(handle: BinaryIO, size: int) -> list[WavSound]:
    """The sounds of a WAV file of `size` bytes, one after the other; none where its header is damaged."""
    sounds: list[WavSound] = []
    at: int | None = 0
    while at is not None:
        found = _sound(handle, at, size, sounds[-1].format if sounds else None)
        if found is None:
            if sounds:
                sounds[-1] = replace(sounds[-1], note=sounds[-1].note or LEFT_OUT, as_declared=False)
            break
        sound, at = found
        sounds.append(sound)
    return sounds


def wav_header(layout: WavFormat, size: int) -> bytes:
    """A header for `size` bytes of samples of this format."""
    body, order = layout.body, layout.order
    fmt = b"fmt " + struct.pack(f"{order}I", len(body)) + body + bytes(len(body) % 2)
    if size < 0xFFFF0000:
        tag = b"RIFX" if order == ">" else b"RIFF"
        riff, data = (struct.pack(f"{order}I", count) for count in (12 + len(fmt) + size, size))
        return tag + riff + b"WAVE" + fmt + b"data" + data
    ds64 = b"ds64" + struct.pack("<IQQQI", 28, 48 + len(fmt) + size, size, 0, 0)
    return b"RF64\xff\xff\xff\xffWAVE" + ds64 + fmt + b"data\xff\xff\xff\xff"


def _sound(handle: BinaryIO, at: int, end: int, last: WavFormat | None) -> tuple[WavSound, int | None] | None:
    """The sound whose header is at a byte, and where another begins.

    Args:
        handle: the file.
        at: of a WAV, or of a further data chunk of the same WAV.
        end: of the file.
        last: the format of the sound before.
    """
    head = _bytes(handle, at, 12)
    if head[:4] == b"data" and last is not None:
        layout = last
        declared, at = chunk_size(head, last.order), at + 8
        whole = False
    else:
        order, fmt, ds64 = byte_order(head[:4]), b"", b""
        riff = at + 8 + chunk_size(head, order) if len(head) == 12 else 0
        declared = -1
        for start, kind, size in _chunks(handle, at + 12, order):
            if kind == b"data":
                declared, at = declared_size(head[:4], size, ds64), start
                break
            if kind == b"fmt ":
                fmt = _bytes(handle, start, min(size, PADDING))
            elif kind == b"ds64":
                ds64 = _bytes(handle, start, 16)
        found = wav_format(fmt, order)
        if declared < 0 or found is None or not is_wav(head):
            return None
        layout = found
        # The 64-bit kinds are read with a header of ours, the others as they are where that is right.
        whole = head[:4] in (b"RIFF", b"RIFX") and riff >= min(at + declared, end)
    stop, following, note = _extent(handle, at, declared, end, layout.order)
    cut = declared > end - at and not is_stand_in(declared)
    as_declared = whole and declared >= stop - at and (cut or declared == stop - at)
    if layout.sample_format:
        stop -= (stop - at) % layout.frame
    speed = max(1, layout.bytes_per_second)
    message = note.format(claimed=declared / speed, seconds=(stop - at) / speed)
    return WavSound(layout, at, stop, message, cut, as_declared), following


def _extent(handle: BinaryIO, start: int, declared: int, end: int, order: str) -> tuple[int, int | None, str]:
    """Where the samples that begin at `start` end, where another sound begins, and the message about the header."""
    rest = end - start
    if declared == 0:
        if _goes_on(handle, start, end, order):
            return start, _next_sound(handle, start, end, order), ""
        return _before_chunks(handle, start, end, order), None, NEVER_FINISHED if rest else ""
    if declared >= rest:
        return _before_chunks(handle, start, end, order) if is_stand_in(declared) else end, None, ""
    for at in (start + declared + declared % 2, start + declared):
        if _follows(handle, at, end, order):
            return start + declared, _next_sound(handle, at, end, order), ""
    for turns in range((rest - declared) >> 32, 0, -1):  # a size that has wrapped, and chunks after the samples
        at = start + declared + (turns << 32)
        if _goes_on(handle, at + declared % 2, end, order):
            return at, _next_sound(handle, at + declared % 2, end, order), TOO_SMALL
    return _before_chunks(handle, start + declared, end, order), None, TOO_SMALL


def _before_chunks(handle: BinaryIO, start: int, end: int, order: str) -> int:
    """Where samples of no length end that begin at a byte: before the chunks at the end of the file."""
    first = max(start, end - END_CHUNKS)
    return first + chunks_at_end(_bytes(handle, first, end - first), order)


def _goes_on(handle: BinaryIO, at: int, end: int, order: str) -> bool:
    """Whether a chunk or another WAV begins at a byte."""
    head = _bytes(handle, at, 12)
    return is_wav(head) or is_chunk(head, end - at, order)


def _follows(handle: BinaryIO, at: int, end: int, order: str) -> bool:
    """Whether what comes at a byte is none of the samples: a chunk, another WAV, a tag, padding, or a few bytes."""
    left = end - at
    if left < 8 or _goes_on(handle, at, end, order) or is_tag(_bytes(handle, at, 8)):
        return True
    return left < PADDING and not any(_bytes(handle, at, left))


def _next_sound(handle: BinaryIO, at: int, end: int, order: str) -> int | None:
    """Where another WAV, or a further data chunk with samples, begins behind the chunks at a byte."""
    while at + 12 <= end:
        head = _bytes(handle, at, 12)
        if is_wav(head):
            return at
        if not is_chunk(head, end - at, order):
            return None
        size = chunk_size(head, order)
        if head[:4] == b"data" and size:
            return at
        at += 8 + size + size % 2
    return None


def _chunks(handle: BinaryIO, at: int, order: str) -> Iterator[tuple[int, bytes, int]]:
    """First byte, id and size of each chunk from a byte on."""
    while len(head := _bytes(handle, at, 8)) == 8:
        size = chunk_size(head, order)
        yield at + 8, head[:4], size
        at += 8 + size + size % 2


def _bytes(handle: BinaryIO, at: int, count: int) -> bytes:
    handle.seek(at)
    return handle.read(count)
