"""Students at other sample rates than 32 kHz and other hops than 16 ms, from the corpus to the bundle."""

import json
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

import sondino
from helpers.bands import SMALL_RUN, Bands
from helpers.corpora import noise, write
from sondino.distillation.distill import distill, new_student
from sondino.distillation.recipe import Recipe
from sondino.errors import OptionError, RunError
from sondino.evaluation.grid import plan_runs
from sondino.model.torch_model import TorchModel

pytestmark = pytest.mark.usefixtures("traced_once")

OPTIONS = SMALL_RUN | {"clip": 0.25, "epochs": 1, "clusters": 0, "page": False}


def pulses(hertz: float, rate: int, seconds: float = 0.25) -> np.ndarray:
    """Ten pulses a second, each of a few milliseconds."""
    time = np.arange(round(seconds * rate)) / rate
    gate = np.sin(2 * np.pi * 20 * time) > 0.5
    return (0.5 * gate * np.sin(2 * np.pi * hertz * time)).astype(np.float32)


def cosine(a: np.ndarray, b: np.ndarray) -> float:
    return float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))


@pytest.mark.full
@pytest.mark.parametrize(("rate", "tones"), [(16000, (500, 5000)), (256000, (30000, 60000))])
def test_a_student_embeds_what_lies_in_the_band_of_its_rate(tmp_path: Path, rate: int, tones: tuple[int, int]) -> None:
    class Teacher(Bands):
        sample_rate = rate

    for i in range(16):
        sound = noise(0.25, i, rate) * 0.02 + (0.2 + 0.05 * (i % 4)) * pulses(tones[i % 2] * (1 + i / 100), rate)
        write(tmp_path / "sounds" / f"{i:02}.wav", sound.astype(np.float32), rate)
    bundle = distill(tmp_path / "sounds", teacher=Teacher(), out=tmp_path / "run", rate=rate, lr=3e-3, **OPTIONS)

    config = json.loads((bundle / "config.json").read_text())
    assert (config["sample_rate"], config["front_end"]["sample_rate"], config["recipe"]["rate"]) == (rate,) * 3
    assert f"0.25 s of {rate} Hz" in (bundle / "card.md").read_text()
    decoded = [json.loads(file.read_text()) for file in (tmp_path / "run" / "corpus").rglob("waveforms.json")]
    assert [table["sample_rate"] for table in decoded] == [rate]

    batch = np.stack([pulses(tones[0], rate), pulses(tones[1], rate), np.zeros(rate // 4, np.float32)])
    model, network = sondino.load(bundle), TorchModel.open(bundle)
    graph = onnxruntime.InferenceSession(bundle / "model.onnx")
    trained = network.embed_array(batch)
    for vectors in (trained, model.embed([(wave, rate) for wave in batch]), graph.run(None, {"waveform": batch})[0]):
        assert np.abs(vectors - trained).max() < 1e-3 * np.abs(trained).max()  # a tone in silence: most rounding
        assert max(cosine(vectors[a], vectors[b]) for a, b in ((0, 1), (0, 2), (1, 2))) < 0.99
    assert model.embed([(noise(0.25, 1, 44100), 44100)]).shape == (1, model.dim)  # resampled to the model's rate

    front_end = (bundle / "model.onnx").stat().st_size - (bundle / "model.safetensors").stat().st_size
    assert front_end < (7e6 if rate == 256000 else 0.4e6)

    with pytest.raises(RunError, match=f"rate was {rate}, now 48000"):
        distill(tmp_path / "sounds", teacher=Teacher(), out=tmp_path / "run", rate=48000, lr=3e-3, **OPTIONS)
    again = Recipe(teacher=("x",), width=0.1, init=str(bundle))
    assert new_student(again).logmel == network.backbone.logmel
    with pytest.raises(OptionError, match=rf"init .*bundle takes audio at {rate} Hz, and rate is 32000: leave --rate"):
        new_student(Recipe(teacher=("x",), width=0.1, init=str(bundle), rate=32000))
    weights = Recipe(teacher=("x",), width=0.1, init=str(bundle / "model.safetensors"), rate=96000)
    assert new_student(weights).logmel.sample_rate == 96000


@pytest.mark.parametrize("student", ["mobilenetv3", "dymn", "eres2net", "cnn14", "qcnn14"])
def test_every_student_has_a_rate(student: str) -> None:
    made = new_student(Recipe(teacher=("x",), student=student, width=0.125, rate=48000))
    published = new_student(Recipe(teacher=("x",), student=student, width=0.125))
    assert (made.logmel.sample_rate, published.logmel.sample_rate) == (48000, 32000)
    assert made.logmel.n_mels == published.logmel.n_mels and made.build == published.build


@pytest.mark.parametrize("rate", [44100, 0, -16000])
def test_another_rate_gets_a_message_with_all_that_there_are(rate: int) -> None:
    with pytest.raises(OptionError, match=f"rate is {rate}: give 16000, 32000, 48000, 96000 or 256000, in Hz"):
        Recipe(teacher=("x",), rate=rate)


def test_a_sweep_over_rates_finds_a_wrong_one_before_it_starts() -> None:
    assert [p.recipe.rate for p in plan_runs({"teacher": "birdnet", "width": 0.1}, {"rate": [16000, 48000]})] == [
        16000,
        48000,
    ]
    with pytest.raises(OptionError, match="rate is 22050"):
        plan_runs({"teacher": "birdnet", "width": 0.1}, {"rate": [16000, 22050]})


@pytest.mark.full
def test_a_student_with_half_the_frames_embeds_the_same_in_every_form(tmp_path: Path) -> None:
    for i in range(12):
        write(tmp_path / "sounds" / f"{i:02}.wav", noise(0.25, i, 32000) * np.float32(0.1 + 0.05 * (i % 4)), 32000)
    bundle = distill(tmp_path / "sounds", teacher=Bands(), out=tmp_path / "run", hop=0.032, **OPTIONS)
    config = json.loads((bundle / "config.json").read_text())
    assert (config["front_end"]["hop"], config["recipe"]["hop"]) == (1024, 0.032)
    batch = np.stack([noise(0.25, seed, 32000) * np.float32(0.2) for seed in (20, 21)])
    model, network = sondino.load(bundle), TorchModel.open(bundle)
    graph = onnxruntime.InferenceSession(bundle / "model.onnx")
    trained = network.embed_array(batch)
    for vectors in (model.embed([(wave, 32000) for wave in batch]), graph.run(None, {"waveform": batch})[0]):
        assert np.abs(vectors - trained).max() < 1e-4 * np.abs(trained).max()

    again = Recipe(teacher=("x",), width=0.1, init=str(bundle))
    assert new_student(again).logmel.hop == 1024
    with pytest.raises(OptionError, match=r"init .*bundle has a frame every 0\.032 s, and hop is 0\.016: leave --hop"):
        new_student(Recipe(teacher=("x",), width=0.1, init=str(bundle), hop=0.016))
    weights = Recipe(teacher=("x",), width=0.1, init=str(bundle / "model.safetensors"), hop=0.02)
    assert new_student(weights).logmel.hop == 640


@pytest.mark.parametrize(("student", "published"), [("mobilenetv3", 512), ("eres2net", 512), ("cnn14", 320)])
def test_every_student_has_a_hop(student: str, published: int) -> None:
    options = {"teacher": ("x",), "student": student, "width": 0.125}
    assert new_student(Recipe(**options)).logmel.hop == published
    assert new_student(Recipe(**options, hop=0.032)).logmel.hop == 1024
    assert new_student(Recipe(**options, hop=0.02, rate=16000)).logmel.hop == 320
