"""Multiply-accumulates and weights of a model that is no module of ours, counted while it embeds one clip.

Shapes are those that a run meets, since graphs with free sizes say them nowhere. As in the papers a front-end is not
counted: in a graph, that is what stands before the first convolution. Activations, norms and pooling are not counted
either.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sondino.audio.signal import fixed_noise
from sondino.encoder.encoder import Array, Costs, Encoder, call_length, resolve
from sondino.errors import require
from sondino.nets.size import SECONDS, element_count, flop_counter
from sondino.runtimes import onnx_session, through_links


def one_window(encoder: Encoder) -> Array:
    """Noise (1, samples) of one window, or of 10 s where the encoder takes any length."""
    return fixed_noise(1, call_length(encoder, SECONDS))


def for_10_seconds(costs: Costs, encoder: Encoder) -> Costs:
    """Costs of one window as those of 10 s of long audio, which a hop divides into windows."""
    if costs.macs is None or encoder.window is None:
        return costs
    hop = resolve(encoder).hop or encoder.window
    return Costs(round(costs.macs * SECONDS / hop), costs.parameters)


@dataclass(frozen=True)
class _Node:
    """An operator of a graph: names or indexes of its inputs and outputs."""

    kind: str
    inputs: Sequence[Any]
    outputs: Sequence[Any]


Shapes = Mapping[Any, Sequence[int]]
Count = Callable[[_Node, Shapes], int]


def _convolved(weight: int, taps: slice) -> Count:
    """Each value of the output is a sum over these axes of the weight."""
    return lambda node, shapes: (
        element_count(shapes[node.outputs[0]]) * element_count(shapes[node.inputs[weight]][taps])
    )


def _multiplied(right: int) -> Count:
    """A product of matrices (..., m, k) and (..., k, n), either of which may lie turned."""

    def count(node: _Node, shapes: Shapes) -> int:
        left, out = shapes[node.inputs[0]], shapes[node.outputs[0]]
        second = shapes[node.inputs[right]]
        if len(left) < 2 or len(second) < 2:
            return element_count(left) * (element_count(second) // int(second[0]) if len(left) < 2 else 1)
        # One matrix of each: m k and k n values make m n, so k squared is what they share.
        shared = element_count(left[-2:]) * element_count(second[-2:]) // max(1, element_count(out[-2:]))
        return element_count(out) * math.isqrt(shared)

    return count


def _transposed(node: _Node, shapes: Shapes) -> int:
    """Each value of the input reaches all outputs of its group; ONNX weights are (in, out / groups, taps)."""
    return element_count(shapes[node.inputs[0]]) * element_count(shapes[node.inputs[1]][1:])


def _transposed_litert(node: _Node, shapes: Shapes) -> int:
    """LiteRT gives the output's size, the weight (out, h, w, in), then the input."""
    return element_count(shapes[node.inputs[2]]) * element_count(shapes[node.inputs[1]][:-1])


ONNX: Mapping[str, Count] = {
    "Conv": _convolved(1, slice(1, None)),
    "ConvInteger": _convolved(1, slice(1, None)),
    "QLinearConv": _convolved(3, slice(1, None)),
    "FusedConv": _convolved(1, slice(1, None)),
    "ConvTranspose": _transposed,
    "MatMul": _multiplied(1),
    "Gemm": _multiplied(1),
    "MatMulInteger": _multiplied(1),
    "QLinearMatMul": _multiplied(3),
    "FusedMatMul": _multiplied(1),
}
LITERT: Mapping[str, Count] = {
    "CONV_2D": _convolved(1, slice(1, None)),
    "CONV_3D": _convolved(1, slice(0, -1)),
    "DEPTHWISE_CONV_2D": _convolved(1, slice(1, -1)),
    "TRANSPOSE_CONV": _transposed_litert,
    "FULLY_CONNECTED": _convolved(1, slice(-1, None)),
    "BATCH_MATMUL": _multiplied(1),
}
UNCOUNTED = {
    *("Einsum", "Attention", "MultiHeadAttention", "GroupQueryAttention", "LSTM", "GRU", "RNN", "If", "Loop", "Scan"),
    *("UNIDIRECTIONAL_SEQUENCE_LSTM", "BIDIRECTIONAL_SEQUENCE_LSTM", "LSTM", "RNN", "SVDF", "WHILE", "IF", "CUSTOM"),
    *("UNIDIRECTIONAL_SEQUENCE_RNN", "BIDIRECTIONAL_SEQUENCE_RNN", "STABLEHLO_DOT_GENERAL", "STABLEHLO_CONVOLUTION"),
}
"""Operators that multiply and accumulate in ways not counted here: a graph with one of them gets None."""


