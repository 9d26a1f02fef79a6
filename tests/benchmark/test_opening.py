"""What one process of the bench does: it opens a model in a runtime, gives it clips, and times them."""

import json
import sys
import time
import types
from pathlib import Path

import numpy as np
import pytest

from helpers.bench_models import LOGMEL, write_bundle_with_body, write_export
from helpers.tiny_bundle import TINY_RATE, tiny_vectors, write_tiny_bundle
from helpers.tiny_tflite import INNER, tiny_tflite
from sondino.benchmark import opening, worker
from sondino.benchmark.bench import limits
from sondino.benchmark.opening import Opened, Parts
from sondino.errors import EncoderError, MissingExtra, SondinoError
from sondino.files import sha256
from sondino.frontend.logmel_numpy import log_mel


@pytest.fixture
def with_body(tmp_path: Path) -> Path:
    return write_bundle_with_body(tmp_path / "with_body")


def opened(embed=lambda x: x, window=None, hop=None, rate=100, parts=None) -> Opened:
    return Opened(embed, rate, window, hop, (), parts=parts)


@pytest.mark.parametrize(
    ("window", "hop", "seconds", "batch", "shape", "share"),
    [
        (None, None, 10.0, 1, (1, 1000), 1.0),
        (None, None, 1.0, 8, (8, 100), 1 / 8),
        (3.0, None, 10.0, 1, (3, 300), 10 / 9),  # as many windows as cover it, scaled to 10 s
        (0.96, 0.48, 10.0, 8, (168, 96), 10 / (21 * 0.48) / 8),
        (5.0, None, 1.0, 1, (1, 500), 1.0),  # a short clip takes a full window
    ],
)
def test_a_clip_is_what_the_model_takes(window, hop, seconds, batch, shape, share):
    sound, factor = worker.clips(opened(window=window, hop=hop), seconds, batch)
    assert (sound.shape, sound.dtype) == (shape, np.float32)
    assert factor == pytest.approx(share)
    assert 0.02 < sound.std() < 0.1  # noise, not zeros


def ticking(monkeypatch, seconds_a_call, processors=1.0):
    """A clock that goes on by so much in each call of the model alone; returns the model and its calls."""
    now = [0.0]
    calls = []

    def call(x):
        now[0] += seconds_a_call
        calls.append(x)

    monkeypatch.setattr(time, "perf_counter", lambda: now[0])
    monkeypatch.setattr(time, "process_time", lambda: processors * now[0])
    return call, calls


@pytest.mark.parametrize(
    ("seconds", "least", "timed"),
    [(0.0625, 0.25, 20), (0.0078125, 0.5, 64), (1.0, 0.25, 2), (4.0, 0.25, 1)],
)
def test_calls_are_enough_and_the_first_is_not_timed(monkeypatch, seconds, least, timed):
    call, calls = ticking(monkeypatch, seconds, processors=1.5)
    times, busy = worker.repeated([lambda: call("x")], least)
    assert times == [[seconds] * timed]
    assert calls == ["x"] * (timed + 1)
    assert busy == pytest.approx(1.5)


def test_the_front_end_of_a_graph_is_what_the_whole_takes_more_than_the_net(monkeypatch):
    call, calls = ticking(monkeypatch, 0.25)
    sound = np.zeros((1, 10), np.float32)

    def twice(x):
        call(x)
        call(x)

    def halves(whole, parts):
        return worker._halves(whole, parts, sound, 500.0, 0.1)

    inside = halves(twice, Parts(lambda mels: call("net"), lambda x: x, None))
    assert inside == {"net_ms": 125.0, "front_end_ms": 125.0}
    assert [isinstance(x, str) for x in calls[3:9]] == [
        False,
        False,
        True,
    ] * 2  # in turn, so that both are timed on the same machine
    assert halves(call, Parts(call, lambda x: x, None)) == {"net_ms": 125.0, "front_end_ms": None}
    assert halves(call, Parts(call, lambda x: x, twice)) == {"net_ms": 125.0, "front_end_ms": 250.0}


@pytest.mark.parametrize("runtime", ["onnxruntime", "onnxruntime-graph"])
def test_a_bundle_opened_here_gives_its_vectors(runtime, tiny_bundle):
    model = opening.open_bundle(tiny_bundle, runtime, "float32", 1)
    sound, _ = worker.clips(model, 1.0, 3)
    np.testing.assert_allclose(model.embed(sound), tiny_vectors(sound), rtol=1e-5)
    assert (model.sample_rate, model.window, model.parts) == (TINY_RATE, 1.0, None)  # no student: its window alone
    shipped = {"onnxruntime": ["model.onnx", "config.json"], "onnxruntime-graph": ["model.onnx"]}
    assert [file.name for file in model.files] == shipped[runtime]


