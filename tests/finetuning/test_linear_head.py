"""Fitting a linear head on embeddings, its score, and the command that does it."""

import csv
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import sondino
from helpers.fake_dataset import blobs, labelled
from helpers.loudness import CARD, loudness_rows, write_list, write_loudness
from sondino import cli
from sondino.errors import OptionError
from sondino.finetuning.linear_head import check_out, fit_head, probe
from sondino.metrics.classification import score_of, score_with_interval

sklearn = pytest.importorskip("sklearn")


# ---- scores ---------------------------------------------------------------------------------------------------


def test_separable_labels_are_all_right_and_noise_is_chance() -> None:
    x, labels = blobs(20, gap=30.0)
    found = fit_head(x, labelled(labels))
    assert (found.score.value, found.score.clips) == (1.0, 60)
    assert found.score.interval95 == (pytest.approx(60 / (60 + 1.959964**2), abs=1e-4), 1.0)  # Wilson's of 60
    assert found.score.chance == pytest.approx(1 / 3) and len(found.score.rounds) == 5
    given = found.head.probabilities(x)
    assert [found.head.labels[i] for i in given.argmax(1)] == labels and np.allclose(given.sum(1), 1)
    noise = np.random.default_rng(1).standard_normal((300, 8))
    assert fit_head(noise, labelled(["a", "b", "c"] * 100)).score.value == pytest.approx(1 / 3, abs=0.1)


def test_more_numbers_than_clips_do_not_fool_the_score() -> None:
    noise = np.random.default_rng(1).standard_normal((60, 500))
    found = fit_head(noise, labelled(["a", "b"] * 30))
    assert found.score.value == pytest.approx(0.5, abs=0.2)
    assert (found.head.logits(noise).argmax(1) == np.arange(60) % 2).mean() == 1.0  # on what it has learnt by heart


def test_given_folds_are_scored_in_turn_and_the_penalty_never_sees_them() -> None:
    # In fold "d" labels are swapped: a head that had seen any of it would not be all wrong there.
    x, labels = np.tile([[-1.0], [1.0]], (40, 1)), ["low", "high"] * 40
    labels[60:] = ["high", "low"] * 10
    found = fit_head(x, labelled(labels, [fold for fold in "abcd" for _ in range(20)], "fold"))
    assert found.score.rounds == (1.0, 1.0, 1.0, 0.0)
    # Student's t: deviation 0.5 over 4 folds, t of 3 degrees of freedom 3.18: 0.75 +- 0.80.
    assert found.score.interval95 == (0.0, 1.0) and found.score.value == 0.75


def test_the_penalty_is_chosen_on_validation_clips() -> None:
    # Weak evidence in every number, and few clips: strong penalties do better, and are taken.
    rng = np.random.default_rng(2)
    answers = np.arange(60) % 2
    weak = rng.standard_normal((60, 200)) + 0.15 * (2 * answers[:, None] - 1)
    assert fit_head(weak, labelled([f"{a}" for a in answers])).C <= 0.01
    # One number that reports all, in two thirds of the clips only by a hair: weak penalties do better.
    x, labels = blobs(30, classes=2, dim=2, gap=2.0)
    assert fit_head(x, labelled(labels)).C >= 0.01


def test_a_split_is_scored_on_its_test_clips_which_are_not_learnt() -> None:
    x, labels = blobs(30, gap=30.0)
    split = ["train"] * 60 + ["valid"] * 15 + ["test"] * 15
    swapped = labels[:75] + labels[76:] + labels[75:76]  # every test clip is called after its neighbour
    found = fit_head(x, labelled(swapped, split, "split"))
    assert found.score.value == 0.0 and found.score.on == "the list's test clips" and found.score.clips == 15
    # Wilson's interval of none of 15: z^2 / (15 + z^2) = 0.2039.
    assert found.score.interval95 == (0.0, pytest.approx(0.2039, abs=1e-3))
    right = [found.head.labels[i] for i in found.head.logits(x).argmax(1)]
    assert right == labels and "75 labelled clips" in found.head.note


def test_several_labels_are_scored_by_mean_average_precision() -> None:
    x, labels = blobs(20, gap=30.0)
    both = [f"{label}+even" if i % 2 else label for i, label in enumerate(labels)]
    x = np.concatenate([x, 30.0 * (np.arange(60) % 2)[:, None]], 1)
    found = fit_head(x, labelled(both, multi=True))
    assert found.score.metric == "mAP" and found.score.value == 1.0
    assert found.score.chance == pytest.approx((20 + 20 + 20 + 30) / 60 / 4)
    assert (found.head.probabilities(x) > 0.5).tolist() == labelled(both, multi=True).targets().tolist()


