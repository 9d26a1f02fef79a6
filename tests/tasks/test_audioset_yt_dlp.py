"""The download of AudioSet's clips by yt-dlp itself and ffmpeg, from a server on this machine."""

import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile

from helpers.skips import needs_posix
from helpers.stores import web_server
from sondino.tasks.audioset.fetch import by_yt_dlp, fetch_clips, read_gone
from sondino.tasks.audioset.metadata import read_metadata

pytestmark = pytest.mark.full

RATE = 16_000
WANTED = (
    'abcdefghijk, 3.000, 5.000, "/m/dog"\nshort456789, 3.000, 5.000, "/m/dog"\ngone4567890, 0.000, 2.000, "/m/dog"\n'
)
COMMAND = """
import sys
from sondino.__main__ import main
from sondino.tasks.audioset import fetch
real, server = fetch.by_yt_dlp(), sys.argv.pop(1)
def download(url, *rest):
    return real(f"{server}{url.partition('=')[2]}.wav", *rest)
fetch.by_yt_dlp = lambda: download
main()
"""


def steps(seconds: int) -> np.ndarray:
    """A tone of 300 Hz in the first second, 400 Hz in the next, and so on."""
    time = np.arange(seconds * RATE) / RATE
    return 0.5 * np.sin(2 * np.pi * (300 + 100 * np.floor(time)) * time)


@pytest.fixture
def videos(tmp_path: Path) -> Iterator[SimpleNamespace]:
    """A web server with ranges: its address, what it was asked, and a gate for what is held."""
    pytest.importorskip("yt_dlp", reason="the audioset extra is not installed")
    if shutil.which("ffmpeg") is None:
        pytest.skip("ffmpeg is not installed")
    folder = tmp_path / "videos"
    folder.mkdir()
    soundfile.write(folder / "abcdefghijk.wav", steps(8), RATE)
    soundfile.write(folder / "short456789.wav", steps(4), RATE)
    names: list[str] = []
    held, reached, gate = set[str](), threading.Event(), threading.Event()

    def asked(path: str, span: str) -> None:
        names.append(path[1:12])
        if span and path[1:12] in held:  # ffmpeg asks for ranges, yt-dlp first looks without one
            reached.set()
            gate.wait(60)

    with web_server(folder, asked=asked) as (url, _):
        yield SimpleNamespace(url=f"{url}/", asked=names, held=held, reached=reached, gate=gate)
        gate.set()


def test_a_clip_is_the_stretch_that_was_asked_for(
    tmp_path: Path, videos: SimpleNamespace, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "wanted.csv").write_text(WANTED)
    segments, out, real = read_metadata(tmp_path / "wanted.csv").segments, tmp_path / "out", by_yt_dlp()

    def download(url: str, start: float, end: float, folder: Path) -> Path:
        return real(f"{videos.url}{url.partition('=')[2]}.wav", start, end, folder)

    report = fetch_clips(segments, out, True, RATE, 0.0, download=download)
    assert (report.new, report.there, report.gone, report.stopped) == (1, 0, 1, "")
    assert report.failed == [("short456789", "1.00 s came of 2 s")]
    assert "HTTP Error 404" in read_gone(out / "gone.csv")["gone4567890"][0]
    found, rate = soundfile.read(out / "wanted/a/abcdefghijk_3.000_5.000.flac")
    assert (rate, len(found)) == (RATE, 2 * RATE)
    peaks = [int(np.argmax(np.abs(np.fft.rfft(second)))) for second in found.reshape(2, RATE)]
    assert peaks == [600, 700]  # the fourth second and the fifth
    assert capfd.readouterr() == ("", "")  # reasons are ours to print
    videos.asked.clear()
    report = fetch_clips(segments, out, True, RATE, 0.0, download=download)
    assert (report.there, report.gone) == (1, 1) and set(videos.asked) == {"short456789"}


@needs_posix
def test_ctrl_c_in_a_download_leaves_nothing_and_the_same_command_resumes(
    tmp_path: Path, videos: SimpleNamespace
) -> None:
    soundfile.write(tmp_path / "videos/heldheld_11.wav", steps(8), RATE)
    (tmp_path / "wanted.csv").write_text(WANTED.partition("\n")[0] + '\nheldheld_11, 1.000, 2.000, "/m/dog"\n')
    (tmp_path / "temporary").mkdir()
    command = [sys.executable, "-c", COMMAND, videos.url, "audioset", "fetch", str(tmp_path / "wanted.csv"),
               "--out", str(tmp_path / "out"), "--i-have-the-rights", "--pause", "0", "--quiet"]  # fmt: skip
    options = {"env": os.environ | {"TMPDIR": str(tmp_path / "temporary")}, "stderr": subprocess.PIPE, "text": True}
    videos.held.add("heldheld_11")
    # Whoever runs the tests in the background may have Ctrl-C ignored, which every process below it inherits.
    heard = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
    process = subprocess.Popen(command, **options, start_new_session=True, preexec_fn=heard)
    try:
        assert videos.reached.wait(60)
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to ffmpeg too
        _, said = process.communicate(timeout=60)
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    assert process.returncode == 130 and "Traceback" not in said, said
    assert [file.name for file in (tmp_path / "out").rglob("*.flac")] == ["abcdefghijk_3.000_5.000.flac"]
    assert list((tmp_path / "temporary").iterdir()) == []
    assert not (tmp_path / "out/gone.csv").exists()
    videos.gate.set()
    videos.asked.clear()
    done = subprocess.run(command, **options, stdout=subprocess.PIPE, check=True)
    assert "1 clips fetched, 1 were there, 0 are gone, 0 failed" in done.stdout
    assert set(videos.asked) == {"heldheld_11"}
