"""Embeddings of several teachers for one corpus side by side, for clusters that all of them decide."""

import hashlib
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sondino.corpus.targets import Targets
from sondino.errors import OptionError
from sondino.files import make_folder

BATCH = 10_000


class JoinedTargets:
    """The targets of several teachers, row for row: each dimension of mean 0, each teacher of total variance 1.

    So no teacher decides more because it has larger values or more dimensions. A row that any of them lacks is not
    valid. Nothing is stored but what is made of it, in `folder`.

    Args:
        targets: of each teacher, whole, for one corpus.

    Raises:
        OptionError: they are of corpora of different lengths, or none is given.
    """

    def __init__(self, targets: Sequence[Targets]) -> None:
        if not targets or len({len(each) for each in targets}) > 1:
            raise OptionError("targets of several teachers are joined row for row: give those of one corpus")
        self.targets = list(targets)
        self.key = hashlib.sha256(" ".join(each.key for each in targets).encode()).hexdigest()

    def __len__(self) -> int:
        return len(self.targets[0])

    @cached_property
    def folder(self) -> Path:
        """Beside those of the teachers."""
        return make_folder(self.targets[0].folder.with_name(f"joined-{self.key[:16]}"))

    @cached_property
    def valid(self) -> NDArray[np.bool_]:
        """(rows,): which rows have an embedding of each teacher."""
        return np.logical_and.reduce([each.valid for each in self.targets])

    def read(self, spans: Sequence[tuple[int, int]]) -> NDArray[np.float32]:
        """Stretches (first row, one after the last) of the joined matrix (rows, dimensions of all)."""
        parts = [
            (each.read(spans).astype(np.float32) - mean) * scale
            for each, (mean, scale) in zip(self.targets, self._scales, strict=True)
        ]
        return np.concatenate(parts, axis=1)

    @cached_property
    def _scales(self) -> list[tuple[NDArray[np.float32], NDArray[np.float32]]]:
        """Of each teacher the mean (dim,) and what is multiplied with (dim,), over the valid rows."""
        return [_scale(each, self.valid) for each in self.targets]


def _scale(targets: Targets, valid: NDArray[np.bool_]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    count, total = max(1, int(valid.sum())), np.zeros(targets.dim)
    blocks = [(first, min(len(targets), first + BATCH)) for first in range(0, len(targets), BATCH)]
    for first, last in blocks:
        total += targets.read([(first, last)])[valid[first:last]].sum(axis=0, dtype=np.float64)
    mean, squares = total / count, np.zeros(targets.dim)
    for first, last in blocks:
        squares += ((targets.read([(first, last)])[valid[first:last]].astype(np.float64) - mean) ** 2).sum(axis=0)
    deviation = np.sqrt(squares / count)
    varies = deviation > 1e-6 * max(1e-30, float(np.abs(mean).max(initial=0)))
    # A dimension that never changes says nothing, and its rounding must not be made large.
    scale = np.where(varies, 1 / np.where(varies, deviation, 1), 0) / np.sqrt(max(1, int(varies.sum())))
    return mean.astype(np.float32), scale.astype(np.float32)
