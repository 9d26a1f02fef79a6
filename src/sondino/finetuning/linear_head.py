"""A linear head fitted on frozen embeddings of labelled audio, with a cross-validated score, saved as a new bundle."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sondino.embedding.files import Progress
from sondino.encoder.head import Head
from sondino.errors import OptionError, require
from sondino.metrics.classification import Score, metric_of, score_with_interval
from sondino.model.model import Model
from sondino.probing.embeddings import embed_labelled
from sondino.probing.probe import best_C, check_finite, classifiers_up_to, held_out
from sondino.probing.unlike import MOST_CLIPS, Windows, embed_windows, fit_unlike
from sondino.tasks.labelled import NO_LABEL, Labelled, MultiLabel, read_labelled
from sondino.tasks.splits import make_splits, unseen_labels


@dataclass(frozen=True)
class Fitted:
    """A fitted head.

    Attributes:
        head: fitted on all clips but those of a list's test split.
        score: of heads fitted without the clips that they are scored on.
        C: inverse regularisation of the logistic regression.
        labelled: the clips that were used, and what was left out.
    """

    head: Head
    score: Score
    C: float
    labelled: Labelled


def probe(
    audio: str | Path,
    model: Model | str | Path,
    out: str | Path | None = None,
    labels: str | Path | None = None,
    multi_label: MultiLabel = "auto",
    seed: int = 0,
    progress: Progress | None = None,
    background: Sequence[str] = NO_LABEL,
) -> Fitted:
    """Fit a linear head on a model's frozen embeddings of labelled audio, and score it by cross-validation.

    Args:
        audio: a folder whose subfolders are the labels, or a CSV list as for `labels`.
        model: a model, or a bundle, run or published name as `sondino.load` takes it; its embeddings do not change.
        out: folder of a new bundle, the model with the head; None: nothing is written.
        labels: CSV with columns path and label, or labels (several separated by ;); optionally fold, or split
            (train, valid, test), and source (clips of one recording are kept in one fold).
        multi_label: "auto", "yes" or "no", whether clips may have several labels; "auto": if the list has such clips.
        seed: of the folds, if the list has none.
        progress: called with (files done, files in all, seconds of audio so far).
        background: names of folders or labels whose clips have no label, as in the documentation of classifiers.

    Returns:
        The head, its score with a 95 % interval, and the labelled clips.

    Raises:
        OptionError: there is no such model, or `out` holds something else.
        AudioError: no labelled clip can be decoded.
        MissingExtra: scikit-learn is not installed.

    Examples:
        >>> sondino.probe("labelled", "run/bundle").head.labels
        ('bass', 'drum')
    """
    from sondino.model.bundle import copy_with_head
    from sondino.pretrained.load import load

    require("sklearn", "report")
    model = model if isinstance(model, Model) else load(model)
    if out is not None:
        check_out(out, model.folder)
    labelled = read_labelled(audio, labels, multi_label, background=background)
    more = min(MOST_CLIPS, len(labelled.clips))  # are embedded once more, window by window
    seconds = 0.0

    def first(done: int, total: int, so_far: float) -> None:
        nonlocal seconds
        seconds = so_far
        if progress is not None:
            progress(done, total + more, seconds)

    def second(done: int, total: int) -> None:
        if progress is not None:
            progress(len(labelled.clips) + done, len(labelled.clips) + total, seconds)

    with TemporaryDirectory() as folder:
        labelled, embeddings = embed_labelled(model, labelled, Path(folder) / "vectors.npz", first)
    windows = embed_windows(model, labelled, np.ones(len(labelled.clips), bool), second)
    fitted = fit_head(embeddings, labelled, seed, windows=windows)
    if out is not None:
        facts = {**name_facts(model.config, Path(out)), **score_facts(model.config, fitted.score)}
        copy_with_head(model.folder, Path(out), fitted.head, facts)
    return fitted


def score_facts(config: Mapping[str, Any], score: Score) -> dict[str, Any]:
    """A head's score as entries of config.json: for programs, and beside the model's own scores for the card."""
    return {"head_score": score.as_dict(), "scores": {**config.get("scores", {}), "head": str(score)}}


def name_facts(config: Mapping[str, Any], out: Path) -> dict[str, Any]:
    """The name of a copy of a bundle, which is its folder's, and that of the bundle itself, for config.json."""
    return {"name": out.resolve().name, "backbone": config.get("backbone") or config["name"]}


def check_out(out: str | Path, model: Path) -> None:
    """Raise OptionError if `out` is the model's own folder, or a folder of something else."""
    from sondino.model.bundle import free_folder

    if free_folder(Path(out)) == model.resolve():
        raise OptionError(f"--out {out} is the model itself: name another folder")


def fit_head(
    embeddings: NDArray[np.floating],
    labelled: Labelled,
    seed: int = 0,
    name: str = "probe",
    windows: Windows | None = None,
) -> Fitted:
    """Fit a linear head by logistic regression: one softmax, or a sigmoid a label where clips may have several.

    C is chosen on validation clips alone: each fold is scored by a head that was neither fitted nor regularised on it.
    Clips of one recording are kept in one fold.

    Args:
        embeddings: (clips, dim).
        labelled: the clips.
        seed: of the folds, if the list has none.
        name: of the head.
        windows: of the clips, on which the head's `unlike` is calibrated; None: it gets none.

    Raises:
        OptionError: embeddings with NaN, or too few clips for one to be held out.
        MissingExtra: scikit-learn is not installed.
    """
    check_finite(embeddings)
    targets, known, multi_label = labelled.targets(), labelled.known(), labelled.multi_label
    folds, on = make_splits(labelled, seed)
    found = [held_out(embeddings, targets, each, multi_label, known) for each in folds]
    values = [logits for logits, _ in found]
    score = score_with_interval(values, [targets[each.test] for each in folds], metric_of(multi_label), on)
    C = best_C(np.sum([tried for _, tried in found], axis=0))
    everything = np.ones(len(embeddings), dtype=bool) if labelled.split_kind != "split" else labelled.folds() != "test"
    *_, (weight, bias) = classifiers_up_to(C, embeddings, targets, everything, multi_label, known)
    head = Head(
        name,
        labelled.labels,
        labelled.multi_label,
        ((weight.astype(np.float32), bias.astype(np.float32)),),
        note=f"Logistic regression on {int(everything.sum())} labelled clips, C {C:g}.",
        background=labelled.background,
        unlike=None
        if windows is None
        else fit_unlike(embeddings, labelled, windows, [(each.refit, each.test) for each in folds], everything),
    )
    return Fitted(head, score, C, replace(labelled, notes=labelled.notes + unseen_labels(labelled, folds)))
