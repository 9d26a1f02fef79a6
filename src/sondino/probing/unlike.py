"""Fitting the score of how unlike the clips of a head's training an embedding is."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sondino.encoder.encoder import Encoder
from sondino.encoder.pipeline import embed_sounds, resolve_windowing
from sondino.encoder.unlike import Unlike, distances
from sondino.probing.linear import few_threads
from sondino.progress import Report
from sondino.tasks.labelled import Labelled

RANK = 16
"""Directions with a variance of their own."""
SHRINKAGE = 0.7
"""Share of the mean variance in that of every direction: there are fewer clips than a covariance has entries."""
MOST_CLIPS = 300
"""Clips whose windows calibrate the score."""
MOST_WINDOWS = 8
"""Windows of each of them."""
QUANTILES = 101

Mask = NDArray[np.bool_]
Fitted = tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]


@dataclass(frozen=True)
class Windows:
    """Embeddings of windows of labelled clips.

    Attributes:
        embeddings: (windows, dim).
        clips: (windows,) the clip of each.
    """

    embeddings: NDArray[np.float32]
    clips: NDArray[np.int64]


def embed_windows(
    model: Encoder, labelled: Labelled, among: Mask, progress: Report = lambda done, total: None
) -> Windows:
    """Embeddings of windows of at most `MOST_CLIPS` clips of a mask (clips,), drawn; of each at most `MOST_WINDOWS`."""
    rng = np.random.default_rng(0)
    chosen = np.flatnonzero(among)
    chosen = np.sort(rng.permutation(chosen)[:MOST_CLIPS])
    found, owners = [np.zeros((0, model.dim), np.float32)], [np.zeros(0, np.int64)]
    paths = [labelled.clips[row].path for row in chosen]
    with closing(embed_sounds(model, paths, resolve_windowing(model), per_window=True)) as embedded:
        for clip in embedded:
            if clip.error is None:
                rows = np.sort(rng.permutation(len(clip.embeddings))[:MOST_WINDOWS])
                found.append(clip.embeddings[rows])
                owners.append(np.full(len(rows), chosen[clip.index]))
            progress(clip.index + 1, len(paths))
    return Windows(np.concatenate(found), np.concatenate(owners))


def fit_unlike(
    embeddings: NDArray[np.floating],
    labelled: Labelled,
    windows: Windows,
    folds: Sequence[tuple[Mask, Mask]],
    everything: Mask,
) -> Unlike | None:
    """The score of a head's training clips, calibrated on windows of clips that were held out.

    Args:
        embeddings: (clips, dim), the mean of each clip's windows.
        labelled: the clips.
        windows: of some of them.
        folds: pairs of masks (clips,): those to fit on, and those that are held out meanwhile.
        everything: (clips,) those that the score is fitted on.

    Returns:
        The score; None where clips do not differ, or no window was held out.
    """
    targets = labelled.targets()
    found: list[NDArray[np.float64]] = []
    for learnt, held_out in folds:
        fitted = fit_distance(embeddings, targets, learnt)
        rows = held_out[windows.clips]
        if fitted is not None and rows.any():
            found.append(distances(windows.embeddings[rows], *fitted))
    whole = fit_distance(embeddings, targets, everything)
    if whole is None or not found:
        return None
    every = np.concatenate(found)
    return Unlike(*whole, np.quantile(every, np.linspace(0, 1, QUANTILES)))  # type: ignore[arg-type]


def fit_distance(embeddings: NDArray[np.floating], targets: Mask, learnt: Mask) -> Fitted | None:
    """Means of the classes, directions and variances; a clip counts in each of its classes, one without any in one."""
    classes = np.column_stack([targets, ~targets.any(1)]) & learnt[:, None]
    groups = [embeddings[rows].astype(np.float64) for rows in classes.T if rows.any()]
    if not groups:
        return None
    means = np.stack([group.mean(0) for group in groups])
    away = np.concatenate([group - mean for group, mean in zip(groups, means, strict=True)])
    with few_threads(away):
        _, values, directions = np.linalg.svd(away, full_matrices=False)
    variances, total = values**2 / len(away), float((away**2).sum() / away.size)
    rank = min(RANK, len(values), embeddings.shape[1] - 1)
    rest = variances[rank:].sum() / (embeddings.shape[1] - rank)
    kept = SHRINKAGE * total + (1 - SHRINKAGE) * np.append(variances[:rank], rest)
    if not total > 1e-12 * float((means**2).mean()):
        return None
    return means, directions[:rank], kept
