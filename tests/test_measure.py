import time

import numpy as np
import pytest

from sondino.errors import OptionError
from sondino.evaluate.measure import macs, milliseconds_per_10s, parameters

torch = pytest.importorskip("torch")


def test_parameters_counts_shared_ones_once():
    one = torch.nn.Linear(10, 5)
    net = torch.nn.Sequential(one, torch.nn.BatchNorm1d(5), one)
    assert parameters(net) == 10 * 5 + 5 + 2 * 5


def test_macs_of_layers_that_can_be_counted_by_hand():
    conv = torch.nn.Conv2d(3, 8, 3, padding=1)
    assert macs(conv, example=torch.zeros(1, 3, 10, 20)) == 10 * 20 * 8 * 3 * 9
    depthwise = torch.nn.Conv2d(8, 8, 3, padding=1, groups=8)
    assert macs(depthwise, example=torch.zeros(1, 8, 10, 20)) == 10 * 20 * 8 * 9
    assert macs(torch.nn.Linear(10, 5), example=torch.zeros(1, 10)) == 50
    with pytest.raises(OptionError, match="logmel"):
        macs(conv)


def test_macs_leaves_the_module_as_it_was():
    net = torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.BatchNorm1d(4))
    net.train()
    before = net[1].running_mean.clone()
    macs(net, example=torch.ones(1, 4))
    assert net.training
    assert torch.equal(net[1].running_mean, before)


@pytest.mark.parametrize(("window", "shape", "share"), [(None, (1, 160000), 1.0), (3.0, (3, 48000), 10 / 9)])
def test_milliseconds_is_the_median_call_told_for_10_s(monkeypatch, window, shape, share):
    clock = iter([0.0, 0.010, 1.0, 1.500, 2.0, 2.020])
    monkeypatch.setattr(time, "perf_counter", lambda: next(clock))
    seen = []
    assert milliseconds_per_10s(seen.append, 16000, 3, window) == pytest.approx(20 * share)
    assert [x.shape for x in seen] == [shape] * 4
    assert seen[0].dtype == np.float32
