"""Audio from a pipe as it arrives: WAV, whose header may not have the length, or raw samples."""

import struct
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import BinaryIO, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from sondino.audio.decoders import source_name
from sondino.audio.signal import MAX_CHANNELS
from sondino.errors import AudioError, OptionError

SampleFormat = Literal["s16le", "s24le", "s32le", "f32le"]
"""Raw samples, little-endian: signed whole numbers of 16, 24 or 32 bits, or 32-bit floats."""

READ = 1 << 16  # bytes taken at once where so many are there: what a pipe holds
OPEN_ENDED = 0x7FFFF000  # sizes from here on, and 0, are written by programs that do not know the length
PCM, FLOAT, EXTENSIBLE = 1, 3, 0xFFFE  # codecs of a WAV header

_NAMES = {
    (PCM, 1): "u8",
    (PCM, 2): "s16le",
    (PCM, 3): "s24le",
    (PCM, 4): "s32le",
    (FLOAT, 4): "f32le",
    (FLOAT, 8): "f64le",
}
_WIDTHS = {name: width for (_, width), name in _NAMES.items()}


class Pipe:
    """Bytes from a source, without waiting for more than are available.

    Attributes:
        name: in messages.
        read_at: when bytes last came, in seconds of `time.perf_counter`.
    """

    def __init__(self, source: BinaryIO) -> None:
        self.name = source_name(source)
        self.read_at = time.perf_counter()
        # A buffered file's `read` waits for all requested bytes; `read1` returns what is available.
        self._read: Callable[[int], bytes] = source.read1 if hasattr(source, "read1") else source.read
        self._unread = b""

    def some(self, limit: int) -> bytes:
        """At least one byte and at most `limit`; none at the end."""
        if self._unread:
            data, self._unread = self._unread[:limit], self._unread[limit:]
            return data
        try:
            data = self._read(limit)
        except OSError as error:
            raise AudioError(f"{self.name}: cannot be read ({error.strerror or error})") from error
        self.read_at = time.perf_counter()
        return data

    def exactly(self, count: int) -> bytes:
        """So many bytes; fewer at the end."""
        data = b""
        while len(data) < count and (piece := self.some(min(READ, count - len(data)))):
            data += piece
        return data

    def put_back(self, data: bytes) -> None:
        """Bytes to be read again."""
        self._unread = data + self._unread


@dataclass(frozen=True)
class Stream:
    """What a pipe carries.

    Attributes:
        rate: hertz.
        channels: number of channels.
        blocks: (frames that the first block should hold) -> blocks (frames, channels) float32, as they come.
    """

    rate: int
    channels: int
    blocks: Callable[[int], Iterator[NDArray[np.float32]]]


def open_raw(pipe: Pipe, rate: int, sample_format: SampleFormat, channels: int) -> Stream:
    """Raw samples.

    Raises:
        OptionError: a value out of range, or it begins as a WAV does.
    """
    if rate < 1:
        raise OptionError(f"rate is {rate}: give hertz above 0")
    if sample_format not in get_args(SampleFormat):
        raise OptionError(f"sample format is {sample_format!r}: give one of {', '.join(get_args(SampleFormat))}")
    if not 1 <= channels <= MAX_CHANNELS:
        raise OptionError(f"channels is {channels}: give 1 to {MAX_CHANNELS}")
    head = pipe.exactly(12)
    if head[:4] == b"RIFF" and head[8:] == b"WAVE":
        raise OptionError(f"{pipe.name} begins with a WAV header, which has rate and format: leave --rate out")
    pipe.put_back(head)
    return Stream(rate, channels, lambda first: _blocks(pipe, sample_format, channels, None, first))


def open_wav(pipe: Pipe) -> Stream:
    """A WAV, from its header.

    Raises:
        AudioError: nothing came, the header is broken, or its codec is none of PCM and float.
        OptionError: it is no WAV.
    """
    head = pipe.exactly(12)
    if not head:
        raise AudioError(f"{pipe.name}: holds no sound, nothing came")
    if head[:4] not in (b"RIFF", b"RF64", b"BW64") or head[8:] != b"WAVE":
        raise OptionError(
            f"{pipe.name} does not begin with a WAV header: for raw samples give --rate, --sample-format and "
            "--channels; other formats can be piped through `ffmpeg -i FILE -f wav -`"
        )
    layout: tuple[int, int, str] | None = None
    size_64 = 0
    while True:
        chunk = pipe.exactly(8)
        if len(chunk) < 8:
            raise AudioError(f"{pipe.name}: its WAV header breaks off before the samples")
        kind, size = struct.unpack("<4sI", chunk)
        if kind == b"data":
            break
        body = _chunk(pipe, size)
        if kind == b"fmt ":
            layout = _layout(body, pipe.name)
        elif kind == b"ds64" and len(body) >= 16:
            (size_64,) = struct.unpack("<Q", body[8:16])
    if layout is None:
        raise AudioError(f"{pipe.name}: its WAV header has no fmt chunk, which describes the samples")
    rate, channels, sample_format = layout
    length: int | None = size_64 if head[:4] != b"RIFF" and size == 0xFFFFFFFF else size
    if not length or (length >= OPEN_ENDED and length != size_64) or length >= 1 << 63:
        length = None
    return Stream(rate, channels, lambda first: _blocks(pipe, sample_format, channels, length, first))


