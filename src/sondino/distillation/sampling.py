"""Sampling of an epoch's clips: uniform, or each cluster equally often (balanced data sampling, S-SONDO)."""

import numpy as np
from numpy.typing import NDArray

from sondino.corpus.clusters import balanced_weights

__all__ = ["balanced_weights", "draw", "uniform_weights"]


def uniform_weights(valid: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Weight 1 for every row (rows,) that has a target, 0 for the others."""
    return valid.astype(np.float64)


def draw(weights: NDArray[np.float64], draws: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Draw rows with replacement, with probabilities proportional to their weights.

    Args:
        weights: (rows,), 0 or more; a row of weight 0 is never drawn.
        draws: how many.
        rng: random generator.

    Returns:
        (draws,) row numbers.

    Raises:
        ValueError: no weight is above 0.
    """
    reach = np.cumsum(weights)
    if not (len(reach) and reach[-1] > 0):
        raise ValueError("no row has a weight above 0")
    # The last row that can be drawn: a product that rounds up to the total would be past it.
    last = np.searchsorted(reach, reach[-1], side="left")
    rows = np.searchsorted(reach, rng.random(draws) * reach[-1], side="right")
    return np.minimum(rows, last)
