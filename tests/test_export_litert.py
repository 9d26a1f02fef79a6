import importlib.util
from pathlib import Path

import pytest

from edge_environment import cosines, error, run_in
from edge_runs import SAMPLES, real_clips, settled
from sondino.errors import MissingExtra, OptionError, SondinoError
from sondino.export.litert import open_litert, write_litert
from sondino.export.source import Source

STUDENTS = ("mobilenetv3", "dymn", "eres2net")


def small_source() -> Source:
    return Source(Path(), {"name": "small", "window": 1.0, "short": "pad"}, settled("mobilenetv3", real_clips()), None)


def test_a_length_left_open_is_refused_with_the_option_to_give(tmp_path):
    with pytest.raises(OptionError, match="one length: leave out dynamic, or give --window 1"):
        write_litert(small_source(), tmp_path / "model", "f32", None)


@pytest.mark.skipif(importlib.util.find_spec("litert_torch") is not None, reason="LiteRT is here")
def test_without_the_runtime_the_commands_are_said(tmp_path):
    with pytest.raises(MissingExtra, match=r"make edge.*\.edge/litert/bin/sondino"):
        write_litert(small_source(), tmp_path / "model", "f32", SAMPLES)
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
@pytest.mark.parametrize("name", STUDENTS)
def test_float_gives_the_trained_nets_vectors_on_one_and_two_threads(name, tmp_path):
    found = run_in("litert", tmp_path, name, "f32")
    for threads in ("threads1", "threads2"):
        assert error(found[threads], found["expected"]) < 1e-3
    assert found["facts"]["samples"] == SAMPLES and found["facts"]["batch"] == 1


@pytest.mark.slow
@pytest.mark.parametrize("name", STUDENTS)
def test_int8_stays_close_and_is_smaller(name, tmp_path):
    found = run_in("litert", tmp_path, name, "int8")
    near = cosines(found["threads1"], found["expected"])
    # Untrained nets amplify what rounding weights does; torch with the same rounded weights is as far off.
    assert 0.75 < near.mean() < 1 - 1e-6
    assert found["facts"]["kept"]
    plain = tmp_path / "plain"
    plain.mkdir()
    assert found["bytes"] < 0.6 * run_in("litert", plain, name, "f32")["bytes"]


@pytest.mark.slow
def test_float16_halves_the_weights(tmp_path):
    found = run_in("litert", tmp_path, "mobilenetv3", "f16")
    assert error(found["threads1"], found["expected"]) > 1e-7
    assert cosines(found["threads1"], found["expected"]).mean() > 0.995


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["f32", "int8"])
def test_the_body_alone_takes_log_mels_and_a_head_gives_a_second_output(precision, tmp_path):
    found = run_in("litert", tmp_path, "mobilenetv3", precision, "--body-only", "--head")
    assert cosines(found["threads1"], found["expected"]).mean() > (0.99999 if precision == "f32" else 0.75)


def test_a_file_that_is_none_gets_a_sentence(tmp_path):
    pytest.importorskip("ai_edge_litert")
    (tmp_path / "model.tflite").write_bytes(b"no model")
    with pytest.raises(SondinoError, match=r"model\.tflite: LiteRT cannot open it"):
        open_litert(tmp_path / "model.tflite")
    with pytest.raises(SondinoError, match=r"gone\.tflite: LiteRT cannot open it"):
        open_litert(tmp_path / "gone.tflite")
