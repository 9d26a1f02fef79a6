"""Audio files as mono float32 at a sample rate. No audio is dropped silently.

A path such as `dawn.wav#t=12.5,15` is a stretch of a file, in seconds (`sondino.audio.fragment`).

Files are decoded by libsndfile; what it cannot open (m4a, mp4, webm, ac3) by PyAV, if the `av` extra is installed.
Unusual audio is treated in one way everywhere:

- NaN and infinite samples become 0 with a warning; a file of nothing else is an AudioError.
- No samples at all is an AudioError; all zeros is valid, silent audio.
- A truncated or damaged file gives what could be decoded, with a warning; an AudioError where nothing could.
- Channels are averaged; where they cancel each other, one of them is used.
- The tail past the last full window is kept, zero-padded, and weighted by its real samples.
"""

import math
import os
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sondino.audio.decoded import Decoded, FilePart, Source, source_name
from sondino.audio.decoders import open_sound
from sondino.audio.fragment import stretch_of
from sondino.audio.signal import NoSoundError, Scale, check_rate, mono_blocks, resampled_blocks
from sondino.errors import AudioError, OptionError


@dataclass(frozen=True)
class AudioInfo:
    """What a file holds: rate in hertz, duration in seconds, number of channels."""

    sample_rate: int
    duration: float
    channels: int


def info(source: Source) -> AudioInfo:
    """Rate, duration and channels of a file, from its header (decodes the file if the header has no length).

    The duration of a truncated file is that of what is there, but for what PyAV reads, such as M4A, where it is the
    header's.

    Raises:
        AudioError: the file is missing or is not audio.
    """
    source, start, duration = _segment(source, 0.0, None)
    with open_sound(source) as sound:
        frames = sound.length
        if frames is None:
            frames = sum(len(block) for block in sound.blocks(0, None))
        seconds = max(0.0, frames / sound.rate - start)
        return AudioInfo(sound.rate, seconds if duration is None else min(seconds, duration), sound.channels)


def read(
    source: Source,
    sample_rate: int,
    start: float = 0.0,
    duration: float | None = None,
    scale: Scale = "none",
    channel: int | None = None,
) -> NDArray[np.float32]:
    """Read a file, or a segment of it, as mono at a sample rate.

    A segment equals that slice of the whole file, resampling included, but only the segment (and a short margin for
    the resampling filter) is decoded where the format can seek.

    Args:
        source: path, or a binary file open for reading.
        sample_rate: hertz of the result.
        start: where the segment begins, in seconds.
        duration: its length in seconds; None = to the end. A file that ends earlier gives fewer samples.
        scale: "auto" divides floats whose peak in the file is over 8, whole numbers or not, by 2^15, 2^23 or 2^31.
        channel: from 1; None: the mean of all.

    Returns:
        (samples,) float32, at least one sample.

    Raises:
        AudioError: the file is missing, not audio, empty, or ends before `start`.
        OptionError: a rate, start or duration out of range.
    """
    check_rate(sample_rate)
    if not (math.isfinite(start) and start >= 0):
        raise OptionError(f"start is {start}: give seconds from the beginning, 0 or more")
    if duration is not None and not (math.isfinite(duration) and duration > 0):
        raise OptionError(f"duration is {duration}: give seconds above 0, or None for all")
    name = source_name(source)
    source, start, duration = _segment(source, start, duration)
    with open_sound(source) as sound:
        return np.concatenate(list(_blocks(sound, name, start, duration, sample_rate, scale, channel)))


def stream(
    source: Source, sample_rate: int, block: float = 60.0, scale: Scale = "none", channel: int | None = None
) -> Iterator[NDArray[np.float32]]:
    """Read a file of any length in constant memory, as mono blocks at a rate.

    The concatenated blocks equal what `read` returns: the resampler keeps its state between them.

    Args:
        source: path, or a binary file open for reading.
        sample_rate: hertz of the result.
        block: seconds a block; the last one is shorter.
        scale: as in `read`.
        channel: as in `read`.

    Yields:
        (samples,) float32.

    Raises:
        AudioError: as `read`; a file that is damaged in the middle warns and ends there.
    """
    check_rate(sample_rate)
    size = max(1, round(block * sample_rate))
    with open_blocks(source, lambda *_: sample_rate, scale, channel) as (_, blocks):
        held: list[NDArray[np.float32]] = []
        length = 0
        for piece in blocks:
            held.append(piece)
            length += len(piece)
            if length >= size:
                joined = np.concatenate(held)
                full = length - length % size
                for at in range(0, full, size):
                    yield joined[at : at + size]
                held, length = [joined[full:]], length - full
        if length:
            yield np.concatenate(held)


