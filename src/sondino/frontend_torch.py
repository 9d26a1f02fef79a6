"""The log-mel as torch modules, in two forms that agree: FFT to train, matmul to export.

Both turn waveforms into log-mels (batch, n_mels, frames) float32, by the definitions of `frontend.py`.
"""

import math
from contextlib import AbstractContextManager, nullcontext

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from sondino.frontend import STUDENT_LOGMEL, LogMel, mel_matrix, window_of


def _float32(waveform: Tensor) -> AbstractContextManager[object]:
    """Keep autocast out: a power spans 1e-10 to 1e4, which half precision cannot hold next to its log."""
    if torch.compiler.is_exporting() or not torch.is_autocast_enabled(waveform.device.type):
        return nullcontext()  # a context in an exported graph is a node that converters do not know
    return torch.autocast(waveform.device.type, enabled=False)


def _buffer(array: NDArray[np.float64]) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(array, dtype=np.float32))


def _check(spec: LogMel, waveform: Tensor) -> None:
    if waveform.ndim != 2:
        raise ValueError(f"a waveform batch is (batch, samples), not {tuple(waveform.shape)}")
    if not torch.compiler.is_exporting() and waveform.shape[1] < spec.minimum_samples:
        raise ValueError(
            f"{waveform.shape[1]} samples are too short for a log-mel: pad to {spec.minimum_samples} or more"
        )


def _signal(spec: LogMel, waveform: Tensor) -> Tensor:
    """What the frames are cut from: float32, pre-emphasised, padded at its ends where the front-end says so."""
    signal = waveform.float()
    if spec.preemphasis:
        signal = signal[:, 1:] - spec.preemphasis * signal[:, :-1]
    return F.pad(signal, (spec.n_fft // 2,) * 2, mode="reflect") if spec.center else signal


class FFTLogMel(nn.Module):
    """Waveforms (batch, samples) to log-mels (batch, n_mels, frames) by a real FFT of all frames at once.

    Float32 throughout, also under autocast and for half-precision waveforms.

    Raises:
        ValueError: from `forward`, for another number of dimensions or fewer than `spec.minimum_samples`.
    """

    window: Tensor
    mel: Tensor

    def __init__(self, spec: LogMel = STUDENT_LOGMEL) -> None:
        super().__init__()
        self.spec = spec
        # Built from the definition, so not part of any checkpoint.
        self.register_buffer("window", _buffer(window_of(spec)), persistent=False)
        self.register_buffer("mel", _buffer(mel_matrix(spec)), persistent=False)

    def forward(self, waveform: Tensor) -> Tensor:
        """Log-mels of a batch of waveforms."""
        _check(self.spec, waveform)
        with _float32(waveform):
            signal = _signal(self.spec, waveform)
            # A few clips at a time keep the frames in a CPU's cache: twice as fast as the whole batch at once.
            rows = max(1, 2**19 // signal.shape[1]) if signal.device.type == "cpu" else signal.shape[0]
            return torch.cat([self._part(part) for part in signal.split(max(rows, 1))])

    def _part(self, signal: Tensor) -> Tensor:
        frames = signal.unfold(1, self.spec.n_fft, self.spec.hop) * self.window
        spectrum = torch.fft.rfft(frames)
        power = spectrum.real.square() + spectrum.imag.square()
        return _log(self.spec, self.mel @ power.transpose(1, 2))


class MatmulLogMel(nn.Module):
    """The same log-mel with the Fourier transform as a product with windowed cosines and sines.

    Made of slices, products and sums alone, so that every runtime can run it and both batch and samples can
    vary in an exported graph. Agrees with `FFTLogMel` to about 1e-5.
    """

    basis: Tensor
    mel: Tensor

    def __init__(self, spec: LogMel = STUDENT_LOGMEL) -> None:
        super().__init__()
        self.spec = spec
        mel = mel_matrix(spec)
        heard = np.flatnonzero(mel.any(axis=0))  # bins that no band hears need no transform
        phase = 2.0 * np.pi * (np.outer(np.arange(spec.n_fft), heard) % spec.n_fft) / spec.n_fft
        basis = np.concatenate([np.cos(phase), np.sin(phase)], axis=1) * window_of(spec)[:, None]
        self.register_buffer("basis", _buffer(basis), persistent=False)
        self.register_buffer("mel", _buffer(mel[:, heard].T), persistent=False)

    def forward(self, waveform: Tensor) -> Tensor:
        """Log-mels (batch, n_mels, frames) of waveforms (batch, samples)."""
        _check(self.spec, waveform)
        with _float32(waveform):
            signal = _signal(self.spec, waveform)
            cosines, sines = (_frames(self.spec, signal) @ self.basis).chunk(2, dim=-1)
            power = cosines.square() + sines.square()
            return _log(self.spec, (power @ self.mel).transpose(1, 2))


def _frames(spec: LogMel, signal: Tensor) -> Tensor:
    """Overlapping frames (batch, frames, n_fft): the signal in blocks, each frame some blocks side by side."""
    block = math.gcd(spec.n_fft, spec.hop)
    per_frame, per_hop = spec.n_fft // block, spec.hop // block
    count = (signal.shape[1] - spec.n_fft) // spec.hop + 1
    used = (count - 1) * spec.hop + spec.n_fft
    blocks = signal[:, :used].reshape(signal.shape[0], -1, block)
    reach = (count - 1) * per_hop + 1
    return torch.cat([blocks[:, i : i + reach : per_hop] for i in range(per_frame)], dim=-1)


def _log(spec: LogMel, mel: Tensor) -> Tensor:
    logmel = torch.log(mel + spec.log_offset)
    return logmel if (spec.mean, spec.std) == (0.0, 1.0) else (logmel - spec.mean) / spec.std
