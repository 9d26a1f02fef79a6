"""The training loop by itself: what it measures, and what a resumed run ends in."""

from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import numpy as np
import pytest

pytest.importorskip("accelerate", reason="the train extra is not installed")
import torch

from helpers.corpora import noise
from sondino.distillation.recipe import Recipe
from sondino.distillation.train import TrainingData, _Trainer
from sondino.nets.registry import build_student
from sondino.training.accelerator import make_accelerator
from sondino.training.batches import Split

RNG = np.random.default_rng(0)
TARGETS = (5 + RNG.standard_normal((60, 6)) * [1, 2, 3, 4, 5, 6]).astype(np.float16)
SPLIT = Split(np.arange(50), np.arange(50, 60))


def make_trainer(run: Path, batch_size: int) -> _Trainer:
    data = TrainingData([TARGETS], np.ones(60), SPLIT)
    recipe = Recipe(
        teacher=("x",), width=0.1, clip=0.25, epochs=2, draws=64, batch_size=batch_size, precision="float32"
    )
    torch.manual_seed(3)
    student, accelerator = build_student("mobilenetv3", 0.1), make_accelerator("cpu", "float32", run)
    return _Trainer(student, data, lambda row: noise(0.25, row, 32000), recipe, run, accelerator)


def train_epochs(trainer: _Trainer, *epochs: int) -> None:
    for epoch in epochs:
        trainer.train_epoch(epoch, lambda done, total: None)
        trainer.finish_epoch(epoch)


def test_the_measured_cosine_compares_standardised_embeddings_of_any_length(tmp_path: Path) -> None:
    trainer = make_trainer(tmp_path, 8)
    _, (projected,), _ = trainer.embed(SPLIT.validation)
    train = TARGETS[:50].astype(np.float64)
    standard = (TARGETS[50:] - train.mean(0)) / train.std(0)
    lengths = np.linalg.norm(standard, axis=1) * np.linalg.norm(projected, axis=1)
    expected = ((standard * projected).sum(1) / lengths).mean()
    assert trainer.validate()["validation_cosine"] == pytest.approx(expected, abs=1e-4)
    with torch.no_grad():  # as a loss that ignores lengths lets them grow
        last = trainer.distiller.heads[0].mlp[-1]
        last.weight.mul_(7), last.bias.mul_(7)
    assert trainer.validate()["validation_cosine"] == pytest.approx(expected, abs=1e-4)


@pytest.fixture
def two_threads(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Two processors to train on, whatever this machine and a test's process have."""
    monkeypatch.setattr("sondino.distillation.train.cores", lambda: 2)
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(threads)


@pytest.mark.usefixtures("two_threads")
def test_a_run_with_parts_on_threads_resumes_to_the_same_bits(tmp_path: Path) -> None:
    whole = make_trainer(tmp_path / "whole", 32)
    assert whole.replicas is not None
    train_epochs(whole, 0, 1)
    train_epochs(make_trainer(tmp_path / "cut", 32), 0)
    resumed = make_trainer(tmp_path / "cut", 32)
    assert resumed.resume() == 1
    train_epochs(resumed, 1)
    expected, found = whole.distiller.state_dict(), resumed.distiller.state_dict()
    assert all(torch.equal(found[name], tensor) for name, tensor in expected.items())
    assert [{**m, "seconds": 0, "clips_per_second": 0, "data_wait": 0} for m in whole.history] == [
        {**m, "seconds": 0, "clips_per_second": 0, "data_wait": 0} for m in resumed.history
    ]
    threads = {network.training for network in resumed.replicas.networks[1:]}
    assert threads == {True} and torch.get_num_threads() == 2


@pytest.mark.parametrize(("mapping", "as_they_are"), [("none", True), ("mlp", False)])
def test_without_a_mapping_head_embeddings_are_compared_in_the_teachers_units(
    tmp_path: Path, mapping: Literal["none", "mlp"], as_they_are: bool
) -> None:
    student = build_student("mobilenetv3", 0.1)
    targets = (5 + 3 * RNG.standard_normal((60, student.dim))).astype(np.float16)
    recipe = Recipe(teacher=("x",), width=0.1, clip=0.25, epochs=1, draws=8, batch_size=8, mapping=mapping)
    accelerator = make_accelerator("cpu", "float32", tmp_path)
    data = TrainingData([targets], np.ones(60), SPLIT)
    trainer = _Trainer(student, data, lambda row: noise(0.25, row, 32000), recipe, tmp_path, accelerator)
    embeddings = torch.from_numpy(targets[:4].astype(np.float32))
    assert torch.equal(trainer.distiller.scales[0](embeddings), embeddings) == as_they_are


OTHER = (RNG.standard_normal((60, 9)) * 2 - 1).astype(np.float16)


def gradients_of(run: Path, weights: tuple[float, ...], targets: list, alone: int | None = None) -> dict:
    """Loss and gradients of one batch; `alone`: of that teacher's mean loss by itself, through the same heads."""
    names = tuple("xyz"[: len(targets)])
    recipe = Recipe(
        teacher=names,
        teacher_weight=weights,
        width=0.1,
        clip=0.25,
        epochs=1,
        draws=8,
        batch_size=8,
        precision="float32",
    )
    torch.manual_seed(3)
    student, accelerator = build_student("mobilenetv3", 0.1), make_accelerator("cpu", "float32", run)
    data = TrainingData(targets, np.ones(60), SPLIT)
    trainer = _Trainer(student, data, lambda row: noise(0.25, row, 32000), recipe, run, accelerator)
    trainer.model.eval()  # no dropout
    rows = np.arange(8)
    waveforms = torch.from_numpy(np.stack([noise(0.25, row, 32000) for row in rows]))
    if alone is None:
        loss = trainer._loss(rows, waveforms)
    else:
        _, projections, _ = trainer.model(trainer.frontend(waveforms))
        target = trainer.distiller.scales[alone](torch.from_numpy(targets[alone][rows].astype(np.float32)))
        loss = trainer.loss(projections[alone].float(), target).mean()
    loss.backward()
    found = {name: p.grad.clone() for name, p in trainer.distiller.named_parameters() if p.grad is not None}
    return found | {"loss": loss.detach()}


def test_the_gradient_is_the_weighted_mean_of_the_teachers_own(tmp_path: Path) -> None:
    both = [TARGETS, OTHER]
    one, other = (gradients_of(tmp_path, (), both, alone) for alone in (0, 1))
    found = gradients_of(tmp_path, (3, 1), both)
    for name, gradient in found.items():
        expected = 0.75 * one.get(name, torch.zeros(())) + 0.25 * other.get(name, torch.zeros(()))
        torch.testing.assert_close(gradient, expected, rtol=1e-4, atol=1e-6)
    mostly = gradients_of(tmp_path, (1e9, 1e-3), both)
    torch.testing.assert_close(mostly["loss"], one["loss"])
    assert mostly["heads.1.mlp.0.weight"].abs().max() < 1e-9 < one["heads.0.mlp.0.weight"].abs().max()


def test_equal_weights_are_the_mean_bit_for_bit(tmp_path: Path) -> None:
    three = [TARGETS, OTHER, TARGETS[::-1]]
    default, given = gradients_of(tmp_path, (), three), gradients_of(tmp_path, (1, 1, 1), three)
    losses = [gradients_of(tmp_path, (), three, alone)["loss"] for alone in range(3)]
    assert torch.equal(default["loss"], losses[0] / 3 + losses[1] / 3 + losses[2] / 3)  # as it always was
    assert all(torch.equal(default[name], given[name]) for name in given)
