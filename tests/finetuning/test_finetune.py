"""Fine-tuning: a head alone on embeddings, or with the backbone from sound; validation, checkpoints, the bundle."""

import copy
import itertools
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("accelerate")
from safetensors.torch import load_file
from torch import nn

import sondino
from helpers.loudness import CARD, loudness_rows, write_list, write_loudness
from helpers.tiny_student import RATE, write_paper_bundle
from sondino import cli
from sondino.audio.windows import (
    Windowing,
    merge,
    stack_windows,
)
from sondino.errors import (
    OptionError,
    RunError,
)
from sondino.finetuning.clips import gather
from sondino.finetuning.finetune import (
    Finetuned,
    finetune,
)
from sondino.finetuning.train import (
    NetworkEncoder,
    Plan,
    Trainer,
    best_of,
    is_over,
    label_weights,
    loss_for,
    train_head,
    validation_score,
)
from sondino.model.head_layers import (
    Standard,
    after,
    as_head,
    new_layers,
    unfolded,
)
from sondino.model.torch_model import TorchModel
from sondino.probing.linear import standard
from sondino.tasks.labelled import read_labelled
from sondino.tasks.splits import (
    Fold,
    holdout,
)
from sondino.training.accelerator import make_accelerator

PLAN = Plan(False, "linear", (), 3, 1e-3, 4, 0.25, "repeat", 0)


def call(*arguments: object) -> int:
    with pytest.raises(SystemExit) as left:
        cli.main([str(argument) for argument in arguments])
    return int(left.value.code or 0)


# ---- pieces ---------------------------------------------------------------------------------------------------


def test_labels_are_weighted_where_they_are_far_apart() -> None:
    even = np.eye(3, dtype=bool)[np.arange(12) % 3]
    assert label_weights(even) is None
    uneven = np.eye(3, dtype=bool)[[0] * 20 + [1] * 5 + [2] * 5]
    assert label_weights(uneven).tolist() == [0.5, 2.0, 2.0]
    rare = np.eye(2, dtype=bool)[[0] * 99 + [1]]
    assert label_weights(rare).tolist() == [pytest.approx(50 / 99), 10.0]  # 50 would let one clip rule the rest


def test_the_loss_is_weighted_cross_entropy_or_a_binary_one_a_label() -> None:
    cpu, logits = torch.device("cpu"), torch.tensor([[2.0, 0.0], [0.0, 0.0]])
    wanted = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    first, second = np.log(1 + np.exp(-2)), np.log(2)
    even, uneven = np.eye(2, dtype=bool), np.eye(2, dtype=bool)[[0, 0, 0, 1]]
    assert float(loss_for(even, False, cpu)(logits, wanted)) == pytest.approx((first + second) / 2)
    weighted = (first * 2 / 3 + second * 2) / (2 / 3 + 2)
    assert float(loss_for(uneven, False, cpu)(logits, wanted)) == pytest.approx(weighted)
    own = (np.log(1 + np.exp(-2)) + np.log(2) + np.log(2) + np.log(2)) / 4
    assert float(loss_for(even, True, cpu)(logits, wanted)) == pytest.approx(own)
    assert float(loss_for(uneven, True, cpu)(logits, wanted)) == pytest.approx(
        (first * 2 / 3 + np.log(2) + np.log(2) + 2 * np.log(2)) / 4
    )


def test_training_ends_with_the_epochs_or_when_none_is_better_for_long() -> None:
    def over(*scores: float) -> bool:
        return is_over([(score, -1.0) for score in scores], plan)

    plan = replace(PLAN, epochs=30)
    assert plan.patience == 15 and replace(plan, epochs=10).patience == 8
    assert not over(0.5) and not over(0.5, *[0.4] * 14)
    assert over(0.5, *[0.5] * 15)  # as good is no better
    assert not over(0.5, 0.4, 0.6, *[0.4] * 14)
    assert not over(*np.linspace(0, 1, 30)) and over(*np.linspace(0, 1, 31))