def onnx_costs(path: Path, output: str, source: str, feeds: Mapping[str, NDArray[Any]]) -> Costs:
    """Of an ONNX graph up to one of its values.

    Args:
        path: the file.
        output: the value that is the embedding.
        source: the input of the waveform.
        feeds: what goes in, shaped as the graph's inputs want it.

    Raises:
        MissingExtra: onnx is not installed.
    """
    onnx = require("onnx", "train")
    model = require("onnx.inliner", "train").inline_local_functions(load_graph(path))
    graph = model.graph
    kept = _needed([_Node(n.op_type, list(n.input), list(n.output)) for n in graph.node], output)
    constants = {i.name: (tuple(i.dims), _is_weight(onnx, i.data_type)) for i in graph.initializer}
    for node in graph.node:
        for attribute in node.attribute:
            if node.op_type == "Constant" and attribute.name == "value":
                constants[node.output[0]] = (tuple(attribute.t.dims), _is_weight(onnx, attribute.t.data_type))
    shapes: dict[Any, Sequence[int]] = {name: shape for name, (shape, _) in constants.items()}
    counted = [node for node in kept if node.kind in ONNX]
    wanted = {name for node in counted for name in (*node.inputs, *node.outputs) if name} - set(constants)
    shapes |= {name: value.shape for name, value in feeds.items()}
    asked = sorted(wanted - set(feeds))
    del graph.output[:]
    graph.output.extend(onnx.ValueInfoProto(name=name) for name in asked or [output])
    found = onnx_session(model.SerializeToString()).run(asked or [output], dict(feeds))
    shapes |= {name: value.shape for name, value in zip(asked, found, strict=False)}
    return _costs(
        kept,
        source,
        ONNX,
        shapes,
        {name: element_count(shape) for name, (shape, weight) in constants.items() if weight},
    )


def load_graph(path: Path) -> Any:
    """The ModelProto of an ONNX file, with its weights, which may lie in a link beside it."""
    onnx = require("onnx", "train")
    whole = through_links(path)
    return onnx.load(path) if whole is None else onnx.load_from_string(whole)


def _is_weight(onnx: Any, data_type: int) -> bool:
    """Numbers that were learnt: floats, or the bytes of quantised ones; not the shapes and axes."""
    kinds = ("FLOAT", "FLOAT16", "BFLOAT16", "DOUBLE", "INT8", "UINT8")
    return data_type in {getattr(onnx.TensorProto, kind) for kind in kinds}


def _needed(nodes: Sequence[_Node], output: str) -> list[_Node]:
    """The nodes that a value comes from; they stand in the order of execution."""
    wanted, kept = {output}, []
    for node in reversed(nodes):
        if wanted.intersection(node.outputs):
            kept.append(node)
            wanted.update(node.inputs)
    return kept[::-1]


