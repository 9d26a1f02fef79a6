"""The runtime, over a tiny model that gives mean, mean square and peak of a waveform."""

import dataclasses
import json
import os
import pickle
import warnings
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import soundfile

from helpers.skips import needs_posix
from helpers.tiny_bundle import TINY_RATE, tiny_vectors, write_tiny_bundle
from sondino import audio
from sondino.cli.embedding import _cost
from sondino.embedding.inputs import list_inputs
from sondino.encoder.encoder import Encoder
from sondino.encoder.head import Head
from sondino.errors import AudioError, OptionError, SondinoError
from sondino.model.bundle import copy_with_head
from sondino.model.model import Model
from sondino.runtimes import openvino_reason

CLIPS = Path(__file__).parents[1] / "data" / "clips"


def noise(samples: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-0.5, 0.5, samples).astype(np.float32)


def by_hand(x: np.ndarray, short: str = "pad", window: float | None = 1.0, hop: float | None = None) -> np.ndarray:
    pieces, _, weights = audio.stack_windows(x, TINY_RATE, audio.Windowing(window, hop, short), minimum=100)
    return audio.merge(tiny_vectors(pieces), weights)


def test_it_is_an_encoder_with_the_bundle_s_facts(tiny_bundle):
    model = Model(tiny_bundle)
    assert isinstance(model, Encoder)
    facts = (model.name, model.sample_rate, model.dim, model.window, model.short, model.minimum)
    assert facts == ("tiny", 16000, 3, 1.0, "pad", 100)
    assert model.config["student"] == "tiny"
    assert repr(model) == "Model('tiny', 3 dimensions from 1 s at 16000 Hz)"


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("samples", [100, 16000, 40000])
def test_waveforms_go_through_as_they_are(tiny_bundle, batch, samples):
    x = np.stack([noise(samples, seed) for seed in range(batch)])
    vectors = Model(tiny_bundle, threads=1).embed(x)
    assert vectors.dtype == np.float32 and vectors.shape == (batch, 3)
    assert vectors == pytest.approx(tiny_vectors(x), abs=1e-5)


def test_waveforms_under_the_minimum_are_padded_to_it(tiny_bundle):
    x = noise(40)[None]
    assert Model(tiny_bundle).embed(x) == pytest.approx(tiny_vectors(np.pad(x, ((0, 0), (0, 60)))), abs=1e-6)


def test_an_empty_batch(tiny_bundle):
    assert Model(tiny_bundle).embed(np.zeros((0, 16000), np.float32)).shape == (0, 3)


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_the_user_s_call_takes_paths_and_arrays(tiny_bundle, tmp_path, threads):
    model = Model(tiny_bundle, threads=threads)
    lengths = [1, 3000, 15999, 16000, 16001, 52345]
    sounds = [noise(n, seed) for seed, n in enumerate(lengths)]
    for x, n in zip(sounds, lengths, strict=True):
        soundfile.write(tmp_path / f"{n:06d}.wav", x, TINY_RATE, subtype="FLOAT")
    expected = np.stack([by_hand(x) for x in sounds])
    paths = [tmp_path / f"{n:06d}.wav" for n in lengths]
    assert model.embed(paths) == pytest.approx(expected, abs=1e-5)
    assert model.embed(tuple(map(str, paths))) == pytest.approx(expected, abs=1e-5)
    assert model.embed([(x, TINY_RATE) for x in sounds]) == pytest.approx(expected, abs=1e-5)
    mixed = [paths[5], (sounds[0], TINY_RATE)]
    assert model.embed(mixed) == pytest.approx(expected[[5, 0]], abs=1e-5)
    assert model.embed(paths[1]) == pytest.approx(expected[1:2], abs=1e-5)
    assert model.embed((sounds[1], TINY_RATE)) == pytest.approx(expected[1:2], abs=1e-5)
    assert model.embed([]).shape == (0, 3)


def test_a_folder_is_its_sounds_in_order(tiny_bundle):
    model = Model(tiny_bundle)
    assert np.array_equal(model.embed(CLIPS), model.embed(sorted(CLIPS.glob("*.ogg"))))


def test_arrays_are_resampled_and_mixed(tiny_bundle):
    x = noise(48000)
    expected = by_hand(audio.resample(x, 48000, TINY_RATE))
    assert Model(tiny_bundle).embed((np.stack([x, x]), 48000))[0] == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("short", ["pad", "native", "repeat"])
