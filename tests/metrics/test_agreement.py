import subprocess
import sys

import numpy as np
import pytest

from sondino.errors import OptionError
from sondino.metrics import agreement as fidelity
from sondino.metrics.agreement import agreement, cosine, cosines, linear_cka, neighbour_overlap


def test_cosine_of_known_angles():
    ours = np.array([[1.0, 0.0], [1.0, 0.0], [3.0, 0.0], [0.0, 0.0]])
    theirs = np.array([[2.0, 0.0], [0.0, 5.0], [-1.0, 0.0], [1.0, 1.0]])
    assert cosine(ours[:1], theirs[:1]) == pytest.approx(1.0)
    assert cosine(ours[:2], theirs[:2]) == pytest.approx(0.5)
    assert cosine(ours, theirs) == pytest.approx(0.0, abs=1e-7)  # 1 + 0 - 1 + 0 for a row of zeros
    assert cosine(ours[:1], np.array([[1.0, 1.0]])) == pytest.approx(np.sqrt(0.5))
    assert np.isnan(cosine(ours[:0], theirs[:0]))


def test_cosines_are_row_by_row_in_the_precision_of_the_arrays():
    ours = np.array([[1.0, 0.0], [3.0, 3.0], [0.0, 0.0]], np.float32)
    found = cosines(ours, np.array([[2.0, 0.0], [1.0, 0.0], [1.0, 1.0]], np.float32))
    assert found.dtype == np.float32 and found == pytest.approx([1, np.sqrt(0.5), 0])
    assert cosines(ours.astype(float), ours.astype(float)).dtype == np.float64
    assert np.isnan(cosines(np.array([[np.nan, 1.0]]), np.array([[1.0, 1.0]])))


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


def test_wrong_shapes_are_errors():
    with pytest.raises(OptionError, match="one shape"):
        cosine(np.ones((2, 3)), np.ones((2, 4)))
    with pytest.raises(OptionError, match="same n"):
        neighbour_overlap(np.ones((2, 3)), np.ones((3, 3)))
    for compare in (agreement, linear_cka):
        with pytest.raises(OptionError, match="same n"):
            compare(np.ones((2, 3)), np.ones((3, 3)))
    with pytest.raises(OptionError, match="k = 1"):
        neighbour_overlap(np.ones((2, 3)), np.ones((2, 3)), 0)


def test_needs_neither_torch_nor_scikit_learn():
    code = "import sys, sondino.metrics.agreement; assert not {'torch', 'sklearn', 'scipy'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_only_the_rows_asked_about_count_and_all_rows_are_their_neighbours():
    rng = np.random.default_rng(3)
    teacher, student = rng.standard_normal((600, 8)), rng.standard_normal((600, 8))
    student[:50] = teacher[:50]
    near = [neighbour_overlap(student, teacher, k=5, queries=np.array([row])) for row in range(600)]
    assert neighbour_overlap(student, teacher, k=5) == pytest.approx(np.mean(near))
    assert neighbour_overlap(student, teacher, k=5, queries=np.arange(50)) == pytest.approx(np.mean(near[:50]))
    assert np.isnan(neighbour_overlap(student, teacher, queries=np.array([], int)))


def centred_kernel(x):
    x = x - x.mean(axis=0)
    return x @ x.T


def plain_cka(x, y):
    k, m = centred_kernel(x), centred_kernel(y)
    return (k * m).sum() / np.sqrt((k * k).sum() * (m * m).sum())


def unbiased_cka(x, y):
    """Song and others 2012, equation 5, with its matrices written out."""

    def hsic(k, m):
        n = len(k)
        k, m = k - np.diag(np.diag(k)), m - np.diag(np.diag(m))
        one = np.ones(n)
        whole = (one @ k @ one) * (one @ m @ one) / ((n - 1) * (n - 2))
        return (np.trace(k @ m) + whole - 2 / (n - 2) * one @ k @ m @ one) / (n * (n - 3))

    k, m = x @ x.T, y @ y.T
    return hsic(k, m) / np.sqrt(hsic(k, k) * hsic(m, m))


@pytest.mark.parametrize("block", [4_000_000, 200])
@pytest.mark.parametrize("n", [7, 150])
def test_cka_is_that_of_the_formula(monkeypatch, n, block):
    monkeypatch.setattr(fidelity, "_BLOCK_VALUES", block)
    rng = np.random.default_rng(n)
    teacher = 5 + rng.standard_normal((n, 40))
    student = teacher[:, :9] + rng.standard_normal((n, 9)) - 3
    assert linear_cka(student, teacher) == pytest.approx(plain_cka(student, teacher), abs=1e-5)
    assert linear_cka(student, teacher, unbiased=True) == pytest.approx(unbiased_cka(student, teacher), abs=1e-5)
    half = teacher.astype(np.float16)
    assert linear_cka(student, half) == pytest.approx(plain_cka(student, half.astype(float)), abs=1e-5)


