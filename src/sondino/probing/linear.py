"""Linear classifiers on frozen embeddings: one softmax, or a sigmoid per label, with an L2 penalty. NumPy and SciPy.

The solution is that of scikit-learn's LogisticRegression (the problem is convex). The solver is made for many clips
and labels: all labels at once, large matrices in float32, warm starts from one penalty to the next, and
preconditioning by the embeddings' covariance.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from functools import cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sondino.errors import require

C_VALUES = (0.0001, 0.001, 0.01, 0.1, 1.0)
"""Inverse regularisation that is tried: scikit-learn's C, on standardised embeddings."""

UNSEEN = -30.0
"""The logit of a label that no training clip has."""

_SMALL = 4_000_000  # values of the largest matrix that is solved in float64
_BLOCK = 4096  # rows converted to float64 at once

Array = NDArray[np.float64]
Embeddings = NDArray[np.floating]
Mask = NDArray[np.bool_]

_MOST_ROWS = 20_000  # for the preconditioner, which need not be exact
_STEPS = 15  # L-BFGS iterations between updates of the preconditioner
_UPDATES = 20
_CLOSE = {8: 1e-6, 4: 1e-5}  # relative tolerance of the loss, by bytes per value


class Linear(NamedTuple):
    """A linear classifier.

    Attributes:
        weight: (labels, dim).
        bias: (labels,).
    """

    weight: Array
    bias: Array

    def logits(self, embeddings: NDArray[np.floating]) -> Array:
        """Logits (n, labels) of embeddings (n, dim)."""
        found = np.empty((len(embeddings), len(self.bias)))
        for start in range(0, len(embeddings), _BLOCK):
            found[start : start + _BLOCK] = embeddings[start : start + _BLOCK] @ self.weight.T + self.bias
        return found


def fit_linear(
    embeddings: NDArray[np.floating],
    targets: Mask,
    C_values: Sequence[float],
    multi_label: bool,
    known: Mask | None = None,
    rows: NDArray[np.bool_] | None = None,
) -> Iterator[Linear]:
    """Logistic regressions on standardised embeddings, with the standardisation folded into the weights.

    Args:
        embeddings: (clips, dim).
        targets: (clips, labels); without `multi_label` one per clip.
        C_values: inverse regularisation, one per regression, ascending.
        multi_label: a sigmoid per label instead of one softmax over all.
        known: (clips, labels) with `multi_label`: the marks of `targets` that count. None: all.
        rows: (clips,) those to train on. None: all.

    Yields:
        a classifier for each C, one after another.

    Raises:
        MissingExtra: SciPy, which comes with scikit-learn, is not installed.
    """
    z, mean, scale = _standardised(embeddings, rows)
    if rows is not None:
        targets, known = targets[rows], None if known is None else known[rows]
    if known is None:
        known = np.ones_like(targets)
    labels = targets.shape[1]
    bias = np.full(labels, UNSEEN)
    if multi_label:
        none, every = ~(targets & known).any(0), ~(~targets & known).any(0)
        bias[every & ~none] = -UNSEEN
        trained = np.flatnonzero(~(none | every))
    else:
        trained = np.flatnonzero(targets.any(0))
        if len(trained) == 1:
            bias[trained] = -UNSEEN
            trained = trained[:0]
    # The penalty is invariant to rotation: n clips of dim > n span n directions.
    rotation: Embeddings | None = None
    if len(z) < z.shape[1]:
        with few_threads(z):
            u, values, rotation = np.linalg.svd(z, full_matrices=False)  # (n, n), (n,), (n, dim)
        z = u * values  # (n, dim) -> (n, n)
    # Two labels are one binary problem.
    pair = not multi_label and len(trained) == 2
    fitted = trained[1:] if pair else trained
    search = _Search(z, targets[:, fitted], known[:, fitted] if multi_label else None, multi_label or pair)
    for C in C_values:
        weight, offset = np.zeros((labels, embeddings.shape[1])), bias.copy()
        if len(trained):
            found, offsets = search.fit(C)
            found = (found if rotation is None else found @ rotation) / scale
            offsets = offsets - found @ mean
            if pair:
                found, offsets = np.outer([-0.5, 0.5], found), np.array([-0.5, 0.5]) * offsets
            weight[trained], offset[trained] = found, offsets
        yield Linear(weight, offset)


def standard(x: NDArray[np.floating]) -> tuple[Array, Array]:
    """Mean and deviation (dim,) of embeddings (clips, dim); infinite deviation where a dimension is constant."""
    mean = x.mean(0, dtype=np.float64)
    square = np.zeros_like(mean)
    for start in range(0, len(x), _BLOCK):  # in blocks: x.std would make a float64 copy of everything
        square += np.square(x[start : start + _BLOCK] - mean).sum(0)
    deviation = np.sqrt(square / len(x))
    # A constant dimension has no information; dividing by its rounding noise would amplify that.
    return mean, np.where(deviation > 1e-6 * np.abs(mean), deviation, np.inf)


def _standardised(embeddings: NDArray[np.floating], rows: NDArray[np.bool_] | None) -> tuple[Embeddings, Array, Array]:
    """A copy of some rows, standardised, with the mean and the deviation that were taken out."""
    chosen = embeddings if rows is None else embeddings[rows]
    mean, scale = standard(chosen)
    # float32 halves the time of a large matrix; a small one is solved in float64 for accuracy.
    z: Embeddings = chosen.astype(np.float64 if chosen.size <= _SMALL else np.float32, copy=rows is None)
    for start in range(0, len(z), _BLOCK):
        block = slice(start, start + _BLOCK)
        z[block] = (z[block] - mean) / scale
    return z, mean, scale


