"""Fixtures: a tiny model whose embeddings can be computed by hand, and what stands in for what takes seconds."""

import argparse
import os
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

# Read when torch is imported: its threads wait without spinning, and a worker has its share of the cores.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
if "PYTEST_XDIST_WORKER" in os.environ:
    share = (os.cpu_count() or 1) // int(os.environ["PYTEST_XDIST_WORKER_COUNT"])
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, share)))

import pytest

import sondino  # noqa: F401 - first: it switches off what ONNX Runtime and others report
from helpers.forked import ForkServer
from helpers.shared import made_once
from helpers.tiny_bundle import write_tiny_bundle

sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]  # OpenVINO would report its import

pytest_plugins = ["helpers.skips"]


LONG = 900
"""Seconds that a slow test may take; the others have what pyproject.toml reports."""


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """The files with most slow tests first, so that no worker idles at the end."""
    long = [item for item in items if item.get_closest_marker("slow") or item.get_closest_marker("full")]
    in_file = Counter(item.path for item in long)
    items.sort(key=lambda item: -in_file[item.path])
    if config.pluginmanager.hasplugin("timeout"):
        for item in long:
            if not item.get_closest_marker("timeout"):
                item.add_marker(pytest.mark.timeout(LONG))


@pytest.fixture(scope="session")
def forks() -> Iterator[ForkServer]:
    """Runs Python code in processes of their own, which have torch imported from the start."""
    server = ForkServer()
    yield server
    server.close()


@pytest.fixture(scope="module")
def traced_once() -> Iterator[None]:
    """For tests that export nets and are not about the exporter: nets of one form are traced once."""
    pytest.importorskip("torch", reason="the train extra is not installed")
    from helpers import traced_graphs

    with traced_graphs.traced_once():
        yield


@pytest.fixture
def tiny_bundle(tmp_path: Path) -> Path:
    """The folder of a bundle: 16 kHz, windows of 1 s, embeddings (mean, mean square, peak)."""
    return write_tiny_bundle(tmp_path / "tiny")


@pytest.fixture
def make_tiny_bundle(tmp_path: Path) -> Callable[..., Path]:
    """Make a tiny bundle under a name, with other values in config.json."""
    return lambda name="tiny", **config: write_tiny_bundle(tmp_path / name, **config)


@pytest.fixture(scope="session")
def student_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a bundle of a narrow, untrained student with a head, made once: to export it takes seconds."""
    pytest.importorskip("torch", reason="the train extra is not installed")
    from helpers.tiny_student import write_student_bundle

    return made_once(tmp_path_factory, "student", lambda folder: write_student_bundle(folder / "small")) / "small"


@pytest.fixture
def assumed_energy(monkeypatch: pytest.MonkeyPatch) -> float:
    """Joules for 10 s of sound of every model, which would otherwise be run for three seconds each."""
    from sondino.benchmark.measure import Energy

    monkeypatch.setattr("sondino.evaluation.models.energy_per_10s", lambda *_: Energy(2.5, "assumed"))
    return 2.5


@pytest.fixture(scope="session")
def matpac_file(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """MATPAC's published file, with weights by rule: 340 MB."""
    torch = pytest.importorskip("torch", reason="the train extra is not installed")
    from helpers.vit_weights import vit_state

    file = tmp_path_factory.mktemp("teachers") / "matpac_plus_6s_2048_enconly.pt"
    torch.save(vit_state("student_encoder."), file)
    yield file
    file.unlink()


@pytest.fixture(scope="session")
def m2d_file(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """M2D's published file, with weights by rule: 340 MB."""
    torch = pytest.importorskip("torch", reason="the train extra is not installed")
    from helpers.vit_weights import M2D_FOLDER, vit_state

    file = tmp_path_factory.mktemp("teachers") / M2D_FOLDER / "M2D_ssl.pth"
    file.parent.mkdir()
    # As published: the training options are a Namespace, which a plain weights_only load refuses.
    torch.save({"model": vit_state(stats=True), "args": argparse.Namespace(lr=3e-4), "epoch": 300}, file)
    yield file
    file.unlink()
