"""Static int8 of an ONNX net: weights per channel, activation ranges calibrated on real audio, layers chosen by error.

Quantised layers stand between QuantizeLinear and DequantizeLinear (QDQ), which ONNX Runtime, OpenVINO and the web
run as integers. The calibrating and rewriting is ONNX Runtime's; which layers stay in float is ours: each layer is
quantised alone, its error is measured on embeddings of real audio, and as few of the worst as needed stay in float.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from sondino.metrics.agreement import cosines
from sondino.metrics.collapse import norm_ok
from sondino.model.onnx_graph import suppress_logs
from sondino.runtimes import onnx_session

LAYERS = ("Conv", "Gemm", "MatMul")
PERCENTILE = 99.99
"""Percentage of an activation's values inside its range: outliers would leave few steps for all other values."""

ONNX_INT8_COSINE = 0.999
"""Mean cosine to the float embeddings at which no more layers stay in float: above `verify.MINIMUM_COSINE`, so that
other audio than was measured on reaches that too."""

MOST_FLOAT = 0.01
"""Share of the weights that may stay in float, which keeps the file a quarter of the size. The layers that lose most
are the first ones, which are small."""

SCREENED = 12
"""Log-mels, the last ones, that the error of each single layer is measured on; that of the net is measured on all."""

MIXED = 16
"""Rows below which a matrix is not a layer's but holds kernels that are mixed for each clip."""

BLOCK = 64
"""Weights of such kernels that share a scale."""

SAMPLED = 4096
"""Values of an activation sampled for each log-mel, to calibrate its range."""


@dataclass(frozen=True)
class Int8:
    """A quantised net.

    Attributes:
        model: log-mel in, embedding out, in QDQ form.
        kept: names of the layers left in float, those of the largest error first.
        layers: how many there were.
        stored: how many of them are stored in int8 and computed in float: kernels that are mixed for each clip.
        norm_outliers: clips left out, since the float net's embedding has an outlier norm.
        cosine: mean, of quantised to float embeddings, on the clips that the layers were chosen on.
    """

    model: onnx.ModelProto
    kept: tuple[str, ...]
    layers: int
    stored: int
    norm_outliers: int
    cosine: float


