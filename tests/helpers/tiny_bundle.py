"""A bundle around a model whose embeddings can be computed by hand."""

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest

TINY_RATE = 16000


def tiny_vectors(waveforms: np.ndarray) -> np.ndarray:
    """What the tiny model gives: mean, mean square and peak of each waveform (batch, samples)."""
    x = np.asarray(waveforms, np.float64)
    return np.stack([x.mean(1), (x**2).mean(1), np.abs(x).max(1)], axis=1).astype(np.float32)


def write_tiny_bundle(folder: Path, **config: object) -> Path:
    """A bundle around the tiny model; `config` overrides what config.json reports."""
    onnx = pytest.importorskip("onnx")
    helper, kind = onnx.helper, onnx.TensorProto.FLOAT
    axis = helper.make_tensor("axis", onnx.TensorProto.INT64, [1], [1])
    nodes = [
        helper.make_node("ReduceMean", ["waveform", "axis"], ["mean"], keepdims=1),
        helper.make_node("Mul", ["waveform", "waveform"], ["square"]),
        helper.make_node("ReduceMean", ["square", "axis"], ["power"], keepdims=1),
        helper.make_node("Abs", ["waveform"], ["size"]),
        helper.make_node("ReduceMax", ["size", "axis"], ["peak"], keepdims=1),
        helper.make_node("Concat", ["mean", "power", "peak"], ["vector"], axis=1),
    ]
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("waveform", kind, ["batch", "samples"])],
        [helper.make_tensor_value_info("vector", kind, ["batch", 3])],
        [axis],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    folder.mkdir(parents=True, exist_ok=True)
    data = model.SerializeToString()
    (folder / "model.onnx").write_bytes(data)
    facts: dict[str, object] = {
        "format": "sondino-bundle-1",
        "name": "tiny",
        "student": "tiny",
        "width": 1.0,
        "sample_rate": TINY_RATE,
        "dim": 3,
        "window": 1.0,
        "short": "pad",
        "minimum": 100,
        "hashes": {"model.onnx": hashlib.sha256(data).hexdigest()},
        **config,
    }
    (folder / "config.json").write_text(json.dumps(facts))
    return folder