def _chunk(pipe: Pipe, size: int) -> bytes:
    """The first bytes of a chunk of the header; the rest of it is skipped, however long."""
    body = pipe.exactly(min(size, 64))
    left = size + size % 2 - len(body)
    while left > 0 and (piece := pipe.some(min(READ, left))):
        left -= len(piece)
    return body


def _layout(body: bytes, name: str) -> tuple[int, int, str]:
    """Rate, channels and sample format of a fmt chunk."""
    if len(body) < 16:
        raise AudioError(f"{name}: its WAV header is broken (a fmt chunk of {len(body)} bytes)")
    codec, channels, rate, _, frame, bits = struct.unpack("<HHIIHH", body[:16])
    if codec == EXTENSIBLE and len(body) >= 26:
        (codec,) = struct.unpack("<H", body[24:26])
    # The width of a sample is that of the frame; where that is wrong, that of its bits.
    width = frame // channels if channels and frame and frame % channels == 0 else (bits + 7) // 8
    if rate == 0 or not 1 <= channels <= MAX_CHANNELS:
        raise AudioError(f"{name}: its WAV header is broken ({channels} channels at {rate} Hz)")
    if (codec, width) not in _NAMES:
        raise AudioError(
            f"{name}: WAV of codec {codec} with {bits} bits cannot be read from a pipe: send PCM, "
            "such as `ffmpeg -i FILE -c:a pcm_s16le -f wav -`"
        )
    return rate, channels, _NAMES[codec, width]


def _blocks(
    pipe: Pipe, sample_format: str, channels: int, length: int | None, first: int
) -> Iterator[NDArray[np.float32]]:
    frame = channels * _WIDTHS[sample_format]
    held, wanted = b"", first * frame
    left = length
    while left is None or left > 0:
        data = pipe.some(READ if left is None else min(READ, left))
        if not data:
            break
        if left is not None:
            left -= len(data)
        held += data
        if len(held) >= max(wanted, frame):
            whole = len(held) - len(held) % frame
            yield _samples(held[:whole], sample_format, channels)
            held, wanted = held[whole:], 0
    whole = len(held) - len(held) % frame
    if whole:
        yield _samples(held[:whole], sample_format, channels)
    if len(held) > whole:
        warnings.warn(
            f"{pipe.name}: the last {len(held) - whole} bytes are an incomplete sample and are left out", stacklevel=2
        )
    if left:
        warnings.warn(f"{pipe.name}: ends {left} bytes before the length in its header", stacklevel=2)
    elif left is not None and b"RIFF" in pipe.exactly(12):
        warnings.warn(f"{pipe.name}: a second WAV follows the first and is ignored; pipe one", stacklevel=2)


def _samples(data: bytes, sample_format: str, channels: int) -> NDArray[np.float32]:
    """Bytes as (frames, channels), whole numbers scaled to -1..1."""
    width = _WIDTHS[sample_format]
    if sample_format == "u8":
        x = np.frombuffer(data, np.uint8).astype(np.float32) / 128 - 1
    elif sample_format == "s24le":
        wide = np.zeros((len(data) // 3, 4), np.uint8)  # the upper three bytes of 32 bits
        wide[:, 1:] = np.frombuffer(data, np.uint8).reshape(-1, 3)
        x = wide.view("<i4")[:, 0].astype(np.float32) / 2**31
    elif sample_format in ("s16le", "s32le"):
        x = np.frombuffer(data, f"<i{width}").astype(np.float32) / 2 ** (8 * width - 1)
    else:
        with np.errstate(over="ignore"):  # what float32 cannot hold becomes infinite, and counts as such
            x = np.frombuffer(data, f"<f{width}").astype(np.float32)
    return x.astype(np.float32, copy=False).reshape(-1, channels)
