"""Sound in: read, mono, resample, cut into windows, merge. Nothing is lost without a word.

Files are decoded by libsndfile; what it refuses (m4a, mp4, webm, ac3) goes to PyAV when the `av` extra is installed.
Everything comes out as mono float32 at the rate asked for. What happens to odd sound is fixed here, once:

- NaN and infinite samples become 0 with a warning; a sound of nothing else is an AudioError.
- No samples at all is an AudioError; all zeros is a valid, silent sound.
- A truncated or damaged file gives what could be decoded, with a warning; an AudioError where nothing could.
- Channels are averaged; where they cancel each other, one of them is used.
- The tail past the last full window is kept, zero-padded, and weighted by its real samples.
"""

import math
import os
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import soxr
from numpy.typing import ArrayLike, NDArray

from sondino._decode import Decoded, Source, open_sound, source_name
from sondino.errors import AudioError, OptionError

__all__ = [
    "SUFFIXES",
    "AudioInfo",
    "ShortPolicy",
    "Source",
    "WindowPolicy",
    "cut",
    "find_audio",
    "from_array",
    "info",
    "merge",
    "mono_blocks",
    "read",
    "resample",
    "resampled_blocks",
    "stream",
    "to_mono",
    "windows",
]

# fmt: off
SUFFIXES: frozenset[str] = frozenset({
    ".wav", ".wave", ".w64", ".rf64", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".mp2",
    ".aif", ".aiff", ".aifc", ".au", ".snd", ".caf",
    ".m4a", ".m4b", ".mp4", ".aac", ".ac3", ".eac3", ".webm", ".mka", ".mkv", ".mov", ".3gp", ".wma", ".amr",
})
# fmt: on
"""Suffixes, lower case, of the files that a folder is searched for."""

ShortPolicy = Literal["pad", "native", "repeat"]
"""A clip under a window is zero-padded, heard at its own length, or repeated until it fills the window."""

WindowPolicy = Literal["all", "published"]
"""All of a sound is heard, short clips and tails included; or full windows only, as the published package does."""

MAX_CHANNELS = 64  # an array whose smaller side is longer than this is not (samples, channels)


@dataclass(frozen=True)
class AudioInfo:
    """What a file's header says: rate in hertz, duration in seconds, number of channels."""

    sample_rate: int
    duration: float
    channels: int


def find_audio(path: str | os.PathLike[str]) -> list[Path]:
    """The audio files of a folder and its subfolders, sorted; or the one file that `path` is.

    A file named directly is taken whatever its suffix; in a folder `SUFFIXES` decides and names that start
    with a dot are left out. Links to folders are followed, each folder once.

    Raises:
        AudioError: there is no such path, a folder cannot be read, or it holds no audio file.
    """
    root = Path(path)
    if root.is_file():
        return [root]
    if not root.exists():
        raise AudioError(f"{root}: no such file or folder; check the path")
    found: list[Path] = []
    seen: set[Path] = set()

    def walk(folder: Path) -> None:
        real = folder.resolve()
        if real in seen:  # a link back to where we already were
            return
        seen.add(real)
        try:
            entries = [(entry, entry.is_dir()) for entry in folder.iterdir() if not entry.name.startswith(".")]
        except OSError as error:
            raise AudioError(f"{folder}: cannot be read ({error.strerror}); check its permissions") from error
        for entry, is_folder in entries:
            if is_folder:
                walk(entry)
            elif entry.suffix.lower() in SUFFIXES and entry.is_file():
                found.append(entry)

    walk(root)
    if not found:
        raise AudioError(f"{root}: no audio found in this folder; files must end in {' '.join(sorted(SUFFIXES))}")
    return sorted(found)


def info(source: Source) -> AudioInfo:
    """Rate, duration and channels of a file, from its header (a header without a length makes it decode).

    Raises:
        AudioError: the file is missing or is not a sound.
    """
    with open_sound(source) as sound:
        frames = sound.frames
        if frames is None:
            frames = sum(len(block) for block in sound.blocks(0, None))
        return AudioInfo(sound.rate, frames / sound.rate, sound.channels)


