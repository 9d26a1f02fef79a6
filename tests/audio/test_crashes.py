"""A file that ends the process which decodes it is skipped by name in the next run, and only such a file."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest
import soundfile

from helpers.skips import needs_posix
from helpers.sounds import sine
from sondino import audio
from sondino.audio import crashes
from sondino.audio.crashes import crash_marks
from sondino.errors import AudioError

KILLED_WHILE_DECODING = """
import os, signal, sys
from pathlib import Path
from sondino import audio
from sondino.audio.crashes import crash_marks
folder = Path(sys.argv[1])
with crash_marks(folder):
    for name in ("a.wav", "b.wav"):
        for block in audio.stream(folder / name, 16000):
            if name == "b.wav":
                os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture
def ended_run(tmp_path) -> Path:
    """The folder of a run that was ended while it decoded b.wav."""
    for name in ("a.wav", "b.wav"):
        soundfile.write(tmp_path / name, sine(16000, 0.5), 16000)
    done = subprocess.run([sys.executable, "-c", KILLED_WHILE_DECODING, str(tmp_path)])
    assert done.returncode == -signal.SIGKILL
    return tmp_path


def test_a_file_that_ends_the_process_is_skipped_by_name(ended_run, monkeypatch):
    monkeypatch.setattr(crashes, "CHECK", "import os; os.abort()")
    for _ in range(2):  # the second run has its name from the first
        with crash_marks(ended_run):
            assert len(audio.read(ended_run / "a.wav", 16000)) == 8000
            with pytest.raises(AudioError, match=r"b\.wav: is skipped, since decoding it ended the process"):
                audio.read(ended_run / "b.wav", 16000)
        monkeypatch.setattr(crashes, "CHECK", "raise SystemExit(0)")
    assert len(audio.read(ended_run / "b.wav", 16000)) == 8000  # outside of the run


def test_a_good_file_that_was_open_when_the_run_was_killed_is_read(ended_run):
    with crash_marks(ended_run):
        assert len(audio.read(ended_run / "b.wav", 16000)) == 8000
        assert (ended_run / ".decoding").exists()
    assert sorted(file.name for file in ended_run.iterdir()) == ["a.wav", "b.wav"]


def test_a_damaged_file_ends_no_process(tmp_path):
    (tmp_path / "text.wav").write_text("no sound")
    assert not crashes.ends_process(str(tmp_path / "text.wav"))


def test_more_files_than_slots_are_read(tmp_path, monkeypatch):
    monkeypatch.setattr(crashes, "SLOTS", 1)
    soundfile.write(tmp_path / "a.wav", sine(16000, 0.5), 16000)
    with crash_marks(tmp_path, "out"), crashes.marked("other"):
        assert (tmp_path / ".out.decoding").exists()
        assert len(audio.read(tmp_path / "a.wav", 16000)) == 8000


@needs_posix
def test_where_a_mark_cannot_be_written_the_file_is_read(tmp_path):
    """As on a full disk: here no file may be longer than the limit, and marks lie behind it."""
    soundfile.write(tmp_path / "a.wav", sine(16000, 0.5), 16000)
    code = (
        "import resource, sys\n"
        "from pathlib import Path\n"
        "from sondino import audio\n"
        "from sondino.audio.crashes import crash_marks\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))\n"
        "with crash_marks(Path(sys.argv[1])):\n"
        "    print(len(audio.read(sys.argv[1] + '/a.wav', 16000)))\n"
    )
    run = [sys.executable, "-c", code, str(tmp_path)]
    assert subprocess.run(run, capture_output=True, text=True, check=True).stdout == "8000\n"
