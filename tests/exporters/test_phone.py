"""ExecuTorch and LiteRT: what is made in their own environments, and the errors without them."""

import importlib
import importlib.util
from pathlib import Path

import pytest

from helpers.edge_environment import cosines, error, run_in
from helpers.edge_runs import SAMPLES, trained
from sondino.errors import MissingExtra, OptionError, SondinoError
from sondino.exporters.executorch import write_executorch
from sondino.model.torch_model import TorchModel

STUDENTS = ("mobilenetv3", "dymn", "eres2net")
MODULES = {"executorch": "executorch", "litert": "litert_torch"}
pytestmark = pytest.mark.parametrize("runtime", MODULES)


def write(runtime: str, file: Path, samples: int | None) -> None:
    source = TorchModel(trained("mobilenetv3", steps=0), "small", 1.0)
    getattr(importlib.import_module(f"sondino.exporters.{runtime}"), f"write_{runtime}")(source, file, "f32", samples)


def open_file(runtime: str, file: Path) -> None:
    getattr(importlib.import_module(f"sondino.exporters.{runtime}"), f"open_{runtime}")(file)


def test_a_length_left_open_is_refused_with_the_option_to_give(runtime, tmp_path):
    with pytest.raises(OptionError, match="one length: leave out dynamic, or give --window 1"):
        write(runtime, tmp_path / "model", None)


def test_dymn_in_int8_is_refused_where_it_does_not_end(runtime, tmp_path):
    if runtime == "litert":
        pytest.skip("it ends")
    source = TorchModel(trained("dymn", steps=0), "small", 1.0)
    with pytest.raises(OptionError, match=r"dymn in int8: .* take precision f32 or f16"):
        write_executorch(source, tmp_path / "model.pte", "int8", SAMPLES)
    assert not list(tmp_path.iterdir())


def test_without_the_runtime_the_message_has_the_commands(runtime, tmp_path):
    if importlib.util.find_spec(MODULES[runtime]) is not None:
        pytest.skip(f"{runtime} is here")
    with pytest.raises(MissingExtra, match=rf"make edge.*\.edge/{runtime}/bin/sondino"):
        write(runtime, tmp_path / "model", SAMPLES)
    assert not list(tmp_path.iterdir())


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


@pytest.mark.slow
@pytest.mark.parametrize("name", STUDENTS)
def test_float_gives_the_trained_nets_vectors_on_one_and_two_threads(runtime, name, tmp_path):
    found = run_in(runtime, tmp_path, name, "f32")
    for threads in ("threads1", "threads2"):
        assert error(found[threads], found["expected"]) < 1e-3
    assert found["facts"]["samples"] == SAMPLES and found["facts"]["batch"] == 1


@pytest.mark.slow
@pytest.mark.parametrize("name", STUDENTS)
def test_int8_stays_close_and_is_smaller(runtime, name, tmp_path):
    if (runtime, name) == ("executorch", "dymn"):
        pytest.skip("refused")
    found = run_in(runtime, tmp_path, name, "int8")
    near = cosines(found["threads1"], found["expected"])
    assert 0.95 < near.mean() < 1 - 1e-6
    assert found["facts"]["kept"]
    plain = tmp_path / "plain"
    plain.mkdir()
    # Of so narrow a net ExecuTorch's description of the graph is half the file.
    most = 0.8 if runtime == "executorch" else 0.6
    assert found["bytes"] < most * run_in(runtime, plain, name, "f32")["bytes"]


@pytest.mark.slow
def test_float16_halves_the_weights(runtime, tmp_path):
    found = run_in(runtime, tmp_path, "mobilenetv3", "f16")
    assert error(found["threads1"], found["expected"]) > 1e-7
    assert cosines(found["threads1"], found["expected"]).mean() > 0.9995


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["f32", "int8"])
def test_the_body_alone_takes_log_mels_and_a_head_gives_a_second_output(runtime, precision, tmp_path):
    found = run_in(runtime, tmp_path, "mobilenetv3", precision, "--body-only", "--head")
    assert cosines(found["threads1"], found["expected"]).mean() > (0.99999 if precision == "f32" else 0.95)
