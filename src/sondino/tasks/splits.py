"""Which labelled clips train and which are scored: folds and splits that keep every recording on one side."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sondino.errors import OptionError, require
from sondino.metrics.classification import Mask
from sondino.tasks.labelled import Labelled

FOLDS = 5
MOST_IN_TURN = 1_000
"""Clips up to which the penalty is chosen on every other fold in turn: one fold of a small list is too small."""
ONE_FOLD = "the list has one fold alone: give two or more, or drop the column, and clips are drawn"


@dataclass(frozen=True)
class Fold:
    """Clips to train on, to choose the penalty on, and to score: three masks (clips,).

    Attributes:
        train: to train on.
        valid: to choose on.
        test: to score.
        folds: where there is time for more than `valid`: parts of train and valid together, each to choose on in turn
            after training on the others.
        shared: of `valid`, clips whose recording is in `test` too; the penalty is chosen on them, but they do
            not train.
    """

    train: Mask
    valid: Mask
    test: Mask
    folds: tuple[Mask, ...] = ()
    shared: Mask | None = None

    @property
    def refit(self) -> Mask:
        """Clips that the scored classifier is trained on, once its penalty is chosen."""
        seen = self.train | self.valid
        return seen if self.shared is None else seen & ~self.shared


def make_splits(labelled: Labelled, seed: int) -> tuple[list[Fold], str]:
    """The folds to fit and to score on, and a description of what is scored.

    A list's own folds or splits are kept; else folds are drawn, with labels spread evenly and recordings kept whole.
    """
    folds: NDArray[Any] = labelled.folds()
    targets, sources = labelled.targets(), labelled.sources()
    if labelled.split_kind == "split":
        train, valid, test = (folds == name for name in ("train", "valid", "test"))
        if not train.any():
            raise OptionError("the list has no train clips: mark those that may be trained on as train")
        on = "the list's test clips" if test.any() else "the list's valid clips"
        if not (valid.any() and test.any()):
            test = test | valid
            valid = train & draw_part(targets, sources, labelled.multi_label, seed, among=train)
            train = train & ~valid
        return [Fold(train, valid, test, shared=valid & np.isin(sources, sources[test]))], on
    on = f"the list's {len(np.unique(folds))} folds in turn"
    if labelled.split_kind == "none":
        folds = draw_folds(targets, sources, labelled.multi_label, seed)
        on = f"{len(np.unique(folds))} folds in turn, drawn by seed {seed}"
    names = np.unique(folds)
    if len(names) < 2:
        raise OptionError(ONE_FOLD)
    made = []
    for place, name in enumerate(names):
        test = folds == name
        if len(names) > 2:
            valid = folds == names[(place + 1) % len(names)]
        else:
            valid = ~test & draw_part(targets, sources, labelled.multi_label, seed, among=~test)
        others = [folds == other for other in names if other != name]
        turns = tuple(others) if len(names) > 2 and len(folds) <= MOST_IN_TURN else ()
        made.append(Fold(~test & ~valid, valid, test, turns))
    return made, on


def holdout(labelled: Labelled, seed: int) -> tuple[Fold, str]:
    """One split to train by, and a description of the clips that choose the epoch.

    Of a list's folds the first is held out, of its splits valid, or else some of train; where the list gives none, a
    fifth is drawn. Only a list's test clips are in `test`.
    """
    folds, targets, sources = labelled.folds(), labelled.targets(), labelled.sources()
    nobody = np.zeros(len(folds), dtype=bool)
    if labelled.split_kind == "fold":
        names = sorted(set(folds.tolist()), key=lambda name: (len(name), name))
        if len(names) < 2:
            raise OptionError(ONE_FOLD)
        return Fold(folds != names[0], folds == names[0], nobody), f"fold {names[0]} of the list"
    train, valid, test = (folds == name for name in ("train", "valid", "test"))
    if labelled.split_kind == "none":
        train, test = ~nobody, nobody
    if valid.any():
        return Fold(train, valid, test), "the list's valid clips"
    valid = draw_part(targets, sources, labelled.multi_label, seed, among=train)
    return Fold(train & ~valid, valid, test), f"clips drawn by seed {seed}"


def unseen_labels(labelled: Labelled, folds: Sequence[Fold]) -> tuple[str, ...]:
    """A message where some labels are scored and none of their clips is trained on."""
    targets = labelled.targets()
    unseen = [targets[r.test].any(0) & ~targets[r.train | r.valid].any(0) for r in folds]
    names = [labelled.labels[k] for k in np.flatnonzero(np.logical_or.reduce(unseen))]
    if not names:
        return ()
    return (f"all clips of {', '.join(names)} lie in one part of the list, so a head is scored on them untrained",)


def draw_folds(
    targets: Mask, sources: NDArray[np.int64], multi_label: bool, seed: int, folds: int = FOLDS
) -> NDArray[np.int64]:
    """A fold (clips,) for each clip: at most `folds`, and as many as the commonest label has recordings."""
    selection = require("sklearn.model_selection", "report")
    # A label with fewer recordings is missing from some folds; it does not take clips from all others.
    commonest = max(len(np.unique(sources[column])) for column in targets.T)
    count = max(2, min(folds, commonest))
    # Of several labels the rarest one is what must be spread.
    rare = np.argsort(targets.sum(0), kind="stable")
    kind = rare[targets[:, rare].argmax(1)] if multi_label else targets.argmax(1)
    kind = np.where(targets.any(1), kind, -1)
    drawn = np.zeros(len(targets), dtype=np.int64)
    if np.unique(kind, return_counts=True)[1].max() < count:  # a clip or so of each: nothing to spread
        names = np.unique(sources)
        order = np.random.default_rng(seed).permutation(len(names))
        return (order % count)[np.searchsorted(names, sources)].astype(np.int64)
    # Recordings are shuffled here: before scikit-learn 1.8 `shuffle=True` loses which labels a group has.
    names, place = np.unique(sources, return_inverse=True)
    order = require("sklearn.utils", "report").shuffle(np.arange(len(names)), random_state=seed)
    groups = np.argsort(order)[place]
    splitter = selection.StratifiedGroupKFold(count)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The least populated class", category=UserWarning)
        for number, (_, rows) in enumerate(splitter.split(targets, kind, groups)):
            drawn[rows] = number
    return drawn


def draw_part(
    targets: Mask, sources: NDArray[np.int64], multi_label: bool, seed: int, among: Mask, folds: int = FOLDS
) -> Mask:
    """One fold's worth of the clips in `among`, as a mask (clips,)."""
    rows = np.flatnonzero(among)
    if len(np.unique(sources[rows])) < 2:
        raise OptionError("there is only one recording to train on: none can be held out; give more clips to train")
    present = targets[np.ix_(rows, np.flatnonzero(targets[rows].any(0)))]
    drawn = draw_folds(present, sources[rows], multi_label, seed, folds)
    mask = np.zeros(len(targets), dtype=bool)
    mask[rows[drawn == 0]] = True
    return mask
