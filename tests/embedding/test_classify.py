"""Labels with probabilities for clips: tables, JSON lines, and the command with --per-clip."""

import csv
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

import sondino
from helpers.loudness import CARD, RATE
from helpers.skips import needs_linux
from sondino import cli
from sondino.embedding.classify import ClipPrediction, classify_files
from sondino.encoder.head import Head
from sondino.errors import OptionError, SondinoError
from sondino.model.bundle import copy_with_head

# On the tiny model's embeddings (mean, mean square, peak): the louder, the likelier is "loud".
WEIGHT = np.array([[0, 0, -10.0], [0, 0, 10], [0, 0, 0]])
LOUD = Head("loudness", ("quiet", "loud", "never"), False, ((WEIGHT, np.array([4, -4, -99.0])),))


COMMAND = ("classify", "--per-clip")


def expected(peaks: float) -> np.ndarray:
    """The probabilities of an embedding whose mean peak is given."""
    powers = np.exp([4 - 10 * peaks, 10 * peaks - 4, -99])
    return powers / powers.sum()


@pytest.fixture
def bundle(tmp_path: Path, make_tiny_bundle: Callable[..., Path]) -> Path:
    return copy_with_head(make_tiny_bundle("bare", **CARD), tmp_path / "bundle", LOUD, {})


