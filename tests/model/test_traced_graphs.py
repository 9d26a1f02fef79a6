"""The graphs that tests keep: with a net's weights filled in they compute what a graph traced from that net does."""

import numpy as np
import onnxruntime
import pytest
import torch

from helpers import traced_graphs
from helpers.golden import error
from sondino.model import onnx_graph
from sondino.nets.registry import build_student


@pytest.mark.full
@pytest.mark.parametrize("seed", [1, 2])
def test_a_kept_graph_with_other_weights_computes_what_a_traced_one_does(tmp_path, monkeypatch, seed):
    monkeypatch.setattr(traced_graphs, "CACHE", tmp_path)
    torch.manual_seed(0)
    first = build_student("mobilenetv3", 0.1).eval()
    torch.manual_seed(seed)
    net = build_student("mobilenetv3", 0.1).eval()
    traced = onnx_graph.net_graph(net).SerializeToString()
    with traced_graphs.traced_once():
        other = onnx_graph.net_graph(first).SerializeToString()
        filled = onnx_graph.net_graph(net).SerializeToString()
    (kept,) = tmp_path.glob("*.onnx")
    assert kept.stat().st_size > 0  # it was filled in, and not traced again
    x = np.random.default_rng(0).standard_normal((2, net.logmel.n_mels, 200)).astype(np.float32)
    expected, found, wrong = (
        onnxruntime.InferenceSession(graph).run(None, {"logmel": x})[0] for graph in (traced, filled, other)
    )
    assert error(found, expected) < 1e-5
    assert error(wrong, expected) > 0.01
