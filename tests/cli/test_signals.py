"""A signal ends a command, wherever it meets it."""

import io
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator

import numpy as np
import pytest
import soundfile

from helpers.skips import needs_posix
from sondino import cli
from sondino.cli import _ending_in_order, _Interrupted
from sondino.cli.early import loading
from sondino.errors import MissingExtra


@pytest.fixture(autouse=True)
def _no_signal_is_ignored() -> Iterator[None]:
    """Whoever started the tests may have them ignored, as shells have Ctrl-C for what runs in the background."""
    interrupt = signal.signal(signal.SIGINT, signal.default_int_handler)
    terminate = signal.signal(signal.SIGTERM, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGINT, interrupt)
    signal.signal(signal.SIGTERM, terminate)


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
    assert interrupted.by == number and sys.unraisablehook is hook


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


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("error", [ImportError("half of a module"), MissingExtra("pip install it"), RuntimeError("?")])
def test_a_signal_that_an_import_makes_another_error_of_is_still_a_signal(
    number: int, error: Exception, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def command(app: object, arguments: list[str]) -> None:
        try:
            signal.raise_signal(number)
        except BaseException:
            raise error from None

    monkeypatch.setattr(type(cli.app), "__call__", command)
    with pytest.raises(SystemExit) as left:
        cli.main(["distill"])
    assert left.value.code == 128 + number
    assert capsys.readouterr().err == "sondino: stopped; the same command resumes from here\n"


SWALLOWED = """
import signal, sys
from sondino.cli import _ending_in_order, _Interrupted
from sondino.cli.early import loading

signal.signal(signal.SIGINT, signal.default_int_handler)
with _ending_in_order(_Interrupted()), loading(quiet=True):
    try:
        signal.raise_signal(int(sys.argv[1]))
    except BaseException:
        pass
    print("the import goes on")
"""


@needs_posix
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_during_the_import_of_torch_ends_the_process(number: int) -> None:
    done = subprocess.run(
        [sys.executable, "-c", SWALLOWED, str(int(number))], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (128 + number, "", "sondino: stopped\n")


def test_after_the_import_signals_are_as_before() -> None:
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    with loading(quiet=True):
        assert signal.getsignal(signal.SIGTERM) != before[1]
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)


def test_other_errors_in_destructors_are_reported_as_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    reported: list[object] = []
    monkeypatch.setattr(sys, "unraisablehook", lambda lost: reported.append(lost.exc_type))

    class Faulty:
        def __del__(self) -> None:
            raise ValueError

    with _ending_in_order(_Interrupted()):
        Faulty()
    assert reported == [ValueError]
