"""The classifier of a label, fitted again after each answer by the logistic regression of `sondino probe`."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from sondino.probing.linear import Linear, fit_linear

C = 0.03
"""Inverse regularisation, on standardised embeddings."""
ENOUGH_NO = 10
"""Answers "no" from which on the classifier is fitted on answers alone."""
WEAK = 30
"""Windows without an answer that stand for "no" before: a label that is searched for is rare in most archives."""
FOLDS = 5
BLOCK = 8192
"""Rows that are converted to float32 at once."""

Rows = NDArray[np.int64]
Embeddings = NDArray[np.floating]


def fit(embeddings: Embeddings, yes: Rows, no: Rows, free: Rows) -> Linear | None:
    """Fit a classifier of one label.

    Args:
        embeddings: (windows, dim), of which few rows are read.
        yes: windows that have the label.
        no: windows that have not.
        free: windows without an answer; while there are few "no", some of them stand for one.

    Returns:
        The classifier; None where there is no "yes", or nothing to set against it.

    Raises:
        MissingExtra: SciPy is not installed.
    """
    against = no if len(no) >= ENOUGH_NO else np.concatenate([no, weak(free)])
    if not len(yes) or not len(against):
        return None
    rows = np.concatenate([yes, against])
    targets = np.arange(len(rows))[:, None] < len(yes)
    (found,) = fit_linear(np.asarray(embeddings[rows], np.float32), targets, [C], True)
    return found


def weak(free: Rows) -> Rows:
    """The windows that stand for "no": the same ones as long as they have no answer."""
    if len(free) <= WEAK:
        return free
    # A window's place in a fixed order, so that an answer to one does not exchange the others.
    order = np.random.default_rng(0).permutation(int(free[-1]) + 1)[free]
    return np.sort(free[np.argpartition(order, WEAK)[:WEAK]])


def logits(embeddings: Embeddings, linear: Linear) -> NDArray[np.float32]:
    """Logits (windows,) of all windows, in blocks."""
    weight, bias = linear.weight[0].astype(np.float32), np.float32(linear.bias[0])
    found = np.empty(len(embeddings), np.float32)
    for block in blocks(len(embeddings)):
        found[block] = np.asarray(embeddings[block], np.float32) @ weight + bias
    return found


def held_out(embeddings: Embeddings, yes: Rows, no: Rows, free: Rows, recordings: Rows) -> NDArray[np.float64] | None:
    """Logits of answered windows by classifiers that were fitted without the windows of their recordings.

    Args:
        embeddings: (windows, dim).
        yes: windows that have the label.
        no: windows that have not.
        free: as in `fit`.
        recordings: the recording (yes and no,) of each answered window, those of `yes` first.

    Returns:
        (yes and no,); None where the answers are of too few recordings.
    """
    rows = np.concatenate([yes, no])
    is_yes = np.arange(len(rows)) < len(yes)
    names, which = np.unique(recordings, return_inverse=True)
    fold_of = np.random.default_rng(0).permutation(len(names)) % FOLDS
    found = np.empty(len(rows))
    for fold in range(FOLDS):
        test = fold_of[which] == fold
        if not test.any():
            continue
        linear = fit(embeddings, rows[is_yes & ~test], rows[~is_yes & ~test], free)
        if linear is None:
            return None
        found[test] = linear.logits(np.asarray(embeddings[rows[test]], np.float32))[:, 0]
    return found


def probability(logit: float) -> float:
    """The probability of a logit."""
    return float(1 / (1 + np.exp(-min(max(logit, -500.0), 500.0))))


def blocks(rows: int) -> Iterator[slice]:
    """Stretches of so many rows, one after another."""
    for first in range(0, rows, BLOCK):
        yield slice(first, min(rows, first + BLOCK))