def test_of_epochs_that_are_right_equally_often_the_surer_one_is_better() -> None:
    targets = np.array([[True, False], [False, True]])
    sure, unsure, wrong = np.array([[2.0, 0.0], [0.0, 2.0]]), np.array([[1.0, 0.0], [0.0, 1.0]]), -np.eye(2)
    scores = [validation_score(logits, targets, False) for logits in (unsure, sure, wrong, sure)]
    assert scores[0] == (1.0, pytest.approx(-np.log(1 + np.exp(-1)))) and best_of(scores) == 1
    several = validation_score(np.array([[2.0, -1.0], [-1.0, 2.0]]), targets, True)
    assert several == (1.0, pytest.approx(-(np.log(1 + np.exp(-2)) + np.log(1 + np.exp(-1))) / 2))


def test_the_rate_rises_and_falls() -> None:
    rates = [PLAN.rate(done) for done in np.linspace(0, 1, 101)]
    assert rates[0] < 0.02 and max(rates) == pytest.approx(1.0) and rates[-1] == pytest.approx(0.01)
    top = int(np.argmax(rates))
    assert 8 <= top <= 12 and rates == sorted(rates[:top]) + sorted(rates[top:], reverse=True)


@pytest.mark.parametrize("hidden", [(), (16,), (16, 16)])
def test_a_head_alone_learns_vectors_of_any_scale(hidden: tuple[int, ...]) -> None:
    rng = np.random.default_rng(0)
    answers = np.arange(60) % 3
    x = (1e-4 * (rng.standard_normal((60, 6)) + 4 * np.eye(3, 6)[answers]) + 5.0).astype(np.float32)
    targets = np.eye(3, dtype=bool)[answers]
    parts = Fold(np.arange(60) < 45, np.arange(60) >= 45, np.zeros(60, bool))
    torch.manual_seed(0)
    layers = after(Standard(*standard(x)), new_layers(6, 3, "mlp" if hidden else "linear", hidden))
    plan = replace(PLAN, freeze=True, epochs=60, lr=0.02, batch_size=16)
    scores = train_head(layers, x, targets, parts, plan, False)
    assert max(scores)[0] == 1.0 > scores[0][0]
    with torch.inference_mode():
        logits = layers(torch.from_numpy(x)).numpy()
    assert (logits.argmax(1) == answers)[45:].all()
    # As arrays the standardising is inside the weights; and it can be taken out of them again.
    head = as_head(layers, "h", ("a", "b", "c"), False)
    assert len(head.layers) == len(hidden) + 1 and np.abs(head.logits(x) - logits).max() < 0.02 * np.abs(logits).max()
    again = unfolded(Standard(*standard(x)), head)
    assert (
        np.abs(as_head(again, "h", ("a", "b", "c"), False).logits(x) - head.logits(x)).max()
        < 0.02 * np.abs(logits).max()
    )


def test_the_best_epoch_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    reported = iter([(0.1, -1.0), (0.3, -1.0), (0.9, -1.0), (0.2, -1.0), (0.9, -1.0)])
    seen: list[torch.Tensor] = []
    layers = new_layers(2, 2, "linear", ())

    def scored(*_: object) -> tuple[float, float]:
        seen.append(layers.weight.detach().clone())
        return next(reported)

    monkeypatch.setattr("sondino.finetuning.train.validation_score", scored)
    x, half = np.random.default_rng(0).standard_normal((8, 2)).astype(np.float32), np.arange(8) < 4
    parts = Fold(half, ~half, np.zeros(8, bool))
    scores = train_head(layers, x, np.eye(2, dtype=bool)[np.arange(8) % 2], parts, replace(PLAN, epochs=4), False)
    assert [score for score, _ in scores] == [0.1, 0.3, 0.9, 0.2, 0.9]
    assert torch.equal(layers.weight, seen[2]) and not torch.equal(seen[2], seen[3])


