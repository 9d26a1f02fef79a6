from dataclasses import replace

import numpy as np
import pytest

from helpers.fake_dataset import labelled
from sondino.errors import OptionError
from sondino.metrics.classification import score_of
from sondino.probing.probe import _resampled, probe, probe_labels
from sondino.tasks.labelled import Clip, Labelled
from sondino.tasks.splits import make_splits


def blobs(per_class: int, classes: int = 3, dim: int = 8, gap: float = 6.0, seed: int = 0):
    rng = np.random.default_rng(seed)
    labels = np.repeat([f"class{i}" for i in range(classes)], per_class)
    centres = gap * np.eye(classes, dim)
    return rng.standard_normal((len(labels), dim)) + np.repeat(centres, per_class, axis=0), labels


def test_separable_classes_are_all_right_and_noise_is_chance():
    x, y = blobs(20, gap=30.0)
    result = probe_labels(x, y)
    assert result.value == 1.0
    assert len(result.fold_scores) == 5
    assert result.chance == pytest.approx(1 / 3)
    noise = np.random.default_rng(1).standard_normal((600, 8))
    assert probe_labels(noise, np.resize(["a", "b", "c"], 600)).value == pytest.approx(1 / 3, abs=0.07)


def test_given_folds_are_left_out_one_at_a_time():
    # Two folds whose labels are swapped: what one teaches is wrong in the other, so every answer is wrong.
    x = np.array([[1.0], [-1.0]] * 20)
    y = np.array(["up", "down"] * 10 + ["down", "up"] * 10)
    folds = np.repeat([1, 2], 20)
    assert probe_labels(x, y, folds).fold_scores == (0.0, 0.0)
    # Drawn folds of the same clips mix both halves and know nothing.
    assert probe_labels(x, y).value == pytest.approx(0.5, abs=0.3)


def test_standardising_sees_the_training_folds_only():
    # The first dimension is always right, the second is right 8 times in 10 in fold "a" and never in fold "b".
    # Fold "b" has one clip a million times too large: were it counted when standardising, the first dimension
    # would be squeezed to nothing, the probe would trust the second, and all of "b" would be wrong.
    sign = np.tile([-1.0, 1.0], 20)
    first, second = sign.copy(), sign.copy()
    second[:4] *= -1
    second[20:] *= -1
    first[20] *= 1e6
    y = np.where(sign > 0, "high", "low")
    result = probe_labels(np.stack([first, second], axis=1), y, np.repeat(["a", "b"], 20))
    assert result.fold_scores[1] == 1.0


def test_interval_is_students_t_over_folds():
    # Fold 1 is all right; in fold 2 half of the labels are flipped, which also costs nothing in fold 1.
    x = np.tile([[-1.0], [1.0]], (20, 1))
    y = np.tile(["low", "high"], 20)
    y[30:] = np.tile(["high", "low"], 5)
    y[:10] = np.tile(["low", "high"], 5)
    result = probe_labels(x, y, np.repeat([0, 1, 2, 3], 10))
    assert result.fold_scores == (1.0, 1.0, 1.0, 0.0)
    assert result.value == 0.75
    # t of 3 degrees of freedom 3.18, deviation 0.5, root of 4: 0.75 +- 0.80, kept within what an accuracy can be.
    assert result.interval95 == (0.0, 1.0)
    tight = probe_labels(x[:30], np.where(np.arange(30) == 29, "low", y[:30]), np.repeat([0, 1, 2], 10))
    assert tight.fold_scores == (1.0, 1.0, 0.9)
    deviation = np.std([1.0, 1.0, 0.9], ddof=1)
    assert tight.interval95[0] == pytest.approx(0.9666667 - 4.302653 * deviation / np.sqrt(3), abs=1e-5)


def test_tiny_classes_are_dropped_by_name():
    x, y = blobs(10, gap=30.0)
    x, y = np.concatenate([x, x[:1], x[:3]]), np.concatenate([y, ["lonely"], ["three"] * 3])
    result = probe_labels(x, y)
    assert result.notes == ("left out, with one clip alone: lonely",)
    assert list(result.per_label) == ["class0", "class1", "class2", "three"]
    assert result.clips == 33


