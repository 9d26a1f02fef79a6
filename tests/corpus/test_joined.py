"""Targets of several teachers side by side: standardised by hand, and clusters that only the two together have."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

pytest.importorskip("sklearn", reason="the train extra is not installed")

from sondino.corpus.clusters import fit_clusters
from sondino.corpus.joined import JoinedTargets
from sondino.corpus.parts import Parts, write_rows
from sondino.corpus.targets import Targets
from sondino.errors import OptionError

RNG = np.random.default_rng(0)


def as_targets(folder: Path, rows: NDArray[np.floating], key: str, invalid: tuple[int, ...] = ()) -> Targets:
    folder.mkdir(parents=True)
    rows = rows.astype(np.float16)
    parts = Parts(folder, len(rows), len(rows))
    parts.prepare(targets=(rows.shape, np.float16))
    write_rows(folder / "targets.npy", 0, rows)
    parts.mark(0, {"rows": [0, len(rows)], "skipped": [(row, f"{row}.wav", "broken") for row in invalid]})
    return Targets(folder, len(rows), rows.shape[1], key, len(rows))


def test_each_teacher_has_the_same_share_of_the_variance_whatever_its_size_and_units(tmp_path: Path) -> None:
    one, other = RNG.normal(3, 0.1, (300, 4)).astype(np.float16), RNG.normal(-50, 9, (300, 12)).astype(np.float16)
    other[:, 5] = 7  # never changes
    joined = JoinedTargets([as_targets(tmp_path / "a", one, "a"), as_targets(tmp_path / "b", other, "b", (2, 9))])
    assert len(joined) == 300 and np.flatnonzero(~joined.valid).tolist() == [2, 9]
    valid = joined.valid
    rows = joined.read([(0, 100), (100, 300)])

    def standard(rows: NDArray[np.float16], varying: int) -> NDArray[np.float64]:
        x = rows.astype(np.float64)
        deviation = x[valid].std(0)
        return (x - x[valid].mean(0)) / np.where(deviation > 0, deviation, np.inf) / np.sqrt(varying)

    np.testing.assert_allclose(rows, np.concatenate([standard(one, 4), standard(other, 11)], axis=1), atol=1e-3)
    assert rows[valid][:, :4].var(0).sum() == pytest.approx(1, abs=1e-3)
    assert rows[valid][:, 4:].var(0).sum() == pytest.approx(1, abs=1e-3)


def test_clusters_are_those_that_only_both_tell_apart(tmp_path: Path) -> None:
    """One teacher separates left from right, the other, in units of a hundredth, up from down."""
    side, height = RNG.integers(2, size=400), RNG.integers(2, size=400)
    one = np.stack([side * 100 + RNG.normal(size=400), RNG.normal(size=400)], 1)
    other = np.stack([height * 1 + 0.01 * RNG.normal(size=400), 0.01 * RNG.normal(size=400)], 1)
    both = [as_targets(tmp_path / "a", one, "a"), as_targets(tmp_path / "b", other, "b")]
    found = fit_clusters(JoinedTargets(both), k=4)
    quarter = 2 * side + height
    assert len(set(zip(found.assignment.tolist(), quarter.tolist(), strict=True))) == 4
    alone = fit_clusters(both[0], k=4)
    assert len(set(zip(alone.assignment.tolist(), quarter.tolist(), strict=True))) > 4
    assert found.folder.parent.parent == tmp_path and found.folder.parent.name.startswith("joined-")
    assert JoinedTargets(both).key != JoinedTargets(both[::-1]).key
    again = fit_clusters(JoinedTargets(both), k=4)  # kept
    np.testing.assert_array_equal(again.assignment, found.assignment)


def test_targets_of_two_corpora_are_refused(tmp_path: Path) -> None:
    one, other = as_targets(tmp_path / "a", np.ones((3, 2)), "a"), as_targets(tmp_path / "b", np.ones((4, 2)), "b")
    for given in ([], [one, other]):
        with pytest.raises(OptionError, match="those of one corpus"):
            JoinedTargets(given)
