"""A teacher's last layer as a head: the affine map from its embedding to its classes, found by evaluating it."""

from collections.abc import Callable, Collection, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sondino.encoder.head import Head, Layer
from sondino.teachers.label_names import is_unnamed, numbered

Run = Callable[[NDArray[np.float32]], NDArray[np.float32]]
"""Embeddings (dim,) to logits (labels,)."""


@dataclass(frozen=True)
class Node:
    """An operator of a graph: its kind, and names or indexes of its inputs and outputs."""

    kind: Any
    inputs: Sequence[Hashable]
    outputs: Sequence[Hashable]


@dataclass(frozen=True)
class Tail:
    """The part of a graph from an embedding to the logits of its classes.

    Attributes:
        logits: name or index of their value.
        multi_label: whether a sigmoid follows (or nothing), not a softmax.
        activated: whether one of both follows.
        nodes: places of the operators that it needs, in their order.
    """

    logits: Any
    multi_label: bool
    activated: bool
    nodes: Sequence[int]


TOLERANCE = 0.02
"""Largest difference from an affine map, relative to the largest logit. A LiteRT layer with weights in int8 rounds its
inputs to 8 bits, and float16 rounds too: YAMNet's last layer differs by up to 0.008."""

CLASSES, LOGITS = "classes", "logits"
"""Names of heads: probabilities follow in the file, or nothing does."""

MOST_DIM = 16_384
"""Embedding dimensions up to which a map is evaluated at every unit vector."""


def find_tails(
    nodes: Sequence[Node],
    embedding: Hashable,
    outputs: Sequence[Hashable],
    inputs: Collection[Hashable],
    activations: Mapping[Any, bool],
    reshaping: Collection[Any],
) -> list[Tail]:
    """The tails of a graph that depend on nothing but an embedding.

    Args:
        nodes: the operators, in the order of execution.
        embedding: its value.
        outputs: values that the graph gives.
        inputs: values that it takes.
        activations: kinds of operators that make probabilities of logits; False: their sum is 1.
        reshaping: kinds of operators that leave values as they are.
    """
    maker = {output: place for place, node in enumerate(nodes) for output in node.outputs}
    tails = []
    for output in outputs:
        value, activation = output, None
        while activation is None and value != embedding and value in maker:
            node = nodes[maker[value]]
            if node.kind not in activations and node.kind not in reshaping:
                break
            activation = activations.get(node.kind)
            value = node.inputs[0]
        value = output if activation is None else value
        needed = _between(nodes, maker, embedding, value, inputs)
        if any(nodes[place].kind not in reshaping for place in needed):  # else it is the embedding itself
            tails.append(Tail(value, activation is not False, activation is not None, needed))
    return tails


def _between(
    nodes: Sequence[Node],
    maker: Mapping[Hashable, int],
    embedding: Hashable,
    value: Hashable,
    inputs: Collection[Hashable],
) -> list[int]:
    """Places of the operators from an embedding to a value; none if it depends on other inputs, or not on it."""
    open_values, needed, reached = [value], set[int](), False
    while open_values:
        current = open_values.pop()
        if current == embedding:
            reached = True
        elif current in inputs:
            return []
        elif current in maker and maker[current] not in needed:
            needed.add(maker[current])
            open_values.extend(nodes[maker[current]].inputs)
    return sorted(needed) if reached else []


def affine_head(run: Run, dim: int, tail: Tail, names: tuple[str, ...] | None, where: str) -> Head | None:
    """The head of an affine map, or None where it is not affine or gives fewer than two values.

    The map is evaluated at zero and at every unit vector, so its form does not matter: a dense layer, a convolution of
    size 1, weights in float16. It is compared with the map itself on random embeddings of both signs.

    Args:
        run: the map.
        dim: of the embedding.
        tail: what it was found as.
        names: of the labels; None: not known.
        where: the teacher's name, for the note.
    """
    if dim > MOST_DIM:
        return None
    bias = run(np.zeros(dim, np.float32)).astype(np.float64)
    if bias.size < 2:
        return None
    weight = (
        np.stack([run(row) for row in np.eye(dim, dtype=np.float32)], axis=1).astype(np.float64) - bias[:, None]
    )  # (labels, dim)
    for embedding in np.random.default_rng(0).normal(0, 2, (4, dim)).astype(np.float32):
        expected = run(embedding)
        if not np.abs(weight @ embedding + bias - expected).max() <= TOLERANCE * np.abs(expected).max():
            return None
    layer = weight.astype(np.float32), bias.astype(np.float32)
    return made_head(layer, tail, names, where)


def made_head(layer: Layer, tail: Tail, names: tuple[str, ...] | None, where: str) -> Head:
    """A head of one layer, named `CLASSES`, or `LOGITS` where no sigmoid or softmax follows."""
    ending = "" if tail.activated else "; its output is taken for logits of a sigmoid"
    name = CLASSES if tail.activated else LOGITS
    return Head(name, names or numbered(len(layer[1])), tail.multi_label, (layer,), note=f"classes of {where}{ending}")


def may_be_embedding(head: Head) -> bool:
    """Whether a head's outputs may be another embedding: nothing in the file shows that they are classes."""
    return head.name == LOGITS and is_unnamed(head)


def likeliest(heads: Sequence[Head | None]) -> Head | None:
    """Of several heads the one with probabilities, then with names, then with most labels; None where there is none."""
    found = [head for head in heads if head is not None]
    return max(found, key=lambda h: (h.name == CLASSES, not is_unnamed(h), len(h.labels)), default=None)
