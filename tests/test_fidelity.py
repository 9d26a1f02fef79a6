import subprocess
import sys

import numpy as np
import pytest

from sondino.errors import OptionError
from sondino.evaluate import fidelity
from sondino.evaluate.fidelity import cosine, neighbour_overlap


def test_cosine_of_known_angles():
    ours = np.array([[1.0, 0.0], [1.0, 0.0], [3.0, 0.0], [0.0, 0.0]])
    theirs = np.array([[2.0, 0.0], [0.0, 5.0], [-1.0, 0.0], [1.0, 1.0]])
    assert cosine(ours[:1], theirs[:1]) == pytest.approx(1.0)
    assert cosine(ours[:2], theirs[:2]) == pytest.approx(0.5)
    assert cosine(ours, theirs) == pytest.approx(0.0, abs=1e-7)  # 1 + 0 - 1 + 0 for a zero vector
    assert cosine(ours[:1], np.array([[1.0, 1.0]])) == pytest.approx(np.sqrt(0.5))
    assert np.isnan(cosine(ours[:0], theirs[:0]))


def test_cosine_of_float16_does_not_overflow_and_blocks_change_nothing(monkeypatch):
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((2, 200, 30))
    whole = cosine(a, b)
    large, small = (300 * a).astype(np.float16), b.astype(np.float16)
    assert cosine(large, small) == pytest.approx(cosine(large.astype(float), small.astype(float)), abs=1e-7)
    assert cosine(np.full((3, 4), 1e30), np.full((3, 4), 1e-20)) == pytest.approx(1.0)
    monkeypatch.setattr(fidelity, "_BLOCK_VALUES", 100)
    assert cosine(a, b) == pytest.approx(whole, abs=1e-9)


def brute_overlap(a, b, k):
    def nearest(x):
        x = x / np.linalg.norm(x, axis=1, keepdims=True)
        near = x @ x.T
        np.fill_diagonal(near, -2)
        return [set(row[-k:]) for row in np.argsort(near, axis=1)]

    return np.mean([len(p & q) / k for p, q in zip(nearest(a), nearest(b), strict=True)])


@pytest.mark.parametrize("block", [4_000_000, 3000])
@pytest.mark.parametrize("n", [12, 256, 257, 700])
def test_overlap_is_that_of_sorting_all_pairs(monkeypatch, n, block):
    monkeypatch.setattr(fidelity, "_BLOCK_VALUES", block)
    rng = np.random.default_rng(n)
    teacher = rng.standard_normal((n, 20))
    student = teacher[:, :7] + 0.3 * rng.standard_normal((n, 7))
    assert neighbour_overlap(student, teacher, 10) == pytest.approx(brute_overlap(student, teacher, 10), abs=1e-9)


def test_overlap_of_the_same_and_of_unrelated_spaces():
    rng = np.random.default_rng(0)
    x = rng.standard_normal((400, 16))
    turn = np.linalg.qr(rng.standard_normal((16, 16)))[0]
    assert neighbour_overlap(3 * x @ turn, x) == 1.0  # turning and scaling keep every neighbour
    assert neighbour_overlap(rng.standard_normal((400, 5)), x) == pytest.approx(10 / 399, abs=0.01)


def test_overlap_of_a_worked_example():
    angles = np.deg2rad([0.0, 10.0, 30.0, 90.0])
    teacher = np.stack([np.cos(angles), np.sin(angles)], 1)  # nearest: 1, 0, 1, 2
    other = teacher[[0, 2, 1, 3]]  # angles 0, 30, 10, 90; nearest: 2, 2, 0, 1
    assert neighbour_overlap(teacher, teacher, 1) == 1.0
    assert neighbour_overlap(other, teacher, 1) == 0.0
    assert neighbour_overlap(teacher[[1, 0, 2, 3]], teacher, 1) == 0.75  # nearest: 1, 0, 0, 2


def test_few_clips():
    x = np.random.default_rng(0).standard_normal((5, 3))
    assert neighbour_overlap(x, -x[:, ::-1], 10) == 1.0  # k is clipped to 4: all others
    assert np.isnan(neighbour_overlap(x[:1], x[:1]))


def test_wrong_shapes_are_sentences():
    with pytest.raises(OptionError, match="one shape"):
        cosine(np.ones((2, 3)), np.ones((2, 4)))
    with pytest.raises(OptionError, match="same n"):
        neighbour_overlap(np.ones((2, 3)), np.ones((3, 3)))
    with pytest.raises(OptionError, match="k = 1"):
        neighbour_overlap(np.ones((2, 3)), np.ones((2, 3)), 0)


def test_needs_neither_torch_nor_scikit_learn():
    code = "import sys, sondino.evaluate.fidelity; assert not {'torch', 'sklearn', 'scipy'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_only_the_rows_asked_about_count_and_all_rows_are_their_neighbours():
    rng = np.random.default_rng(3)
    teacher, student = rng.standard_normal((600, 8)), rng.standard_normal((600, 8))
    student[:50] = teacher[:50]
    near = [neighbour_overlap(student, teacher, k=5, queries=np.array([row])) for row in range(600)]
    assert neighbour_overlap(student, teacher, k=5) == pytest.approx(np.mean(near))
    assert neighbour_overlap(student, teacher, k=5, queries=np.arange(50)) == pytest.approx(np.mean(near[:50]))
    assert np.isnan(neighbour_overlap(student, teacher, queries=np.array([], int)))
