"""A model as a plain torch module: front-end, backbone and, if wanted, a head; to train with any loop."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from sondino.audio.windows import ShortPolicy
from sondino.errors import OptionError, SondinoError
from sondino.files import read_json
from sondino.frontend.logmel_torch import FFTLogMel
from sondino.model.bundle import BUNDLE_FORMAT, read_config
from sondino.model.head import Head, read_head
from sondino.model.head_layers import Kind, as_head, layers_of, new_layers
from sondino.nets.saved import read_student
from sondino.nets.student import Student

NEW_AFTER_TRAINING = ("scores", "head_score")
"""Entries of a bundle's config.json that training makes untrue."""
WRITTEN = (
    *("format", "name", "student", "width", "sample_rate", "dim", "window", "short", "minimum", "front_end", "build"),
    *("parameters", "macs_per_10s", "onnx_difference", "hashes", "head"),
)
"""Entries that a bundle gets from the net itself."""


class Network(nn.Module):
    """Waveforms (batch, samples) at `sample_rate` in; logits (batch, labels) out, or vectors where there is no head.

    Attributes:
        frontend: waveforms to log-mels; nothing in it is learnt.
        backbone: log-mels to vectors.
        head: vectors to logits: a Linear, or a Sequential of Linear with ReLU between; None: no head.
        labels: of the logits.
        multi_label: train with `binary_cross_entropy_with_logits`; otherwise with `cross_entropy`.
        name: what the model is called.
        window: seconds that a sound is cut into by the bundle that `save` writes.
        short: what becomes of a clip under a window there.
        facts: what else the bundle's config.json says: teachers and their licences, data.
    """

    def __init__(
        self,
        backbone: Student,
        name: str = "network",
        window: float = 10.0,
        short: str = "pad",
        facts: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        self.frontend = FFTLogMel(backbone.logmel)
        self.backbone = backbone
        self.head: nn.Module | None = None
        self.labels: tuple[str, ...] = ()
        self.multi_label = False
        self.name, self.window, self.short, self.facts = name, window, short, dict(facts or {})
        self._frozen = False

    @staticmethod
    def open(folder: str | Path) -> Network:
        """The network of a bundle, with its head if it has one, in evaluation mode.

        Raises:
            SondinoError: a file of it is missing or damaged, or its net cannot be trained.
        """
        folder = Path(folder)
        config = read_json(folder / "config.json")
        facts = {name: value for name, value in config.items() if name not in WRITTEN}
        network = Network(read_student(folder), config["name"], config["window"], config.get("short", "pad"), facts)
        if config.get("head"):
            network.set_head(read_head(folder, config["head"]))
        return network.eval()

    @property
    def sample_rate(self) -> int:
        """Hertz of the waveforms."""
        return self.backbone.logmel.sample_rate

    @property
    def dim(self) -> int:
        """Length of the vectors."""
        return self.backbone.dim

    def forward(self, waveforms: Tensor) -> Tensor:
        """Logits (batch, labels), or vectors (batch, dim) where there is no head."""
        vectors = self.embed(waveforms)
        return vectors if self.head is None else self.head(vectors)

    def embed(self, waveforms: Tensor) -> Tensor:
        """Vectors (batch, dim) of waveforms (batch, samples); shorter than the net can hear, they are zero-padded."""
        missing = self.backbone.minimum_samples - waveforms.shape[-1]
        if missing > 0:
            waveforms = F.pad(waveforms, (0, missing))
        return self.backbone(self.frontend(waveforms))

    # ---- heads ------------------------------------------------------------------------------------------------

    def with_head(
        self,
        labels: Sequence[str] | int,
        kind: Kind = "linear",
        hidden: Sequence[int] = (512,),
        multi_label: bool = False,
    ) -> Network:
        """A copy of the network with a new, untrained head; this one stays as it is.

        Args:
            labels: their names, or how many there are.
            kind: "linear", or "mlp": linear layers with ReLU between.
            hidden: numbers between the layers of an MLP.
            multi_label: whether a sound may have several labels.

        Raises:
            OptionError: no such kind, sizes that are not whole numbers above 0, labels that are not unique.
        """
        names = tuple(f"class {i}" for i in range(labels)) if isinstance(labels, int) else tuple(labels)
        layers = new_layers(self.dim, len(names), kind, hidden)
        as_head(layers, self.name, names, multi_label)  # refuses labels that no head can have
        other = copy.deepcopy(self)
        other.take_head(layers, names, multi_label)
        return other

    def set_head(self, head: Head) -> None:
        """Take over a head's weights.

        Raises:
            OptionError: it takes vectors of another length.
        """
        if head.dim != self.dim:
            raise OptionError(
                f"the head {head.name} takes vectors of {head.dim} numbers, and {self.name} gives {self.dim}"
            )
        self.take_head(layers_of(head), head.labels, head.multi_label)

    def as_head(self, name: str = "head", note: str = "") -> Head:
        """The head as arrays.

        Raises:
            OptionError: there is none, or it is made of other layers than Linear, ReLU and Hardswish.
        """
        if self.head is None:
            raise OptionError(f"{self.name} has no head: network = network.with_head(labels)")
        return as_head(self.head, name, self.labels, self.multi_label, note)

    def take_head(self, layers: nn.Module, labels: tuple[str, ...], multi_label: bool) -> None:
        """Put layers on the vectors, on the device where the backbone is."""
        self.head = layers.to(next(self.backbone.parameters()).device)
        self.labels, self.multi_label = labels, multi_label

    # ---- training ---------------------------------------------------------------------------------------------

    def freeze(self) -> Network:
        """Keep the backbone as it is, its batch norms' averages too; only the head learns. Returns itself."""
        self.backbone.requires_grad_(False)
        self._frozen = True
        return self.train(self.training)

    def unfreeze(self) -> Network:
        """Let the backbone learn. Returns itself."""
        self.backbone.requires_grad_(True)
        self._frozen = False
        return self.train(self.training)

    def train(self, mode: bool = True) -> Network:
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
    ) -> Path:
        """Write the network as a bundle, checking its ONNX form against this one.

        Args:
            folder: where to; a bundle that is there is replaced.
            name: of the model; None: as it is called.
            facts: entries of config.json, beside `facts` of the network.
            clips: waveforms (samples,) at `sample_rate` to compare on, besides noise.
            head_note: where the head's weights come from.

        Raises:
            RunError: ONNX and torch differ, or the disk is full.
        """
        from sondino.model.write import write_bundle

        told = {key: value for key, value in self.facts.items() if key not in NEW_AFTER_TRAINING}
        return write_bundle(
            Path(folder),
            copy.deepcopy(self.backbone),  # which may be on another device, and half way through its training
            name or self.name,
            self.window,
            self.short,
            clips,
            {**told, **(facts or {})},
            head=None if self.head is None else self.as_head(note=head_note),
        )