def test_short_clips_follow_the_bundle_or_the_caller(make_tiny_bundle, short):
    x = noise(5000)
    expected = by_hand(x, short)
    assert Model(make_tiny_bundle(short=short)).embed((x, TINY_RATE))[0] == pytest.approx(expected, abs=1e-5)
    assert Model(make_tiny_bundle()).embed((x, TINY_RATE), short=short)[0] == pytest.approx(expected, abs=1e-5)


def test_window_and_hop_can_be_given(make_tiny_bundle):
    x = noise(60000)
    model = Model(make_tiny_bundle())
    given = model.embed((x, TINY_RATE), window=2.0, hop=0.5)[0]
    assert given == pytest.approx(by_hand(x, window=2.0, hop=0.5), abs=1e-5)
    hopping = Model(make_tiny_bundle("hopping", hop=0.25))
    assert hopping.embed((x, TINY_RATE))[0] == pytest.approx(by_hand(x, hop=0.25), abs=1e-5)
    # The bundle's hop belongs to the bundle's window.
    assert hopping.embed((x, TINY_RATE), window=2.0)[0] == pytest.approx(by_hand(x, window=2.0), abs=1e-5)
    whole = Model(make_tiny_bundle("whole", window=None))
    assert whole.embed((x, TINY_RATE))[0] == pytest.approx(by_hand(x, window=None), abs=1e-5)


def test_embed_windows(tiny_bundle):
    x = noise(40000)
    vectors, starts = Model(tiny_bundle).embed_windows((x, TINY_RATE))
    pieces, at, _ = audio.stack_windows(x, TINY_RATE, audio.Windowing(1.0))
    assert starts.tolist() == at.tolist() == [0, 1, 2]
    assert vectors == pytest.approx(tiny_vectors(pieces), abs=1e-5)
    vectors, starts = Model(tiny_bundle).embed_windows((x, TINY_RATE), hop=0.5)
    assert starts.tolist() == [0, 0.5, 1.0, 1.5]
    with pytest.raises(OptionError, match="one sound"):
        Model(tiny_bundle).embed_windows(CLIPS)


def test_the_fingerprint_follows_what_the_vectors_depend_on(make_tiny_bundle):
    first = Model(make_tiny_bundle("a")).fingerprint
    assert Model(make_tiny_bundle("b", student="renamed", card="x")).fingerprint == first
    for change in ({"window": 2.0}, {"short": "native"}, {"sample_rate": 8000}, {"minimum": 5}):
        assert Model(make_tiny_bundle("c", **change)).fingerprint != first


# ---- what is refused ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sounds", "message"),
    [
        (np.zeros(16000, np.float32), "without its rate"),
        (np.zeros((1, 2, 3), np.float32), "without its rate"),
        ([np.zeros(16000)], "sound 0 of the list is a ndarray"),
        (["a.wav", 3], "sound 1 of the list is a int"),
        (7, r"no sound \(int\)"),
        (None, r"no sound \(NoneType\)"),
    ],
)
def test_what_is_no_sound(tiny_bundle, sounds, message):
    with pytest.raises(OptionError, match=message):
        Model(tiny_bundle).embed(sounds)


@pytest.mark.parametrize("threads", [1, 3])
def test_a_bad_sound_in_a_list_is_raised(tiny_bundle, tmp_path, threads):
    (tmp_path / "text.wav").write_text("no sound")
    good = [str(p) for p in CLIPS.glob("*.ogg")]
    with pytest.raises(AudioError, match=r"text\.wav: not a sound"):
        Model(tiny_bundle, threads=threads).embed([*good, tmp_path / "text.wav", *good * 20])
    with pytest.raises(AudioError, match="no such file"):
        Model(tiny_bundle, threads=threads).embed(tmp_path / "nope.wav")
    with pytest.raises(AudioError, match="zero samples"):
        Model(tiny_bundle).embed(np.zeros((2, 0), np.float32))


@pytest.mark.parametrize("threads", [0, -1, 1.5, "2", True])
def test_threads_out_of_range(tiny_bundle, threads):
    with pytest.raises(OptionError, match="threads"):
        Model(tiny_bundle, threads=threads)


