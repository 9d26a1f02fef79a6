"""Checks for collapsed embeddings: the same embedding for every clip, or norms that are outliers."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

COLLAPSED_COSINE = 0.999
"""Mean pairwise cosine from which the order of neighbours is decided by rounding."""

NORM_OUTLIER_RATIO = 30.0
"""An embedding whose norm exceeds the median norm by this factor is an outlier."""


def norm_ok(embeddings: NDArray[np.float32], usual: NDArray[np.float32] | None = None) -> NDArray[np.bool_]:
    """Which of a net's embeddings (n, dim) have a norm in range, as a mask (n,).

    Briefly trained nets can give some clips embeddings with a norm a million times the others', whose direction
    changes by degrees with float32 rounding alone: neither int8 nor an export can be evaluated on them. Values that
    are not finite count as in range, so that they are evaluated and fail.

    Args:
        embeddings: those to check.
        usual: embeddings (m, dim) of the clips whose median norm is the usual one; None: of the same clips.
    """
    lengths = np.linalg.norm(embeddings.astype(np.float64), axis=1)
    known = lengths if usual is None else np.linalg.norm(usual.astype(np.float64), axis=1)
    finite = known[np.isfinite(known) & (known > 0)]
    median = np.median(finite) if len(finite) else np.inf
    return np.asarray(~np.isfinite(lengths) | (lengths <= NORM_OUTLIER_RATIO * median))


def mean_pairwise_cosine(embeddings: NDArray[np.float32]) -> float:
    """Mean cosine between a net's embeddings (n, dim) of different clips; near 1 the net has collapsed.

    0 for a single embedding, or where values are not finite.
    """
    lengths = np.linalg.norm(embeddings.astype(np.float64), axis=1, keepdims=True)
    cosines = (embeddings / np.maximum(lengths, 1e-30)) @ (embeddings / np.maximum(lengths, 1e-30)).T
    n = len(embeddings)
    return float(np.nan_to_num((cosines.sum() - np.trace(cosines)) / max(1, n * (n - 1))))