CheckpointKind = Literal["ssondo", "efficientat", "panns", "matpac", "m2d"]


@dataclass(frozen=True)
class Published:
    """A published model, ready to be written as a bundle.

    Attributes:
        kind: whose checkpoint it is.
        student: the net with its weights.
        window: seconds that the model hears at once.
        short: what becomes of a clip under a window.
        licence: of the weights.
        hop: seconds from one window to the next; None: `window`.
        head: from its vectors to labels; None where it has none.
        teachers: what it learnt from, as config.json lists them.
        dropped: a phrase for each part of the file that the bundle does without.
        url: where the file is published; empty where that is not known.
    """

    kind: CheckpointKind
    student: Student
    window: float
    short: ShortPolicy
    licence: str
    hop: float | None = None
    head: Head | None = None
    teachers: list[dict[str, Any]] = field(default_factory=list)
    dropped: list[str] = field(default_factory=list)
    url: str = ""


NEEDED = ("name", "student", "window", "short", "minimum", "sample_rate", "dim", "parameters", "macs_per_10s", "hashes")
"""Entries of config.json that an export tells of."""


@dataclass(frozen=True)
class Source:
    """A bundle, opened to be exported.

    Attributes:
        folder: the bundle.
        config: all of its config.json.
        student: the net with its weights, in evaluation mode, float32, on the CPU.
        head: from vectors to labels; None where the bundle has none.
    """

    folder: Path
    config: dict[str, Any]
    student: Student
    head: Head | None

    @property
    def rate(self) -> int:
        """Hertz of the waveforms that it takes."""
        return self.student.logmel.sample_rate

    @property
    def window(self) -> float:
        """Seconds that a sound is cut into."""
        return float(self.config["window"])

    @property
    def short(self) -> ShortPolicy:
        """What becomes of a clip under a window."""
        short = self.head.short if self.head is not None and self.head.short is not None else self.config["short"]
        return cast(ShortPolicy, short)

    def vectors(self, waveforms: NDArray[np.float32]) -> NDArray[np.float32]:
        """What the trained net gives: vectors (batch, dim) of waveforms (batch, samples), through the FFT log-mel."""
        with torch.inference_mode():
            logmel = FFTLogMel(self.student.logmel)(torch.from_numpy(waveforms))
            return np.asarray(self.student(logmel).numpy(), np.float32)


def open_source(folder: Path) -> Source:
    """Open a bundle to export it.

    Args:
        folder: the bundle.

    Raises:
        OptionError: it is quantised, or no student.
        SondinoError: it is no bundle, or damaged.
    """
    config = read_config(folder / "config.json")
    if config.get("format") != BUNDLE_FORMAT:
        raise SondinoError(
            f"{folder / 'config.json'}: format is {config.get('format')!r}, not {BUNDLE_FORMAT!r}; "
            "name the folder of a bundle"
        )
    student = read_student(folder).float().cpu().eval()
    missing = [key for key in NEEDED if key not in config]
    if missing or "model.safetensors" not in config["hashes"]:
        raise SondinoError(f"{folder / 'config.json'}: is damaged (without {', '.join(missing) or 'hashes'}); "
                           "copy the whole bundle again")  # fmt: skip
    head = read_head(folder, config["head"]) if config.get("head") else None
    return Source(folder, config, student, head)
