"""Probes: how much a plain classifier reads out of frozen vectors, on clips that it never saw.

The protocol of HEAR and of S-SONDO (arXiv 2604.24933): the encoder stays as it is, one linear layer learns the labels.
Its penalty is chosen on validation clips that are neither learnt from nor scored. Beside it the ten nearest neighbours
vote, with nothing to fit. Needs scikit-learn.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

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
from sondino.metrics.intervals import Interval, draw_again, middle_95, t_interval, wilson
from sondino.probing.linear import C_VALUES, Linear, fit_linear
from sondino.probing.nearest import nearest_labels
from sondino.tasks.labelled import Clip, Labelled
from sondino.tasks.splits import Fold, make_splits, unseen_labels

Array = NDArray[np.float64]

RESAMPLES = 200
"""Bootstrap draws of an interval over recordings."""
MOST_NEAREST = 5_000
"""Clips that ask their nearest neighbours; of more as many are drawn."""
WORSE = 2
"""Weaker penalties are not tried any more once so many in turn did worse on the validation clips, or one did by more
than could be chance."""


@dataclass(frozen=True)
class Probed:
    """What probes read out of vectors.

    Attributes:
        metric: "accuracy"; "mAP" where clips may have several labels.
        value: of the linear probe, 0 to 1: the mean over folds and seeds.
        interval95: its 95 % interval.
        interval: of what the interval is, in words.
        chance: the metric of knowing nothing.
        rounds: the value on each held-out part, of all seeds.
        strength: the inverse penalty C that was chosen, the middle one of several.
        knn: the metric of the 10 nearest neighbours.
        accuracy: of the linear probe; None where clips may have several labels.
        mean_average_precision: of the linear probe, the mean over labels, then over folds and seeds.
        per_label: share of a label's clips that were told right, or its average precision.
        clips: how many were probed.
        rows: (asked,) numbers of the held-out clips, of the first seed.
        probabilities: (asked, labels) what the linear probe gave them.
        notes: sentences on what may mislead.
    """

    metric: Metric
    value: float
    interval95: Interval
    interval: str
    chance: float
    rounds: tuple[float, ...]
    strength: float
    knn: float
    accuracy: float | None
    mean_average_precision: float
    per_label: dict[str, float]
    clips: int
    rows: NDArray[np.int64] = field(repr=False)
    probabilities: NDArray[np.float32] = field(repr=False)
    notes: tuple[str, ...] = ()


def probe(vectors: NDArray[np.floating], labelled: Labelled, seeds: int = 5) -> Probed:
    """Probe frozen vectors of labelled clips.

    A list's own folds or splits are kept. Where it gives none they are drawn, once for each seed; where it gives all of
    them nothing is left to draw, and one seed is all there is.

    Args:
        vectors: (clips, dim).
        labelled: the clips.
        seeds: how many times to draw what must be drawn.

    Raises:
        OptionError: vectors with NaN, seeds under 1, or too few clips for one to be held out.
        MissingExtra: scikit-learn is not installed.
    """
    if seeds < 1:
        raise OptionError(f"seeds is {seeds}: give a whole number, 1 or more")
    if len(vectors) != len(labelled.clips):
        raise OptionError(f"a probe needs a vector for each clip, not {len(vectors)} for {len(labelled.clips)}")
    check_finite(vectors)
    targets, known, metric = labelled.targets(), labelled.known(), metric_of(labelled.multi_label)
    partings = _partings(labelled, seeds)
    asked = [[np.flatnonzero(each.test) for each in rounds] for rounds in partings]
    logits: list[list[Array]] = []
    strengths = []
    for rounds in partings:
        logits.append([])
        for each in rounds:
            found, tried = held_out(vectors, targets, each, labelled.multi_label, known)
            strengths.append(best_strength(tried))
            logits[-1].append(found)
    notes = labelled.notes + unseen_labels(labelled, partings[0])
    values = [
        [_score(of, targets[rows], metric, known[rows]) for of, rows in zip(*pair, strict=True)]
        for pair in zip(logits, asked, strict=True)
    ]
    flat = [value for of_seed in values for value in of_seed]
    pairs = [(of, rows) for pair in zip(logits, asked, strict=True) for of, rows in zip(*pair, strict=True)]
    # Each part is asked of its own classifier, and logits of two classifiers are not on one scale.
    precisions = np.array([average_precisions(of, targets[rows], known[rows]) for of, rows in pairs])
    interval95, how = _interval(values, logits, asked, labelled, metric)
    rows = np.concatenate(asked[0])
    probabilities = as_probabilities(np.concatenate(logits[0]), labelled.multi_label).astype(np.float32)
    per_label = _mean(precisions, 0) if labelled.multi_label else _recalls(pairs, targets)
    value = float(_mean(np.array(flat)))
    return Probed(
        metric=metric,
        value=value,
        interval95=interval95,
        interval=how,
        chance=_chance(targets, known, asked[0], metric),
        rounds=tuple(value for value in flat if np.isfinite(value)),
        strength=float(np.median(strengths)),
        knn=_nearest(vectors, targets, known, partings[0], metric),
        accuracy=None if labelled.multi_label else value,
        mean_average_precision=float(_mean(_mean(precisions, 1))),
        per_label={n: float(v) for n, v in zip(labelled.labels, per_label, strict=True) if np.isfinite(v)},
        clips=len(vectors),
        rows=rows,
        probabilities=probabilities,
        notes=notes,
    )


def probe_labels(
    vectors: NDArray[np.floating],
    labels: Sequence[str] | NDArray[np.str_],
    folds: Sequence[int] | Sequence[str] | NDArray[np.generic] | None = None,
    seeds: int = 1,
) -> Probed:
    """`probe` of vectors with one label each.

    Args:
        vectors: (n, dim).
        labels: (n,); a label with a single vector is left out and named in `notes`.
        folds: (n,) the fold of each, left out in turn. None: drawn.
        seeds: as in `probe`.

    Raises:
        OptionError: lengths differ, vectors hold NaN, or fewer than two labels or folds are left.
    """
    names = np.asarray(labels).astype(str)
    if len(vectors) != len(names) or (folds is not None and len(folds) != len(names)):
        sizes = f"{len(vectors)} vectors, {len(names)} labels" + ("" if folds is None else f", {len(folds)} folds")
        raise OptionError(f"a probe needs vectors with one label and one fold a row, not {sizes}")
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
    return probe(np.asarray(vectors)[kept], labelled, seeds)


def held_out(
    vectors: NDArray[np.floating], targets: Mask, each: Fold, multi_label: bool, known: Mask
) -> tuple[Array, Array]:
    """The logits (asked, labels) of a round's test clips, and the merits that chose the penalty.

    The logits are of a classifier that has learnt from training and validation clips, with the penalty that did best on
    the validation clips.
    """
    seen = each.train | each.valid
    parts = each.folds or (each.valid,)
    tried = np.mean(
        [validation_scores(vectors, targets, seen & ~part, part, multi_label, known) for part in parts], axis=0
    )
    *_, classifier = classifiers_up_to(best_strength(tried), vectors, targets, each.refit, multi_label, known)
    return classifier.logits(vectors[each.test]), tried


def validation_scores(
    vectors: NDArray[np.floating], targets: Mask, train: Mask, valid: Mask, multi_label: bool, known: Mask
) -> Array:
    """How good the classifiers of all `STRENGTHS` that learn from some clips are on others.

    Returns:
        (strengths, 2) the metric, and to tell equals apart the mean surprise at the true labels, negative. Weak
        penalties that are not tried, since stronger ones did worse already, count like the last.
    """
    metric = metric_of(multi_label)
    tried: list[tuple[float, float]] = []
    for classifier in fit_linear(vectors, targets, C_VALUES, multi_label, known, train):
        logits = classifier.logits(vectors[valid])
        score = score_of(logits, targets[valid], metric, known[valid])
        tried.append((score, -cross_entropy(logits, targets[valid], multi_label, known[valid])))
        best = tried.index(max(tried))
        chance = 0.5 / valid.sum() ** 0.5  # the largest standard error that an accuracy of so many clips has
        if len(tried) - 1 - best >= WORSE or score < tried[best][0] - chance:
            break
    return np.array(tried + tried[-1:] * (len(C_VALUES) - len(tried)))


def best_strength(tried: Array) -> float:
    """The C of the highest merits (strengths, 2)."""
    return max(zip(tried.tolist(), C_VALUES, strict=True), key=lambda of: of[0])[1]


def classifiers_up_to(
    strength: float, vectors: NDArray[np.floating], targets: Mask, rows: Mask, multi_label: bool, known: Mask
) -> list[Linear]:
    """Classifiers from the strongest penalty to the one that is wanted: each is a good start for the next."""
    upto = [s for s in C_VALUES if s <= strength]
    return list(fit_linear(vectors, targets, upto, multi_label, known, rows))


def check_probe(name: str, labelled: Labelled) -> None:
    """Refuse labelled clips that cannot be probed, before they are embedded.

    Raises:
        OptionError: too few folds or clips; the sentence begins with the name.
        MissingExtra: scikit-learn is not installed.
    """
    require("sklearn", "report")
    try:
        make_splits(labelled, 0)
    except OptionError as error:
        raise OptionError(f"{name}: {error}") from error


def check_finite(vectors: NDArray[np.floating]) -> None:
    """Refuse vectors with NaN or infinity."""
    bad = int((~np.isfinite(vectors).all(axis=1)).sum())
    if bad:
        raise OptionError(
            f"{bad} of {len(vectors)} vectors hold NaN or infinity: `sondino check` says what is wrong with the model"
        )


def as_probabilities(logits: Array, multi_label: bool) -> Array:
    """Sigmoids, or a softmax, of (n, labels) logits."""
    if multi_label:
        return 1 / (1 + np.exp(-np.clip(logits, -500, 500)))
    shares = np.exp(logits - logits.max(1, keepdims=True))
    return shares / shares.sum(1, keepdims=True)


def _score(logits: Array, targets: Mask, metric: Metric, known: Mask) -> float:
    """`score_of`; NaN of a part in which no label is known to be on any clip."""
    return score_of(logits, targets, metric, known) if metric == "accuracy" or (targets & known).any() else np.nan


def _chance(targets: Mask, known: Mask, asked: Sequence[NDArray[np.int64]], metric: Metric) -> float:
    """What knowing nothing gives: on all held-out clips, or the mean over parts where each part is ranked by itself."""
    if metric == "accuracy":
        return chance_of(targets[np.concatenate(asked)], metric)
    some = [rows for rows in asked if (targets[rows] & known[rows]).any()]
    return float(np.mean([chance_of(targets[rows], metric, known[rows]) for rows in some])) if some else 0.0


def _mean(values: Array, axis: int | None = None) -> Any:
    """The mean of what is there; NaN where nothing is."""
    there = np.isfinite(values)
    count = there.sum(axis)
    return np.where(count > 0, np.where(there, values, 0).sum(axis) / np.maximum(count, 1), np.nan)


def _recalls(pairs: Sequence[tuple[Array, NDArray[np.int64]]], targets: Mask) -> Array:
    """The share (labels,) of each label's held-out clips that were told right; NaN of labels that none has."""
    rows = np.concatenate([rows for _, rows in pairs])
    said = np.concatenate([logits.argmax(1) for logits, _ in pairs])
    right = targets[rows, said]
    return np.array([right[has].mean() if has.any() else np.nan for has in targets[rows].T])


