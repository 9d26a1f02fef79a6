"""How much is in the windows that a sound is cut into, against the windows themselves."""

from itertools import product

import numpy as np
import pytest

from sondino.audio.windows import Windowing, iter_windows, seconds_in_windows
from sondino.errors import AudioError, OptionError

RATE = 100


def cut(samples: int, windowing: Windowing) -> float:
    try:
        return sum(len(window) for window, _, _ in iter_windows([np.ones(samples, np.float32)], RATE, windowing)) / RATE
    except AudioError:  # a short clip of which only full windows are wanted
        return 0.0


def test_the_seconds_in_windows_are_those_of_all_windows() -> None:
    shapes = product((None, 1.0, 0.5), (None, 0.25, 1.0, 1.5), ("pad", "native", "repeat"), ("all", "published"))
    for window, hop, short, policy in shapes:
        windowing = Windowing(window, hop, short, policy)
        for samples in range(1, 420, 7):
            assert seconds_in_windows(samples / RATE, RATE, windowing) == pytest.approx(cut(samples, windowing)), (
                windowing
            )


@pytest.mark.parametrize("hop", [0.0, float("inf"), float("nan")])
def test_a_hop_of_no_sample_is_refused_there_too(hop: float) -> None:
    with pytest.raises(OptionError, match="at least one sample"):
        seconds_in_windows(1.0, RATE, Windowing(1.0, hop))
