"""Nearest neighbours, by hand."""

import numpy as np
import pytest

from sondino.probing.nearest import nearest_labels


def test_the_ten_nearest_vote_by_their_similarity() -> None:
    # Ten clips to the right, ten to the left, ten upwards: each asks its own ten alone.
    at = np.repeat([[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0]], 10, axis=0)
    targets = np.repeat(np.eye(3, dtype=bool), 10, axis=0)
    message = nearest_labels(at, targets, np.array([[2.0, 0.0], [-3.0, 0.0], [0.0, 5.0]]))
    assert message == pytest.approx(np.eye(3))


def test_what_is_not_known_has_no_vote() -> None:
    at = np.repeat([[1.0, 0.0], [-1.0, 0.0]], 10, axis=0)
    targets = np.zeros((20, 1), bool)
    targets[:4] = True
    known = np.ones((20, 1), bool)
    known[4:8] = False
    ask = np.array([[1.0, 0.0]])
    assert nearest_labels(at, targets, ask)[0, 0] == pytest.approx(4 / 10)
    assert nearest_labels(at, targets, ask, known)[0, 0] == pytest.approx(4 / 6)


def test_fewer_clips_than_neighbours_and_numbers_that_never_vary() -> None:
    at = np.array([[1.0, 7.0], [1.1, 7.0], [-1.0, 7.0]])
    targets = np.array([[True, False], [True, False], [False, True]])
    message = nearest_labels(at, targets, at)
    assert message.argmax(1).tolist() == [0, 0, 1] and message.sum(1) == pytest.approx(1)