# ---- a head alone ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("options", [(), ("--head", "mlp", "--hidden", "8,4", "--lr", 0.01)])
def test_a_head_alone_leaves_the_vectors_as_they_are_to_the_bit(
    options: tuple[object, ...],
    tmp_path: Path,
    make_tiny_bundle: Callable[..., Path],
    capsys: pytest.CaptureFixture[str],
) -> None:
    sounds = write_loudness(tmp_path / "sounds", clips=15)
    bundle, out = make_tiny_bundle(**CARD), tmp_path / "mine"
    assert call("finetune", sounds, "--model", bundle, "--out", out, "--freeze", "--quiet", *options) == 0
    shown = capsys.readouterr().out
    assert "fine-tuned: accuracy 100.0 %" in shown and "frozen probe: accuracy 100.0 %" in shown
    assert "45 clips, 3 labels" in shown and "chance 33.3 %" in shown and "which also chose the epoch" in shown
    old, new = sondino.load(bundle), sondino.load(out)
    assert np.array_equal(old.embed(str(sounds)), new.embed(str(sounds)))
    assert len(new.head.layers) == (3 if options else 1)
    right = [new.head.labels[i] for i in new.classify(str(sounds)).argmax(1)]
    assert right == [str(row["label"]) for row in loudness_rows(sounds)]
    assert new.config["finetuned"]["freeze"] and new.config["finetuned"]["probe_score"]["value"] == 1.0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mine", "sounds", "tiny"]  # nothing half done is left