def read(source: Source, sample_rate: int, start: float = 0.0, duration: float | None = None) -> NDArray[np.float32]:
    """Read a file, or a stretch of it, as mono at a rate.

    A stretch is the same slice that a whole read would give, resampling included, but only the stretch (and a
    short margin for the resampling filter) is decoded where the format can seek.

    Args:
        source: path, or a binary file open for reading.
        sample_rate: hertz of the result.
        start: where the stretch begins, in seconds.
        duration: its length in seconds; None = to the end. A file that ends earlier gives fewer samples.

    Returns:
        (samples,) float32, at least one sample.

    Raises:
        AudioError: the file is missing, not a sound, holds none, or ends before `start`.
        OptionError: a rate, start or duration out of range.
    """
    _check_rate(sample_rate)
    if not (math.isfinite(start) and start >= 0):
        raise OptionError(f"start is {start}: give seconds from the beginning, 0 or more")
    if duration is not None and not (math.isfinite(duration) and duration > 0):
        raise OptionError(f"duration is {duration}: give seconds above 0, or None for all")
    first = round(start * sample_rate)
    count = None if duration is None else max(1, round(duration * sample_rate))
    name = source_name(source)
    with open_sound(source) as sound:
        low, frames, skip = _stretch(first, count, sound.rate, sample_rate)
        try:
            pieces = list(resampled_blocks(mono_blocks(sound, name, low, frames), sound.rate, sample_rate))
        except _NoSound as error:
            if first > 0:
                raise AudioError(f"{name}: start {start:g} s is past the end of the sound") from error
            raise
        waveform = np.concatenate(pieces)[skip : None if count is None else skip + count]
    if len(waveform) == 0:
        raise AudioError(f"{name}: start {start:g} s is past the end of the sound")
    return waveform


def stream(source: Source, sample_rate: int, block: float = 60.0) -> Iterator[NDArray[np.float32]]:
    """Read a file of any length in constant memory, as mono blocks at a rate.

    The blocks put together are what `read` gives: the resampler runs through them.

    Args:
        source: path, or a binary file open for reading.
        sample_rate: hertz of the result.
        block: seconds a block; the last one is shorter.

    Yields:
        (samples,) float32.

    Raises:
        AudioError: as `read`; a file that breaks in the middle warns and ends there.
    """
    _check_rate(sample_rate)
    size = max(1, round(block * sample_rate))
    with open_sound(source) as sound:
        held: list[NDArray[np.float32]] = []
        length = 0
        for piece in resampled_blocks(mono_blocks(sound, source_name(source), 0, None), sound.rate, sample_rate):
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


def from_array(array: ArrayLike, rate: int, sample_rate: int) -> NDArray[np.float32]:
    """Check an array of sound, mix it to mono and resample it.

    Args:
        array: (samples,), (channels, samples) or (samples, channels): the shorter side is taken for the channels.
            Floats are taken as they are; integers are scaled by their full range to -1..1.
        rate: hertz of the array.
        sample_rate: hertz of the result.

    Returns:
        (samples,) float32, at least one sample.

    Raises:
        AudioError: not numbers, empty, more than two dimensions, or nothing but NaN.
    """
    _check_rate(sample_rate)
    if isinstance(rate, bool) or not isinstance(rate, (int, float, np.integer, np.floating)) or not rate > 0:
        raise AudioError(f"an array came with the rate {rate!r}: give its sample rate in hertz")
    x: NDArray[Any] = np.asarray(array)
    if x.ndim not in (1, 2):
        raise AudioError(f"an array of shape {x.shape} is not one sound: give (samples,) or (channels, samples)")
    if x.size == 0:
        raise AudioError(f"an array of shape {x.shape} holds no sound")
    if x.ndim == 2:
        if x.shape[0] < x.shape[1]:
            x = x.T
        if x.shape[1] > MAX_CHANNELS:
            raise AudioError(f"an array of shape {x.shape} is not one sound: it would have {x.shape[1]} channels")
    if x.dtype == np.uint8:
        x = (x.astype(np.float32) - 128) / 128
    elif np.issubdtype(x.dtype, np.signedinteger):
        x = x / -float(np.iinfo(x.dtype).min)
    elif not np.issubdtype(x.dtype, np.floating):
        raise AudioError(f"an array of {x.dtype} is not a sound: give float32 or signed integer samples")
    with np.errstate(over="ignore"):  # what float32 cannot hold becomes infinite, and is counted as such
        frames = x.reshape(len(x), -1).astype(np.float32, copy=False)
    frames, bad = _finite(frames)
    if bad == frames.size:
        raise AudioError("an array holds no sound: every sample is NaN or infinite")
    if bad:
        warnings.warn(f"an array: {bad} samples were NaN or infinite and are taken as 0", stacklevel=2)
    return resample(to_mono(frames), int(rate), sample_rate)