def test_a_front_end_outside_the_graph_is_timed_separately(with_body):
    model = opening.open_bundle(with_body, "onnxruntime", "float32", 1)
    sound, _ = worker.clips(model, 1.0, 2)
    mels = np.stack([log_mel(LOGMEL, wave) for wave in sound])
    np.testing.assert_allclose(model.embed(sound), mels.mean(axis=2), rtol=1e-4, atol=1e-5)
    assert model.parts is not None
    parts = model.parts()
    np.testing.assert_array_equal(parts.front_end(sound), mels)
    np.testing.assert_allclose(parts.net(mels), mels.mean(axis=2), rtol=1e-4, atol=1e-5)
    assert [file.name for file in model.files] == ["model.onnx", "body.onnx", "config.json"]
    inside = opening.open_bundle(with_body, "onnxruntime-graph", "float32", 1).parts()
    assert inside.front_end is None
    np.testing.assert_allclose(inside.net(mels), mels.mean(axis=2), rtol=1e-4, atol=1e-5)


def test_an_export_is_opened_by_its_export_json(tiny_bundle, with_body, tmp_path):
    fixed = write_export(tiny_bundle, tmp_path / "fixed", samples=8000, batch=1)
    model = opening.open_export(fixed, 1)
    sound, _ = worker.clips(model, 1.0, 1)
    assert sound.shape == (2, 8000)
    np.testing.assert_allclose(model.embed(sound), tiny_vectors(sound), rtol=1e-5)
    assert (model.window, model.parameters, model.macs_per_10s) == (0.5, 7, 8)
    body = opening.open_export(write_export(with_body, tmp_path / "body", input="logmel"), 1)
    mels = np.stack([log_mel(LOGMEL, wave) for wave in sound])
    np.testing.assert_allclose(body.embed(sound), mels.mean(axis=2), rtol=1e-4, atol=1e-5)
    (fixed / "model.onnx").write_bytes(b"other")
    with pytest.raises(SondinoError, match=r"model\.onnx: ONNX Runtime cannot open it"):
        opening.open_export(fixed, 1)


def test_a_cold_start_in_a_plain_runtime_hashes_nothing(monkeypatch, tiny_bundle, tmp_path):
    """A program that opens the file with ONNX Runtime does not."""
    import hashlib

    export = write_export(tiny_bundle, tmp_path / "export")
    monkeypatch.setattr(hashlib, "sha256", None)
    monkeypatch.setattr(hashlib, "file_digest", None)
    opening.open_bundle(tiny_bundle, "onnxruntime-graph", "float32", 1)
    opening.open_export(export, 1)


def test_an_export_of_one_clip_a_call_embeds_them_one_by_one(monkeypatch, tiny_bundle, tmp_path):
    calls = []

    def run(batch):
        calls.append(batch.shape)
        return tiny_vectors(batch)

    monkeypatch.setattr(opening, "_plain", lambda *_: lambda file: run)
    model = opening.open_export(write_export(tiny_bundle, tmp_path / "one", batch=1), 1)
    sound, _ = worker.clips(model, 1.0, 3)
    np.testing.assert_array_equal(model.embed(sound), tiny_vectors(sound))
    assert calls == [(1, TINY_RATE)] * 3


def test_an_export_for_litert_gives_its_vectors_without_torch(monkeypatch, tmp_path):
    export = tmp_path / "export"
    export.mkdir()
    file = tiny_tflite(export / "model.tflite", [4, 2])  # probabilities (3) before embeddings (4)
    facts = {"to": "litert", "precision": "f32", "file": file.name, "input": "waveform", "sample_rate": 16, "dim": 4}
    about = {**facts, "samples": 16, "batch": 1, "hashes": {file.name: sha256(file)}}
    (export / "export.json").write_text(json.dumps(about))
    monkeypatch.setitem(sys.modules, "torch", None)
    interpreter = pytest.importorskip("ai_edge_litert.interpreter")
    asked = []
    real = interpreter.Interpreter

    def opened_with(**options):
        asked.append(options["num_threads"])
        return real(**options)

    monkeypatch.setattr(interpreter, "Interpreter", opened_with)
    model = opening.open_export(export, 2)
    sound, _ = worker.clips(model, 3.0, 1)
    assert sound.shape == (3, 16)
    np.testing.assert_allclose(model.embed(sound), sound @ INNER.T, rtol=1e-5, atol=1e-6)
    assert asked == [2]
    (export / "model.tflite").write_bytes(b"no model")
    (export / "export.json").write_text(json.dumps(about | {"hashes": {}}))
    with pytest.raises(SondinoError, match="LiteRT cannot open it"):
        opening.open_export(export, 1)


