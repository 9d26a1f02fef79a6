"""Probes: linear classifiers and nearest neighbours on frozen embeddings, scored on held-out clips.

The protocol of HEAR and of S-SONDO (arXiv 2604.24933): the encoder is frozen, one linear layer is trained on the
labels. Its penalty is chosen on validation clips that are neither trained on nor scored. The ten nearest neighbours
are a second probe. Needs scikit-learn.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sondino.encoder.head import as_probabilities
from sondino.errors import OptionError, require
from sondino.metrics.classification import (
    Mask,
    Metric,
    average_precisions,
    chance_of,
    cross_entropy,
    metric_of,
    score_of,
)
from sondino.metrics.intervals import RESAMPLES, Interval, draw_again, middle_95, t_interval, with_width
from sondino.probing.linear import C_VALUES, Linear, fit_linear
from sondino.probing.nearest import nearest_labels
from sondino.tasks.labelled import FEWEST, Clip, Labelled
from sondino.tasks.splits import Fold, make_splits, unseen_labels

Array = NDArray[np.float64]

MOST_NEAREST = 5_000
"""Test clips of the nearest-neighbours probe, at most; of more so many are drawn."""
WORSE = 2
"""The search for C stops once so many weaker penalties in turn scored lower on the validation clips, or one scored
lower by more than chance."""


@dataclass(frozen=True)
class Probed:
    """The scores of the probes.

    Attributes:
        metric: "accuracy"; "mAP" where clips may have several labels.
        value: of the linear probe, 0 to 1: the mean over folds and seeds.
        interval95: its 95 % interval.
        interval: what the interval is over, as text.
        chance: the metric at chance level.
        fold_scores: the value on each test fold, of all seeds.
        C: the inverse regularisation that was chosen, the median over folds.
        knn: the metric of the 10 nearest neighbours.
        accuracy: of the linear probe; None where clips may have several labels.
        mean_average_precision: of the linear probe, the mean over labels, then over folds and seeds.
        per_label: recall of each label, or its average precision.
        clips: how many were probed.
        rows: (tested,) indexes of the test clips, of the first seed.
        probabilities: (tested, labels) of the linear probe.
        notes: on what may mislead.
    """

    metric: Metric
    value: float
    interval95: Interval
    interval: str
    chance: float
    fold_scores: tuple[float, ...]
    C: float
    knn: float
    accuracy: float | None
    mean_average_precision: float
    per_label: dict[str, float]
    clips: int
    rows: NDArray[np.int64] = field(repr=False)
    probabilities: NDArray[np.float32] = field(repr=False)
    notes: tuple[str, ...] = ()


def probe(embeddings: NDArray[np.floating], labelled: Labelled, seeds: int = 5) -> Probed:
    """Probe frozen embeddings of labelled clips.

    Given folds or splits are used. Where there are none they are drawn, once for each seed; where all are given,
    nothing is drawn and one seed is enough.

    Args:
        embeddings: (clips, dim).
        labelled: the clips.
        seeds: how many times splits are drawn.

    Raises:
        OptionError: embeddings with NaN, seeds under 1, or too few clips for one to be held out.
        MissingExtra: scikit-learn is not installed.
    """
    if seeds < 1:
        raise OptionError(f"seeds is {seeds}: give a whole number, 1 or more")
    if len(embeddings) != len(labelled.clips):
        raise OptionError(f"a probe needs an embedding for each clip, not {len(embeddings)} for {len(labelled.clips)}")
    check_finite(embeddings)
    targets, known, metric = labelled.targets(), labelled.known(), metric_of(labelled.multi_label)
    splits = _splits_per_seed(labelled, seeds)
    test_rows = [[np.flatnonzero(each.test) for each in folds] for folds in splits]
    logits: list[list[Array]] = []
    chosen = []
    for folds in splits:
        logits.append([])
        for each in folds:
            found, tried = held_out(embeddings, targets, each, labelled.multi_label, known)
            chosen.append(best_C(tried))
            logits[-1].append(found)
    notes = labelled.notes + unseen_labels(labelled, splits[0])
    values = [
        [_score(of, targets[rows], metric, known[rows]) for of, rows in zip(*pair, strict=True)]
        for pair in zip(logits, test_rows, strict=True)
    ]
    flat = [value for of_seed in values for value in of_seed]
    pairs = [(of, rows) for pair in zip(logits, test_rows, strict=True) for of, rows in zip(*pair, strict=True)]
    # Logits of different classifiers are not on one scale: each fold is scored by itself.
    precisions = np.array([average_precisions(of, targets[rows], known[rows]) for of, rows in pairs])
    interval95, how = _interval(values, logits, test_rows, labelled, metric)
    rows = np.concatenate(test_rows[0])
    probabilities = as_probabilities(np.concatenate(logits[0]), labelled.multi_label).astype(np.float32)
    per_label = _mean(precisions, 0) if labelled.multi_label else _recalls(pairs, targets)
    value = float(_mean(np.array(flat)))
    return Probed(
        metric=metric,
        value=value,
        interval95=interval95,
        interval=how,
        chance=_chance(targets, known, test_rows[0], metric),
        fold_scores=tuple(value for value in flat if np.isfinite(value)),
        C=float(np.median(chosen)),
        knn=_nearest(embeddings, targets, known, splits[0], metric),
        accuracy=None if labelled.multi_label else value,
        mean_average_precision=float(_mean(_mean(precisions, 1))),
        per_label={n: float(v) for n, v in zip(labelled.labels, per_label, strict=True) if np.isfinite(v)},
        clips=len(embeddings),
        rows=rows,
        probabilities=probabilities,
        notes=notes,
    )


def probe_labels(
    embeddings: NDArray[np.floating],
    labels: Sequence[str] | NDArray[np.str_],
    folds: Sequence[int] | Sequence[str] | NDArray[np.generic] | None = None,
    seeds: int = 1,
) -> Probed:
    """`probe` of embeddings with one label each.

    Args:
        embeddings: (n, dim).
        labels: (n,); a label with a single clip is left out and named in `notes`.
        folds: (n,) the fold of each, left out in turn. None: drawn.
        seeds: as in `probe`.

    Raises:
        OptionError: lengths differ, embeddings hold NaN, or fewer than two labels or folds are left.
    """
    names = np.asarray(labels).astype(str)
    if len(embeddings) != len(names) or (folds is not None and len(folds) != len(names)):
        sizes = f"{len(embeddings)} embeddings, {len(names)} labels" + (
            "" if folds is None else f", {len(folds)} folds"
        )
        raise OptionError(f"a probe needs embeddings with one label and one fold per row, not {sizes}")
    counts = Counter(names.tolist())
    alone = sorted(label for label, count in counts.items() if count < 2)
    kept = np.flatnonzero(~np.isin(names, alone))
    left = tuple(sorted(counts.keys() - set(alone)))
    if len(left) < 2:
        raise OptionError(f"a probe needs two labels with two clips or more each; there is {', '.join(left) or 'none'}")
    clips = tuple(
        Clip(str(i), str(i), (str(names[i]),), "" if folds is None else str(folds[i]), str(i)) for i in kept.tolist()
    )
    notes = (f"left out, with one clip alone: {', '.join(alone)}",) if alone else ()
    labelled = Labelled(clips, left, False, "none" if folds is None else "fold", (), notes)
    return probe(np.asarray(embeddings)[kept], labelled, seeds)


def probe_several(embeddings: NDArray[np.floating], labels: Sequence[Sequence[str]], seeds: int = 1) -> Probed:
    """`probe` of embeddings with several labels each; splits are drawn.

    Args:
        embeddings: (n, dim).
        labels: the labels of each, none or more; one that a single clip has is left out.
        seeds: as in `probe`.

    Raises:
        OptionError: lengths differ, embeddings hold NaN, or no label is left.
    """
    if len(embeddings) != len(labels):
        raise OptionError(f"a probe needs labels for each embedding, not {len(labels)} for {len(embeddings)}")
    counts = Counter(name for own in labels for name in set(own))
    left = tuple(sorted(name for name, count in counts.items() if count >= FEWEST))
    if not left:
        raise OptionError(f"a probe needs a label that {FEWEST} clips have; there is none")
    clips = tuple(Clip(str(i), str(i), tuple(own), "", str(i)) for i, own in enumerate(labels))
    return probe(np.asarray(embeddings), Labelled(clips, left, True), seeds)


def held_out(
    embeddings: NDArray[np.floating], targets: Mask, each: Fold, multi_label: bool, known: Mask
) -> tuple[Array, Array]:
    """Logits (tested, labels) of a fold's test clips, and validation scores (C values, 2) that chose the penalty.

    The classifier is trained on training and validation clips, with the penalty of the highest validation score.
    """
    seen = each.train | each.valid
    parts = each.folds or (each.valid,)
    tried = np.mean(
        [validation_scores(embeddings, targets, seen & ~part, part, multi_label, known) for part in parts], axis=0
    )
    *_, classifier = classifiers_up_to(best_C(tried), embeddings, targets, each.refit, multi_label, known)
    return classifier.logits(embeddings[each.test]), tried


def validation_scores(
    embeddings: NDArray[np.floating], targets: Mask, train: Mask, valid: Mask, multi_label: bool, known: Mask
) -> Array:
    """The validation scores of classifiers with each of `C_VALUES`, trained on some clips.

    Returns:
        (C values, 2) the metric, and as a tie-breaker the negative cross-entropy. Weak penalties that are not tried,
        since the scores fell already, count like the last.
    """
    metric = metric_of(multi_label)
    tried: list[tuple[float, float]] = []
    for classifier in fit_linear(embeddings, targets, C_VALUES, multi_label, known, train):
        logits = classifier.logits(embeddings[valid])
        score = score_of(logits, targets[valid], metric, known[valid])
        tried.append((score, -cross_entropy(logits, targets[valid], multi_label, known[valid])))
        best = tried.index(max(tried))
        chance = 0.5 / valid.sum() ** 0.5  # the largest standard error that an accuracy of so many clips has
        if len(tried) - 1 - best >= WORSE or score < tried[best][0] - chance:
            break
    return np.array(tried + tried[-1:] * (len(C_VALUES) - len(tried)))


def best_C(tried: Array) -> float:
    """The C of the highest validation scores (C values, 2)."""
    return max(zip(tried.tolist(), C_VALUES, strict=True), key=lambda of: of[0])[1]


def classifiers_up_to(
    C: float, embeddings: NDArray[np.floating], targets: Mask, rows: Mask, multi_label: bool, known: Mask
) -> list[Linear]:
    """Classifiers from the strongest penalty to the given one: each is the warm start of the next."""
    upto = [value for value in C_VALUES if value <= C]
    return list(fit_linear(embeddings, targets, upto, multi_label, known, rows))


def check_probe(name: str, labelled: Labelled) -> None:
    """Raise an error for labelled clips that cannot be probed, before they are embedded.

    Raises:
        OptionError: too few folds or clips; the message begins with the name.
        MissingExtra: scikit-learn is not installed.
    """
    require("sklearn", "report")
    try:
        make_splits(labelled, 0)
    except OptionError as error:
        raise OptionError(f"{name}: {error}") from error


def check_finite(embeddings: NDArray[np.floating]) -> None:
    """Raise OptionError for embeddings with NaN or infinity."""
    bad = int((~np.isfinite(embeddings).all(axis=1)).sum())
    if bad:
        raise OptionError(
            f"{bad} of {len(embeddings)} embeddings hold NaN or infinity: `sondino check` finds the fault of the model"
        )


def _score(logits: Array, targets: Mask, metric: Metric, known: Mask) -> float:
    """`score_of`; NaN of a fold in which no clip has a known label."""
    return score_of(logits, targets, metric, known) if metric == "accuracy" or (targets & known).any() else np.nan


def _chance(targets: Mask, known: Mask, test_rows: Sequence[NDArray[np.int64]], metric: Metric) -> float:
    """Chance level: on all test clips; of mAP the mean over folds, since each fold is ranked by itself."""
    if metric == "accuracy":
        return chance_of(targets[np.concatenate(test_rows)], metric)
    some = [rows for rows in test_rows if (targets[rows] & known[rows]).any()]
    return float(np.mean([chance_of(targets[rows], metric, known[rows]) for rows in some])) if some else 0.0


def _mean(values: Array, axis: int | None = None) -> Any:
    """The mean of the finite values; NaN where there is none."""
    there = np.isfinite(values)
    count = there.sum(axis)
    return np.where(count > 0, np.where(there, values, 0).sum(axis) / np.maximum(count, 1), np.nan)


def _recalls(pairs: Sequence[tuple[Array, NDArray[np.int64]]], targets: Mask) -> Array:
    """The recall (labels,) of each label on test clips; NaN of labels that none has."""
    rows = np.concatenate([rows for _, rows in pairs])
    predicted = np.concatenate([logits.argmax(1) for logits, _ in pairs])
    right = targets[rows, predicted]
    return np.array([right[has].mean() if has.any() else np.nan for has in targets[rows].T])


def _splits_per_seed(labelled: Labelled, seeds: int) -> list[list[Fold]]:
    """The folds of each seed, as long as seeds change anything."""
    splits = [make_splits(labelled, 0)[0]]
    for seed in range(1, seeds):
        folds = make_splits(labelled, seed)[0]
        if seed == 1 and all(_same(*pair) for pair in zip(folds, splits[0], strict=False)):
            break  # all folds are given: nothing is drawn
        splits.append(folds)
    return splits


def _same(one: Fold, other: Fold) -> bool:
    return bool((one.train == other.train).all() and (one.test == other.test).all())


def _interval(
    values: list[list[float]],
    logits: list[list[Array]],
    test_rows: list[list[NDArray[np.int64]]],
    labelled: Labelled,
    metric: Metric,
) -> tuple[Interval, str]:
    """The interval that fits the kind of splits, and what it is over."""
    found, how = _spread(values, logits, test_rows, labelled, metric)
    recordings = len(np.unique(labelled.sources()[np.concatenate(test_rows[0])]))
    widened = with_width(found, recordings)
    return widened, how if widened == found else "Wilson's, over recordings"


def _spread(
    values: list[list[float]],
    logits: list[list[Array]],
    test_rows: list[list[NDArray[np.int64]]],
    labelled: Labelled,
    metric: Metric,
) -> tuple[Interval, str]:
    folds, seeds = len(values[0]), len(values)
    finite = np.array(values)[:, np.isfinite(values).all(0)]
    if finite.shape[1] > 1 and (labelled.split_kind == "fold" or seeds == 1):
        return t_interval(finite.mean(0).tolist()), f"t over {folds} {'given ' * (labelled.split_kind == 'fold')}folds"
    if finite.shape[1] > 1:
        how = f"t over {folds} folds drawn by {seeds} seeds, corrected for shared clips"
        return t_interval(finite.ravel().tolist(), folds), how
    # One test set: bootstrap over its recordings.
    rows = test_rows[0][0]
    targets, known = labelled.targets()[rows], labelled.known()[rows]
    times = draw_again(labelled.sources()[rows], RESAMPLES)
    drawn = np.mean([_resampled(of[0], targets, known, times, metric) for of in logits], axis=0)
    return middle_95(drawn), f"bootstrap over test recordings{f', mean over {seeds} seeds' if seeds > 1 else ''}"


def _resampled(logits: Array, targets: Mask, known: Mask, times: NDArray[np.unsignedinteger], metric: Metric) -> Array:
    """The metric (draws,) of clips that are counted `times` (draws, clips)."""
    if metric == "accuracy":
        right = targets[np.arange(len(targets)), logits.argmax(1)]
        return times[:, right].sum(1, dtype=np.int64) / np.maximum(times.sum(1, dtype=np.int64), 1)
    total, labels = np.zeros(len(times)), np.zeros(len(times))
    for k in range(targets.shape[1]):
        order = np.flatnonzero(known[:, k])
        order = order[np.argsort(-logits[order, k], kind="stable")]
        weight = times[:, order].astype(np.float32)
        hits = weight * targets[order, k]
        found = hits.sum(1)
        precision = np.cumsum(hits, 1) / np.maximum(np.cumsum(weight, 1), 1)
        total += np.where(found > 0, (precision * hits).sum(1) / np.maximum(found, 1), 0)
        labels += found > 0
    return total / np.maximum(labels, 1)


def _nearest(
    embeddings: NDArray[np.floating], targets: Mask, known: Mask, folds: Sequence[Fold], metric: Metric
) -> float:
    """The score of the nearest-neighbours probe, the mean over folds."""
    values: list[float] = []
    most = MOST_NEAREST // len(folds)
    for each in folds:
        test = np.flatnonzero(each.test)
        if len(test) > most:
            test = np.sort(np.random.default_rng(0).choice(test, most, replace=False))
        refit = each.refit
        scores: Any = nearest_labels(embeddings[refit], targets[refit], embeddings[test], known[refit])
        values.append(_score(scores, targets[test], metric, known[test]))
    return float(_mean(np.array(values)))
