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

from sondino.corpus.labels import RowLabels
from sondino.distillation.augment import mixup, spec_augment
from sondino.distillation.losses import LOSSES, class_loss, marks_loss, mixed
from sondino.distillation.mapping import MappingHead, Standardise
from sondino.distillation.recipe import Recipe, as_dict
from sondino.distillation.sampling import draw
from sondino.errors import OptionError, SondinoError
from sondino.files import write_whole
from sondino.frontend.logmel_torch import FFTLogMel
from sondino.metrics.agreement import cosine, neighbour_overlap
from sondino.metrics.classification import chance_of, score_of
from sondino.metrics.verdicts import overlap_by_chance
from sondino.nets.student import Student
from sondino.processors import cores
from sondino.progress import Report
from sondino.training.batches import Batches, Split, spread
from sondino.training.checkpoint import load_checkpoint, save_checkpoint
from sondino.training.replicas import Replicas, parts_of

MOST_VALIDATION_ROWS = 2_000
MOST_SCALE_ROWS = 20_000
"""Rows that the means and deviations of targets are measured on."""


@dataclass(frozen=True)
class TrainingData:
    """Targets (rows, dim) of each teacher, sampling weights (rows,), the split, and the labels of the rows."""

    targets: Sequence[NDArray[np.float16]]
    weights: NDArray[np.float64]
    split: Split
    labels: RowLabels | None = None
    """None: they are not trained on."""


class Distiller(nn.Module):
    """A student with one mapping head per teacher, and one for labels if they are trained on.

    Args:
        student: the net to train.
        scales: of each teacher's embeddings.
        classes: of labels; 0: no labels.
        mapped: whether there are mapping heads; otherwise the student's embeddings are compared with the teachers'.
    """

    def __init__(self, student: Student, scales: Sequence[Standardise], classes: int = 0, mapped: bool = True) -> None:
        super().__init__()
        self.student = student
        self.scales = nn.ModuleList(scales)
        dims = [len(scale.mean) for scale in scales]
        self.heads = nn.ModuleList(MappingHead(student.dim, dim) if mapped else nn.Identity() for dim in dims)
        self.label_head = MappingHead(student.dim, classes) if classes else None

    def forward(self, logmel: Tensor) -> tuple[Tensor, list[Tensor], Tensor | None]:
        """Map log-mels (batch, n_mels, frames) to embeddings (batch, dim), their projections, and class logits.

        Projections are (batch, teacher's dim) of each teacher, standardised as its targets; logits (batch, classes).
        """
        embedding = self.student(logmel)
        return embedding, *self.project(embedding)

    def project(self, embedding: Tensor) -> tuple[list[Tensor], Tensor | None]:
        """Projections and logits of embeddings (batch, dim), as `forward` gives them."""
        logits = self.label_head(embedding) if self.label_head else None
        return [head(embedding) for head in self.heads], logits


def train(
    student: Student,
    data: TrainingData,
    read: Callable[[int], NDArray[np.float32]],
    recipe: Recipe,
    run: Path,
    accelerator: Accelerator,
    progress: Report = lambda done, total: None,
) -> Distiller:
    """Train a student, resuming from the run's last checkpoint, and return it with the weights of its best epoch.

    Every epoch seeds its own draws and masks, so a run that was killed ends in the weights of one that was not.

    Args:
        student: from `build_student`, initialised.
        data: targets and split.
        read: gives the waveform (samples,) of a row at the student's sample rate.
        recipe: resolved.
        run: folder for `checkpoints/`, `metrics.jsonl` and TensorBoard's `logs/`.
        accelerator: from `make_accelerator`.
        progress: called with (clips so far, clips in all epochs).
    """
    trainer = _Trainer(student, data, read, recipe, run, accelerator)
    first = trainer.resume()
    for epoch in range(first, recipe.epochs):
        trainer.train_epoch(epoch, progress)
        trainer.finish_epoch(epoch)
    return trainer.best()


