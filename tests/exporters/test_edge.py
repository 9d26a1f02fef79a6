import os

import numpy as np
import pytest
import torch

from helpers.edge_runs import SAMPLES, real_clips, trained
from sondino.errors import OptionError
from sondino.exporters import edge
from sondino.exporters.edge import RUNGS, Rung
from sondino.model.torch_model import TorchModel
from sondino.nets.dymn import DynamicConv

CLIPS = real_clips()


@pytest.mark.parametrize(
    "name", ["mobilenetv3", *(pytest.param(n, marks=pytest.mark.slow) for n in ("dymn", "eres2net"))]
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

    def make(rung: Rung) -> Rung:
        tried.append(rung)
        return rung

    def close_from(first: int):
        return lambda rung: expected + (0.0 if rung.first >= first else 0.5 / (1 + rung.first / 100))

    assert edge.least_float(make, close_from(0), expected, 60)[:2] == (RUNGS[0], RUNGS[0])
    assert tried == [RUNGS[0]]
    assert edge.least_float(make, close_from(6), expected, 60)[1] == RUNGS[2]
    # Where none is close enough the closest is taken, and rungs that leave nothing in int8 are not tried.
    tried.clear()
    assert edge.least_float(make, close_from(1000), expected, 40)[1] == RUNGS[4]
    assert tried == list(RUNGS[:5])


def test_the_damage_is_measured_on_other_clips_than_the_ranges_come_from():
    clips = [np.full(10, i, np.float32) for i in range(9)]
    sounds = edge.real_sounds(clips, 12, 32000)
    assert sounds.waveforms.shape == (6, 12) and sounds.measured.shape == (3, 12)
    assert set(sounds.measured[:, 0]) == {2, 5, 8} and not set(sounds.waveforms[:, 0]) & {2, 5, 8}
    assert not sounds.waveforms[:, 10:].any()
    with pytest.raises(OptionError, match="three clips of real sound or more, not 2"):
        edge.real_sounds(clips[:2], 12, 32000)


def test_what_native_code_prints_is_kept_off_the_terminal(capfd):
    with edge.suppress_native_output():
        os.write(1, b"noise")
        os.write(2, b"noise")
    os.write(1, b"heard")
    assert capfd.readouterr() == ("heard", "")
