"""OpenVINO's own files (IR: model.xml and model.bin), converted from the ONNX graph and run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from sondino.exporters.half_precision import SMALLEST
from sondino.exporters.verify import Run
from sondino.files import thread_count
from sondino.runtimes import import_openvino, openvino_model

PINNED = {"INFERENCE_PRECISION_HINT": "f32"}
"""By default OpenVINO computes in bfloat16 on processors that support it."""


def write_openvino(model: onnx.ModelProto, file: Path, half: bool) -> None:
    """Convert an ONNX graph.

    Args:
        model: holds its weights itself; QDQ nodes become OpenVINO's integers.
        file: model.xml; model.bin is written beside it.
        half: store as float16 what float16 holds exactly, as the weights that `half_precision.halved` rounded.

    Raises:
        MissingExtra: openvino is not installed.
    """
    openvino = import_openvino()
    onnx_file = file.with_suffix(".onnx")
    try:
        onnx_file.write_bytes(model.SerializeToString())
        converted = openvino.convert_model(str(onnx_file))
    finally:
        onnx_file.unlink(missing_ok=True)
    for port, value in zip(
        [*converted.inputs, *converted.outputs], [*model.graph.input, *model.graph.output], strict=True
    ):
        port.get_tensor().set_names({value.name})
    if half:
        _halve(converted)
    openvino.save_model(converted, str(file), compress_to_fp16=False)


def _halve(model: Any) -> None:
    """Store the constants that float16 holds exactly as float16, in place.

    The conversion widens what `halved` rounded, and renames some of it: only the values show which they are. The
    front-end's constants are others. OpenVINO's own compression rounds those too, which changes embeddings by a
    hundredth.
    """
    from openvino import opset13

    for node in model.get_ops():
        if node.get_type_name() == "Constant" and node.get_element_type().to_string() == "f32":
            if node.data.nbytes < SMALLEST:
                continue
            with np.errstate(over="ignore"):  # past its largest value it is not exact
                rounded = node.data.astype(np.float16)
            if not np.array_equal(rounded.astype(np.float32), node.data):
                continue
            readers = list(node.output(0).get_target_inputs())
            stored = opset13.constant(rounded, name=f"{node.get_friendly_name()}/half")
            widened = opset13.convert(stored, "f32", name=f"{node.get_friendly_name()}/widened")
            for reader in readers:
                reader.replace_source_output(widened.output(0))


def open_openvino(file: Path, threads: int | None = None) -> Run:
    """Run an IR in float32.

    Args:
        file: model.xml.
        threads: processor threads; None: all.

    Returns:
        from the model's input to its embeddings.
    """
    settings = PINNED | {"INFERENCE_NUM_THREADS": str(thread_count(threads)), "NUM_STREAMS": "1"}
    request = openvino_model(file, settings).create_infer_request()

    def run(x: NDArray[np.float32]) -> NDArray[np.float32]:
        return np.array(request.infer([x])[0], dtype=np.float32)

    return run
