"""Scores of a head on held-out clips: accuracy or mean average precision, with chance level and an interval."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from sondino.errors import require
from sondino.metrics.intervals import RESAMPLES, draw_again, middle_95, t_interval, wilson, with_width
from sondino.text import percent

Mask = NDArray[np.bool_]
Metric = Literal["accuracy", "mAP"]


@dataclass(frozen=True)
class Score:
    """The score of a head on held-out clips.

    Attributes:
        metric: "accuracy", or "mAP": the mean over labels of their average precision.
        value: 0 to 1.
        interval95: low and high end of its 95 % interval.
        chance: the same metric at chance level.
        rounds: the value on each held-out fold.
        clips: how many were scored.
        on: which clips, as text.
    """

    metric: Metric
    value: float
    interval95: tuple[float, float]
    chance: float
    rounds: tuple[float, ...]
    clips: int
    on: str

    @staticmethod
    def from_dict(values: Mapping[str, Any]) -> Score:
        """From the fields as read from JSON."""
        return Score(**{**values, "interval95": tuple(values["interval95"]), "rounds": tuple(values["rounds"])})

    def __str__(self) -> str:
        low, high = self.interval95
        value = f"{percent(self.value)} (95 % interval {100 * low:.1f} to {100 * high:.1f})"
        return f"{self.metric} {value}, chance {percent(self.chance)}, on {self.on}"

    def as_dict(self) -> dict[str, Any]:
        """For config.json."""
        return {
            "metric": self.metric,
            "value": round(self.value, 5),
            "interval95": [round(end, 5) for end in self.interval95],
            "chance": round(self.chance, 5),
            "clips": self.clips,
            "on": self.on,
        }


def metric_of(multi_label: bool) -> Metric:
    """The metric of a head that predicts one label per clip, or several."""
    return "mAP" if multi_label else "accuracy"


def score_of(logits: NDArray[np.floating], targets: Mask, metric: Metric, known: Mask | None = None) -> float:
    """Accuracy, or mean average precision over the labels that some of the clips have.

    Args:
        logits: (clips, labels).
        targets: (clips, labels).
        metric: which.
        known: (clips, labels) the marks of `targets` that count for an average precision. None: all.
    """
    if metric == "accuracy":
        return float(targets[np.arange(len(targets)), logits.argmax(1)].mean())
    found = average_precisions(logits, targets, known)
    return float(np.nanmean(found)) if np.isfinite(found).any() else 0.0


def average_precisions(logits: NDArray[np.floating], targets: Mask, known: Mask | None = None) -> NDArray[np.float64]:
    """The average precision (labels,) of each label; NaN where no clip has it."""
    average_precision = require("sklearn.metrics", "report").average_precision_score
    found = np.full(targets.shape[1], np.nan)
    for k in range(targets.shape[1]):
        rows = slice(None) if known is None else known[:, k]
        if targets[rows, k].any():
            found[k] = average_precision(targets[rows, k], logits[rows, k])
    return found


def chance_of(targets: Mask, metric: Metric, known: Mask | None = None) -> float:
    """Chance level: the metric of a prediction from label frequencies alone."""
    if known is None:
        known = np.ones_like(targets)
    shares = (targets & known).sum(0) / np.maximum(known.sum(0), 1)
    if metric == "accuracy":
        return float(shares.max())
    return float(shares[shares > 0].mean()) if shares.any() else 0.0


def cross_entropy(logits: NDArray[np.floating], targets: Mask, multi_label: bool, known: Mask | None = None) -> float:
    """Mean cross-entropy: a tie-breaker between heads of equal accuracy.

    Args:
        logits: (clips, labels).
        targets: (clips, labels).
        multi_label: whether each label is a binary problem.
        known: (clips, labels) with `multi_label`: the marks of `targets` that count. None: all.
    """
    if multi_label:
        losses = np.logaddexp(0, np.where(targets, -logits, logits))
        return float(losses.mean() if known is None else losses[known].mean())
    return float((np.logaddexp.reduce(logits, axis=1) - logits[np.arange(len(targets)), targets.argmax(1)]).mean())


def score_with_interval(
    logits: Sequence[NDArray[np.floating]], targets: Sequence[Mask], metric: Metric, on: str
) -> Score:
    """The score over folds that were held out in turn, or of one held-out set.

    The interval is Student's t over folds; of one set Wilson's for an accuracy, and the bootstrap's for mAP. Where
    that has no width it is Wilson's.
    """
    rounds = tuple(score_of(*pair, metric) for pair in zip(logits, targets, strict=True))
    everything = np.concatenate(targets)
    if len(rounds) > 1:
        interval = t_interval(rounds)
    elif metric == "accuracy":
        interval = wilson(rounds[0], len(everything))
    else:
        interval = _bootstrap(logits[0], targets[0])
    interval = with_width(interval, len(everything))
    return Score(metric, float(np.mean(rounds)), interval, chance_of(everything, metric), rounds, len(everything), on)


def _bootstrap(logits: NDArray[np.floating], targets: Mask) -> tuple[float, float]:
    rows = np.arange(len(targets))
    drawn = (rows.repeat(times) for times in draw_again(rows, RESAMPLES))
    return middle_95(np.array([score_of(logits[of], targets[of], "mAP") for of in drawn]))


def label_agreement(
    student: NDArray[np.floating], teacher: NDArray[np.floating], multi_label: bool
) -> dict[str, float]:
    """The agreement of a student's probabilities with a teacher's, both (clips, labels).

    Args:
        student: its probabilities.
        teacher: the teacher's of the same clips.
        multi_label: whether a clip may have several labels.

    Returns:
        "top1": the share of clips with the same most probable label. "mAP": the mean average precision of the
        student's probabilities, where the labels of a clip are the teacher's most probable one and, with `multi_label`,
        all those with a probability of 0.5 or more. "calibration_error": the mean difference between the student's
        probability of its most probable label and the teacher's of that label, in ten bins, weighted by their clips.
    """
    rows, best, first = np.arange(len(teacher)), teacher.argmax(1), student.argmax(1)
    labels = teacher >= 0.5 if multi_label else np.zeros(teacher.shape, dtype=bool)
    labels[rows, best] = True
    given, right = student[rows, first], teacher[rows, first]
    bins = np.minimum((given * 10).astype(int), 9)
    gaps = [abs(given[bins == i].mean() - right[bins == i].mean()) * np.mean(bins == i) for i in np.unique(bins)]
    return {
        "top1": float((first == best).mean()),
        "mAP": score_of(student, labels, "mAP"),
        "calibration_error": float(sum(gaps)),
    }
