"""Checks for a net that has collapsed: one vector for every sound, or vectors of unusual length."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

COLLAPSED_COSINE = 0.999
"""Mean cosine between vectors of different clips from which rounding decides which of them are near."""

NORM_OUTLIER_RATIO = 30.0
"""Times the usual length from which a vector is one that the net itself has no hold of."""


def norm_ok(vectors: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Which of a net's vectors (n, dim) are of a usual length.

    Nets of dynamic kernels that were trained for minutes give some real sounds vectors a million times as long as
    others, which rounding to float32 alone turns by degrees: neither int8 nor an export can be judged by them. What is
    not a number stays, so that it is judged and refused.
    """
    lengths = np.linalg.norm(vectors.astype(np.float64), axis=1)
    said = lengths[np.isfinite(lengths) & (lengths > 0)]
    usual = np.median(said) if len(said) else np.inf
    return np.asarray(~np.isfinite(lengths) | (lengths <= NORM_OUTLIER_RATIO * usual))


def mean_pairwise_cosine(vectors: NDArray[np.float32]) -> float:
    """Mean cosine between different ones of a net's vectors (n, dim): near 1, it gives one vector for every sound.

    0 where there is one vector alone, or numbers that are not finite.
    """
    lengths = np.linalg.norm(vectors.astype(np.float64), axis=1, keepdims=True)
    cosines = (vectors / np.maximum(lengths, 1e-30)) @ (vectors / np.maximum(lengths, 1e-30)).T
    n = len(vectors)
    return float(np.nan_to_num((cosines.sum() - np.trace(cosines)) / max(1, n * (n - 1))))
