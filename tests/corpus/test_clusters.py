from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn import metrics
from sklearn.cluster import KMeans

from sondino.corpus import clusters as module
from sondino.corpus.clusters import balanced_weights, fit_clusters
from sondino.corpus.parts import Parts, write_rows
from sondino.corpus.targets import Targets
from sondino.distillation.sampling import draw, uniform_weights
from sondino.errors import OptionError, RunError

DIM = 8


def blobs(sizes: list[int], seed: int = 0) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    rng = np.random.default_rng(seed)
    centres = 10 * rng.standard_normal((len(sizes), DIM))
    truth = rng.permutation(np.repeat(np.arange(len(sizes)), sizes))
    return (centres[truth] + 0.3 * rng.standard_normal((len(truth), DIM))).astype(np.float16), truth


def as_targets(folder: Path, rows: NDArray[np.float16], invalid: list[int] | None = None) -> Targets:
    folder.mkdir(parents=True)
    parts = Parts(folder, len(rows), len(rows))
    parts.prepare(targets=(rows.shape, np.float16))
    write_rows(folder / "targets.npy", 0, rows)
    parts.mark(0, {"rows": [0, len(rows)], "skipped": [(row, f"{row}.wav", "broken") for row in invalid or []]})
    return Targets(folder, len(rows), rows.shape[1], "some key", len(rows))


def pure(assignment: NDArray[np.int32], truth: NDArray[np.int64]) -> bool:
    pairs = set(zip(assignment.tolist(), truth.tolist(), strict=True))
    return len(pairs) == len(set(truth.tolist())) == len(set(assignment.tolist()))


def test_blobs_are_found_with_their_sizes_and_quality(tmp_path):
    rows, truth = blobs([400, 50, 150])
    found = fit_clusters(as_targets(tmp_path / "t", rows), k=3)
    assert pure(found.assignment, truth) and found.assignment.dtype == np.int32
    assert sorted(found.sizes) == [50, 150, 400] and found.sizes.tolist() == np.bincount(found.assignment).tolist()
    x = rows.astype(np.float32)
    for cluster in range(3):
        np.testing.assert_allclose(found.centres[cluster], x[found.assignment == cluster].mean(0), atol=0.1)
    assert found.quality["silhouette"] == pytest.approx(metrics.silhouette_score(x, truth, metric="cosine"), rel=1e-4)
    assert found.quality["calinski_harabasz"] == pytest.approx(metrics.calinski_harabasz_score(x, truth), rel=1e-3)
    assert found.quality["davies_bouldin"] == pytest.approx(metrics.davies_bouldin_score(x, truth), rel=1e-3)


def test_streamed_batches_do_as_well_as_all_rows_at_once(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "BATCH", 512)
    rows = np.random.default_rng(1).standard_normal((5000, DIM)).astype(np.float16)
    found = fit_clusters(as_targets(tmp_path / "t", rows), k=12, seed=3)
    x = rows.astype(np.float32)
    distance = ((x - found.centres[found.assignment]) ** 2).sum(1)
    nearest = ((x[:, None] - found.centres) ** 2).sum(2)
    np.testing.assert_allclose(distance, nearest.min(1), rtol=1e-3)  # each row has its nearest centre
    assert distance.sum() < 1.05 * KMeans(12, n_init=3, random_state=0).fit(x).inertia_


def test_no_more_than_a_batch_is_ever_read(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "BATCH", 512)
    monkeypatch.setattr(module, "QUALITY_ROWS", 500)
    most = []
    read = Targets.read

    def spy(self, spans):
        most.append(sum(stop - start for start, stop in spans))
        return read(self, spans)

    monkeypatch.setattr(Targets, "read", spy)
    targets = as_targets(tmp_path / "t", blobs([3000, 4000, 2000])[0])
    fit_clusters(targets, k=3)
    assert max(most) <= 512 + module.BLOCK
    assert "matrix" not in targets.__dict__  # never mapped


