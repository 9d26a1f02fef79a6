"""Audio from a pipe as it arrives: WAV, whose header may not have the length, or raw samples."""

import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import BinaryIO, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from sondino.audio.decoded import HIGHEST_RATE, LOWEST_RATE, check_file_rate, source_name
from sondino.audio.signal import MAX_CHANNELS
from sondino.audio.wav import (
    FOLLOW,
    NEVER_FINISHED,
    PADDING,
    TOO_SMALL,
    WIDTHS,
    WavFormat,
    before_chunks_at_end,
    byte_order,
    chunk_size,
    declared_size,
    is_chunk,
    is_stand_in,
    is_tag,
    is_wav,
    wav_format,
    wav_samples,
)
from sondino.errors import AudioError, OptionError

SampleFormat = Literal["s16le", "s24le", "s32le", "f32le"]
"""Raw samples, little-endian: signed whole numbers of 16, 24 or 32 bits, or 32-bit floats."""

READ = 1 << 16  # bytes taken at once where so many are there: what a pipe holds
MAX_CHUNK = 1 << 26  # bytes: a longer one behind the samples is taken for samples


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
        floats: its samples are floats.
        blocks: (frames that the first block should hold) -> blocks (frames, channels) float32, as they come.
    """

    rate: int
    channels: int
    floats: bool
    blocks: Callable[[int], Iterator[NDArray[np.float32]]]


def open_raw(pipe: Pipe, rate: int, sample_format: SampleFormat, channels: int) -> Stream:
    """Raw samples.

    Raises:
        OptionError: a value out of range, or it begins as a WAV does.
    """
    if not LOWEST_RATE <= rate <= HIGHEST_RATE:
        raise OptionError(f"rate is {rate}: give {LOWEST_RATE} to {HIGHEST_RATE} hertz")
    if sample_format not in get_args(SampleFormat):
        raise OptionError(f"sample format is {sample_format!r}: give one of {', '.join(get_args(SampleFormat))}")
    if not 1 <= channels <= MAX_CHANNELS:
        raise OptionError(f"channels is {channels}: give 1 to {MAX_CHANNELS}")
    head = pipe.exactly(12)
    if is_wav(head):
        raise OptionError(f"{pipe.name} begins with a WAV header, which has rate and format: leave --rate out")
    pipe.put_back(head)
    raw = _raw(pipe, channels * WIDTHS[sample_format])
    return Stream(rate, channels, sample_format == "f32le", lambda first: _blocks(raw, sample_format, channels, first))


def open_wav(pipe: Pipe) -> Stream:
    """A WAV, from its header; `sondino.audio.wav` says what it holds.

    Raises:
        AudioError: nothing came, the header is broken, or its codec is none of PCM and float.
        OptionError: it is no WAV.
    """
    head = pipe.exactly(12)
    if not head:
        raise AudioError(f"{pipe.name}: holds no sound, nothing came")
    if not is_wav(head):
        raise OptionError(
            f"{pipe.name} does not begin with a WAV header: for raw samples give --rate, --sample-format and "
            "--channels; other formats can be piped through `ffmpeg -i FILE -f wav -`"
        )
    layout, size = _header(pipe, head[:4])
    sample_format = layout.sample_format
    if sample_format is None:
        raise AudioError(
            f"{pipe.name}: WAV of codec {layout.codec} with {layout.bits} bits cannot be read from a pipe: send PCM, "
            "such as `ffmpeg -i FILE -c:a pcm_s16le -f wav -`"
        )
    return Stream(
        layout.rate,
        layout.channels,
        sample_format.startswith("f"),
        lambda first: _blocks(_wav_bytes(pipe, layout, size), sample_format, layout.channels, first, layout.order),
    )


def _header(pipe: Pipe, tag: bytes) -> tuple[WavFormat, int]:
    """The format of a WAV and the bytes of its samples by its header, whose first twelve bytes have been read."""
    layout: WavFormat | None = None
    ds64, order = b"", byte_order(tag)
    while True:
        chunk = pipe.exactly(8)
        if len(chunk) < 8:
            raise AudioError(f"{pipe.name}: its WAV header breaks off before the samples")
        kind, size = chunk[:4], chunk_size(chunk, order)
        if kind == b"data":
            break
        start = _chunk(pipe, size)
        if kind == b"fmt ":
            layout = wav_format(start, order)
            if layout is None:
                raise AudioError(f"{pipe.name}: its WAV header is broken (a fmt chunk of {len(start)} bytes)")
        elif kind == b"ds64":
            ds64 = start
    if layout is None:
        raise AudioError(f"{pipe.name}: its WAV header has no fmt chunk, which describes the samples")
    if not 1 <= layout.channels <= MAX_CHANNELS:
        raise AudioError(f"{pipe.name}: its WAV header is broken ({layout.channels} channels at {layout.rate} Hz)")
    check_file_rate(pipe.name, layout.rate)
    return layout, declared_size(tag, size, ds64)


def _chunk(pipe: Pipe, size: int) -> bytes:
    """The first bytes of a chunk of the header; the rest of it is skipped, however long."""
    body = pipe.exactly(min(size, 64))
    left = size + size % 2 - len(body)
    while left > 0 and (piece := pipe.some(min(READ, left))):
        left -= len(piece)
    return body


def _all(pipe: Pipe) -> Iterator[bytes]:
    while data := pipe.some(READ):
        yield data


def _up_to(pipe: Pipe, size: int) -> Iterator[bytes]:
    """At most so many bytes, as they come."""
    left = size
    while left and (data := pipe.some(min(READ, left))):
        yield data
        left -= len(data)


def _raw(pipe: Pipe, frame: int) -> Iterator[bytes]:
    done = 0
    for data in _all(pipe):
        yield data
        done += len(data)
    if done % frame:
        warnings.warn(
            f"{pipe.name}: the last {done % frame} bytes are an incomplete sample and are left out", stacklevel=2
        )


def _wav_bytes(pipe: Pipe, layout: WavFormat, size: int) -> Iterator[bytes]:
    """The samples of a WAV, and of those that follow it, as they come."""
    count = 1
    while True:
        note, done, rest = "", 0, b""
        if size == 0:
            head = pipe.exactly(12)
            pipe.put_back(head)
            if is_wav(head) or is_chunk(head[:8], MAX_CHUNK, layout.order):
                _skip_chunks(pipe, layout.order)
            else:
                note = NEVER_FINISHED
        else:
            left, whole = size, size - size % layout.frame
            pieces = _up_to(pipe, size)
            for data in before_chunks_at_end(pieces, layout.order) if is_stand_in(size) else pieces:
                left -= len(data)
                yield data[: whole - done]
                rest += data[whole - done :] if whole - done < len(data) else b""
                done = min(whole, done + len(data))
            if left:
                if not is_stand_in(size):
                    warnings.warn(f"{pipe.name}: ends {left} bytes before the length in its header", stacklevel=2)
                break
            if not _ends(pipe, size % 2, layout.order):
                note = TOO_SMALL
                yield rest  # the beginning of a frame that goes on behind the length of the header
                done += len(rest)
        if note:
            for data in before_chunks_at_end(_all(pipe), layout.order):
                yield data
                done += len(data)
            if done:
                speed = layout.bytes_per_second
                message = note.format(claimed=size / speed, seconds=done / speed)
                warnings.warn(f"{pipe.name}: {message}", stacklevel=2)
            break
        head = pipe.exactly(12)
        if head[:4] == b"data" and len(head) >= 8:  # a further data chunk of the same WAV
            pipe.put_back(head[8:])
            size = chunk_size(head, layout.order)
            count += 1
            continue
        if not is_wav(head):
            break
        other, size = _header(pipe, head[:4])
        if _kind(other) != _kind(layout):
            warnings.warn(
                f"{pipe.name}: another WAV follows, of another layout ({other.rate} Hz), and is left out; "
                "pipe it by itself",
                stacklevel=2,
            )
            break
        count += 1
    if count > 1:
        warnings.warn(f"{pipe.name}: {FOLLOW.format(count=count)}", stacklevel=2)


def _kind(layout: WavFormat) -> tuple[object, ...]:
    return layout.rate, layout.channels, layout.sample_format, layout.order


def _ends(pipe: Pipe, pad: int, order: str) -> bool:
    """Whether what comes next is none of the samples; where it is, chunks are skipped up to another WAV.

    Args:
        pipe: behind the bytes of the header's length.
        pad: 1 where a byte of padding may follow.
        order: of the WAV's bytes.
    """
    data = pipe.exactly(PADDING)
    chunks = [skip for skip in (pad, 0) if _follows(data[skip:], order)]
    pipe.put_back(data[chunks[0] if chunks else 0 :])
    if chunks:
        _skip_chunks(pipe, order)
    return bool(chunks)


def _skip_chunks(pipe: Pipe, order: str) -> None:
    """Read on to another WAV, to a further data chunk with samples, or to what is no chunk."""
    while True:
        head = pipe.exactly(12)
        is_other = is_wav(head) or not is_chunk(head[:8], MAX_CHUNK, order)
        if is_other or (head[:4] == b"data" and chunk_size(head, order)):
            pipe.put_back(head)
            return
        pipe.put_back(head[8:])
        _chunk(pipe, chunk_size(head, order))


def _follows(data: bytes, order: str) -> bool:
    """Whether these bytes are none of the samples: a chunk, another WAV, a tag, or what is left of a file."""
    padding = len(data) < PADDING - 1 and not any(data)
    return len(data) < 8 or is_wav(data) or is_chunk(data[:8], MAX_CHUNK, order) or is_tag(data) or padding


def _blocks(
    pieces: Iterator[bytes], sample_format: str, channels: int, first: int, order: str = "<"
) -> Iterator[NDArray[np.float32]]:
    """Bytes as blocks of whole frames, the first of at least `first`."""
    frame = channels * WIDTHS[sample_format]
    held, wanted = b"", first * frame
    for data in pieces:
        held += data
        if len(held) >= max(wanted, frame):
            whole = len(held) - len(held) % frame
            yield wav_samples(held[:whole], sample_format, channels, order)
            held, wanted = held[whole:], 0
    whole = len(held) - len(held) % frame
    if whole:
        yield wav_samples(held[:whole], sample_format, channels, order)
