import itertools

import numpy as np
import pytest
import torch

from sondino.nets.registry import build_student
from sondino.pruning.scores import geometric_median, l1, of_weight, operator_norm, taylor


def by_hand(weight: np.ndarray) -> np.ndarray:
    """The operator-norm score with a whole singular value decomposition of each input channel."""
    total = np.zeros(len(weight))
    for channel in range(weight.shape[1]):
        kernels = weight[:, channel] - weight[:, channel].mean(0)
        left, values, right = np.linalg.svd(kernels, full_matrices=False)
        row = values[0] * left[0, 0] * right[0]  # of the rank-one matrix, the first filter's
        total += kernels @ (row / np.linalg.norm(row))
    return total**2


def test_operator_norm_is_the_reach_along_the_principal_directions():
    weight = np.random.default_rng(0).standard_normal((12, 5, 9))
    assert np.allclose(operator_norm(torch.from_numpy(weight)), by_hand(weight))


def test_operator_norm_of_filters_on_a_line():
    # One input channel, kernels along one direction: centred, filters stand at -1, 0 and 1 times 5.
    weight = torch.tensor([[[3.0, 4.0]], [[0.0, 0.0]], [[6.0, 8.0]]], dtype=torch.float64)
    assert operator_norm(weight).tolist() == pytest.approx([0.0, 25.0, 25.0])
    assert operator_norm(weight + 7.0).tolist() == pytest.approx([0.0, 25.0, 25.0]), "a common kernel says nothing"


def test_l1():
    assert l1(torch.tensor([[[1.0, -2.0], [0.5, 0.0]], [[0.0, 0.0], [0.0, -1.0]]])).tolist() == [3.5, 1.0]


def test_geometric_median_is_the_sum_of_distances():
    points = torch.tensor([[[0.0, 0.0]], [[3.0, 4.0]], [[6.0, 8.0]]], dtype=torch.float64)
    assert geometric_median(points).tolist() == pytest.approx([15.0, 10.0, 15.0])
    many = torch.randn(20, 3, 4, dtype=torch.float64)
    expected = [sum((a - b).norm().item() for b in many) for a in many]
    assert geometric_median(many).tolist() == pytest.approx(expected)


def test_scores_are_of_any_layer_and_in_float64():
    for shape, score in itertools.product([(6, 4, 3, 3), (6, 4, 1, 1), (6, 4)], ["operator-norm", "l1"]):
        found = of_weight(score, torch.randn(shape))
        assert found.shape == (6,) and found.dtype == torch.float64
    assert of_weight("l1", torch.full((2, 1, 3, 3), 0.1)).tolist() == pytest.approx([0.9, 0.9], abs=1e-7)


def test_taylor_is_the_change_of_the_vector_without_a_channel():
    torch.manual_seed(0)
    student = build_student("cnn14", 0.125).eval()
    embedded, name = torch.randn(3, 64, 40), "conv_block5.bn1"
    scores = taylor(student, [embedded] * 150, [name])[name]  # as many random directions
    norm, student = student.get_submodule(name), student.double()
    share, expected = 1e-4, []  # a small step of a channel's gate, so that the first order is all there is
    with torch.no_grad():
        whole = torch.nn.functional.normalize(student(embedded.double()), dim=1)
        for channel in range(20):
            norm.weight[channel] *= 1 - share
            norm.bias[channel] *= 1 - share
            less = torch.nn.functional.normalize(student(embedded.double()), dim=1)
            norm.weight[channel] /= 1 - share
            norm.bias[channel] /= 1 - share
            expected.append(((less - whole) / share).square().sum().item())
    assert scores[:20].mean().item() == pytest.approx(np.mean(expected), rel=0.15)
    assert np.corrcoef(scores[:20], expected)[0, 1] > 0.9
    assert not student.training and norm.weight.grad is None
