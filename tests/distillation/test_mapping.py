"""Standardised targets, from numbers that are computed by hand."""

import math

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the train extra is not installed")

from sondino.distillation.mapping import LARGEST, Standardise


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
