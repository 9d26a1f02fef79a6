"""What each change of the recipe gives, all with the same seconds of one core for training.

    taskset -c 0 python benchmarks/recipe_changes.py SOUNDS --teacher efficientat/mn04_as --out FOLDER \
        --tasks game_sounds/labels.csv esc10/labels.csv --also "yamnet=litert:yamnet.tflite#TENSOR?rate=16000"

SOUNDS is a folder of unlabelled audio. The base is the recipe of sondino-small with far fewer draws. A pilot of each
change measures the seconds of processor time that a draw takes; the draws are then as many as fit. Each --also names a
further teacher, tried alone and beside the first. A stopped run resumes; --changes and --seeds limit what is run, and
rows of earlier calls are kept. Writes results/recipe_changes.csv, a row for each change and seed.

On a machine that other programs use, a draw's cost changes from minute to minute by more than from change to change.
There --draws gives each run the same draws, and its row no seconds.
"""

import argparse
import csv
import hashlib
import importlib
import json
import os
import time
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from torch import Tensor

from provenance import RESULTS, provenance, write_results
from sondino import distill, load
from sondino.corpus.table import build_corpus
from sondino.distillation import losses
from sondino.evaluation.scores import score_task
from sondino.tasks.registry import read_tasks

EPOCHS = 10
PILOT_DRAWS = 640
COSTLY = ("hop", "clip", "rate", "batch_size", "teacher", "mixup", "average")
"""Entries that a draw's cost depends on; other changes have the base's."""
BASE: dict[str, Any] = {
    "student": "mobilenetv3", "width": 0.5, "hop": 0.032, "clip": 1.95, "views": 8, "loss": "cosine",
    "standardise": True, "batch_size": 64, "lr": 1.5e-3, "validation": 0.04, "epochs": EPOCHS,
}  # fmt: skip
CHANGES: dict[str, dict[str, Any]] = {
    "base": {},
    "embeddings as they are": {"standardise": False},
    "loss clap": {"loss": "clap"},
    "loss mse": {"loss": "mse"},
    "cosine and a fifth of clap": {"loss": "cosine and clap"},
    "mse and a fifth of clap": {"loss": "mse and clap"},
    "hop 0.016": {"hop": 0.016},
    "batches of 32, lr 1e-3": {"batch_size": 32, "lr": 1e-3},
    "batches of 128, lr 2e-3": {"batch_size": 128, "lr": 2e-3},
    "lr 3e-3": {"lr": 3e-3},
    "lr 8e-4": {"lr": 8e-4},
    "no views": {"views": 0},
    "no views, embeddings as they are": {"views": 0, "standardise": False},
    "no views, loss clap": {"views": 0, "loss": "clap"},
    "no views, loss mse": {"views": 0, "loss": "mse"},
    "no views, mse and a fifth of clap": {"views": 0, "loss": "mse and clap"},
    "no views, batches of 128, lr 2e-3": {"views": 0, "batch_size": 128, "lr": 2e-3},
    "no views, lr 8e-4": {"views": 0, "lr": 8e-4},
    "no views, mixup 0.3": {"views": 0, "mixup": 0.3},
    "no views, clips of 3.9 s": {"views": 0, "clip": 3.9},
    "no views, a quarter of the sound": {"views": 0, "part": 4},
    "clips of 3.9 s": {"clip": 3.9},
    "16 kHz": {"rate": 16000},
    "every clip equally often": {"sampling": "uniform", "clusters": 0},
    "mixup 0.3": {"mixup": 0.3},
    "averaged weights": {"average": 0.999},
    "a quarter of the sound": {"part": 4},
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sounds", type=Path)
    parser.add_argument("--teacher", required=True)
    parser.add_argument("--also", nargs="*", default=[], help="NAME=TEACHER")
    parser.add_argument("--tasks", nargs="+", required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--draws", type=int, help="of each run, in place of as many as fit into --seconds")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--changes", nargs="+")
    given = parser.parse_args()
    changes = dict(CHANGES)
    for name, _, teacher in (entry.partition("=") for entry in given.also):
        changes[f"teacher {name}"] = {"teacher": teacher}
        changes[f"teacher {name}, embeddings as they are"] = {"teacher": teacher, "standardise": False}
        changes |= {f"teacher {name}, loss {loss}": {"teacher": teacher, "loss": loss} for loss in ("mse", "clap")}
        changes[f"and teacher {name}"] = {"teacher": [given.teacher, teacher]}
        changes[f"no views, and teacher {name}"] = {"teacher": [given.teacher, teacher], "views": 0}
    names = given.changes or list(changes)
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    for seed in given.seeds:
        for name in names:
            recipe = BASE | {"teacher": given.teacher} | changes[name]
            one(given, name, recipe, seed)


def one(given: argparse.Namespace, name: str, recipe: dict[str, Any], seed: int) -> None:
    """Run a change with a seed, unless it is in the table, and add its row."""
    batches = EPOCHS * recipe["batch_size"]
    draws = round(given.draws / batches) * recipe["batch_size"] if given.draws else 0
    length = ("draws", str(draws * EPOCHS)) if draws else ("seconds", str(given.seconds))
    if any((row["change"], row["seed"], row[length[0]]) == (name, str(seed), length[1]) for row in finished()):
        return
    recipe = dict(recipe)
    sounds = part_of(given, recipe)
    folder = given.out / name.replace(" ", "_") / "-".join([str(seed), *length])
    corpus = corpus_of(sounds, given.out, recipe["clip"])
    cost = None if draws else cost_of_draw(corpus, given.out, recipe)
    if cost:
        draws = round(given.seconds / cost / batches) * recipe["batch_size"]
    spent, bundle = run(corpus, folder, recipe | {"draws": draws, "seed": seed})
    model = load(bundle, threads=1)
    scores = {}
    for task, labelled in read_tasks(given.tasks, None):
        score, _ = score_task(model, f"{name} {seed}", task, labelled, folder / "scores", seeds=1, quiet=True)
        scores[Path(task.name).parent.name or task.name] = round(score["value"], 5)
    summary = json.loads((folder / "summary.json").read_text())
    student = next(row for row in summary["table"] if row["role"] == "student")
    row = {
        "change": name, "seed": seed, "seconds": "" if given.draws else given.seconds, "spent": round(sum(spent), 1),
        "draws": draws * EPOCHS, "ms_per_draw": round(1000 * cost, 3) if cost else "", **scores,
        "mean": round(sum(scores.values()) / len(scores), 5), "cosine": round(student["cosine"], 5),
        **provenance("torch", "scikit-learn"),
    }  # fmt: skip
    write_results("recipe_changes", [*finished(), row])


def finished() -> list[dict[str, Any]]:
    """The rows of the table so far."""
    file = RESULTS / "recipe_changes.csv"
    return list(csv.DictReader(file.read_text().splitlines())) if file.exists() else []


def cost_of_draw(corpus: Path, out: Path, recipe: dict[str, Any]) -> float:
    """Seconds of processor time that a draw takes in training; of four short epochs the least but the first."""
    kind = {name: recipe[name] for name in COSTLY if recipe.get(name) != BASE.get(name)}
    folder = out / "pilots" / hashlib.sha256(json.dumps(kind).encode()).hexdigest()[:8]
    kept = folder.with_suffix(".json")
    if not kept.exists():
        shared = BASE | {name: recipe[name] for name in COSTLY if name in recipe}
        spent, _ = run(corpus, folder, shared | {"epochs": 4, "draws": PILOT_DRAWS, "views": 0})
        kept.write_text(json.dumps(min(spent[1:]) / PILOT_DRAWS))
    return float(json.loads(kept.read_text()))


def part_of(given: argparse.Namespace, recipe: dict[str, Any]) -> Path:
    """The sounds, or a list of every `part`-th file of them; takes the entry out of the recipe."""
    part = recipe.pop("part", 1)
    if part == 1:
        return Path(given.sounds)
    files = sorted(p for p in given.sounds.rglob("*") if p.suffix in (".ogg", ".wav", ".flac", ".mp3"))
    listed = given.out / f"every_{part}.csv"
    listed.write_text("path\n" + "".join(f"{file.resolve()}\n" for file in files[::part]))
    return Path(listed)


def corpus_of(sounds: Path, out: Path, clip: float) -> Path:
    """The corpus of some clip length, with the targets that earlier runs computed."""
    folder = out / f"corpus-{sounds.stem}-{clip:g}"
    if not (folder / "corpus.json").exists():
        build_corpus(sounds, folder, clip)
    return folder


def run(corpus: Path, out: Path, recipe: dict[str, Any]) -> tuple[list[float], Path]:
    """Distil; the processor seconds of each epoch of training, and the bundle."""
    recipe = dict(recipe)
    trainer = importlib.import_module("sondino.distillation.train")._Trainer
    train_epoch = trainer.train_epoch
    average = recipe.pop("average", None)
    recipe["loss"], _, added = recipe["loss"].partition(" and ")
    alone = losses.LOSSES[recipe["loss"]]
    spent: list[float] = []

    def timed(self: Any, epoch: int, progress: Any) -> None:
        began = time.process_time()
        if average is not None and epoch == 0:
            self.averaged = average_weights(self, average)
        train_epoch(self, epoch, progress)
        if average is not None and epoch + 1 == self.recipe.epochs:
            self.distiller.load_state_dict(self.averaged)
        spent.append(time.process_time() - began)

    def with_clap(projected: Tensor, target: Tensor) -> Tensor:
        return alone(projected, target) + 0.2 * losses.clap(projected, target)

    with (
        mock.patch.object(trainer, "train_epoch", timed),
        mock.patch.dict(losses.LOSSES, {recipe["loss"]: with_clap if added else alone}),
    ):
        bundle = distill(corpus, out=out, recipe=recipe, page=False, quiet=True, keep_labels="no")
    return spent, bundle


def average_weights(trainer: Any, decay: float) -> dict[str, Tensor]:
    """A running average of the model's weights and statistics, updated after each step of the optimizer."""
    steps, average = 0, {name: value.clone() for name, value in trainer.distiller.state_dict().items()}

    @torch.no_grad()
    def update(optimizer: Any, *_: Any) -> None:
        nonlocal steps
        steps += 1
        share = max(1 - decay, 1 / steps)
        for name, value in trainer.distiller.state_dict().items():
            if value.is_floating_point():
                average[name].lerp_(value, share)

    trainer.optimizer.optimizer.register_step_post_hook(update)
    return average


if __name__ == "__main__":
    main()
