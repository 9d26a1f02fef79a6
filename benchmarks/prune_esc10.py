"""Real and quaternion networks, pruned by each score at three ratios, with and without recovery: five folds of ESC-10.

    python benchmarks/prune_esc10.py ESC10 --out FOLDER

ESC10 holds labels.csv (path, label, fold). CNN14 and QCNN14, narrow since two cores are slow, are trained from
scratch on four folds and pruned in their late layers as published. The pruned networks are scored without recovery,
with BatchNorm statistics recalibrated on some of the clips, and fine-tuned for some epochs. For comparison a network of
the same shape is distilled from scratch from the unpruned network's embeddings on the same clips, without labels, for
as many epochs as both together, and another is randomly initialised. Results in FOLDER from an earlier call are reused.
Writes results/prune_esc10.csv: mean accuracy on the held-out folds of a linear probe and, if there is one, of the
network's head.
"""

import argparse
import copy
import csv
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor, nn

from esc10 import esc10_folder
from provenance import provenance, write_results
from sondino.audio.reading import read
from sondino.distillation.augment import spec_augment
from sondino.frontend.logmel_torch import FFTLogMel
from sondino.metrics.intervals import t_interval
from sondino.nets.registry import build_student
from sondino.nets.size import macs, parameters
from sondino.nets.student import Student
from sondino.pruning.filters import prune_student
from sondino.pruning.recalibration import recalibrate_batchnorm
from sondino.pruning.scores import ScoreName
from sondino.training.accelerator import computes_in_bfloat16

LATE = "conv_block[456].*"
SCORES: tuple[ScoreName, ...] = ("operator-norm", "l1", "geometric-median", "taylor")
RATIOS = (0.25, 0.5, 0.75)
CROP, BATCH = 150, 32
"""Frames of a random crop (1.5 s of the clips' 5 s), and crops a step."""


