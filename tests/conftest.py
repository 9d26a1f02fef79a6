"""Fixtures: a tiny model whose vectors can be computed by hand, and what stands in for what takes seconds."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

TINY_RATE = 16000


def tiny_vectors(waveforms: np.ndarray) -> np.ndarray:
    """What the tiny model gives: mean, mean square and peak of each waveform (batch, samples)."""
    x = np.asarray(waveforms, np.float64)
    return np.stack([x.mean(1), (x**2).mean(1), np.abs(x).max(1)], axis=1).astype(np.float32)


def write_tiny_bundle(folder: Path, **config: object) -> Path:
    """A bundle around the tiny model; `config` overrides what config.json says."""
    onnx = pytest.importorskip("onnx")
    helper, kind = onnx.helper, onnx.TensorProto.FLOAT
    axis = helper.make_tensor("axis", onnx.TensorProto.INT64, [1], [1])
    nodes = [
        helper.make_node("ReduceMean", ["waveform", "axis"], ["mean"], keepdims=1),
        helper.make_node("Mul", ["waveform", "waveform"], ["square"]),
        helper.make_node("ReduceMean", ["square", "axis"], ["power"], keepdims=1),
        helper.make_node("Abs", ["waveform"], ["size"]),
        helper.make_node("ReduceMax", ["size", "axis"], ["peak"], keepdims=1),
        helper.make_node("Concat", ["mean", "power", "peak"], ["vector"], axis=1),
    ]
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("waveform", kind, ["batch", "samples"])],
        [helper.make_tensor_value_info("vector", kind, ["batch", 3])],
        [axis],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    folder.mkdir(parents=True, exist_ok=True)
    data = model.SerializeToString()
    (folder / "model.onnx").write_bytes(data)
    facts: dict[str, object] = {
        "format": "sondino-bundle-1",
        "name": "tiny",
        "student": "tiny",
        "width": 1.0,
        "sample_rate": TINY_RATE,
        "dim": 3,
        "window": 1.0,
        "short": "pad",
        "minimum": 100,
        "hashes": {"model.onnx": hashlib.sha256(data).hexdigest()},
        **config,
    }
    (folder / "config.json").write_text(json.dumps(facts))
    return folder


@pytest.fixture
def tiny_bundle(tmp_path: Path) -> Path:
    """The folder of a bundle: 16 kHz, windows of 1 s, vectors (mean, mean square, peak)."""
    return write_tiny_bundle(tmp_path / "tiny")


@pytest.fixture
def make_tiny_bundle(tmp_path: Path) -> Callable[..., Path]:
    """Make a tiny bundle under a name, with other values in config.json."""
    return lambda name="tiny", **config: write_tiny_bundle(tmp_path / name, **config)


@pytest.fixture(scope="session")
def student_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a bundle of a narrow, untrained student with a head, made once: to export it takes seconds."""
    torch = pytest.importorskip("torch", reason="the train extra is not installed")
    from paper import RATE, small_student
    from sondino.audio import read
    from sondino.bundle import write_bundle
    from sondino.heads.head import Head

    sounds = [read(file, RATE) for file in sorted((Path(__file__).parent / "data" / "clips").glob("*.ogg"))]
    cuts = [sound[at : at + RATE // 2] for sound in sounds for at in range(0, len(sound) - RATE // 2, RATE // 2)]
    student = small_student(torch.from_numpy(np.stack(cuts)))
    weights = np.random.default_rng(0).standard_normal((3, student.dim)), np.zeros(3)
    facts = {"teachers": [{"spec": "birdnet", "dim": 1024, "sample_rate": 48000, "licence": "CC BY-NC-SA 4.0"}]}
    head = Head("three", ("a", "b", "c"), False, (weights,))
    return write_bundle(tmp_path_factory.mktemp("student") / "small", student, "small", 0.5, "repeat", [], facts, head)


@pytest.fixture
def assumed_energy(monkeypatch: pytest.MonkeyPatch) -> float:
    """Joules for 10 s of sound of every model, which would otherwise be run for three seconds each."""
    from sondino.evaluate.measure import Energy

    monkeypatch.setattr("sondino.evaluate.models.energy_per_10s", lambda *_: Energy(2.5, "assumed"))
    return 2.5
