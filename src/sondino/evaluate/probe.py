"""A linear probe: how much a plain classifier can read out of frozen vectors.

The protocol of HEAR and of S-SONDO (arXiv 2604.24933): the encoder stays as it is, one linear layer learns the
labels, and the score is that of clips it never saw. Needs scikit-learn.
"""

import math
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..errors import OptionError, require

_FOLDS = 5


@dataclass(frozen=True)
class ProbeResult:
    """What a probe scored.

    Attributes:
        accuracy: mean over folds, 0 to 1.
        interval95: low and high end of the 95 % interval (Student's t over folds), within 0 to 1. Folds share
            training clips, so it is somewhat too narrow; it is the interval that papers print.
        per_fold: accuracy of each fold, in the order of the fold names.
        classes: the labels probed, sorted.
        clips: how many clips were probed.
        chance: accuracy of always giving the commonest label.
        dropped: labels left out because they had a single clip.
    """

    accuracy: float
    interval95: tuple[float, float]
    per_fold: list[float]
    classes: list[str]
    clips: int
    chance: float
    dropped: list[str]


def probe_accuracy(
    vectors: NDArray[np.floating],
    labels: Sequence[str] | NDArray[np.str_],
    folds: Sequence[int] | Sequence[str] | NDArray[np.generic] | None = None,
    seed: int = 0,
    c: float = 0.1,
) -> ProbeResult:
    """Accuracy of logistic regression on standardised vectors, over folds.

    Mean and deviation for standardising come from the training folds alone.

    Args:
        vectors: (n, dim) one vector a clip.
        labels: (n,) one label a clip; a label with a single clip is left out and named in the result.
        folds: (n,) the fold of each clip, each left out in turn (a data set's own folds keep one recording on one
            side). None draws 5 stratified folds, or as many as the smallest class has clips.
        seed: draws the folds where none are given.
        c: inverse strength of the L2 penalty, as in scikit-learn.

    Raises:
        OptionError: lengths differ, vectors hold NaN, or fewer than two classes or folds are left.
        MissingExtra: scikit-learn is not installed.
    """
    x, y = np.asarray(vectors), np.asarray(labels).astype(str)
    groups = None if folds is None else np.asarray(folds)
    if x.ndim != 2 or len(x) != len(y) or (groups is not None and len(groups) != len(y)):
        sizes = f"{x.shape} vectors, {len(y)} labels" + ("" if groups is None else f", {len(groups)} folds")
        raise OptionError(f"a probe needs (n, dim) vectors with one label and one fold a row, not {sizes}")
    bad = int((~np.isfinite(x).all(axis=1)).sum())
    if bad:
        raise OptionError(f"{bad} of {len(x)} vectors hold NaN or Inf: leave those clips out before probing")

    counts = Counter(y.tolist())
    dropped = sorted(label for label, count in counts.items() if count < 2)
    kept = ~np.isin(y, dropped)
    x, y = x[kept].astype(np.float64), y[kept]
    classes = sorted(set(y.tolist()))
    if len(classes) < 2:
        found = f"{len(classes)} ({', '.join(classes)})" if classes else "none"
        raise OptionError(f"a probe needs two classes with two clips or more each; there is {found}")

    splits = _drawn_folds(y, seed) if groups is None else _given_folds(y, groups[kept])
    per_fold = [_score(x, y, test, c) for test in splits]
    mean = float(np.mean(per_fold))
    return ProbeResult(
        accuracy=mean,
        interval95=interval95(per_fold),
        per_fold=per_fold,
        classes=classes,
        clips=len(y),
        chance=max(Counter(y.tolist()).values()) / len(y),
        dropped=dropped,
    )


def _given_folds(y: NDArray[np.str_], folds: NDArray[np.generic]) -> Iterator[NDArray[np.bool_]]:
    """Test masks, one a fold, in the order of the fold names."""
    names = np.unique(folds)
    if len(names) < 2:
        raise OptionError("a probe needs two folds or more: one to learn from, one to be scored on")
    alone = [label for label in np.unique(y).tolist() if len(np.unique(folds[y == label])) == 1]
    if alone:
        # Scored all the same, as the data set's own split says, but never right: the user should know.
        warnings.warn(
            f"all clips of {', '.join(alone)} lie in one fold, so the probe can never name them", stacklevel=3
        )
    return (folds == name for name in names)


def _drawn_folds(y: NDArray[np.str_], seed: int) -> Iterator[NDArray[np.bool_]]:
    """Test masks of stratified folds: as many as 5, and as the smallest class has clips."""
    selection = require("sklearn.model_selection", "report")
    n = min(_FOLDS, *Counter(y.tolist()).values())
    for _, test in selection.StratifiedKFold(n, shuffle=True, random_state=seed).split(y, y):
        mask = np.zeros(len(y), bool)
        mask[test] = True
        yield mask


def _score(x: NDArray[np.float64], y: NDArray[np.str_], test: NDArray[np.bool_], c: float) -> float:
    """Accuracy on the test rows of a classifier that saw the others."""
    linear = require("sklearn.linear_model", "report")
    preprocessing = require("sklearn.preprocessing", "report")
    train = ~test
    if len(np.unique(y[train])) == 1:
        return float((y[test] == y[train][0]).mean())
    scaler = preprocessing.StandardScaler().fit(x[train])
    model = linear.LogisticRegression(C=c, max_iter=1000)
    model.fit(scaler.transform(x[train]), y[train])
    return float(model.score(scaler.transform(x[test]), y[test]))


def interval95(scores: list[float]) -> tuple[float, float]:
    """Student's t interval of a mean over folds, within 0 to 1."""
    stats = require("scipy.stats", "report")
    n = len(scores)
    half = float(stats.t.ppf(0.975, n - 1)) * float(np.std(scores, ddof=1)) / math.sqrt(n)
    mean = float(np.mean(scores))
    return max(0.0, mean - half), min(1.0, mean + half)
