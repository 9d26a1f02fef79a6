"""The training loop: draws, schedule, mixed precision, validation and checkpoints, on one device or several."""

import json
import logging
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from numpy.typing import NDArray
from torch import Tensor, nn

from sondino.distillation.augment import mixup, spec_augment
from sondino.distillation.losses import LOSSES, mixed
from sondino.distillation.mapping import MappingHead
from sondino.distillation.recipe import Recipe, as_dict
from sondino.distillation.sampling import draw
from sondino.errors import OptionError, SondinoError
from sondino.files import write_whole
from sondino.frontend.logmel_torch import FFTLogMel
from sondino.metrics.agreement import cosine, neighbour_overlap
from sondino.nets.student import Student
from sondino.progress import Report
from sondino.training.batches import Batches, Split, spread
from sondino.training.checkpoint import load_checkpoint, save_checkpoint

MOST_VALIDATION_ROWS = 2_000


@dataclass(frozen=True)
class TrainingData:
    """What there is to learn: targets (rows, dim) of each teacher, labels, balanced weights, and who is held out."""

    targets: Sequence[NDArray[np.float16]]
    weights: NDArray[np.float64]
    split: Split
    labels: NDArray[np.int64] | None = None
    """Class of each row, -1 where it has none."""


class Distiller(nn.Module):
    """A student with one mapping head a teacher, and one for labels where they count.

    Args:
        student: the net that learns.
        dims: of the teachers' vectors.
        classes: of labels; 0: none are learnt.
        mapped: otherwise vectors are compared as they are.
    """

    def __init__(self, student: Student, dims: Sequence[int], classes: int = 0, mapped: bool = True) -> None:
        super().__init__()
        self.student = student
        self.heads = nn.ModuleList(MappingHead(student.dim, dim) if mapped else nn.Identity() for dim in dims)
        self.label_head = MappingHead(student.dim, classes) if classes else None

    def forward(self, logmel: Tensor) -> tuple[Tensor, list[Tensor], Tensor | None]:
        """Map log-mels (batch, mels, frames) to vectors, their projection for each teacher, and class logits."""
        vector = self.student(logmel)
        return vector, [head(vector) for head in self.heads], self.label_head(vector) if self.label_head else None


def train(
    student: Student,
    lessons: TrainingData,
    read: Callable[[int], NDArray[np.float32]],
    recipe: Recipe,
    run: Path,
    accelerator: Accelerator,
    progress: Report = lambda done, total: None,
) -> Distiller:
    """Train a student, going on from the run's last checkpoint, and return it as it was at its best epoch.

    Every epoch seeds its own draws and masks, so a run that was killed ends in the weights of one that was not.

    Args:
        student: from `build_student`, initialised.
        lessons: targets and who is held out.
        read: gives the waveform of a row at the student's rate.
        recipe: resolved.
        run: folder for `checkpoints/`, `metrics.jsonl` and TensorBoard's `logs/`.
        accelerator: from `make_accelerator`.
        progress: called with (clips drawn, clips in all).
    """
    trainer = _Trainer(student, lessons, read, recipe, run, accelerator)
    first = trainer.resume()
    for epoch in range(first, recipe.epochs):
        trainer.train_epoch(epoch, progress)
        trainer.finish_epoch(epoch)
    return trainer.best()


