"""Intervals whose ends can be worked out by hand."""

import numpy as np
import pytest

from sondino.metrics.intervals import draw_again, middle_95, t_interval, wilson, with_width


def test_students_t_over_three_folds() -> None:
    # Mean 0.8, deviation 0.1, t of 2 degrees of freedom 4.3027: half is 4.3027 x 0.1 / root of 3.
    low, high = t_interval([0.7, 0.8, 0.9])
    assert (low, high) == (pytest.approx(0.8 - 0.248414, abs=1e-5), 1.0)
    assert t_interval([0.5, 0.5, 0.5]) == (0.5, 0.5)


def test_folds_drawn_again_share_clips_which_widens_the_interval() -> None:
    scores = [0.50, 0.54, 0.52, 0.56, 0.48, 0.52]  # two draws of three folds
    deviation = float(np.std(scores, ddof=1))
    low, _ = t_interval(scores, 3)
    assert low == pytest.approx(0.52 - 2.570582 * deviation * (1 / 6 + 1 / 2) ** 0.5, abs=1e-6)


def test_wilson_of_none_and_of_eight_in_ten() -> None:
    assert wilson(0.0, 15) == (0.0, pytest.approx(0.20390, abs=1e-4))
    assert wilson(0.8, 10) == (pytest.approx(0.4901, abs=1e-4), pytest.approx(0.9433, abs=1e-4))


def test_recordings_are_drawn_whole() -> None:
    times = draw_again(np.array([4, 4, 9, 2, 9]), 50)
    assert times.shape == (50, 5) and (times[:, 0] == times[:, 1]).all() and (times[:, 2] == times[:, 4]).all()
    assert (times[:, [0, 2, 3]].sum(1) == 3).all() and len(np.unique(times, axis=0)) > 5


def test_the_middle_of_what_draws_gave() -> None:
    assert middle_95(np.append(np.arange(101.0), np.nan)) == (2.5, 97.5)


def test_an_interval_without_width_is_that_of_so_many_recordings() -> None:
    assert with_width((0.2, 0.4), 10) == (0.2, 0.4)
    # Wilson's interval of all of 30: 30 / (30 + z^2) to 1.
    assert with_width((1.0, 1.0), 30) == (pytest.approx(30 / (30 + 1.959964**2), abs=1e-4), 1.0)
    low, high = with_width((0.5, 0.5), 20)
    assert low < 0.5 < high
