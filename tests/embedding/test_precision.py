"""What --precision auto takes, and that it says so."""

import warnings
from pathlib import Path

import numpy as np
import pytest
import soundfile

from helpers.failing_disk import fail_to_read
from sondino import cli
from sondino.audio.windows import Windowing
from sondino.cli import embedding
from sondino.embedding import inputs, precision
from sondino.embedding.inputs import list_inputs
from sondino.pretrained.load import load

WHOLE = Windowing(None)


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
        (None, 3.9e7, {}, ("openvino", "bfloat16", "this processor")),  # 4 windows of 1.95 s, 50 million for 10 s
        (None, 4.0e7, {}, ("onnxruntime", "float32", "less time than OpenVINO to start")),
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
    assert precision.seconds_of(files, 8000, WHOLE) == pytest.approx(whole, rel=0.03)
    assert precision.seconds_of([], 8000, WHOLE) == precision.seconds_of([files[3]], 8000, WHOLE) == 0

    fail_to_read(monkeypatch, *(Path(file.path).name for file in files))
    assert precision.seconds_of(files, 8000, WHOLE) == 0


def test_what_is_counted_is_the_windows_that_are_embedded(tmp_path: Path) -> None:
    """Those that overlap, and each channel."""
    soundfile.write(tmp_path / "a.wav", np.zeros((80_000, 2)), 8000)
    files, each = (list_inputs(tmp_path, channel)[0] for channel in ("mean", "each"))
    assert precision.seconds_of(files, 8000, WHOLE) == 10
    assert precision.seconds_of(files, 8000, Windowing(2.0, hop=0.5)) == 34  # 17 windows
    assert precision.seconds_of(each, 8000, Windowing(2.0, hop=0.5)) == 68
    assert precision.seconds_of(files, 8000, Windowing(15.0)) == 15  # padded


@pytest.mark.parametrize("further", [["--hop", "0.1"], ["--channel", "each"], ["--window", "60"]])
def test_the_options_of_the_command_are_counted(monkeypatch, folder, tmp_path, capsys, further):
    """With each of them there is twice as much to embed, or more."""
    monkeypatch.setattr(precision, "why_not", lambda _: "it is too old")
    for name in ("a", "b"):
        soundfile.write(folder / f"{name}.wav", np.random.default_rng(0).uniform(-0.1, 0.1, (30 * 16000, 2)), 16000)
    macs = load(threads=1).costs().macs
    monkeypatch.setattr(precision, "WORTH_ITS_START", (8 * macs, 8 * macs))  # 80 s
    for options, why in (([], "takes less time"), (further, "it is too old")):
        with pytest.raises(SystemExit):
            cli.main(["embed", str(folder), "--precision", "auto", "--output", str(tmp_path / "x.npz"), *options])
        assert why in capsys.readouterr().err


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


def test_the_inputs_are_listed_once(monkeypatch, folder, tmp_path, capsys):
    """For the precision, the embeddings and what is said of their loss."""
    walked = []
    real = inputs.search_audio
    monkeypatch.setattr(inputs, "search_audio", lambda given, **options: walked.append(given) or real(given, **options))

    def inexact(*given, **options):
        model = load(*given, **options)
        model.exact = False
        return model

    monkeypatch.setattr("sondino.pretrained.load.load", inexact)
    given = ["embed", str(folder), "--precision", "auto", "--output", str(tmp_path / "x.npz")]
    with pytest.raises(SystemExit, match="1"):
        cli.main(given)
    assert walked == [folder] and "2 windows: mean" in capsys.readouterr().out


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
    assert "1 windows: mean 1.000000" in embedding._cost(list_inputs(folder)[0], load(threads=1))


def test_the_cost_is_of_files_that_can_be_read(monkeypatch, folder):
    """The first is on a disk that fails."""
    fail_to_read(monkeypatch, "a.wav")
    assert "1 windows: mean 1.000000" in embedding._cost(list_inputs(folder)[0], load(threads=1))
