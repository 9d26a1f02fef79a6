"""The training loop of pretraining: updates, moving averages, checkpoints, metrics."""

import json
import logging
import math
import time
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor

from sondino.errors import SondinoError
from sondino.files import write_whole
from sondino.metrics.verdicts import of_pretraining
from sondino.pretraining.crops import Crops, Grid
from sondino.pretraining.losses import next_centre
from sondino.pretraining.masks import mask_noise
from sondino.pretraining.model import Pass, Pretrainer
from sondino.pretraining.recipe import PretrainRecipe
from sondino.pretraining.schedules import Schedule, make_schedule
from sondino.pretraining.statistics import describe_pass
from sondino.progress import Report
from sondino.training.checkpoint import load_checkpoint, save_checkpoint

ROWS = 200
"""Lines of metrics.jsonl that a run has, about."""
SECONDS_BETWEEN_CHECKPOINTS = 60.0
BETAS = (0.9, 0.95)
EPSILON = 1e-6


def train(
    model: Pretrainer,
    crops: Crops,
    grid: Grid,
    recipe: PretrainRecipe,
    run: Path,
    accelerator: Accelerator,
    progress: Report = lambda done, total: None,
) -> Pretrainer:
    """Pretrain an encoder, resuming from the run's last checkpoint, and return the nets.

    Each update seeds its own crops and masks, so a run that was killed ends in the weights of one that was not.

    Args:
        model: initialised.
        crops: of the corpus.
        grid: the patches of a crop.
        recipe: resolved.
        run: folder for `checkpoints/`, `metrics.jsonl` and TensorBoard's `logs/`.
        accelerator: from `make_accelerator`.
        progress: called with (updates so far, updates in all).

    Raises:
        SondinoError: the loss became NaN or infinite.
    """
    trainer = _Trainer(model, grid, recipe, run, accelerator)
    first = trainer.resume()
    progress(first, recipe.updates)
    batches = crops.batches(
        first,
        recipe.updates,
        recipe.batch_size,
        recipe.accumulate,
        accelerator.process_index,
        accelerator.num_processes,
    )
    for update in range(first, recipe.updates):
        trainer.update(update, [next(batches) for _ in range(recipe.accumulate)], crops)
        progress(update + 1, recipe.updates)
    return trainer.net


