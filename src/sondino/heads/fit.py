"""A linear head fitted on frozen vectors of labelled sound, with an honest score, saved into a copy of the bundle."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePath
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sondino.embed import Progress, embed_files
from sondino.encoder import Encoder
from sondino.errors import OptionError, require
from sondino.heads.head import Head
from sondino.heads.labelled import Labelled, MultiLabel, read_labelled
from sondino.heads.parting import part, unlearnt
from sondino.heads.score import Mask, Metric, Score, judge, score_of
from sondino.runtime import Model

STRENGTHS = (0.001, 0.01, 0.1, 1.0)
"""Inverse strengths of the L2 penalty that are tried: scikit-learn's C, on standardised vectors."""

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Fitted:
    """A fitted head.

    Attributes:
        head: fitted on all clips but those of a list's test split.
        score: of heads fitted without the clips that they are scored on.
        strength: the penalty's C.
        labelled: the clips that were used, and what was left out.
    """

    head: Head
    score: Score
    strength: float
    labelled: Labelled


def probe(
    audio: str | Path,
    model: Model,
    out: str | Path,
    labels: str | Path | None = None,
    multi_label: MultiLabel = "auto",
    seed: int = 0,
    progress: Progress | None = None,
) -> Fitted:
    """Fit a linear head on a model's vectors and save it into a copy of the model's bundle.

    Args:
        audio: as in `read_labelled`.
        model: its vectors stay as they are, to the bit.
        out: folder of the new bundle.
        labels: as in `read_labelled`.
        multi_label: as in `read_labelled`.
        seed: draws folds where the list gives none.
        progress: called with (files done, files in all, seconds of sound so far).

    Raises:
        SondinoError: what is wrong, in a sentence.
    """
    from sondino.bundle import copy_with_head

    require("sklearn", "report")
    check_out(out, model.folder)
    labelled = read_labelled(audio, labels, multi_label)
    with TemporaryDirectory() as folder:
        labelled, vectors = embed_labelled(model, labelled, Path(folder) / "vectors.npz", progress)
    fitted = fit_head(vectors, labelled, seed)
    copy_with_head(model.folder, Path(out), fitted.head, score_facts(model.config, fitted.score))
    return fitted


def score_facts(config: Mapping[str, Any], score: Score) -> dict[str, Any]:
    """A head's score as entries of config.json: for programs, and beside the model's own scores for the card."""
    return {"head_score": score.as_dict(), "scores": {**config.get("scores", {}), "head": str(score)}}


def check_out(out: str | Path, model: Path) -> None:
    """Refuse to write a bundle over the model that it is made from, or over a folder of something else."""
    from sondino.bundle import free_folder

    if free_folder(Path(out)) == model.resolve():
        raise OptionError(f"--out {out} is the model itself: name another folder, the model stays as it is")


def embed_labelled(
    model: Encoder, labelled: Labelled, table: Path, progress: Progress | None = None
) -> tuple[Labelled, NDArray[np.float32]]:
    """Embed labelled clips.

    Args:
        model: any encoder.
        labelled: the clips; those that cannot be heard go to `skipped`.
        table: .npz for the vectors; stopped, the same call goes on.
        progress: as in `embed_files`.

    Returns:
        the clips that could be heard, and their vectors (clips, dim).
    """
    report = embed_files([clip.path for clip in labelled.clips], model, table, progress=progress)
    with np.load(table) as found:
        row = {name: number for number, name in enumerate(found["ids"].tolist())}
        vectors = found["vectors"]
    labelled = labelled.without(dict(report.skipped))
    return labelled, vectors[[row[PurePath(clip.path).as_posix()] for clip in labelled.clips]]


