import dataclasses
import json

import numpy as np
import pytest
import torch

from helpers.golden import DATA, error, wave
from sondino.frontend.logmel import (
    EFFICIENTAT_LOGMEL,
    MATPAC_LOGMEL,
    PANNS_LOGMEL,
    STUDENT_LOGMEL,
    LogMel,
    m2d_logmel,
    mel_matrix,
    n_frames,
)
from sondino.frontend.logmel_numpy import log_mel
from sondino.frontend.logmel_torch import FFTLogMel, MatmulLogMel


class NumpyLogMel:
    """`log_mel` with the face of the torch modules."""

    def __init__(self, spec: LogMel = STUDENT_LOGMEL) -> None:
        self.spec = spec

    def __call__(self, batch: torch.Tensor) -> torch.Tensor:
        return torch.from_numpy(np.stack([log_mel(self.spec, clip.numpy()) for clip in batch]))


TORCH = [FFTLogMel, MatmulLogMel]
FORMS = [*TORCH, NumpyLogMel]
# The golden MATPAC log-mel is the one before normalisation; all are kept at every 13th frame.
GOLDEN = {
    "student": (STUDENT_LOGMEL, 32000, 624),
    "matpac": (dataclasses.replace(MATPAC_LOGMEL, mean=0.0, std=1.0), 16000, 998),
    "m2d": (m2d_logmel(16000), 16000, 1001),
    "efficientat": (EFFICIENTAT_LOGMEL, 32000, 1000),
    "panns": (PANNS_LOGMEL, 32000, 1001),
}
SPECS = [STUDENT_LOGMEL, MATPAC_LOGMEL, m2d_logmel(16000), m2d_logmel(32000), EFFICIENTAT_LOGMEL, PANNS_LOGMEL]


def waves(spec: LogMel, seconds: float) -> torch.Tensor:
    return torch.from_numpy(np.stack([wave(seconds, spec.sample_rate, seed) for seed in (7, 8, 9)]))


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", GOLDEN)
def test_agrees_with_the_published_front_end(name, form):
    spec, rate, frames = GOLDEN[name]
    logmel = form(spec)(torch.from_numpy(wave(10, rate))[None])
    assert logmel.shape == (1, spec.n_mels, frames)
    assert error(logmel[..., ::13], np.load(DATA / "frontends.npz")[f"{name}_logmel"]) < 1e-4


@pytest.mark.parametrize("spec", SPECS)
@pytest.mark.parametrize("form", FORMS[1:])
def test_all_forms_agree(spec, form):
    batch = waves(spec, 0.7)
    batch[1, 7000:] = 0.0  # a padded window: the numpy form computes no frame past the last sound
    batch[2] = 0.0
    fft, other = FFTLogMel(spec)(batch), form(spec)(batch)
    assert (fft - other).abs().max() < 1e-4
    silence = torch.tensor((np.log(spec.log_floor + spec.log_offset) - spec.mean) / spec.std).float()
    assert torch.allclose(fft[2], silence) and torch.allclose(other[2], silence, atol=1e-5)


@pytest.mark.parametrize("spec", SPECS)
def test_a_definition_goes_through_json(spec):
    written = json.loads(json.dumps(spec.as_dict()))
    assert LogMel.from_dict(written) == spec
    for broken in (
        {**written, "hop": "512"},
        {**written, "colour": 1},
        {k: v for k, v in written.items() if k != "std"},
    ):
        with pytest.raises(ValueError, match="front-end"):
            LogMel.from_dict(broken)


@pytest.mark.parametrize("form", FORMS)
def test_a_short_window_stands_in_the_middle_of_the_frame(form):
    spec = LogMel(n_fft=512, window_length=400, hop=160, n_mels=40)
    batch = waves(spec, 0.1)
    window = torch.hann_window(400)
    stft = torch.stft(batch, 512, 160, 400, window, center=False, return_complex=True).abs().square()
    expected = torch.log(torch.from_numpy(mel_matrix(spec)).float() @ stft + spec.log_offset)
    assert (form(spec)(batch) - expected).abs().max() < 1e-4


@pytest.mark.parametrize("form", FORMS)
def test_a_batch_gives_what_its_clips_give(form):
    # 20 s are more than the FFT form takes in one part.
    batch = waves(STUDENT_LOGMEL, 20)
    one_by_one = torch.cat([form()(clip[None]) for clip in batch])
    assert torch.allclose(form()(batch), one_by_one, atol=1e-5)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("spec", SPECS)
@pytest.mark.parametrize("extra", [0, 1, 159, 160, 511, 512, 1024])
def test_the_number_of_frames_is_foreseen(spec, form, extra):
    samples = spec.minimum_samples + extra
    frames = form(spec)(torch.zeros(1, samples)).shape[-1]
    assert frames == n_frames(spec, samples)
    assert n_frames(spec, spec.samples_for(frames)) == frames
    if spec.samples_for(frames) > spec.minimum_samples:
        assert n_frames(spec, spec.samples_for(frames) - 1) == frames - 1


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("spec", SPECS)
def test_too_short_a_clip_is_refused(spec, form):
    assert n_frames(spec, spec.minimum_samples - 1) == 0
    with pytest.raises(ValueError, match=f"pad to {spec.minimum_samples}"):
        form(spec)(torch.zeros(1, spec.minimum_samples - 1))


@pytest.mark.parametrize("form", TORCH)
def test_a_waveform_without_a_batch_is_refused(form):
    with pytest.raises(ValueError, match="batch, samples"):
        form()(torch.zeros(4000))


@pytest.mark.parametrize("form", TORCH)
def test_autocast_leaves_the_power_in_float32(form):
    batch = waves(MATPAC_LOGMEL, 0.5)
    expected = form(MATPAC_LOGMEL)(batch)
    with torch.autocast("cpu", torch.bfloat16):
        logmel = form(MATPAC_LOGMEL)(batch)
    assert logmel.dtype == torch.float32
    assert torch.equal(logmel, expected)


def test_mel_bands_have_equal_area_and_no_gap():
    mel = mel_matrix(STUDENT_LOGMEL)
    assert mel.shape == (128, 513)
    used = np.flatnonzero(mel.any(axis=0))
    assert used[0] * 31.25 > 50
    assert used[-1] == 511  # the bin at 16 kHz is the foot of the last triangle
    assert (np.diff(used) == 1).all()
    # Wide bands hold many bins: their sum times a bin's width is the triangle's area, 1.
    assert np.allclose(mel[100:].sum(axis=1) * 31.25, 1, atol=0.01)


def test_it_has_no_weights_of_its_own():
    assert not FFTLogMel().state_dict()
    assert not MatmulLogMel().state_dict()


def test_m2d_at_32_khz_embeds_the_same_windows():
    spec = m2d_logmel(32000)
    assert (spec.n_fft, spec.hop, spec.f_max) == (800, 320, 16000)
    assert n_frames(spec, 320000) == 1001
