"""The k-nearest-neighbours probe: nothing is fitted."""

import numpy as np
from numpy.typing import NDArray

from sondino.probing.linear import standard

NEIGHBOURS = 10

_SIMILARITIES = 20_000_000  # at once: 80 MB, and twice that for their indexes

Mask = NDArray[np.bool_]


def nearest_labels(
    train: NDArray[np.floating], targets: Mask, test: NDArray[np.floating], known: Mask | None = None
) -> NDArray[np.float64]:
    """Scores of each label: the share of the similarity of the 10 nearest training clips that have it.

    Args:
        train: (n, dim) embeddings of labelled clips. All embeddings are standardised by their mean and deviation;
            similarity is by cosine.
        targets: (n, labels) the labels of the training clips.
        test: (m, dim).
        known: (n, labels) the marks of `targets` that count. None: all.

    Returns:
        (m, labels) from 0 to 1.
    """
    mean, scale = (part.astype(np.float32) for part in standard(train))
    directions = _standard_directions(train, mean, scale)
    counts = np.ones(targets.shape, np.float32) if known is None else known.astype(np.float32)
    yes = targets * counts
    k = min(NEIGHBOURS, len(directions))
    scores = np.zeros((len(test), targets.shape[1]))
    block = max(1, _SIMILARITIES // len(directions))
    for start in range(0, len(test), block):
        rows = _standard_directions(test[start : start + block], mean, scale)
        near = rows @ directions.T
        best = np.argpartition(near, -k, axis=1)[:, -k:]
        # Clips of negative similarity do not count, however few neighbours there are.
        weight = np.maximum(np.take_along_axis(near, best, 1), 1e-6)
        total = np.einsum("mk,mkl->ml", weight, counts[best])
        scores[start : start + block] = np.einsum("mk,mkl->ml", weight, yes[best]) / np.maximum(total, 1e-12)
    return scores


def _standard_directions(
    embeddings: NDArray[np.floating], mean: NDArray[np.float32], scale: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Standardised and normalised to length 1: a copy (n, dim)."""
    x = np.array(embeddings, np.float32)
    x -= mean
    x /= scale
    x /= np.maximum(np.sqrt(np.einsum("nd,nd->n", x, x))[:, None], np.float32(1e-12))
    return x
