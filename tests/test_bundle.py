import json
from pathlib import Path

import numpy as np
import pytest
import torch

import sondino
from sondino import bundle as bundles
from sondino.errors import OptionError, RunError, SondinoError
from sondino.files import sha256
from sondino.frontend_torch import FFTLogMel
from sondino.students import build_student

RATE = 32000


@pytest.fixture(scope="module")
def student() -> torch.nn.Module:
    torch.manual_seed(0)
    return build_student("mobilenetv3", 0.1).eval()


@pytest.fixture(scope="module")
def written(student: torch.nn.Module, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bundle") / "mine"
    facts = {"teachers": [{"spec": "birdnet", "dim": 1024, "sample_rate": 48000, "licence": "CC BY-NC-SA 4.0"}]}
    return bundles.write_bundle(folder, student, "mine", 1.0, "repeat", [], facts)


def test_its_vectors_are_torchs_at_every_batch_and_length(written: Path, student: torch.nn.Module) -> None:
    model, frontend = sondino.load(written), FFTLogMel(student.logmel)
    for batch, samples in ((1, RATE), (3, RATE), (2, 5 * RATE + 77), (1, model.minimum)):
        waveforms = np.random.default_rng(samples).standard_normal((batch, samples)).astype(np.float32) * 0.1
        with torch.inference_mode():
            expected = student(frontend(torch.from_numpy(waveforms))).numpy()
        assert np.abs(model.embed(waveforms) - expected).max() < 1e-4 * np.abs(expected).max()


def test_config_and_card_say_what_it_is(written: Path) -> None:
    config = json.loads((written / "config.json").read_text())
    assert (config["format"], config["dim"], config["sample_rate"]) == ("sondino-bundle-1", 96, RATE)
    assert config["hashes"]["model.onnx"] == sha256(written / "model.onnx")
    card = (written / "card.md").read_text()
    assert "CC BY-NC-SA 4.0" in card and config["hashes"]["model.safetensors"] in card


def test_a_difference_over_the_bound_is_refused_and_leaves_nothing(
    student: torch.nn.Module, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "sondino.export.onnx.export_onnx", lambda student, file, body: [f.write_bytes(b"") for f in (file, body)]
    )
    for difference in (2e-4, float("nan")):
        monkeypatch.setattr("sondino.export.onnx.verify_onnx", lambda *_, d=difference: d)
        with pytest.raises(RunError, match="no bundle was written"):
            bundles.write_bundle(tmp_path / "b", student, "b", 1.0, "repeat", [], {})
        assert list(tmp_path.iterdir()) == []


def test_what_is_no_bundle_or_damaged_is_named(written: Path, tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="is no bundle"):
        sondino.load(tmp_path)
    broken = tmp_path / "broken"
    broken.mkdir()
    for file in written.iterdir():
        (broken / file.name).write_bytes(file.read_bytes())
    (broken / "model.onnx").write_bytes((written / "model.onnx").read_bytes()[:-10])
    with pytest.raises(SondinoError, match=r"model\.onnx"):
        sondino.load(broken)


def test_a_runs_folder_opens_its_bundle(written: Path) -> None:
    run = written.parent / "run"
    run.mkdir()
    (run / "bundle").symlink_to(written)
    assert sondino.load(run).dim == 96