def test_damaged_bundles_get_a_message(make_tiny_bundle, tmp_path):
    folder = make_tiny_bundle("hash")
    data = bytearray((folder / "model.onnx").read_bytes())
    data[len(data) // 2] ^= 1
    (folder / "model.onnx").write_bytes(data)
    with pytest.raises(SondinoError, match=r"model\.onnx: is damaged, its hash"):
        Model(folder)
    folder = make_tiny_bundle("onnx", hashes={})
    (folder / "model.onnx").write_bytes(b"no model")
    with pytest.raises(SondinoError, match=r"model\.onnx: ONNX Runtime cannot open it"):
        Model(folder)
    (folder / "model.onnx").unlink()
    with pytest.raises(SondinoError, match=r"model\.onnx: cannot be read"):
        Model(folder)
    with pytest.raises(SondinoError, match=r"config\.json: cannot be read"):
        Model(tmp_path / "nowhere")
    (folder / "config.json").write_text("{")
    with pytest.raises(SondinoError, match=r"config\.json: is damaged"):
        Model(folder)
    (folder / "config.json").write_text("[]")
    with pytest.raises(SondinoError, match=r"config\.json: is damaged"):
        Model(folder)
    for change, message in (
        ({"format": "sondino-bundle-9"}, "sondino-bundle-9"),
        ({"sample_rate": None}, "is damaged: sample_rate is None: give a whole number; copy the whole bundle again"),
        ({"sample_rate": -1}, "sample_rate is -1: give a whole number, 1 or more"),
        ({"sample_rate": 16000.5}, "sample_rate is 16000.5: give a whole number"),
        ({"sample_rate": 10**40}, r"sample_rate is 10+\.\.\.0+: give a whole number, 768000 or less"),
        ({"short": "loop"}, "short is 'loop'"),
        ({"front_end": 0}, "front_end is 0: give named entries or nothing"),
        ({"hashes": []}, r"hashes is \[\]: give named entries"),
        ({"hashes": {"../x": ""}}, "a key of hashes does not fit"),
        ({"dim": float("inf")}, "dim is inf: give a whole number"),
        ({"window": float("nan")}, "window is nan: give a number, 0.001 or more"),
        ({"window": -1}, "window is -1: give a number, 0.001 or more"),
        ({"window": 16000}, "window is 16000: give a number, 600 or less"),
        ({"head": {"labels": 3}}, "it has no head.name|head.labels is 3"),
        ({"teachers": [{"spec": 3}]}, r"teachers\[0\].spec is 3: give text"),
        ({"format": "A" * 100_000}, "format is 'A{59}, where"),
    ):
        with pytest.raises(SondinoError, match=message):
            Model(make_tiny_bundle("config", **change))
    folder = make_tiny_bundle("missing")
    config = json.loads((folder / "config.json").read_text())
    del config["dim"]
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(SondinoError, match="is damaged: it has no dim; copy"):
        Model(folder)
    (folder / "config.json").write_text("[" * 100_000)
    with pytest.raises(SondinoError, match=r"is damaged \(nested too deeply\)"):
        Model(folder)


def test_a_model_is_the_same_in_another_process(make_tiny_bundle):
    folder = make_tiny_bundle("sent")
    model = Model(folder, threads=1, engine="onnxruntime").with_head(LOUD)
    received = pickle.loads(pickle.dumps(model))
    assert (received.embed(CLIPS) == model.embed(CLIPS)).all()
    assert (received.fingerprint, received.head.labels) == (model.fingerprint, ("quiet", "loud"))
    sent = pickle.dumps(model)
    make_tiny_bundle("sent", hashes={})
    (folder / "model.onnx").write_bytes((folder / "model.onnx").read_bytes() + b"\x1a\x00")
    with pytest.raises(SondinoError, match=r"is damaged|is another bundle than the one that was sent"):
        pickle.loads(sent)


def test_a_model_that_gives_another_dimension_or_nan(make_tiny_bundle):
    with pytest.raises(SondinoError, match=r"'tiny' gave an array of shape \(2, 3\) for 2 waveforms"):
        Model(make_tiny_bundle(dim=5)).embed(sorted(CLIPS.glob("*.ogg"))[0])
    # The square of a sample near the largest float is infinite, and so is the embedding.
    huge = np.full(16000, 1e30, np.float32)
    with warnings.catch_warnings(), pytest.raises(SondinoError, match="NaN or infinite values at 0 s"):
        warnings.simplefilter("ignore")
        Model(make_tiny_bundle()).embed((huge, TINY_RATE))


# ---- full windows only ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("given_to", ["model", "call"])
def test_published_windows_leave_out_the_tail(tiny_bundle, given_to):
    x = noise(40000)
    model = Model(tiny_bundle, window_policy="published") if given_to == "model" else Model(tiny_bundle)
    how = {} if given_to == "model" else {"window_policy": "published"}
    vectors, starts = model.embed_windows((x, TINY_RATE), **how)
    assert starts.tolist() == [0.0, 1.0]
    assert vectors == pytest.approx(tiny_vectors(x[:32000].reshape(2, 16000)), abs=1e-6)
    assert model.embed((x, TINY_RATE), **how)[0] == pytest.approx(vectors.mean(0), abs=1e-6)
    assert Model(tiny_bundle).embed_windows((x, TINY_RATE))[1].tolist() == [0.0, 1.0, 2.0]


def test_published_windows_refuse_a_short_clip(tiny_bundle):
    model = Model(tiny_bundle, window_policy="published")
    assert model.embed((noise(16000), TINY_RATE)).shape == (1, 3)
    with pytest.raises(AudioError, match=r"a clip of 1 s is under the window of 1 s.*take 'all'"):
        model.embed((noise(15999), TINY_RATE))
    assert model.fingerprint != Model(tiny_bundle).fingerprint
    with pytest.raises(OptionError, match="window policy is 'some': give one of all, published"):
        Model(tiny_bundle, window_policy="some")


# ---- heads ----------------------------------------------------------------------------------------------------

LOUD = Head("loud", ("quiet", "loud"), False, ((np.array([[0, 0, -8], [0, 0, 8]]), np.array([4.0, -4.0])),))


def test_a_head_gives_probabilities_of_the_merged_vectors(tiny_bundle):
    model = Model(tiny_bundle).with_head(LOUD)
    sounds = [(0.1 * noise(20000), TINY_RATE), (2 * noise(50000), TINY_RATE)]
    logits = 8 * (2 * model.embed(sounds)[:, 2] - 1)  # of loud, less those of quiet
    expected = 1 / (1 + np.exp(-logits))
    assert model.classify(sounds)[:, 1] == pytest.approx(expected, abs=1e-6)
    assert model.classify(sounds).sum(axis=1) == pytest.approx(1)
    assert model.classify(sounds, window_policy="published").shape == (2, 2)
    with pytest.raises(OptionError, match="has no head"):
        Model(tiny_bundle).classify(sounds)


def test_short_clips_are_processed_as_while_the_head_was_fitted(make_tiny_bundle):
    model = Model(make_tiny_bundle(short="native"))
    short = (noise(4000), TINY_RATE)
    padded = model.with_head(dataclasses.replace(LOUD, short="pad"))
    assert model.with_head(LOUD).short == model.short == "native" and padded.short == "pad"
    assert padded.embed(short) == pytest.approx(model.embed(short, short="pad"), abs=1e-7)
    assert abs(padded.embed(short) - model.embed(short)).max() > 0.01


def test_a_head_for_another_model_is_refused(tiny_bundle):
    wide = Head("wide", ("a", "b"), False, ((np.zeros((2, 5)), np.zeros(2)),))
    with pytest.raises(OptionError, match="takes embeddings of 5 dimensions, and those of tiny have 3"):
        Model(tiny_bundle).with_head(wide)


def test_a_copy_with_a_head_keeps_the_vectors_to_the_bit(make_tiny_bundle, tmp_path):
    folder = make_tiny_bundle("full", width=1.0, parameters=1, macs_per_10s=1.0, onnx_difference=0.0)
    copy_with_head(folder, tmp_path / "copy", LOUD, {"name": "mine"})
    copy = Model(tmp_path / "copy")
    assert copy.name == "mine" and copy.head.labels == ("quiet", "loud")
    assert (copy.embed(CLIPS) == Model(folder).embed(CLIPS)).all()
    (tmp_path / "copy" / "head.safetensors").write_bytes(b"no")
    with pytest.raises(SondinoError, match=r"head\.safetensors"):
        Model(tmp_path / "copy")


# ---- engines --------------------------------------------------------------------------------------------------


def test_openvino_gives_the_same_in_float32_and_measures_what_less_costs(tiny_bundle):
    pytest.importorskip("openvino")
    exact, other = Model(tiny_bundle), Model(tiny_bundle, engine="openvino")
    assert other.embed(CLIPS) == pytest.approx(exact.embed(CLIPS), abs=1e-6)
    assert exact.exact and not other.exact
    assert other.fingerprint != exact.fingerprint
    assert other.cosine_to_float32(noise(32000).reshape(2, 16000)) == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (lambda whole: b"nonsense", "Please check that model format"),
        (lambda whole: whole[: len(whole) // 2], "Please check that model format"),
        (lambda whole: whole.replace(b"ReduceMax", b"ReduceNop"), "No conversion rule found for operations: ReduceNop"),
    ],
)
def test_what_openvino_cannot_open_comes_with_its_reason(tmp_path, content, reason):
    pytest.importorskip("openvino")
    folder = write_tiny_bundle(tmp_path / "tiny", hashes={})
    file = folder / "model.onnx"
    file.write_bytes(content(file.read_bytes()))
    with pytest.raises(SondinoError, match=rf"OpenVINO cannot open it \(.*{reason}") as raised:
        Model(folder, engine="openvino")
    assert "core.cpp" not in str(raised.value) and "\n" not in str(raised.value)


def test_what_openvino_cannot_compute_comes_with_its_reason(tiny_bundle):
    pytest.importorskip("openvino")
    model = Model(tiny_bundle, engine="openvino")
    with pytest.raises(SondinoError, match="incompatible") as raised:
        model.embed_batch(np.zeros((1, 2, 3), np.float32))
    assert "Exception from" not in str(raised.value)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("Exception from src/a/core.cpp:132:\nException from src/b.cpp:9:\nWrong value nope\n\n\n", "Wrong value nope"),
        (
            "Check 'a == b' failed at src/a.h:5:\nWhile validating node:\nRanks differ: 3 and 4\n",
            "Ranks differ: 3 and 4",
        ),
        ("Exception from src/a/core.cpp:132:\n", "Exception from src/a/core.cpp:132:"),
        ("one line", "one line"),
        ("", "RuntimeError"),
    ],
)
def test_the_reason_in_an_error_of_openvino(text, reason):
    assert openvino_reason(RuntimeError(text)) == reason


