import os

import numpy as np
import pytest
import torch

from helpers.edge_runs import SAMPLES, real_clips, trained
from sondino.errors import OptionError
from sondino.exporters import edge
from sondino.exporters.edge import FLOAT_LAYERS, FloatLayers
from sondino.model.torch_model import TorchModel
from sondino.nets.dymn import DynamicConv

CLIPS = real_clips()


@pytest.mark.parametrize(
    "name", ["mobilenetv3", *(pytest.param(n, marks=pytest.mark.full) for n in ("dymn", "eres2net"))]
)
def test_the_form_that_runtimes_take_computes_the_same(name):
    student = trained(name)
    source = TorchModel(student, name, 1.0)
    expected = source.embed_array(CLIPS[:3])
    net = edge.edge_form(student, pointwise=True)
    assert not any(isinstance(module, DynamicConv) for module in net.modules())
    traced = edge.trace(edge.assemble(source, net, False).eval(), edge.example(source, SAMPLES, False))
    with torch.no_grad():
        found = np.concatenate([traced(torch.from_numpy(clip[None])).numpy() for clip in CLIPS[:3]])
    assert np.abs(found - expected).max() < 1e-4 * np.abs(expected).max()
    means = [node for node in traced.graph.nodes if node.target is torch.ops.aten.mean.dim]
    assert means and all(node.args[2] is True and not node.kwargs for node in means)


def test_int8_keeps_as_little_in_float_as_is_close_enough():
    expected = np.eye(4, dtype=np.float32)
    tried = []

    def make(choice: FloatLayers) -> FloatLayers:
        tried.append(choice)
        return choice

    def close_from(first: int):
        return lambda choice: expected + (0.0 if choice.first >= first else 0.5 / (1 + choice.first / 100))

    assert edge.least_float(make, close_from(0), expected, 60)[:2] == (FLOAT_LAYERS[0], FLOAT_LAYERS[0])
    assert tried == [FLOAT_LAYERS[0]]
    assert edge.least_float(make, close_from(6), expected, 60)[1] == FLOAT_LAYERS[2]
    # If none is close enough the closest is taken, and choices that leave nothing in int8 are not tried.
    tried.clear()
    assert edge.least_float(make, close_from(1000), expected, 40)[1] == FLOAT_LAYERS[4]
    assert tried == list(FLOAT_LAYERS[:5])


def test_the_error_is_measured_on_other_clips_than_the_ranges_are_calibrated_on():
    clips = [np.full(10, i, np.float32) for i in range(9)]
    chosen = edge.example_clips(clips, 12, 32000)
    assert chosen.waveforms.shape == (6, 12) and chosen.measured.shape == (3, 12)
    assert set(chosen.measured[:, 0]) == {2, 5, 8} and not set(chosen.waveforms[:, 0]) & {2, 5, 8}
    assert not chosen.waveforms[:, 10:].any()
    with pytest.raises(OptionError, match="three clips of real audio or more, not 2"):
        edge.example_clips(clips[:2], 12, 32000)


def test_what_native_code_prints_is_kept_off_the_terminal(capfd):
    with edge.suppress_native_output():
        os.write(1, b"noise")
        os.write(2, b"noise")
    os.write(1, b"printed")
    assert capfd.readouterr() == ("printed", "")
