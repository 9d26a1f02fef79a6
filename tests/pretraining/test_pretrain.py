"""The whole line of pretraining on short noises: a run, what it holds, how it resumes, and what is refused."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file
from safetensors.torch import load_file as load_tensors

import sondino
from helpers.bands import RATE, write_band_sounds
from helpers.corpora import noise, write
from helpers.forked import ForkServer
from sondino.errors import AudioError, OptionError, RunError, SondinoError
from sondino.pretraining import train as training
from sondino.pretraining.crops import crop_grid
from sondino.pretraining.pretrain import new_model, pretrain
from sondino.pretraining.recipe import resolve_recipe

pytestmark = pytest.mark.usefixtures("traced_once")

SMALL = {"updates": 6, "batch_size": 4, "crop": 0.34, "device": "cpu", "quiet": True, "page": False}
"""Options of a run of a second or two: crops of two columns, ten patches."""


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pretrain")
    (folder / "sounds").mkdir()
    write_band_sounds(folder / "sounds", 12)
    (folder / "sounds" / "broken.wav").write_text("no sound")
    write(folder / "sounds" / "short.wav", noise(0.2, 1, RATE), RATE)
    pretrain(folder / "sounds", out=folder / "run", **SMALL)
    return folder / "run"


def test_a_run_holds_what_it_should(run: Path) -> None:
    names = {p.name for p in run.iterdir()}
    expected = {"recipe.yaml", "metrics.jsonl", "skipped.csv", "checkpoints", "bundle", "logs", "encoder.safetensors"}
    assert expected <= names
    assert "broken.wav" in (run / "skipped.csv").read_text()
    summary = json.loads((run / "summary.json").read_text())
    assert (summary["kind"], summary["method"], summary["updates"]) == ("pretraining", "matpac++", 6)
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert [line["update"] for line in lines] == [1, 2, 3, 4, 5, 6]
    wins = [lines[-1][f"wins_{place}"] for place in range(5)]
    assert sum(wins) == pytest.approx(1, abs=1e-5)
    for line in lines:
        assert line["loss"] == pytest.approx(
            0.5 * line["prediction_loss"] + 0.5 * line["classification_loss"], rel=1e-4
        )


def test_log_mels_are_normalised_by_their_own_mean_and_deviation(run: Path) -> None:
    mean, deviation = json.loads((run / "summary.json").read_text())["normalisation"]
    matrix = np.load(next((run / "corpus" / "logmels").rglob("logmels.npy"))).astype(np.float64)
    counts = np.load(next((run / "corpus" / "logmels").rglob("counts.npy")))
    assert len(matrix) == counts.sum()  # every recording was decoded
    assert mean == pytest.approx(matrix.mean(), abs=1e-9)
    assert deviation == pytest.approx(matrix.std(), abs=1e-9)
    config = json.loads((run / "bundle" / "config.json").read_text())
    assert config["front_end"]["mean"] == pytest.approx(mean, rel=1e-6)


def test_the_bundle_and_the_encoder_file_embed_alike(run: Path) -> None:
    model = sondino.load(run)
    teacher = sondino.load_teacher(f"matpac:{run / 'encoder.safetensors'}")
    sound = noise(0.5, 3, RATE)[: round(model.window * RATE)]
    assert model.dim == teacher.dim == 5 * 192
    mine, other = model.embed([(sound, RATE)])[0], teacher.embed(sound[None])[0]
    assert np.abs(mine - other).max() < 1e-4 * np.abs(other).max()


def test_a_student_is_distilled_from_a_run(run: Path, tmp_path: Path) -> None:
    options = {"width": 0.1, "clip": 0.5, "epochs": 1, "batch_size": 8, "device": "cpu", "quiet": True, "page": False}
    bundle = sondino.distill(run.parent / "sounds", teacher=str(run), out=tmp_path / "student", **options)
    assert sondino.load(bundle).embed([(noise(0.5, 3, RATE), RATE)]).shape == (1, sondino.load(bundle).dim)


def test_an_encoder_is_fine_tuned_and_exported_and_not_pruned(run: Path, tmp_path: Path) -> None:
    sounds = tmp_path / "labelled"
    for label, name in enumerate("ab"):
        (sounds / name).mkdir(parents=True)
        for i in range(5):
            write(sounds / name / f"{i}.wav", noise(0.5, 10 * label + i, RATE), RATE)
    options = {"epochs": 1, "batch_size": 4, "device": "cpu", "quiet": True}
    tuned = sondino.finetune(sounds, run, tmp_path / "tuned", **options)
    assert tuned is not None and sondino.load(tmp_path / "tuned").head.labels == ("a", "b")
    exported = sondino.export(run, "onnx", tmp_path / "onnx", quiet=True)
    assert exported is not None and (tmp_path / "onnx" / "model.onnx").exists()
    with pytest.raises(OptionError, match="is a ViT, which has no filters"):
        sondino.prune(run, tmp_path / "pruned", score="l1", ratio=0.5, quiet=True)


def test_a_finished_run_is_not_done_again(run: Path) -> None:
    before = (run / "encoder.safetensors").stat().st_mtime_ns
    pretrain(run.parent / "sounds", out=run, **SMALL)
    assert (run / "encoder.safetensors").stat().st_mtime_ns == before


def test_another_recipe_is_refused_with_what_differs(run: Path) -> None:
    with pytest.raises(RunError, match="updates was 6, now 7"):
        pretrain(run.parent / "sounds", out=run, **SMALL | {"updates": 7})


@pytest.mark.parametrize("given", [".", "encoder.safetensors"])
def test_an_encoder_is_a_start_for_another_run(run: Path, tmp_path: Path, given: str) -> None:
    file = run / "encoder.safetensors"
    recipe = resolve_recipe(init=str(run / given), crop=0.5)
    model = new_model(recipe, crop_grid(recipe.crop, recipe.mask_ratio))
    tensors = load_tensors(file)
    own = model.state_dict()
    name = "student_encoder.blocks.3.mlp.fc2.weight"
    assert torch.equal(own[name], tensors[name])
    assert torch.equal(own[name.replace("student", "teacher")], tensors[name])
    assert torch.equal(own["patch_embed.proj.weight"], tensors["patch_embed.proj.weight"])
    with pytest.raises(OptionError, match="4 blocks of width 192, and this one has 12 of 384: give the --size"):
        pretrain(run.parent / "sounds", out=tmp_path / "run", size="small", init=str(file), **SMALL)
    assert not (tmp_path / "run").exists()


KILLED = """
import os, signal, sys
from pathlib import Path
import sondino.pretraining.result, sondino.pretraining.train
from helpers.traced_graphs import traced_once
from sondino.pretraining.pretrain import pretrain

