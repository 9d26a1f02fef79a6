"""Conversion between heads as NumPy arrays and as torch layers."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from sondino.audio.windows import ShortPolicy
from sondino.encoder.head import Activation, Head
from sondino.encoder.unlike import Unlike
from sondino.errors import OptionError

Kind = Literal["linear", "mlp"]

ACTIVATIONS: dict[Activation, type[nn.Module]] = {"relu": nn.ReLU, "hardswish": nn.Hardswish}


class Standard(nn.Module):
    """Standardises embeddings to mean 0 and deviation 1, by statistics from before training: a head's first layer.

    Learning rates then mean the same for every model, whatever the scale of its embeddings.
    """

    mean: Tensor
    share: Tensor

    def __init__(self, mean: NDArray[np.floating], scale: NDArray[np.floating]) -> None:
        super().__init__()
        self.register_buffer("mean", torch.from_numpy(np.asarray(mean, np.float32)))
        self.register_buffer("share", torch.from_numpy((1 / np.asarray(scale)).astype(np.float32)))

    def forward(self, embeddings: Tensor) -> Tensor:
        """Standardised embeddings (batch, dim)."""
        return (embeddings - self.mean) * self.share


def new_layers(dim: int, labels: int, kind: Kind, hidden: Sequence[int]) -> nn.Module:
    """A randomly initialised head: a Linear, or a Sequential of Linear with ReLU between.

    Args:
        dim: of the embeddings.
        labels: how many.
        kind: "linear" or "mlp".
        hidden: units of each hidden layer of an MLP.

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
    """Layers on standardised embeddings, preceded by the standardisation."""
    return nn.Sequential(standard, *(layers if isinstance(layers, nn.Sequential) else [layers]))


def unfolded(standard: Standard, head: Head) -> nn.Sequential:
    """A head's layers preceded by a standardisation, with the same logits: the opposite of folding it in."""
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


def as_head(
    layers: nn.Module,
    name: str,
    labels: tuple[str, ...],
    multi_label: bool,
    note: str = "",
    activation: Activation = "relu",
    short: ShortPolicy | None = None,
    background: str = "",
    unlike: Unlike | None = None,
) -> Head:
    """Torch layers as a head; a standardisation at their beginning is folded into the first.

    Args:
        layers: Linear layers with one kind of activation between them.
        name: of the head.
        labels: of the logits.
        multi_label: whether a clip may have several labels.
        note: where the weights come from.
        activation: that a single layer is recorded with; of several layers, what stands between them counts.
        short: how clips under a window were processed while the layers were fitted.
        background: the label that stands for none, where there is one.
        unlike: the head's score of what is unlike its training clips.

    Raises:
        OptionError: they are others than Linear with ReLU or Hardswish between, or do not fit the labels.
    """
    parts = list(layers) if isinstance(layers, nn.Sequential) else [layers]
    standard = parts.pop(0) if isinstance(parts[0], Standard) else None
    linears = [part for part in parts[::2] if isinstance(part, nn.Linear)]
    between = {type(part) for part in parts[1::2]}
    found = next((key for key in (activation, *ACTIVATIONS) if between <= {ACTIVATIONS[key]}), None)
    if found is None or len(linears) < len(parts[::2]):
        raise OptionError("only a head of Linear layers with ReLU, or Hardswish, between them can be saved")
    arrays = [(_array(linear.weight), _array(linear.bias)) for linear in linears]
    if isinstance(standard, Standard):
        weight, bias = arrays[0]
        weight = weight * _array(standard.share)
        arrays[0] = (weight, bias - weight @ _array(standard.mean))
    return Head(name, labels, multi_label, tuple(arrays), found, note, short, background, unlike)


def _array(tensor: Tensor) -> NDArray[np.float32]:
    return tensor.detach().float().cpu().numpy().copy()
