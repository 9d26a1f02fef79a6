import json
from pathlib import Path

import numpy as np
import pytest
import torch

import sondino
from sondino.errors import OptionError, RunError, SondinoError
from sondino.files import sha256
from sondino.frontend.logmel_torch import FFTLogMel
from sondino.model import bundle as bundles
from sondino.model.torch_model import TorchModel
from sondino.model.write import write_bundle
from sondino.nets.saved import read_student
from sondino.nets.student import Student

RATE = 32000


@pytest.fixture(scope="module")
def student(student_bundle: Path) -> Student:
    return read_student(student_bundle)


def test_its_vectors_are_torchs_at_every_batch_and_length(student_bundle: Path, student: Student) -> None:
    model, frontend = sondino.load(student_bundle), FFTLogMel(student.logmel)
    for batch, samples in ((1, RATE), (3, RATE), (2, 5 * RATE + 77), (1, model.minimum)):
        waveforms = np.random.default_rng(samples).standard_normal((batch, samples)).astype(np.float32) * 0.1
        with torch.inference_mode():
            expected = student(frontend(torch.from_numpy(waveforms))).numpy()
        assert np.abs(model.embed(waveforms) - expected).max() < 1e-4 * np.abs(expected).max()


def test_config_and_card_describe_the_model(student_bundle: Path) -> None:
    config = json.loads((student_bundle / "config.json").read_text())
    assert (config["format"], config["dim"], config["sample_rate"]) == ("sondino-bundle-1", 96, RATE)
    assert config["hashes"]["model.onnx"] == sha256(student_bundle / "model.onnx")
    card = (student_bundle / "card.md").read_text()
    assert "CC BY-NC-SA 4.0" in card and config["hashes"]["model.safetensors"] in card


def test_a_difference_over_the_bound_is_refused_and_leaves_nothing(
    student: Student, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "sondino.model.onnx_file.export_onnx", lambda student, file, body: [f.write_bytes(b"") for f in (file, body)]
    )
    for difference in (2e-4, float("nan")):
        monkeypatch.setattr("sondino.model.onnx_file.verify_onnx", lambda *_, d=difference: d)
        monkeypatch.setattr("sondino.model.onnx_file.only_rounding", lambda *_: False)
        with pytest.raises(RunError, match="no bundle was written"):
            write_bundle(TorchModel(student, "b", 1.0, "repeat"), tmp_path / "b")
        assert list(tmp_path.iterdir()) == []


def test_a_bundle_with_a_head_stands_whole_or_is_as_it_was(
    student_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = sondino.load(student_bundle)
    assert model.head is not None
    out = bundles.copy_with_head(student_bundle, tmp_path / "out", model.head, {"name": "first"})
    (out / "own.txt").write_text("of the older one")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(bundles, "finish_bundle", full)
        with pytest.raises(RunError, match=r"out could not be written \(No space left on device\)"):
            bundles.copy_with_head(student_bundle, out, model.head, {})
    assert (out / "own.txt").exists() and sondino.load(out).name == "first"
    bundles.copy_with_head(student_bundle, out, model.head, {"name": "second"})
    assert not (out / "own.txt").exists() and sondino.load(out).name == "second"
    assert list(tmp_path.iterdir()) == [out]


def test_what_is_no_bundle_or_damaged_is_named(student_bundle: Path, tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="is no bundle"):
        sondino.load(tmp_path)
    broken = tmp_path / "broken"
    broken.mkdir()
    for file in student_bundle.iterdir():
        (broken / file.name).write_bytes(file.read_bytes())
    (broken / "model.onnx").write_bytes((student_bundle / "model.onnx").read_bytes()[:-10])
    with pytest.raises(SondinoError, match=r"model\.onnx"):
        sondino.load(broken)


def test_a_runs_folder_opens_its_bundle(student_bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "bundle").symlink_to(student_bundle)
    assert sondino.load(tmp_path).dim == 96