@cache
def _thread_pools() -> Any:
    """The BLAS libraries, looked up once: that takes longer than a small fit."""
    require("scipy.linalg", "report")  # loads its own BLAS
    return require("threadpoolctl", "report").ThreadpoolController()


def few_threads(matrix: NDArray[np.floating]) -> AbstractContextManager[Any]:
    """One thread of the BLAS libraries for work on a small matrix, where the synchronisation of more costs more.

    On two cores that other programs use too, an SVD of 160 x 480 took 0.1 s with one thread, and 26 s with two.
    """
    limited: AbstractContextManager[Any] = _thread_pools().limit(limits=1 if matrix.size <= _SMALL else None)
    return limited


class _Search:
    """The loss over all labels and its minimum; each fit starts at the solution of the one before."""

    def __init__(self, z: Embeddings, targets: Mask, known: Mask | None, sigmoid: bool) -> None:
        self._z, self._sigmoid = z, sigmoid
        self._known = None if known is None or known.all() else known.astype(z.dtype)
        self._y = targets.astype(z.dtype) if self._known is None else targets * self._known
        labels = targets.shape[1]
        counted = np.full(labels, len(z)) if self._known is None else self._known.sum(0)
        share = np.clip(self._y.sum(0) / counted, 1 / (len(z) + 1), 1 - 1 / (len(z) + 1))
        self._bias = np.asarray(np.log(share / (1 - share)) if sigmoid else np.log(share), np.float64)
        self._weight = np.zeros((z.shape[1], labels))
        self._every = -(-len(z) // _MOST_ROWS)

    def fit(self, C: float) -> tuple[Array, Array]:
        """Weights (labels, dim) and biases (labels,) at the minimum."""
        with few_threads(self._z):
            for _ in range(_UPDATES):
                if self._minimise(C):
                    break
        return self._weight.T.copy(), self._bias.copy()

    def _minimise(self, C: float) -> bool:
        """Run some L-BFGS iterations; return whether the minimum is reached."""
        linalg, optimize = require("scipy.linalg", "report"), require("scipy.optimize", "report")
        dim, labels = self._weight.shape
        # Preconditioned variables, in which the Hessian is about the identity: few iterations are needed.
        hessian, total = self._hessian()
        hessian[np.diag_indices(dim)] += 1 / C
        lower = linalg.cholesky(hessian, lower=True, overwrite_a=True)
        across = np.sqrt(max(total, 1e-12))

        def loss(steps: Array) -> tuple[float, Array]:
            weight, bias = unpack(steps)
            value, by_weight, by_bias = self._loss(weight, bias)
            value += 0.5 / C * float(np.square(weight).sum())
            by_weight += weight / C
            gradient = linalg.solve_triangular(lower, by_weight, lower=True, check_finite=False)
            return value, np.concatenate([gradient.ravel(), by_bias / across])

        def unpack(steps: Array) -> tuple[Array, Array]:
            weight = linalg.solve_triangular(lower, steps[: dim * labels].reshape(dim, labels), lower=True, trans=1,
                                             check_finite=False)  # fmt: skip
            return weight, steps[dim * labels :] / across

        start = np.concatenate([(lower.T @ self._weight).ravel(), self._bias * across])
        found: Any = optimize.minimize(
            loss,
            start,
            jac=True,
            method="L-BFGS-B",
            options={"maxiter": _STEPS, "ftol": _CLOSE[self._z.itemsize], "gtol": 0.0},
        )
        self._weight, self._bias = unpack(found.x)
        return int(found.status) != 1  # 1: iterations used up; 2: no progress within rounding, so converged

    def _hessian(self) -> tuple[Array, float]:
        """The Hessian (dim, dim) of the loss by the weights of a label, and by its bias, averaged over labels."""
        rows = self._z[:: self._every]
        logits = rows @ self._weight.astype(rows.dtype) + self._bias.astype(rows.dtype)
        if self._sigmoid:
            shares = 1 / (1 + np.exp(-np.clip(logits, -30, 30)))
        else:
            shares = np.exp(logits - logits.max(1, keepdims=True))
            shares /= shares.sum(1, keepdims=True)
        # Clips that are classified with confidence add little curvature.
        curvature = (shares * (1 - shares)).mean(1)
        weighted = rows * np.sqrt(curvature)[:, None]
        times = len(self._z) / len(rows)
        return (weighted.T @ weighted).astype(np.float64) * times, float(curvature.sum(dtype=np.float64)) * times

    def _loss(self, weight: Array, bias: Array) -> tuple[float, Array, Array]:
        """The summed cross-entropy, and its gradient by weights (dim, labels) and biases (labels,)."""
        logits = self._z @ weight.astype(self._z.dtype)  # (clips, dim) @ (dim, labels)
        logits += bias.astype(self._z.dtype)
        if self._sigmoid:
            # log(1 + exp(-|x|)) + max(x, 0) - xy, without overflow.
            small = np.exp(-np.abs(logits))
            each = np.log1p(small) + np.maximum(logits, 0) - logits * self._y
            wrong = np.where(logits >= 0, 1, small) / (1 + small) - self._y
            if self._known is not None:
                each *= self._known
                wrong *= self._known
            value = float(each.sum(dtype=np.float64))
        else:
            logits -= logits.max(1, keepdims=True)
            right = float(np.einsum("nk,nk->", logits, self._y, dtype=np.float64))
            np.exp(logits, out=logits)
            total = logits.sum(1, keepdims=True)
            value = float(np.log(total).sum(dtype=np.float64)) - right
            logits /= total
            wrong = logits - self._y
        return value, (self._z.T @ wrong).astype(np.float64), wrong.sum(0, dtype=np.float64)
