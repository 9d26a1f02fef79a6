"""Clusters of a teacher's embeddings: mini-batch k-means that never holds more than a batch of them.

As published for balanced data sampling (S-SONDO, arXiv 2604.24933): k-means++ with 10 trials, batches of 10,000, no
reassignment, on the embeddings as they are.
"""

import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from sondino.errors import OptionError, RunError, require
from sondino.files import disk_error, make_folder, read_json, write_array, write_json
from sondino.locks import lock_or_fail
from sondino.progress import Report

CLUSTERS_FORMAT = "sondino-clusters-1"
BATCH = 10_000
TRIALS = 10
MOST_EPOCHS = 100
PATIENCE = 10
"""Batches without a better mean distance after which it ends; this and the above are scikit-learn's own defaults."""
BLOCK = 64
"""Neighbouring rows that are read together: single rows drawn from all over a disk take many times as long."""
QUALITY_ROWS = 5_000


class Embeddings(Protocol):
    """What is clustered: `Targets` of a teacher, or `JoinedTargets` of several."""

    @property
    def folder(self) -> Path:
        """Where the clusters are kept."""

    @property
    def key(self) -> str:
        """Hash of all that determines the embeddings."""

    @property
    def valid(self) -> NDArray[np.bool_]:
        """(rows,): which rows have an embedding."""

    def __len__(self) -> int: ...

    def read(self, spans: Sequence[tuple[int, int]]) -> NDArray[Any]:
        """Rows of stretches (first row, one after the last)."""


@dataclass(frozen=True)
class Clusters:
    """k-means over targets."""

    centres: NDArray[np.float32]
    """(k, dim)."""
    assignment: NDArray[np.int32]
    """(rows,): the nearest centre of each row, -1 for rows without an embedding."""
    sizes: NDArray[np.int64]
    """(k,): rows of each cluster."""
    quality: dict[str, float]
    """silhouette (cosine), calinski_harabasz, davies_bouldin, of at most 5,000 rows; NaN where not defined."""
    folder: Path


def balanced_weights(assignment: NDArray[np.integer]) -> NDArray[np.float64]:
    """Weight of each row (rows,): 1 / size of its cluster, so that each cluster is drawn equally often; 0 for -1."""
    return np.append(1 / np.maximum(np.bincount(assignment[assignment >= 0], minlength=1), 1), 0.0)[assignment]


def fit_clusters(
    targets: Embeddings, k: int = 50, seed: int = 0, progress: Report = lambda done, total: None
) -> Clusters:
    """Cluster the embeddings of a corpus; a clustering with the same k and seed is reused.

    Streams over the matrix in batches drawn by seed: memory does not grow with the rows. The same targets, k and seed
    give the same bits.

    Args:
        targets: whole, of a teacher; or of several, a `sondino.corpus.joined.JoinedTargets`.
        k: how many clusters.
        seed: of everything drawn.
        progress: called with (batches done, batches at most).

    Raises:
        OptionError: k is below 1, or above the number of embeddings.

    Examples:
        >>> corpus = sondino.corpus.build_corpus("recordings", "my_corpus", clip=1.0)
        >>> teacher = sondino.load_teacher("onnx:teacher.onnx?rate=16000")
        >>> targets = sondino.corpus.compute_targets(corpus, teacher)
        >>> sondino.corpus.fit_clusters(targets, k=2).assignment.shape
        (9,)
    """
    valid = int(np.count_nonzero(targets.valid))
    if not 1 <= k <= valid:
        raise OptionError(f"{k} clusters of {valid} clips cannot be: give --clusters from 1 to {valid}")
    folder = targets.folder / f"clusters-k{k}-seed{seed}"
    if not (folder / "clusters.json").exists():
        with lock_or_fail(targets.folder, folder.name, "clustering the targets in"):
            # One thread: sums in another order would end in other bits, and reading takes longer than the sums.
            with require("threadpoolctl", "train").threadpool_limits(limits=1):
                centres, batches = _fit(targets, k, seed, progress)
                assignment = _assign(targets, centres)
                quality = _quality(targets, assignment, seed)
            facts = {"format": CLUSTERS_FORMAT, "targets": targets.key, "k": k, "seed": seed, "batches": batches}
            sizes = np.bincount(assignment[assignment >= 0], minlength=k).tolist()
            _save(folder, centres, assignment, facts | {"quality": quality, "sizes": sizes})
    return _open(folder, targets)


