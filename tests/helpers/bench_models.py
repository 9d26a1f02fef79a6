"""Models whose embeddings are known, for the tests of the bench."""

import json
import shutil
from pathlib import Path

import pytest

from helpers.tiny_bundle import TINY_RATE, write_tiny_bundle
from sondino.files import sha256
from sondino.frontend.logmel import LogMel

LOGMEL = LogMel(sample_rate=TINY_RATE, n_mels=16, f_max=8000.0)


def write_bundle_with_body(folder: Path) -> Path:
    """A bundle whose body gives the mean of each band, so that its embeddings are known."""
    onnx = pytest.importorskip("onnx")
    helper, kind = onnx.helper, onnx.TensorProto.FLOAT
    graph = helper.make_graph(
        [helper.make_node("ReduceMean", ["logmel", "axis"], ["vector"], keepdims=0)],
        "body",
        [helper.make_tensor_value_info("logmel", kind, ["batch", 16, "frames"])],
        [helper.make_tensor_value_info("vector", kind, ["batch", 16])],
        [helper.make_tensor("axis", onnx.TensorProto.INT64, [1], [2])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    folder = write_tiny_bundle(folder, name="mels", dim=16, front_end=LOGMEL.as_dict())
    (folder / "body.onnx").write_bytes(model.SerializeToString())
    return folder


def write_export(bundle: Path, out: Path, **facts: object) -> Path:
    """As `sondino export --to onnx` writes it, around the graph of a bundle."""
    out.mkdir()
    name = "body.onnx" if facts.get("input") == "logmel" else "model.onnx"
    shutil.copy(bundle / name, out / "model.onnx")
    about = {
        **{"format": "sondino-export-1", "name": "tiny", "to": "onnx", "precision": "f32", "input": "waveform"},
        **{"file": "model.onnx", "sample_rate": TINY_RATE, "samples": None, "batch": None, "parameters": 7},
        **{"macs_per_10s": 8, "front_end": LOGMEL.as_dict(), "hashes": {"model.onnx": sha256(out / "model.onnx")}},
        **facts,
    }
    (out / "export.json").write_text(json.dumps(about))
    return out
