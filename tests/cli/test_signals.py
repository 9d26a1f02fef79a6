"""A signal ends a command, wherever it meets it."""

import io
import signal
import sys
import threading
from collections.abc import Iterator

import numpy as np
import pytest
import soundfile

from sondino.cli import _ending_in_order, _Interrupted


@pytest.fixture(autouse=True)
def _ctrl_c_is_not_ignored() -> Iterator[None]:
    """Whoever started the tests may have it ignored, as shells do for what runs in the background."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


class Interrupting(io.BytesIO):
    """A file whose first write gets a signal: libsndfile calls it, and drops what it raises."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self._number: int | None = number

    def write(self, content, /):  # type: ignore[no-untyped-def]
        number, self._number = self._number, None
        if number is not None:
            signal.raise_signal(number)
        return super().write(content)


def write_mp3(file: io.BytesIO) -> None:
    soundfile.write(file, np.zeros(24_000, np.float32), 24_000, format="MP3", subtype="MPEG_LAYER_III")


@pytest.mark.parametrize(("number", "ends_by"), [(signal.SIGINT, KeyboardInterrupt), (signal.SIGTERM, SystemExit)])
def test_a_signal_that_a_librarys_callback_drops_comes_again(number: int, ends_by: type[BaseException]) -> None:
    interrupted, hook = _Interrupted(), sys.unraisablehook
    with pytest.raises(ends_by), _ending_in_order(interrupted):
        write_mp3(Interrupting(number))
        threading.Event().wait(30)  # which the signal ends
        raise AssertionError("the signal was lost")
    assert interrupted.seen == (number == signal.SIGINT) and sys.unraisablehook is hook


def test_a_signal_that_meets_the_hook_comes_again_too() -> None:
    class Interrupted:
        def __del__(self) -> None:
            raise KeyboardInterrupt

    class Lost:
        """What the hook is given; to look at it takes until the next signal."""

        @property
        def exc_type(self) -> type[BaseException]:
            signal.raise_signal(signal.SIGINT)
            return KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), _ending_in_order(_Interrupted()):
        sys.unraisablehook(Lost())
        threading.Event().wait(30)
        raise AssertionError("the signal was lost")
    with pytest.raises(KeyboardInterrupt), _ending_in_order(_Interrupted()):
        Interrupted()
        threading.Event().wait(30)
        raise AssertionError("the signal was lost")


def test_other_errors_in_destructors_are_reported_as_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    reported: list[object] = []
    monkeypatch.setattr(sys, "unraisablehook", lambda lost: reported.append(lost.exc_type))

    class Faulty:
        def __del__(self) -> None:
            raise ValueError

    with _ending_in_order(_Interrupted()):
        Faulty()
    assert reported == [ValueError]
