"""The part of an ONNX file behind an embedding as a head."""

import logging
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sondino.encoder.head import Head
from sondino.errors import require
from sondino.runtimes import onnx_session
from sondino.teachers.graph_costs import load_graph
from sondino.teachers.label_names import from_metadata
from sondino.teachers.last_layer import Node, Tail, affine_head, find_tails, likeliest
from sondino.text import first_line

ACTIVATIONS = {"Sigmoid": True, "Softmax": False, "LogSoftmax": False}
RESHAPING = ("Identity", "Squeeze", "Unsqueeze", "Reshape", "Flatten", "Cast", "Dropout")


def onnx_head(path: Path, embedding: str, dtype: str, shape: Sequence[int], name: str) -> Head | None:
    """The classes of an ONNX file as a head on one of its values; None where none follow from it alone.

    Args:
        path: the file.
        embedding: the value.
        dtype: of the value: "float32", "float16" or "float64".
        shape: of the value for one waveform.
        name: of the teacher, for the head's note.

    Raises:
        MissingExtra: without onnx.
    """
    require("onnx", "train")
    model = load_graph(path)
    graph = model.graph
    nodes = [Node(_kind(node), list(node.input), list(node.output)) for node in graph.node]
    stored = {tensor.name for tensor in graph.initializer}
    inputs = [value.name for value in graph.input if value.name not in stored]
    outputs = [value.name for value in graph.output]
    facts = {entry.key: entry.value for entry in model.metadata_props}
    heads = []
    for tail in find_tails(nodes, embedding, outputs, inputs, ACTIVATIONS, RESHAPING):

        def run(vector: NDArray[np.float32], session: Any) -> NDArray[np.float32]:
            values: NDArray[Any] = session.run(None, {embedding: vector.reshape(shape).astype(dtype)})[0]
            return values.ravel().astype(np.float32)

        try:
            of_tail = partial(run, session=onnx_session(_tail_model(model, embedding, dtype, tail)))
            labels = of_tail(np.zeros(shape, np.float32)).size
            names = from_metadata(facts, labels)
            heads.append(affine_head(of_tail, int(np.prod(shape)), tail, names, name))
        except Exception as error:  # ONNX Runtime's errors have no common base
            logging.getLogger(__name__).warning("the classes of %s cannot be read: %s", name, first_line(error))
    return likeliest(heads)


def _kind(node: Any) -> str:
    """The operator; a softmax along the first axis, which is no softmax over classes, is another one."""
    axis = next((attribute.i for attribute in node.attribute if attribute.name == "axis"), -1)
    return f"{node.op_type} along {axis}" if node.op_type in ACTIVATIONS and axis == 0 else str(node.op_type)


def _tail_model(model: Any, embedding: str, dtype: str, tail: Tail) -> bytes:
    """The model with the embedding as its input, the logits as its output, and the nodes between them."""
    onnx = require("onnx", "train")
    part = onnx.ModelProto()
    part.CopyFrom(model)
    for place in sorted(set(range(len(part.graph.node))) - set(tail.nodes), reverse=True):
        del part.graph.node[place]
    # Constants stay: the branches of an `If` use some that no node names.
    del part.graph.input[:]
    kind = onnx.helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    part.graph.input.append(onnx.helper.make_tensor_value_info(embedding, kind, None))
    del part.graph.output[:]
    part.graph.output.append(onnx.ValueInfoProto(name=tail.logits))
    content: bytes = part.SerializeToString()
    return content
