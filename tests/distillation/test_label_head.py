"""A student's head with its teacher's labels."""

import logging

import numpy as np
import pytest

import sondino
from helpers.bands import SMALL_RUN, Bands, write_band_sounds
from sondino.distillation.distill import distill
from sondino.distillation.label_head import TeacherLabels, clips_to_fit, epochs_of, find_labels, fit_head
from sondino.encoder.head import Head
from sondino.errors import OptionError
from sondino.files import read_json
from sondino.metrics.classification import label_agreement
from sondino.teachers.label_names import numbered
from sondino.teachers.last_layer import LOGITS

RNG = np.random.default_rng(7)
WEIGHT, BIAS = RNG.standard_normal((4, 6)).astype(np.float32), RNG.standard_normal(4).astype(np.float32)
NAMES = ("dog", "cat", "rain", "bell")


class Labelled(Bands):
    """Bands with four classes on their embedding."""

    name = "labelled"
    head = Head("teacher", NAMES, True, ((WEIGHT / 4, BIAS),), note="classes of bands")


@pytest.mark.parametrize("multi_label", [True, False])
def test_a_head_on_an_orthogonal_map_of_the_targets_gives_the_teachers_probabilities(multi_label):
    """A linear map to the teacher's logits exists; the labels are rare, so that the prior alone is far off."""
    targets = RNG.standard_normal((3000, 6)).astype(np.float16)
    mix = np.linalg.qr(RNG.standard_normal((6, 6)))[0]
    embeddings = (100 + 20 * targets.astype(np.float32) @ mix).astype(np.float32)
    labels = TeacherLabels(0, "bands?rate=1", Head("t", NAMES, multi_label, ((WEIGHT / 2, BIAS - 2),)))
    head = fit_head(embeddings, targets, labels)
    assert head.name == "labels of bands" and head.labels == NAMES and head.multi_label == multi_label
    expected = labels.head.probabilities(targets.astype(np.float32))
    found = head.probabilities(embeddings)
    assert np.abs(found - expected).mean() < 0.02
    assert (found.argmax(1) == expected.argmax(1)).mean() > 0.97


@pytest.mark.parametrize(
    ("labels", "draws", "clips"),
    [
        (527, 8_000, 20_000),
        (527, 400_020, 20_001),
        (527, 1_966_080, 98_304),
        (527, 10_000_000, 100_000),
        (6_522, 10_000_000, 15_332),  # 1e8 probabilities
    ],
)
def test_how_many_clips_a_head_is_fitted_to(labels, draws, clips):
    assert clips_to_fit(labels, draws) == clips


@pytest.mark.parametrize(
    ("clips", "epochs"), [(256, 500), (20 * 256, 30), (80 * 256, 30), (81 * 256, 29), (2401 * 256, 1)]
)
def test_many_clips_are_each_taken_fewer_times(clips, epochs):
    assert epochs_of(clips) == epochs


def test_agreement_by_hand():
    teacher = np.array([[0.9, 0.6, 0.1], [0.2, 0.3, 0.1], [0.1, 0.2, 0.8]])
    student = np.array([[0.8, 0.3, 0.1], [0.6, 0.3, 0.2], [0.05, 0.1, 0.95]])
    # Labels: (0, 1), (1,), (2,). By the student: 0 is first of three; 1 holds both places of 0.3; 2 is first.
    found = label_agreement(student, teacher, multi_label=True)
    assert found["top1"] == pytest.approx(2 / 3)
    assert found["mAP"] == pytest.approx(1)
    # Bins of 0.8, 0.6 and 0.95: differences 0.1, 0.4 and 0.15, a third each.
    assert found["calibration_error"] == pytest.approx((0.1 + 0.4 + 0.15) / 3)
    assert label_agreement(teacher, teacher, multi_label=True) == {"top1": 1, "mAP": 1, "calibration_error": 0}


def test_which_labels_are_kept(tmp_path, caplog):
    plain, labelled = Bands(), Labelled()
    assert find_labels({"a": plain}, "auto", None) is None
    found = find_labels({"a": plain, "b": labelled}, "auto", None)
    assert found is not None and (found.teacher, found.name, found.head.labels) == (1, "b", NAMES)
    assert find_labels({"b": labelled}, "no", None) is None
    (tmp_path / "names.txt").write_text("a\nb\nc\nd\n")
    renamed = find_labels({"b": labelled}, "auto", str(tmp_path / "names.txt"))
    assert renamed is not None and renamed.head.labels == ("a", "b", "c", "d")
    with pytest.raises(OptionError, match="no teacher has labels: leave them out"):
        find_labels({"a": plain}, "auto", str(tmp_path / "names.txt"))
    unnamed = Labelled()
    unnamed.head = Head("teacher", numbered(4), True, ((WEIGHT, BIAS),))
    with caplog.at_level(logging.WARNING):
        find_labels({"b": unnamed}, "auto", None)
    assert "labelled has 4 labels and no names for them" in caplog.text and "--label-names" in caplog.text
    unnamed.head = Head(LOGITS, numbered(4), True, ((WEIGHT, BIAS),))
    with caplog.at_level(logging.WARNING):
        assert find_labels({"b": unnamed}, "auto", None) is None
    assert "may be classes or another embedding" in caplog.text
    assert find_labels({"b": unnamed}, "auto", str(tmp_path / "names.txt")) is not None


@pytest.mark.usefixtures("traced_once")
def test_a_bundle_has_the_labels_of_its_teacher_and_the_same_embeddings(tmp_path):
    sounds = write_band_sounds(tmp_path / "sounds")
    options = {"epochs": 2, "validation": 0.2, "page": False, **SMALL_RUN}
    with_labels = sondino.load(distill(sounds, teacher=Labelled(), out=tmp_path / "a", **options))
    without = sondino.load(distill(sounds, teacher=Labelled(), out=tmp_path / "b", keep_labels="no", **options))
    assert with_labels.head is not None and with_labels.head.labels == NAMES and without.head is None
    files = sorted(sounds.glob("*.wav"))[:5]
    assert np.array_equal(with_labels.embed(files), without.embed(files))
    assert with_labels.classify(files).shape == (5, 4)
    config = read_json(tmp_path / "a" / "bundle" / "config.json")
    student = read_json(tmp_path / "a" / "summary.json")["table"][1]
    assert 0 <= config["scores"]["label_top1"] == student["label_top1"] <= 1
    assert (
        "labels of labelled" in config["head"]["name"]
        and "fitted to the teacher's probabilities" in config["head"]["note"]
    )
    card = (tmp_path / "a" / "bundle" / "card.md").read_text()
    assert "label top1" in card and "dog, cat, rain, bell" in card