def to_mono(x: NDArray[np.float32]) -> NDArray[np.float32]:
    """Mix (samples, channels) to (samples,): the mean, or one channel where the channels cancel."""
    return _mix(x, _pick_channel(x) if x.ndim == 2 else None)


def resample(x: NDArray[np.float32], from_rate: int, to_rate: int) -> NDArray[np.float32]:
    """Resample (samples,) with soxr, high quality; at least one sample comes out of one."""
    if from_rate == to_rate:
        return x
    y: NDArray[np.float32] = soxr.resample(x, from_rate, to_rate)
    # A few samples at a much lower rate round to none, but a sound that was there stays there.
    return y if len(y) else x[:1]


def windows(
    waveform: NDArray[np.float32],
    sample_rate: int,
    window: float | None,
    hop: float | None = None,
    short: ShortPolicy = "pad",
    minimum: int = 0,
) -> tuple[NDArray[np.float32], NDArray[np.float64], NDArray[np.float64]]:
    """Cut a waveform into windows of equal length; the tail is kept.

    Args:
        waveform: (samples,).
        sample_rate: its hertz.
        window: seconds a window; None = one window, the whole waveform.
        hop: seconds from one window's start to the next; None = `window`.
        short: what a waveform under a window becomes.
        minimum: samples under which even a waveform heard at its own length is zero-padded.

    Returns:
        windows (n, samples) float32; starts (n,) in seconds; weights (n,): how many samples of each are real.
    """
    cuts = list(cut([waveform], sample_rate, window, hop, short, minimum))
    if not cuts:
        raise AudioError("a waveform holds no sound: it has no samples")
    return (
        np.stack([piece for piece, _, _ in cuts]),
        np.array([start for _, start, _ in cuts], dtype=np.float64),
        np.array([weight for _, _, weight in cuts], dtype=np.float64),
    )


def cut(
    blocks: Iterable[NDArray[np.float32]],
    sample_rate: int,
    window: float | None,
    hop: float | None = None,
    short: ShortPolicy = "pad",
    minimum: int = 0,
    policy: WindowPolicy = "all",
) -> Iterator[tuple[NDArray[np.float32], float, float]]:
    """The windows of a waveform that comes in blocks: `windows`, one at a time, holding about one window and a block.

    Args:
        blocks: (samples,) each.
        sample_rate: as in `windows`.
        window: as in `windows`.
        hop: as in `windows`.
        short: as in `windows`.
        minimum: as in `windows`.
        policy: "published" leaves out short clips (an AudioError) and tails.

    Yields:
        window (samples,) float32, its start in seconds, how many of its samples are real.
    """
    if short not in get_args(ShortPolicy):
        raise OptionError(f"short is {short!r}: give one of {', '.join(get_args(ShortPolicy))}")
    if window is None:
        whole = [block for block in blocks if len(block)]
        if whole:
            waveform = np.concatenate(whole)
            yield _pad(waveform, minimum), 0.0, float(len(waveform))
        return
    given = (window, window if hop is None else hop)
    size, step = (round(seconds * sample_rate) if math.isfinite(seconds) else 0 for seconds in given)
    if size < 1 or step < 1:
        raise OptionError(f"window {window} s and hop {hop} s must both be at least one sample at {sample_rate} Hz")
    held: NDArray[np.float32] = np.zeros(0, np.float32)
    base = 0  # where `held` begins, in samples of the waveform
    at = 0  # where the next window begins
    for block in blocks:
        past = min(at - base, len(held))  # what no later window needs
        held = np.concatenate([held[past:], block]) if past < len(held) else block
        base += past
        while at + size <= base + len(held):
            yield held[at - base : at - base + size], at / sample_rate, float(size)
            at += step
    rest = base + len(held) - at  # samples from the next window's start to the end
    if policy == "published":
        if at == 0 and rest > 0:
            raise AudioError(
                f"a clip of {rest / sample_rate:.3g} s is under the window of {window:g} s, and windows='published' "
                "hears full windows only; take windows='all'"
            )
    elif at == 0:
        if rest > 0:
            yield _short_window(held, size, short, minimum), 0.0, float(rest)
    # Samples that the last window already held make no window of their own.
    elif rest > max(0, size - step):
        yield _pad(held[at - base :], size), at / sample_rate, float(rest)