def _partings(labelled: Labelled, seeds: int) -> list[list[Fold]]:
    """How clips are parted, once for each seed that changes anything."""
    partings = [make_splits(labelled, 0)[0]]
    for seed in range(1, seeds):
        rounds = make_splits(labelled, seed)[0]
        if seed == 1 and all(_same(*pair) for pair in zip(rounds, partings[0], strict=False)):
            break  # the list says it all
        partings.append(rounds)
    return partings


def _same(one: Fold, other: Fold) -> bool:
    return bool((one.train == other.train).all() and (one.test == other.test).all())


def _interval(
    values: list[list[float]],
    logits: list[list[Array]],
    asked: list[list[NDArray[np.int64]]],
    labelled: Labelled,
    metric: Metric,
) -> tuple[Interval, str]:
    """The interval that fits how clips were parted, and what it is over."""
    found, how = _spread(values, logits, asked, labelled, metric)
    if found[0] < found[1]:
        return found, how
    # All parts alike, or all right: that so few recordings say no more does not make it certain.
    return wilson(found[0], len(np.unique(labelled.sources()[np.concatenate(asked[0])]))), "Wilson's, over recordings"


def _spread(
    values: list[list[float]],
    logits: list[list[Array]],
    asked: list[list[NDArray[np.int64]]],
    labelled: Labelled,
    metric: Metric,
) -> tuple[Interval, str]:
    folds, seeds = len(values[0]), len(values)
    told = np.array(values)[:, np.isfinite(values).all(0)]
    if told.shape[1] > 1 and (labelled.parting == "fold" or seeds == 1):
        return t_interval(told.mean(0).tolist()), f"t over {folds} {'given ' * (labelled.parting == 'fold')}folds"
    if told.shape[1] > 1:
        how = f"t over {folds} folds drawn by {seeds} seeds, corrected for shared clips"
        return t_interval(told.ravel().tolist(), folds), how
    # One set of clips is asked: what would others of their kind have given?
    rows = asked[0][0]
    targets, known = labelled.targets()[rows], labelled.known()[rows]
    times = draw_again(labelled.sources()[rows], RESAMPLES)
    drawn = np.mean([_resampled(of[0], targets, known, times, metric) for of in logits], axis=0)
    return middle_95(drawn), f"bootstrap over test recordings{f', mean over {seeds} seeds' if seeds > 1 else ''}"


def _resampled(logits: Array, targets: Mask, known: Mask, times: NDArray[np.unsignedinteger], metric: Metric) -> Array:
    """The metric (draws,) of clips that count so many times (draws, clips)."""
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
    vectors: NDArray[np.floating], targets: Mask, known: Mask, rounds: Sequence[Fold], metric: Metric
) -> float:
    """What the nearest neighbours say, the mean over rounds."""
    values: list[float] = []
    most = MOST_NEAREST // len(rounds)
    for each in rounds:
        ask = np.flatnonzero(each.test)
        if len(ask) > most:
            ask = np.sort(np.random.default_rng(0).choice(ask, most, replace=False))
        refit = each.refit
        said: Any = nearest_labels(vectors[refit], targets[refit], vectors[ask], known[refit])
        values.append(_score(said, targets[ask], metric, known[ask]))
    return float(_mean(np.array(values)))
