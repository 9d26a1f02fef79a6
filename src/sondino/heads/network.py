"""A model as a plain torch module: front-end, backbone and, if wanted, a head; to train with any loop."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from sondino.errors import OptionError
from sondino.files import read_json
from sondino.frontend_torch import FFTLogMel
from sondino.heads.head import Activation, Head, read_head
from sondino.students.common import Student
from sondino.students.saved import read_student

Kind = Literal["linear", "mlp"]

ACTIVATIONS: dict[Activation, type[nn.Module]] = {"relu": nn.ReLU, "hardswish": nn.Hardswish}
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
        from sondino.bundle import write_bundle

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


class Standard(nn.Module):
    """Vectors to mean 0 and deviation 1, as they were when training began: the first part of a head that is trained.

    Learning rates then mean the same for every model, whatever the size of its numbers.
    """

    mean: Tensor
    share: Tensor

    def __init__(self, mean: NDArray[np.floating], scale: NDArray[np.floating]) -> None:
        super().__init__()
        self.register_buffer("mean", torch.from_numpy(np.asarray(mean, np.float32)))
        self.register_buffer("share", torch.from_numpy((1 / np.asarray(scale)).astype(np.float32)))

    def forward(self, vectors: Tensor) -> Tensor:
        """Standardised vectors (batch, dim)."""
        return (vectors - self.mean) * self.share


def new_layers(dim: int, labels: int, kind: Kind, hidden: Sequence[int]) -> nn.Module:
    """An untrained head: a Linear, or a Sequential of Linear with ReLU between.

    Args:
        dim: of the vectors.
        labels: how many.
        kind: "linear" or "mlp".
        hidden: numbers between the layers of an MLP.

    Raises:
        OptionError: no such kind, or sizes that are not whole numbers above 0.
    """
    if kind not in get_args(Kind):
        raise OptionError(f"head is {kind!r}: give one of {', '.join(get_args(Kind))}")
    between = tuple(hidden) if kind == "mlp" else ()
    if any(size < 1 for size in between) or (kind == "mlp" and not between):
        raise OptionError(f"hidden is {','.join(map(str, between)) or 'empty'}: give sizes above 0, such as 512,256")
    layers: list[nn.Module] = []
    for inputs, outputs in pairwise((dim, *between, max(labels, 1))):
        layers += [nn.Linear(inputs, outputs), nn.ReLU()]
    return layers[0] if len(layers) == 2 else nn.Sequential(*layers[:-1])


def after(standard: Standard, layers: nn.Module) -> nn.Sequential:
    """Layers that take standardised vectors, put behind what standardises them."""
    return nn.Sequential(standard, *(layers if isinstance(layers, nn.Sequential) else [layers]))


def unfolded(standard: Standard, head: Head) -> nn.Sequential:
    """A head's layers behind a standardising of vectors, giving the same logits."""
    layers = layers_of(head)
    first = layers[0] if isinstance(layers, nn.Sequential) else layers
    assert isinstance(first, nn.Linear)
    with torch.no_grad():
        first.bias.add_(first.weight @ standard.mean)
        first.weight.copy_(torch.where(standard.share > 0, first.weight / standard.share, 0.0))
    return after(standard, layers)


def layers_of(head: Head) -> nn.Module:
    """A head as torch layers."""
    layers: list[nn.Module] = []
    for weight, bias in head.layers:
        linear = nn.Linear(weight.shape[1], weight.shape[0])
        linear.load_state_dict({"weight": torch.from_numpy(weight), "bias": torch.from_numpy(bias)})
        layers += [linear, ACTIVATIONS[head.activation]()]
    return layers[0] if len(layers) == 2 else nn.Sequential(*layers[:-1])


def as_head(layers: nn.Module, name: str, labels: tuple[str, ...], multi_label: bool, note: str = "") -> Head:
    """Torch layers as a head; a standardising at their beginning is folded into the first.

    Raises:
        OptionError: they are others than Linear with ReLU or Hardswish between, or do not fit the labels.
    """
    parts = list(layers) if isinstance(layers, nn.Sequential) else [layers]
    standard = parts.pop(0) if isinstance(parts[0], Standard) else None
    linears = [part for part in parts[::2] if isinstance(part, nn.Linear)]
    between = {type(part) for part in parts[1::2]}
    activation = next((key for key, kind in ACTIVATIONS.items() if between <= {kind}), None)
    if activation is None or len(linears) < len(parts[::2]):
        raise OptionError("only a head of Linear layers with ReLU, or Hardswish, between them can be saved")
    arrays = [(_array(linear.weight), _array(linear.bias)) for linear in linears]
    if isinstance(standard, Standard):
        weight, bias = arrays[0]
        weight = weight * _array(standard.share)
        arrays[0] = (weight, bias - weight @ _array(standard.mean))
    return Head(name, labels, multi_label, tuple(arrays), activation, note)


def _array(tensor: Tensor) -> NDArray[np.float32]:
    return tensor.detach().float().cpu().numpy().copy()