folder, out, where, after = Path(sys.argv[1]), sys.argv[2], sys.argv[3], int(sys.argv[4])
sondino.pretraining.train.SECONDS_BETWEEN_CHECKPOINTS = 0.0

def dies(module, name):
    whole, calls = getattr(module, name), [0]
    def call(*args, **options):
        calls[0] += 1
        if calls[0] > after:
            os.kill(os.getpid(), signal.SIGKILL)
        return whole(*args, **options)
    setattr(module, name, call)

if where == "update":
    dies(sondino.pretraining.train, "take_step")
elif where == "checkpoint":
    dies(sondino.pretraining.train, "save_checkpoint")
elif where == "bundle":
    dies(sondino.pretraining.result, "write_bundle")
options = {"updates": 7, "batch_size": 4, "accumulate": 2, "crop": 0.34, "device": "cpu", "quiet": True, "page": False}
with traced_once():
    pretrain(folder / "sounds", out=folder / out, **options)
"""


@pytest.mark.slow
def test_kill_9_at_any_stage_ends_in_the_same_bits(tmp_path: Path, forks: ForkServer, monkeypatch) -> None:
    write_band_sounds(tmp_path / "sounds", 8)
    stages = (("nowhere", 0), ("update", 2), ("checkpoint", 1), ("update", 1), ("bundle", 0), ("nowhere", 0))
    for number, (where, after) in enumerate(stages):
        done = forks.run(KILLED, tmp_path, "killed" if number else "whole", where, after)
        assert done.returncode == (0 if where == "nowhere" else -signal.SIGKILL), (where, done.stderr)
    for file in ("checkpoints/last.safetensors", "encoder.safetensors", "bundle/model.safetensors"):
        whole, killed = load_file(tmp_path / "whole" / file), load_file(tmp_path / "killed" / file)
        assert whole.keys() == killed.keys()
        assert all(np.array_equal(whole[name], killed[name]) for name in whole), file
    lines = [(tmp_path / name / "metrics.jsonl").read_text().splitlines() for name in ("whole", "killed")]
    whole, killed = ([json.loads(line)["loss"] for line in run] for run in lines)
    assert whole == killed


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"crop": 5.0}, AudioError, "no recording is long enough for a crop of 4.97 s; the longest has 0.50 s"),
        ({"crop": 0.05}, OptionError, "out of range|give a number, 0.2 or more"),
        ({"mask_ratio": 0.95}, OptionError, "leaves no visible patch of the 10"),
        ({"mask_ratio": 0.0}, OptionError, "mask_ratio is 0.0"),
        ({"batch_size": 1}, OptionError, "batch_size is 1: give 2 or more"),
        ({"batch_size": 1, "accumulate": 2, "mask_ratio": 0.1}, OptionError, "give a larger --batch-size"),
        ({"normalize": "-7,0"}, OptionError, "a deviation above 0"),
        ({"normalize": "loud"}, OptionError, "give `measured`"),
        ({"size": "huge"}, OptionError, "base, small, tiny"),
        ({"method": "mae"}, OptionError, "matpac"),
        ({"init": "nothing.pt"}, OptionError, "nothing.pt"),
        ({"update": 3}, OptionError, "did you mean updates"),
    ],
)
def test_what_cannot_be_is_refused_in_a_sentence(tmp_path: Path, options: dict, error: type, message: str) -> None:
    write_band_sounds(tmp_path / "sounds", 3)
    with pytest.raises(error, match=message):
        pretrain(tmp_path / "sounds", out=tmp_path / "run", **SMALL | options)


def test_a_ratio_that_masks_nothing_is_refused() -> None:
    with pytest.raises(OptionError, match="leaves no masked patch"):
        crop_grid(0.34, 1e-17)


def test_silence_is_refused(tmp_path: Path) -> None:
    (tmp_path / "sounds").mkdir()
    for i in range(3):
        write(tmp_path / "sounds" / f"{i}.wav", np.zeros(RATE + i, np.float32), RATE)
    with pytest.raises(AudioError, match="all recordings are silent"):
        pretrain(tmp_path / "sounds", out=tmp_path / "run", **SMALL)


def test_a_loss_of_nan_ends_the_run_with_advice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_band_sounds(tmp_path / "sounds", 3)
    monkeypatch.setattr(training, "mask_noise", lambda shape, seed: torch.full(shape, seed % 3 * torch.nan))
    whole = training._Trainer._losses
    monkeypatch.setattr(training._Trainer, "_losses", staticmethod(lambda found: whole(found) * torch.nan))
    with pytest.raises(SondinoError, match="the loss became nan by update 1: lower --lr"):
        pretrain(tmp_path / "sounds", out=tmp_path / "run", **SMALL)
    assert not (tmp_path / "run" / "checkpoints").exists()


def test_no_checkpoint_is_written_between_a_nan_and_the_line_of_metrics_that_tells(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_band_sounds(tmp_path / "sounds", 3)
    monkeypatch.setattr(training, "ROWS", 1)
    monkeypatch.setattr(training, "SECONDS_BETWEEN_CHECKPOINTS", -1.0)  # due after each update
    monkeypatch.setattr(training._Trainer, "_save", _always(training._Trainer._save))
    whole, updates = training._Trainer._losses, iter([1.0, 1.0, float("nan")])
    monkeypatch.setattr(training._Trainer, "_losses", staticmethod(lambda found: whole(found) * next(updates)))
    with pytest.raises(SondinoError, match="the loss became nan by update 3: lower --lr"):
        pretrain(tmp_path / "sounds", out=tmp_path / "run", **SMALL)
    kept = load_file(tmp_path / "run" / "checkpoints" / "last.safetensors")
    assert all(np.isfinite(tensor).all() for tensor in kept.values())


def _always(save: Callable[..., None]) -> Callable[..., None]:
    """A trainer's `_save` whose seconds do not put off the next checkpoint."""

    def saved(trainer: training._Trainer, update: int) -> None:
        save(trainer, update)
        trainer.save_seconds = 0.0

    return saved