def quantized(
    net: onnx.ModelProto,
    calibration: Sequence[NDArray[np.float32]],
    selection: Sequence[NDArray[np.float32]],
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Int8:
    """Quantise a net.

    Args:
        net: `logmel` (batch, n_mels, frames) in, `vector` its first output; holds its weights itself.
        calibration: log-mels (n_mels, frames) of real audio, whose activations give the ranges.
        selection: other log-mels, on which errors are measured.
        progress: called with (done, total) groups of layers.
    """
    with tempfile.TemporaryDirectory() as folder, suppress_logs():
        prepared = _prepared(net, Path(folder))
    (calibrating, _), (selecting, expected) = _norm_ok(prepared, calibration), _norm_ok(prepared, selection)
    outliers = len(calibration) + len(selection) - len(calibrating) - len(selecting)
    ranges = _ranges(prepared, list(calibrating))
    weights, mixed = _weights(prepared), _mixed(prepared)

    def cosine(names: Sequence[str], last: int = 0) -> tuple[float, onnx.ModelProto]:
        with suppress_logs():
            model = _rewritten(prepared, ranges, names)
        return _cosine(_embeddings(model, selecting[-last:]), expected[-last:]), model

    groups = _groups(prepared, weights)
    errors = []
    for group in groups:
        errors.append(1.0 - cosine(group, SCREENED)[0])
        progress(len(errors), len(groups))
    order, room = [], MOST_FLOAT * sum(weights.values())
    for at in np.argsort(errors, kind="stable")[::-1]:
        size = sum(weights[name] for name in groups[at])
        if size <= room:
            room -= size
            order.append(groups[at])

    def with_first_in_float(count: int) -> tuple[float, onnx.ModelProto]:
        floats = {name for group in order[:count] for name in group}
        return cosine([name for name in weights if name not in floats])

    fewest, most, made = 0, len(order), {0: with_first_in_float(0)}
    if made[0][0] < ONNX_INT8_COSINE:
        made[most] = with_first_in_float(most)
        while most - fewest > 1 and made[most][0] >= ONNX_INT8_COSINE:
            middle = (fewest + most) // 2
            made[middle] = with_first_in_float(middle)
            fewest, most = (fewest, middle) if made[middle][0] >= ONNX_INT8_COSINE else (middle, most)
        fewest = most
    reached, model = made[fewest]
    kept = [name for group in order[:fewest] for name in group]
    # A layer is named by its weights: its node has a number only.
    names = {
        node.name: node.input[1].removeprefix("student.").removesuffix(".weight")
        for node in prepared.graph.node
        if node.name in weights
    }
    stored = len(mixed.difference(kept))
    return Int8(model, tuple(names[name] for name in kept), len(weights), stored, outliers, reached)


def _norm_ok(
    prepared: onnx.ModelProto, logmels: Sequence[NDArray[np.float32]]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """The log-mels without norm outliers, and their embeddings: a range of 255 steps cannot hold outliers too."""
    given = np.stack(logmels)
    embeddings = _embeddings(prepared, given)
    usual = norm_ok(embeddings)
    return given[usual], embeddings[usual]


def _groups(prepared: onnx.ModelProto, weights: Mapping[str, int]) -> list[list[str]]:
    """Layers grouped by their input, since they share its quantisation error."""
    found: dict[str, list[str]] = {}
    for node in prepared.graph.node:
        if node.name in weights:
            found.setdefault(node.input[0], []).append(node.name)
    return list(found.values())


def _prepared(net: onnx.ModelProto, folder: Path) -> onnx.ModelProto:
    """The net after shape inference and constant folding."""
    from onnxruntime.quantization.shape_inference import quant_pre_process

    onnx_session(net.SerializeToString(), optimized=folder / "optimized.onnx")
    quant_pre_process(
        folder / "optimized.onnx", folder / "prepared.onnx", skip_symbolic_shape=True, skip_optimization=True
    )
    return onnx.load(folder / "prepared.onnx")


def _ranges(prepared: onnx.ModelProto, calibration: Sequence[NDArray[np.float32]]) -> Any:
    """The range of every layer's input and output activations, on real audio, for ONNX Runtime's quantiser.

    Its own calibrators fail if an activation is almost zero in the first clips and not in later ones.
    """
    from onnxruntime.quantization.calibrate import CalibrationMethod, TensorsData

    constant = {tensor.name for tensor in prepared.graph.initializer}
    layers = [node for node in prepared.graph.node if node.op_type in LAYERS]
    names = list(dict.fromkeys(name for node in layers for name in (*node.input, *node.output)))
    activations = [name for name in names if name and name not in constant and name != "logmel"]
    model = onnx.ModelProto()
    model.CopyFrom(prepared)
    results = {value.name for value in model.graph.output}
    model.graph.output.extend(onnx.ValueInfoProto(name=name) for name in activations if name not in results)
    session, random = onnx_session(model.SerializeToString()), np.random.default_rng(0)
    values: dict[str, list[NDArray[np.float32]]] = {name: [] for name in ("logmel", *activations)}
    for logmel in calibration:
        found = {
            "logmel": logmel,
            **dict(zip(activations, session.run(activations, {"logmel": logmel[None]}), strict=True)),
        }
        for name, activation in found.items():
            values[name].append(activation.reshape(-1)[random.integers(0, activation.size, SAMPLED)])
    cut = (1 - PERCENTILE / 100) / 2
    ranges = {name: np.quantile(np.concatenate(seen), (cut, 1 - cut)) for name, seen in values.items()}
    return TensorsData(
        CalibrationMethod.MinMax,
        {
            name: tuple(np.float32(end) for end in (min(low, 0.0), max(high, 0.0)))
            for name, (low, high) in ranges.items()
        },
    )


def _weights(prepared: onnx.ModelProto) -> dict[str, int]:
    """The layers whose weights are constants, with how many they have, in order; a head's stay in float."""
    sizes = {tensor.name: int(np.prod(tensor.dims)) for tensor in prepared.graph.initializer}
    return {
        node.name: sizes[node.input[1]]
        for node in prepared.graph.node
        if node.op_type in LAYERS and node.input[1] in sizes and not node.input[1].startswith("head.")
    }


def _rewritten(prepared: onnx.ModelProto, ranges: Any, names: Sequence[str]) -> onnx.ModelProto:
    """The net with the named layers quantised."""
    from onnxruntime.quantization import QuantType
    from onnxruntime.quantization.qdq_quantizer import QDQQuantizer

    copied = onnx.ModelProto()
    copied.CopyFrom(prepared)
    mixed = _mixed(prepared)
    _store(copied, [node.input[1] for node in prepared.graph.node if node.name in mixed.intersection(names)])
    whole = [name for name in names if name not in mixed]
    if not whole:  # an empty list would mean all
        return copied
    quantizer = QDQQuantizer(
        copied,
        per_channel=True,
        reduce_range=False,
        weight_qType=QuantType.QInt8,
        activation_qType=QuantType.QUInt8,
        tensors_range=ranges,
        nodes_to_quantize=whole,
        nodes_to_exclude=[],
        op_types_to_quantize=list(LAYERS),
        extra_options={"TensorQuantOverrides": _weight_ranges(prepared, whole)},
    )
    quantizer.quantize_model()
    quantizer.model.topological_sort()
    model: onnx.ModelProto = quantizer.model.model
    del model.graph.value_info[:]
    return model


def _weight_ranges(prepared: onnx.ModelProto, names: Sequence[str]) -> dict[str, list[dict[str, Any]]]:
    """The range of each output channel's weights, so wide that no processor saturates, for ONNX Runtime's quantiser."""
    from onnxruntime.quantization import QuantType

    tensors = {tensor.name: tensor for tensor in prepared.graph.initializer}
    ranges = {}
    for node in prepared.graph.node:
        if node.name not in names:
            continue
        weights = numpy_helper.to_array(tensors[node.input[1]])
        axis = 0 if node.op_type == "Conv" or _is_transposed(node) else weights.ndim - 1
        ends = 127.0 * unsaturated_scales(np.moveaxis(weights, axis, 0))
        ranges[node.input[1]] = [
            {
                "axis": axis,
                "quant_type": QuantType.QInt8,
                "symmetric": True,
                "rmin": np.float32(-end),
                "rmax": np.float32(end),
            }
            for end in ends
        ]
    return ranges


def _is_transposed(node: onnx.NodeProto) -> bool:
    return any(attribute.name == "transB" and attribute.i for attribute in node.attribute)


def unsaturated_scales(weights: NDArray[np.float32]) -> NDArray[np.float32]:
    """The value of one step of each output channel's weights (channels, ...), in 8 bits.

    Processors with AVX2 or AVX-512 but no VNNI add the products of two neighbours, an activation of 0 to 255 times a
    weight each, in 16 bits, and saturate: 2 * 255 * 127 does not fit. Two weights of one sign that are added so may
    reach 128 together. Runtimes hold the input channels of a kernel's place side by side.
    """
    rows = weights.reshape(len(weights), weights.shape[1], -1).transpose(0, 2, 1).reshape(len(weights), -1)
    rows = np.pad(rows, ((0, 0), (0, rows.shape[1] % 2)))
    pairs = rows.reshape(len(rows), -1, 2)
    sums = np.maximum(np.maximum(pairs, 0).sum(axis=2), np.maximum(-pairs, 0).sum(axis=2)).max(axis=1)
    # 127: both may be rounded up by a half.
    return np.maximum(np.maximum(np.abs(rows).max(axis=1), sums) / 127.0, np.float32(1e-30)).astype(np.float32)


def _mixed(prepared: onnx.ModelProto) -> set[str]:
    """The matrix products that mix a few kernels into one for each clip."""
    rows = {tensor.name: tensor.dims[0] for tensor in prepared.graph.initializer if len(tensor.dims) == 2}
    return {
        node.name for node in prepared.graph.node if node.op_type == "MatMul" and rows.get(node.input[1], MIXED) < MIXED
    }


def _store(model: onnx.ModelProto, names: Sequence[str]) -> None:
    """Store matrices in int8, which a runtime converts to float once, when it opens the file.

    As integers they would need a scale for each column, which is as large as what a column of so few rows holds.
    """
    graph = model.graph
    tensors: list[onnx.TensorProto] = []
    made: list[onnx.NodeProto] = []
    for tensor in list(graph.initializer):
        if tensor.name not in names:
            tensors.append(tensor)
            continue
        name, dims = tensor.name, tuple(tensor.dims)
        blocks = numpy_helper.to_array(tensor).reshape(-1, math.gcd(dims[1], BLOCK))
        scales = np.maximum(np.abs(blocks).max(axis=1, keepdims=True) / 127.0, np.float32(1e-30)).astype(np.float32)
        parts = {"int8": np.rint(blocks / scales).astype(np.int8), "scales": scales, "shape": np.array(dims, np.int64)}
        tensors += [numpy_helper.from_array(part, f"{name}/{kind}") for kind, part in parts.items()]
        made += [
            helper.make_node("Cast", [f"{name}/int8"], [f"{name}/whole"], f"{name}/whole", to=onnx.TensorProto.FLOAT),
            helper.make_node("Mul", [f"{name}/whole", f"{name}/scales"], [f"{name}/blocks"], f"{name}/blocks"),
            helper.make_node("Reshape", [f"{name}/blocks", f"{name}/shape"], [name], f"{name}/kernels"),
        ]
    nodes = [*made, *graph.node]
    del graph.initializer[:], graph.node[:]
    graph.initializer.extend(tensors)
    graph.node.extend(nodes)


def _embeddings(model: onnx.ModelProto, logmels: NDArray[np.float32]) -> NDArray[np.float32]:
    session = onnx_session(model.SerializeToString())
    parts = [session.run(["vector"], {"logmel": logmels[i : i + 8]})[0] for i in range(0, len(logmels), 8)]
    return np.concatenate(parts)


def _cosine(ours: NDArray[np.float32], theirs: NDArray[np.float32]) -> float:
    a, b = np.nan_to_num(ours).astype(np.float64), theirs.astype(np.float64)
    return float(cosines(a, b).mean())
