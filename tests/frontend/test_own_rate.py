"""Log-mels at the rate of the sound are those of the resampled sound."""

from dataclasses import replace

import numpy as np
import pytest

from helpers.golden import wave
from sondino.audio.signal import resample
from sondino.frontend.logmel import (
    EFFICIENTAT_LOGMEL,
    MATPAC_LOGMEL,
    PANNS_LOGMEL,
    STUDENT_LOGMEL,
    at_rate,
    m2d_logmel,
    n_frames,
)
from sondino.frontend.logmel_numpy import log_mel, takes_rate

# Hertz, and how far a bin may be off in the middle and at most: 44.1 and 22.05 kHz have a transform that is too short
# by a thousandth, and frames that begin at a rounded sample.
RATES = [(8000, 0.04, 2.0), (16000, 2e-3, 0.1), (24000, 1e-3, 0.1), (48000, 1e-4, 0.02), (96000, 1e-4, 0.02),
         (192000, 1e-4, 0.02), (22050, 0.04, 1.0), (44100, 0.04, 1.0)]  # fmt: skip


def sound(rate: int, seconds: float) -> np.ndarray:
    """Noise that becomes quieter towards high frequencies, and a gliding tone."""
    noise = np.fft.rfft(np.random.default_rng(3).standard_normal(round(seconds * rate)))
    hertz = np.fft.rfftfreq(round(seconds * rate), 1 / rate)
    coloured = np.fft.irfft(noise / (1 + hertz / 500), round(seconds * rate))
    time = np.arange(len(coloured)) / rate
    return (0.3 * coloured + 0.1 * np.sin(2 * np.pi * (300 + 700 * time) * time)).astype(np.float32)


@pytest.mark.parametrize(("rate", "middle", "most"), RATES)
@pytest.mark.parametrize("hop", [512, 1024])
def test_bins_are_those_of_the_resampled_sound(rate, middle, most, hop):
    spec = replace(STUDENT_LOGMEL, hop=hop)
    x = sound(rate, 3.0)
    expected = log_mel(spec, resample(x, rate, spec.sample_rate))
    found = log_mel(spec, x, rate)
    assert found.shape == expected.shape
    inner = np.abs(found - expected)[:, 2:-2]  # beyond both ends the resampler has zeros
    assert np.sqrt((inner**2).mean()) < middle and inner.max() < most


@pytest.mark.parametrize(("rate", "to", "hertz"), [(16000, 32000, 7700), (48000, 32000, 15500), (48000, 16000, 7600)])
def test_the_resampler_s_response_is_in_the_filterbank(rate, to, hertz):
    """The tone lies where the resampler attenuates: without its response it would be a hundred times too strong."""
    spec = at_rate(STUDENT_LOGMEL, to)
    tone = (0.5 * np.sin(2 * np.pi * hertz * np.arange(2 * rate) / rate)).astype(np.float32)
    expected = log_mel(spec, resample(tone, rate, to))[:, 5:-5]
    loudest = expected.mean(axis=1).argmax()
    assert log_mel(spec, tone, rate)[loudest, 5:-5] == pytest.approx(expected[loudest], abs=0.05)


@pytest.mark.parametrize("rate", [rate for rate, _, _ in RATES])
def test_there_are_as_many_frames_as_of_the_resampled_sound(rate):
    for samples in np.random.default_rng(rate).integers(rate // 10, 2 * rate, 40):
        x = np.ones(samples, np.float32)
        resampled = len(resample(x, rate, STUDENT_LOGMEL.sample_rate))
        assert log_mel(STUDENT_LOGMEL, x, rate).shape[1] == n_frames(STUDENT_LOGMEL, resampled)


@pytest.mark.parametrize("rate", [32000, 44100, 48000])
def test_zeros_at_the_end_are_as_any_zeros(rate):
    x = sound(rate, 1.0)
    padded = np.concatenate([x, np.zeros(rate, np.float32)])
    noisy = padded.copy()
    noisy[-1] = 1e-20  # so that the end is transformed
    assert log_mel(STUDENT_LOGMEL, padded, rate) == pytest.approx(log_mel(STUDENT_LOGMEL, noisy, rate), abs=1e-6)


def test_its_own_rate_named_changes_no_bit():
    x = wave(1, 32000)
    assert np.array_equal(log_mel(STUDENT_LOGMEL, x), log_mel(STUDENT_LOGMEL, x, 32000))


def test_rates_that_are_taken():
    assert all(takes_rate(STUDENT_LOGMEL, rate) for rate in (8000, 16000, 22050, 24000, 44100, 48000, 96000, 384000))
    # Transforms that NumPy has no fast way for, or that would be too long; what is under a quarter of the rate.
    assert not any(takes_rate(STUDENT_LOGMEL, rate) for rate in (11025, 1_000_000, 7999, 4000))
    # What is centred or emphasised, or adds so little that silence is not masked, needs the resampled sound.
    for spec in (EFFICIENTAT_LOGMEL, PANNS_LOGMEL, MATPAC_LOGMEL, m2d_logmel(16000)):
        assert takes_rate(spec, spec.sample_rate) and not takes_rate(spec, 48000)


def test_a_rate_without_a_fast_transform_is_refused():
    with pytest.raises(ValueError, match="11025 Hz"):
        log_mel(STUDENT_LOGMEL, np.zeros(11025, np.float32), 11025)