def merge(vectors: NDArray[np.float32], weights: NDArray[np.float64]) -> NDArray[np.float32]:
    """One vector for a clip: the mean (dim,) of its windows' vectors (n, dim), weighted by their real samples (n,)."""
    total = float(np.sum(weights))
    share = weights / total if total > 0 else np.full(len(weights), 1 / len(weights))
    return (share @ vectors.astype(np.float64)).astype(np.float32)


# ---- inside ---------------------------------------------------------------------------------------------------


class _NoSound(AudioError):
    """Nothing came out of a decoder."""


def _check_rate(sample_rate: int) -> None:
    if not sample_rate > 0:
        raise OptionError(f"sample rate is {sample_rate}: give hertz above 0")


def _pad(x: NDArray[np.float32], size: int) -> NDArray[np.float32]:
    return x if len(x) >= size else np.concatenate([x, np.zeros(size - len(x), np.float32)])


def _short_window(x: NDArray[np.float32], size: int, short: ShortPolicy, minimum: int) -> NDArray[np.float32]:
    if short == "repeat":
        return np.resize(x, size)
    return _pad(x, size if short == "pad" else minimum)


def _finite(x: NDArray[np.float32]) -> tuple[NDArray[np.float32], int]:
    """The samples with NaN and infinity taken as 0, and how many there were."""
    # One sum finds out for the usual, clean block; only a dirty one pays for a mask.
    with np.errstate(all="ignore"):
        if np.isfinite(np.sum(x)):
            return x, 0
    good = np.isfinite(x)
    return np.where(good, x, np.float32(0)), int(x.size - np.count_nonzero(good))


def _pick_channel(x: NDArray[np.float32]) -> int | None:
    """The channel to use alone where the mean of (samples, channels) cancels, else None."""
    if x.shape[1] < 2:
        return None
    rms = np.sqrt(np.mean(np.square(x, dtype=np.float64), axis=0))
    mean = np.sqrt(np.mean(np.square(x.mean(axis=1), dtype=np.float64)))
    # Unrelated channels keep 1/sqrt(channels) of their level in the mean. A tenth and less means opposite phase
    # (a balanced line recorded as stereo, a "wide" effect): the mean would be near silence, so the first channel
    # that sounds is heard instead.
    if mean >= 0.1 * np.sqrt(np.mean(np.square(rms))) or x.shape[1] > MAX_CHANNELS:
        return None
    return int(np.argmax(rms >= 0.5 * rms.max()))


def _mix(x: NDArray[np.float32], channel: int | None) -> NDArray[np.float32]:
    if x.ndim == 1:
        return x
    if x.shape[1] == 1:
        return x[:, 0]
    if channel is not None:
        return np.ascontiguousarray(x[:, channel])
    mono: NDArray[np.float32] = x.mean(axis=1, dtype=np.float32)
    return mono


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


def mono_blocks(sound: Decoded, name: str, first: int, count: int | None) -> Iterator[NDArray[np.float32]]:
    """Clean mono blocks at the file's own rate; raises at the end where there was nothing to hear."""
    total = good = 0
    channel: int | None = None
    decided = False
    for block in sound.blocks(first, count):
        block, bad = _finite(block)
        if bad:
            warnings.warn(f"{name}: NaN or infinite samples are taken as 0", stacklevel=2)
        total += block.size
        good += block.size - bad
        # Channels are judged on the first block that sounds, and the answer holds for the rest: a switch in
        # the middle would be heard.
        if not decided and block.any():
            channel, decided = _pick_channel(block), True
        yield _mix(block, channel)
    if total == 0:
        raise _NoSound(f"{name}: holds no sound")
    if good == 0:
        raise AudioError(f"{name}: holds no sound, every sample is NaN or infinite")


def resampled_blocks(blocks: Iterator[NDArray[Any]], rate: int, sample_rate: int) -> Iterator[NDArray[np.float32]]:
    """Mono blocks (samples,) at another rate, the resampler running through them."""
    if rate == sample_rate:
        yield from blocks
        return
    resampler = soxr.ResampleStream(rate, sample_rate, 1, dtype="float32")
    first: NDArray[np.float32] | None = None
    length = 0
    for block in blocks:
        first = block[:1] if first is None else first
        piece = resampler.resample_chunk(np.ascontiguousarray(block))
        length += len(piece)
        yield piece
    tail = resampler.resample_chunk(np.zeros(0, np.float32), last=True)
    if length + len(tail) == 0 and first is not None:
        tail = first  # as in `resample`
    yield tail
