"""The dense layer behind an embedding in a TorchScript file, as a head."""

from typing import Any

import numpy as np

from sondino.encoder.head import Head
from sondino.errors import require
from sondino.teachers.last_layer import Node, find_tails, likeliest, made_head

ACTIVATIONS = {"aten::sigmoid": True, "aten::softmax": False, "aten::log_softmax": False}
RESHAPING = ("aten::squeeze", "aten::flatten", "aten::view", "aten::reshape", "aten::dropout")


def torchscript_head(model: Any, key: str | None, name: str) -> Head | None:
    """The classes of a module as a head on one of its outputs; None where no dense layer makes one from the other.

    Args:
        model: the loaded module, in evaluation mode; it stays as it is.
        key: of the embedding in a dict, or its index in a tuple, as `#KEY` names it.
        name: of the teacher, for the head's note.
    """
    torch = require("torch", "train")
    try:
        graph = torch.jit.freeze(model).graph
    except RuntimeError:  # such as a module that changes its own attributes
        return None
    outputs = _outputs(graph)
    if key not in outputs:
        return None
    operators = list(graph.nodes())
    nodes = [
        Node(n.kind(), [v.debugName() for v in n.inputs()], [v.debugName() for v in n.outputs()]) for n in operators
    ]
    inputs = [value.debugName() for value in graph.inputs()]
    heads = []
    for tail in find_tails(nodes, outputs[key], list(outputs.values()), inputs, ACTIVATIONS, RESHAPING):
        made = [
            operators[i]
            for i in tail.nodes
            if nodes[i].kind not in (*RESHAPING, "prim::Constant", "prim::ListConstruct")
        ]
        if [node.kind() for node in made] != ["aten::linear"]:
            continue
        weight, bias = (value.toIValue() for value in list(made[0].inputs())[1:])
        if weight is None or len(weight) < 2:
            continue
        layer = (
            weight.detach().float().cpu().numpy(),
            np.zeros(len(weight), np.float32) if bias is None else bias.detach().float().cpu().numpy(),
        )
        heads.append(made_head(layer, tail, None, name))
    return likeliest(heads)


def _outputs(graph: Any) -> dict[str | None, str]:
    """The names of the values that a graph gives, by their key or index; by None where it is one tensor."""
    (given,) = graph.outputs()
    node, inputs = given.node(), list(given.node().inputs())
    if node.kind() == "prim::DictConstruct":
        return {key.toIValue(): value.debugName() for key, value in zip(inputs[::2], inputs[1::2], strict=True)}
    if node.kind() == "prim::TupleConstruct":
        return {str(index): value.debugName() for index, value in enumerate(inputs)}
    return {None: given.debugName()}
