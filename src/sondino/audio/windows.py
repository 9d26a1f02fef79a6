"""Cut a waveform into windows, and merge the embeddings of its windows into one."""

import math
from collections.abc import Iterable, Iterator
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from sondino.errors import AudioError, OptionError

ShortPolicy = Literal["pad", "native", "repeat"]
"""A clip under a window is zero-padded, heard at its own length, or repeated until it fills the window."""

WindowPolicy = Literal["all", "published"]
"""All of a sound is heard, short clips and tails included; or full windows only, as the published package does."""


def stack_windows(
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
    cuts = list(iter_windows([waveform], sample_rate, window, hop, short, minimum))
    if not cuts:
        raise AudioError("a waveform holds no sound: it has no samples")
    return (
        np.stack([piece for piece, _, _ in cuts]),
        np.array([start for _, start, _ in cuts], dtype=np.float64),
        np.array([weight for _, _, weight in cuts], dtype=np.float64),
    )


def iter_windows(
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


def _pad(x: NDArray[np.float32], size: int) -> NDArray[np.float32]:
    return x if len(x) >= size else np.concatenate([x, np.zeros(size - len(x), np.float32)])


def _short_window(x: NDArray[np.float32], size: int, short: ShortPolicy, minimum: int) -> NDArray[np.float32]:
    if short == "repeat":
        return np.resize(x, size)
    return _pad(x, size if short == "pad" else minimum)