def test_a_gradient_of_infinity_ends_the_run_with_advice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_band_sounds(tmp_path / "sounds", 3)
    whole = training._Trainer.update

    def update(trainer: training._Trainer, *given: Any) -> None:
        monkeypatch.setattr(trainer.accelerator, "clip_grad_norm_", lambda weights, most: torch.tensor(torch.inf))
        whole(trainer, *given)

    monkeypatch.setattr(training._Trainer, "update", update)
    with pytest.raises(SondinoError, match="the gradient became inf by update 1: lower --lr"):
        pretrain(tmp_path / "sounds", out=tmp_path / "run", **SMALL)


def test_only_the_main_process_saves_and_waits_for_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Another process's clock may say that no checkpoint is due: to wait for it here would be to wait for ever.
    write_band_sounds(tmp_path / "sounds", 3)
    during: list[str] = []
    whole = training._Trainer.update

    def update(trainer: training._Trainer, *given: Any) -> None:
        monkeypatch.setattr(trainer.accelerator, "wait_for_everyone", lambda: during.append("waits"))
        whole(trainer, *given)
        monkeypatch.undo()

    monkeypatch.setattr(training, "SECONDS_BETWEEN_CHECKPOINTS", -1.0)
    monkeypatch.setattr(training._Trainer, "update", update)
    pretrain(tmp_path / "sounds", out=tmp_path / "run", **SMALL | {"updates": 1})
    assert (tmp_path / "run" / "checkpoints" / "last.safetensors").exists()
    assert during == []


