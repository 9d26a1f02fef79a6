"""A folder of ours that is written anew: whole or as it was, whatever happens on the way."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from helpers.skips import needs_posix
from sondino import files
from sondino.errors import OptionError, RunError
from sondino.files import new_file, replacing, write_whole
from sondino.locks import remove_leftovers, restore, unfinished_name


def is_ours(folder: Path) -> bool:
    return (folder / "mark").exists()


def write(folder: Path, text: str) -> None:
    with replacing(folder, is_ours, "thing") as partial:
        (partial / "mark").write_text(text)
        if text == "full":
            raise OSError(28, "No space left on device")
        if text == "wrong":
            raise ValueError("wrong")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A whole one, beside a folder of somebody's own that is called like half of one."""
    (tmp_path / "out.partial").mkdir()
    (tmp_path / "out.partial" / "diary").write_text("mine")
    write(tmp_path / "out", "old")
    return tmp_path / "out"


def what_is_there(folder: Path) -> dict[str, str]:
    return {
        str(file.relative_to(folder.parent)): file.read_text() for file in folder.parent.rglob("*") if file.is_file()
    }


def test_it_takes_the_place_of_an_older_one_once_it_is_whole(folder: Path) -> None:
    (folder / "more").write_text("")
    write(folder, "new")
    assert what_is_there(folder) == {"out/mark": "new", "out.partial/diary": "mine"}
    write(folder.parent / "a" / "b", "deep")
    assert (folder.parent / "a" / "b" / "mark").read_text() == "deep"


@pytest.mark.parametrize(("text", "error"), [("full", RunError), ("wrong", ValueError)])
def test_what_fails_leaves_the_older_one(folder: Path, text: str, error: type[Exception]) -> None:
    with pytest.raises(error):
        write(folder, text)
    assert what_is_there(folder) == {"out/mark": "old", "out.partial/diary": "mine"}
    assert sorted(path.name for path in folder.parent.iterdir()) == ["out", "out.partial"]


