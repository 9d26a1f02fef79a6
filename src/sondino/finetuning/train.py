"""The training loops of heads: with the backbone, from sound, epoch by epoch on disk; or alone, on vectors."""

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
"""The backbone's learning rate, as a share of the head's: it has learnt already."""
WARMUP = 0.1
"""Share of the steps over which the rates rise; then they fall to 1 % along a cosine."""
GRADIENT_CLIP = 5.0
UNBALANCED = 3.0
"""From this ratio of the commonest to the rarest label on, labels are weighted."""
HEAVIEST = 10.0
"""The most that a rare label's clips count."""
LAST = "last.safetensors"
"""The checkpoint of the last whole epoch."""

Loss = Callable[[Tensor, Tensor], Tensor]
ValidationScore = tuple[float, float]
"""The score on held-out clips, and how sure of it; more is better in both."""


@dataclass(frozen=True)
class Plan:
    """The settings of one training.

    Attributes:
        freeze: whether the backbone stays as it is.
        head: "linear" or "mlp".
        hidden: numbers between the layers of an MLP.
        epochs: at most so many.
        lr: of the head; the backbone's is `BACKBONE_SHARE` of it.
        batch_size: clips a step.
        clip: seconds of a window, in training and in the finished model.
        short: what becomes of a sound under that.
        seed: of everything that is drawn.
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
        """Epochs without a better one, after which training ends."""
        return max(8, self.epochs // 2)  # the second half, at small rates, brings what the first one shakes up

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {**asdict(self), "hidden": list(self.hidden)}

    def rate(self, done: float) -> float:
        """The share of the learning rate after a share of all steps."""
        if done < WARMUP:
            return (done + 1e-3) / (WARMUP + 1e-3)
        return 0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * min(1.0, (done - WARMUP) / (1 - WARMUP))))


def label_weights(targets: Mask) -> NDArray[np.float32] | None:
    """What makes rare labels count as much as common ones, (labels,), where they are far apart; else None."""
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
    entropy = nn.CrossEntropyLoss(weight=weights)
    return lambda logits, wanted: entropy(logits, wanted.argmax(1))


def validation_score(logits: NDArray[np.float32], targets: Mask, multi_label: bool) -> ValidationScore:
    """How good an epoch is by whole clips that were held out; of those that are right equally often, the surer one."""
    return score_of(logits, targets, metric_of(multi_label)), -cross_entropy(logits, targets, multi_label)


def best_of(merits: Sequence[ValidationScore]) -> int:
    """The best epoch; 0 is the start."""
    return max(range(len(merits)), key=lambda epoch: (merits[epoch], -epoch))


def is_over(merits: Sequence[ValidationScore], plan: Plan) -> bool:
    """Whether training ends: all epochs done, or no better one for some time."""
    return len(merits) > plan.epochs or len(merits) - 1 - best_of(merits) >= plan.patience


# ---- a head alone, on vectors ---------------------------------------------------------------------------------


def train_head(
    head: nn.Module,
    vectors: NDArray[np.float32],
    targets: Mask,
    parts: Fold,
    plan: Plan,
    multi_label: bool,
    progress: Report = lambda done, total: None,
) -> list[ValidationScore]:
    """Train a head on vectors (clips, dim), and leave it as it was at its best epoch.

    Returns:
        how good it was before the first epoch and after each.
    """
    x = torch.from_numpy(vectors)
    wanted = torch.from_numpy(targets.astype(np.float32))
    train, valid = np.flatnonzero(parts.train), np.flatnonzero(parts.valid)
    loss = loss_for(targets[train], multi_label, x.device)
    optimizer = torch.optim.AdamW(head.parameters(), lr=plan.lr)
    rng = np.random.default_rng(plan.seed)

    def judged() -> ValidationScore:
        with torch.inference_mode():
            return validation_score(head(x[valid]).numpy(), targets[valid], multi_label)

    merits, best = [judged()], copy.deepcopy(head.state_dict())
    steps = math.ceil(len(train) / plan.batch_size)
    while not is_over(merits, plan):
        epoch = len(merits) - 1
        for step, rows in enumerate(np.array_split(rng.permutation(train), steps)):
            set_rates(optimizer, [plan.lr], plan.rate((epoch + step / steps) / plan.epochs))
            optimizer.zero_grad()
            loss(head(x[rows]), wanted[rows]).backward()
            optimizer.step()
        merits.append(judged())
        if best_of(merits) == epoch + 1:
            best = copy.deepcopy(head.state_dict())
        progress(epoch + 1, plan.epochs)
    head.load_state_dict(best)
    return merits


def set_rates(optimizer: torch.optim.Optimizer, rates: Sequence[float], share: float) -> None:
    """Give each group of parameters a share of its learning rate."""
    for group, rate in zip(optimizer.param_groups, rates, strict=True):
        group["lr"] = share * rate


# ---- head and backbone, from sound ----------------------------------------------------------------------------


class NetworkEncoder:
    """A network as an encoder, to be judged on whole clips in float32, cut and merged as the finished model does."""

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
    """Trains a network's head and backbone; every whole epoch is on disk.

    A clip is heard as the finished model hears it: windows on end, here from a random offset, and the mean of their
    vectors. Labels are of clips, and a window by itself may hold none of what its clip is called after.
    """

    def __init__(
        self,
        network: TorchModel,
        sounds: LabelledClips,
        targets: Mask,
        parts: Fold,
        plan: Plan,
        folder: Path,
        accelerator: Accelerator,
    ) -> None:
        self.sounds, self.targets, self.parts, self.plan, self.accelerator = sounds, targets, parts, plan, accelerator
        self.last, self.best_file = folder / LAST, folder / "best.safetensors"
        self.history: list[dict[str, Any]] = []
        network = network.to(accelerator.device)
        network.backbone.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        assert network.head is not None
        self.rates = [BACKBONE_SHARE * plan.lr, plan.lr]
        groups = [{"params": list(part.parameters())} for part in (network.backbone, network.head)]
        # Their averages are of far more sound than there is here. Batches of a few clips, often of one kind, would
        # have the net learn by other numbers than it is then judged by.
        self.norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d)]
        self.network = network
        self.optimizer = accelerator.prepare(torch.optim.AdamW(groups, lr=plan.lr, fused=True))
        self.loss = loss_for(targets[parts.train], network.multi_label, accelerator.device)
        self.stretches = sounds.of(parts.train)
        self.samples = round(plan.clip * network.sample_rate)
        self.windows = np.array([sounds.windows_of(stretch, self.samples) for stretch in range(len(sounds.rows))])

    @property
    def merits(self) -> list[ValidationScore]:
        """How good the network was before the first epoch and after each."""
        return [(epoch["score"], -epoch["doubt"]) for epoch in self.history]

    def run(self, progress: Report, begun: Callable[[], None] = lambda: None) -> None:
        """Train until the last epoch or until none is better for a while, and take the best one's weights.

        Args:
            progress: called with (crops so far, crops in all epochs).
            begun: called when the weights that training starts with are on disk.
        """
        if self.last.exists():
            self.history = load_checkpoint(self.last, self.network, self.optimizer.optimizer)["history"]
        else:
            self.finish_epoch({"epoch": 0})
        begun()
        while not is_over(self.merits, self.plan):
            self.train_epoch(len(self.history) - 1, progress)
        load_checkpoint(self.best_file, self.network)
        self.network.eval()

    def train_epoch(self, epoch: int, progress: Report) -> None:
        """One epoch: some of every stretch that trains. It seeds its own draws, so a resumed run is the same run."""
        plan, device = self.plan, self.accelerator.device
        torch.manual_seed(plan.seed * 1_000_003 + epoch)
        order = np.random.default_rng([plan.seed, epoch]).permutation(self.stretches)
        steps = math.ceil(len(order) / plan.batch_size)

        def read(stretch: int) -> NDArray[np.float32]:
            crop = self.sounds.crop(stretch, self.samples, (plan.seed, epoch))
            return fit_length(crop, max(len(crop), self.samples), plan.short)

        batches = Batches(read, self.samples * int(self.windows.max()), "pad")
        began, total, seen = time.perf_counter(), torch.zeros((), device=device), 0
        self.network.train()
        for norm in self.norms:
            norm.eval()
        for step, (rows, waveforms) in enumerate(batches(np.array_split(order, steps))):
            set_rates(self.optimizer, self.rates, plan.rate((epoch + step / steps) / plan.epochs))
            wanted = torch.from_numpy(self.targets[self.sounds.clips[rows]].astype(np.float32)).to(device)
            loss = self.loss(self._heard(waveforms, self.windows[rows]), wanted)
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

    def _heard(self, waveforms: Tensor, windows: NDArray[np.int64]) -> Tensor:
        """Logits (batch, labels) of clips (batch, samples) of so many windows each: of the mean of their vectors."""
        device = self.accelerator.device
        counts = torch.from_numpy(windows)
        pieces = waveforms.view(len(waveforms), -1, self.samples)
        pieces = pieces[torch.arange(pieces.shape[1]) < counts[:, None]].to(device, non_blocking=True)
        owner = torch.repeat_interleave(torch.arange(len(counts)), counts).to(device)
        with self.accelerator.autocast():
            vectors = self.network.embed(pieces).float()
        summed = vectors.new_zeros(len(counts), vectors.shape[1]).index_add(0, owner, vectors)
        assert self.network.head is not None
        return self.network.head(summed / counts.to(device)[:, None])

    def finish_epoch(self, metrics: dict[str, Any]) -> None:
        """Validate, and write the best checkpoint where it is one, then the last."""
        valid = self.parts.valid
        score, certainty = validation_score(self.logits(valid), self.targets[valid], self.network.multi_label)
        self.history.append({**metrics, "score": score, "doubt": -certainty})
        state = {"history": self.history}
        if best_of(self.merits) == len(self.history) - 1:
            save_checkpoint(self.best_file, self.network, None, state)
        save_checkpoint(self.last, self.network, self.optimizer.optimizer, state)

    def logits(self, mask: Mask) -> NDArray[np.float32]:
        """Of whole clips, (clips of the mask, labels)."""
        vectors = self.sounds.vectors(NetworkEncoder(self.network, self.accelerator.device, self.plan), mask)
        assert self.network.head is not None
        with torch.inference_mode():
            return self.network.head(torch.from_numpy(vectors).to(self.accelerator.device)).float().cpu().numpy()
