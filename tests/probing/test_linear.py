"""Linear classifiers: the solution is scikit-learn's."""

import numpy as np
import pytest

from helpers.fake_dataset import blobs, labelled
from sondino.encoder.head import softmax
from sondino.probing.linear import Linear, fit_linear, standard

sklearn = pytest.importorskip("sklearn")


@pytest.mark.parametrize(("count", "dim", "classes"), [(60, 8, 3), (60, 8, 2), (20, 50, 3), (20, 50, 2)])
def test_it_is_scikit_learns_regression_with_the_standardising_inside(count: int, dim: int, classes: int) -> None:
    from sklearn.linear_model import LogisticRegression
    from sklearn.preprocessing import StandardScaler

    rng = np.random.default_rng(0)
    answers = np.arange(count) % classes
    x = 100 * rng.standard_normal((count, dim)) * rng.uniform(0.001, 10, dim) + rng.uniform(-50, 50, dim)
    x[:, 0] += answers
    x[:, 1] = 7.0  # constant: no information, and no deviation to divide by
    ((weight, bias),) = fit_linear(x, np.eye(classes, dtype=bool)[answers], [0.1], False)
    scaler = StandardScaler().fit(x)
    with_sklearn = LogisticRegression(C=0.1, max_iter=1000, tol=1e-8).fit(scaler.transform(x), answers)
    expected = with_sklearn.predict_proba(scaler.transform(x))
    assert np.allclose(softmax(x @ weight.T + bias), expected, atol=5e-3)
    assert weight[:, 1].tolist() == [0.0] * classes


def test_of_several_labels_each_has_its_own_regression() -> None:
    from sklearn.linear_model import LogisticRegression

    rng = np.random.default_rng(0)
    x = rng.standard_normal((80, 4))
    targets = np.stack(
        [x[:, 0] > 0, x[:, 1] + 0.5 * rng.standard_normal(80) > 1, np.zeros(80, bool), np.ones(80, bool)], 1
    )
    ((weight, bias),) = fit_linear(x, targets, [1.0], True)
    z = (x - x.mean(0)) / x.std(0)
    for label in (0, 1):
        model = LogisticRegression(C=1.0).fit(z, targets[:, label])
        assert np.allclose(x @ weight[label] + bias[label], model.decision_function(z), atol=1e-2)
    assert (x @ weight[2] + bias[2]).max() < -20 and (x @ weight[3] + bias[3]).min() > 20  # never, and always


def test_a_label_without_training_clips_is_never_given() -> None:
    x, labels = blobs(10)
    targets = labelled(labels).targets()
    targets[:, 2] = False
    targets[:, 0] |= ~targets.any(1)
    ((weight, bias),) = fit_linear(x, targets, [0.1], False)
    assert set((x @ weight.T + bias).argmax(1)) <= {0, 1}
    ((weight, bias),) = fit_linear(x, targets & (np.arange(3) == 0), [0.1], False)
    assert set((x @ weight.T + bias).argmax(1)) == {0}


def test_marks_that_are_not_known_do_not_count() -> None:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((120, 5))
    targets = x[:, :3] + 0.5 * rng.standard_normal((120, 3)) > 0
    known = rng.random((120, 3)) < 0.5
    wrong = np.where(known, targets, ~targets)
    (first,) = fit_linear(x, targets, [0.1], True, known)
    (second,) = fit_linear(x, wrong, [0.1], True, known)
    assert np.array_equal(first.weight, second.weight) and np.array_equal(first.bias, second.bias)
    (everything,) = fit_linear(x, wrong, [0.1], True)
    assert not np.allclose(everything.weight, first.weight, atol=0.05)


@pytest.mark.parametrize("multi_label", [False, True])
def test_the_way_along_the_penalties_ends_where_a_fresh_start_does(multi_label: bool) -> None:
    x, labels = blobs(40, classes=4, gap=1.5)
    targets = labelled(labels).targets()
    *_, last = fit_linear(x, targets, (0.001, 0.01, 0.1, 1.0), multi_label)
    (fresh,) = fit_linear(x, targets, (1.0,), multi_label)
    assert np.abs(last.logits(x) - fresh.logits(x)).max() < 0.05 < np.abs(fresh.logits(x)).max()


def test_rows_alone_are_learnt_from_and_standardised_by() -> None:
    x, labels = blobs(20, gap=1.0)
    targets = labelled(labels).targets()
    rows = np.arange(60) < 45
    spoilt = np.where(rows[:, None], x, 1e6)
    (one,), (other,) = (fit_linear(of, targets, [0.1], False, rows=rows) for of in (x, spoilt))
    (alone,) = fit_linear(x[rows], targets[rows], [0.1], False)
    assert np.array_equal(one.weight, other.weight) and np.array_equal(one.weight, alone.weight)


def test_logits_and_deviations_of_more_rows_than_a_block() -> None:
    rng = np.random.default_rng(0)
    x = (5 + rng.standard_normal((9000, 3))).astype(np.float32)
    linear = Linear(rng.standard_normal((2, 3)), np.array([1.0, -1.0]))
    assert np.allclose(linear.logits(x), x @ linear.weight.T + linear.bias, atol=1e-4)
    mean, deviation = standard(x)
    assert np.allclose(mean, x.mean(0, dtype=float)) and np.allclose(deviation, x.std(0, dtype=float))