def test_an_export_for_executorch_embeds_clip_by_clip_on_its_threads(monkeypatch, tmp_path):
    torch = pytest.importorskip("torch")
    asked = []

    def load(file):
        assert file.endswith("model.pte")  # from the file itself: a buffer that is let go of crashes its runtime
        return types.SimpleNamespace(forward=lambda given: [given[0].mean(dim=1, keepdim=True)])

    library = types.SimpleNamespace(_unsafe_reset_threadpool=asked.append, _load_for_executorch=load)
    monkeypatch.setattr(opening, "require", lambda name, _: torch if name == "torch" else library)
    export = tmp_path / "export"
    export.mkdir()
    (export / "model.pte").write_bytes(b"x")
    facts = {"to": "executorch", "precision": "int8", "file": "model.pte", "input": "waveform", "sample_rate": 16}
    (export / "export.json").write_text(json.dumps({**facts, "samples": 16, "batch": 1, "hashes": {}}))
    model = opening.open_export(export, 2)
    sound, _ = worker.clips(model, 3.0, 1)
    np.testing.assert_allclose(model.embed(sound), sound.mean(axis=1, keepdims=True), atol=1e-6)
    assert asked == [2]


def test_a_model_that_gives_no_vectors_is_not_timed(monkeypatch):
    broken = opened(lambda sound: np.full((len(sound), 3), np.nan, np.float32))
    monkeypatch.setattr(worker, "_open", lambda asked: broken)
    with pytest.raises(EncoderError, match="NaN"):
        worker._measure_times({"module": "", "seconds": [1.0]}, 0.0)


def test_every_runtime_is_held_to_its_threads(monkeypatch, tiny_bundle):
    import onnxruntime

    seen = {}
    real = onnxruntime.InferenceSession

    def session(model, options=None, **more):
        seen["onnxruntime"] = options.intra_op_num_threads
        return real(model, options, **more)

    monkeypatch.setattr(onnxruntime, "InferenceSession", session)
    for threads in (1, 3):
        opening.open_bundle(tiny_bundle, "onnxruntime-graph", "float32", threads)
        assert seen["onnxruntime"] == threads
        opening.open_teacher(f"onnx:{tiny_bundle / 'model.onnx'}?rate=16000", threads)
        assert seen["onnxruntime"] == threads
        opening.open_teacher(f"onnx:{tiny_bundle / 'model.onnx'}?rate=16000&window=1", threads)
        assert seen["onnxruntime"] == threads
        assert {limits(threads)[name] for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS")} == {str(threads)}


def test_openvino_is_held_to_its_threads_and_precision(monkeypatch, tiny_bundle):
    openvino = pytest.importorskip("openvino")
    seen = []
    real = openvino.Core.compile_model

    def compile_model(self, model, device, settings):
        seen.append(settings)
        return real(self, model, device, settings)

    monkeypatch.setattr(openvino.Core, "compile_model", compile_model)
    model = opening.open_bundle(tiny_bundle, "openvino-graph", "float32", 1)
    sound, _ = worker.clips(model, 1.0, 2)
    np.testing.assert_allclose(model.embed(sound), tiny_vectors(sound), rtol=1e-4)
    asked = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": "1", "NUM_STREAMS": "1"}
    assert seen == [asked]


def test_vectors_that_are_none_are_refused():
    opening.check_embeddings(np.zeros((2, 3), np.float32), 2)
    for embeddings, message in [(np.zeros((1, 3)), "shape"), (np.zeros(3), "shape"), (np.full((2, 3), np.nan), "NaN")]:
        with pytest.raises(EncoderError, match=message):
            opening.check_embeddings(embeddings, 2)


def test_litert_needs_its_package(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "ai_edge_litert", None)
    monkeypatch.setitem(sys.modules, "ai_edge_litert.interpreter", None)
    (tmp_path / "model.tflite").write_bytes(b"TFL3")
    with pytest.raises(MissingExtra, match=r"sondino\[litert\]"):
        opening.open_teacher(f"litert:{tmp_path / 'model.tflite'}?rate=16000", 1)


def test_torch_runs_a_bundles_student(monkeypatch, tmp_path):
    torch = pytest.importorskip("torch")
    from sondino.nets import saved

    class Mean(torch.nn.Module):
        logmel = LOGMEL

        def forward(self, x):
            return x.mean(dim=2)

    asked = []
    monkeypatch.setattr(saved, "read_student", lambda folder: Mean())
    monkeypatch.setattr(torch, "set_num_threads", asked.append)
    folder = write_tiny_bundle(tmp_path / "student", student="mobilenetv3", front_end=LOGMEL.as_dict())
    model = opening.open_bundle(folder, "torch", "float32", 3)
    assert (asked, model.window) == ([3], None)  # a student takes any length
    sound, _ = worker.clips(model, 0.5, 2)
    mels = np.stack([log_mel(LOGMEL, wave) for wave in sound])
    np.testing.assert_allclose(model.embed(sound), mels.mean(axis=2), rtol=1e-4, atol=1e-4)