class _Trainer:
    def __init__(
        self, model: Pretrainer, grid: Grid, recipe: PretrainRecipe, run: Path, accelerator: Accelerator
    ) -> None:
        self.grid, self.recipe, self.run, self.accelerator = grid, recipe, run, accelerator
        self.schedule = make_schedule(recipe.updates, recipe.peak_lr, recipe.warmup, recipe.published)
        self.history: list[dict[str, Any]] = []
        self.every = max(1, recipe.updates // ROWS)
        self.sums = torch.zeros(4, device=accelerator.device)
        """Of the updates since the last line of metrics: both losses, the gradient's norm, and how many they were."""
        model = model.to(accelerator.device)
        optimizer = make_optimizer(model, recipe.weight_decay)
        self.model, self.optimizer = accelerator.prepare(model, optimizer)
        self.model.train()
        self.began, self.saved, self.save_seconds = time.perf_counter(), time.monotonic(), 0.0
        if accelerator.is_main_process:
            accelerator.init_trackers("logs")

    @property
    def net(self) -> Pretrainer:
        net: Pretrainer = self.accelerator.unwrap_model(self.model)
        return net

    @property
    def last(self) -> Path:
        return self.run / "checkpoints" / "last.safetensors"

    def resume(self) -> int:
        """Load the last checkpoint if there is one; returns the update to start with."""
        if not self.last.exists():
            return 0
        state = load_checkpoint(self.last, self.net, self.optimizer.optimizer)
        self.history = state["history"]
        self.sums = torch.tensor(state["sums"], device=self.accelerator.device)
        if self.accelerator.is_main_process:
            self._write_metrics()  # a kill may have come between checkpoint and metrics
        return int(state["update"])

    def update(self, update: int, batches: list[Tensor], crops: Crops) -> None:
        """One step of the optimizer from the batches of an update, and what follows it."""
        mean: Tensor | None = None
        total = torch.zeros(2, device=self.accelerator.device)
        for part, batch in enumerate(batches):
            # Processes exchange their gradients once an update: with its last batch.
            alone = self.accelerator.no_sync(self.model) if part + 1 < len(batches) else nullcontext()
            with alone:
                found = self._forward(update, part, batch)
                losses = self._losses(found)
                self.accelerator.backward((losses * self._weights()).sum() / len(batches))
            total += losses.detach() / len(batches)
            if found.mean is not None:
                mean = found.mean / len(batches) + (0 if mean is None else mean)
        norm = self.accelerator.clip_grad_norm_(self.model.parameters(), self.recipe.gradient_clip)
        if mean is not None:
            mean = self.accelerator.reduce(mean, "mean")
        take_step(self.net, self.optimizer, self.schedule, update, mean, self.recipe.published)
        self.sums += torch.cat([total, torch.as_tensor(norm, device=total.device).view(1), total.new_ones(1)])
        last = update + 1 == self.recipe.updates
        if (update + 1) % self.every == 0 or last:
            self._record(update, found, crops)
        # The main process decides by its own clock; nothing here may wait for the others, whose clocks differ.
        due = time.monotonic() - self.saved > max(SECONDS_BETWEEN_CHECKPOINTS, 20 * self.save_seconds)
        if self.accelerator.is_main_process and (due or last):
            self._save(update + 1)

    def _forward(self, update: int, part: int, batch: Tensor) -> Pass:
        """The losses of one of an update's batches, (batch, n_mels, frames)."""
        seed = self.recipe.seed + update
        if not self.recipe.published:
            # Masks of their own for every process and batch.
            ranks = self.accelerator.num_processes
            place = (update * self.recipe.accumulate + part) * ranks + self.accelerator.process_index
            seed = self.recipe.seed * 1_000_003 + place
        noise = mask_noise((len(batch), self.grid.patches), seed % 2**63).to(self.accelerator.device)
        found: Pass = self.model(
            batch.to(self.accelerator.device, non_blocking=True),
            noise,
            self.grid.visible,
            self.schedule.teacher_at(update),
            self.schedule.hypotheses_at(update),
        )
        return found

    @staticmethod
    def _losses(found: Pass) -> Tensor:
        """Mean losses (2,) of prediction and classification."""
        prediction = found.prediction.mean()
        classification = prediction.new_zeros(()) if found.classification is None else found.classification.mean()
        return torch.stack([prediction, classification])

    def _weights(self) -> Tensor:
        share = self.recipe.class_weight
        return torch.tensor([1 - share, share], device=self.accelerator.device)

    def _record(self, update: int, found: Pass, crops: Crops) -> None:
        """Add a line of metrics: means since the last one, and statistics of this process's last batch."""
        sums = self.accelerator.reduce(self.sums, "sum").cpu().tolist()
        prediction, classification, norm, count = sums
        self._check_finite(sums, update + 1)
        self.sums.zero_()
        seconds = time.perf_counter() - self.began
        share = self.recipe.class_weight
        encoder_decay, head_decay = self.schedule.decays(update)
        row = {
            "update": update + 1,
            "loss": ((1 - share) * prediction + share * classification) / count,
            "prediction_loss": prediction / count,
            "classification_loss": classification / count,
            "gradient_norm": norm / count,
            **describe_pass(found),
            "learning_rate": self.schedule.learning_rate(update),
            "encoder_decay": encoder_decay,
            "head_decay": head_decay,
            "teacher_temperature": self.schedule.teacher_at(update),
            "hypothesis_temperature": self.schedule.hypotheses_at(update),
            "seconds": seconds,
            "data_wait": crops.waited / seconds,
        }
        self.began, crops.waited = time.perf_counter(), 0.0
        if not self.accelerator.is_main_process:
            return
        self.history.append({name: float(f"{value:.6g}") if name != "update" else value for name, value in row.items()})
        self._write_metrics()
        self.accelerator.log({k: v for k, v in row.items() if k != "update"}, step=update + 1)
        if reason := of_pretraining(row):
            logging.getLogger(__name__).warning("update %d: %s", update + 1, reason)

    def _check_finite(self, sums: list[float], update: int) -> None:
        """Stop at a loss or gradient that is NaN or infinite: a checkpoint is never written from such weights."""
        prediction, classification, norm, _ = sums
        loss = prediction + classification
        if not math.isfinite(loss + norm):
            name, value = ("gradient", norm) if math.isfinite(loss) else ("loss", loss)
            raise SondinoError(
                f"the {name} became {value} by update {update}: lower --lr (now {self.recipe.peak_lr:g}) and run the "
                f"same command in another folder; {self.last.parent} holds the last checkpoint before, if one was due"
            )

    def _save(self, update: int) -> None:
        """Write the checkpoint after some updates."""
        began, sums = time.monotonic(), self.sums.tolist()
        self._check_finite(sums, update)
        state = {"update": update, "history": self.history, "sums": sums}
        save_checkpoint(self.last, self.net, self.optimizer.optimizer, state)
        self.saved = time.monotonic()
        self.save_seconds = self.saved - began

    def _write_metrics(self) -> None:
        lines = "".join(json.dumps(row) + "\n" for row in self.history)
        write_whole(self.run / "metrics.jsonl", lines.encode())


def make_optimizer(model: Pretrainer, weight_decay: float) -> torch.optim.Optimizer:
    """AdamW over everything trained, biases, norms and tokens too, as published."""
    weights = [weight for weight in model.parameters() if weight.requires_grad]
    return torch.optim.AdamW(weights, lr=0.0, betas=BETAS, eps=EPSILON, weight_decay=weight_decay, fused=True)


def take_step(
    net: Pretrainer,
    optimizer: Any,
    schedule: Schedule,
    update: int,
    mean: Tensor | None,
    published: bool,
) -> None:
    """The optimizer's step after an update's backward pass, the teacher's moving average, and the next centre.

    Args:
        net: with gradients.
        optimizer: of its weights.
        schedule: of the run.
        update: counted from 0.
        mean: of the teacher's classes over the update's patches (K,).
        published: the teacher follows the student as it was before this step, and not after the first one.
    """
    for group in optimizer.param_groups:
        group["lr"] = schedule.learning_rate(update)
        if published:  # there epsilon is added before the bias correction, in torch after it
            group["eps"] = EPSILON / math.sqrt(1 - BETAS[1] ** (update + 1))
    if published and update > 0:
        net.average(*schedule.decays(update))
    optimizer.step()
    optimizer.zero_grad()
    if not published:
        net.average(*schedule.decays(update))
    if mean is not None:
        net.center.copy_(next_centre(net.center, mean))
