"""A folder of ours that is written anew: whole or as it was, whatever happens on the way."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from sondino.errors import OptionError, RunError
from sondino.files import replacing


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
        if self.name.endswith(".partial"):
            raise OSError(5, "Input/output error")
        return rename(self, target)

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
        time.sleep(60)

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
        assert process.wait(30) == code
        assert "Traceback" not in process.stderr.read()
    assert what_is_there(folder) == {"out/mark": "old", "out.partial/diary": "mine"}
    assert sorted(path.name for path in folder.parent.iterdir()) == ["out", "out.partial"]