def test_cka_of_few_clips_in_many_dimensions():
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((100, 400)), rng.standard_normal((100, 500))
    assert linear_cka(x, y) > 0.7  # what the plain formula is known for
    assert linear_cka(x, y, unbiased=True) == pytest.approx(0, abs=0.03)
    assert np.isnan(linear_cka(np.ones((9, 3)), x[:9]))
    assert np.isnan(linear_cka(x[:1], y[:1]))
    assert np.isnan(linear_cka(x[:3], y[:3], unbiased=True))


def test_agreement_of_a_turned_and_scaled_copy_is_whole():
    rng = np.random.default_rng(0)
    teacher = (rng.standard_normal((300, 24)) * np.linspace(1, 4, 24) + 2).astype(np.float32)
    turn = np.linalg.qr(rng.standard_normal((24, 24)))[0]
    found = agreement(7 * teacher @ turn + 11, teacher)
    assert found.cosine == pytest.approx(1, abs=1e-4)
    assert found.cosine_of_mean < 0.8
    assert (found.clips, found.searched) == (300, 150)
    assert (found.cka, found.cka_unbiased) == (pytest.approx(1, abs=1e-6), pytest.approx(1, abs=1e-6))
    assert (found.retrieval_at_1, found.retrieval_at_10) == (1.0, 1.0)
    unmoved = agreement(7 * teacher @ turn, teacher)
    assert unmoved.neighbour_overlap == 1.0  # cosine sees where the origin is, the map does not


def test_agreement_of_unrelated_spaces_is_near_chance():
    rng = np.random.default_rng(1)
    found = agreement(rng.standard_normal((2000, 20)), rng.standard_normal((2000, 30)) + 1)
    assert found.cosine == pytest.approx(found.cosine_of_mean, abs=0.02)
    assert found.cosine_of_mean == pytest.approx(np.sqrt(0.5), abs=0.02)  # a mean of length 1 a value in noise of 1
    assert found.cka_unbiased == pytest.approx(0, abs=0.01)
    assert found.neighbour_overlap == pytest.approx(10 / 1999, abs=0.003)
    assert found.searched == 1000
    assert found.retrieval_at_1 == pytest.approx(1 / 1000, abs=0.004)
    assert found.retrieval_at_10 == pytest.approx(10 / 1000, abs=0.01)


def test_the_map_is_scored_on_clips_that_it_was_not_fitted_on():
    rng = np.random.default_rng(2)
    student, teacher = rng.standard_normal((60, 50)), rng.standard_normal((60, 8))
    found = agreement(student, teacher)  # 30 clips to fit 50 weights: those would be met exactly
    assert abs(found.cosine) < 0.35
    assert found.retrieval_at_10 < 0.7


def test_agreement_draws_by_the_seed(monkeypatch):
    rng = np.random.default_rng(3)
    teacher = rng.standard_normal((400, 12))
    student = teacher[:, :6] + 0.5 * rng.standard_normal((400, 6))
    assert agreement(student, teacher, 5) == agreement(student, teacher, 5)
    assert agreement(student, teacher, 5).cosine != agreement(student, teacher, 6).cosine
    whole = agreement(student, teacher)
    monkeypatch.setattr(fidelity, "MOST_CLIPS", 200)
    drawn = agreement(student, teacher)
    assert (drawn.clips, drawn.searched) == (200, 100)
    assert drawn.cka != whole.cka
    assert drawn.cka == pytest.approx(whole.cka, abs=0.1)


@pytest.mark.parametrize("n", [0, 1, 3, 19])
def test_agreement_of_few_clips_is_none_where_undefined(n):
    x = np.random.default_rng(4).standard_normal((n, 5))
    found = agreement(x, x)
    assert (found.cosine, found.retrieval_at_1, found.retrieval_at_10, found.clips, found.searched) == (
        *(None, None, None),
        n,
        0,
    )
    assert found.neighbour_overlap == (1.0 if n > 1 else None)
    assert found.cka == (pytest.approx(1) if n > 1 else None)
    assert (found.cka_unbiased is None) == (n < 4)


def test_a_constant_student_retrieves_at_chance():
    teacher = np.random.default_rng(5).standard_normal((100, 6))
    found = agreement(np.ones((100, 4)), teacher)
    assert found.cka is None
    assert found.retrieval_at_1 == pytest.approx(1 / 50)  # all are equally near: one of 50 is right
    assert found.retrieval_at_10 == pytest.approx(10 / 50)
    twins = np.tile(teacher[:50], (2, 1))  # a clip and its copy cannot be distinguished
    assert 0.5 <= agreement(twins, twins).retrieval_at_1 < 1


def test_the_best_penalty_is_chosen_on_clips_that_it_was_not_fitted_on():
    rng = np.random.default_rng(6)
    student = rng.standard_normal((200, 100)).astype(np.float32)
    teacher = student[:, :3] + 3 * rng.standard_normal((200, 3)).astype(np.float32)
    assert fidelity._best_penalty(student, teacher) >= 0.1  # a weaker one fits the noise of the 160 others
    assert fidelity._best_penalty(student, student[:, :3]) <= 1e-3  # nothing to smooth