def test_float16_is_refused_for_an_int8_bundle(make_tiny_bundle):
    with pytest.raises(OptionError, match=r"tiny is an int8 bundle.*leave precision out"):
        Model(make_tiny_bundle(precision="int8"), engine="openvino", precision="float16")


@pytest.mark.parametrize(("precision", "cosine", "named"), [("float16", 0.96, True), ("float16", 0.9999, False),
                                                            ("bfloat16", 0.96, False)])  # fmt: skip
def test_a_low_cosine_in_float16_comes_with_its_cause(tiny_bundle, monkeypatch, precision, cosine, named):
    model = Model(tiny_bundle)
    model.precision = precision
    monkeypatch.setattr(Model, "cosine_to_float32", lambda self, waveforms: np.full(len(waveforms), cosine))
    text = _cost(list_inputs(CLIPS)[0], model)
    assert f"lowest {cosine:.6f}" in text and ("randomly initialised" in text) == named


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"engine": "tensorrt"}, "engine is 'tensorrt': give one of onnxruntime, openvino"),
        ({"precision": "int4"}, "precision is 'int4': give one of float32, bfloat16, float16"),
        ({"precision": "bfloat16"}, "needs engine openvino"),
        ({"device": "tpu"}, "device is 'tpu': give cpu or cuda"),
        ({"engine": "openvino", "device": "cuda"}, "engine openvino runs on the cpu"),
    ],
)
def test_engines_that_are_not_there(tiny_bundle, options, message):
    with pytest.raises(OptionError, match=message):
        Model(tiny_bundle, **options)


def test_cuda_without_cuda_names_the_package(tiny_bundle, monkeypatch):
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CPUExecutionProvider"])
    with pytest.raises(OptionError, match="pip install onnxruntime-gpu"):
        Model(tiny_bundle, device="cuda")


@needs_posix
@pytest.mark.parametrize("name", ["config.json", "model.onnx"])
def test_a_pipe_in_the_place_of_a_file_is_named_and_never_opened(tiny_bundle, name):
    (tiny_bundle / name).unlink()
    os.mkfifo(tiny_bundle / name)
    with pytest.raises(SondinoError, match=rf"{name}: cannot be read \(it is not a file\)"):
        Model(tiny_bundle)