def test_after_a_crop_that_was_too_long_the_same_folder_takes_a_shorter_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_band_sounds(tmp_path / "sounds", 3)
    with monkeypatch.context() as patched:
        # By the headers, before log-mels are computed.
        patched.setattr("sondino.pretraining.pretrain.open_logmels", None)
        with pytest.raises(AudioError, match=r"a crop of 58.90 s; the longest has 0.50 s"):
            pretrain(tmp_path / "sounds", out=tmp_path / "run", **SMALL | {"crop": 59.0})
    pretrain(tmp_path / "sounds", out=tmp_path / "run", **SMALL | {"updates": 1})


def test_an_error_removes_no_corpus_that_was_there(tmp_path: Path) -> None:
    write_band_sounds(tmp_path / "sounds", 3)
    (tmp_path / "run" / "corpus").mkdir(parents=True)
    (tmp_path / "run" / "corpus" / "mine.txt").write_text("mine")
    with pytest.raises(AudioError):
        pretrain(tmp_path / "sounds", out=tmp_path / "run", **SMALL | {"crop": 5.0})
    assert (tmp_path / "run" / "corpus" / "mine.txt").read_text() == "mine"


@pytest.mark.full
def test_two_processes_train_as_one_that_accumulates(tmp_path: Path) -> None:
    write_band_sounds(tmp_path / "sounds", 8)
    options = {"updates": 3, "batch_size": 2, "crop": 0.34, "device": "cpu", "precision": "float32"}
    pretrain(tmp_path / "sounds", out=tmp_path / "one", accumulate=4, **options, quiet=True, page=False)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    command += ["-m", "sondino", "pretrain", str(tmp_path / "sounds")]
    given = [part for name, value in options.items() for part in (f"--{name.replace('_', '-')}", str(value))]
    command += ["--out", str(tmp_path / "two"), "--quiet", "--accumulate", "2", *given]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=400, env=os.environ | {"OMP_NUM_THREADS": "1"}
    )
    assert done.returncode == 0, done.stderr[-3000:]
    one, two = (load_file(tmp_path / name / "checkpoints" / "last.safetensors") for name in ("one", "two"))
    assert one.keys() == two.keys()
    for name in one:
        assert np.allclose(one[name], two[name], atol=2e-5), name
    lines = [(tmp_path / name / "metrics.jsonl").read_text().splitlines() for name in ("one", "two")]
    one_loss, two_loss = ([json.loads(line)["prediction_loss"] for line in run] for run in lines)
    assert one_loss == pytest.approx(two_loss, rel=1e-4)
