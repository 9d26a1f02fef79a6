"""A model as one torch module: front-end, backbone and, if wanted, a head; to train with any loop, write or export."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from sondino.audio.windows import ShortPolicy
from sondino.encoder.head import Head
from sondino.encoder.unlike import Unlike
from sondino.errors import OptionError, SondinoError
from sondino.frontend.logmel_torch import FFTLogMel
from sondino.model.config import read_config
from sondino.model.head import read_head
from sondino.model.head_layers import Kind, as_head, layers_of, new_layers
from sondino.nets.saved import load_student
from sondino.nets.student import Student

NEW_AFTER_TRAINING = ("scores", "head_score")
"""Entries of a bundle's config.json that training makes untrue."""
WRITTEN = (
    *("format", "name", "student", "width", "sample_rate", "dim", "window", "short", "minimum", "front_end", "build"),
    *("parameters", "macs_per_10s", "onnx_difference", "hashes", "head"),
)
"""Entries that a bundle gets from the net itself."""
HEAD_FACTS = ("name", "note", "activation", "short", "background", "unlike")
"""Fields of a head beside its layers and labels."""


class TorchModel(nn.Module):
    """Waveforms (batch, samples) at `sample_rate` in; logits (batch, labels) out, or embeddings where it has no head.

    Attributes:
        frontend: waveforms to log-mels; it has no trained weights.
        backbone: log-mels to embeddings.
        head: embeddings to logits: a Linear, or a Sequential of Linear with activations between; None: no head.
        labels: of the logits.
        multi_label: train with `binary_cross_entropy_with_logits`; otherwise with `cross_entropy`.
        head_facts: what else a bundle records of the head: its name, note, activation, and policy for short clips.
        name: what the model is called.
        window: seconds that a clip is cut into.
        short: what is done with clips under a window: "pad", "native" or "repeat".
        facts: further entries of config.json: source, teachers and their licences, data, scores.
    """

    def __init__(
        self,
        backbone: Student,
        name: str = "network",
        window: float = 10.0,
        short: ShortPolicy = "pad",
        facts: Mapping[str, Any] | None = None,
        head: Head | None = None,
    ) -> None:
        super().__init__()
        self.frontend = FFTLogMel(backbone.logmel)
        self.backbone = backbone
        self.name, self.window, self.short, self.facts = name, window, short, dict(facts or {})
        self._frozen = False
        self.set_head(head)

    @staticmethod
    def open(folder: str | Path) -> TorchModel:
        """The model of a bundle, with its head if it has one, in evaluation mode, float32, on the CPU.

        Raises:
            OptionError: it is quantised, or a converted teacher, which can be neither trained nor exported.
            SondinoError: it is no bundle, or a file of it is missing or damaged.
        """
        folder = Path(folder)
        file = folder / "config.json"
        config = read_config(file)
        student = load_student(folder, config)
        if config["window"] is None:
            raise SondinoError(f"{file}: has no window; copy the whole bundle again")
        facts = {name: value for name, value in config.items() if name not in WRITTEN}
        head = read_head(folder, config["head"]) if config.get("head") else None
        return TorchModel(
            student, str(config["name"]), float(config["window"]), config.get("short", "pad"), facts, head
        ).eval()

    @property
    def sample_rate(self) -> int:
        """Hertz of the waveforms."""
        return self.backbone.logmel.sample_rate

    @property
    def dim(self) -> int:
        """Dimension of the embeddings."""
        return self.backbone.dim

    @property
    def short_policy(self) -> ShortPolicy:
        """What is done with clips under a window: as while the head was fitted, else `short`."""
        return self.head_facts.get("short") or self.short

    def forward(self, waveforms: Tensor) -> Tensor:
        """Logits (batch, labels), or embeddings (batch, dim) where there is no head."""
        embeddings = self.embed(waveforms)
        return embeddings if self.head is None else self.head(embeddings)

    def embed(self, waveforms: Tensor) -> Tensor:
        """Embeddings (batch, dim) of waveforms (batch, samples); zero-padded to the fewest samples the net takes."""
        missing = self.backbone.minimum_samples - waveforms.shape[-1]
        if missing > 0:
            waveforms = F.pad(waveforms, (0, missing))
        return self.backbone(self.frontend(waveforms))

    @torch.inference_mode()
    def embed_array(self, waveforms: NDArray[np.float32]) -> NDArray[np.float32]:
        """`embed` of an array on the CPU, without gradients."""
        return np.asarray(self.embed(torch.from_numpy(waveforms)).numpy(), np.float32)

    # ---- heads ------------------------------------------------------------------------------------------------

    def with_head(
        self,
        labels: Sequence[str] | int,
        kind: Kind = "linear",
        hidden: Sequence[int] = (512,),
        multi_label: bool = False,
    ) -> TorchModel:
        """A copy of the model with a new, randomly initialised head; this one stays as it is.

        Args:
            labels: their names, or how many there are.
            kind: "linear", or "mlp": linear layers with ReLU between.
            hidden: units of each hidden layer of an MLP.
            multi_label: whether a clip may have several labels.

        Raises:
            OptionError: no such kind, sizes that are not whole numbers above 0, labels that are not unique.
        """
        names = tuple(f"class {i}" for i in range(labels)) if isinstance(labels, int) else tuple(labels)
        layers = new_layers(self.dim, len(names), kind, hidden)
        as_head(layers, self.name, names, multi_label)  # raises where no head can have such labels
        other = copy.deepcopy(self)
        other.take_head(layers, names, multi_label)
        return other

    def set_head(self, head: Head | None) -> None:
        """Take over a head's weights, labels and facts; None removes the head.

        Raises:
            OptionError: it takes embeddings of another dimension.
        """
        if head is None:
            self.head: nn.Module | None = None
            self.labels: tuple[str, ...] = ()
            self.multi_label = False
            self.head_facts: dict[str, Any] = {}
            return
        if head.dim != self.dim:
            raise OptionError(
                f"the head {head.name} takes embeddings of {head.dim} dimensions, and those of {self.name} have "
                f"{self.dim}"
            )
        self.take_head(layers_of(head), head.labels, head.multi_label)
        self.head_facts = {field: getattr(head, field) for field in HEAD_FACTS}

    def as_head(self) -> Head | None:
        """The head as arrays; None where there is none.

        Raises:
            OptionError: it is made of other layers than Linear, ReLU and Hardswish.
        """
        if self.head is None:
            return None
        facts = {"name": "head", **self.head_facts}
        return as_head(self.head, labels=self.labels, multi_label=self.multi_label, **facts)

    def take_head(self, layers: nn.Module, labels: tuple[str, ...], multi_label: bool, background: str = "") -> None:
        """Put layers behind the embeddings, on the device where the backbone is."""
        self.head = layers.to(next(self.backbone.parameters()).device)
        self.labels, self.multi_label, self.head_facts = labels, multi_label, {"background": background}

    # ---- training ---------------------------------------------------------------------------------------------

    def freeze(self) -> TorchModel:
        """Train the head only: the backbone keeps its weights and its BatchNorm statistics. Returns itself."""
        self.backbone.requires_grad_(False)
        self._frozen = True
        return self.train(self.training)

    def unfreeze(self) -> TorchModel:
        """Train the backbone too. Returns itself."""
        self.backbone.requires_grad_(True)
        self._frozen = False
        return self.train(self.training)

    def train(self, mode: bool = True) -> TorchModel:
        """As of any module, but a frozen backbone stays in evaluation mode."""
        super().train(mode)
        if self._frozen:
            self.backbone.eval()
        return self

    def save(
        self,
        folder: str | Path,
        name: str | None = None,
        facts: Mapping[str, Any] | None = None,
        clips: Sequence[NDArray[np.float32]] = (),
        head_note: str = "",
        unlike: Unlike | None = None,
    ) -> Path:
        """Write the trained model as a bundle, checking its ONNX form against this one.

        Args:
            folder: where to; a bundle that is there is replaced.
            name: of the model; None: as it is called.
            facts: entries of config.json, beside `facts` of the model, without those that training makes untrue.
            clips: waveforms (samples,) at `sample_rate` to compare on, besides noise.
            head_note: where the head's weights come from.
            unlike: the head's score of what is unlike its training clips; one from before training is not kept.

        Raises:
            RunError: ONNX and torch differ, or the disk is full.
        """
        from sondino.model.write import write_bundle

        kept = {key: value for key, value in self.facts.items() if key not in NEW_AFTER_TRAINING}
        saved = copy.copy(self)  # shares the weights
        saved.name, saved.facts = name or self.name, {**kept, **(facts or {})}
        background = self.head_facts.get("background", "")
        saved.head_facts = {"note": head_note, "background": background, "unlike": unlike}
        return write_bundle(saved, Path(folder), clips)

    def with_backbone(self, backbone: Student) -> TorchModel:
        """The same model around another net of the same embedding dimension; the head's `unlike` is not of that net."""
        head = self.as_head()
        head = None if head is None else replace(head, unlike=None)
        return TorchModel(backbone, self.name, self.window, self.short, self.facts, head).eval()
