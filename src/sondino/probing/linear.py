"""Linear classifiers on frozen vectors: one softmax, or a sigmoid a label, with an L2 penalty. NumPy and SciPy.

The answer is that of scikit-learn's LogisticRegression (the problem is convex). The way there is made for many clips
and labels: all labels at once, large matrices in float32, from one penalty to the next, and with the vectors' own
correlations taken out of the search.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sondino.errors import require

C_VALUES = (0.0001, 0.001, 0.01, 0.1, 1.0)
"""Inverse strengths of the penalty that are tried: scikit-learn's C, on standardised vectors."""

UNSEEN = -30.0
"""The logit of a label that no training clip has."""

_SMALL = 4_000_000  # numbers of a matrix that is worked on in float64
_BLOCK = 4096  # rows that are taken to float64 at once

Array = NDArray[np.float64]
Vectors = NDArray[np.floating]
Mask = NDArray[np.bool_]

_MOST_ROWS = 20_000  # whose correlations are taken: enough to steer the search, which need not be exact
_STEPS = 15  # after which the steepness is taken anew
_STRETCHES = 20
_CLOSE = {8: 1e-6, 4: 1e-5}  # relative fall of the loss in a step under which the search ends, by bytes of a number


class Linear(NamedTuple):
    """A linear classifier.

    Attributes:
        weight: (labels, dim).
        bias: (labels,).
    """

    weight: Array
    bias: Array

    def logits(self, vectors: NDArray[np.floating]) -> Array:
        """(n, labels) of vectors (n, dim)."""
        found = np.empty((len(vectors), len(self.bias)))
        for start in range(0, len(vectors), _BLOCK):
            found[start : start + _BLOCK] = vectors[start : start + _BLOCK] @ self.weight.T + self.bias
        return found


def fit_linear(
    vectors: NDArray[np.floating],
    targets: Mask,
    strengths: Sequence[float],
    multi_label: bool,
    known: Mask | None = None,
    rows: NDArray[np.bool_] | None = None,
) -> Iterator[Linear]:
    """Logistic regressions on standardised vectors, with the standardising folded into the weights.

    Args:
        vectors: (clips, dim).
        targets: (clips, labels); without `multi_label` one a clip.
        strengths: the penalty's C, one a regression, rising.
        multi_label: a sigmoid for each label, where otherwise one softmax goes over all.
        known: (clips, labels) with `multi_label`: the marks of `targets` that count. None: all.
        rows: (clips,) those to learn from. None: all.

    Yields:
        a classifier for each strength, one after another.

    Raises:
        MissingExtra: SciPy, which comes with scikit-learn, is not installed.
    """
    z, mean, scale = _standardised(vectors, rows)
    if rows is not None:
        targets, known = targets[rows], None if known is None else known[rows]
    if known is None:
        known = np.ones_like(targets)
    labels = targets.shape[1]
    bias = np.full(labels, UNSEEN)
    if multi_label:
        none, every = ~(targets & known).any(0), ~(~targets & known).any(0)
        bias[every & ~none] = -UNSEEN
        learnt = np.flatnonzero(~(none | every))
    else:
        learnt = np.flatnonzero(targets.any(0))
        if len(learnt) == 1:
            bias[learnt] = -UNSEEN
            learnt = learnt[:0]
    # The penalty does not change when the space is turned: fewer clips than numbers span that many directions.
    turn: Vectors | None = None
    if len(z) < z.shape[1]:
        u, values, turn = np.linalg.svd(z, full_matrices=False)
        z = u * values
    # Two labels are one question.
    pair = not multi_label and len(learnt) == 2
    asked = learnt[1:] if pair else learnt
    search = _Search(z, targets[:, asked], known[:, asked] if multi_label else None, multi_label or pair)
    for strength in strengths:
        weight, offset = np.zeros((labels, vectors.shape[1])), bias.copy()
        if len(learnt):
            found, offsets = search.fit(strength)
            found = (found if turn is None else found @ turn) / scale
            offsets = offsets - found @ mean
            if pair:
                found, offsets = np.outer([-0.5, 0.5], found), np.array([-0.5, 0.5]) * offsets
            weight[learnt], offset[learnt] = found, offsets
        yield Linear(weight, offset)


def standard(x: NDArray[np.floating]) -> tuple[Array, Array]:
    """Mean and deviation (dim,) of vectors (clips, dim); infinite deviation where a number never varies."""
    mean = x.mean(0, dtype=np.float64)
    square = np.zeros_like(mean)
    for start in range(0, len(x), _BLOCK):  # in blocks: x.std would make a float64 copy of everything
        square += np.square(x[start : start + _BLOCK] - mean).sum(0)
    deviation = np.sqrt(square / len(x))
    # A number that never varies says nothing; dividing by its rounding noise would let it shout.
    return mean, np.where(deviation > 1e-6 * np.abs(mean), deviation, np.inf)


