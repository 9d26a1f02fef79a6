"""An encoder pretrained on unlabelled sound by each method, and what it is worth on labelled clips.

    python benchmarks/pretraining.py SOUNDS --tasks esc10/labels.csv --out FOLDER --yamnet yamnet.tflite

The methods make the same number of updates from the same crops. Beside them stand the same encoder untrained, the mean
and deviation of each log-mel band, and YAMNet. All are read by a linear probe on frozen embeddings, over the folds of
the tasks. Then a student is distilled from the pretrained encoder, and one from YAMNet with the same recipe. A stopped
run resumes. Writes results/pretraining.csv, or another table: --table pretraining_long is of 20,000 updates.
"""

import argparse
import json
import os
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from provenance import provenance, write_results
from sondino import distill, load, load_teacher, pretrain
from sondino.corpus.table import build_corpus
from sondino.encoder.encoder import Encoder
from sondino.evaluation.scores import score_task
from sondino.frontend.logmel_numpy import log_mel
from sondino.metrics.intervals import t_interval
from sondino.pretraining.crops import crop_grid
from sondino.pretraining.logmels import RAW, STRETCH
from sondino.pretraining.pretrain import new_model
from sondino.pretraining.recipe import resolve_recipe
from sondino.pretraining.result import write_bundle_of
from sondino.tasks.registry import read_tasks

METHODS: dict[str, dict[str, Any]] = {
    "matpac++": {"method": "matpac++"},
    "matpac": {"method": "matpac"},
    "masked prediction alone": {"method": "matpac", "class_weight": 0.0},
    "matpac++, centre of probabilities": {"method": "matpac++", "centre": "probabilities"},
    "matpac++, teacher from the student": {"method": "matpac++", "teacher_init": "copy"},
}
STUDENT: dict[str, Any] = {
    "student": "mobilenetv3", "width": 0.5, "hop": 0.032, "clip": 1.95, "batch_size": 64, "lr": 1.5e-3,
    "validation": 0.04, "keep_labels": "no",
}  # fmt: skip


