"""ExecuTorch and LiteRT: what is made in their own environments, and the errors without them."""

import importlib
import importlib.util
import sys
from pathlib import Path

import pytest

from helpers.edge_environment import cosines, error, run_in
from helpers.edge_runs import SAMPLES, trained
from sondino.errors import MissingExtra, OptionError, SondinoError
from sondino.exporters.executorch import write_executorch
from sondino.model.torch_model import TorchModel

STUDENTS = ("mobilenetv3", "dymn", "eres2net")
MODULES = {"executorch": "executorch", "litert": "litert_torch"}
each_runtime = pytest.mark.parametrize("runtime", MODULES)


def write(runtime: str, file: Path, samples: int | None) -> None:
    source = TorchModel(trained("mobilenetv3", steps=0), "small", 1.0)
    getattr(importlib.import_module(f"sondino.exporters.{runtime}"), f"write_{runtime}")(source, file, "f32", samples)


def open_file(runtime: str, file: Path) -> None:
    getattr(importlib.import_module(f"sondino.exporters.{runtime}"), f"open_{runtime}")(file)


@pytest.mark.full
@each_runtime
def test_a_length_left_open_is_refused_with_the_option_to_give(runtime, tmp_path):
    with pytest.raises(OptionError, match="one length: leave out dynamic, or give --window 1"):
        write(runtime, tmp_path / "model", None)


@pytest.mark.full
def test_dymn_in_int8_is_refused_by_executorch_where_it_does_not_end(tmp_path):
    source = TorchModel(trained("dymn", steps=0), "small", 1.0)
    with pytest.raises(OptionError, match=r"dymn in int8: .* take precision f32 or f16"):
        write_executorch(source, tmp_path / "model.pte", "int8", SAMPLES)
    assert not list(tmp_path.iterdir())


@pytest.mark.full
@each_runtime
def test_without_the_runtime_the_message_has_the_commands(runtime, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, MODULES[runtime], None)
    with pytest.raises(MissingExtra, match=rf"make edge.*\.edge/{runtime}/bin/sondino"):
        write(runtime, tmp_path / "model", SAMPLES)
    assert not list(tmp_path.iterdir())


@each_runtime
def test_a_file_that_is_none_gets_a_message(runtime, tmp_path):
    if runtime == "executorch" and importlib.util.find_spec("executorch") is None:
        with pytest.raises(MissingExtra, match="make edge"):
            open_file(runtime, tmp_path / "model.pte")
        return
    if runtime == "litert":
        pytest.importorskip("ai_edge_litert")
    (tmp_path / "model").write_bytes(b"no model")
    with pytest.raises(SondinoError, match=r"model: \w+ cannot open it"):
        open_file(runtime, tmp_path / "model")
    with pytest.raises(SondinoError, match=r"gone: \w+ cannot open it"):
        open_file(runtime, tmp_path / "gone")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("edge")


@pytest.mark.full
class Files:
    """One subclass a runtime: its files are made once, in the process that --dist loadscope gives the class to."""

    runtime: str
    int8_bytes: float

    @pytest.mark.parametrize("name", STUDENTS)
    def test_float_gives_the_trained_nets_vectors_on_one_and_two_threads(self, name, folder):
        found = run_in(folder, self.runtime, name, "f32")
        for threads in ("threads1", "threads2"):
            assert error(found[threads], found["expected"]) < 1e-3
        assert found["facts"]["samples"] == SAMPLES and found["facts"]["batch"] == 1

    @pytest.mark.parametrize("name", ["mobilenetv3", "eres2net"])
    def test_int8_stays_close_and_is_smaller(self, name, folder):
        found = run_in(folder, self.runtime, name, "int8")
        near = cosines(found["threads1"], found["expected"])
        assert 0.95 < near.mean() < 1 - 1e-6
        assert found["facts"]["kept"]
        assert found["bytes"] < self.int8_bytes * run_in(folder, self.runtime, name, "f32")["bytes"]

    def test_float16_halves_the_weights(self, folder):
        found = run_in(folder, self.runtime, "mobilenetv3", "f16")
        assert error(found["threads1"], found["expected"]) > 1e-7
        assert cosines(found["threads1"], found["expected"]).mean() > 0.9995

    @pytest.mark.parametrize("precision", ["f32", "int8"])
    def test_the_body_alone_takes_log_mels_and_a_head_gives_a_second_output(self, precision, folder):
        found = run_in(folder, self.runtime, "mobilenetv3", f"{precision}-body-head")
        assert cosines(found["threads1"], found["expected"]).mean() > (0.99999 if precision == "f32" else 0.95)


class TestExecutorch(Files):
    runtime = "executorch"
    int8_bytes = 0.8  # of so narrow a net ExecuTorch's description of the graph is half the file


class TestLitert(Files):
    runtime = "litert"
    int8_bytes = 0.6

    def test_int8_of_dymn_stays_close_and_is_smaller(self, folder):
        self.test_int8_stays_close_and_is_smaller("dymn", folder)
