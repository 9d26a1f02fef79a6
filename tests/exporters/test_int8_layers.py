"""Weights in int8 that no processor saturates on: two neighbours of one sign reach 128 at most."""

import platform
import shutil
import subprocess
import sys

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from helpers.skips import OTHER_PROCESSOR, needs_linux
from sondino.exporters.int8_layers import unsaturated_scales

# (input channels, output channels, kernel, groups): pointwise, odd, first, grouped and depthwise layers
SHAPES = [(16, 16, 1, 1), (17, 9, 3, 1), (3, 8, 3, 1), (1, 16, 3, 1), (24, 24, 3, 8), (16, 16, 3, 16), (40, 12, 1, 1)]


def integers(weights: np.ndarray, scales: np.ndarray) -> np.ndarray:
    steps = np.rint(weights / scales.reshape(-1, *[1] * (weights.ndim - 1)))
    assert np.abs(steps).max() <= 127
    return steps.astype(np.int8)


def layer_model(weights: np.ndarray, scales: np.ndarray, x: np.ndarray, groups: int) -> tuple[bytes, np.float32]:
    """The layer in QDQ form, as ONNX Runtime's quantiser writes it, and the value of one step of its output."""
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
    return model.SerializeToString(), step


def run(model: bytes, x: np.ndarray, level: str = "ORT_ENABLE_ALL") -> np.ndarray:
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = getattr(onnxruntime.GraphOptimizationLevel, level)
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"]).run(None, {"x": x})[0]


def layer(weights: np.ndarray, scales: np.ndarray, x: np.ndarray, groups: int) -> tuple[np.ndarray, np.ndarray]:
    """The layer's integer output as this processor computes it, and with the same integers in float."""
    model, step = layer_model(weights, scales, x, groups)
    return run(model, x) / step, run(model, x, "ORT_DISABLE_ALL") / step


def example(inputs: int, outputs: int, size: int, groups: int, signs: str) -> tuple[np.ndarray, np.ndarray]:
    """Weights and an input near the tops of their ranges."""
    random = np.random.default_rng(inputs)
    weights = random.uniform(0.7, 1, (outputs, inputs // groups, size, size)).astype(np.float32)
    if signs == "random":
        weights *= np.sign(random.standard_normal(weights.shape)).astype(np.float32)
    return weights, random.uniform(0.95, 1, (1, inputs, 8, 8)).astype(np.float32)


@pytest.mark.parametrize(("inputs", "outputs", "size", "groups"), SHAPES)
@pytest.mark.parametrize("signs", ["alike", "random"])
def test_a_layer_gives_the_same_integers_as_in_float(inputs, outputs, size, groups, signs):
    weights, x = example(inputs, outputs, size, groups, signs)
    here, exact = layer(weights, unsaturated_scales(weights), x, groups)
    assert np.abs(here - exact).max() < 1.5  # a half may be rounded either way


@pytest.mark.parametrize("signs", ["alike", "random"])
def test_without_optimizations_a_layer_computes_exact_sums_of_integers(signs):
    weights, x = example(40, 12, 1, 1, signs)
    scales = np.abs(weights).reshape(12, -1).max(axis=1) / np.float32(127)  # at which 16 bits would saturate
    model, step = layer_model(weights, scales, x, 1)
    sums = np.einsum("oi,ihw->ohw", integers(weights, scales)[:, :, 0, 0].astype(np.int64), np.rint(255.0 * x[0]))
    expected = np.clip(np.rint(sums * scales[:, None, None] / 255 / step), -128, 127)
    steps = run(model, x, "ORT_DISABLE_ALL")[0] / step
    assert np.abs(steps - expected).max() < 1.5 and (np.abs(steps - expected) < 0.5).mean() > 0.99


ELSEWHERE = """
import sys
import numpy as np, onnxruntime
with np.load(sys.argv[1]) as given:
    count = len(given.files) // 2
    found = {
        str(i): onnxruntime.InferenceSession(given[f"model{i}"].tobytes()).run(None, {"x": given[f"x{i}"]})[0]
        for i in range(count)
    }
np.savez(sys.argv[2], **found)
"""


@needs_linux
@pytest.mark.full
def test_a_processor_without_vnni_gives_the_same_integers(tmp_path):
    qemu = shutil.which("qemu-x86_64")
    if qemu is None:
        pytest.skip("qemu-x86_64 is not installed")
    if platform.machine() != "x86_64":
        pytest.skip(f"{OTHER_PROCESSOR}: qemu runs this Python, which is not for x86-64")
    layers = [(example(*shape, signs), shape[-1]) for shape in SHAPES for signs in ("alike", "random")]
    models = [layer_model(weights, unsaturated_scales(weights), x, groups) for (weights, x), groups in layers]
    given = {f"model{i}": np.frombuffer(model, np.uint8) for i, (model, _) in enumerate(models)}
    np.savez(tmp_path / "given.npz", **given, **{f"x{i}": x for i, ((_, x), _) in enumerate(layers)})
    command = [qemu, "-cpu", "Haswell", sys.executable, "-c", ELSEWHERE, "given.npz", "found.npz"]
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)
    with np.load(tmp_path / "found.npz") as found:
        for i, ((model, step), ((_, x), _)) in enumerate(zip(models, layers, strict=True)):
            assert np.abs(found[str(i)] - run(model, x)).max() / step < 1.5
            assert np.abs(found[str(i)] - run(model, x, "ORT_DISABLE_ALL")).max() / step < 1.5


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
