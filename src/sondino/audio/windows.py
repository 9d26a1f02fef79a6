"""Cut a waveform into windows, and average the embeddings of its windows."""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from sondino.errors import AudioError, OptionError
from sondino.frontend.logmel import resampled_length

ShortPolicy = Literal["pad", "native", "repeat"]
"""A clip shorter than a window is zero-padded, processed without padding (variable length), or repeated to fill it."""

WindowPolicy = Literal["all", "published"]
"""All of a clip is processed, short clips and tails included; or full windows only, as the published package does."""

Window = tuple[NDArray[np.float32], float, float]
"""A window (samples,), its start in seconds, how many of its samples are real (not padding)."""


@dataclass(frozen=True)
class Windowing:
    """How clips are cut into windows.

    Attributes:
        window: seconds; None = one window, the whole clip.
        hop: seconds from one window's start to the next; None = `window`.
        short: what is done with a clip shorter than a window.
        policy: "published" leaves out tails, and short clips are an AudioError.

    Raises:
        OptionError: an unknown `short` or `policy`.
    """

    window: float | None
    hop: float | None = None
    short: ShortPolicy = "pad"
    policy: WindowPolicy = "all"

    def __post_init__(self) -> None:
        if self.short not in get_args(ShortPolicy):
            raise OptionError(f"short is {self.short!r}: give one of {', '.join(get_args(ShortPolicy))}")
        check_policy(self.policy)


def check_policy(policy: str) -> None:
    """Raises OptionError if a window policy is unknown."""
    if policy not in get_args(WindowPolicy):
        raise OptionError(f"window policy is {policy!r}: give one of {', '.join(get_args(WindowPolicy))}")


def stack_windows(
    waveform: NDArray[np.float32], sample_rate: int, windowing: Windowing, minimum: int = 0
) -> tuple[NDArray[np.float32], NDArray[np.float64], NDArray[np.float64]]:
    """Cut a waveform into windows of equal length; the tail is kept.

    Args:
        waveform: (samples,).
        sample_rate: its hertz.
        windowing: how it is cut.
        minimum: samples up to which a waveform without padding is zero-padded all the same.

    Returns:
        windows (n, samples) float32; starts (n,) in seconds; weights (n,): how many samples of each are real.

    Raises:
        AudioError: the waveform has no samples.
        OptionError: a window or hop under one sample.
    """
    windows = list(iter_windows([waveform], sample_rate, windowing, minimum))
    if not windows:
        raise AudioError("a waveform holds no sound: it has no samples")
    return (
        np.stack([samples for samples, _, _ in windows]),
        np.array([start for _, start, _ in windows], dtype=np.float64),
        np.array([weight for _, _, weight in windows], dtype=np.float64),
    )


