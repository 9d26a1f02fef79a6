"""A probe without anything to fit: what the nearest neighbours of a clip are called."""

import numpy as np
from numpy.typing import NDArray

from sondino.probing.linear import standard

NEIGHBOURS = 10

_SIMILARITIES = 20_000_000  # at once: 80 MB, and twice that for their order

Mask = NDArray[np.bool_]


def nearest_labels(
    learn: NDArray[np.floating], targets: Mask, ask: NDArray[np.floating], known: Mask | None = None
) -> NDArray[np.float64]:
    """How much the 10 nearest clips speak for each label: the share of their similarity that has it.

    Args:
        learn: (n, dim) vectors of clips whose labels are known. They are standardised, and so are those that ask;
            near is by cosine.
        targets: (n, labels) which has which.
        ask: (m, dim).
        known: (n, labels) the marks of `targets` that count. None: all.

    Returns:
        (m, labels) from 0 to 1.
    """
    mean, scale = (part.astype(np.float32) for part in standard(learn))
    have = _standard_directions(learn, mean, scale)
    counts = np.ones(targets.shape, np.float32) if known is None else known.astype(np.float32)
    yes = targets * counts
    k = min(NEIGHBOURS, len(have))
    said = np.zeros((len(ask), targets.shape[1]))
    block = max(1, _SIMILARITIES // len(have))
    for start in range(0, len(ask), block):
        rows = _standard_directions(ask[start : start + block], mean, scale)
        near = rows @ have.T
        best = np.argpartition(near, -k, axis=1)[:, -k:]
        # Clips that point the other way say nothing, however few there are.
        weight = np.maximum(np.take_along_axis(near, best, 1), 1e-6)
        told = np.einsum("mk,mkl->ml", weight, counts[best])
        said[start : start + block] = np.einsum("mk,mkl->ml", weight, yes[best]) / np.maximum(told, 1e-12)
    return said


def _standard_directions(
    vectors: NDArray[np.floating], mean: NDArray[np.float32], scale: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Standardised, at length 1: a copy."""
    x = np.array(vectors, np.float32)
    x -= mean
    x /= scale
    x /= np.maximum(np.sqrt(np.einsum("nd,nd->n", x, x))[:, None], np.float32(1e-12))
    return x
