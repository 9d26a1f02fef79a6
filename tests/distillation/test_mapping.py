"""Standardised targets, from numbers that are computed by hand."""

import math
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("accelerate", reason="the train extra is not installed")
import torch

from helpers.corpora import noise
from sondino.distillation.mapping import LARGEST, Standardise
from sondino.distillation.recipe import Recipe
from sondino.distillation.train import TrainingData, _Trainer
from sondino.nets.registry import build_student
from sondino.training.accelerator import make_accelerator
from sondino.training.batches import Split


def test_each_dimension_gets_mean_0_and_deviation_1() -> None:
    targets = np.array([[1, 10, 5], [3, 30, 5], [5, 20, 5]], np.float16)
    scale = Standardise(3, targets)
    found = scale(torch.from_numpy(targets.astype(np.float32))).numpy()
    third = math.sqrt(3 / 2)  # (1, 3, 5) is 3 -+ 2, of variance 8 / 3
    assert np.allclose(found, [[-third, -third, 0], [0, third, 0], [third, 0, 0]], atol=1e-6)


def test_a_dimension_without_variance_counts_for_nothing_and_rare_values_are_cut() -> None:
    targets = np.zeros((10_000, 2), np.float16)
    targets[0, 0] = 100
    scale = Standardise(2, targets)
    found = scale(torch.tensor([[100.0, 0.0], [0.0, 0.0]]))
    assert found[0].tolist() == [LARGEST, 0.0]  # 100 deviations
    assert torch.isfinite(found).all() and abs(float(found[1, 0])) < 0.011


def test_without_targets_embeddings_stay_as_they_are() -> None:
    embeddings = torch.tensor([[1e4, -3.0, 0.0]])
    assert torch.equal(Standardise(3, None)(embeddings), embeddings)


def test_the_measured_cosine_compares_standardised_embeddings_of_any_length(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    targets = (5 + rng.standard_normal((40, 6)) * [1, 2, 3, 4, 5, 6]).astype(np.float16)
    split = Split(np.arange(30), np.arange(30, 40))
    data = TrainingData([targets], np.ones(40), split)
    recipe = Recipe(teacher=("x",), width=0.1, clip=0.25, epochs=1, draws=8, batch_size=8, precision="float32")
    accelerator = make_accelerator("cpu", "float32", tmp_path)
    student = build_student("mobilenetv3", 0.1)
    trainer = _Trainer(student, data, lambda row: noise(0.25, row, 32000), recipe, tmp_path, accelerator)

    _, (projected,), _ = trainer.embed(split.validation)
    train = targets[:30].astype(np.float64)
    standard = (targets[30:] - train.mean(0)) / train.std(0)
    lengths = np.linalg.norm(standard, axis=1) * np.linalg.norm(projected, axis=1)
    expected = ((standard * projected).sum(1) / lengths).mean()
    assert trainer.validate()["validation_cosine"] == pytest.approx(expected, abs=1e-4)
    with torch.no_grad():  # as a loss that ignores lengths lets them grow
        last = trainer.distiller.heads[0].mlp[-1]
        last.weight.mul_(7), last.bias.mul_(7)
    assert trainer.validate()["validation_cosine"] == pytest.approx(expected, abs=1e-4)
