"""A bundle names files without their folders."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np

from helpers.loudness import CARD
from sondino.encoder.head import Head
from sondino.model.bundle import copy_with_head
from sondino.model.paths import without_paths


def test_a_bundle_holds_no_path_and_its_labels_stay(tmp_path: Path, make_tiny_bundle: Callable[..., Path]) -> None:
    spec = "onnx:/home/somebody/models/teacher.onnx#pool/mean?rate=16000"
    facts = {
        "teachers": [{"spec": spec, "licence": "MIT"}],
        "recipe": {"teacher": [spec], "init": "/home/somebody/a.pt"},
    }
    labels = ("loud", "soft / quiet", "/home", "~/x")
    head = Head(f"labels of {spec}", labels, False, ((np.eye(4, 3), np.zeros(4)),))
    made = copy_with_head(make_tiny_bundle("bare", **CARD, **facts), tmp_path / "made", head, {})
    config = json.loads((made / "config.json").read_text())
    assert config["teachers"][0]["spec"] == "onnx:teacher.onnx#pool/mean?rate=16000" == config["recipe"]["teacher"][0]
    assert config["recipe"]["init"] == "a.pt" and config["head"]["labels"] == list(labels)
    assert config["head"]["name"] == "labels of onnx:teacher.onnx#pool/mean?rate=16000"
    assert "somebody" not in (made / "card.md").read_text()


def test_paths_become_names() -> None:
    for text, expected in (
        (
            "litert:/models/x/yamnet.tflite#frames/pool/Mean?rate=16000",
            "litert:yamnet.tflite#frames/pool/Mean?rate=16000",
        ),
        ("onnx:C:\\Users\\me\\t.onnx", "onnx:t.onnx"),
        ("~/models/a b/t.onnx", "t.onnx"),
        ("../t.onnx", "t.onnx"),
        ("module:./code/t.py:make", "module:t.py:make"),
        ("litert:/a/b.tflite?then=/c/d.tflite", "litert:b.tflite?then=d.tflite"),
        ("onnx:models/a b/t.onnx?rate=16000", "onnx:t.onnx?rate=16000"),
        ("models/t.tflite#frames/Mean", "t.tflite#frames/Mean"),
        ("efficientat/mn04_as", "efficientat/mn04_as"),
        ("https://host/a/b", "https://host/a/b"),
        ("1/2 of the filters", "1/2 of the filters"),
        ("and/or", "and/or"),
    ):
        assert without_paths({"a": [text]}) == {"a": [expected]}
