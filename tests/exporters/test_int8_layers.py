"""Weights in int8 that no processor saturates on: two neighbours of one sign reach 128 at most."""

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from sondino.exporters.int8_layers import unsaturated_scales

# (input channels, output channels, kernel, groups): pointwise, odd, first, grouped and depthwise layers
SHAPES = [(16, 16, 1, 1), (17, 9, 3, 1), (3, 8, 3, 1), (1, 16, 3, 1), (24, 24, 3, 8), (16, 16, 3, 16), (40, 12, 1, 1)]


def integers(weights: np.ndarray, scales: np.ndarray) -> np.ndarray:
    steps = np.rint(weights / scales.reshape(-1, *[1] * (weights.ndim - 1)))
    assert np.abs(steps).max() <= 127
    return steps.astype(np.int8)


def layer(weights: np.ndarray, scales: np.ndarray, x: np.ndarray, groups: int) -> tuple[np.ndarray, np.ndarray]:
    """The layer's integer output as this processor computes it, and with the same integers in float."""
    step = np.float32(np.abs(weights).sum(axis=tuple(range(1, weights.ndim))).max() / 200)
    constants = {
        "q": integers(weights, scales), "scale": scales, "zeros": np.zeros(len(weights), np.int8),
        "xs": np.float32(1 / 255), "xz": np.uint8(0), "ys": step, "yz": np.uint8(128),
    }  # fmt: skip
    node = helper.make_node
    nodes = [
        node("QuantizeLinear", ["x", "xs", "xz"], ["xq"]),
        node("DequantizeLinear", ["xq", "xs", "xz"], ["xd"]),
        node("DequantizeLinear", ["q", "scale", "zeros"], ["wd"], axis=0),
        node("Conv", ["xd", "wd"], ["y"], group=groups) if x.ndim == 4 else node("Gemm", ["xd", "wd"], ["y"], transB=1),
        node("QuantizeLinear", ["y", "ys", "yz"], ["yq"]),
        node("DequantizeLinear", ["yq", "ys", "yz"], ["out"]),
    ]
    graph = helper.make_graph(
        nodes,
        "layer",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, x.shape)],
        [helper.make_tensor_value_info("out", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    model: onnx.ModelProto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    found = []
    for name in ("ORT_ENABLE_ALL", "ORT_DISABLE_ALL"):
        options = onnxruntime.SessionOptions()
        options.graph_optimization_level = getattr(onnxruntime.GraphOptimizationLevel, name)
        session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
        found.append(session.run(None, {"x": x})[0] / step)
    return found[0], found[1]


@pytest.mark.parametrize(("inputs", "outputs", "size", "groups"), SHAPES)
@pytest.mark.parametrize("signs", ["alike", "random"])
def test_a_layer_gives_the_same_integers_as_in_float(inputs, outputs, size, groups, signs):
    random = np.random.default_rng(inputs)
    weights = random.uniform(0.7, 1, (outputs, inputs // groups, size, size)).astype(np.float32)
    if signs == "random":
        weights *= np.sign(random.standard_normal(weights.shape)).astype(np.float32)
    x = random.uniform(0.95, 1, (1, inputs, 8, 8)).astype(np.float32)  # near the top of the range
    here, exact = layer(weights, unsaturated_scales(weights), x, groups)
    assert np.abs(here - exact).max() < 1.5  # a half may be rounded either way


@pytest.mark.parametrize("inputs", [16, 17])
def test_a_matrix_gives_the_same_integers_as_in_float(inputs):
    random = np.random.default_rng(0)
    weights = random.uniform(0.7, 1, (10, inputs)).astype(np.float32)
    here, exact = layer(weights, unsaturated_scales(weights), random.uniform(0.95, 1, (4, inputs)).astype("f4"), 1)
    assert np.abs(here - exact).max() < 1.5


def test_neighbours_fit_16_bits_and_no_step_is_wider_than_needed():
    random = np.random.default_rng(0)
    weights = (random.standard_normal((50, 12, 3, 3)) * np.exp(random.standard_normal((50, 12, 3, 3)))).astype("f4")
    steps = integers(weights, unsaturated_scales(weights)).astype(int)
    pairs = steps.transpose(0, 2, 3, 1).reshape(50, -1, 2)
    for sign in (1, -1):
        assert 255 * np.maximum(sign * pairs, 0).sum(axis=2).max() <= 2**15 - 1
    largest = np.maximum(np.abs(steps).reshape(50, -1).max(1), np.abs(pairs.sum(axis=2)).max(1))
    assert (largest >= 120).mean() > 0.8
    alone = np.array([[1.0, -1.0, 0.5, -0.25]], np.float32)  # neighbours of other signs need no room
    assert unsaturated_scales(alone) == pytest.approx(1 / 127)
    assert unsaturated_scales(np.abs(alone)) == pytest.approx(2 / 127)