def test_broken_files_are_listed_and_uneven_labels_reported(
    tmp_path: Path, make_tiny_bundle: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    sounds = write_loudness(tmp_path / "sounds", clips=5)
    write_loudness(sounds, clips=25, levels={"loud": 0.6})
    (sounds / "loud" / "broken.wav").write_text("no sound")
    options = ("--model", make_tiny_bundle(**CARD), "--out", tmp_path / "mine", "--freeze", "--quiet", "--epochs", 3)
    assert call("finetune", sounds, *options) == 1
    shown = capsys.readouterr()
    assert "broken.wav" in shown.err and "labels are uneven and were weighted, from loud 0.47 to" in shown.out


def test_several_labels_and_a_test_split(tmp_path: Path, make_tiny_bundle: Callable[..., Path]) -> None:
    sounds = write_loudness(tmp_path / "sounds", clips=12)
    parts = ["train", "train", "valid", "test"]
    names = {"loud": "loud;heard", "middle": "heard", "quiet": ""}
    rows = [
        {"path": row["path"], "labels": names[str(row["label"])], "split": parts[i % 4]}
        for i, row in enumerate(loudness_rows(sounds))
    ]
    file = write_list(tmp_path / "l.csv", rows)
    done = finetune(sounds, sondino.load(make_tiny_bundle(**CARD)), tmp_path / "mine", file, freeze=True, quiet=True)
    assert done.score.metric == "mAP" and done.score.value == 1.0 and done.score.on == "the list's test clips"
    assert done.score.clips == done.probe.clips == 9
    opened = sondino.load(tmp_path / "mine")
    head = opened.head
    assert head.multi_label and head.labels == ("heard", "loud") and "18 labelled" in head.note
    assert opened.name == "mine"


# ---- head and backbone ----------------------------------------------------------------------------------------


def write_pitches(folder: Path, clips: int = 10) -> Path:
    """Sines, high and low, of 0.4 to 0.7 s."""
    import soundfile

    rng = np.random.default_rng(0)
    for label, hertz in (("high", 3000), ("low", 300)):
        (folder / label).mkdir(parents=True, exist_ok=True)
        for number in range(clips):
            at = np.arange(int(RATE * rng.uniform(0.4, 0.7))) / RATE
            sine = 0.3 * np.sin(2 * np.pi * hertz * rng.uniform(0.99, 1.01) * at) + 1e-3 * rng.standard_normal(len(at))
            soundfile.write(folder / label / f"{number}.wav", sine.astype(np.float32), RATE, subtype="FLOAT")
    return folder


@pytest.fixture
def model(tmp_path: Path) -> SimpleNamespace:
    """What fine-tuning asks of a model whose net is trained."""
    folder = write_paper_bundle(tmp_path / "paper")
    return SimpleNamespace(folder=folder, window=0.25, short="repeat", fingerprint="paper-1", config={})


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What would have been written as a bundle, without the seconds that the export takes."""
    calls: list[dict[str, Any]] = []

    def keep(model, folder, clips=()):
        calls.append(
            {**vars(model), "backbone": copy.deepcopy(model.backbone), "head": model.as_head(), "clips": clips}
        )
        return folder

    monkeypatch.setattr("sondino.model.write.write_bundle", keep)
    return calls


def tune(sounds: Path, model: SimpleNamespace, out: Path, **options: Any) -> Finetuned:
    given = {"device": "cpu", "batch_size": 4, "epochs": 3, "quiet": True, **options}
    return finetune(sounds, model, out, **given)  # type: ignore[arg-type]


def equal(one: nn.Module, other: nn.Module) -> bool:
    mine, others = one.state_dict(), other.state_dict()
    return mine.keys() == others.keys() and all(torch.equal(mine[name], others[name]) for name in mine)


def test_head_and_backbone_learn_together(
    tmp_path: Path, model: SimpleNamespace, written: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    scores = iter([(0.1, -1.0), (0.2, -1.0), (0.3, -1.0), (0.4, -1.0)])  # each epoch is better than the one before
    monkeypatch.setattr("sondino.finetuning.train.validation_score", lambda *_: next(scores))
    done = tune(write_pitches(tmp_path / "sounds"), model, tmp_path / "mine")
    assert (done.epochs, done.best) == (3, 3) and done.probe.value == 1.0 and done.weights is None
    (bundle,) = written
    before = TorchModel.open(model.folder).backbone.state_dict()
    after = bundle["backbone"].state_dict()
    assert any(not torch.equal(before[name], after[name]) for name in before if name.endswith("weight"))
    # BatchNorm averages are those of the sound that the model was made from.
    assert all(torch.equal(before[name], after[name]) for name in before if "running" in name)
    assert bundle["head"].labels == ("high", "low") and "16 labelled clips" in bundle["head"].note
    assert (bundle["name"], bundle["window"], bundle["short"]) == ("mine", 0.25, "repeat")
    assert len(bundle["clips"]) == 4 and all(len(clip) == RATE // 4 for clip in bundle["clips"])
    facts = bundle["facts"]
    assert facts["teachers"][0]["licence"] == "CC BY-NC-SA 4.0" and "validation_cosine" not in facts["scores"]
    assert facts["finetuned"]["best_epoch"] == 3 and facts["head_score"]["metric"] == "accuracy"
    assert not (tmp_path / "mine.training").exists()


def test_where_no_epoch_is_better_the_start_is_kept(
    tmp_path: Path, model: SimpleNamespace, written: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sondino.finetuning.train.validation_score", lambda *_: (1.0, -0.5))
    done = tune(write_pitches(tmp_path / "sounds"), model, tmp_path / "mine")
    assert done.best == 0 and done.score.value == done.probe.value == 1.0  # the probe was right already
    assert equal(written[0]["backbone"], TorchModel.open(model.folder).backbone)
    assert len(written[0]["head"].layers) == 1


@pytest.mark.parametrize("stop", [pytest.param(0, marks=pytest.mark.full), 1, pytest.param(2, marks=pytest.mark.full)])
def test_stopped_after_any_epoch_it_goes_on_and_ends_the_same(
    stop: int,
    tmp_path: Path,
    model: SimpleNamespace,
    written: list[dict[str, Any]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sounds = write_pitches(tmp_path / "sounds", clips=6)
    options = {"head": "mlp", "hidden": (8,), "clip": 0.2, "seed": 3}
    better = itertools.count()  # each epoch is better than the one before, so the last one's weights are written
    monkeypatch.setattr("sondino.finetuning.train.validation_score", lambda *_: (float(next(better)), 0.0))
    whole = tune(sounds, model, tmp_path / "whole", **options)
    embedded: list[int] = []
    finish, train_epoch = Trainer.finish_epoch, Trainer.train_epoch

    def then_stop(self: Trainer, metrics: dict[str, Any]) -> None:
        finish(self, metrics)
        if metrics["epoch"] == stop:
            raise KeyboardInterrupt

    def count(self: Trainer, epoch: int, progress: Any) -> None:
        embedded.append(epoch)
        train_epoch(self, epoch, progress)

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "finish_epoch", then_stop)
        with pytest.raises(KeyboardInterrupt):
            tune(sounds, model, tmp_path / "mine", **options)
    assert len(written) == 1 and (tmp_path / "mine.training").is_dir()
    monkeypatch.setattr(Trainer, "train_epoch", count)
    done = tune(sounds, model, tmp_path / "mine", **options)
    assert embedded == list(range(stop, 3))  # epochs that were whole are not trained again
    assert (done.probe, done.score, done.best) == (whole.probe, whole.score, whole.best) and done.best == 3
    assert equal(written[0]["backbone"], written[1]["backbone"])
    for mine, other in zip(written[0]["head"].layers, written[1]["head"].layers, strict=True):
        assert all(np.array_equal(a, b) for a, b in zip(mine, other, strict=True))


def test_other_options_do_not_go_on_with_what_was_begun(
    tmp_path: Path, model: SimpleNamespace, written: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    sounds = write_pitches(tmp_path / "sounds", clips=4)
    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "train_epoch", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            tune(sounds, model, tmp_path / "mine")
    with pytest.raises(RunError, match=r"was started with something else \(lr was 0.001, now 0.01\)"):
        tune(sounds, model, tmp_path / "mine", lr=0.01)
    (sounds / "low" / "0.wav").rename(sounds / "high" / "new.wav")
    with pytest.raises(RunError, match="list was"):
        tune(sounds, model, tmp_path / "mine")


def test_each_part_has_its_own_rate_and_a_finished_epoch_its_files(tmp_path: Path, model: SimpleNamespace) -> None:
    labelled, sounds = gather(read_labelled(write_pitches(tmp_path / "sounds", clips=6)), tmp_path / "run", RATE, True)
    parts, _ = holdout(labelled, 0)
    network = TorchModel.open(model.folder).with_head(labelled.labels)
    accelerator = make_accelerator("cpu", "float32", tmp_path / "run")
    trainer = Trainer(network, sounds, labelled.targets(), parts, PLAN, tmp_path / "run", accelerator)
    seen: list[tuple[int, int]] = []
    trainer.run(lambda done, total: seen.append((done, total)))
    backbone, head = (group["lr"] for group in trainer.optimizer.param_groups)
    assert backbone == pytest.approx(0.1 * head)
    assert seen[0] == (3, 27) and seen[-1] == (27, 27)  # 9 clips of 12 train, in steps of 3
    assert [epoch["epoch"] for epoch in trainer.history] == [0, 1, 2, 3]
    assert {file.name for file in (tmp_path / "run").glob("*.safetensors")} == {"last.safetensors", "best.safetensors"}
    best = load_file(tmp_path / "run" / "best.safetensors")
    assert all(torch.equal(best[f"model.{name}"], value) for name, value in network.state_dict().items())


def test_a_clip_is_embedded_as_windows_on_end_from_any_place(tmp_path: Path) -> None:
    _, sounds = gather(read_labelled(write_pitches(tmp_path / "sounds", clips=3)), tmp_path / "run", RATE, True)
    samples = RATE // 5
    for stretch in range(len(sounds.rows)):
        whole = sounds.waveforms.read(int(sounds.rows[stretch]))
        count = sounds.windows_of(stretch, samples)
        assert count == len(whole) // samples in (2, 3)
        crops = [sounds.crop(stretch, samples, (0, epoch)) for epoch in range(4)]
        assert {len(crop) for crop in crops} == {count * samples}
        assert len({crop.tobytes() for crop in crops}) > 1
        assert np.array_equal(crops[0], sounds.crop(stretch, samples, (0, 0)))
        (first,) = np.flatnonzero((np.lib.stride_tricks.sliding_window_view(whole, 50) == crops[0][:50]).all(1))
        assert np.array_equal(whole[first : first + len(crops[0])], crops[0])
    assert np.array_equal(sounds.crop(0, 10 * RATE, (0,)), sounds.waveforms.read(int(sounds.rows[0])))  # shorter
    assert sounds.windows_of(0, 10 * RATE) == 1 and sounds.windows_of(0, 100) == 4


def test_whole_clips_are_scored_as_the_finished_model_embeds_them(tmp_path: Path, model: SimpleNamespace) -> None:
    _, sounds = gather(read_labelled(write_pitches(tmp_path / "sounds", clips=3)), tmp_path / "run", RATE, True)
    network = TorchModel.open(model.folder).train()
    mask = np.array([True, False, True, True, False, False])
    found = sounds.embeddings(NetworkEncoder(network, torch.device("cpu"), PLAN), mask)
    expected = []
    for clip in np.flatnonzero(mask):
        waveform = sounds.waveforms.read(int(sounds.rows[np.flatnonzero(sounds.clips == clip)[0]]))
        cut, _, weights = stack_windows(waveform, RATE, Windowing(0.25, short="repeat"))
        with torch.inference_mode():
            expected.append(merge(network.eval().embed(torch.from_numpy(cut)).numpy(), weights))
    assert np.allclose(found, expected, rtol=1e-4, atol=1e-5 * np.abs(expected).max())


def test_sound_that_cannot_be_used_is_skipped_by_name(tmp_path: Path) -> None:
    folder = write_pitches(tmp_path / "sounds", clips=3)
    (folder / "low" / "broken.wav").write_text("no sound")
    (folder / "low" / "again.wav").write_bytes((folder / "low" / "0.wav").read_bytes())
    labelled, sounds = gather(read_labelled(folder), tmp_path / "run", RATE, True)
    skipped = dict(labelled.skipped)
    assert len(labelled.clips) == len(sounds.rows) == 6 and len(skipped) == 2
    assert "broken.wav" in str(skipped.keys())
    assert any(reason.startswith("duplicate of") and reason.endswith(".wav") for reason in skipped.values())
    assert [labelled.clips[clip].labels[0] for clip in sounds.clips] == [clip.labels[0] for clip in labelled.clips]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--epochs", 0], "epochs is 0"),
        (["--batch-size", 0], "batch_size is 0"),
        (["--lr", 0], "lr is 0"),
        (["--clip", -1], "clip is -1"),
        (["--clip", 1, "--freeze"], "clip and freeze do not go together"),
        (["--head", "mlp", "--hidden", "512,many"], "--hidden is '512,many': give whole numbers"),
        (["--head", "mlp", "--hidden", "0", "--freeze"], "hidden is 0: give sizes above 0"),
        (["--unfreeze"], "can be embedded with, but neither trained"),
    ],
)
def test_a_mistake_gets_one_message(
    options: list[object],
    message: str,
    tmp_path: Path,
    make_tiny_bundle: Callable[..., Path],
    capsys: pytest.CaptureFixture[str],
) -> None:
    sounds = write_loudness(tmp_path / "sounds", clips=3, seconds=0.1)
    command = ["finetune", sounds, "--model", make_tiny_bundle(**CARD), "--out", tmp_path / "mine", "--quiet", *options]
    assert call(*command) == 2
    error = capsys.readouterr().err
    assert message in error and "Traceback" not in error and error.startswith("sondino: ")
    assert not (tmp_path / "mine").exists() and not (tmp_path / "mine.training").exists()


def test_a_net_of_fixed_length_takes_no_other_window(
    tmp_path: Path, model: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sondino.nets.student.Student.fixed_samples", RATE // 4)
    with pytest.raises(OptionError, match=r"clip is 0.5 s, and paper takes 0.25 s at a time"):
        tune(write_pitches(tmp_path / "sounds", clips=3), model, tmp_path / "mine", clip=0.5)


def test_a_device_that_is_not_there_gets_a_message(
    tmp_path: Path, model: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(OptionError, match="torch sees no CUDA device"):
        tune(write_pitches(tmp_path / "sounds", clips=3), model, tmp_path / "mine", device="cuda")


@pytest.mark.full
@pytest.mark.usefixtures("traced_once")
def test_from_sound_to_a_bundle_that_classifies(tmp_path: Path, model: SimpleNamespace) -> None:
    done = tune(write_pitches(tmp_path / "sounds"), model, tmp_path / "mine", epochs=2, clip=0.2)
    finished = sondino.load(tmp_path / "mine")
    assert finished.window == 0.2 and finished.config["finetuned"]["trained_epochs"] == done.epochs
    labelled = read_labelled(tmp_path / "sounds")
    held_out = [clip.path for clip, valid in zip(labelled.clips, holdout(labelled, 0)[0].valid, strict=True) if valid]
    given = finished.classify(held_out).argmax(1)
    right = [Path(path).parent.name == finished.head.labels[i] for path, i in zip(held_out, given, strict=True)]
    assert np.mean(right) == done.score.value > done.score.chance  # what was measured is what was exported
    assert "accuracy" in json.loads((tmp_path / "mine" / "config.json").read_text())["scores"]["head"]
