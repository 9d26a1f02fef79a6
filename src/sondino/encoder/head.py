"""A head: from embeddings to label probabilities, in NumPy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeVar, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sondino.audio.windows import ShortPolicy
from sondino.encoder.unlike import Unlike
from sondino.errors import OptionError

Activation = Literal["relu", "hardswish"]
Float = TypeVar("Float", NDArray[np.float32], NDArray[np.float64])
Layer = tuple[NDArray[np.float32], NDArray[np.float32]]


@dataclass(frozen=True, eq=False)
class Head:
    """One or more linear layers on a model's embeddings.

    Attributes:
        name: of the head.
        labels: of the outputs, in their order.
        multi_label: a sigmoid for each label; otherwise a softmax over all.
        layers: weights (out, in) and biases (out,), one layer after another.
        activation: between layers.
        note: where the weights and the order of the labels come from, and their licence.
        short: how clips under a window were processed while it was fitted; None: as by its model.
        background: the one of `labels` that stands for no label and is never detected; "" where there is none.
        unlike: how unlike the clips that it was fitted on an embedding is; None: not known.

    Raises:
        OptionError: labels that are missing or not unique, or layers that do not fit each other.

    Examples:
        >>> import numpy as np
        >>> weight, bias = np.array([[1.0, 0.0], [0.0, 1.0]]), np.zeros(2)
        >>> head = sondino.Head("loudness", ("quiet", "loud"), False, ((weight, bias),))
        >>> head.probabilities([[0.0, 0.0]]).tolist()
        [[0.5, 0.5]]
    """

    name: str
    labels: tuple[str, ...]
    multi_label: bool
    layers: tuple[Layer, ...]
    activation: Activation = "relu"
    note: str = ""
    short: ShortPolicy | None = None
    background: str = ""
    unlike: Unlike | None = None

    def __post_init__(self) -> None:
        layers = tuple(
            (np.ascontiguousarray(weight, np.float32), np.ascontiguousarray(bias, np.float32))
            for weight, bias in self.layers
        )
        object.__setattr__(self, "labels", tuple(self.labels))
        object.__setattr__(self, "layers", layers)
        faults = _faults(self)
        if faults:
            raise OptionError(f"head {self.name!r} cannot be used: {'; '.join(faults)}")

    @property
    def dim(self) -> int:
        """Dimension of the embeddings that it takes."""
        return int(self.layers[0][0].shape[1])

    def logits(self, embeddings: ArrayLike) -> NDArray[np.float32]:
        """Logits (n, labels) float32 of embeddings (n, dim).

        Raises:
            OptionError: embeddings of another shape.
        """
        x = np.asarray(embeddings, np.float32)
        if x.ndim != 2 or x.shape[1] != self.dim:
            raise OptionError(
                f"head {self.name!r} takes embeddings of shape (n, {self.dim}) and was given {x.shape}: "
                "use it with the model that it was fitted on"
            )
        for number, (weight, bias) in enumerate(self.layers):
            if number:
                x = _activate(x, self.activation)
            x = x @ weight.T + bias
        return x

    def probabilities(self, embeddings: ArrayLike) -> NDArray[np.float32]:
        """Probabilities (n, labels) float32 of embeddings (n, dim); each row sums to 1 unless `multi_label`."""
        return as_probabilities(self.logits(embeddings), self.multi_label)

    def top(self, probabilities: NDArray[np.float32], count: int) -> list[tuple[str, float]]:
        """The `count` most probable labels of one row (labels,) of probabilities, without `background`."""
        order = [i for i in np.argsort(-probabilities, kind="stable") if self.labels[i] != self.background]
        return [(self.labels[i], float(probabilities[i])) for i in order[:count]]


def as_probabilities(logits: Float, multi_label: bool) -> Float:
    """Sigmoid of each logit if `multi_label`, else softmax along the last axis; of the same type."""
    return sigmoid(logits) if multi_label else softmax(logits)


def softmax(logits: Float) -> Float:
    """exp(x) / sum(exp(x)) along the last axis, without overflow."""
    powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return powers / powers.sum(axis=-1, keepdims=True)


def sigmoid(logits: Float) -> Float:
    """1 / (1 + exp(-x)) of each, without overflow."""
    small = np.exp(-np.abs(logits))
    return np.where(logits >= 0, 1, small) / (1 + small)


def _activate(x: NDArray[np.float32], activation: Activation) -> NDArray[np.float32]:
    if activation == "relu":
        return np.maximum(x, np.float32(0))
    hard: NDArray[np.float32] = x * np.clip(x + np.float32(3), 0, 6) / np.float32(6)
    return hard


def _faults(head: Head) -> list[str]:
    faults = []
    least = 1 if head.multi_label else 2
    if len(head.labels) < least:
        faults.append(f"it has {len(head.labels)} labels where it needs {least} or more")
    if any(not label.strip() for label in head.labels):
        faults.append("a label is empty")
    if len(set(head.labels)) != len(head.labels):
        faults.append("its labels are not unique")
    if head.background and (head.multi_label or head.background not in head.labels):
        faults.append(f"its background {head.background!r} is none of the classes of a softmax")
    if head.activation not in get_args(Activation):
        faults.append(f"its activation is {head.activation!r}, not one of {', '.join(get_args(Activation))}")
    if head.unlike is not None and head.layers and head.layers[0][0].shape[1:] != (head.unlike.dim,):
        faults.append(f"its score of what is unlike takes embeddings of {head.unlike.dim} dimensions")
    return faults + _layer_faults(head)


def _layer_faults(head: Head) -> list[str]:
    if not head.layers:
        return ["it has no layer"]
    faults = []
    before: int | None = None
    for number, (weight, bias) in enumerate(head.layers, start=1):
        if weight.ndim != 2 or bias.shape != weight.shape[:1] or 0 in weight.shape:
            return [f"layer {number} has weights {weight.shape} and biases {bias.shape}, not (out, in) and (out,)"]
        if before is not None and weight.shape[1] != before:
            faults.append(f"layer {number} has {weight.shape[1]} inputs where the one before has {before} outputs")
        if not (np.isfinite(weight).all() and np.isfinite(bias).all()):
            faults.append(f"layer {number} holds NaN or infinity")
        before = weight.shape[0]
    if before != len(head.labels):
        faults.append(f"its last layer has {before} outputs for {len(head.labels)} labels")
    return faults