def test_folds_that_are_drawn_are_drawn_once_for_each_seed():
    x, y = blobs(12, gap=1.0)
    one, three = probe_labels(x, y), probe_labels(x, y, seeds=3)
    assert len(one.fold_scores) == 5 and len(three.fold_scores) == 15
    assert one.fold_scores == three.fold_scores[:5] != three.fold_scores[5:10]
    assert three.interval == "t over 5 folds drawn by 3 seeds, corrected for shared clips"
    # Nadeau and Bengio: the variance of 15 scores, times 1/15 and the test share over the training share, 1/4.
    half = 2.144787 * np.std(three.fold_scores, ddof=1) * np.sqrt(1 / 15 + 1 / 4)
    assert three.interval95[0] == pytest.approx(np.mean(three.fold_scores) - half, abs=1e-5)
    # A list's own folds leave nothing to draw.
    assert len(probe_labels(x, y, np.arange(36) // 3 % 4, seeds=3).fold_scores) == 4


def test_a_class_within_one_fold_is_reported():
    x, y = blobs(10)
    folds = np.tile([1, 2], 15)
    folds[:10] = 1
    assert "all clips of class0 lie in one part" in probe_labels(x, y, folds).notes[-1]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda x, y: (x[:-1], y, None), "one label"),
        (lambda x, y: (x, y, [1, 2]), "one fold"),
        (lambda x, y: (np.where(x == x[3, 0], np.nan, x), y, None), "1 of 30 embeddings hold NaN"),
        (lambda x, y: (x, np.full(30, "same"), None), "two labels"),
        (lambda x, y: (x, np.arange(30).astype(str), None), "two labels"),
        (lambda x, y: (x, y, np.ones(30)), "one fold alone"),
    ],
)
def test_what_cannot_be_probed_is_an_error(change, message):
    x, y, folds = change(*blobs(10))
    with pytest.raises(OptionError, match=message):
        probe_labels(x, y, folds)


# ---- splits, masks and scores --------------------------------------------------------------------------------


