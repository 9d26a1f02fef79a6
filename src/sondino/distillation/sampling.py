"""Which clips an epoch draws: all alike, or each cluster as often as any other (balanced data sampling, S-SONDO)."""

import numpy as np
from numpy.typing import NDArray

from sondino.corpus.clusters import balanced_weights

__all__ = ["balanced_weights", "draw", "uniform_weights"]


def uniform_weights(valid: NDArray[np.bool_]) -> NDArray[np.float64]:
    """One weight for every row (rows,) that has a target, 0 for those that have none."""
    return valid.astype(np.float64)


def draw(weights: NDArray[np.float64], draws: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Draw rows with replacement, each as often as its weight says.

    Args:
        weights: (rows,), none below 0; a row of weight 0 is never drawn.
        draws: how many.
        rng: where chance comes from; its state decides the rows.

    Returns:
        (draws,) row numbers.

    Raises:
        ValueError: no weight is above 0.
    """
    reach = np.cumsum(weights)
    if not (len(reach) and reach[-1] > 0):
        raise ValueError("no row has a weight above 0")
    # The last row that can be drawn: a product that rounds up to the total would step past it.
    last = np.searchsorted(reach, reach[-1], side="left")
    rows = np.searchsorted(reach, rng.random(draws) * reach[-1], side="right")
    return np.minimum(rows, last)
