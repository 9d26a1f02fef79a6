import os
import subprocess
import sys
import time
import types

import numpy as np
import pytest

from sondino.benchmark.measure import energy_per_10s, milliseconds_per_10s
from sondino.errors import OptionError
from sondino.nets.size import macs, parameters

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
def test_milliseconds_is_the_median_call_scaled_to_10_s(monkeypatch, window, shape, share):
    clock = iter([0.0, 0.010, 1.0, 1.500, 2.0, 2.020])
    monkeypatch.setattr(time, "perf_counter", lambda: next(clock))
    seen = []
    assert milliseconds_per_10s(seen.append, 16000, 3, window) == pytest.approx(20 * share)
    assert [x.shape for x in seen] == [shape] * 4
    assert seen[0].dtype == np.float32


@pytest.mark.parametrize(("hop", "rows", "share"), [(0.5, 20, 1.0), (3.0, 3, 10 / 9)])
def test_windows_that_overlap_are_all_timed(monkeypatch, hop, rows, share):
    clock = iter([0.0, 0.010])
    monkeypatch.setattr(time, "perf_counter", lambda: next(clock))
    seen = []
    assert milliseconds_per_10s(seen.append, 100, 1, 3.0, hop) == pytest.approx(10 * share)
    assert [x.shape for x in seen] == [(rows, 300)] * 2
    for window, hop in [(0.0, None), (1.0, 0.0), (-1.0, 1.0)]:
        with pytest.raises(OptionError, match="above 0 s"):
            milliseconds_per_10s(seen.append, 100, 1, window, hop)
    with pytest.raises(OptionError, match="repeats of 1"):
        milliseconds_per_10s(seen.append, 100, 0)


class Processor:
    """A codecarbon that measures 1 kWh whatever happens."""

    _mode, _tdp = "cpu_load", 45.0

    def get_model(self):
        return "Abacus 3000"


Processor.__name__ = "CPU"


@pytest.mark.parametrize(
    ("mode", "how"),
    [
        ("cpu_load", "codecarbon's estimate from 45 W for Abacus 3000 at full load, no meter here"),
        ("intel_rapl", "power meter (RAPL)"),
    ],
)
def test_joules_are_those_of_the_calls_scaled_to_10_s(monkeypatch, mode, how):
    asked = {}

    class Tracker:
        def __init__(self, **options):
            asked.update(options)
            self._hardware = [object(), Processor()]
            self._hardware[1]._mode = mode

        def start(self):
            asked["warm"] = len(seen)

        def stop(self):
            self.final_emissions_data = types.SimpleNamespace(cpu_energy=1.0, energy_consumed=3.0)

    clock = iter([0.0, 1.0, 1.9, 2.5])  # two calls within 2 s, and the one that ends after
    monkeypatch.setattr(time, "perf_counter", lambda: next(clock))
    monkeypatch.setitem(sys.modules, "codecarbon", types.SimpleNamespace(OfflineEmissionsTracker=Tracker))
    seen = []
    found = energy_per_10s(seen.append, 100, window=3.0, hop=1.5, seconds=2.0)
    rows = 7  # of 1.5 s each
    assert found.how == how
    assert [x.shape for x in seen] == [(rows, 300)] * 4
    assert asked["warm"] == 1  # the first call is not measured
    assert found.joules == pytest.approx(3.6e6 / 3 * 10 / (rows * 1.5))
    assert (asked["output_methods"], asked["emissions_endpoint"], asked["tracking_mode"]) == ([], None, "process")


def test_no_joules_without_codecarbon(monkeypatch):
    monkeypatch.setitem(sys.modules, "codecarbon", None)
    assert energy_per_10s(lambda x: x, 100) is None


@pytest.mark.full
def test_the_real_codecarbon_is_silent_offline_and_plausible(tmp_path):
    pytest.importorskip("codecarbon")
    code = """
import socket, time
import numpy as np
def refuse(*_): raise AssertionError("reached out")
socket.socket.connect = socket.getaddrinfo = socket.create_connection = refuse
from sondino.benchmark.measure import energy_per_10s
busy = []
def embed(x):
    start = time.process_time()
    while time.process_time() - start < 0.05: pass
    busy.append(0.05)
found = energy_per_10s(embed, 100, seconds=1.5)
from codecarbon.core.cpu import TDP
import os
assert found.how.startswith(("power meter", "codecarbon's estimate from")), found
if "no meter" in found.how:
    share = found.joules / (TDP().tdp * 0.05 / os.cpu_count())
    assert 0.3 < share < 100, (found, share)  # of a second and a half codecarbon guesses anything up to tenfold
assert found.joules > 0
"""
    # A user's own settings, which would write and send.
    settings = {"CODECARBON_SAVE_TO_FILE": "true", "CODECARBON_EMISSIONS_ENDPOINT": "http://127.0.0.1:9/"}
    settings |= {"CODECARBON_LOG_LEVEL": "debug", "CODECARBON_CO2_SIGNAL_API_TOKEN": "x"}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, env=os.environ | settings
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert list(tmp_path.iterdir()) == []