def fit_head(vectors: NDArray[np.floating], labelled: Labelled, seed: int = 0, name: str = "probe") -> Fitted:
    """Fit a linear head by logistic regression: one softmax, or a sigmoid a label where clips may have several.

    The penalty is chosen on validation clips alone: each part of the clips is scored by a head that saw neither it nor,
    while its penalty was chosen, the part after it. Clips of one recording are never on two sides.

    Args:
        vectors: (clips, dim).
        labelled: the clips.
        seed: draws folds where the list gives none.
        name: of the head.

    Raises:
        OptionError: vectors with NaN, or too few clips for one to be held out.
        MissingExtra: scikit-learn is not installed.
    """
    x, targets = np.asarray(vectors, np.float64), labelled.targets()
    if not np.isfinite(x).all():
        raise OptionError("some vectors hold NaN or infinity: `sondino check` says what is wrong with the model")
    rounds, on = part(labelled, seed)
    metric: Metric = "mAP" if labelled.multi_label else "accuracy"
    values, chosen = [], np.zeros(len(STRENGTHS))
    for each in rounds:
        tried = [
            score_of(x[each.valid] @ weight.T + bias, targets[each.valid], metric)
            for weight, bias in fit_linear(x[each.train], targets[each.train], STRENGTHS, labelled.multi_label)
        ]
        chosen += tried
        seen = each.train | each.valid
        strength = STRENGTHS[int(np.argmax(tried))]
        ((weight, bias),) = fit_linear(x[seen], targets[seen], (strength,), labelled.multi_label)
        values.append(x[each.test] @ weight.T + bias)
    score = judge(values, [targets[each.test] for each in rounds], metric, on)
    strength = STRENGTHS[int(np.argmax(chosen))]
    everything = np.ones(len(x), dtype=bool) if labelled.parting != "split" else labelled.folds() != "test"
    ((weight, bias),) = fit_linear(x[everything], targets[everything], (strength,), labelled.multi_label)
    head = Head(
        name,
        labelled.labels,
        labelled.multi_label,
        ((weight.astype(np.float32), bias.astype(np.float32)),),
        note=f"Logistic regression on {int(everything.sum())} labelled clips, C {strength:g}.",
    )
    return Fitted(head, score, strength, replace(labelled, notes=labelled.notes + unlearnt(labelled, rounds)))


# ---- fitting --------------------------------------------------------------------------------------------------

UNSEEN = -30.0
"""The logit of a label that no training clip has."""


def fit_linear(x: Array, targets: Mask, strengths: Sequence[float], multi_label: bool) -> list[tuple[Array, Array]]:
    """Logistic regressions on standardised vectors, with the standardising folded into the weights.

    Args:
        x: (clips, dim).
        targets: (clips, labels).
        strengths: the penalty's C, one a regression.
        multi_label: a regression of its own for each label.

    Returns:
        weights (labels, dim) and biases (labels,) for each strength.
    """
    mean, scale = standard(x)
    z = (x - mean) / scale
    # The penalty does not change when the space is turned: fewer clips than numbers span that many directions.
    turn: Array | None = None
    if len(z) < z.shape[1]:
        u, values, turn = np.linalg.svd(z, full_matrices=False)
        z = u * values
    fitted = []
    for strength in strengths:
        weight, bias = _regressions(z, targets, strength, multi_label)
        weight = (weight if turn is None else weight @ turn) / scale
        fitted.append((weight, bias - weight @ mean))
    return fitted


def standard(x: NDArray[np.floating]) -> tuple[Array, Array]:
    """Mean and deviation (dim,) of vectors (clips, dim)."""
    mean, deviation = x.mean(0, dtype=np.float64), x.std(0, dtype=np.float64)
    # A number that never varies says nothing; dividing by its rounding noise would let it shout.
    return mean, np.where(deviation > 1e-6 * np.abs(mean), deviation, np.inf)


def _regressions(z: Array, targets: Mask, strength: float, multi_label: bool) -> tuple[Array, Array]:
    linear = require("sklearn.linear_model", "report")
    weight, bias = np.zeros((targets.shape[1], z.shape[1])), np.full(targets.shape[1], UNSEEN)

    def regression(answers: NDArray[Any]) -> Any:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a fit that has not quite converged is scored like any other
            return linear.LogisticRegression(C=strength, max_iter=1000).fit(z, answers)

    if multi_label:
        for place, answers in enumerate(targets.T):
            if answers.all():
                bias[place] = -UNSEEN
            elif answers.any():
                found = regression(answers)
                weight[place], bias[place] = found.coef_[0], found.intercept_[0]
        return weight, bias
    answers = targets.argmax(1)
    present = np.unique(answers)
    if len(present) == 1:
        bias[present] = -UNSEEN
        return weight, bias
    found = regression(answers)
    if len(present) == 2:  # one regression, where softmax wants a row for each label
        weight[present] = np.outer([-0.5, 0.5], found.coef_[0])
        bias[present] = np.array([-0.5, 0.5]) * found.intercept_[0]
    else:
        weight[present], bias[present] = found.coef_, found.intercept_
    return weight, bias
