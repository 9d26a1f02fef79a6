"""`--output -`: rows on standard output as they come, everything else on standard error."""

import csv
import io
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

from helpers.loudness import CARD, RATE
from sondino import cli
from sondino.encoder.head import Head
from sondino.model.bundle import copy_with_head

HEAD = Head("levels", ("loud",), True, ((np.array([[0, 0, 20.0]]), np.array([-10.0])),))


@pytest.fixture
def bundle(tmp_path: Path, make_tiny_bundle: Callable[..., Path]) -> Path:
    return copy_with_head(make_tiny_bundle("bare", **CARD), tmp_path / "bundle", HEAD, {})


@pytest.fixture
def sounds(tmp_path: Path) -> Path:
    """a.wav, two loud seconds; é.wav, a quiet one; broken.wav."""
    (tmp_path / "sounds").mkdir()
    soundfile.write(tmp_path / "sounds" / "a.wav", np.full(2 * RATE, 0.9), RATE, subtype="FLOAT")
    soundfile.write(tmp_path / "sounds" / "\u00e9.wav", np.full(RATE, 0.1), RATE, subtype="FLOAT")
    (tmp_path / "sounds" / "broken.wav").write_text("no sound")
    return tmp_path / "sounds"


def call(*arguments: object) -> int:
    with pytest.raises(SystemExit) as left:
        cli.main([str(argument) for argument in arguments])
    return int(left.value.code or 0)


@pytest.mark.parametrize("windows", [False, True])
def test_embeddings_are_those_of_the_table(
    windows: bool, bundle: Path, sounds: Path, tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    command = ["embed", sounds, "--model", bundle, *(["--per-window"] if windows else []), "--output"]
    assert call(*command, tmp_path / "t.csv", "--quiet") == 1
    capfdbinary.readouterr()
    assert call(*command, "-") == 1
    shown = capfdbinary.readouterr()
    assert shown.out == (tmp_path / "t.csv").read_bytes()
    assert b"2 files, 3 s of audio\n" in shown.err and b"broken.wav: not a sound" in shown.err
    assert call(*command, "-", "--format", "jsonl", "--quiet") == 1
    shown = capfdbinary.readouterr()
    lines = [json.loads(line) for line in shown.out.decode().splitlines()]
    assert [line["id"] for line in lines] == ["a.wav"] * (2 if windows else 1) + ["\u00e9.wav"]
    assert [line.get("start") for line in lines] == ([0, 1, 0] if windows else [None, None])
    assert lines[0]["vector"] == pytest.approx([0.9, 0.81, 0.9], abs=1e-4)
    assert b"files," not in shown.err and b"broken.wav" in shown.err  # --quiet leaves out the summary, not the faults
    assert not list(tmp_path.rglob("-*"))


def test_detections_and_labels_are_those_of_the_table(
    bundle: Path, sounds: Path, tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    for options in ([], ["--per-clip"]):
        for form in ("csv", "jsonl"):
            command = ["classify", sounds, "--model", bundle, *options, "--output"]
            assert call(*command, tmp_path / f"t.{form}", "--quiet") == 1
            capfdbinary.readouterr()
            assert call(*command, "-", *(["--format", form] if form == "jsonl" else [])) == 1
            shown = capfdbinary.readouterr()
            assert shown.out == (tmp_path / f"t.{form}").read_bytes() and shown.out
            assert b"2 files, 3 s of audio\n" in shown.err and b"broken.wav: not a sound" in shown.err


def test_a_stream_has_the_formats_too(bundle: Path, sounds: Path) -> None:
    wav = io.BytesIO()
    soundfile.write(wav, np.full(RATE, 0.5), RATE, format="WAV", subtype="PCM_16")
    command = [sys.executable, "-m", "sondino", "embed", "-", "--model", str(bundle), "--output", "-"]
    for form, options in (("jsonl", []), ("csv", ["--format", "csv"])):
        done = subprocess.run([*command, *options], input=wav.getvalue(), capture_output=True, check=True)
        text = done.stdout.decode()
        row = json.loads(text) if form == "jsonl" else next(csv.DictReader(io.StringIO(text)))
        assert float(row["start"]) == 0 and b"1 embeddings of 1.0 s" in done.stderr


def test_a_reader_that_goes_away_ends_it_silently(bundle: Path, sounds: Path) -> None:
    (sounds / "broken.wav").unlink()
    for number in range(40):  # 200 kB of lines, where a pipe holds 64: it cannot end before its reader has gone
        (sounds / f"{number}.wav").write_bytes((sounds / "a.wav").read_bytes())
    command = [
        sys.executable,
        "-m",
        "sondino",
        "embed",
        str(sounds),
        "--model",
        str(bundle),
        "--per-window",
        "--hop",
        "0.01",
        "--output",
        "-",
        "--quiet",
    ]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as running:
        assert running.stdout is not None and running.stderr is not None
        assert running.stdout.readline() == b"id,start,v0,v1,v2\n"
        running.stdout.close()
        shown = running.stderr.read()
    assert (running.returncode, shown) == (141, b"")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["embed"], "none of the 1 files could be decoded"),
        (["classify"], "none of the 1 files could be decoded"),
        (["classify", "--per-clip"], "none of the 1 files could be decoded"),
        (["classify", "--min-confidence", 2], "min confidence is 2"),
        (["classify", "--max-unlike", 0.5], "has no score of what is unlike its clips"),
        (["classify", "--per-clip", "--top", 0], "top is 0"),
    ],
)
def test_nothing_is_printed_before_a_refusal(
    options: list[object], message: str, bundle: Path, sounds: Path, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    assert call(options[0], sounds / "broken.wav", "--model", bundle, *options[1:], "--output", "-") == 2
    shown = capfdbinary.readouterr()
    assert shown.out == b"" and message.encode() in shown.err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["embed", "--output", "t.npz", "--format", "csv"], "--format is of standard output"),
        (["embed", "--output", "-", "--append"], "--append is for a table, and --output - is standard output"),
        (["embed", "--output", "--quiet"], "there is no option --quiet"),
        (["classify", "--output", "-", "--format", "raven"], "--format raven needs a file or a folder"),
        (["classify", "--output", "-", "--append"], "--append needs a file or a folder"),
        (["classify", "--output", "-", "--skip-existing"], "--skip-existing needs a file or a folder"),
    ],
)
def test_a_mistake_gets_one_message(
    arguments: list[str], message: str, bundle: Path, sounds: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(arguments[0], sounds, "--model", bundle, *arguments[1:]) == 2
    shown = capsys.readouterr()
    assert message in shown.err and shown.out == ""
