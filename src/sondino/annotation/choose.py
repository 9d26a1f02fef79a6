"""The next windows to be labelled, chosen among those that have no answer for a label."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sondino.annotation.classifier import Embeddings, Rows, blocks
from sondino.probing.linear import standard

WAYS = {
    "uncertain": "most uncertain",
    "similar": "most similar to the yes",
    "different": "most different from all answers",
    "top": "most probable",
    "random": "drawn at random",
    "disagree": "classifier and given label disagree",
}
"""The ways of choosing -> why, in words."""
MIXED = ("uncertain", "top", "uncertain", "top", "random")
"""The ways that "mixed" takes in turn."""
MOST_LOOKED_AT = 20_000
"""Windows, drawn, among which the most different one is found."""
SAMPLE = 4096
"""Windows whose mean and deviation stand for the archive's."""


@dataclass(frozen=True)
class Space:
    """Embeddings standardised by the mean and the deviation (dim,) of the archive, for similarity."""

    mean: NDArray[np.float32]
    scale: NDArray[np.float32]

    def units(self, embeddings: Embeddings) -> NDArray[np.float32]:
        """Standardised embeddings (n, dim) of length 1."""
        z: NDArray[np.float32] = (np.asarray(embeddings, np.float32) - self.mean) / self.scale
        z /= np.maximum(np.linalg.norm(z, axis=1, keepdims=True), np.float32(1e-12))
        return z


def space_of(embeddings: Embeddings, alive: Rows) -> Space:
    """The space of an archive, from some of its windows."""
    rows = alive[np.linspace(0, len(alive) - 1, min(SAMPLE, len(alive))).astype(np.int64)]
    mean, deviation = standard(np.asarray(embeddings[rows], np.float32))
    return Space(mean.astype(np.float32), deviation.astype(np.float32))


def similarity(embeddings: Embeddings, space: Space, examples: NDArray[np.float32]) -> NDArray[np.float32]:
    """The cosine (windows,) of each window to the mean of examples (n, dim), in blocks."""
    to = space.units(examples).mean(0)
    to /= max(float(np.linalg.norm(to)), 1e-12)
    found = np.empty(len(embeddings), np.float32)
    for block in blocks(len(embeddings)):
        found[block] = space.units(embeddings[block]) @ to
    return found


@dataclass(frozen=True)
class Answered:
    """What is known of a label, as numbers of windows.

    Attributes:
        yes: windows with the label.
        no: windows without it.
        unsure: windows that were played, without a decision.
        free: alive windows that have no answer.
    """

    yes: Rows
    no: Rows
    unsure: Rows
    free: Rows

    def all(self) -> Rows:
        """The windows that have an answer."""
        return np.concatenate([self.yes, self.no, self.unsure])


def way_of(how: str, answers: int) -> str:
    """The way that "mixed" takes after so many answers; another is itself."""
    return MIXED[answers % len(MIXED)] if how == "mixed" else how


def ranked(
    how: str,
    embeddings: Embeddings,
    space: Space,
    known: Answered,
    scores: NDArray[np.float32] | None,
    start: NDArray[np.float32] | None,
    seed: int,
) -> tuple[Rows, str]:
    """The free windows, the best candidate first, and the way that was taken.

    Args:
        how: one of `WAYS` but "disagree".
        embeddings: (windows, dim).
        space: of the archive.
        known: the answers of the label.
        scores: the classifier's logits (windows,); None: there is no classifier.
        start: how much each window (windows,) is like the start; None: there is none.
        seed: of what is drawn.
    """
    free = known.free
    rng = np.random.default_rng(seed)
    if how == "random":
        called = free if scores is None else free[scores[free] >= 0]
        # To measure what the classifier calls yes; where it calls nothing so, all are drawn from.
        return rng.permutation(called if len(called) else free), "random"
    answered = known.all()
    if how == "different" and len(answered):
        some = np.sort(rng.choice(free, MOST_LOOKED_AT, replace=False)) if len(free) > MOST_LOOKED_AT else free
        to = space.units(embeddings[answered])
        nearest = np.concatenate([
            (space.units(embeddings[some[block]]) @ to.T).max(1) for block in blocks(len(some))
        ]) if len(some) else np.zeros(0, np.float32)  # fmt: skip
        return some[np.argsort(nearest, kind="stable")], "different"
    if how == "similar" and len(known.yes):
        return _highest(similarity(embeddings, space, np.asarray(embeddings[known.yes], np.float32)), free), "similar"
    if scores is not None:
        if how == "uncertain":
            return _highest(-np.abs(scores), free), "uncertain"
        return _highest(scores, free), "top"
    if start is not None:
        return _highest(start, free), "similar"
    return rng.permutation(free), "random"


def _highest(values: NDArray[np.float32], free: Rows) -> Rows:
    return free[np.argsort(-values[free], kind="stable")]


def spread(rows: Rows, recordings: Rows, count: int) -> Rows:
    """The first `count` of ranked windows of different recordings; then of the others.

    Args:
        rows: windows, the best first.
        recordings: of each.
        count: how many at most.
    """
    _, first = np.unique(recordings, return_index=True)
    first = np.sort(first)[:count]
    if len(first) < count:
        others = np.setdiff1d(np.arange(len(rows)), first)[: count - len(first)]
        first = np.concatenate([first, others])
    return rows[first]