def _batches(targets: Embeddings, rng: np.random.Generator) -> Iterator[NDArray[np.float32]]:
    """Every embedding once, in batches of about 10,000 (rows, dim): blocks of neighbours in a new random order."""
    order = rng.permutation(-(-len(targets) // BLOCK))
    a_batch = BATCH // BLOCK
    for first in range(0, len(order), a_batch):
        yield _read_targets(targets, np.sort(order[first : first + a_batch]))


def _read_targets(targets: Embeddings, blocks: NDArray[np.int64]) -> NDArray[np.float32]:
    spans = [(int(b) * BLOCK, min(len(targets), (int(b) + 1) * BLOCK)) for b in blocks]
    valid = np.concatenate([targets.valid[start:stop] for start, stop in spans])
    rows = targets.read(spans)
    return (rows if valid.all() else rows[valid]).astype(np.float32)


def _fit(targets: Embeddings, k: int, seed: int, progress: Report) -> tuple[NDArray[np.float32], int]:
    cluster = require("sklearn.cluster", "train")
    rng = np.random.default_rng(seed)
    sample = _sample(targets, max(BATCH, k), rng)
    kmeans = cluster.MiniBatchKMeans(
        k, init=_first_centres(sample, k, rng), n_init=1, reassignment_ratio=0, compute_labels=False, random_state=seed
    )
    del sample
    least, waited, mean, steps = np.inf, 0, None, 0
    most = MOST_EPOCHS * -(-len(targets) // (BATCH // BLOCK * BLOCK))
    weight = min(1.0, 2 * BATCH / (len(targets) + 1))
    for _ in range(MOST_EPOCHS):
        for batch in _batches(targets, rng):
            if len(batch) == 0:
                continue
            kmeans.partial_fit(batch)
            distance = float(np.mean(_nearest(batch, kmeans.cluster_centers_)[1]))
            mean = distance if mean is None else (1 - weight) * mean + weight * distance
            least, waited = (mean, 0) if mean < least else (least, waited + 1)
            steps += 1
            progress(steps, most)
            if waited >= PATIENCE:
                return kmeans.cluster_centers_.astype(np.float32), steps
    return kmeans.cluster_centers_.astype(np.float32), steps


def _sample(targets: Embeddings, rows: int, rng: np.random.Generator) -> NDArray[np.float32]:
    """About so many embeddings (at least, where there are), in blocks drawn from all over."""
    order = rng.permutation(-(-len(targets) // BLOCK))
    kept = np.add.accumulate([np.count_nonzero(targets.valid[b * BLOCK : (b + 1) * BLOCK]) for b in order])
    return _read_targets(targets, np.sort(order[: int(np.searchsorted(kept, rows)) + 1]))


def _first_centres(sample: NDArray[np.float32], k: int, rng: np.random.Generator) -> NDArray[np.float32]:
    """The best of 10 k-means++ draws from a sample, by the sum of squared distances."""
    draws = [_plus_plus(sample, k, rng) for _ in range(TRIALS)]
    centres, _ = min(draws, key=lambda draw: draw[1])
    return sample[centres]


def _plus_plus(sample: NDArray[np.float32], k: int, rng: np.random.Generator) -> tuple[list[int], float]:
    """Greedy k-means++: rows of the sample to begin from, and the sum of squared distances to the nearest of them.

    scikit-learn's own works in float64, which takes four times as long on embeddings of 3840 dimensions.
    """
    norms = np.einsum("nd,nd->n", sample, sample).astype(np.float64)
    nearest = np.full(len(sample), np.inf)
    chosen: list[int] = []
    for _ in range(k):
        if not chosen or not nearest.any():
            candidates = rng.integers(len(sample), size=1)
        else:
            candidates = rng.choice(len(sample), 2 + int(np.log(k)), p=nearest / nearest.sum())
        distances = norms[:, None] + norms[candidates] - 2 * (sample @ sample[candidates].T)
        distances[candidates, np.arange(len(candidates))] = 0  # rounding leaves a little
        reached = np.minimum(nearest[:, None], np.maximum(distances, 0))
        best = int(np.argmin(reached.sum(axis=0)))
        nearest = reached[:, best]
        chosen.append(int(candidates[best]))
    return chosen, float(nearest.sum())


def _nearest(rows: NDArray[np.float32], centres: NDArray[np.float32]) -> tuple[NDArray[np.int32], NDArray[np.float64]]:
    """The nearest centre of each row, and the squared distance to it."""
    # |x - c|^2 = |x|^2 - 2 x.c + |c|^2, and |x|^2 does not decide which centre is nearest.
    scores = np.einsum("kd,kd->k", centres, centres) - 2 * (rows @ centres.T)
    own = np.argmin(scores, axis=1)
    least = np.take_along_axis(scores, own[:, None], 1)[:, 0].astype(np.float64)
    return own.astype(np.int32), np.maximum(least + np.einsum("nd,nd->n", rows, rows), 0)


def _assign(targets: Embeddings, centres: NDArray[np.float32]) -> NDArray[np.int32]:
    assignment = np.full(len(targets), -1, np.int32)
    for start in range(0, len(targets), BATCH):
        stop = min(len(targets), start + BATCH)
        own, _ = _nearest(targets.read([(start, stop)]).astype(np.float32), centres)
        assignment[start:stop] = np.where(targets.valid[start:stop], own, -1)
    return assignment


def _quality(targets: Embeddings, assignment: NDArray[np.int32], seed: int) -> dict[str, float | None]:
    metrics = require("sklearn.metrics", "train")
    good = np.flatnonzero(assignment >= 0)
    rng = np.random.default_rng([seed, 1])
    chosen = np.sort(rng.choice(good, min(QUALITY_ROWS, len(good)), replace=False))
    labels = assignment[chosen]
    found: dict[str, float | None] = {"silhouette": None, "calinski_harabasz": None, "davies_bouldin": None}
    if not 2 <= len(np.unique(labels)) < len(labels):
        return found
    rows = np.concatenate([targets.read([(int(row), int(row) + 1)]) for row in chosen]).astype(np.float32)
    found["silhouette"] = round(float(metrics.silhouette_score(rows, labels, metric="cosine")), 6)
    found["calinski_harabasz"] = round(float(metrics.calinski_harabasz_score(rows, labels)), 6)
    found["davies_bouldin"] = round(float(metrics.davies_bouldin_score(rows, labels)), 6)
    return found


def _save(folder: Path, centres: NDArray[np.float32], assignment: NDArray[np.int32], facts: dict[str, Any]) -> None:
    partial = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    make_folder(partial)
    try:
        write_array(partial / "centres.npy", centres)
        write_array(partial / "assignment.npy", assignment)
        write_json(partial / "clusters.json", facts)
        shutil.rmtree(folder, ignore_errors=True)
        partial.replace(folder)
    except OSError as error:
        raise disk_error(folder, error) from error


def _open(folder: Path, targets: Embeddings) -> Clusters:
    facts = read_json(folder / "clusters.json")
    try:
        centres, assignment = np.load(folder / "centres.npy"), np.load(folder / "assignment.npy")
    except (OSError, ValueError) as error:
        raise RunError(f"{folder} is damaged ({error}): remove it and run the same command again") from error
    if facts.get("targets") != targets.key or len(assignment) != len(targets):
        raise RunError(f"{folder} was made from other targets: remove it and run the same command again")
    quality = {name: float("nan") if value is None else value for name, value in facts["quality"].items()}
    return Clusters(centres, assignment, np.asarray(facts["sizes"], dtype=np.int64), quality, folder)
