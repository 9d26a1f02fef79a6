"""A probe without anything to fit: what the nearest neighbours of a clip are called."""

import numpy as np
from numpy.typing import NDArray

from sondino.evaluate.linear import standard

NEIGHBOURS = 10

_BLOCK = 512  # clips asked at once: their similarities to 100,000 others take 200 MB

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
    have = _unit((np.asarray(learn, np.float32) - mean) / scale)
    counts = np.ones(targets.shape, np.float32) if known is None else known.astype(np.float32)
    yes = targets * counts
    k = min(NEIGHBOURS, len(have))
    said = np.zeros((len(ask), targets.shape[1]))
    for start in range(0, len(ask), _BLOCK):
        rows = _unit((np.asarray(ask[start : start + _BLOCK], np.float32) - mean) / scale)
        near = rows @ have.T
        best = np.argpartition(near, -k, axis=1)[:, -k:]
        # Clips that point the other way say nothing, however few there are.
        weight = np.maximum(np.take_along_axis(near, best, 1), 1e-6)
        told = np.einsum("mk,mkl->ml", weight, counts[best])
        said[start : start + _BLOCK] = np.einsum("mk,mkl->ml", weight, yes[best]) / np.maximum(told, 1e-12)
    return said


def _unit(x: NDArray[np.float32]) -> NDArray[np.float32]:
    return x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), np.float32(1e-12))