def iter_windows(
    blocks: Iterable[NDArray[np.float32]],
    sample_rate: int,
    windowing: Windowing,
    minimum: int = 0,
    rate: int | None = None,
) -> Iterator[Window]:
    """Cut a waveform that comes in blocks (samples,) into windows, holding about one window and one block in memory.

    Args:
        blocks: (samples,) each.
        sample_rate: as in `stack_windows`; starts, lengths and real samples are counted at it.
        windowing: as in `stack_windows`.
        minimum: as in `stack_windows`.
        rate: hertz of the blocks and of the windows that are cut from them; None: `sample_rate`. The windows are those
            that the resampled waveform would have.

    Yields:
        window (samples,) float32, its start in seconds, how many of its samples are real.

    Raises:
        AudioError: a short clip where the policy is "published".
        OptionError: a window or hop under one sample.
    """
    given = sample_rate if rate is None else rate

    def own(samples: int) -> int:
        """Samples of the blocks in so many at the sample rate."""
        return resampled_length(samples, sample_rate, given)

    least = -(-minimum * given // sample_rate)
    window, hop, short = windowing.window, windowing.hop, windowing.short
    if window is None:
        whole = [block for block in blocks if len(block)]
        if whole:
            waveform = np.concatenate(whole)
            yield _pad(waveform, least), 0.0, float(resampled_length(len(waveform), given, sample_rate))
        return
    size, step = _size_and_step(window, hop, sample_rate)
    own_size = max(1, own(size))
    held: list[NDArray[np.float32]] = []
    base = 0  # where `held` begins, in samples of the blocks
    length = 0  # of `held`
    at = 0  # where the next window begins
    last = np.zeros(0, np.float32)  # sample
    for block in blocks:
        last = block[-1:] if len(block) else last
        held.append(block)
        length += len(block)
        if own(at) + own_size <= base + length:
            joined = held[0] if len(held) == 1 else np.concatenate(held)
            while (start := own(at) - base) + own_size <= length:
                yield joined[start : start + own_size], at / sample_rate, float(size)
                at += step
            held = [joined]
        past = min(own(at) - base, length)  # what no later window needs
        if past == length:
            held = []
        elif past and len(held) == 1:
            held = [held[0][past:]]
        else:
            past = 0
        base, length = base + past, length - past
    rest = resampled_length(base + length, given, sample_rate) - at  # from the next window's start to the end
    if windowing.policy == "published":
        if at == 0 and rest > 0:
            raise AudioError(
                f"a clip of {rest / sample_rate:.3g} s is under the window of {window:g} s, and the window policy "
                "'published' takes full windows only; take 'all'"
            )
    elif at == 0:
        if length > 0:
            yield _short_window(np.concatenate(held), own_size, short, least), 0.0, float(max(rest, 1))
    # Samples that the last window already held make no window of their own.
    elif rest > max(0, size - step):
        # At a lower rate a window may begin within the last sample: that sample is what it has.
        tail = np.concatenate(held)[own(at) - base :] if held else last
        yield _pad(tail, own_size), at / sample_rate, float(rest)


def seconds_in_windows(duration: float, sample_rate: int, windowing: Windowing) -> float:
    """Seconds of all windows together, padding included, that `iter_windows` cuts from so many seconds of sound.

    Raises:
        OptionError: a window or hop under one sample.
    """
    if windowing.window is None:
        return duration
    size, step = _size_and_step(windowing.window, windowing.hop, sample_rate)
    samples = round(duration * sample_rate)
    if samples < size:
        if samples < 1 or windowing.policy == "published":
            return 0.0
        return duration if windowing.short == "native" else windowing.window
    full = 1 + (samples - size) // step
    rest = samples - full * step  # from where the next window would begin
    return (full + (windowing.policy == "all" and rest > max(0, size - step))) * windowing.window


def merge(embeddings: NDArray[np.float32], weights: NDArray[np.float64]) -> NDArray[np.float32]:
    """One embedding for a clip: the mean (dim,) of its windows' (n, dim), weighted by their real samples (n,)."""
    total = float(np.sum(weights))
    share = weights / total if total > 0 else np.full(len(weights), 1 / len(weights))
    return (share @ embeddings.astype(np.float64)).astype(np.float32)


def _size_and_step(window: float, hop: float | None, sample_rate: int) -> tuple[int, int]:
    """Samples of a window, and from one window's start to the next."""
    seconds = (window, window if hop is None else hop)
    size, step = (round(each * sample_rate) if math.isfinite(each) else 0 for each in seconds)
    if size < 1 or step < 1:
        raise OptionError(f"window {window} s and hop {hop} s must both be at least one sample at {sample_rate} Hz")
    return size, step


def _pad(x: NDArray[np.float32], size: int) -> NDArray[np.float32]:
    return x if len(x) >= size else np.concatenate([x, np.zeros(size - len(x), np.float32)])


def _short_window(x: NDArray[np.float32], size: int, short: ShortPolicy, minimum: int) -> NDArray[np.float32]:
    if short == "repeat":
        return np.resize(x, size)
    return _pad(x, size if short == "pad" else minimum)