def _standardised(vectors: NDArray[np.floating], rows: NDArray[np.bool_] | None) -> tuple[Vectors, Array, Array]:
    """A copy of some rows, standardised, with the mean and the deviation that were taken out."""
    chosen = vectors if rows is None else vectors[rows]
    mean, scale = standard(chosen)
    # In float32 a large matrix takes half the time; on a small one its rounding would only get in the way.
    z: Vectors = chosen.astype(np.float64 if chosen.size <= _SMALL else np.float32, copy=rows is None)
    for start in range(0, len(z), _BLOCK):
        block = slice(start, start + _BLOCK)
        z[block] = (z[block] - mean) / scale
    return z, mean, scale


@cache
def _thread_pools() -> Any:
    """The libraries that multiply matrices, looked for once: that takes longer than a small search."""
    require("scipy.linalg", "report")  # has a library of its own
    return require("threadpoolctl", "report").ThreadpoolController()


class _Search:
    """The loss over all labels, and where it is least; each fit begins where the one before ended."""

    def __init__(self, z: Vectors, targets: Mask, known: Mask | None, sigmoid: bool) -> None:
        self._z, self._sigmoid = z, sigmoid
        self._known = None if known is None or known.all() else known.astype(z.dtype)
        self._y = targets.astype(z.dtype) if self._known is None else targets * self._known
        labels = targets.shape[1]
        counted = np.full(labels, len(z)) if self._known is None else self._known.sum(0)
        share = np.clip(self._y.sum(0) / counted, 1 / (len(z) + 1), 1 - 1 / (len(z) + 1))
        self._bias = np.asarray(np.log(share / (1 - share)) if sigmoid else np.log(share), np.float64)
        self._weight = np.zeros((z.shape[1], labels))
        self._every = -(-len(z) // _MOST_ROWS)

    def fit(self, strength: float) -> tuple[Array, Array]:
        """Weights (labels, dim) and biases (labels,) at the least loss."""
        # Threads that wait for each other at every small product cost more than they bring, above all beside others.
        threads = 1 if self._z.size <= _SMALL else None
        with _thread_pools().limit(limits=threads):
            for _ in range(_STRETCHES):
                if self._go(strength):
                    break
        return self._weight.T.copy(), self._bias.copy()

    def _go(self, strength: float) -> bool:
        """Go on for some steps; whether the end is reached."""
        linalg, optimize = require("scipy.linalg", "report"), require("scipy.optimize", "report")
        dim, labels = self._weight.shape
        # Steps are taken where the loss is about as steep in every direction: there a search is short.
        steep, total = self._steepness()
        steep[np.diag_indices(dim)] += 1 / strength
        lower = linalg.cholesky(steep, lower=True, overwrite_a=True)
        across = np.sqrt(max(total, 1e-12))

        def loss(steps: Array) -> tuple[float, Array]:
            weight, bias = unpack(steps)
            value, by_weight, by_bias = self._loss(weight, bias)
            value += 0.5 / strength * float(np.square(weight).sum())
            by_weight += weight / strength
            slope = linalg.solve_triangular(lower, by_weight, lower=True, check_finite=False)
            return value, np.concatenate([slope.ravel(), by_bias / across])

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
        return int(found.status) != 1  # 1: the steps are used up; 2: rounding hides the way down, so this is the end

    def _steepness(self) -> tuple[Array, float]:
        """How steep the loss is over the weights (dim, dim) of a label, and over its bias, on average."""
        rows = self._z[:: self._every]
        logits = rows @ self._weight.astype(rows.dtype) + self._bias.astype(rows.dtype)
        if self._sigmoid:
            shares = 1 / (1 + np.exp(-np.clip(logits, -30, 30)))
        else:
            shares = np.exp(logits - logits.max(1, keepdims=True))
            shares /= shares.sum(1, keepdims=True)
        # Clips that are told apart already bend the loss little.
        bend = (shares * (1 - shares)).mean(1)
        weighted = rows * np.sqrt(bend)[:, None]
        times = len(self._z) / len(rows)
        return (weighted.T @ weighted).astype(np.float64) * times, float(bend.sum(dtype=np.float64)) * times

    def _loss(self, weight: Array, bias: Array) -> tuple[float, Array, Array]:
        """Summed surprise at the targets, and its slopes."""
        logits = self._z @ weight.astype(self._z.dtype)
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