def test_where_the_new_one_cannot_be_put_the_older_one_is_put_back(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rename = Path.replace

    def refused(self: Path, target: Path) -> Path:
        if self.name == "new":
            raise OSError(5, "Input/output error")
        return rename(self, target)

    monkeypatch.setattr(files, "_exchange", lambda one, other: False)
    monkeypatch.setattr(Path, "replace", refused)
    with pytest.raises(RunError, match=r"out could not be written \(Input/output error\)"):
        write(folder, "new")
    assert what_is_there(folder) == {"out/mark": "old", "out.partial/diary": "mine"}


def test_what_is_not_ours_is_left_alone(folder: Path) -> None:
    with pytest.raises(OptionError, match="exists and is no thing"):
        write(folder.with_name("out.partial"), "new")
    assert what_is_there(folder) == {"out/mark": "old", "out.partial/diary": "mine"}


STOPPED = """
import sys, time
from pathlib import Path
from sondino import cli
from sondino.files import replacing

def is_ours(folder):
    return (folder / "mark").exists()

@cli.app.command
def wait(folder: Path) -> None:
    with replacing(folder, is_ours, "thing") as partial:
        (partial / "mark").write_text("half")
        print("half of it is written", flush=True)
        time.sleep(600)

cli.main(["wait", sys.argv[1]])
"""


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_command_that_is_stopped_leaves_no_half(folder: Path, number: signal.Signals, code: int) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", STOPPED, str(folder)],
        cwd=Path(__file__).parent,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # What runs the tests in the background may have Ctrl-C ignored, and a child would inherit that.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    ) as process:
        assert process.stdout is not None and process.stderr is not None
        assert process.stdout.readline() == "half of it is written\n"
        process.send_signal(number)
        assert process.wait(60) == code
        assert "Traceback" not in process.stderr.read()
    assert what_is_there(folder) == {"out/mark": "old", "out.partial/diary": "mine"}
    assert sorted(path.name for path in folder.parent.iterdir()) == ["out", "out.partial"]


KILLED = """
import os, signal, sys
from pathlib import Path
from sondino import files

folder, when = Path(sys.argv[1]), sys.argv[2]
rename = Path.replace

def replace(self, target):
    rename(self, target)
    if target.name == "old":
        os.kill(os.getpid(), signal.SIGKILL)

if when == "between":
    files._exchange, Path.replace = lambda one, other: False, replace
if when == "in a file":
    with files.new_file(folder) as opened:
        opened.write(b"half")
        opened.flush()
        os.kill(os.getpid(), signal.SIGKILL)
with files.replacing(folder, lambda folder: True, "thing") as new:
    (new / "mark").write_text("new")
    if when == "in a folder":
        os.kill(os.getpid(), signal.SIGKILL)
os.kill(os.getpid(), signal.SIGKILL)
"""


def kill(path: Path, when: str) -> None:
    run = subprocess.run([sys.executable, "-c", KILLED, str(path), when], capture_output=True, text=True)
    assert run.returncode == -signal.SIGKILL, run.stderr


def in_folder(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@needs_posix
@pytest.mark.parametrize("when", ["in a folder", "at the end"])
def test_a_kill_leaves_the_older_one_or_the_new_one(folder: Path, when: str) -> None:
    kill(folder, when)
    assert (folder / "mark").read_text() == ("old" if when == "in a folder" else "new")


@needs_posix
def test_a_folder_whose_replacement_was_killed_between_its_renames_is_put_back(folder: Path) -> None:
    kill(folder, "between")
    assert not folder.exists()
    restore(folder)
    assert what_is_there(folder) == {"out/mark": "old", "out.partial/diary": "mine"}
    kill(folder, "between")
    write(folder, "newer")  # and the next writer takes it for what it was, an older one
    assert what_is_there(folder) == {"out/mark": "newer", "out.partial/diary": "mine"}
    assert in_folder(folder.parent) == ["out", "out.partial"]


@needs_posix
def test_what_killed_processes_left_goes_with_the_next_write_beside_it(
    folder: Path, tmp_path: Path, monkeypatch
) -> None:
    kill(folder, "in a folder")
    half = unfinished_name(tmp_path / "table.csv").name
    assert in_folder(tmp_path) == [unfinished_name(folder).name, "out", "out.partial"]
    kill(tmp_path / "table.csv", "in a file")
    assert in_folder(tmp_path) == [half, "out", "out.partial"]
    monkeypatch.setattr("sondino.locks._cleared", set())
    with new_file(tmp_path / "busy.csv") as busy:  # what another writes now stays
        monkeypatch.setattr("sondino.locks._cleared", set())
        write_whole(tmp_path / "table.csv", b"whole")
        assert in_folder(tmp_path) == [unfinished_name(Path("busy.csv")).name, "out", "out.partial", "table.csv"]
        busy.write(b"whole")
    assert in_folder(tmp_path) == ["busy.csv", "out", "out.partial", "table.csv"]


@needs_posix
def test_a_folder_that_is_being_replaced_is_no_leftover(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with replacing(folder, is_ours, "thing") as new:
        (new / "mark").write_text("new")
        monkeypatch.setattr("sondino.locks._cleared", set())
        remove_leftovers(folder.parent)
        with pytest.raises(RunError, match=r"another process is writing .*out: wait"):
            write(folder, "other")
    assert what_is_there(folder) == {"out/mark": "new", "out.partial/diary": "mine"}


def test_one_process_writes_an_output_at_a_time(tmp_path: Path) -> None:
    with new_file(tmp_path / "table.csv", alone=True) as first:
        first.write(b"first")
        busy = pytest.raises(RunError, match=r"another process is writing .*table.csv")
        with busy, new_file(tmp_path / "table.csv", alone=True) as second:
            second.write(b"second")
    assert (tmp_path / "table.csv").read_bytes() == b"first"
    with pytest.raises(ValueError, match="wrong"), new_file(tmp_path / "table.csv") as third:
        third.write(b"third")
        raise ValueError("wrong")
    assert (tmp_path / "table.csv").read_bytes() == b"first" and in_folder(tmp_path) == ["table.csv"]