def test_a_split_is_drawn_again_by_recording_for_its_interval():
    rng = np.random.default_rng(0)
    labels = ["high" if i % 2 else "low" for i in range(400)]
    x = np.array([[1.0 if name == "high" else -1.0] for name in labels]) + 0.01 * rng.standard_normal((400, 1))
    split = ["train"] * 100 + ["valid"] * 100 + ["test"] * 200
    noisy = list(labels)
    for i in range(200, 250):  # a quarter of the test clips are called otherwise
        noisy[i] = "low" if labels[i] == "high" else "high"
    clips = labelled(noisy, split, "split")
    found = probe(x, clips)
    assert found.value == found.accuracy == 0.75 and found.fold_scores == (0.75,) and found.chance == 0.5
    assert found.interval == "bootstrap over test recordings" and found.knn == 0.75
    # A share of 200 clips that are drawn one by one: 1.96 x root of (0.75 x 0.25 / 200) = 0.060.
    assert found.interval95 == (pytest.approx(0.69, abs=0.02), pytest.approx(0.81, abs=0.02))
    # Cut from four recordings, of which one is all wrong: the interval must be much wider.
    few = replace(clips, clips=tuple(replace(clip, source=str(int(clip.id) // 50)) for clip in clips.clips))
    low, high = probe(x, few).interval95
    assert low < 0.5 and high == 1.0


def test_the_penalty_is_not_chosen_on_test_clips():
    # On validation clips the second dimension is useless; on test clips it decides.
    rng = np.random.default_rng(1)
    labels = ["a", "b"] * 60
    sign = np.array([-1.0, 1.0] * 60)
    x = np.stack([sign + 0.5 * rng.standard_normal(120), sign], 1)
    x[:40, 1] *= np.where(rng.random(40) < 0.5, 1, -1)
    split = ["train"] * 40 + ["valid"] * 40 + ["test"] * 40
    clips = labelled(labels, split, "split")
    changed = labelled(labels[:80] + ["b", "a"] * 20, split, "split")
    assert probe(x, clips).C == probe(x, changed).C
    assert probe(x, clips).value == pytest.approx(1 - probe(x, changed).value)


def test_marks_that_are_not_known_are_neither_learnt_nor_scored():
    rng = np.random.default_rng(0)
    x = rng.standard_normal((200, 4))
    has = x[:, :2] > 0
    clips = tuple(
        Clip(str(i), str(i), tuple(n for n, h in zip("ab", has[i], strict=True) if h), "test" if i > 120 else "train",
             str(i), known=("a", "b") if i % 2 else ("a",))
        for i in range(200)
    )  # fmt: skip
    labels = Labelled(clips, ("a", "b"), True, "split")
    lied = Labelled(
        tuple(replace(c, labels=(*(set(c.labels) - {"b"}), *({"b"} - set(c.labels)))) if c.known == ("a",) else c
              for c in clips), ("a", "b"), True, "split",
    )  # fmt: skip
    honest, other = probe(x, labels), probe(x, lied)
    assert honest.metric == "mAP" and honest.value > 0.95
    assert (honest.value, honest.interval95, honest.knn) == (other.value, other.interval95, other.knn)
    assert honest.accuracy is None and set(honest.per_label) == {"a", "b"}
    rows = np.arange(121, 200)
    shares = [has[rows, 0].mean(), has[rows[rows % 2 == 1], 1].mean()]
    assert honest.chance == pytest.approx(np.mean(shares))


def test_bootstrap_of_average_precision_at_one_draw_of_each_is_its_value():
    rng = np.random.default_rng(0)
    logits, targets = rng.standard_normal((50, 3)), rng.random((50, 3)) < 0.3
    known = rng.random((50, 3)) < 0.8
    once = np.ones((1, 50), int)
    assert _resampled(logits, targets, known, once, "mAP")[0] == pytest.approx(score_of(logits, targets, "mAP", known))
    # Each clip twice is no other score than each once.
    assert _resampled(logits, targets, known, 2 * once, "mAP")[0] == pytest.approx(
        score_of(np.repeat(logits, 2, 0), np.repeat(targets, 2, 0), "mAP", np.repeat(known, 2, 0)), abs=0.02
    )


def test_predictions_are_of_held_out_clips_each_once():
    x, y = blobs(10, gap=30.0)
    found = probe_labels(x, y, seeds=2)
    assert sorted(found.rows.tolist()) == list(range(30))
    assert (found.probabilities.argmax(1) == found.rows // 10).all()
    assert found.probabilities.sum(1) == pytest.approx(1) and found.per_label == {f"class{i}": 1.0 for i in range(3)}


def test_seeds_below_one_are_an_error():
    x, y = blobs(10)
    with pytest.raises(OptionError, match="seeds is 0"):
        probe_labels(x, y, seeds=0)


# ---- clips excluded from training -------------------------------------------------------------------------------


def test_a_recording_of_the_test_clips_is_not_learnt_from_valid():
    # Valid and test hold the same recordings, of labels that nothing reports apart but the recording itself.
    rng = np.random.default_rng(0)
    labels = [f"{i % 2}" for i in range(240)]
    x = rng.standard_normal((240, 40))
    x[160:200] = x[200:]  # each test clip once more among valid
    split = ["train"] * 160 + ["valid"] * 40 + ["test"] * 40
    apart = labelled(labels, split, "split")
    torn = replace(
        apart,
        clips=tuple(replace(c, source=f"{int(c.id) - 40 if c.fold == 'test' else c.id}") for c in apart.clips),
    )
    assert probe(x, apart).knn > 0.85  # it finds each clip again
    assert probe(x, torn).knn < 0.7 and probe(x, torn).value < 0.75


def test_a_rare_label_takes_no_clips_from_the_others():
    x, y = blobs(40, gap=30.0)
    rare = probe_labels(np.concatenate([x, x[:2]]), np.concatenate([y, ["rare", "rare"]]))
    assert len(rare.fold_scores) == 5


def test_small_lists_choose_over_all_other_folds_and_large_ones_over_the_next():
    for per_class, turns in ((20, 4), (400, 0)):
        _, y = blobs(per_class)
        clips = labelled(y.tolist(), [str(i % 5) for i in range(len(y))], "fold")
        (first, *_), _ = make_splits(clips, 0)
        assert len(first.folds) == turns
        for fold in first.folds:
            assert fold.any() and not (fold & first.test).any()


def test_two_given_folds_are_two_however_many_seeds():
    x, y = blobs(12, gap=1.0)
    found = probe_labels(x, y, np.arange(36) // 3 % 2, seeds=4)
    assert found.interval in ("t over 2 given folds", "Wilson's, over recordings")
    values = np.array(found.fold_scores).reshape(-1, 2).mean(0)
    half = 12.7062 * np.std(values, ddof=1) / 2**0.5
    assert found.interval95[0] == pytest.approx(max(0.0, values.mean() - half), abs=1e-3)


def test_all_right_is_not_certain():
    x, y = blobs(10, gap=30.0)
    found = probe_labels(x, y)
    # Wilson's interval of 30 of 30: 30 / (30 + 1.96 squared) to 1.
    assert found.value == 1.0 and found.interval == "Wilson's, over recordings"
    assert found.interval95 == (pytest.approx(30 / (30 + 1.959964**2), abs=1e-4), 1.0)


def test_parts_without_a_label_have_no_average_precision():
    rng = np.random.default_rng(0)
    clips = tuple(
        Clip(str(i), str(i), ("a",) if 40 <= i < 80 and i % 2 else (), str(i // 20), str(i)) for i in range(80)
    )
    found = probe(rng.standard_normal((80, 3)), Labelled(clips, ("a",), True, "fold"))
    assert len(found.fold_scores) == 2 and found.chance == 0.5 and found.value == found.mean_average_precision
    assert found.value == pytest.approx(0.5, abs=0.3)
