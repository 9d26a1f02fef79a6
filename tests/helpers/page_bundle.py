"""A bundle for the page, made in a moment: a random net of a convolution and a product behind the students' log-mel."""

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np

from sondino.encoder.head import Head
from sondino.encoder.unlike import Unlike
from sondino.frontend.logmel import STUDENT_LOGMEL
from sondino.model.head import write_head

DIM, CHANNELS, TAPS = 24, 16, 3
LABELS = ("bird", "drum", "rain")


def write_page_bundle(
    folder: Path, with_head: bool = True, fixed: bool = False, unlike: Unlike | None = None, **config: Any
) -> Path:
    """A bundle whose body's weights lie in model.onnx; `config` overrides what config.json reports."""
    import onnx
    from onnx import helper, numpy_helper

    rng = np.random.default_rng(3)
    bands = STUDENT_LOGMEL.n_mels
    weights = {
        "filters": 0.1 * rng.standard_normal((CHANNELS, bands, TAPS)),
        "mixing": 0.05 * rng.standard_normal((CHANNELS, DIM)),
        "bias": 0.1 * rng.standard_normal(DIM),
    }
    tensors = [numpy_helper.from_array(value.astype(np.float32), name) for name, value in weights.items()]
    axes = numpy_helper.from_array(np.array([2]), "axes")
    nodes = [
        helper.make_node("Conv", ["logmel", "filters"], ["heard"]),
        helper.make_node("Relu", ["heard"], ["sure"]),
        helper.make_node("ReduceMean", ["sure", "axes"], ["mean"], keepdims=0),
        helper.make_node("Gemm", ["mean", "mixing", "bias"], ["vector"]),
    ]
    frames = 61 if fixed else "frames"
    given = helper.make_tensor_value_info("logmel", onnx.TensorProto.FLOAT, ["batch", bands, frames])
    result = helper.make_tensor_value_info("vector", onnx.TensorProto.FLOAT, ["batch", DIM])
    graph = helper.make_graph(nodes, "body", [given], [result], [*tensors, axes])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    folder.mkdir(parents=True)
    data = model.SerializeToString()
    (folder / "model.onnx").write_bytes(data)
    for tensor in model.graph.initializer[:2]:
        at = data.index(tensor.raw_data)
        tensor.data_location = onnx.TensorProto.EXTERNAL
        for key, value in (("location", "model.onnx"), ("offset", at), ("length", len(tensor.raw_data))):
            tensor.external_data.add(key=key, value=str(value))
        tensor.ClearField("raw_data")
    (folder / "body.onnx").write_bytes(model.SerializeToString())
    facts: dict[str, Any] = {
        "format": "sondino-bundle-1",
        "name": "page-test",
        "student": "tiny",
        "width": 1.0,
        "sample_rate": STUDENT_LOGMEL.sample_rate,
        "dim": DIM,
        "window": 1.0,
        "short": "repeat",
        "minimum": STUDENT_LOGMEL.samples_for(TAPS),
        "front_end": STUDENT_LOGMEL.as_dict(),
        "hashes": {
            name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in ("model.onnx", "body.onnx")
        },
        **config,
    }
    if with_head:
        layers = ((rng.standard_normal((len(LABELS), DIM)), rng.standard_normal(len(LABELS))),)
        facts["head"] = write_head(folder, Head("test", LABELS, False, layers, unlike=unlike))
    (folder / "config.json").write_text(json.dumps(facts))
    return folder
