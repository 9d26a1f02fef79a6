"""Checkpoints in the published format, through disk, conversion and ONNX Runtime, against the golden embeddings."""

import json
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

pytest.importorskip("torch", reason="the train extra is not installed")
import torch

from helpers.golden import DATA, error, wave
from helpers.published import write_efficientat, write_ssondo
from helpers.vit_weights import tiny_vit, whole_vit
from sondino.frontend.logmel_torch import FFTLogMel
from sondino.nets.saved import read_student
from sondino.pretrained.convert import convert, read_published
from sondino.pretrained.load import load
from sondino.teachers import load_teacher

GOLDEN = np.load(DATA / "students.npz")
full = pytest.mark.full
pytestmark = pytest.mark.usefixtures("traced_once")


def through_torch(folder: Path, waveforms: np.ndarray) -> np.ndarray:
    student = read_student(folder)
    with torch.inference_mode():
        return student(FFTLogMel(student.logmel)(torch.from_numpy(waveforms))).numpy()


def segments(seconds: float, rate: int, window: float = 10.0) -> np.ndarray:
    """The full windows of the golden wave (windows, samples): what the published package processes."""
    size = int(window * rate)
    x = wave(seconds, rate)
    return x[: len(x) // size * size].reshape(-1, size)


@full  # in torch alone, tests/nets/test_students.py compares them in seconds
@pytest.mark.parametrize("name", ["mobilenetv3", "eres2net", "dymn"])
def test_a_published_student_gives_its_golden_vectors_by_torch_and_by_onnx(tmp_path, name):
    folder = convert(write_ssondo(tmp_path / f"matpac_{name}.ckpt", name), tmp_path / "bundle")
    model = load(folder, window_policy="published")
    for seconds in (10, 25):
        got, starts = model.embed_windows((wave(seconds, 32000), 32000))
        assert list(starts) == [10.0 * i for i in range(seconds // 10)]  # the tail is not processed
        torchs = through_torch(folder, segments(seconds, 32000))
        assert error(got, torchs) < 1e-4
        if (key := f"{name}_emb_{seconds}s") in GOLDEN:  # the published DyMN fails on two segments
            assert error(got[None], GOLDEN[key]) < 1e-4
            assert error(torchs[None], GOLDEN[key]) < 1e-4
    assert load(folder).embed([(wave(3, 32000), 32000), (wave(25, 32000), 32000)]).shape == (2, model.dim)
    whole = onnxruntime.InferenceSession(str(folder / "model.onnx"))  # the one file, its log-mel inside
    alone = whole.run(None, {"waveform": wave(10, 32000)[None]})[0]
    assert error(alone[None], GOLDEN[f"{name}_emb_10s"]) < 1e-4
    config = json.loads((folder / "config.json").read_text())
    assert (config["short"], config["window"], config["source"]["kind"]) == ("native", 10.0, "ssondo")
    card = (folder / "card.md").read_text()
    assert "`matpac`: 3840 dimensions" in card and "ask the authors" in card


@full
@pytest.mark.parametrize(
    ("name", "width", "dim"),
    [
        ("mobilenetv3", 0.1, 96),
        ("mobilenetv3", 2.0, 1920),
        ("eres2net", 0.5, 512),
    ],
)
def test_other_widths_agree_between_torch_and_onnx(tmp_path, name, width, dim):
    """The blocks of a narrow DyMN are exported in test_onnx_file.py."""
    folder = convert(write_ssondo(tmp_path / "mine.ckpt", name, width), tmp_path / "bundle")
    model = load(folder, window_policy="published")
    assert (model.dim, model.config["width"]) == (dim, width)
    got, _ = model.embed_windows((wave(25, 32000), 32000))
    assert got.shape == (2, dim)
    assert error(got, through_torch(folder, segments(25, 32000))) < 1e-4


@full
def test_a_tagger_gives_its_golden_vector_and_logits(tmp_path):
    folder = convert(write_efficientat(tmp_path / "mn10_as.pt", "mobilenetv3"), tmp_path / "bundle")
    model, golden = load(folder), np.load(DATA / "efficientat.npz")
    got = model.embed([(wave(10, 32000), 32000)])
    assert error(got, golden["mn10_as_emb"]) < 1e-4
    assert model.head is not None and len(model.head.labels) == 527
    assert error(model.head.logits(got), golden["mn10_as_logits"]) < 1e-4
    assert error(through_torch(folder, wave(10, 32000)[None]), golden["mn10_as_emb"]) < 1e-4
    assert error(model.classify([(wave(10, 32000), 32000)]), 1 / (1 + np.exp(-golden["mn10_as_logits"]))) < 1e-4


@full
def test_the_dynamic_tagger_gives_its_golden_vector_and_logits(tmp_path):
    """In torch alone: a DyMN is exported above, and takes minutes."""
    found, golden = (
        read_published(write_efficientat(tmp_path / "dymn10_as.pt", "dymn")),
        np.load(DATA / "efficientat.npz"),
    )
    with torch.inference_mode():
        got = found.backbone(FFTLogMel(found.backbone.logmel)(torch.from_numpy(wave(10, 32000))[None])).numpy()
    assert error(got, golden["dymn10_as_emb"]) < 1e-4
    assert error(found.as_head().logits(got), golden["dymn10_as_logits"]) < 1e-4


@full
def test_a_small_vit_is_the_same_as_a_bundle_and_as_a_teacher(tmp_path):
    torch.save(tiny_vit("student_encoder."), tmp_path / "matpac.pt")
    folder = convert(tmp_path / "matpac.pt", tmp_path / "bundle", window=1.0)
    model = load(folder, window_policy="published")
    got, starts = model.embed_windows((wave(3.5, 16000), 16000))
    assert list(starts) == [0.0, 1.0, 2.0]
    expected = load_teacher(f"matpac:{tmp_path / 'matpac.pt'}", device="cpu").embed(segments(3.5, 16000, 1.0))
    assert error(got, expected) < 1e-5
    assert load(folder).embed([(wave(0.3, 16000), 16000)]).shape == (1, 320)  # padded to the one length it takes
    assert error(through_torch(folder, segments(3.5, 16000, 1.0)), got) < 1e-5  # a ViT is read to be trained, too


@whole_vit
@pytest.mark.parametrize("kind", ["matpac", "m2d"])
def test_a_whole_teacher_gives_its_golden_vector(request, kind):
    golden = np.load(DATA / "teachers.npz")[f"{kind}_emb_10s"]
    student = read_published(request.getfixturevalue(f"{kind}_file")).backbone
    with torch.inference_mode():
        vectors = student(FFTLogMel(student.logmel)(torch.from_numpy(wave(10, 16000))[None]))
    assert error(vectors, golden) < 1e-5
