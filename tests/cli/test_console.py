"""What the command line prints, whatever a name holds, a console can write, or closes; and how Ctrl-C ends it."""

import io
import os
import signal
import subprocess
import sys
from contextlib import suppress
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
import soundfile
from cyclopts import App

import sondino
from helpers.loudness import CARD
from helpers.skips import needs_posix
from helpers.tiny_bundle import write_tiny_bundle
from sondino import cli
from sondino.cli.app import list_skipped, show_table
from sondino.console import print_line
from sondino.encoder.head import Head
from sondino.model.bundle import copy_with_head
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


UNWRITTEN = "sondino: standard output cannot be written: {}\n"


def output(kind: str) -> dict[str, object]:
    """Standard output that is closed, or on a full disk."""
    if kind == "closed":
        return {"preexec_fn": lambda: os.close(1)}
    if not Path("/dev/full").exists():
        pytest.skip("another operating system: needs /dev/full")
    return {"preexec_fn": lambda: os.dup2(os.open("/dev/full", os.O_WRONLY), 1)}


@needs_posix
@pytest.mark.parametrize(("kind", "reason"), [("closed", "Bad file descriptor"), ("full", "No space left on device")])
@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize("words", [["students"], ["--version"], ["classify", "--help"]])
def test_output_that_cannot_be_written_is_a_message(kind: str, reason: str, unbuffered: str, words: list[str]) -> None:
    done = run(MAIN, *words, env={**os.environ, "PYTHONUNBUFFERED": unbuffered}, **output(kind))
    assert (done.returncode, done.stderr) == (2, UNWRITTEN.format(reason))


@needs_posix
@pytest.mark.parametrize("kind", ["closed", "full"])
def test_labels_and_streams_that_cannot_be_written_are_a_message(kind: str, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "x.wav", np.zeros(32000), 16000)
    head = Head("loudness", ("quiet", "loud"), False, ((np.eye(2, 3), np.zeros(2)),))
    model = ["--model", str(copy_with_head(write_tiny_bundle(tmp_path / "bare", **CARD), tmp_path / "model", head, {}))]
    reason = "Bad file descriptor" if kind == "closed" else "No space left on device"
    done = run(MAIN, "classify", str(tmp_path / "x.wav"), *model, "--quiet", **output(kind))
    assert (done.returncode, done.stderr) == (2, UNWRITTEN.format(reason))
    with (tmp_path / "x.wav").open("rb") as piped:
        done = run(MAIN, "embed", "-", *model, "--quiet", stdin=piped, **output(kind))
    assert (done.returncode, done.stderr) == (2, UNWRITTEN.format(reason))


@needs_posix
@pytest.mark.parametrize("closed", [(1,), (2,), (1, 2)])
def test_a_mistake_keeps_its_message_and_code_where_streams_are_closed(closed: tuple[int, ...]) -> None:
    done = run(MAIN, "check", "nothing", preexec_fn=lambda: [os.close(number) for number in closed])
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("" if 2 in closed else "sondino: unknown kind of teacher 'nothing'")


@needs_posix
def test_a_reader_that_goes_is_no_traceback() -> None:
    code = "import os; r, w = os.pipe(); os.dup2(w, 1); os.close(w); os.close(r); " + MAIN
    done = run(code, "students")
    assert (done.returncode, done.stderr) == (141, "")