class LogMelStatistics:
    """Mean and deviation of each log-mel band, as an encoder of any length of sound."""

    name, sample_rate, dim, window = "log-mel statistics", RAW.sample_rate, 2 * RAW.n_mels, None

    def embed(self, waveforms: NDArray[np.float32]) -> NDArray[np.float32]:
        """(batch, samples) to (batch, dim)."""
        found = [log_mel(RAW, np.pad(w, (0, max(0, RAW.minimum_samples - len(w))))) for w in waveforms]
        return np.stack([np.concatenate([values.mean(1), values.std(1)]) for values in found])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sounds", type=Path)
    parser.add_argument("--tasks", nargs="+", required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--yamnet", type=Path, required=True)
    parser.add_argument("--updates", type=int, default=5000)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--crop", type=float, default=2.1)
    parser.add_argument("--methods", nargs="+", default=list(METHODS)[:3])
    parser.add_argument("--student-epochs", type=int, default=6)
    parser.add_argument("--student-draws", type=int, default=8000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--table", default="pretraining", help="the name of the table in results/")
    parser.add_argument("--train-only", action="store_true", help="measure nothing: for methods trained side by side")
    given = parser.parse_args()
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    torch.set_num_threads(1)
    if not (given.out / "corpus" / "corpus.json").exists():
        build_corpus(given.sounds, given.out / "corpus", STRETCH)
    for name in given.methods:
        train(given, name)
    if not given.train_only:
        measure(given)


def train(given: argparse.Namespace, name: str) -> None:
    """Pretrain by a method, and keep the processor seconds of all calls that it took."""
    run, began = folder_of(given, name), time.process_time()
    spent = run / "processor_seconds.json"
    before = json.loads(spent.read_text()) if spent.exists() else 0.0
    if not (run / "summary.json").exists():
        pretrain(given.out / "corpus", out=run, **options(given, name), page=False)
        spent.write_text(json.dumps(round(before + time.process_time() - began, 1)))


def measure(given: argparse.Namespace) -> None:
    """Distil the students, and write the table."""
    yamnet = f"litert:{given.yamnet}#yamnet_frames/global_average_pooling2d/Mean?rate=16000"
    lines = [row(given, name, load(folder_of(given, name), threads=1), last_metrics(given, name)) for name in METHODS
             if (folder_of(given, name) / "summary.json").exists()]  # fmt: skip
    first = given.methods[0]
    lines.append(row(given, "untrained", load(untrained(given, first), threads=1), {}))
    lines.append(row(given, "log-mel statistics", LogMelStatistics(), {}))
    lines.append(row(given, "yamnet", load_teacher(yamnet), {}))
    for name, teacher in {f"student of {first}": str(folder_of(given, first)), "student of yamnet": yamnet}.items():
        bundle = distill(
            given.sounds, teacher=teacher, out=folder_of(given, name), quiet=True, page=False, **STUDENT,
            epochs=given.student_epochs, draws=given.student_draws, seed=given.seed,
        )  # fmt: skip
        lines.append(row(given, name, load(bundle, threads=1), {}))
    for line in lines:
        line |= differences(str(line["model"]))
    names = list(dict.fromkeys(name for line in lines for name in line))
    write_results(given.table, [{name: line.get(name) for name in names} for line in lines])


def folder_of(given: argparse.Namespace, name: str) -> Path:
    """The folder of a run."""
    return Path(given.out / name.replace(" ", "_").replace(",", ""))


def options(given: argparse.Namespace, name: str) -> dict[str, Any]:
    """The entries of a method's recipe."""
    shared = {"updates": given.updates, "batch_size": given.batch_size, "crop": given.crop, "seed": given.seed}
    return shared | METHODS[name]


def untrained(given: argparse.Namespace, name: str) -> Path:
    """The bundle of the same encoder before training."""
    folder = Path(given.out / "untrained")
    if not (folder / "config.json").exists():
        recipe = resolve_recipe(**options(given, name))
        grid = crop_grid(recipe.crop, recipe.mask_ratio)
        mean, std = json.loads((folder_of(given, name) / "summary.json").read_text())["normalisation"]
        write_bundle_of(new_model(recipe, grid), (mean, std), grid, folder, "untrained", {})
    return folder


def last_metrics(given: argparse.Namespace, name: str) -> dict[str, Any]:
    """What a run took, and the last line of its metrics, as far as the table has it."""
    run = folder_of(given, name)
    last = json.loads((run / "metrics.jsonl").read_text().splitlines()[-1])
    names = ("prediction_loss", "classification_loss", "deviation", "perplexity")
    spent = json.loads((run / "processor_seconds.json").read_text())
    found = {"updates": last["update"], "processor_seconds": spent}
    return found | {name: last[name] for name in names if name in last}


def row(given: argparse.Namespace, name: str, model: Encoder, facts: dict[str, Any]) -> dict[str, Any]:
    """A line of the table."""
    found: dict[str, Any] = {}
    for task, labelled in read_tasks(given.tasks, None):
        score, _ = score_task(model, name, task, labelled, given.out / "scores" / name, seeds=1, quiet=True)
        label = Path(task.name).parent.name or task.name
        low, high = score["interval95"]
        ROUNDS.setdefault(label, {})[name] = score["rounds"]
        found |= {label: round(score["value"], 4), f"{label} low": round(low, 4), f"{label} high": round(high, 4)}
    line = {"model": name, **found, **facts, **provenance("torch", "scikit-learn")}
    print(line, flush=True)
    return line


ROUNDS: dict[str, dict[str, list[float]]] = {}
"""Scores of each fold, by task and model."""


def differences(model: str) -> dict[str, float]:
    """Points above the untrained encoder and the log-mel statistics, on the same folds, with 95 % intervals."""
    found: dict[str, float] = {}
    for task, rounds in ROUNDS.items():
        for other in ("untrained", "log-mel statistics"):
            above = [own - base for own, base in zip(rounds[model], rounds[other], strict=True)]
            if any(above):
                low, high = t_interval(above, bounds=(-1.0, 1.0))
                mean = float(np.mean(above))
                found |= {
                    f"{task} above {other}{end}": round(v, 4)
                    for end, v in zip(("", " low", " high"), (mean, low, high), strict=True)
                }
    return found


if __name__ == "__main__":
    main()
