"""The training loops of heads: with the backbone, from audio, with checkpoints; or alone, on embeddings."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from numpy.typing import NDArray
from torch import Tensor, nn

from sondino.audio.windows import ShortPolicy
from sondino.errors import SondinoError
from sondino.finetuning.clips import LabelledClips
from sondino.metrics.classification import Mask, cross_entropy, metric_of, score_of
from sondino.model.head_layers import Kind
from sondino.model.torch_model import TorchModel
from sondino.progress import Report
from sondino.tasks.splits import Fold
from sondino.training.batches import Batches, fit_length
from sondino.training.checkpoint import load_checkpoint, save_checkpoint

BACKBONE_SHARE = 0.1
"""The backbone's learning rate, as a share of the head's: it is trained already."""
WARMUP = 0.1
"""Share of the steps with a rising learning rate; then it falls to 1 % along a cosine."""
GRADIENT_CLIP = 5.0
UNBALANCED = 3.0
"""Ratio of the most to the least frequent label from which labels are weighted."""
HEAVIEST = 10.0
"""Largest weight of a rare label."""
LAST = "last.safetensors"
"""The checkpoint of the last complete epoch."""

Loss = Callable[[Tensor, Tensor], Tensor]
ValidationScore = tuple[float, float]
"""The score on held-out clips, and minus the cross-entropy; larger is better in both."""


@dataclass(frozen=True)
class Plan:
    """The settings of one training.

    Attributes:
        freeze: whether the backbone is not trained.
        head: "linear" or "mlp".
        hidden: units of each hidden layer of an MLP.
        epochs: at most so many.
        lr: of the head; the backbone's is `BACKBONE_SHARE` of it.
        batch_size: clips per step.
        clip: seconds of a window, in training and in the finished model.
        short: policy for clips under the window.
        seed: of all random numbers.
    """

    freeze: bool
    head: Kind
    hidden: tuple[int, ...]
    epochs: int
    lr: float
    batch_size: int
    clip: float
    short: ShortPolicy
    seed: int

    @property
    def patience(self) -> int:
        """Epochs without a better score after which training stops."""
        return max(8, self.epochs // 2)  # small learning rates, in the second half, improve most

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {**asdict(self), "hidden": list(self.hidden)}

    def rate(self, done: float) -> float:
        """The share of the learning rate after a share of all steps."""
        if done < WARMUP:
            return (done + 1e-3) / (WARMUP + 1e-3)
        return 0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * min(1.0, (done - WARMUP) / (1 - WARMUP))))


def label_weights(targets: Mask) -> NDArray[np.float32] | None:
    """Weights (labels,) that balance rare and frequent labels; None if the labels are balanced."""
    counts = np.maximum(targets.sum(0), 1)
    if counts.max() / counts.min() < UNBALANCED:
        return None
    return np.minimum(counts.mean() / counts, HEAVIEST).astype(np.float32)


def loss_for(targets: Mask, multi_label: bool, device: torch.device) -> Loss:
    """Cross-entropy of logits and targets (batch, labels); a binary one for each label where clips have several."""
    balance = label_weights(targets)
    weights = None if balance is None else torch.from_numpy(balance).to(device)
    if multi_label:
        return nn.BCEWithLogitsLoss(pos_weight=weights)
    cross_entropy_loss = nn.CrossEntropyLoss(weight=weights)
    return lambda logits, target: cross_entropy_loss(logits, target.argmax(1))


def validation_score(logits: NDArray[np.float32], targets: Mask, multi_label: bool) -> ValidationScore:
    """The score of an epoch on held-out clips; between equal scores the lower cross-entropy decides."""
    return score_of(logits, targets, metric_of(multi_label)), -cross_entropy(logits, targets, multi_label)


def best_of(scores: Sequence[ValidationScore]) -> int:
    """The best epoch; 0 is the initial state."""
    return max(range(len(scores)), key=lambda epoch: (scores[epoch], -epoch))


def is_over(scores: Sequence[ValidationScore], plan: Plan) -> bool:
    """Whether training stops: all epochs are done, or none was better for `patience` epochs."""
    return len(scores) > plan.epochs or len(scores) - 1 - best_of(scores) >= plan.patience


# ---- a head alone, on embeddings ---------------------------------------------------------------------------------


def train_head(
    head: nn.Module,
    embeddings: NDArray[np.float32],
    targets: Mask,
    parts: Fold,
    plan: Plan,
    multi_label: bool,
    progress: Report = lambda done, total: None,
) -> list[ValidationScore]:
    """Train a head on embeddings (clips, dim), in place; it gets the weights of its best epoch.

    Returns:
        Its score before the first epoch and after each.
    """
    x = torch.from_numpy(embeddings)
    target = torch.from_numpy(targets.astype(np.float32))
    train, valid = np.flatnonzero(parts.train), np.flatnonzero(parts.valid)
    loss = loss_for(targets[train], multi_label, x.device)
    optimizer = torch.optim.AdamW(head.parameters(), lr=plan.lr)
    rng = np.random.default_rng(plan.seed)

    def validate() -> ValidationScore:
        with torch.inference_mode():
            return validation_score(head(x[valid]).numpy(), targets[valid], multi_label)

    scores, best = [validate()], copy.deepcopy(head.state_dict())
    steps = math.ceil(len(train) / plan.batch_size)
    while not is_over(scores, plan):
        epoch = len(scores) - 1
        for step, rows in enumerate(np.array_split(rng.permutation(train), steps)):
            set_rates(optimizer, [plan.lr], plan.rate((epoch + step / steps) / plan.epochs))
            optimizer.zero_grad()
            loss(head(x[rows]), target[rows]).backward()
            optimizer.step()
        scores.append(validate())
        if best_of(scores) == epoch + 1:
            best = copy.deepcopy(head.state_dict())
        progress(epoch + 1, plan.epochs)
    head.load_state_dict(best)
    return scores


def set_rates(optimizer: torch.optim.Optimizer, rates: Sequence[float], share: float) -> None:
    """Give each group of parameters a share of its learning rate."""
    for group, rate in zip(optimizer.param_groups, rates, strict=True):
        group["lr"] = share * rate


# ---- head and backbone, from audio ----------------------------------------------------------------------------


class NetworkEncoder:
    """A network as an encoder, to validate on whole clips in float32, with the windows of the finished model."""

    def __init__(self, network: TorchModel, device: torch.device, plan: Plan) -> None:
        self.name, self.sample_rate, self.dim = network.name, network.sample_rate, network.dim
        self.window, self.short, self.minimum = plan.clip, plan.short, network.backbone.minimum_samples
        self._network, self._device = network, device

    @torch.inference_mode()
    def embed(self, waveforms: NDArray[np.float32]) -> NDArray[np.float32]:
        """(batch, samples) to (batch, dim)."""
        self._network.eval()
        return self._network.embed(torch.from_numpy(waveforms).to(self._device)).cpu().numpy()


class Trainer:
    """Trains a network's head and backbone; every epoch is a checkpoint.

    A clip is embedded as by the finished model: adjacent windows, here from a random offset, and the mean of their
    embeddings. Labels are of clips: a single window may hold nothing of the labelled event.
    """

    def __init__(
        self,
        network: TorchModel,
        clips: LabelledClips,
        targets: Mask,
        parts: Fold,
        plan: Plan,
        folder: Path,
        accelerator: Accelerator,
    ) -> None:
        self.clips, self.targets, self.parts, self.plan, self.accelerator = clips, targets, parts, plan, accelerator
        self.last, self.best_file = folder / LAST, folder / "best.safetensors"
        self.history: list[dict[str, Any]] = []
        network = network.to(accelerator.device)
        network.backbone.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        assert network.head is not None
        self.rates = [BACKBONE_SHARE * plan.lr, plan.lr]
        groups = [{"params": list(part.parameters())} for part in (network.backbone, network.head)]
        # Their running statistics are of far more audio than there is here. Those of small batches, often of one
        # label, differ from the running ones that validation uses.
        self.norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d)]
        self.network = network
        self.optimizer = accelerator.prepare(torch.optim.AdamW(groups, lr=plan.lr, fused=True))
        self.loss = loss_for(targets[parts.train], network.multi_label, accelerator.device)
        self.stretches = clips.of(parts.train)
        self.samples = round(plan.clip * network.sample_rate)
        self.windows = np.array([clips.windows_of(stretch, self.samples) for stretch in range(len(clips.rows))])

    @property
    def scores(self) -> list[ValidationScore]:
        """The score before the first epoch and after each."""
        return [(epoch["score"], -epoch["doubt"]) for epoch in self.history]

    def run(self, progress: Report, begun: Callable[[], None] = lambda: None) -> None:
        """Train until `is_over`, and load the weights of the best epoch.

        Args:
            progress: called with (crops so far, crops in all epochs).
            begun: called when the initial weights are on disk.
        """
        if self.last.exists():
            self.history = load_checkpoint(self.last, self.network, self.optimizer.optimizer)["history"]
        else:
            self.finish_epoch({"epoch": 0})
        begun()
        while not is_over(self.scores, self.plan):
            self.train_epoch(len(self.history) - 1, progress)
        load_checkpoint(self.best_file, self.network)
        self.network.eval()

    def train_epoch(self, epoch: int, progress: Report) -> None:
        """One epoch: a crop of every training stretch. It seeds its own random numbers, so resumed runs are equal."""
        plan, device = self.plan, self.accelerator.device
        torch.manual_seed(plan.seed * 1_000_003 + epoch)
        order = np.random.default_rng([plan.seed, epoch]).permutation(self.stretches)
        steps = math.ceil(len(order) / plan.batch_size)

        def read(stretch: int) -> NDArray[np.float32]:
            crop = self.clips.crop(stretch, self.samples, (plan.seed, epoch))
            return fit_length(crop, max(len(crop), self.samples), plan.short)

        batches = Batches(read, self.samples * int(self.windows.max()), "pad")
        began, total, seen = time.perf_counter(), torch.zeros((), device=device), 0
        self.network.train()
        for norm in self.norms:
            norm.eval()
        for step, (rows, waveforms) in enumerate(batches(np.array_split(order, steps))):
            set_rates(self.optimizer, self.rates, plan.rate((epoch + step / steps) / plan.epochs))
            target = torch.from_numpy(self.targets[self.clips.clips[rows]].astype(np.float32)).to(device)
            loss = self.loss(self._logits(waveforms, self.windows[rows]), target)
            self.optimizer.zero_grad()
            self.accelerator.backward(loss)
            self.accelerator.clip_grad_norm_(self.network.parameters(), GRADIENT_CLIP)
            self.optimizer.step()
            total += loss.detach()
            seen += len(rows)
            progress(epoch * len(order) + seen, plan.epochs * len(order))
        mean = float(total) / steps
        if not math.isfinite(mean):
            raise SondinoError(
                f"the loss became {mean} in epoch {epoch + 1}: lower --lr (now {plan.lr:g}) and name another --out"
            )
        seconds = round(time.perf_counter() - began, 2)
        self.finish_epoch({"epoch": epoch + 1, "loss": round(mean, 5), "seconds": seconds})

    def _logits(self, waveforms: Tensor, windows: NDArray[np.int64]) -> Tensor:
        """Logits (batch, labels) of the mean embedding of crops (batch, samples) with `windows` (batch,) windows."""
        device = self.accelerator.device
        counts = torch.from_numpy(windows)
        pieces = waveforms.view(len(waveforms), -1, self.samples)
        pieces = pieces[torch.arange(pieces.shape[1]) < counts[:, None]].to(device, non_blocking=True)
        owner = torch.repeat_interleave(torch.arange(len(counts)), counts).to(device)
        with self.accelerator.autocast():
            embeddings = self.network.embed(pieces).float()
        summed = embeddings.new_zeros(len(counts), embeddings.shape[1]).index_add(0, owner, embeddings)
        assert self.network.head is not None
        return self.network.head(summed / counts.to(device)[:, None])

    def finish_epoch(self, metrics: dict[str, Any]) -> None:
        """Validate, and write the best checkpoint if it is one, then the last."""
        valid = self.parts.valid
        score, minus_cross_entropy = validation_score(self.logits(valid), self.targets[valid], self.network.multi_label)
        self.history.append({**metrics, "score": score, "doubt": -minus_cross_entropy})
        state = {"history": self.history}
        if best_of(self.scores) == len(self.history) - 1:
            save_checkpoint(self.best_file, self.network, None, state)
        save_checkpoint(self.last, self.network, self.optimizer.optimizer, state)

    def logits(self, mask: Mask) -> NDArray[np.float32]:
        """Logits (clips of the mask, labels) of whole clips."""
        embeddings = self.clips.embeddings(NetworkEncoder(self.network, self.accelerator.device, self.plan), mask)
        assert self.network.head is not None
        with torch.inference_mode():
            return self.network.head(torch.from_numpy(embeddings).to(self.accelerator.device)).float().cpu().numpy()