@needs_posix
@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize("errors", ["/dev/full", "a pipe that nobody reads", "a full pipe that does not wait"])
@pytest.mark.parametrize(
    ("words", "made"), [(["embed", "--output", "x.npz"], "x.npz"), (["corpus", "--out", "c"], "c")]
)
def test_progress_that_cannot_be_written_does_not_end_the_work(
    words: list[str], made: str, errors: str, unbuffered: str, tmp_path: Path
) -> None:
    soundfile.write(tmp_path / "x.wav", np.random.default_rng(0).uniform(-0.1, 0.1, 16000), 16000)
    if errors == "/dev/full":
        if not Path(errors).exists():
            pytest.skip("another operating system: needs /dev/full")
        unwritable = os.open(errors, os.O_WRONLY)
    else:
        reader, unwritable = os.pipe()
        if errors == "a pipe that nobody reads":
            os.close(reader)
        else:
            os.set_blocking(unwritable, False)
            with suppress(BlockingIOError):
                while True:
                    os.write(unwritable, bytes(4096))
    given = [sys.executable, "-c", MAIN, words[0], "x.wav", *words[1:]]
    env = {**os.environ, "PYTHONUNBUFFERED": unbuffered}
    done = subprocess.run(given, stdout=subprocess.PIPE, stderr=unwritable, cwd=tmp_path, env=env, timeout=60)
    os.close(unwritable)
    assert (done.returncode, done.stdout.count(f"in {made}".encode())) == (0, 1) and (tmp_path / made).exists()


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


@needs_posix
def test_a_link_to_itself_is_a_message(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "x.wav").symlink_to("x.wav")
    model = ["--model", str(write_tiny_bundle(tmp_path / "bundle", **CARD)), "--output", str(tmp_path / "x.npz")]
    for words in (["embed", str(tmp_path / "x.wav"), *model], ["embed", str(tmp_path), *model]):
        with pytest.raises(SystemExit) as ended:
            cli.main(words)
        assert ended.value.code == 2
        assert "x.wav, which leads back to itself: mend or remove it" in capsys.readouterr().err
    with pytest.raises(SystemExit) as ended:
        cli.main(["models", str(tmp_path / "x.wav")])
    assert ended.value.code in (0, 2)  # Python 3.13 resolves it


def test_a_table_of_dates_is_a_message(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    dates, names = np.array(["2024-05-01", "2024-05-02"], "M8[D]"), np.array(["a", "b"])
    for ids, vectors, held in (
        (names, np.stack([dates] * 3, 1), "embeddings"),
        (dates, np.ones((2, 3)), "ids or times"),
    ):
        np.savez(tmp_path / "x.npz", ids=ids, vectors=vectors)
        with pytest.raises(SystemExit) as ended:
            cli.main(["similar", "a", "--in", str(tmp_path / "x.npz")])
        assert ended.value.code == 2
        assert f"x.npz has {held} of datetime64[D]: save ids as strings" in capsys.readouterr().err


def test_the_command_ends_with_the_functions_of_atexit() -> None:
    code = """
import atexit, sys
from sondino.__main__ import main
atexit.register(print, "after")
sys.argv = ["sondino", *sys.argv[1:]]
main()
"""
    for words, exit_code, shown in ((["--version"], 0, sondino.__version__), (["embed", "nowhere"], 2, "")):
        done = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True)
        assert done.returncode == exit_code
        assert done.stdout.split() == [*([shown] if shown else []), "after"]


@pytest.mark.parametrize("words", [["--help"], []])
def test_help_says_what_each_command_does(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        cli.main(words)
    told = capsys.readouterr().out
    for module, name in (command.split(":") for command in cli.COMMANDS):
        function = getattr(import_module(f"sondino.cli.{module}"), name)
        says = function.help if isinstance(function, App) else function.__doc__
        assert f"{name} {says.split()[0]}" in " ".join(told.replace("│", "").split())


def test_a_command_imports_the_modules_of_no_other(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "x.wav", np.zeros(8000), 16000)
    code = (
        "import sys, sondino.cli\n"
        "try: sondino.cli.main(sys.argv[1:])\n"
        "except SystemExit as ended: assert not ended.code\n"
        "print(*sys.modules)"
    )
    done = run(code, "embed", str(tmp_path / "x.wav"), "--output", str(tmp_path / "x.npz"), "--quiet")
    known = set(done.stdout.split())
    assert "sondino.cli.embedding" in known and "sondino.embedding.files" in known, done.stderr
    assert {name for name in known if name.startswith("sondino.cli.")} <= {
        "sondino.cli.embedding", "sondino.cli.app", "sondino.cli.defaults", "sondino.cli.spreading"
    }  # fmt: skip
    assert not known & {"sondino.embedding.lines", "sondino.embedding.parts", "sondino.hub.push", "rich", "http.client"}