class _Trainer:
    def __init__(
        self,
        student: Student,
        lessons: TrainingData,
        read: Callable[[int], NDArray[np.float32]],
        recipe: Recipe,
        run: Path,
        accelerator: Accelerator,
    ) -> None:
        self.recipe, self.lessons, self.run, self.accelerator = recipe, lessons, run, accelerator
        self.loss = LOSSES[recipe.loss]
        self.history: list[dict[str, Any]] = []
        torch.manual_seed(recipe.seed)
        classes = 0 if lessons.labels is None or recipe.label_weight == 0 else int(lessons.labels.max()) + 1
        dims = [target.shape[1] for target in lessons.targets]
        if recipe.mapping == "none" and (other := [dim for dim in dims if dim != student.dim]):
            raise OptionError(f"mapping none compares vectors as they are, {student.dim} numbers with the teacher's "
                              f"{other[0]}: leave it out")  # fmt: skip
        model = Distiller(student, dims, classes, mapped=recipe.mapping == "mlp")
        model = model.to(accelerator.device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        optimizer = torch.optim.Adam(model.parameters(), lr=recipe.lr, fused=True)
        self.model, self.optimizer = accelerator.prepare(model, optimizer)
        self.norms = [(m, m.momentum or 0.0) for m in student.modules() if isinstance(m, nn.BatchNorm2d)]
        self.frontend = FFTLogMel(student.logmel).to(accelerator.device)
        samples = round(recipe.clip * student.logmel.sample_rate)
        self.batches = Batches(read, samples, recipe.short)
        draws = recipe.draws or len(lessons.split.train)
        self.steps = math.ceil(draws / (recipe.batch_size * accelerator.num_processes))
        if accelerator.is_main_process:
            accelerator.init_trackers("logs")

    @property
    def distiller(self) -> Distiller:
        return self.accelerator.unwrap_model(self.model)

    @property
    def last(self) -> Path:
        return self.run / "checkpoints" / "last.safetensors"

    def resume(self) -> int:
        """Load the last checkpoint if there is one; returns the epoch to begin."""
        if not self.last.exists():
            return 0
        self.history = load_checkpoint(self.last, self.distiller, self.optimizer.optimizer)["history"]
        if self.accelerator.is_main_process:
            self.write_metrics()  # a kill may have come between checkpoint and metrics
        return len(self.history)

    def write_metrics(self) -> None:
        lines = "".join(json.dumps(m) + "\n" for m in self.history)
        write_whole(self.run / "metrics.jsonl", lines.encode())

    def train_epoch(self, epoch: int, progress: Report) -> None:
        recipe, accelerator = self.recipe, self.accelerator
        rank, world = accelerator.process_index, accelerator.num_processes
        torch.manual_seed((recipe.seed * 1_000_003 + epoch) * 1_009 + rank)
        rng = np.random.default_rng([recipe.seed, epoch])
        train_rows = self.lessons.split.train
        chosen = train_rows[draw(self.lessons.weights[train_rows], self.steps * recipe.batch_size * world, rng)]
        rows = list(chosen.reshape(self.steps, world, recipe.batch_size)[:, rank])
        began, self.batches.waited, total = time.perf_counter(), 0.0, torch.zeros((), device=accelerator.device)
        self.model.train()
        for step, (batch, waveforms) in enumerate(self.batches(rows)):
            self.rate = recipe.rate(epoch + step / self.steps)
            for group in self.optimizer.param_groups:
                group["lr"] = self.rate
            if recipe.init is None:
                warm_norms(self.norms, epoch * self.steps + step)
            loss = self._loss(batch, waveforms)
            self.optimizer.zero_grad()
            accelerator.backward(loss)
            accelerator.clip_grad_norm_(self.model.parameters(), recipe.gradient_clip)
            self.optimizer.step()
            total += loss.detach()
            progress(
                (epoch * self.steps + step + 1) * recipe.batch_size, recipe.epochs * self.steps * recipe.batch_size
            )
        mean = float(total) / self.steps
        if not math.isfinite(mean):
            raise SondinoError(
                f"the loss became {mean} in epoch {epoch + 1}: lower --lr (now {recipe.lr}) and run the same command "
                f"in another folder; {self.last} holds the epoch before"
            )
        seconds = time.perf_counter() - began
        self.metrics = {
            "epoch": epoch + 1,
            "loss": mean,
            "learning_rate": self.rate,
            "seconds": round(seconds, 2),
            "clips_per_second": round(self.steps * recipe.batch_size * world / seconds, 1),
            "data_wait": round(self.batches.waited / seconds, 4),
        }

    def _loss(self, rows: NDArray[np.int64], waveforms: Tensor) -> Tensor:
        recipe, device = self.recipe, self.accelerator.device
        logmel = self.frontend(waveforms.to(device, non_blocking=True))
        partner, ratio = torch.arange(len(rows), device=device), torch.ones(len(rows), device=device)
        if recipe.mixup > 0:
            logmel, partner, ratio = mixup(logmel, recipe.mixup)
        if recipe.spec_augment:
            logmel = spec_augment(logmel)
        _, projections, logits = self.model(logmel)
        distance = torch.zeros((), device=device)
        for target, projected in zip(self.lessons.targets, projections, strict=True):
            wanted = torch.from_numpy(target[rows].astype(np.float32)).to(device)
            own = self.loss if recipe.mixup == 0 else lambda p, t: mixed(self.loss, p, t, partner, ratio)
            distance = distance + own(projected.float(), wanted).mean() / len(projections)
        if logits is None:
            return distance
        labels = torch.from_numpy(self.lessons.labels[rows]).to(device)  # type: ignore[index]

        def entropy(p: Tensor, t: Tensor) -> Tensor:
            return nn.functional.cross_entropy(p, t, ignore_index=-1, reduction="none")

        supervised = mixed(entropy, logits.float(), labels, partner, ratio).mean()
        return recipe.label_weight * supervised + (1 - recipe.label_weight) * distance

    def finish_epoch(self, epoch: int) -> None:
        """Validate, and write the best checkpoint where it is one, then the last, then the metrics."""
        if self.accelerator.is_main_process:
            self.metrics |= self.validate()
            best = score(self.metrics) > max(map(score, self.history), default=-math.inf)
            self.history.append(self.metrics)
            state = {"epoch": epoch + 1, "history": self.history, "recipe": as_dict(self.recipe)}
            if best:
                save_checkpoint(self.last.with_name("best.safetensors"), self.distiller, None, state)
            save_checkpoint(self.last, self.distiller, self.optimizer.optimizer, state)
            self.write_metrics()
            self.accelerator.log({k: v for k, v in self.metrics.items() if k != "epoch"}, step=epoch + 1)
            logging.getLogger(__name__).info("epoch %s", self.metrics)
        self.accelerator.wait_for_everyone()

    def validate(self) -> dict[str, float]:
        """Cosine to each teacher's vectors and overlap of neighbours, on held-out clips; NaN is left out."""
        rows = spread(self.lessons.split.validation, MOST_VALIDATION_ROWS)
        if len(rows) == 0:
            return {}
        vectors, projections, classes = self.embed(rows)
        found: dict[str, float] = {}
        if classes is not None:
            labels = self.lessons.labels[rows]  # type: ignore[index]
            right = (classes == labels)[labels >= 0]
            found["validation_accuracy"] = float(right.mean()) if len(right) else math.nan
        if projections:
            targets = [target[rows].astype(np.float32) for target in self.lessons.targets]
            cosines = [cosine(projected, target) for projected, target in zip(projections, targets, strict=True)]
            found["validation_cosine"] = float(np.mean(cosines))
            found["validation_overlap"] = float(np.mean([neighbour_overlap(vectors, t) for t in targets]))
        return {name: round(value, 5) for name, value in found.items() if math.isfinite(value)}

    @torch.inference_mode()
    def embed(
        self, rows: NDArray[np.int64]
    ) -> tuple[NDArray[np.float32], list[NDArray[np.float32]], NDArray[np.int64] | None]:
        """Vectors and projections of some rows, as they are, and the class where labels are learnt."""
        self.model.eval()
        vectors, projections, classes = [], [], []
        for _, waveforms in self.batches(np.array_split(rows, math.ceil(len(rows) / self.recipe.batch_size))):
            with self.accelerator.autocast():
                vector, projected, logits = self.distiller(self.frontend(waveforms.to(self.accelerator.device)))
            vectors.append(vector.float().cpu().numpy())
            projections.append([p.float().cpu().numpy() for p in projected])
            if logits is not None:
                classes.append(logits.argmax(1).cpu().numpy())
        together = [np.concatenate(p) for p in zip(*projections, strict=True)]
        return np.concatenate(vectors), together, np.concatenate(classes) if classes else None

    def best(self) -> Distiller:
        """The model at its best epoch; the last where nothing was held out."""
        best = self.last.with_name("best.safetensors")
        if best.exists():
            load_checkpoint(best, self.distiller)
        return self.distiller.eval()


def warm_norms(norms: Sequence[tuple[nn.BatchNorm2d, float]], step: int) -> None:
    """Let running averages of batch norms forget where they began.

    The students' own momentum of 0.01 takes hundreds of steps to leave the values that they are initialised with, and
    a short run would be measured on those. Until then, average over about the last third of the steps.

    Args:
        norms: batch norms, each with the momentum that it settles at.
        step: steps since the start of training.
    """
    for norm, settled in norms:
        norm.momentum = max(settled, 3 / (step + 3))


def score(metrics: Mapping[str, Any]) -> float:
    """What makes an epoch the best: cosine to the teacher, else accuracy, else that it is the latest."""
    return metrics.get("validation_cosine", metrics.get("validation_accuracy", float(metrics["epoch"])))
