"""EfficientAT's published mn04_as through everything that takes a model; SONDINO_MN04 names the file."""

import csv
import os
import shutil
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("accelerate", reason="the train extra is not installed")

import sondino
from helpers.skips import NOT_GIVEN
from sondino import cli
from sondino.sample_sounds import sample_folder

FILE = os.environ.get("SONDINO_MN04")
SAMPLES = sample_folder()
pytestmark = [
    pytest.mark.full,
    pytest.mark.timeout(900),
    pytest.mark.skipif(FILE is None, reason=f"{NOT_GIVEN}: SONDINO_MN04 names no mn04_as_mAP_432.pt"),
]


def run(*words: object) -> None:
    with pytest.raises(SystemExit, match=r"^0$"):
        cli.main([str(word) for word in words])


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("published") / "mn04"
    run("convert", FILE, "--out", out)
    return out


@pytest.fixture(scope="module")
def sounds(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sounds")
    for file in [*SAMPLES.glob("audio/*_c.ogg"), *SAMPLES.glob("audio/drum_*.ogg")]:
        shutil.copy(file, folder)
    return folder


def test_its_labels_are_those_of_the_sound(bundle: Path, tmp_path: Path) -> None:
    run("classify", SAMPLES / "audio" / "drum_roll.ogg", "--model", bundle, "--output", tmp_path / "labels.csv")
    with (tmp_path / "labels.csv").open(newline="") as lines:
        found = [row["label"] for row in csv.DictReader(lines)]
    assert {"Drum", "Drum roll", "Snare drum", "Percussion"} & set(found)


def test_a_linear_head_is_far_above_chance(bundle: Path, tmp_path: Path) -> None:
    run("probe", SAMPLES / "samples.csv", "--model", bundle, "--out", tmp_path / "head", "--quiet")
    assert sondino.load(tmp_path / "head").config["head_score"]["value"] > 0.5  # chance is 0.2


@pytest.mark.parametrize(
    "words",
    [
        ("evaluate", "BUNDLE", "--tasks", SAMPLES / "samples.csv", "--seeds", 1, "--out", "OUT"),
        ("finetune", SAMPLES / "samples.csv", "--model", "BUNDLE", "--epochs", 1, "--out", "OUT"),
        ("prune", "BUNDLE", "--score", "l1", "--ratio", 0.3, "--corpus", "SOUNDS", "--epochs", 1, "--out", "OUT"),
        ("quantize", "BUNDLE", "--calibrate", "SOUNDS", "--out", "OUT"),
        ("export", "BUNDLE", "--to", "onnx", "--precision", "f16", "--sounds", "SOUNDS", "--out", "OUT"),
        ("export", "BUNDLE", "--to", "openvino", "--sounds", "SOUNDS", "--out", "OUT"),
        ("export", "BUNDLE", "--to", "web", "--gallery", "SOUNDS", "--out", "OUT"),
        ("bench", "BUNDLE", "--runtime", "onnxruntime", "--threads", 1, "--seconds", 1, "--rounds", 1, "--out", "OUT"),
        ("distill", "SOUNDS", "--teacher", "BUNDLE", "--width", 0.1, "--clip", 1, "--draws", 64, "--epochs", 1,
         "--out", "OUT"),
    ],
    ids=lambda words: "-".join(str(word) for word in (words[0], *words[3:4]) if str(word).isalpha()),
)  # fmt: skip
def test_a_command_takes_it(words: tuple[object, ...], bundle: Path, sounds: Path, tmp_path: Path) -> None:
    places = {"BUNDLE": bundle, "SOUNDS": sounds, "OUT": tmp_path / "out"}
    run(*(places.get(word, word) if isinstance(word, str) else word for word in words))
    assert any((tmp_path / "out").iterdir())


def test_it_teaches_its_labels(bundle: Path, sounds: Path, tmp_path: Path) -> None:
    options = {"width": 0.1, "clip": 1.0, "draws": 64, "epochs": 1, "quiet": True, "page": False}
    student = sondino.load(sondino.distill(sounds, teacher=str(bundle), out=tmp_path / "run", **options))
    assert student.head is not None and len(student.head.labels) == 527
    assert student.config["teachers"][0]["licence"] == "MIT"
    assert np.isfinite(student.classify(sounds)).all()
