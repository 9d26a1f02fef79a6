"""How unlike the clips that a head was fitted on an embedding is, in NumPy."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from sondino.errors import OptionError

Array = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Unlike:
    """A distance of embeddings to the means of the classes, and what it was of clips that were held out.

    The distance is Mahalanobis', with a covariance that all classes share: its leading directions have a variance of
    their own, all others the same one.

    Attributes:
        means: (classes, dim).
        directions: (rank, dim) orthonormal.
        variances: (rank + 1,) along each direction, then that along every other.
        quantiles: (n,) of the distance of held-out windows, from the least to the largest, evenly spaced.

    Raises:
        OptionError: shapes that do not fit, values that are not finite, or variances of 0.
    """

    means: Array
    directions: Array
    variances: Array
    quantiles: Array

    def __post_init__(self) -> None:
        for field in fields(self):
            object.__setattr__(self, field.name, np.ascontiguousarray(getattr(self, field.name), np.float32))
        means, directions, variances, quantiles = (getattr(self, field.name) for field in fields(self))
        fits = (
            means.ndim == directions.ndim == 2
            and len(means) > 0
            and means.shape[1] == directions.shape[1]
            and variances.shape == (len(directions) + 1,)
            and quantiles.ndim == 1
            and len(quantiles) > 1
        )
        finite = all(np.isfinite(part).all() for part in (means, directions, variances, quantiles))
        if not (fits and finite and (variances > 0).all() and (np.diff(quantiles) >= 0).all()):
            raise OptionError("its score of what is unlike has parts that do not fit each other")

    @property
    def dim(self) -> int:
        """Dimension of the embeddings."""
        return int(self.means.shape[1])

    @property
    def sizes(self) -> dict[str, int]:
        """What a reader of `as_bytes` has to know: classes, rank and the number of quantiles."""
        return {"classes": len(self.means), "rank": len(self.directions), "quantiles": len(self.quantiles)}

    def as_bytes(self) -> bytes:
        """Its arrays one after another, as float32 with the lowest byte first."""
        return b"".join(array.astype("<f4").tobytes() for array in self.as_arrays().values())

    def as_arrays(self) -> Mapping[str, Array]:
        """Its arrays by name."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    def scores(self, embeddings: NDArray[np.floating]) -> NDArray[np.float32]:
        """The share (n,) of held-out windows that are less unlike than each embedding (n, dim): 0 to 1."""
        shares = np.linspace(0, 1, len(self.quantiles))
        found = distances(embeddings, self.means, self.directions, self.variances)
        return np.interp(found, self.quantiles, shares).astype(np.float32)


def distances(
    embeddings: NDArray[np.floating],
    means: NDArray[np.floating],
    directions: NDArray[np.floating],
    variances: NDArray[np.floating],
) -> NDArray[np.float64]:
    """The squared distance (n,) of embeddings (n, dim) to the nearest mean, as `Unlike` has it."""
    nearest = np.full(len(embeddings), np.inf)
    for mean in means.astype(np.float64):
        away = embeddings - mean  # (n, dim)
        along = (away @ directions.T) ** 2  # (n, rank)
        rest = np.maximum((away**2).sum(1) - along.sum(1), 0)
        nearest = np.minimum(nearest, (along / variances[:-1]).sum(1) + rest / variances[-1])
    return nearest