def test_the_same_bits_again_and_what_is_there_is_opened(tmp_path, monkeypatch):
    rows, _ = blobs([300, 200, 100])
    first = fit_clusters(as_targets(tmp_path / "a", rows), k=5, seed=7)
    second = fit_clusters(as_targets(tmp_path / "b", rows), k=5, seed=7)
    for name in ("centres.npy", "assignment.npy"):
        assert (first.folder / name).read_bytes() == (second.folder / name).read_bytes()
    targets = Targets(tmp_path / "a", len(rows), DIM, "some key", len(rows))
    other = fit_clusters(targets, k=5, seed=8)
    assert other.folder != first.folder and not np.array_equal(other.centres, first.centres)
    monkeypatch.setattr(module, "_fit", None)
    again = fit_clusters(targets, k=5, seed=7)
    np.testing.assert_array_equal(again.assignment, first.assignment)
    assert again.quality == first.quality
    targets.key = "another key"
    with pytest.raises(RunError, match="other targets"):
        fit_clusters(targets, k=5, seed=7)


def test_rows_without_a_vector_have_no_cluster(tmp_path):
    rows, truth = blobs([100, 100])
    rows[[3, 150]] = 0
    found = fit_clusters(as_targets(tmp_path / "t", rows, invalid=[3, 150]), k=2)
    assert np.flatnonzero(found.assignment < 0).tolist() == [3, 150]
    valid = found.assignment >= 0
    assert pure(found.assignment[valid], truth[valid]) and found.sizes.sum() == 198
    weights = balanced_weights(found.assignment)
    assert (weights[~valid] == 0).all()


def test_rows_without_a_vector_do_not_pull_a_centre(tmp_path):
    rows, truth = blobs([100, 100])
    invalid = np.arange(0, 200, 2).tolist()
    rows[invalid] = 0
    found = fit_clusters(as_targets(tmp_path / "t", rows, invalid=invalid), k=2)
    kept = np.arange(1, 200, 2)
    for cluster in range(2):
        own = kept[truth[kept] == cluster]
        np.testing.assert_allclose(
            found.centres[found.assignment[own[0]]], rows[own].astype(np.float32).mean(0), atol=0.1
        )


@pytest.mark.parametrize("k", [0, 10])
def test_more_clusters_than_clips_are_refused(tmp_path, k):
    targets = as_targets(tmp_path / "t", blobs([10])[0], invalid=[2])
    with pytest.raises(OptionError, match=rf"{k} clusters of 9 clips.*from 1 to 9"):
        fit_clusters(targets, k=k)


def test_quality_that_is_not_defined_is_nan(tmp_path):
    found = fit_clusters(as_targets(tmp_path / "t", blobs([10])[0]), k=1)
    assert all(np.isnan(value) for value in found.quality.values()) and found.sizes.tolist() == [10]


def test_balanced_weights_make_clusters_equal():
    assignment = np.array([0, 0, 0, 0, 2, 2, -1, 3], dtype=np.int32)  # cluster 1 is empty
    weights = balanced_weights(assignment)
    np.testing.assert_array_equal(weights, [0.25, 0.25, 0.25, 0.25, 0.5, 0.5, 0, 1])
    np.testing.assert_array_equal(balanced_weights(np.array([-1, -1])), [0, 0])


def test_rows_are_drawn_as_often_as_they_weigh():
    weights = np.array([0, 3, 0, 1, 0, 4, 0], dtype=np.float64)
    rows = draw(weights, 80_000, np.random.default_rng(0))
    counts = np.bincount(rows, minlength=7)
    np.testing.assert_allclose(counts / 80_000, weights / 8, atol=0.01)
    assert (counts[weights == 0] == 0).all()
    np.testing.assert_array_equal(rows, draw(weights, 80_000, np.random.default_rng(0)))
    np.testing.assert_array_equal(uniform_weights(np.array([True, False])), [1, 0])


def test_the_edges_of_chance_stay_on_rows_that_weigh():
    class Edges:
        def random(self, draws):
            return np.array([0.0, 1.0])  # 1.0: a product that rounds up

    assert draw(np.array([0, 0.1, 0, 0.2, 0]), 2, Edges()).tolist() == [1, 3]
    with pytest.raises(ValueError, match="weight above 0"):
        draw(np.zeros(3), 2, np.random.default_rng(0))
