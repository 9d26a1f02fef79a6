"""The log-mel front-ends, one definition each, in two forms that agree: FFT to train, matmul to export.

A definition is a `LogMel`, a frozen dataclass of numbers. `FFTLogMel` and `MatmulLogMel` turn it into a module
from waveforms to log-mels. All log-mels are (batch, n_mels, frames) float32.
"""

import math
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn


@dataclass(frozen=True)
class LogMel:
    """Everything that fixes a log-mel: log(mel + log_offset), then (. - mean) / std.

    The window is a periodic Hann window, the spectrogram is a power spectrogram, and the mels are Slaney's
    scale with Slaney's area norm, as all the papers that we follow use them.

    Attributes:
        sample_rate: of the waveform, in hertz.
        n_fft: samples of a Fourier transform.
        window_length: samples of the window, zero-padded on both sides to `n_fft` where shorter.
        hop: samples from one frame to the next.
        n_mels: number of mel bands.
        f_min: lower edge of the lowest band, in hertz.
        f_max: upper edge of the highest band, in hertz.
        center: frames centred on multiples of the hop, the ends padded by reflection; otherwise the first
            frame begins with the first sample and what does not fill a frame at the end is not heard.
        log_offset: added to the mel power before the logarithm.
        mean: taken from the log-mel.
        std: divides the log-mel.
    """

    sample_rate: int = 32000
    n_fft: int = 1024
    window_length: int = 1024
    hop: int = 512
    n_mels: int = 128
    f_min: float = 50.0
    f_max: float = 16000.0
    center: bool = False
    log_offset: float = 1e-3
    mean: float = 0.0
    std: float = 1.0

    @property
    def minimum_samples(self) -> int:
        """The fewest samples that give a frame: a whole one, or what reflection at both ends needs."""
        return self.n_fft // 2 + 1 if self.center else self.n_fft

    def samples_for(self, frames: int) -> int:
        """The fewest samples that give this many frames (at least one)."""
        whole = (max(frames, 1) - 1) * self.hop
        return max(self.minimum_samples, whole + (self.n_fft % 2 if self.center else self.n_fft))


STUDENT_LOGMEL = LogMel()
"""All students' front-end (S-SONDO, arXiv 2604.24933): 10 s at 32 kHz give 128 x 624."""

MATPAC_LOGMEL = LogMel(
    sample_rate=16000,
    n_fft=400,
    window_length=400,
    hop=160,
    n_mels=80,
    f_min=50.0,
    f_max=8000.0,
    log_offset=float(np.finfo(np.float32).eps),
    mean=-7.056,
    std=4.193,
)
"""MATPAC's and MATPAC++'s front-end (arXiv 2502.12031): 10 s at 16 kHz give 80 x 998."""


def m2d_logmel(rate: int = 16000, mean: float = -7.1, std: float = 4.2) -> LogMel:
    """M2D's front-end (arXiv 2210.14648): 25 ms windows every 10 ms, centred, 80 mels from 50 Hz up.

    Args:
        rate: sample rate in hertz, as the checkpoint's name carries it (16000 or 32000).
        mean: first of the checkpoint's `norm_stats`.
        std: second of them.
    """
    window = rate // 40
    return LogMel(
        sample_rate=rate,
        n_fft=window,
        window_length=window,
        hop=rate // 100,
        n_mels=80,
        f_min=50.0,
        f_max=rate / 2,
        center=True,
        log_offset=float(np.finfo(np.float32).eps),
        mean=mean,
        std=std,
    )


def n_frames(spec: LogMel, samples: int) -> int:
    """Frames that a waveform of `samples` gives; 0 below `spec.minimum_samples`."""
    if samples < spec.minimum_samples:
        return 0
    padded = samples + 2 * (spec.n_fft // 2) if spec.center else samples
    return (padded - spec.n_fft) // spec.hop + 1


def _slaney_hz(mels: NDArray[np.float64]) -> NDArray[np.float64]:
    """Slaney's mel scale back to hertz: 3 mels per 200 Hz up to 1 kHz, then 27 mels for each factor of 6.4."""
    linear = mels * (200.0 / 3.0)
    logarithmic = 1000.0 * 6.4 ** ((mels - 15.0) / 27.0)
    return np.where(mels < 15.0, linear, logarithmic)


def _slaney_mel(hz: float) -> float:
    return hz * 3.0 / 200.0 if hz < 1000.0 else 15.0 + 27.0 * math.log(hz / 1000.0) / math.log(6.4)


def mel_matrix(spec: LogMel) -> NDArray[np.float64]:
    """The mel filterbank (n_mels, n_fft // 2 + 1): triangles of equal area on Slaney's scale."""
    edges = _slaney_hz(np.linspace(_slaney_mel(spec.f_min), _slaney_mel(spec.f_max), spec.n_mels + 2))
    bins = np.arange(spec.n_fft // 2 + 1) * (spec.sample_rate / spec.n_fft)
    low, peak, high = edges[:-2, None], edges[1:-1, None], edges[2:, None]
    triangles = np.minimum((bins - low) / (peak - low), (high - bins) / (high - peak))
    return np.maximum(triangles, 0.0) * (2.0 / (high - low))


def window_of(spec: LogMel) -> NDArray[np.float64]:
    """The periodic Hann window (n_fft,), centred in the frame."""
    n = spec.window_length
    window = 0.5 - 0.5 * np.cos(2.0 * np.pi * np.arange(n) / n)
    left = (spec.n_fft - n) // 2
    return np.pad(window, (left, spec.n_fft - n - left))


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
            signal = waveform.float()
            if self.spec.center:
                signal = F.pad(signal, (self.spec.n_fft // 2,) * 2, mode="reflect")
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
            signal = waveform.float()
            if self.spec.center:
                signal = F.pad(signal, (self.spec.n_fft // 2,) * 2, mode="reflect")
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
