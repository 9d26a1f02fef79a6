"""Audio as arrays: check samples, mix channels to mono, resample."""

import warnings
from collections.abc import Iterator
from typing import Any, Literal

import numpy as np
import soxr
from numpy.typing import ArrayLike, NDArray

from sondino.audio.decoded import Decoded
from sondino.errors import AudioError, OptionError

LOUDEST = 8.0  # floats above it are whole numbers that nobody has scaled
FULL_SCALES = (2.0**15, 2.0**23, 2.0**31)  # of 16, 24 and 32 bits
MAX_CHUNK = 1 << 20  # samples that the resampler gives at once, at most
MAX_CHANNELS = 64  # an array whose smaller side is longer than this is not (samples, channels)


Scale = Literal["none", "auto"]
"""Samples as they are, or whole numbers of 16, 24 or 32 bits in a wider type divided by their full scale."""


def from_array(
    array: ArrayLike, rate: int, sample_rate: int, scale: Scale = "none", channel: int | None = None
) -> NDArray[np.float32]:
    """Check an array of audio samples, mix it to mono and resample it.

    Args:
        array: (samples,), (channels, samples) or (samples, channels): the shorter side is taken for the channels.
            Floats are taken as they are; uint8, int8, int16 and int32 are scaled by their full range to -1..1.
        rate: hertz of the array.
        sample_rate: hertz of the result.
        scale: "auto" divides whole numbers in a wider type, such as 16-bit samples stored as floats, by their full
            scale; "none" takes them as they are, with a warning.
        channel: of those that there are, from 1; None: their mean.

    Returns:
        (samples,) float32, at least one sample.

    Raises:
        AudioError: not numbers, empty, more than two dimensions, nothing but NaN, or 64-bit integers without "auto".
    """
    check_rate(sample_rate)
    check_array_rate(rate)
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
        full = -float(np.iinfo(x.dtype).min)
        peak = float(np.abs(x.astype(np.float64)).max()) if x.dtype.itemsize > 2 else full
        if x.dtype.itemsize > 4:  # no sound has 64 bits: NumPy's own integers, which anything may be in
            if scale == "none":
                raise AudioError(
                    f"an array of {x.dtype} has no full scale that is known: give int16, int32 or floats from -1 to 1, "
                    "or scale='auto'"
                )
            full = _full_scale(peak)
        elif LOUDEST < peak <= FULL_SCALES[0 if scale == "none" else 1] and peak < full:
            if scale == "auto":
                full = _full_scale(peak)
            else:
                _warn_unscaled("an array", f"{x.dtype} samples reach {peak:,.0f} of {full:,.0f}")
        x = x / full
    elif not np.issubdtype(x.dtype, np.floating):
        raise AudioError(f"an array of {x.dtype} is not a sound: give float32 or signed integer samples")
    with np.errstate(over="ignore"):  # what float32 cannot hold becomes infinite, and is counted as such
        frames = x.reshape(len(x), -1).astype(np.float32, copy=False)
    frames, bad = _finite(frames)
    if bad == frames.size:
        raise AudioError("an array holds no sound: every sample is NaN or infinite")
    peak = float(np.abs(frames).max()) if np.issubdtype(x.dtype, np.floating) else 0.0
    if peak > LOUDEST:
        if scale == "auto":
            frames = frames / np.float32(_full_scale(peak))
        else:
            _warn_unscaled("an array", f"its floats reach {peak:,.0f}")
    if bad:
        warnings.warn(f"an array: {bad} samples were NaN or infinite and are taken as 0", stacklevel=2)
    if channel is not None:
        check_channel("an array", channel, frames.shape[1])
        return resample(_mix(frames, channel - 1), int(rate), sample_rate)
    return resample(to_mono(frames), int(rate), sample_rate)


def check_array_rate(rate: object) -> None:
    """Raises AudioError if the rate that came with an array is no finite number above 0."""
    if isinstance(rate, bool) or not isinstance(rate, (int, float, np.integer, np.floating)) or not 0 < rate < np.inf:
        raise AudioError(f"an array came with the rate {rate!r}: give its sample rate in hertz")


def check_channel(name: str, channel: int, channels: int) -> None:
    """Raises OptionError where a channel is no number from 1, AudioError where a sound has fewer."""
    if isinstance(channel, bool) or channel < 1:
        raise OptionError(f"channel is {channel}: give a number from 1, or the mean of all")
    if channel > channels:
        raise AudioError(
            f"{name}: has {channels} {'channel' if channels == 1 else 'channels'}, and no channel {channel}"
        )


