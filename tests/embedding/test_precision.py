"""What --precision auto takes, and that it says so."""

import warnings
from pathlib import Path

import numpy as np
import pytest
import soundfile

from helpers.failing_disk import fail_to_read
from sondino import cli
from sondino.cli import embedding
from sondino.embedding import precision
from sondino.embedding.inputs import list_inputs
from sondino.pretrained.load import load


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two files of 3 s and one that is none."""
    sounds = tmp_path / "sounds"
    sounds.mkdir()
    for name in ("a", "b"):
        soundfile.write(sounds / f"{name}.wav", np.random.default_rng(0).uniform(-0.1, 0.1, 3 * 16000), 16000)
    (sounds / "broken.wav").write_bytes(b"RIFF")
    return sounds


@pytest.mark.parametrize(
    ("cannot", "worth", "config", "expected"),
    [
        (None, 3.0, {}, ("openvino", "bfloat16", "this processor")),  # 6 s at 50 million multiply-adds for 10 s
        (None, 3.1e7, {}, ("onnxruntime", "float32", "less time than OpenVINO to start")),
        (None, 3.0, {"precision": "int8"}, ("onnxruntime", "float32", "int8")),
        (None, 3.0, {"macs_per_10s": None}, ("onnxruntime", "float32", "less time")),
        ("no BF16 here", 3.0, {}, ("onnxruntime", "float32", "no BF16 here")),
    ],
)
def test_what_is_taken(monkeypatch, folder, cannot, worth, config, expected):
    monkeypatch.setattr(precision, "why_not", lambda _: cannot)
    monkeypatch.setattr(precision, "WORTH_ITS_START", (worth, 1e20))
    model = load(threads=1)
    model.config = {**model.config, "macs_per_10s": 50_310_400, **config}
    engine, taken, why = precision.choose_precision(model, list_inputs(folder)[0])
    assert (engine, taken) == expected[:2] and expected[2] in why
    model.threads = 2
    assert precision.choose_precision(model, list_inputs(folder)[0])[1] == "float32"


def test_the_length_of_many_files_is_that_of_a_sample(tmp_path: Path, monkeypatch) -> None:
    """Every third of 96 files is read; one of them is broken, and all have as many bytes a second."""
    for number in range(96):
        soundfile.write(tmp_path / f"{number:02d}.wav", np.zeros(800 + 10 * number), 8000)
    (tmp_path / "03.wav").write_bytes(bytes(1000))
    whole = sum(800 + 10 * number for number in range(96) if number != 3) / 8000
    files = list_inputs(tmp_path)[0]
    assert precision.seconds_of(files) == pytest.approx(whole, rel=0.03)
    assert precision.seconds_of([]) == precision.seconds_of([files[3]]) == 0

    fail_to_read(monkeypatch, *(Path(file.path).name for file in files))
    assert precision.seconds_of(files) == 0


def test_the_command_says_what_it_took(monkeypatch, folder, tmp_path, capsys):
    monkeypatch.setattr(precision, "why_not", lambda _: "it is too old")
    monkeypatch.setattr(precision, "WORTH_ITS_START", (1, 1))
    (folder / "broken.wav").unlink()
    given = ["embed", str(folder), "--precision", "auto", "--output", str(tmp_path / "x.npz")]
    with pytest.raises(SystemExit, match="0"):
        cli.main(given)
    assert "float32 by ONNX Runtime, since it is too old" in capsys.readouterr().err


def test_what_is_said_of_a_list_is_said_once(monkeypatch, folder, tmp_path, capsys):
    """Though it is read to choose a precision, too."""
    monkeypatch.setattr(precision, "why_not", lambda _: "it is too old")
    names = "".join(f"{file.name},1\n" for file in sorted(folder.glob("*.wav")) if file.name != "broken.wav")
    (folder / "list.csv").write_text(f"path,site\n{names}")
    warnings.simplefilter("always")
    with pytest.raises(SystemExit, match="0"):
        cli.main(["embed", str(folder / "list.csv"), "--precision", "auto", "--output", str(tmp_path / "x.npz")])
    assert capsys.readouterr().err.count("columns that are not read: site") == 1


@pytest.mark.parametrize("further", [["--append"], ["--device", "cuda"], ["--engine", "openvino"]])
def test_auto_is_refused_where_it_would_not_hold(folder, tmp_path, capsys, further):
    given = ["embed", str(folder), "--precision", "auto", "--output", str(tmp_path / "x.npz"), *further]
    with pytest.raises(SystemExit, match="2"):
        cli.main(given)
    assert "--precision auto" in capsys.readouterr().err


def test_auto_is_refused_for_a_folder_of_parts(folder, tmp_path, capsys):
    with pytest.raises(SystemExit, match="2"):
        cli.main(["embed", str(folder), "--precision", "auto", "--output", f"{tmp_path}/parts/"])
    assert "no folder as the output" in capsys.readouterr().err and not (tmp_path / "parts").exists()


def test_the_cost_is_of_files_that_can_be_decoded(monkeypatch, folder):
    """Those at the beginning of a folder may all be broken."""
    monkeypatch.setattr(embedding, "COST_CLIPS", 1)
    (folder / "broken.wav").rename(folder / "_broken.wav")
    assert "1 windows: mean 1.000000" in embedding._cost([folder], load(threads=1))


def test_the_cost_is_of_files_that_can_be_read(monkeypatch, folder):
    """The first is on a disk that fails."""
    fail_to_read(monkeypatch, "a.wav")
    assert "1 windows: mean 1.000000" in embedding._cost([folder], load(threads=1))
