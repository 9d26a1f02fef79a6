"""How good a head is on clips that it never saw: accuracy or mean average precision, with chance and an interval."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from sondino.errors import require
from sondino.evaluate.probe import interval95

RESAMPLES = 200
"""Bootstrap draws for the interval of a mean average precision on one set of clips."""

Mask = NDArray[np.bool_]
Metric = Literal["accuracy", "mAP"]


@dataclass(frozen=True)
class Score:
    """How good a head is on clips that it never saw.

    Attributes:
        metric: "accuracy", or "mAP": the mean over labels of their average precision.
        value: 0 to 1.
        interval95: low and high end of its 95 % interval.
        chance: the same metric of knowing nothing.
        rounds: the value on each held-out part.
        clips: how many were scored.
        on: which ones, in words.
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
        """From the fields as JSON gives them back."""
        return Score(**{**values, "interval95": tuple(values["interval95"]), "rounds": tuple(values["rounds"])})

    def __str__(self) -> str:
        low, high = self.interval95
        value = f"{100 * self.value:.1f} % (95 % interval {100 * low:.1f} to {100 * high:.1f})"
        return f"{self.metric} {value}, chance {100 * self.chance:.1f} %, on {self.on}"

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


def score_of(logits: NDArray[np.floating], targets: Mask, metric: Metric) -> float:
    """Accuracy, or mean average precision over the labels that some of the clips have."""
    if metric == "accuracy":
        return float(targets[np.arange(len(targets)), logits.argmax(1)].mean())
    average_precision = require("sklearn.metrics", "report").average_precision_score
    some = targets.any(0)
    if not some.any():
        return 0.0
    return float(np.mean([average_precision(targets[:, k], logits[:, k]) for k in np.flatnonzero(some)]))


def doubt(logits: NDArray[np.floating], targets: Mask, multi_label: bool) -> float:
    """The mean surprise at the true labels: what tells two heads apart that are right equally often."""
    if multi_label:
        return float(np.logaddexp(0, np.where(targets, -logits, logits)).mean())
    return float((np.logaddexp.reduce(logits, axis=1) - logits[np.arange(len(targets)), targets.argmax(1)]).mean())


def judge(logits: Sequence[NDArray[np.floating]], targets: Sequence[Mask], metric: Metric, on: str) -> Score:
    """The score over parts that were held out in turn, or of one part.

    The interval is Student's t over parts; of one part Wilson's for an accuracy, and the bootstrap's for mAP.
    """
    rounds = tuple(score_of(*pair, metric) for pair in zip(logits, targets, strict=True))
    everything = np.concatenate(targets)
    shares = everything.mean(0)
    chance = float(shares.max()) if metric == "accuracy" else float(shares[shares > 0].mean() if shares.any() else 0)
    if len(rounds) > 1:
        interval = interval95(list(rounds))
    elif metric == "accuracy":
        interval = _wilson(rounds[0], len(everything))
    else:
        interval = _bootstrap(logits[0], targets[0])
    return Score(metric, float(np.mean(rounds)), interval, chance, rounds, len(everything), on)


def _wilson(share: float, count: int) -> tuple[float, float]:
    """The 95 % interval of a share of so many clips; sensible at 0 and 1 too."""
    z = 1.959964
    middle = (share + z * z / (2 * count)) / (1 + z * z / count)
    half = z * math.sqrt(share * (1 - share) / count + z * z / (4 * count * count)) / (1 + z * z / count)
    return max(0.0, middle - half), min(1.0, middle + half)


def _bootstrap(logits: NDArray[np.floating], targets: Mask) -> tuple[float, float]:
    draws = np.random.default_rng(0).integers(len(targets), size=(RESAMPLES, len(targets)))
    low, high = np.quantile([score_of(logits[rows], targets[rows], "mAP") for rows in draws], (0.025, 0.975))
    return float(low), float(high)