def to_mono(x: NDArray[np.float32]) -> NDArray[np.float32]:
    """Mix (samples, channels) to (samples,): the mean, or one channel where the channels cancel out."""
    return _mix(x, _pick_channel(x) if x.ndim == 2 else None)


def resample(x: NDArray[np.float32], from_rate: int, to_rate: int) -> NDArray[np.float32]:
    """Resample (samples,) with soxr, high quality; at least one sample."""
    if from_rate == to_rate:
        return x
    y: NDArray[np.float32] = soxr.resample(x, from_rate, to_rate)
    # A few samples at a much lower rate round to none, but a sound that was there stays there.
    return y if len(y) else x[:1]


def fixed_noise(*shape: int, seed: int = 0) -> NDArray[np.float32]:
    """Gaussian noise of standard deviation 0.1, the same at every call: what encoders are tried and timed on."""
    return (0.1 * np.random.default_rng(seed).standard_normal(shape)).astype(np.float32)


def _full_scale(peak: float) -> float:
    """What whole numbers with this largest value are divided by."""
    return next((full for full in FULL_SCALES if peak <= full), peak)


def _warn_unscaled(name: str, found: str) -> None:
    warnings.warn(
        f"{name}: {found}, far above the full scale of 1; if they are whole numbers that were not scaled, scale auto "
        "divides them by the full scale of 16, 24 or 32 bits, the smallest that holds them",
        stacklevel=3,
    )


class NoSoundError(AudioError):
    """A decoder returned no samples."""


def check_rate(sample_rate: int) -> None:
    """Raises OptionError if a rate is not above 0."""
    if not sample_rate > 0:
        raise OptionError(f"sample rate is {sample_rate}: give hertz above 0")


def _finite(x: NDArray[np.float32]) -> tuple[NDArray[np.float32], int]:
    """The samples with NaN and infinity taken as 0, and how many there were."""
    # One sum is enough for the usual, clean block; only a block with NaN pays for a mask.
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
    # that is not silent is used instead.
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
    if x.shape[1] == 2:  # as `mean`, in a third of its time
        return (x[:, 0] + x[:, 1]) * np.float32(0.5)
    mono: NDArray[np.float32] = x.mean(axis=1, dtype=np.float32)
    return mono


def mono_blocks(
    sound: Decoded, name: str, first: int, count: int | None, scale: Scale = "none", channel: int | None = None
) -> Iterator[NDArray[np.float32]]:
    """Clean mono blocks at the file's own rate; raises at the end if there were no valid samples.

    Args:
        sound: an open file.
        name: of it, for messages.
        first: frame.
        count: frames; None: all.
        scale: as in `from_array`.
        channel: from 1; None: the mean of all, or one of them where they cancel each other.
    """
    if channel is not None:
        check_channel(name, channel, sound.channels)
    total = good = 0
    unscaled = False
    full: np.float32 | None = None
    if sound.floats and scale == "auto":
        # By the whole file's peak, so that a stretch of it has the level that it has in the whole.
        peak = max((float(np.abs(_finite(block)[0]).max(initial=0.0)) for block in sound.blocks(0, None)), default=0.0)
        full = np.float32(_full_scale(peak)) if peak > LOUDEST else None
    taken = None if channel is None else channel - 1
    decided = channel is not None
    for block in sound.blocks(first, count):
        block, bad = _finite(block)
        if bad:
            warnings.warn(f"{name}: NaN or infinite samples are taken as 0", stacklevel=2)
        if full is not None:
            block = block / full
        elif sound.floats and not unscaled and (peak := float(np.abs(block).max(initial=0.0))) > LOUDEST:
            _warn_unscaled(name, f"its floats reach {peak:,.0f}")
            unscaled = True
        total += block.size
        good += block.size - bad
        # The channel is chosen on the first block that is not silent, and kept: a switch in the middle would be
        # audible.
        if not decided and block.any():
            taken, decided = _pick_channel(block), True
        yield _mix(block, taken)
    if total == 0:
        raise NoSoundError(f"{name}: holds no sound")
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
    size = max(1, MAX_CHUNK * rate // sample_rate)
    for block in blocks:
        first = block[:1] if first is None else first
        for at in range(0, len(block), size):
            piece = resampler.resample_chunk(np.ascontiguousarray(block[at : at + size]))
            length += len(piece)
            yield piece
    tail = resampler.resample_chunk(np.zeros(0, np.float32), last=True)
    if length + len(tail) == 0 and first is not None:
        tail = first  # as in `resample`
    yield tail
