"""95 % intervals of a score: over folds, of a share of clips, and over test recordings."""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from sondino.errors import require

Interval = tuple[float, float]


RESAMPLES = 200
"""Draws of a bootstrap."""


def t_interval(scores: Sequence[float], parts: int | None = None, bounds: tuple[float, float] = (0.0, 1.0)) -> Interval:
    """Student's t interval of a mean of scores.

    Folds share training clips, so it is somewhat too narrow; it is the interval that papers report.

    Args:
        scores: (n,) one per fold or seed; two or more.
        parts: the number of folds where the folds were drawn repeatedly: the interval is then widened for the training
            clips that the scores share (Nadeau and Bengio, Machine Learning 52, 2003).
        bounds: the range of a score, which the interval does not leave.
    """
    n = len(scores)
    spread = 1 / n + (0.0 if parts is None else 1 / (parts - 1))
    half = t_quantile(n) * float(np.std(scores, ddof=1)) * spread**0.5
    mean = float(np.mean(scores))
    return max(bounds[0], mean - half), min(bounds[1], mean + half)


def with_width(found: Interval, recordings: int) -> Interval:
    """The interval, or where it has no width, as of folds that are all right, Wilson's of so many recordings."""
    return found if found[0] < found[1] else wilson(min(max(found[0], 0.0), 1.0), recordings)


def t_quantile(n: int) -> float:
    """The 97.5 % quantile of Student's t with n - 1 degrees of freedom: half a 95 % interval in standard errors."""
    return float(require("scipy.stats", "report").t.ppf(0.975, n - 1))


def wilson(share: float, count: int) -> Interval:
    """Wilson's interval of a share of so many clips; valid at 0 and 1 too."""
    z = 1.959964
    middle = (share + z * z / (2 * count)) / (1 + z * z / count)
    half = z * math.sqrt(share * (1 - share) / count + z * z / (4 * count * count)) / (1 + z * z / count)
    return max(0.0, middle - half), min(1.0, middle + half)


def draw_again(sources: NDArray[np.integer], draws: int, seed: int = 0) -> NDArray[np.uint16]:
    """How often each clip is in each bootstrap draw of whole recordings, (draws, clips).

    Args:
        sources: (clips,) the recording of each clip.
        draws: how many.
        seed: of the draws.
    """
    names, of = np.unique(sources, return_inverse=True)
    times = np.random.default_rng(seed).multinomial(len(names), np.full(len(names), 1 / len(names)), size=draws)
    return times.astype(np.uint16)[:, of]


def middle_95(values: NDArray[np.floating]) -> Interval:
    """The middle 95 % of the values of bootstrap draws."""
    low, high = np.quantile(values[np.isfinite(values)], (0.025, 0.975))
    return float(low), float(high)
