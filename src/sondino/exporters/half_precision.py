"""Smaller files of the same ONNX graph: float16 weights, sparse constants, no redundant zero points."""

import numpy as np
import onnx
from onnx import helper, numpy_helper

SMALLEST = 1024
"""Bytes below which a tensor stays as it is: little to save, and biases and scales matter most."""


def halved(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy whose float32 weights are stored as float16 and widened when a runtime opens it.

    Runtimes fold the widening into constants, so that only the file is smaller: they compute in float32, at the speed
    of the whole graph. Scales of quantised layers stay, since a runtime looks for them beside the integers.

    Args:
        model: holds its weights itself.
    """
    copied = onnx.ModelProto()
    copied.CopyFrom(model)
    graph = copied.graph
    scaling = ("QuantizeLinear", "DequantizeLinear")
    scales = {name for node in graph.node if node.op_type in scaling for name in node.input}
    casts = []
    for tensor in graph.initializer:
        if (
            tensor.name in scales
            or tensor.data_type != onnx.TensorProto.FLOAT
            or 4 * int(np.prod(tensor.dims)) < SMALLEST
        ):
            continue
        name = tensor.name
        # A value past float16's largest would become infinite.
        values = np.clip(numpy_helper.to_array(tensor), -65504.0, 65504.0).astype(np.float16)
        tensor.CopyFrom(numpy_helper.from_array(values, f"{name}/half"))
        casts.append(helper.make_node("Cast", [f"{name}/half"], [name], f"{name}/widened", to=onnx.TensorProto.FLOAT))
    nodes = [*casts, *graph.node]
    del graph.node[:]
    graph.node.extend(nodes)
    return copied


def without_zeros(model: onnx.ModelProto) -> None:
    """Store tensors that are mostly zeros, such as a mel filterbank, as indices and values of the others."""
    graph = model.graph
    dense: list[onnx.TensorProto] = []
    made: list[onnx.NodeProto] = []
    for tensor in list(graph.initializer):
        if tensor.data_type != onnx.TensorProto.FLOAT or 4 * int(np.prod(tensor.dims)) < SMALLEST:
            dense.append(tensor)
            continue
        values = numpy_helper.to_array(tensor)
        places = np.argwhere(values).astype(np.int64)
        if 8 * places.size + 4 * len(places) > values.nbytes // 2:
            dense.append(tensor)
            continue
        name = tensor.name
        parts = {"shape": np.array(values.shape, np.int64), "places": places, "values": values[values != 0]}
        dense += [numpy_helper.from_array(part, f"{name}/{kind}") for kind, part in parts.items()]
        made += [
            helper.make_node("ConstantOfShape", [f"{name}/shape"], [f"{name}/zeros"], f"{name}/zeros"),
            helper.make_node(
                "ScatterND", [f"{name}/zeros", f"{name}/places", f"{name}/values"], [name], f"{name}/filled"
            ),
        ]
    nodes = [*made, *graph.node]
    del graph.initializer[:], graph.node[:]
    graph.initializer.extend(dense)
    graph.node.extend(nodes)


def without_zero_points(model: onnx.ModelProto) -> None:
    """Leave out the zero points of convolutions' weights and biases that are zero, which is what their absence means.

    Those of other layers stay: ONNX Runtime would no longer run them as integers.
    """
    graph = model.graph
    convolved = {name for node in graph.node if node.op_type == "Conv" for name in node.input}
    zeros = {
        tensor.name
        for tensor in graph.initializer
        if tensor.data_type in (onnx.TensorProto.INT32, onnx.TensorProto.INT8)
        and not numpy_helper.to_array(tensor).any()
    }
    for node in graph.node:
        if node.op_type == "DequantizeLinear" and node.output[0] in convolved and node.input[2] in zeros:
            del node.input[2]
    used = {name for node in graph.node for name in node.input}
    kept = [tensor for tensor in graph.initializer if tensor.name in used]
    del graph.initializer[:]
    graph.initializer.extend(kept)