def test_average_precision_by_hand() -> None:
    logits = np.array([[3.0, 0.0, 9.0], [2.0, 1.0, 9.0], [1.0, 2.0, 9.0]])
    targets = np.array([[1, 0, 0], [0, 0, 0], [1, 1, 0]], bool)
    # First label: hits at ranks 1 and 3, (1/1 + 2/3) / 2; second: at rank 1; third: none has it.
    assert score_of(logits, targets, "mAP") == pytest.approx((5 / 6 + 1) / 2)
    one = score_with_interval([logits], [targets], "mAP", "some clips")
    assert one.value == pytest.approx(11 / 12) and 0.0 <= one.interval95[0] <= one.value <= one.interval95[1] <= 1.0


def test_wilsons_interval_by_hand() -> None:
    logits, targets = np.zeros((10, 2)), np.zeros((10, 2), bool)
    targets[:8, 0] = targets[8:, 1] = True
    score = score_with_interval([logits], [targets], "accuracy", "ten clips")
    assert score.value == score.chance == 0.8
    assert score.interval95 == (pytest.approx(0.4901, abs=1e-3), pytest.approx(0.9433, abs=1e-3))
    assert str(score) == "accuracy 80.0 % (95 % interval 49.0 to 94.3), chance 80.0 %, on ten clips"


def test_embeddings_with_nan_get_a_message() -> None:
    x, labels = blobs(4)
    x[0, 0] = np.nan
    with pytest.raises(OptionError, match="NaN"):
        fit_head(x, labelled(labels))


# ---- into a bundle --------------------------------------------------------------------------------------------


def call(*arguments: object) -> int:
    with pytest.raises(SystemExit) as left:
        cli.main([str(argument) for argument in arguments])
    return int(left.value.code or 0)