class Esc10:
    """Log-mels (clips, mels, frames) of one split of ESC-10."""

    def __init__(self, folder: Path, logmel: Any) -> None:
        with (folder / "labels.csv").open(newline="") as lines:
            rows = list(csv.DictReader(lines))
        names = sorted({row["label"] for row in rows})
        self.labels = torch.tensor([names.index(row["label"]) for row in rows])
        self.folds = np.array([int(row["fold"]) for row in rows])
        front_end = FFTLogMel(logmel)
        waves = [read(folder / row["path"], logmel.sample_rate)[: 5 * logmel.sample_rate] for row in rows]
        waves = [np.pad(wave, (0, 5 * logmel.sample_rate - len(wave))) for wave in waves]
        self.logmels = torch.cat([front_end(torch.from_numpy(wave)[None]) for wave in waves])
        self.classes = len(names)

    def crops(self, rows: Any, epochs: int, rng: np.random.Generator) -> Iterator[tuple[Tensor, Tensor]]:
        """Batches of crops with masks, and the rows that they are of."""
        for _ in range(epochs):
            for chosen in np.array_split(rng.permutation(rows), max(1, len(rows) // BATCH)):
                starts = rng.integers(0, self.logmels.shape[2] - CROP + 1, len(chosen))
                cut = [self.logmels[row, :, start : start + CROP] for row, start in zip(chosen, starts, strict=True)]
                yield spec_augment(torch.stack(cut)), torch.from_numpy(chosen)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("esc10", type=esc10_folder)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--width", type=float, default=0.125)
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--recovery", type=int, default=5)
    parser.add_argument("--folds", default="1,2,3,4,5", help="several processes may share them, in one FOLDER")
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    sounds = Esc10(given.esc10, build_student("cnn14", given.width).logmel)
    done = Done(given.out / "done.jsonl")
    for fold in map(int, given.folds.split(",")):
        learned(given.width, fold, sounds, given.epochs, done)
        for name in ("cnn14", "qcnn14"):
            one_net(name, given.width, fold, sounds, given.epochs, given.recovery, done)
            done.rows = done.read()
            write_results("prune_esc10", table(done.rows, given.width, given.epochs, given.recovery))


class Done:
    """Rows that are finished, a line each on disk."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.rows = self.read()

    def read(self) -> list[dict[str, Any]]:
        """All rows on disk, those of other processes too."""
        return [json.loads(line) for line in self.file.read_text().splitlines()] if self.file.exists() else []

    def unless(self, key: dict[str, Any], made: Callable[[], dict[str, Any]]) -> None:
        """Add a row unless it is there."""
        if any(all(row[name] == value for name, value in key.items()) for row in self.rows):
            return
        began = time.perf_counter()
        row = {**key, **made(), "seconds": round(time.perf_counter() - began, 1)}
        self.rows.append(row)
        with self.file.open("a") as out:
            out.write(json.dumps(row) + "\n")
        print(json.dumps(row), flush=True)


def learned(width: float, fold: int, sounds: Esc10, epochs: int, done: Done) -> None:
    """QCNN14 whose parts of the log-mel are learned and not its derivatives, unpruned."""

    def made() -> dict[str, Any]:
        torch.manual_seed(fold)
        net = build_student("qcnn14", width, quaternion="learned")
        head = nn.Linear(net.dim, sounds.classes)
        learn(net, head, sounds, np.flatnonzero(sounds.folds != fold), epochs, 1e-3, fold)
        return scored(net, head, sounds, fold)

    key = {"net": "qcnn14, learned parts", "fold": fold, "score": "", "ratio": 0.0, "recovery": "unpruned"}
    done.unless(key, made)


def one_net(name: str, width: float, fold: int, sounds: Esc10, epochs: int, recovery: int, done: Done) -> None:
    """Train, prune and recover one network on four folds, and score all on the fifth."""
    train = np.flatnonzero(sounds.folds != fold)
    key = {"net": name, "fold": fold}
    weights = done.file.with_name(f"{name}-{fold}.pt")
    torch.manual_seed(fold)
    net, head = build_student(name, width), nn.Linear(build_student(name, width).dim, sounds.classes)
    both = nn.ModuleList([net, head])
    if weights.exists():
        both.load_state_dict(torch.load(weights, weights_only=True))
    else:
        learn(net, head, sounds, train, epochs, 1e-3, fold)
        torch.save(both.state_dict(), weights)
    done.unless(key | {"score": "", "ratio": 0.0, "recovery": "unpruned"}, lambda: scored(net, head, sounds, fold))
    batches = [sounds.logmels[rows] for rows in np.array_split(train[::5], 8)]
    for ratio in RATIOS:
        for score in SCORES:
            pruned = prune_student(net, score, ratio, layers=LATE, logmels=batches).student
            run_key = key | {"score": score, "ratio": ratio}
            done.unless(run_key | {"recovery": "none"}, lambda: scored(pruned, head, sounds, fold))  # noqa: B023
            recalibrated = copy.deepcopy(pruned)
            recalibrate_batchnorm(recalibrated, batches)
            done.unless(run_key | {"recovery": "norms settled"}, lambda: scored(recalibrated, head, sounds, fold))  # noqa: B023

            def tuned() -> dict[str, Any]:
                own = copy.deepcopy(head)
                learn(pruned, own, sounds, train, recovery, 5e-4, fold)  # noqa: B023
                return scored(pruned, own, sounds, fold)  # noqa: B023

            done.unless(run_key | {"recovery": "fine-tuned"}, tuned)
        run_key = key | {"score": "", "ratio": ratio, "recovery": "untrained"}
        done.unless(run_key, lambda: scored(same_form(pruned, fold), None, sounds, fold))  # noqa: B023
        run_key = key | {"score": "", "ratio": ratio, "recovery": "distilled from scratch"}
        done.unless(run_key, lambda: distilled(pruned, net, sounds, fold, epochs + recovery))  # noqa: B023


def learn(net: Student, head: nn.Linear, sounds: Esc10, rows: Any, epochs: int, lr: float, seed: int) -> None:
    """Supervised training of a net and a linear head, in place."""

    def loss(batch: Tensor, chosen: Tensor) -> Tensor:
        return F.cross_entropy(head(net(batch)), sounds.labels[chosen], label_smoothing=0.1)

    fit(nn.ModuleList([net, head]), loss, sounds, rows, epochs, lr, seed)


def fit(module: nn.Module, loss: Any, sounds: Esc10, rows: Any, epochs: int, lr: float, seed: int) -> None:
    """Adam with a rate that rises over a tenth of the steps and falls to nothing."""
    steps = epochs * max(1, len(rows) // BATCH)
    optimizer = torch.optim.Adam(module.parameters(), lr=lr, fused=True)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, lr, total_steps=steps, pct_start=0.1)
    module.train().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    rng = np.random.default_rng([seed, epochs])
    torch.manual_seed(seed)
    bfloat16 = computes_in_bfloat16(on_cpu=True)
    for batch, chosen in sounds.crops(rows, epochs, rng):
        with torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
            value = loss(batch, chosen)
        optimizer.zero_grad()
        value.backward()
        nn.utils.clip_grad_norm_(module.parameters(), 5.0)
        optimizer.step()
        schedule.step()
    module.eval()


@torch.inference_mode()
def embed_rows(net: Student, sounds: Esc10, rows: Any) -> Tensor:
    """Of whole clips, (rows, dim)."""
    return torch.cat([net.eval()(sounds.logmels[part]) for part in np.array_split(rows, max(1, len(rows) // 16))])


@torch.inference_mode()
def scored(net: Student, head: nn.Linear | None, sounds: Esc10, fold: int) -> dict[str, Any]:
    """What a net is, and the share of a fold's clips that its head and a linear probe name rightly.

    The probe is fitted on the embeddings of the other folds.
    """
    train, test = np.flatnonzero(sounds.folds != fold), np.flatnonzero(sounds.folds == fold)
    train_embeddings, test_embeddings = embed_rows(net, sounds, train), embed_rows(net, sounds, test)
    probe = make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000))
    probe.fit(train_embeddings.numpy(), sounds.labels[train].numpy())
    row: dict[str, Any] = {"parameters": parameters(net), "macs_per_10s": macs(net)}
    row["probed"] = float(probe.score(test_embeddings.numpy(), sounds.labels[test].numpy()))
    if head is not None:
        row["head"] = float((head(test_embeddings).argmax(1) == sounds.labels[test]).float().mean())
    return row


def same_form(pruned: Student, seed: int) -> Student:
    """A randomly initialised network with the shape of a pruned one."""
    torch.manual_seed(seed)
    return build_student(pruned.name, pruned.width, **pruned.build).eval()


def distilled(pruned: Student, teacher: Student, sounds: Esc10, fold: int, epochs: int) -> dict[str, Any]:
    """A network with the shape of a pruned one, distilled from scratch from the unpruned one's embeddings."""
    net = same_form(pruned, fold)
    mapping = nn.Linear(net.dim, teacher.dim)

    def loss(batch: Tensor, chosen: Tensor) -> Tensor:
        with torch.no_grad():
            wanted = teacher.eval()(batch)
        return (1 - F.cosine_similarity(mapping(net(batch)), wanted, dim=1)).mean()

    fit(nn.ModuleList([net, mapping]), loss, sounds, np.flatnonzero(sounds.folds != fold), epochs, 1e-3, fold)
    return scored(net, None, sounds, fold)


def table(rows: list[dict[str, Any]], width: float, epochs: int, recovery: int) -> list[dict[str, Any]]:
    """A row for each net, score, ratio and recovery: the mean over the folds that are done."""
    found: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    for row in rows:
        found.setdefault(tuple(row[name] for name in ("net", "ratio", "score", "recovery")), []).append(row)
    versions = provenance("torch", "torch-pruning", "scikit-learn")
    lines = []
    for (net, ratio, score, how), same in sorted(found.items()):
        values = [row["probed"] for row in same]
        heads = [row["head"] for row in same if "head" in row]
        low, high = t_interval(values) if len(values) > 1 else (values[0], values[0])
        sized = {name: round(np.mean([row[name] for row in same])) for name in ("parameters", "macs_per_10s")}
        row = {"net": net, "width": width, "ratio": ratio, "score": score, "recovery": how, **sized}
        row |= {"folds": len(values), "probed": round(float(np.mean(values)), 4)}
        row |= {"interval_low": round(low, 4), "interval_high": round(high, 4)}
        row["head"] = round(float(np.mean(heads)), 4) if heads else ""
        lines.append(row | {"epochs": epochs, "recovery_epochs": recovery, **versions})
    return lines


if __name__ == "__main__":
    main()
