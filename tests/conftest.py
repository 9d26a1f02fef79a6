"""Fixtures: a tiny model whose vectors can be computed by hand, and what stands in for what takes seconds."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from helpers.tiny_bundle import write_tiny_bundle

pytest_plugins = ["helpers.skips"]


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
    from helpers.tiny_student import RATE, small_student
    from sondino.audio.reading import read
    from sondino.model.head import Head
    from sondino.model.write import write_bundle

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
    from sondino.benchmark.measure import Energy

    monkeypatch.setattr("sondino.evaluation.models.energy_per_10s", lambda *_: Energy(2.5, "assumed"))
    return 2.5
