"""A model takes sound at its own rate where its log-mel can be computed of it, and resamples it where not."""

import io

import numpy as np
import pytest
import soundfile

from sondino.audio.windows import Windowing, iter_windows
from sondino.embedding.streams import embed_stream
from sondino.errors import OptionError
from sondino.metrics.agreement import cosines
from sondino.model.model import Model
from sondino.pretrained.load import load

RATE = 48000


@pytest.fixture(scope="module")
def small() -> Model:
    return load(threads=1)


@pytest.fixture(scope="module")
def resampling() -> Model:
    return load(threads=1, resample="always")


def sweep(rate: int, seconds: float, seed: int = 0) -> np.ndarray:
    """A tone that rises to 6 kHz, in noise."""
    at = np.arange(round(rate * seconds)) / rate
    noise = np.random.default_rng(seed).standard_normal(len(at)).cumsum()
    noise -= noise.mean()
    return (0.2 * np.sin(2 * np.pi * 3000 * at**2 / seconds) + 0.05 * noise / noise.std()).astype(np.float32)


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> list[str]:
    folder = tmp_path_factory.mktemp("rates")
    made = []
    for rate in (16000, 44100, 48000, 96000):
        for seconds in (0.01, 0.7, 4.3):
            name = folder / f"{rate}_{seconds}.wav"
            soundfile.write(name, sweep(rate, seconds), rate, "PCM_24")
            made.append(str(name))
    return made


def test_embeddings_are_those_of_the_resampled_sound(small, resampling, files):
    own, resampled = small.embed(files), resampling.embed(files)
    assert not np.array_equal(own, resampled)
    assert cosines(own.astype(np.float64), resampled.astype(np.float64)).min() > 0.9995
    for file in files:
        found, starts = small.embed_windows(file)
        expected, at = resampling.embed_windows(file)
        assert starts.tolist() == at.tolist() and found.shape == expected.shape


def test_arrays_are_taken_at_their_rate(small, files):
    rows = [small.embed((soundfile.read(file, dtype="float32")[0], soundfile.info(file).samplerate)) for file in files]
    assert np.concatenate(rows) == pytest.approx(small.embed(files), abs=1e-5)


def test_the_published_policy_resamples(small, resampling, files):
    long = [file for file in files if "4.3" in file]
    expected = resampling.embed(long, window_policy="published")
    assert np.array_equal(small.embed(long, window_policy="published"), expected)


def test_two_threads_give_what_one_gives(small, files):
    assert load(threads=2).embed(files) == pytest.approx(small.embed(files), abs=1e-5)


def test_a_stream_at_its_own_rate_has_no_delay(small):
    x = sweep(RATE, 5.0)
    raw = io.BytesIO((x * 32767).astype("<i2").tobytes())
    found = list(embed_stream(small, raw, RATE, hop=1.95))
    expected, starts = small.embed_windows(((x * 32767).astype("<i2"), RATE))
    assert [each.start for each in found] == starts.tolist() and all(each.delay == 0 for each in found)
    assert np.stack([each.embedding for each in found]) == pytest.approx(expected, abs=1e-4)


def test_which_rates_and_how_it_is_said(small, resampling):
    assert small.takes_rate(48000) and small.takes_rate(32000) and not small.takes_rate(11025)
    assert resampling.takes_rate(32000) and not resampling.takes_rate(48000)
    assert small.fingerprint != resampling.fingerprint
    with pytest.raises(OptionError, match="auto or always"):
        load(resample="never")


@pytest.mark.parametrize("hop", [None, 1.0, 4.0])
def test_a_window_that_begins_within_the_last_sample(hop):
    # 1.95 s at 22.05 kHz are 42997.5 samples: half a sample more is one at 32 kHz, which is left for a second window.
    x = np.arange(1, 42999, dtype=np.float32)
    windowing = Windowing(1.95, hop)
    own = list(iter_windows(np.split(x, [7, 30000]), 32000, windowing, rate=22050))
    resampled = list(iter_windows([np.zeros(62401, np.float32)], 32000, windowing))
    assert [(start, real) for _, start, real in own] == [(start, real) for _, start, real in resampled]
    if hop is None:
        assert own[-1][0][0] == x[-1] and not own[-1][0][1:].any()


def test_a_stretch_that_is_cut_off_is_resampled(small, resampling, files):
    """The click of a cut reaches to half the rate that it is made at."""
    (file,) = (file for file in files if file.endswith("16000_4.3.wav"))
    stretch = f"{file}#t=1.0,1.3"
    assert np.array_equal(small.embed(stretch), resampling.embed(stretch))
    assert not np.array_equal(small.embed(f"{file}#t=1.0"), resampling.embed(f"{file}#t=1.0"))
