"""The part of an ONNX file behind an embedding as a head."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sondino.encoder.head import Head
from sondino.errors import require
from sondino.runtimes import onnx_session
from sondino.teachers.graph_costs import load_graph
from sondino.teachers.label_names import from_metadata
from sondino.teachers.last_layer import Node, Tail, affine_head, find_tails, note_of, widest

ACTIVATIONS = {"Sigmoid": True, "Softmax": False, "LogSoftmax": False}
RESHAPING = ("Identity", "Squeeze", "Unsqueeze", "Reshape", "Flatten", "Cast", "Dropout")


def onnx_head(path: Path, embedding: str, shape: Sequence[int], name: str) -> Head | None:
    """The classes of an ONNX file as a head on one of its values; None where none follow from it alone.

    Args:
        path: the file.
        embedding: the value.
        shape: of the value for one waveform.
        name: of the teacher, for the head's note.

    Raises:
        MissingExtra: without onnx.
    """
    require("onnx", "train")
    model = load_graph(path)
    graph = model.graph
    nodes = [Node(node.op_type, list(node.input), list(node.output)) for node in graph.node]
    stored = {tensor.name for tensor in graph.initializer}
    inputs = [value.name for value in graph.input if value.name not in stored]
    outputs = [value.name for value in graph.output]
    heads = []
    for tail in find_tails(nodes, embedding, outputs, inputs, ACTIVATIONS, RESHAPING):
        session = onnx_session(_tail_model(model, embedding, tail))

        def run(vector: NDArray[np.float32], session: Any = session) -> NDArray[np.float32]:
            values: NDArray[np.float32] = session.run(None, {embedding: vector.reshape(shape)})[0].ravel()
            return values

        dim = int(np.prod(shape))
        facts = {entry.key: entry.value for entry in model.metadata_props}
        names = from_metadata(facts, run(np.zeros(dim, np.float32)).size)
        heads.append(affine_head(run, dim, tail.multi_label, names, note_of(name, tail)))
    return widest(heads)


def _tail_model(model: Any, embedding: str, tail: Tail) -> bytes:
    """The model with the embedding as its input, the logits as its output, and the nodes between them."""
    onnx = require("onnx", "train")
    part = onnx.ModelProto()
    part.CopyFrom(model)
    for place in sorted(set(range(len(part.graph.node))) - set(tail.nodes), reverse=True):
        del part.graph.node[place]
    used = {name for node in part.graph.node for name in node.input}
    kept = [tensor for tensor in part.graph.initializer if tensor.name in used and tensor.name != embedding]
    del part.graph.initializer[:]
    part.graph.initializer.extend(kept)
    del part.graph.input[:]
    part.graph.input.append(onnx.helper.make_tensor_value_info(embedding, onnx.TensorProto.FLOAT, None))
    del part.graph.output[:]
    part.graph.output.append(onnx.ValueInfoProto(name=tail.logits))
    content: bytes = part.SerializeToString()
    return content
