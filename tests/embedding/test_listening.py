"""Detections of a stream: standard input, a recorder, an address."""

import io
import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
import soundfile

import sondino
from helpers.loudness import CARD, RATE
from helpers.skips import needs_posix
from sondino.embedding import listening
from sondino.embedding.detect import detect_files
from sondino.embedding.detections import Detection, Recording
from sondino.embedding.listening import detect_stream, recorder
from sondino.encoder.head import Head
from sondino.errors import AudioError, OptionError
from sondino.model.bundle import copy_with_head

WEIGHT = np.array([[0, 0, 20.0], [0, 0, 0]])
HEAD = Head("levels", ("loud", "never"), True, ((WEIGHT, np.array([-10, -99.0])),))


@pytest.fixture
def bundle(tmp_path: Path, make_tiny_bundle: Callable[..., Path]) -> Path:
    return copy_with_head(make_tiny_bundle("bare", **CARD), tmp_path / "bundle", HEAD, {})


def samples() -> np.ndarray:
    """Seconds of the levels 0.1, 0.9, 0.1 and 0.9, as 16-bit integers."""
    return np.concatenate([np.full(RATE, round(level * 32768)) for level in (0.1, 0.9, 0.1, 0.9)]).astype("<i2")


def wav() -> bytes:
    file = io.BytesIO()
    soundfile.write(file, samples(), RATE, format="WAV", subtype="PCM_16")
    return file.getvalue()


def test_a_streams_detections_are_those_of_a_file(bundle: Path, tmp_path: Path) -> None:
    model, recordings = sondino.load(bundle), list[Recording]()
    (tmp_path / "x.wav").write_bytes(wav())
    detect_files(tmp_path / "x.wav", model, show=recordings.append)
    before = datetime.now(UTC)
    heard = list(detect_stream(model, io.BytesIO(wav())))
    assert tuple(h.detection for h in heard) == recordings[0].detections
    assert [(h.detection.start, h.detection.end, h.detection.label) for h in heard] == [(1, 2, "loud"), (3, 4, "loud")]
    # It had all arrived at once; a window began a second before its last sample came.
    for one in heard:
        assert timedelta(0) <= one.time + timedelta(seconds=1) - before < timedelta(seconds=30)
    raw = detect_stream(model, io.BytesIO(samples().tobytes()), RATE, hop=0.5, min_confidence=0.9)
    assert [h.detection.start for h in raw] == [0.5, 1, 1.5, 2.5, 3]


def test_a_line_is_json_in_utc() -> None:
    time = datetime(2026, 5, 1, 23, 59, 59, 500_000, tzinfo=UTC)
    line = listening.as_line(listening.StreamDetection(Detection(1.5, 2.5, "a\nb", 0.123456789), time))
    assert json.loads(line) == {
        "time": "2026-05-01T23:59:59.500Z",
        "start": 1.5,
        "end": 2.5,
        "label": "a\\x0ab",
        "probability": 0.123457,
        "unlike": None,
    }


def run(bundle: Path, *arguments: object, of: str = "listen", piped: bytes | None = None, **environment: str):
    command = [sys.executable, "-m", "sondino", of, *map(str, arguments), "--model", str(bundle)]
    given: dict = {"stdin": subprocess.DEVNULL} if piped is None else {"input": piped}
    return subprocess.run(command, capture_output=True, env=os.environ | environment, check=False, **given)


def test_the_command_prints_a_line_a_detection(bundle: Path) -> None:
    for command in ("listen", "classify"):
        done = run(bundle, "-", of=command, piped=wav())
        assert done.returncode == 0 and re.fullmatch(rb"sondino: 2 detections in \d\.\d s of sound\n", done.stderr)
        lines = [json.loads(line) for line in done.stdout.splitlines()]
        assert [(line["start"], line["end"], line["label"]) for line in lines] == [(1, 2, "loud"), (3, 4, "loud")]


def test_the_summary_can_be_left_out(bundle: Path) -> None:
    assert run(bundle, "-", "--quiet", piped=wav()).stderr == b""


@needs_posix
def test_a_microphone_is_recorded_by_a_program_of_the_system(bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "sound").write_bytes(samples().tobytes())
    program = tmp_path / "bin" / "arecord"
    program.parent.mkdir()
    here = shlex.quote(str(tmp_path))
    program.write_text(f'#!/bin/sh\necho "$@" > {here}/asked\ncat {here}/sound\n')
    program.chmod(0o755)
    path = f"{program.parent}{os.pathsep}{os.environ['PATH']}"
    done = run(bundle, PATH=path)
    assert done.returncode == 0, done.stderr
    assert [json.loads(line)["start"] for line in done.stdout.splitlines()] == [1, 3]
    assert (tmp_path / "asked").read_text().split() == ["-q", "-t", "raw", "-f", "S16_LE", "-c", "1", "-r", str(RATE)]
    program.write_text("#!/bin/sh\necho warning >&2\necho no sound card found >&2\nexit 1\n")
    done = run(bundle, PATH=path)
    assert (done.returncode, done.stdout) == (2, b"")
    assert done.stderr.decode() == "sondino: arecord ended with an error: no sound card found\n"
    # It says much, and fails in the middle: what was found until then stays, and the error is named.
    program.write_text(f"#!/bin/sh\ncat {here}/sound\nhead -c 300000 /dev/zero >&2\necho gone >&2\nexit 1\n")
    done = run(bundle, PATH=path)
    assert [json.loads(line)["start"] for line in done.stdout.splitlines()] == [1, 3]
    assert done.returncode == 2 and done.stderr.decode().endswith("gone\n")


def test_the_program_that_records_is_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    installed: set[str] = set()
    monkeypatch.setattr("shutil.which", lambda name: name if name in installed else None)
    monkeypatch.setattr("sys.platform", "linux")
    with pytest.raises(OptionError, match="install arecord or rec or ffmpeg, or pipe WAV in"):
        recorder(None, 32000)
    with pytest.raises(OptionError, match="rtsp://camera/1 is opened by ffmpeg, which is not installed"):
        recorder("rtsp://camera/1", 32000)
    installed.add("ffmpeg")
    assert recorder(None, 32000)[:6] == ["ffmpeg", "-nostdin", "-loglevel", "error", "-f", "pulse"]
    command = recorder("rtsp://camera/1", 16000)
    assert (
        command[command.index("-rtsp_transport") + 1] == "tcp" and command[command.index("-i") + 1] == "rtsp://camera/1"
    )
    assert command[-6:] == ["1", "-ar", "16000", "-f", "s16le", "-"]
    assert "-rtsp_transport" not in recorder("http://radio/stream", 16000)
    installed.add("rec")
    assert recorder(None, 32000)[0] == "rec"


def test_mistakes_get_one_message(bundle: Path, make_tiny_bundle: Callable[..., Path]) -> None:
    for options, message in (
        (["dog.wav"], "dog.wav is no stream: give - or an address; sondino classify dog.wav classifies a file"),
        (["--rate", "16000"], "--rate, --sample-format and --channels are for raw samples on standard input"),
        (["-", "--top", "0"], "top is 0"),
        (["--tpo"], "there is no option --tpo: sondino listen --help lists them"),
    ):
        done = run(bundle, *options, piped=b"")
        assert done.returncode == 2 and message in done.stderr.decode() and done.stderr.count(b"\n") == 1
    with pytest.raises(AudioError):
        list(detect_stream(sondino.load(bundle), io.BytesIO(b"")))
    with pytest.raises(OptionError, match="takes audio of any length"):
        list(detect_stream(sondino.load(make_tiny_bundle("any", window=None)).with_head(HEAD), io.BytesIO(wav())))
