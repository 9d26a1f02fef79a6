"""The runtime, over a tiny model that gives mean, mean square and peak of a waveform."""

import json
import warnings
from pathlib import Path

import numpy as np
import pytest
import soundfile

from conftest import TINY_RATE, tiny_vectors
from sondino import audio
from sondino.encoder import Encoder
from sondino.errors import AudioError, OptionError, SondinoError
from sondino.runtime import Model

CLIPS = Path(__file__).parent / "data" / "clips"


def noise(samples: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-0.5, 0.5, samples).astype(np.float32)


def by_hand(x: np.ndarray, short: str = "pad", window: float | None = 1.0, hop: float | None = None) -> np.ndarray:
    pieces, _, weights = audio.windows(x, TINY_RATE, window, hop, short, minimum=100)
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
    heard = by_hand(audio.resample(x, 48000, TINY_RATE))
    assert Model(tiny_bundle).embed((np.stack([x, x]), 48000))[0] == pytest.approx(heard, abs=1e-5)


@pytest.mark.parametrize("short", ["pad", "native", "repeat"])
def test_short_clips_as_the_bundle_or_the_caller_says(make_tiny_bundle, short):
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
    pieces, at, _ = audio.windows(x, TINY_RATE, 1.0)
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
        (7, "cannot embed a int"),
        (None, "cannot embed a NoneType"),
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


def test_damaged_bundles_say_so(make_tiny_bundle, tmp_path):
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
        ({"sample_rate": None}, "damaged"),
        ({"short": "loop"}, "short"),
    ):
        with pytest.raises(SondinoError, match=message):
            Model(make_tiny_bundle("config", **change))
    folder = make_tiny_bundle("missing")
    config = json.loads((folder / "config.json").read_text())
    del config["dim"]
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(SondinoError, match="'dim'"):
        Model(folder)


def test_a_model_that_gives_another_dimension_or_nan(make_tiny_bundle):
    with pytest.raises(SondinoError, match=r"tiny gave an array of shape \(2, 3\) for 2 windows"):
        Model(make_tiny_bundle(dim=5)).embed(sorted(CLIPS.glob("*.ogg"))[0])
    # The square of a sample near the largest float is infinite: the vectors are worth nothing.
    huge = np.full(16000, 1e30, np.float32)
    with warnings.catch_warnings(), pytest.raises(SondinoError, match="NaN or infinite values at 0 s"):
        warnings.simplefilter("ignore")
        Model(make_tiny_bundle()).embed((huge, TINY_RATE))