class _Trainer:
    def __init__(
        self,
        student: Student,
        data: TrainingData,
        read: Callable[[int], NDArray[np.float32]],
        recipe: Recipe,
        run: Path,
        accelerator: Accelerator,
    ) -> None:
        self.recipe, self.data, self.run, self.accelerator = recipe, data, run, accelerator
        self.loss = LOSSES[recipe.loss]
        self.history: list[dict[str, Any]] = []
        torch.manual_seed(recipe.seed)
        # One label a clip is a class of a softmax; where any clip has several, each label is a binary problem.
        self.multi_label = data.labels is not None and data.labels.multi_label
        self.classes = None if data.labels is None or self.multi_label else data.labels.classes()
        classes = 0 if data.labels is None else len(data.labels.names)
        dims = [target.shape[1] for target in data.targets]
        if recipe.mapping == "none" and (other := [dim for dim in dims if dim != student.dim]):
            raise OptionError(
                f"mapping none needs embeddings of one dimension: the student's is {student.dim} and the teacher's "
                f"{other[0]}; leave mapping out"
            )
        # Without a mapping head the student's own embeddings become the teacher's, in its units.
        standardised = recipe.standardise and recipe.mapping == "mlp"
        train_rows = data.split.train
        scales = [
            Standardise(dim, targets[spread(train_rows, MOST_SCALE_ROWS)] if standardised else None)
            for dim, targets in zip(dims, data.targets, strict=True)
        ]
        model = Distiller(student, scales, classes, mapped=recipe.mapping == "mlp")
        model = model.to(accelerator.device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        optimizer = torch.optim.Adam(model.parameters(), lr=recipe.lr, fused=True)
        self.model, self.optimizer = accelerator.prepare(model, optimizer)
        alone_on_cpu = accelerator.device.type == "cpu" and accelerator.num_processes == 1
        threads = min(cores(), torch.get_num_threads())
        parts = parts_of(recipe.batch_size, threads) if alone_on_cpu and not student.random else 1
        self.replicas = Replicas(self.distiller.student, parts, accelerator.autocast) if parts > 1 else None
        networks = [student] if self.replicas is None else self.replicas.networks
        self.norms = [(m, m.momentum or 0.0) for n in networks for m in n.modules() if isinstance(m, nn.BatchNorm2d)]
        self.frontend = FFTLogMel(student.logmel).to(accelerator.device)
        samples = round(recipe.clip * student.logmel.sample_rate)
        self.batches = Batches(read, samples, recipe.short)
        draws = recipe.draws or len(data.split.train)
        self.steps = math.ceil(draws / (recipe.batch_size * accelerator.num_processes))
        if accelerator.is_main_process:
            accelerator.init_trackers("logs")

    @property
    def teacher_weights(self) -> Sequence[float]:
        """Of each teacher's loss, and of its cosine in validation."""
        return self.recipe.teacher_weight or [1.0] * len(self.data.targets)

    @property
    def distiller(self) -> Distiller:
        return self.accelerator.unwrap_model(self.model)

    @property
    def last(self) -> Path:
        return self.run / "checkpoints" / "last.safetensors"

    def resume(self) -> int:
        """Load the last checkpoint if there is one; returns the epoch to start with."""
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
        """Train for an epoch; with replicas the threads of single operations are switched off meanwhile."""
        if self.replicas is None:
            return self._train_epoch(epoch, progress)
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            self.replicas.begin()
            self._train_epoch(epoch, progress)
            self.replicas.merge()
        finally:
            torch.set_num_threads(threads)

    def _train_epoch(self, epoch: int, progress: Report) -> None:
        recipe, accelerator = self.recipe, self.accelerator
        rank, world = accelerator.process_index, accelerator.num_processes
        torch.manual_seed((recipe.seed * 1_000_003 + epoch) * 1_009 + rank)
        rng = np.random.default_rng([recipe.seed, epoch])
        train_rows = self.data.split.train
        chosen = train_rows[draw(self.data.weights[train_rows], self.steps * recipe.batch_size * world, rng)]
        rows = list(chosen.reshape(self.steps, world, recipe.batch_size)[:, rank])
        began, self.batches.waited, total = time.perf_counter(), 0.0, torch.zeros((), device=accelerator.device)
        self.model.train()
        for step, (batch, waveforms) in enumerate(self.batches(rows)):
            self.rate = recipe.learning_rate(epoch + step / self.steps)
            for group in self.optimizer.param_groups:
                group["lr"] = self.rate
            if recipe.init is None:
                warm_norms(self.norms, epoch * self.steps + step)
            loss = self._loss(batch, waveforms)
            self.optimizer.zero_grad()
            accelerator.backward(loss)
            if self.replicas is not None:
                self.replicas.backward()
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
        """The loss of a batch: rows (batch,) of the corpus with their waveforms (batch, samples)."""
        recipe, device = self.recipe, self.accelerator.device
        # (batch, samples) -> (batch, n_mels, frames)
        if self.replicas is None:
            logmel = self.frontend(waveforms.to(device, non_blocking=True))
        else:
            logmel = torch.cat(self.replicas.map(self.frontend, waveforms))
        partner, ratio = torch.arange(len(rows), device=device), torch.ones(len(rows), device=device)
        if recipe.mixup > 0:
            logmel, partner, ratio = mixup(logmel, recipe.mixup)  # partner and ratio: (batch,)
        if recipe.spec_augment:
            logmel = spec_augment(logmel)
        # projections: (batch, teacher's dim) of each teacher; logits: (batch, classes)
        if self.replicas is None:
            _, projections, logits = self.model(logmel)
        else:
            with self.accelerator.autocast():
                projections, logits = self.distiller.project(self.replicas.forward(logmel))
        loss_fn = self.loss if recipe.mixup == 0 else lambda p, t: mixed(self.loss, p, t, partner, ratio)
        distill_loss = torch.zeros((), device=device)
        weights = self.teacher_weights
        for targets, scale, projected, weight in zip(
            self.data.targets, self.distiller.scales, projections, weights, strict=True
        ):
            target = scale(torch.from_numpy(targets[rows].astype(np.float32)).to(device))  # (batch, teacher's dim)
            distill_loss = distill_loss + loss_fn(projected.float(), target).mean() * weight / sum(weights)
        if logits is None:
            return distill_loss
        label_loss = marks_loss if self.multi_label else class_loss
        labels = torch.from_numpy(self._labels(rows)).to(device)  # (batch,) or (batch, classes)
        supervised = mixed(label_loss, logits.float(), labels, partner, ratio).mean()
        return recipe.label_weight * supervised + (1 - recipe.label_weight) * distill_loss

    def _labels(self, rows: NDArray[np.int64]) -> NDArray[Any]:
        """The classes (rows,) of some rows; where clips may have several labels, the marks (rows, classes)."""
        if self.classes is not None:
            return self.classes[rows]
        assert self.data.labels is not None
        return self.data.labels.marks(rows)

    def finish_epoch(self, epoch: int) -> None:
        """Validate, and write the best checkpoint if it is one, then the last, then the metrics."""
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
        """Mean cosine to each teacher's (standardised) embeddings and neighbour overlap, on held-out clips, but NaN."""
        rows = spread(self.data.split.validation, MOST_VALIDATION_ROWS)
        if len(rows) == 0:
            return {}
        embeddings, projections, predicted = self.embed(rows)
        found: dict[str, float] = {}
        if predicted is not None:
            found |= self._label_scores(predicted, self._labels(rows))
        if projections:
            targets = [target[rows].astype(np.float32) for target in self.data.targets]
            # As the loss compares them: a loss that ignores lengths leaves open what they would be restored to.
            scales, device = self.distiller.scales, self.accelerator.device
            standard = [s(torch.from_numpy(t).to(device)).cpu().numpy() for s, t in zip(scales, targets, strict=True)]
            cosines = [cosine(projected, target) for projected, target in zip(projections, standard, strict=True)]
            found["validation_cosine"] = float(np.average(cosines, weights=self.teacher_weights))
            found["validation_overlap_by_chance"] = overlap_by_chance(len(rows))
            found["validation_overlap"] = float(np.mean([neighbour_overlap(embeddings, t) for t in targets]))
        return {name: round(value, 5) for name, value in found.items() if math.isfinite(value)}

    def _label_scores(self, predicted: NDArray[Any], labels: NDArray[Any]) -> dict[str, float]:
        """How well the labels of held-out clips are predicted: accuracy, or mAP with its chance level."""
        if not self.multi_label:
            correct = (predicted == labels)[labels >= 0]
            return {"validation_accuracy": float(correct.mean()) if len(correct) else math.nan}
        labelled = (labels >= 0).all(1)
        if not labelled.any():
            return {}
        targets = labels[labelled] > 0
        return {
            "validation_mAP": score_of(predicted[labelled], targets, "mAP"),
            "validation_mAP_by_chance": chance_of(targets, "mAP"),
        }

    @torch.inference_mode()
    def embed(
        self, rows: NDArray[np.int64]
    ) -> tuple[NDArray[np.float32], list[NDArray[np.float32]], NDArray[Any] | None]:
        """Embeddings (rows, dim), projections (rows, teacher's dim) and predicted labels of some rows.

        The last are classes (rows,); where clips may have several labels, logits (rows, classes).
        """
        self.model.eval()
        embeddings, projections, predicted = [], [], []
        for _, waveforms in self.batches(np.array_split(rows, math.ceil(len(rows) / self.recipe.batch_size))):
            with self.accelerator.autocast():
                embedding, projected, logits = self.distiller(self.frontend(waveforms.to(self.accelerator.device)))
            embeddings.append(embedding.float().cpu().numpy())
            projections.append([p.float().cpu().numpy() for p in projected])
            if logits is not None:
                predicted.append((logits.float() if self.multi_label else logits.argmax(1)).cpu().numpy())
        together = [np.concatenate(p) for p in zip(*projections, strict=True)]
        return np.concatenate(embeddings), together, np.concatenate(predicted) if predicted else None

    def best(self) -> Distiller:
        """The model with the weights of its best epoch; the last if nothing was held out."""
        best = self.last.with_name("best.safetensors")
        if best.exists():
            load_checkpoint(best, self.distiller)
        return self.distiller.eval()


def warm_norms(norms: Sequence[tuple[nn.BatchNorm2d, float]], step: int) -> None:
    """Raise the momentum of BatchNorm at the start of training.

    With the students' own momentum of 0.01 the running statistics keep their initial values for hundreds of steps, and
    a short run would be evaluated with those. Until then they average over about the last third of the steps.

    Args:
        norms: BatchNorm layers, each with its own momentum.
        step: steps since the start of training.
    """
    for norm, momentum in norms:
        norm.momentum = max(momentum, 3 / (step + 3))


def score(metrics: Mapping[str, Any]) -> float:
    """The score that the best epoch is chosen by: cosine to the teacher, else of labels, else the epoch's number."""
    names = ("validation_cosine", "validation_accuracy", "validation_mAP")
    return next((metrics[name] for name in names if name in metrics), float(metrics["epoch"]))
