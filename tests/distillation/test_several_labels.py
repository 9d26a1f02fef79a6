"""Training on clips with several labels each: pairs of tones in noise, whose labels are known."""

import itertools
import json
from pathlib import Path

import numpy as np
import pytest
import torch

import sondino
from helpers.bands import RATE, SMALL_RUN, Bands
from helpers.corpora import noise, write
from sondino.distillation.distill import distill
from sondino.distillation.losses import class_loss, marks_loss, mixed
from sondino.metrics.classification import chance_of, score_of

pytestmark = pytest.mark.usefixtures("traced_once")

TONES = {"a": 300, "b": 700, "c": 1500, "d": 2500, "e": 4000, "f": 6500}
"""Hertz of each label."""


def write_pairs(folder: Path, count: int, seed: int) -> list[tuple[Path, tuple[str, ...]]]:
    """Clips of two tones each, detuned, at levels of their own, in noise: each pair equally often."""
    rng, at = np.random.default_rng(seed), np.arange(RATE // 2) / RATE
    pairs, found = list(itertools.combinations(TONES, 2)), []
    for i in range(count):
        x = noise(0.5, 1000 * seed + i, RATE) * rng.uniform(0.05, 0.5)
        for name in pairs[i % len(pairs)]:
            hertz = TONES[name] * rng.uniform(0.97, 1.03)
            x = x + rng.uniform(0.1, 0.4) * np.sin(2 * np.pi * (hertz * at + rng.uniform()))
        found.append((write(folder / f"{i:03}.flac", (x / 2).astype(np.float32), RATE), pairs[i % len(pairs)]))
    return found


def listed(file: Path, rows: list[tuple[Path, tuple[str, ...]]]) -> Path:
    file.write_text("path,label\n" + "".join(f"{path},{';'.join(names)}\n" for path, names in rows))
    return file


def metrics_of(run: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def test_the_losses_of_labels() -> None:
    logits = torch.tensor([[0.0, 0.0], [2.0, -1.0], [5.0, 5.0]])
    marks = torch.tensor([[1.0, 0.0], [1.0, 1.0], [-1.0, -1.0]])
    soft = torch.nn.functional.softplus
    expected = [float(np.log(2)), float((soft(torch.tensor(-2.0)) + soft(torch.tensor(1.0))) / 2), 0.0]
    assert marks_loss(logits, marks).tolist() == pytest.approx(expected)
    assert class_loss(logits, torch.tensor([0, 1, -1])).tolist() == pytest.approx([np.log(2), np.log(1 + np.exp(3)), 0])
    swapped, share = torch.tensor([1, 0, 2]), torch.full((3,), 0.75)
    own, other = marks_loss(logits, marks), marks_loss(logits, marks[swapped])
    assert torch.allclose(mixed(marks_loss, logits, marks, swapped, share), 0.75 * own + 0.25 * other)


def test_a_run_on_several_labels_has_their_head_and_scores(tmp_path: Path) -> None:
    rows = write_pairs(tmp_path / "sounds", 30, 1)
    rows[3] = (rows[3][0], ())  # one without a label
    distill(
        listed(tmp_path / "list.csv", rows), out=tmp_path / "run", label_weight=1.0, epochs=1, mixup=0.3, **SMALL_RUN
    )
    last = metrics_of(tmp_path / "run")[-1]
    assert 0 < last["validation_mAP"] <= 1 and 0 < last["validation_mAP_by_chance"] < 1
    assert "validation_accuracy" not in last
    model = sondino.load(tmp_path / "run")
    assert model.head is not None and model.head.labels == tuple(TONES) and model.head.multi_label
    probabilities = model.classify([path for path, _ in rows[:4]])
    assert probabilities.shape == (4, 6) and not np.allclose(probabilities.sum(1), 1)
    student = next(
        r for r in json.loads((tmp_path / "run/summary.json").read_text())["table"] if r["role"] == "student"
    )
    assert student["own_mAP"] == max(m["validation_mAP"] for m in metrics_of(tmp_path / "run"))
    assert 0 < student["probe_mAP"] <= 1 and "probe_accuracy" not in student
    assert "own labels" in (tmp_path / "run" / "report.html").read_text()


@pytest.mark.full
def test_labels_are_learnt_beside_a_teacher(tmp_path: Path) -> None:
    rows, unseen = write_pairs(tmp_path / "sounds", 90, 1), write_pairs(tmp_path / "unseen", 45, 2)
    truth = np.array([[name in names for name in TONES] for _, names in unseen])
    options = {
        "teacher": Bands(),
        "epochs": 8,
        "lr": 3e-3,
        "clusters": 0,
        "validation": 0.05,
        "page": False,
        **SMALL_RUN,
    }

    def own_map(name: str, labels: list[tuple[str, ...]]) -> float:
        list_file = listed(tmp_path / f"{name}.csv", [(row[0], own) for row, own in zip(rows, labels, strict=True)])
        model = sondino.load(distill(list_file, out=tmp_path / name, label_weight=0.9, **options))
        return score_of(model.classify([path for path, _ in unseen]), truth, "mAP")

    chance = chance_of(truth, "mAP")
    assert chance == pytest.approx(1 / 3)
    labels = [names for _, names in rows]
    order = np.random.default_rng(0).permutation(len(labels)).tolist()
    learnt, scrambled = own_map("learnt", labels), own_map("scrambled", [labels[i] for i in order])
    assert learnt > chance + 0.25 and learnt > scrambled + 0.2
    without = distill(tmp_path / "learnt.csv", out=tmp_path / "without", **{**options, "epochs": 1})
    assert sondino.load(without).head is None and "validation_mAP" not in metrics_of(tmp_path / "without")[-1]
