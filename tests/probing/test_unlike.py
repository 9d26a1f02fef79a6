"""The score of what is unlike a head's training clips: its distance, its calibration, and its way to disk."""

from pathlib import Path

import numpy as np
import pytest

from helpers.fake_dataset import blobs, labelled
from sondino.encoder.head import Head
from sondino.encoder.unlike import Unlike, distances
from sondino.errors import OptionError, SondinoError
from sondino.finetuning.linear_head import fit_head
from sondino.model.head import read_head, write_head
from sondino.probing.unlike import Windows, fit_unlike


def test_the_distance_is_to_the_nearest_mean_each_direction_by_its_variance() -> None:
    means, directions = np.array([[0.0, 0, 0], [10, 0, 0]]), np.array([[1.0, 0, 0]])
    found = distances(np.array([[2.0, 0, 0], [8, 3, 0], [0, 1, 1]]), means, directions, np.array([4.0, 2.0]))
    assert found.tolist() == [4 / 4, 4 / 4 + 9 / 2, 2 / 2]


def test_a_score_is_the_share_of_held_out_windows_that_are_nearer() -> None:
    score = Unlike(np.zeros((1, 2)), np.array([[1.0, 0.0]]), np.ones(2), np.array([0.0, 1, 4, 9, 16]))  # type: ignore[arg-type]
    assert score.scores(np.array([[0.0, 0], [1, 0], [0, 3], [9, 9]])).tolist() == [0.0, 0.25, 0.75, 1.0]
    with pytest.raises(OptionError, match="do not fit"):
        Unlike(np.zeros((1, 2)), np.zeros((1, 3)), np.ones(2), np.arange(3))  # type: ignore[arg-type]
    with pytest.raises(OptionError, match="do not fit"):
        Unlike(np.zeros((1, 2)), np.zeros((1, 2)), np.zeros(2), np.arange(3))  # type: ignore[arg-type]


def test_held_out_windows_are_spread_evenly_and_other_sound_is_far() -> None:
    x, labels = blobs(60, gap=8.0)
    windows = Windows(x.astype(np.float32), np.arange(len(x)))
    head = fit_head(x, labelled(labels), windows=windows).head
    assert head.unlike is not None and head.unlike.means.shape == (3, x.shape[1])
    fresh, _ = blobs(60, gap=8.0, seed=1)
    found = head.unlike.scores(fresh)
    assert found.mean() == pytest.approx(0.5, abs=0.12) and (found > 0.9).mean() == pytest.approx(0.1, abs=0.08)
    assert (head.unlike.scores(fresh + 20.0) == 1.0).all()
    assert fit_head(x, labelled(labels)).head.unlike is None


def test_clips_that_do_not_differ_give_no_score() -> None:
    x, found = np.ones((8, 4)), labelled(["a", "b"] * 4)
    half = np.arange(8) < 4
    assert fit_unlike(x, found, Windows(x.astype(np.float32), np.arange(8)), [(half, ~half)], half) is None


def test_it_is_stored_with_the_head(tmp_path: Path) -> None:
    score = Unlike(np.zeros((2, 3)), np.eye(3)[:1], np.ones(2), np.array([0.0, 1.0]))  # type: ignore[arg-type]
    head = Head(
        "h", ("a", "background"), False, ((np.ones((2, 3)), np.zeros(2)),), background="background", unlike=score
    )
    entry = write_head(tmp_path, head, half=True)
    again = read_head(tmp_path, entry)
    assert again.background == "background" and again.unlike is not None
    for name, array in score.as_arrays().items():
        assert (again.unlike.as_arrays()[name] == array).all()
    with pytest.raises(SondinoError, match="damaged"):
        read_head(tmp_path, {**entry, "background": "other"})
    with pytest.raises(OptionError, match="3 dimensions"):
        Head("h", ("a", "b"), False, ((np.ones((2, 4)), np.zeros(2)),), unlike=score)


def test_the_background_is_no_label_of_a_clip() -> None:
    head = Head("h", ("a", "b", "none"), False, ((np.eye(3), np.zeros(3)),), background="none")
    assert head.top(np.array([0.1, 0.3, 0.6], np.float32), 3) == [("b", pytest.approx(0.3)), ("a", pytest.approx(0.1))]
    with pytest.raises(OptionError, match="background"):
        Head("h", ("a", "b"), True, ((np.eye(2), np.zeros(2)),), background="b")
