"""The students' front-ends at other sample rates than the published 32 kHz."""

import math

import numpy as np
import pytest
import torch

from helpers.golden import wave
from sondino.frontend.logmel import (
    PANNS_LOGMEL,
    RATES,
    STUDENT_LOGMEL,
    LogMel,
    at_rate,
    mel_matrix,
    n_frames,
    window_of,
    with_hop,
)
from sondino.frontend.logmel_numpy import log_mel
from sondino.frontend.logmel_torch import FFTLogMel, MatmulLogMel

SPECS = {rate: at_rate(STUDENT_LOGMEL, rate) for rate in RATES}


def all_forms(spec: LogMel, batch: np.ndarray) -> list[np.ndarray]:
    """The log-mels (batch, n_mels, frames) of waveforms by each of the three forms."""
    waveforms = torch.from_numpy(batch)
    return [
        np.stack([log_mel(spec, waveform) for waveform in batch]),
        FFTLogMel(spec)(waveforms).numpy(),
        MatmulLogMel(spec)(waveforms).numpy(),
    ]


def band_edges(rate: int) -> np.ndarray:
    """Hertz of the 128 triangles' feet and peaks, by Slaney's definition: linear to 1 kHz, then 27 steps per 6.4."""

    def mel(hz: float) -> float:
        return hz / (200 / 3) if hz < 1000 else 15 + 27 * math.log(hz / 1000, 6.4)

    def hertz(mels: float) -> float:
        return mels * 200 / 3 if mels < 15 else 1000 * 6.4 ** ((mels - 15) / 27)

    low, high = mel(50), mel(rate / 2)
    return np.array([hertz(low + (high - low) * i / 129) for i in range(130)])


def test_the_published_front_ends_stay_as_they_are() -> None:
    assert at_rate(STUDENT_LOGMEL, 32000) is STUDENT_LOGMEL
    assert at_rate(PANNS_LOGMEL, 32000) is PANNS_LOGMEL


@pytest.mark.parametrize(
    ("rate", "n_fft", "window", "hop"),
    [
        (16000, 512, 512, 256),
        (32000, 1024, 1024, 512),
        (48000, 2048, 1536, 768),
        (96000, 4096, 3072, 1536),
        (256000, 8192, 8192, 4096),
    ],
)
def test_window_and_hop_last_as_long_at_every_rate(rate: int, n_fft: int, window: int, hop: int) -> None:
    spec = SPECS[rate]
    assert (spec.sample_rate, spec.n_fft, spec.window_length, spec.hop) == (rate, n_fft, window, hop)
    assert (window / rate, hop / rate) == (0.032, 0.016)
    assert (spec.n_mels, spec.f_min, spec.f_max) == (128, 50.0, rate / 2)
    assert n_frames(spec, 10 * rate) == (623 if n_fft > window else 624)


def test_cnn14_at_16_khz_has_the_frames_and_bands_of_the_one_published_at_16_khz() -> None:
    # Cnn14_16k of PANNs (arXiv 1912.10211): windows of 512, hop 160, 64 bands from 50 to 8000 Hz.
    spec = at_rate(PANNS_LOGMEL, 16000)
    assert (spec.n_fft, spec.window_length, spec.hop, spec.n_mels) == (512, 512, 160, 64)
    assert (spec.f_min, spec.f_max, spec.center) == (50.0, 8000.0, True)


@pytest.mark.parametrize("rate", RATES)
def test_bands_are_centred_where_slaney_has_them(rate: int) -> None:
    spec, edges = SPECS[rate], band_edges(rate)
    mel, bin_width = mel_matrix(spec), rate / spec.n_fft
    assert mel.any(axis=1).all()  # no band lies between two bins
    assert np.abs(mel.argmax(axis=1) * bin_width - edges[1:-1]).max() <= bin_width
    wide = np.flatnonzero(edges[2:] - edges[:-2] > 20 * bin_width)
    hz = np.arange(mel.shape[1]) * bin_width
    # A triangle's centre of mass is the mean of its three corners.
    expected = (edges[:-2] + edges[1:-1] + edges[2:])[wide] / 3
    assert np.allclose((mel[wide] @ hz) / mel[wide].sum(axis=1), expected, rtol=1e-3)
    assert np.allclose(mel[wide].sum(axis=1) * bin_width, 1, atol=0.01)


@pytest.mark.parametrize("rate", RATES)
def test_a_sine_peaks_in_its_band(rate: int) -> None:
    bands = [40, 64, 90, 110, 127]
    centres = band_edges(rate)[1:-1][bands]
    time = np.arange(rate // 4) / rate
    sines = (0.3 * np.sin(2 * np.pi * centres[:, None] * time)).astype(np.float32)
    for found in all_forms(SPECS[rate], sines):
        assert found.mean(axis=2).argmax(axis=1).tolist() == bands


@pytest.mark.parametrize("rate", RATES)
def test_all_forms_agree(rate: int) -> None:
    batch = np.stack([wave(0.4, rate, 7), wave(0.4, rate, 8), np.zeros(int(0.4 * rate), np.float32)])
    numpy, fft, matmul = all_forms(SPECS[rate], batch)
    assert np.abs(fft - numpy).max() < 1e-4 and np.abs(fft - matmul).max() < 1e-4
    assert np.allclose(fft[2], math.log(1e-3), atol=1e-5)  # silence is the published front-end's


@pytest.mark.parametrize("seconds", [0.008, 0.02, 0.032])
def test_frames_at_another_hop_are_those_of_the_published_one_at_their_times(seconds: float) -> None:
    spec, batch = with_hop(STUDENT_LOGMEL, seconds), wave(0.5, 32000, 3)[None]
    every_eighth = with_hop(STUDENT_LOGMEL, 0.004)  # of a window: 128 samples
    assert (spec.hop, spec.n_fft, spec.window_length) == (round(seconds * 32000), 1024, 1024)
    expected = log_mel(every_eighth, batch[0])[:, :: spec.hop // 128]
    for found in all_forms(spec, batch):
        assert found.shape == (1, 128, (16000 - 1024) // spec.hop + 1)
        assert np.abs(found[0] - expected[:, : found.shape[2]]).max() < 1e-4


@pytest.mark.parametrize("seconds", [0.0321, 0.5, 0.0, -0.016, 1e-6])
def test_a_hop_that_leaves_samples_out_is_refused(seconds: float) -> None:
    with pytest.raises(ValueError, match=r"give at most the window, 0\.032 s"):
        with_hop(STUDENT_LOGMEL, seconds)


@pytest.mark.parametrize("rate", RATES)
def test_a_sound_has_the_same_log_mel_at_every_rate(rate: int) -> None:
    # White noise of the same power per hertz: its mel power is the window's energy times its variance, for each bin
    # of a hertz. At 32 kHz, 1024 samples of a Hann window have the energy 384 and there are 0.032 bins a hertz.
    variance = 1e-3 * rate / 32000
    expected = 1e-3 * 384 * 0.032 + 1e-3
    noise = np.random.default_rng(0).standard_normal(4 * rate) * math.sqrt(variance)
    spec = SPECS[rate]
    assert (window_of(spec) ** 2).sum() == pytest.approx(384 * rate / 32000)
    found = np.exp(log_mel(spec, noise.astype(np.float32)).astype(np.float64)).mean()
    assert found == pytest.approx(expected, rel=0.02)