def test_the_command_writes_a_copy_whose_vectors_are_the_same_to_the_bit(
    tmp_path: Path, make_tiny_bundle: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    sounds = write_loudness(tmp_path / "sounds")
    bundle = make_tiny_bundle(**CARD, scores={"validation_cosine": 0.9})
    before = {file.name: file.read_bytes() for file in bundle.iterdir()}
    assert call("probe", sounds, "--model", bundle, "--out", tmp_path / "mine", "--quiet") == 0
    shown = capsys.readouterr().out
    assert "24 clips, 3 labels: loud 8, middle 8, quiet 8" in shown and "accuracy 100.0 %" in shown
    assert {file.name: file.read_bytes() for file in bundle.iterdir()} == before
    old, new = sondino.load(bundle), sondino.load(tmp_path / "mine")
    assert np.array_equal(old.embed(str(sounds)), new.embed(str(sounds)))
    labels = [new.head.labels[i] for i in new.classify(str(sounds)).argmax(1)]
    assert labels == [str(row["label"]) for row in loudness_rows(sounds)]
    config = json.loads((tmp_path / "mine" / "config.json").read_text())
    assert config["head_score"]["value"] == 1.0 and config["scores"]["validation_cosine"] == 0.9
    assert "accuracy 100.0 %" in (tmp_path / "mine" / "card.md").read_text()


def test_background_is_learnt_and_never_reported_and_other_sound_is_unlike(
    tmp_path: Path, make_tiny_bundle: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    sounds = write_loudness(tmp_path / "sounds")
    (sounds / "middle").rename(sounds / "hiss")
    chosen = ["--background", "hiss", "--quiet"]
    assert call("probe", sounds, "--model", make_tiny_bundle(**CARD), "--out", tmp_path / "mine", *chosen) == 0
    shown = capsys.readouterr()
    assert (
        "24 clips, 2 labels: loud 8, quiet 8; 8 clips without a label" in shown.out and "8 clips of hiss" in shown.err
    )
    model = sondino.load(tmp_path / "mine")
    assert model.head is not None and model.head.labels == ("loud", "quiet", "background")
    assert model.classify(str(sounds / "hiss")).argmax(1).tolist() == [2] * 8
    table = tmp_path / "o.csv"
    louder = write_loudness(tmp_path / "other", clips=2, levels={"deafening": 3.0})
    found = {}
    for name, folder in (("hiss", sounds / "hiss"), ("loud", sounds / "loud"), ("other", louder)):
        assert call("classify", folder, "--model", tmp_path / "mine", "--output", table, "--quiet") == 0
        with table.open(newline="") as opened:
            found[name] = [(row["label"], float(row["unlike"])) for row in csv.DictReader(opened)]
    assert {label for rows in found.values() for label, _ in rows} <= {"loud", "quiet"}
    assert "loud" in {label for label, _ in found["loud"]}
    assert min(score for _, score in found["other"]) == 1.0 > np.mean([score for _, score in found["loud"]])
    assert call("classify", louder, "--model", tmp_path / "mine", "--max-unlike", "0.99", "--quiet") == 0
    assert "nothing of" in capsys.readouterr().out


def test_broken_files_are_listed_and_the_exit_code_is_1(
    tmp_path: Path, make_tiny_bundle: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    sounds = write_loudness(tmp_path / "sounds")
    (sounds / "loud" / "broken.wav").write_text("no sound")
    bundle = make_tiny_bundle(**CARD)
    assert call("probe", sounds, "--model", bundle, "--out", tmp_path / "mine", "--quiet") == 1
    shown = capsys.readouterr()
    assert "broken.wav" in shown.err and "24 clips" in shown.out
    assert sondino.load(tmp_path / "mine").head is not None


def test_a_list_in_python(tmp_path: Path, make_tiny_bundle: Callable[..., Path]) -> None:
    sounds = write_loudness(tmp_path / "sounds")
    rows = [{**row, "fold": i % 4} for i, row in enumerate(loudness_rows(sounds))]
    model = sondino.load(make_tiny_bundle(**CARD))
    seen: list[tuple[int, int]] = []
    found = probe(sounds, model, tmp_path / "mine", write_list(tmp_path / "l.csv", rows),
                  progress=lambda done, total, seconds: seen.append((done, total)))  # fmt: skip
    assert found.score.on == "the list's 4 folds in turn" and seen[-1] == (
        48,
        48,
    )  # each twice: as a whole, and by its windows
    several = [{"path": r["path"], "labels": f"{r['label']};{'odd' if i % 2 else ''}"} for i, r in enumerate(rows)]
    found = probe(sounds, model, tmp_path / "mine", write_list(tmp_path / "l.csv", several))
    assert found.head.multi_label and found.head.labels == ("loud", "middle", "odd", "quiet")
    opened = sondino.load(tmp_path / "mine")
    assert opened.head.labels == found.head.labels
    assert (opened.name, opened.config["backbone"]) == ("mine", model.name)
    again = sondino.load(probe(sounds, opened, tmp_path / "again", tmp_path / "l.csv") and tmp_path / "again")
    assert (again.name, again.config["backbone"]) == ("again", model.name), "the backbone is still the first one's"
    assert f"| backbone | that of {model.name} |" in (tmp_path / "again" / "card.md").read_text()


def test_a_mistake_gets_one_message_and_leaves_nothing(
    tmp_path: Path, make_tiny_bundle: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    sounds = write_loudness(tmp_path / "sounds", clips=2)
    bundle = make_tiny_bundle(**CARD)
    shutil.copytree(bundle, tmp_path / "copy")
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "dear.jpg").write_text("not ours")
    taken = "name a folder that does not exist yet"
    for out, message in (
        (bundle, "is the model itself"),
        (tmp_path / "photos", taken),
        (sounds / "loud" / "0.wav", taken),
    ):
        assert call("probe", sounds, "--model", bundle, "--out", out) == 2
        assert message in capsys.readouterr().err
    assert (tmp_path / "photos" / "dear.jpg").exists() and sondino.load(bundle).head is None
    check_out(tmp_path / "copy", bundle)  # an older bundle may be replaced
    (sounds / "only").mkdir()
    assert call("probe", sounds / "only", "--model", bundle, "--out", tmp_path / "mine") == 2
    assert not (tmp_path / "mine").exists()


WITHOUT = """
import sys
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == sys.argv[1]:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Absent())
from sondino import cli
cli.main(["probe", sys.argv[2], "--model", sys.argv[3], "--out", "mine"])
"""


@pytest.mark.parametrize(("absent", "code", "message"), [("sklearn", 2, "'sondino[report]'"), ("torch", 0, "accuracy")])
def test_it_needs_scikit_learn_and_no_torch(
    absent: str, code: int, message: str, tmp_path: Path, make_tiny_bundle: Callable[..., Path]
) -> None:
    sounds = write_loudness(tmp_path / "sounds", clips=2)
    command = [sys.executable, "-c", WITHOUT, absent, sounds, make_tiny_bundle(**CARD)]
    run = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert run.returncode == code and message in run.stdout + run.stderr, run.stderr


def test_the_same_seed_gives_the_same_head() -> None:
    x, labels = blobs(12, gap=1.0)
    one, same, other = (fit_head(x, labelled(labels), seed) for seed in (0, 0, 1))
    assert one.score == same.score and one.score.rounds != other.score.rounds
    assert np.array_equal(one.head.layers[0][0], same.head.layers[0][0])