def litert_costs(content: bytes, source: str, feeds: Mapping[str, NDArray[Any]]) -> Costs:
    """Of a LiteRT (TFLite) model.

    Args:
        content: of the file, cut after the embedding.
        source: the input of the waveform.
        feeds: what goes in, shaped as the model's inputs want it.
    """
    interpreter = require("ai_edge_litert.interpreter", "litert")
    # Without its fast kernels, which replace the operators by ones of their own.
    plain = interpreter.OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    model = interpreter.Interpreter(model_content=content, num_threads=1, experimental_op_resolver_type=plain)
    indexes = {d["name"]: d["index"] for d in model.get_input_details()}
    for name, values in feeds.items():
        model.resize_tensor_input(indexes[name], list(values.shape))
    model.allocate_tensors()
    for name, values in feeds.items():
        model.set_tensor(indexes[name], values)
    model.invoke()  # only now are all shapes known
    nodes = [_Node(o["op_name"], [int(i) for i in o["inputs"]], [int(i) for i in o["outputs"]]) for o in _ops(model)]
    tensors = {int(t["index"]): t for t in model.get_tensor_details()}
    made = {index for node in nodes for index in node.outputs}
    weights = {
        index: element_count(t["shape"])
        for index, t in tensors.items()
        if index not in made
        and index not in indexes.values()
        and t["dtype"] in (np.float32, np.float16, np.int8, np.uint8)
    }
    return _costs(nodes, indexes[source], LITERT, {index: t["shape"] for index, t in tensors.items()}, weights)


def _ops(model: Any) -> list[dict[str, Any]]:
    """The operators in order; the interpreter has no other name for them."""
    ops: list[dict[str, Any]] = model._get_ops_details()
    return ops


def _costs(
    nodes: Sequence[_Node], source: Any, counts: Mapping[str, Count], shapes: Shapes, weights: Mapping[Any, int]
) -> Costs:
    """Of nodes in the order of execution, from the first convolution on, or from the first where there is none."""
    reached = {source}
    reached_nodes = []
    for node in nodes:
        if reached.intersection(node.inputs):
            reached.update(node.outputs)
            reached_nodes.append(node)
    first = next((place for place, node in enumerate(reached_nodes) if "conv" in node.kind.lower()), 0)
    reached_nodes = reached_nodes[first:]
    used = {name for node in reached_nodes for name in node.inputs}
    for node in reversed(nodes):  # weights may be turned, or made float, before they are used
        if used.difference(reached).intersection(node.outputs):
            used.update(node.inputs)
    parameters = sum(size for name, size in weights.items() if name in used)
    if any(node.kind in UNCOUNTED or node.kind.startswith("Flex") for node in reached_nodes):
        return Costs(None, parameters)
    return Costs(sum(counts[node.kind](node, shapes) for node in reached_nodes if node.kind in counts), parameters)


def torch_costs(embed: Callable[[NDArray[np.float32]], Any], batch: NDArray[np.float32]) -> Costs:
    """Of whatever torch modules an encoder calls, without our log-mel; no numbers where it calls none.

    Args:
        embed: the encoder's.
        batch: (rows, samples) waveforms.
    """
    from sondino.frontend.logmel_torch import FFTLogMel

    hooks = require("torch.nn.modules.module", "train")
    counter = flop_counter()
    parameters: dict[int, int] = {}
    front = 0  # operations of log-mels

    def before(module: Any, _: Any) -> None:
        nonlocal front
        parameters.update((id(p), int(p.numel())) for p in module.parameters())
        if isinstance(module, FFTLogMel):
            front -= counter.get_total_flops()

    def after(module: Any, *_: Any) -> None:
        nonlocal front
        if isinstance(module, FFTLogMel):
            front += counter.get_total_flops()

    watching = [hooks.register_module_forward_pre_hook(before), hooks.register_module_forward_hook(after)]
    try:
        with counter:
            embed(batch)
    finally:
        for hook in watching:
            hook.remove()
    if not parameters:
        return Costs(None, None)
    return Costs((int(counter.get_total_flops()) - front) // 2, sum(parameters.values()))


def encoder_costs(encoder: Encoder) -> Costs:
    """Of the torch modules that an encoder calls, for 10 s of audio."""
    return for_10_seconds(torch_costs(encoder.embed, one_window(encoder)), encoder)
