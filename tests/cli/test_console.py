"""What the command line prints, whatever a name holds, a console can write, or closes; and how Ctrl-C ends it."""

import io
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from helpers.skips import needs_posix
from sondino import cli
from sondino.cli.app import list_skipped, show_table
from sondino.console import print_line
from sondino.progress import show


def run(code: str, *words: str, **how) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, timeout=60, **how)


@pytest.mark.parametrize("encoding", ["cp1252", "ascii", "utf-8"])
def test_a_console_that_cannot_write_a_label_gets_its_code(encoding: str, monkeypatch: pytest.MonkeyPatch) -> None:
    out = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    monkeypatch.setattr(sys, "stdout", out)
    cli._open_streams()
    print_line("大山雀 \udcff.wav")
    show_table([{"label": "大山雀"}])
    out.flush()
    written = out.buffer.getvalue().decode(encoding)
    assert written.splitlines()[0] == ("大山雀" if encoding == "utf-8" else r"\u5927\u5c71\u96c0") + r" \udcff.wav"
    assert len(written.splitlines()) == 3


def test_a_name_is_printed_as_it_is_and_controls_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    name = "[red]x[/b] :smile: \x1b[2J\r\x9b"
    plain = r"[red]x[/b] :smile: \x1b[2J\x0d\x9b"
    print_line(f"{name}\nnext")
    show_table([{name: name}])
    with show(name, name) as report:
        report(1, 1)
    found = capsys.readouterr()
    assert found.out.count(plain) == 3 and "\x1b" not in found.out and "\nnext\n" in found.out
    assert found.err.startswith(f"{plain}: 1 of 1 {plain}")


def test_an_error_and_a_warning_control_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main(["classify", "a\x1b[2J.wav", "--model", "no\x1b[2Jwhere"])
    assert ended.value.code == 2
    found = capsys.readouterr()
    assert r"no\x1b[2Jwhere" in found.err and "\x1b[2J" not in found.err


MAIN = "from sondino.__main__ import main; main()"


@needs_posix
@pytest.mark.parametrize(("closed", "words", "code"), [((1,), ["students"], 0), ((1, 2), ["check", "nothing"], 2)])
def test_closed_streams_are_no_traceback(closed: tuple[int, ...], words: list[str], code: int) -> None:
    done = run(MAIN, *words, preexec_fn=lambda: [os.close(number) for number in closed])
    assert (done.returncode, done.stderr) == (code, "")


@needs_posix
def test_a_full_disk_behind_a_pipe_is_a_message() -> None:
    if not Path("/dev/full").exists():
        pytest.skip("another operating system: needs /dev/full")
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-c", MAIN, "students"], stdout=full, stderr=subprocess.PIPE, text=True, timeout=60
        )
    assert done.returncode == 2 and done.stderr.splitlines() == ["sondino: the system: No space left on device"]


@needs_posix
def test_a_reader_that_goes_is_no_traceback() -> None:
    code = "import os; r, w = os.pipe(); os.dup2(w, 1); os.close(w); os.close(r); " + MAIN
    done = run(code, "students")
    assert (done.returncode, done.stderr) == (141, "")


INTERRUPTED = """
import os, signal, sys

class Finder:
    def find_spec(self, name, *_):
        if name == MODULE:
            try:
                os.kill(os.getpid(), signal.SIGINT)
            except KeyboardInterrupt:
                raise ImportError("swallowed") from None

sys.meta_path.insert(0, Finder())
"""


@needs_posix
@pytest.mark.parametrize("module", ["sondino.cli", "cyclopts", "sondino.cli.app", "sondino.nets.registry"])
def test_ctrl_c_during_an_import_is_no_traceback(module: str) -> None:
    """Of the command line itself, and of what a command imports."""
    code = INTERRUPTED.replace("MODULE", repr(module)) + MAIN
    done = run(code, "students", preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL))
    assert (done.returncode, done.stderr) == (130, "sondino: stopped\n")


def test_a_skipped_file_takes_one_line_whatever_its_name(capsys: pytest.CaptureFixture[str]) -> None:
    list_skipped([("a\nb\u202ec.wav", "no sound")])
    assert capsys.readouterr().err == "skipped a\\x0ab\\u202ec.wav: no sound\n"