@pytest.fixture
def sounds(tmp_path: Path) -> Path:
    """quiet.wav of 1 s; deep/both.wav of 2.5 s: a quiet second, a loud one, and half a quiet one."""
    (tmp_path / "sounds" / "deep").mkdir(parents=True)
    level = np.concatenate([np.full(RATE, 0.1), np.full(RATE, 0.9), np.full(RATE // 2, 0.1)]).astype(np.float32)
    soundfile.write(tmp_path / "sounds" / "deep" / "both.wav", level, RATE, subtype="FLOAT")
    soundfile.write(tmp_path / "sounds" / "quiet.wav", level[:RATE], RATE, subtype="FLOAT")
    return tmp_path / "sounds"


def call(*arguments: object) -> int:
    with pytest.raises(SystemExit) as left:
        cli.main([str(argument) for argument in arguments])
    return int(left.value.code or 0)


def test_a_clips_labels_are_those_of_its_merged_vector(bundle: Path, sounds: Path) -> None:
    predictions: list[ClipPrediction] = []
    report = classify_files(sounds, sondino.load(bundle), show=predictions.append)
    assert (report.files, report.seconds, report.kept, report.skipped) == (2, 3.5, 0, [])
    both, quiet = predictions
    assert (both.path, both.seconds, quiet.path) == ("deep/both.wav", 2.5, "quiet.wav")
    # The mean of the windows' peaks by their real sound, not the mean of their probabilities.
    merged = (1.0 * 0.1 + 1.0 * 0.9 + 0.5 * 0.1) / 2.5
    assert [label for label, _ in both.labels] == ["loud", "quiet", "never"]
    assert dict(both.labels)["loud"] == pytest.approx(expected(merged)[1], abs=1e-5)
    # As the model itself gives.
    assert [p for _, p in both.labels] == pytest.approx(sorted(sondino.load(bundle).classify(str(sounds))[0])[::-1])


def test_the_table_has_a_row_for_each_label_of_each_clip(bundle: Path, sounds: Path, tmp_path: Path) -> None:
    assert call(*COMMAND, sounds, "--model", bundle, "--output", tmp_path / "o.csv", "--top", 2) == 0
    with (tmp_path / "o.csv").open(newline="") as opened:
        rows = list(csv.DictReader(opened))
    assert list(rows[0]) == ["path", "seconds", "rank", "label", "probability", "unlike"]
    assert [(row["path"], row["seconds"], row["rank"], row["label"]) for row in rows] == [
        ("deep/both.wav", "2.5", "1", "loud"),
        ("deep/both.wav", "2.5", "2", "quiet"),
        ("quiet.wav", "1", "1", "quiet"),
        ("quiet.wav", "1", "2", "loud"),
    ]
    assert float(rows[2]["probability"]) == pytest.approx(expected(0.1)[0], abs=1e-5)
    assert not list(tmp_path.glob("*.new"))


def test_json_lines_have_an_object_a_clip(bundle: Path, sounds: Path, tmp_path: Path) -> None:
    classify_files(sounds, sondino.load(bundle), tmp_path / "o.jsonl", top=1)
    both, quiet = [json.loads(line) for line in (tmp_path / "o.jsonl").read_text().splitlines()]
    assert (both["path"], both["seconds"]) == ("deep/both.wav", 2.5)
    assert [label["label"] for label in both["labels"]] == ["loud"]
    assert quiet["labels"][0]["probability"] == pytest.approx(expected(0.1)[0], abs=1e-5)


def test_without_an_output_it_is_printed(bundle: Path, sounds: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(*COMMAND, sounds, "--model", bundle, "--top", 1, "--quiet") == 0
    both, quiet = capsys.readouterr().out.splitlines()
    assert both.startswith("deep/both.wav  loud ") and quiet.startswith("quiet.wav  quiet ")


def test_several_labels_have_probabilities_of_their_own(
    tmp_path: Path, sounds: Path, make_tiny_bundle: Callable[..., Path]
) -> None:
    both = Head("both", ("there", "here"), True, ((np.array([[0, 0, 0.0], [0, 0, 0]]), np.array([2.0, 3.0])),))
    predictions: list[ClipPrediction] = []
    classify_files(sounds, sondino.load(make_tiny_bundle()).with_head(both), show=predictions.append)
    assert predictions[0].labels == [
        ("here", pytest.approx(1 / (1 + np.exp(-3)))),
        ("there", pytest.approx(1 / (1 + np.exp(-2)))),
    ]


def test_the_published_policy_embeds_full_windows_only(bundle: Path, sounds: Path) -> None:
    predictions: list[ClipPrediction] = []
    classify_files(sounds / "deep", sondino.load(bundle, window_policy="published"), show=predictions.append)
    assert dict(predictions[0].labels)["loud"] == pytest.approx(expected((0.1 + 0.9) / 2)[1], abs=1e-5)


def test_a_head_can_be_named(sounds: Path, bundle: Path, make_tiny_bundle: Callable[..., Path], tmp_path: Path) -> None:
    bare = make_tiny_bundle("other")
    assert call(*COMMAND, sounds, "--model", bare, "--head", bundle, "--output", tmp_path / "o.csv", "--quiet") == 0
    assert "loud" in (tmp_path / "o.csv").read_text()
    wide = Head("wide", ("a", "b"), False, ((np.zeros((2, 5)), np.zeros(2)),))
    with pytest.raises(OptionError, match="of 5 dimensions, and those of tiny have 3"):
        sondino.load(bare).with_head(wide)


def test_broken_files_are_listed_and_the_exit_code_is_1(
    bundle: Path, sounds: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (sounds / "broken.wav").write_text("no sound")
    assert call(*COMMAND, sounds, "--model", bundle, "--output", tmp_path / "o.csv", "--quiet") == 1
    shown = capsys.readouterr()
    assert "broken.wav" in shown.err and "2 files" in shown.out and "broken" not in (tmp_path / "o.csv").read_text()
    assert "broken.wav" in (tmp_path / "o.skipped.csv").read_text()
    assert call(*COMMAND, sounds / "quiet.wav", "--model", bundle, "--output", tmp_path / "o.csv", "--quiet") == 0
    assert not (tmp_path / "o.skipped.csv").exists()
    (tmp_path / "o.csv").write_text("of an earlier call")
    with pytest.raises(SondinoError, match=r"none of the 1 files could be decoded.*broken\.wav"):
        classify_files(sounds / "broken.wav", sondino.load(bundle), tmp_path / "o.csv")
    assert (tmp_path / "o.csv").read_text() == "of an earlier call" and not list(tmp_path.glob("*.new"))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--output", "o.txt"], "must end in .csv or .jsonl"),
        (["--output", "folder.csv"], "is a folder"),
        (["--top", "0"], "top is 0"),
        (["--head", "esc5"], "did you mean esc50"),
        (["--model", "bare"], "tiny has no head: fit one with"),
        (["--merge", "0"], "--merge is of detections, and --per-clip gives none"),
        (["--min-confidence", "0.5"], "--min-confidence is of detections, and --per-clip gives none"),
    ],
)
def test_a_mistake_gets_one_message(
    options: list[str],
    message: str,
    bundle: Path,
    sounds: Path,
    make_tiny_bundle: Callable[..., Path],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(bundle.parent)
    make_tiny_bundle("bare")
    Path("folder.csv").mkdir()
    model = [] if "--model" in options else ["--model", bundle]
    assert call(*COMMAND, sounds, *model, *options) == 2
    error = capsys.readouterr().err
    assert message in error and "Traceback" not in error and error.startswith("sondino: ")


@needs_linux  # other systems' file systems have UTF-8 names only
def test_a_file_whose_name_is_not_utf8_keeps_it(
    bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    name = b"\xff.wav".decode(errors="surrogateescape")
    soundfile.write(tmp_path / "x.wav", np.full(RATE, 0.1), RATE)
    (tmp_path / "x.wav").rename(tmp_path / name)
    for output in ("o.csv", "o.jsonl"):
        classify_files(tmp_path / name, sondino.load(bundle), tmp_path / output)
        assert "\\udcff.wav" in (tmp_path / output).read_text(encoding="utf-8").replace("\\\\", "\\")
    assert call(*COMMAND, tmp_path / name, "--model", bundle, "--quiet") == 0
    assert r"\udcff.wav  quiet" in capsys.readouterr().out


def test_it_needs_no_extra(bundle: Path, sounds: Path, tmp_path: Path) -> None:
    code = (
        "import sys\nfor absent in ('torch', 'sklearn', 'scipy', 'pyarrow', 'onnx', 'accelerate'):\n"
        "    sys.modules[absent] = None\n"
        "from sondino import cli; cli.main(['classify', *sys.argv[1:]])"
    )
    options = [sounds, "--model", bundle, "--output", tmp_path / "o.csv"]
    run = subprocess.run([sys.executable, "-c", code, *map(str, options)], capture_output=True, text=True)
    assert run.returncode == 0 and "2 files" in run.stdout, run.stderr
