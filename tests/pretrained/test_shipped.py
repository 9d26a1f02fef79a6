"""The model that comes with the package: opened without a name, without torch, a network or a cache."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import sondino
from sondino import cli
from sondino.errors import OptionError, SondinoError
from sondino.exporters.web import licence_of
from sondino.hub.catalogue import DEFAULT_MODEL, PUBLISHED
from sondino.model.config import read_checked_config
from sondino.pretrained.locate import SHIPPED, is_kept, locate
from sondino.sample_sounds import sample_folder

FOLDER = SHIPPED / DEFAULT_MODEL
CLIPS = sorted((sample_folder() / "audio").glob("*.ogg"))[::9]
DOCS = Path(__file__).parents[2] / "docs"


def test_it_is_what_the_catalogue_says() -> None:
    config, checked = read_checked_config(FOLDER / "config.json")
    record = PUBLISHED[DEFAULT_MODEL]
    assert next(iter(PUBLISHED)) == DEFAULT_MODEL and is_kept(DEFAULT_MODEL)
    found = (config["name"], config["student"], config["width"], config["parameters"], checked.dim, checked.sample_rate)
    expected = (record.name, record.architecture, record.width, record.parameters, record.dim, record.sample_rate)
    assert found == expected
    assert record.parameters <= 1_000_000 and sum(file.stat().st_size for file in FOLDER.iterdir()) < 4.3e6
    (teacher,) = config["teachers"]
    assert (teacher["spec"], teacher["licence"]) == ("efficientat/mn04_as", "MIT")
    assert sondino.load().licence == "MIT" and licence_of(config) == "MIT; of its teacher: MIT"


def test_it_is_opened_where_no_model_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SONDINO_CACHE", str(tmp_path / "cache"))
    model = sondino.load()
    assert (model.name, model.dim, model.window, model.sample_rate) == (DEFAULT_MODEL, 480, 1.95, 32000)
    assert model.head is not None and len(model.head.labels) == 527 and model.head.multi_label
    assert locate(DEFAULT_MODEL) == FOLDER == model.folder
    vectors = model.embed(CLIPS)
    assert vectors.shape == (len(CLIPS), 480) and np.isfinite(vectors).all()
    lengths = np.linalg.norm(vectors, axis=1)
    assert lengths.max() < 5 * np.median(lengths)
    assert not (tmp_path / "cache").exists()


def test_commands_take_it_where_no_model_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = tmp_path / "table.npz"
    with pytest.raises(SystemExit, match="0"):
        cli.main(["embed", *map(str, CLIPS[:2]), "--output", str(table), "--quiet"])
    with np.load(table) as found:
        assert np.array_equal(found["vectors"], sondino.load().embed(CLIPS[:2]))
    capsys.readouterr()
    with pytest.raises(SystemExit, match="0"):
        cli.main(["classify", str(CLIPS[0]), "--per-clip", "--quiet"])
    assert capsys.readouterr().out.count("%") == 3


def test_it_needs_no_torch_and_no_network_library() -> None:
    code = (
        "import sys, sondino; sondino.load().classify(sys.argv[1])\n"
        "found = {'torch', 'onnx', 'huggingface_hub', 'urllib.request', 'sklearn'} & set(sys.modules)\n"
        "assert not found, found"
    )
    subprocess.run([sys.executable, "-c", code, str(CLIPS[0])], check=True)


def test_its_weights_in_float16_are_one_net_in_every_form() -> None:
    torch = pytest.importorskip("torch", reason="the train extra is not installed")
    onnxruntime = pytest.importorskip("onnxruntime")
    from safetensors.torch import load_file

    from sondino.model.torch_model import TorchModel

    model, network = sondino.load(), TorchModel.open(FOLDER)
    graph = onnxruntime.InferenceSession(FOLDER / "model.onnx")
    stored = load_file(FOLDER / "model.safetensors")
    assert {t.dtype for t in stored.values() if t.is_floating_point()} == {torch.float16}
    batch = np.stack([np.resize(sondino.audio.read(file, 32000), 62400) for file in CLIPS])
    reference = network.embed_array(batch)
    for vectors in (model.embed([(wave, 32000) for wave in batch]), graph.run(None, {"waveform": batch})[0]):
        cosines = (vectors * reference).sum(1) / np.linalg.norm(vectors, axis=1) / np.linalg.norm(reference, axis=1)
        assert cosines.min() > 0.9999
    assert model.head is not None
    logits = model.head.logits(reference)
    with torch.inference_mode():
        assert np.allclose(network(torch.from_numpy(batch)).numpy(), logits, atol=1e-3)


def test_it_can_be_the_start_of_another_student() -> None:
    pytest.importorskip("accelerate", reason="the train extra is not installed")
    from sondino.distillation.distill import new_student
    from sondino.distillation.recipe import resolve_recipe

    recipe = resolve_recipe(teacher="x", init=DEFAULT_MODEL)
    student = new_student(recipe)
    assert (student.name, student.width, student.logmel.hop) == ("mobilenetv3", 0.5, 1024)


def test_its_card_has_the_page_about_it() -> None:
    page = (DOCS / f"{DEFAULT_MODEL}.md").read_text(encoding="utf-8")
    card = (FOLDER / "card.md").read_text(encoding="utf-8")
    published = page.replace("](../", "](https://github.com/sondino/sondino/blob/main/")
    assert published[page.index("\n## ") :].strip() in card
    assert "](../" not in card  # an installation has no such file


def test_a_revision_or_a_missing_file_gets_a_message(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="sondino-small comes with the package and has no revisions"):
        sondino.load(f"{DEFAULT_MODEL}@main")
    monkeypatch.setattr("sondino.pretrained.locate.SHIPPED", tmp_path)
    with pytest.raises(SondinoError, match="sondino-small is missing from this installation: install sondino again"):
        sondino.load()
    shutil.copytree(FOLDER, tmp_path / DEFAULT_MODEL)
    (tmp_path / DEFAULT_MODEL / "model.onnx").write_bytes(b"cut")
    with pytest.raises(SondinoError, match=r"model\.onnx: is damaged"):
        sondino.load()
    assert json.loads((tmp_path / DEFAULT_MODEL / "config.json").read_text())["name"] == DEFAULT_MODEL
