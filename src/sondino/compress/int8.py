"""Static int8 of an ONNX net: weights per channel, activations by ranges seen on real sound, layers chosen by damage.

Quantised layers stand between QuantizeLinear and DequantizeLinear (QDQ), which ONNX Runtime, OpenVINO and the web
run as integers. The calibrating and rewriting is ONNX Runtime's; which layers stay in float is ours: each layer is
quantised alone, what that does to real vectors is measured, and the worst stay in float until the whole keeps enough.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray

from sondino.export.graph import quiet

LAYERS = ("Conv", "Gemm", "MatMul")
PERCENTILE = 99.99
"""Share of an activation's values that its range holds: all of them would leave few steps to the many."""

ENOUGH = 0.999
"""Mean cosine to the float vectors at which no more layers are left in float: above the 0.99 promised, so that other
sounds than those measured on keep it too."""

MOST_FLOAT = 0.01
"""Share of the weights that may stay in float, which keeps the file a quarter of the size. The layers that lose most
are the first ones, which are small."""

SCREENED = 12
"""Log-mels that each layer by itself is judged by, the last ones given; the whole is judged by all."""

AT_ONCE = 4
"""Log-mels calibrated on at once: the calibrator holds all activations of these in memory."""


@dataclass(frozen=True)
class Int8:
    """A quantised net.

    Attributes:
        model: log-mel in, vector out, in QDQ form.
        kept: names of the layers left in float, the most damaging first.
        layers: how many there were.
        cosine: mean, of quantised to float vectors, on the clips that it was chosen on.
    """

    model: onnx.ModelProto
    kept: tuple[str, ...]
    layers: int
    cosine: float


def quantized(
    net: onnx.ModelProto,
    calibration: Sequence[NDArray[np.float32]],
    judging: Sequence[NDArray[np.float32]],
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Int8:
    """Quantise a net.

    Args:
        net: `logmel` (batch, n_mels, frames) in, `vector` first of what comes out; holds its weights itself.
        calibration: log-mels (n_mels, frames) of real sound, whose activations fix the ranges.
        judging: other log-mels, on which damage is measured.
        progress: told (done, total) layers.
    """
    with tempfile.TemporaryDirectory() as folder, quiet():
        prepared = _prepared(net, Path(folder))
        ranges = _ranges(prepared, calibration, Path(folder))
    judged = np.stack(judging)
    expected = _vectors(prepared, judged)
    weights = _weights(prepared)

    def cosine(names: Sequence[str], last: int = 0) -> tuple[float, onnx.ModelProto]:
        with quiet():
            model = _rewritten(prepared, ranges, names)
        return _cosine(_vectors(model, judged[-last:]), expected[-last:]), model

    damage = {}
    for name in weights:
        damage[name] = 1.0 - cosine([name], SCREENED)[0]
        progress(len(damage), len(weights))
    # A layer is known by its weights: its node has a number only.
    names = {
        node.name: node.input[1].removeprefix("student.").removesuffix(".weight")
        for node in prepared.graph.node
        if node.name in weights
    }
    order = sorted(damage, key=lambda name: -damage[name])
    reached, model = cosine(order)
    kept: list[str] = []
    room = MOST_FLOAT * sum(weights.values())
    for name in order:
        if reached >= ENOUGH:
            break
        if weights[name] <= room:
            room -= weights[name]
            kept.append(name)
            reached, model = cosine([name for name in order if name not in kept])
    return Int8(model, tuple(names[name] for name in kept), len(order), reached)


def _prepared(net: onnx.ModelProto, folder: Path) -> onnx.ModelProto:
    """The net with its shapes known and what can be folded folded."""
    from onnxruntime.quantization.shape_inference import quant_pre_process

    onnx.save(net, folder / "net.onnx")
    quant_pre_process(folder / "net.onnx", folder / "prepared.onnx", skip_symbolic_shape=True)
    return onnx.load(folder / "prepared.onnx")


def _ranges(prepared: onnx.ModelProto, calibration: Sequence[NDArray[np.float32]], folder: Path) -> Any:
    """The range of every activation that a layer takes or gives, on real sound."""
    from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod, create_calibrator

    class Reader(CalibrationDataReader):
        def __init__(self, logmels: Sequence[NDArray[np.float32]]) -> None:
            self._rest = iter(logmels)

        def get_next(self) -> dict[str, NDArray[np.float32]] | None:
            logmel = next(self._rest, None)
            return None if logmel is None else {"logmel": logmel[None]}

    calibrator = create_calibrator(
        folder / "prepared.onnx",
        list(LAYERS),
        augmented_model_path=str(folder / "augmented.onnx"),
        calibrate_method=CalibrationMethod.Percentile,
        extra_options={"percentile": PERCENTILE, "symmetric": False},
    )
    for first in range(0, len(calibration), AT_ONCE):
        calibrator.collect_data(Reader(calibration[first : first + AT_ONCE]))
    return calibrator.compute_data()


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
    if not names:  # which the rewriter takes for all
        return copied
    quantizer = QDQQuantizer(
        copied,
        per_channel=True,
        reduce_range=False,
        weight_qType=QuantType.QInt8,
        activation_qType=QuantType.QUInt8,
        tensors_range=ranges,
        nodes_to_quantize=list(names),
        nodes_to_exclude=[],
        op_types_to_quantize=list(LAYERS),
        extra_options={},
    )
    quantizer.quantize_model()
    quantizer.model.topological_sort()
    model: onnx.ModelProto = quantizer.model.model
    del model.graph.value_info[:]
    return model


def _vectors(model: onnx.ModelProto, logmels: NDArray[np.float32]) -> NDArray[np.float32]:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    parts = [session.run(["vector"], {"logmel": logmels[i : i + 8]})[0] for i in range(0, len(logmels), 8)]
    return np.concatenate(parts)


def _cosine(ours: NDArray[np.float32], theirs: NDArray[np.float32]) -> float:
    a, b = np.nan_to_num(ours).astype(np.float64), theirs.astype(np.float64)
    lengths = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    return float((np.einsum("nd,nd->n", a, b) / np.maximum(lengths, 1e-30)).mean())