@contextmanager
def open_blocks(
    source: Source, rate_of: Callable[[int, bool], int], scale: Scale = "none", channel: int | None = None
) -> Iterator[tuple[int, Iterator[NDArray[np.float32]]]]:
    """Open a file to be read in blocks as they are decoded, at a rate that may depend on the file's.

    Args:
        source: path, or a binary file open for reading.
        rate_of: of a file's hertz, and whether a stretch of it is read that ends somewhere in it, the hertz of the
            result; where they are equal nothing is resampled.
        scale: as in `read`.
        channel: as in `read`.

    Yields:
        hertz, and blocks (samples,) float32 of any lengths.

    Raises:
        AudioError: as `read`; a file that is damaged in the middle warns and ends there.
    """
    name = source_name(source)
    source, start, duration = _segment(source, 0.0, None)
    with open_sound(source) as sound:
        rate = rate_of(sound.rate, duration is not None)
        yield rate, _blocks(sound, name, start, duration, rate, scale, channel)


_CUT = 0.05
"""Seconds by which a stretch may end after its file without a warning: lists round."""


# ---- inside ---------------------------------------------------------------------------------------------------


def _segment(source: Source, start: float, duration: float | None) -> tuple[Source, float, float | None]:
    """The file of a source, and where a segment of it, or of the stretch that its path names, lies in that file."""
    file: Source
    if isinstance(source, FilePart):
        file, path, begin, length = source, source.name, source.start, source.duration
    elif isinstance(source, (str, os.PathLike)):
        path = os.fspath(source)
        file, begin, length = stretch_of(path)
        if file == path:
            return source, start, duration
    else:
        return source, start, duration
    if length is not None:
        if start >= length:
            raise AudioError(f"{path}: start {start:g} s is past the end of the sound")
        duration = length - start if duration is None else min(duration, length - start)
    return file, begin + start, duration


def _blocks(
    sound: Decoded,
    name: str,
    start: float,
    duration: float | None,
    sample_rate: int,
    scale: Scale,
    channel: int | None = None,
) -> Iterator[NDArray[np.float32]]:
    """A segment of a sound as mono blocks at a rate; an AudioError where it has no sample."""
    first = round(start * sample_rate)
    count = None if duration is None else max(1, round(duration * sample_rate))
    low, frames, skip = _stretch(first, count, sound.rate, sample_rate)
    end = None if count is None else skip + count
    at = given = 0  # samples behind `low`
    try:
        for piece in resampled_blocks(mono_blocks(sound, name, low, frames, scale, channel), sound.rate, sample_rate):
            part = piece[max(0, skip - at) : None if end is None else max(0, end - at)]
            at += len(piece)
            if len(part):
                given += len(part)
                yield part
    except NoSoundError as error:
        if first > 0:
            raise AudioError(f"{name}: start {start:g} s is past the end of the sound") from error
        raise
    if count is not None and 0 < given < count - _CUT * sample_rate and stretch_of(name).file != name:
        missing = (count - given) / sample_rate
        warnings.warn(
            f"{name}: the file ends {missing:.2f} s before the end of this stretch; what is there is used", stacklevel=2
        )
    if given == 0:
        raise AudioError(f"{name}: start {start:g} s is past the end of the sound")


def _stretch(first: int, count: int | None, rate: int, sample_rate: int) -> tuple[int, int | None, int]:
    """What to decode for the output samples first..first+count: first frame, frames, output samples to leave out.

    The first frame falls on a point that both rates share, so that the resampler's grid is that of a whole read;
    the margin covers the filter (its length grows with the ratio when the rate falls).
    """
    if rate == sample_rate:
        return first, count, 0
    common = math.gcd(rate, sample_rate)
    margin = 512 * math.ceil(max(1, rate / sample_rate))
    unit = rate // common
    low = max(0, (first * rate // sample_rate - margin) // unit * unit)
    skip = first - low // unit * (sample_rate // common)
    frames = None if count is None else math.ceil((first + count) * rate / sample_rate) + margin - low
    return low, frames, skip
