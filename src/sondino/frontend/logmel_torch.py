"""The log-mel as torch modules, in two forms that agree: FFT for training, matrix products for export.

Both turn waveforms into log-mels (batch, n_mels, frames) float32, by the definitions of `logmel.py`.
"""

import math
from contextlib import AbstractContextManager, nullcontext

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from sondino.frontend.logmel import STUDENT_LOGMEL, LogMel, mel_matrix, window_of


def in_float32(waveform: Tensor) -> AbstractContextManager[object]:
    """Switch autocast off: a power spans 1e-10 to 1e4, which half precision cannot hold next to its log."""
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
    """The signal (batch, samples) that is framed: float32, pre-emphasised, padded by reflection if the front-end is."""
    signal = waveform if waveform.dtype == torch.float64 else waveform.float()  # float64 only to measure errors
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
        with in_float32(waveform):
            signal = _signal(self.spec, waveform)
            # A few clips at a time keep the frames in a CPU's cache: twice as fast as the whole batch at once.
            rows = max(1, 2**19 // signal.shape[1]) if signal.device.type == "cpu" else signal.shape[0]
            return torch.cat([self._logmel_of(part) for part in signal.split(max(rows, 1))])

    def _logmel_of(self, signal: Tensor) -> Tensor:
        frames = signal.unfold(1, self.spec.n_fft, self.spec.hop) * self.window  # (batch, frames, n_fft)
        spectrum = torch.fft.rfft(frames)  # (batch, frames, n_fft // 2 + 1)
        power = spectrum.real.square() + spectrum.imag.square()
        return _log(self.spec, self.mel @ power.transpose(1, 2))  # (n_mels, bins) @ (batch, bins, frames)


class MatmulLogMel(nn.Module):
    """The same log-mel with the Fourier transform as two small matrix products (Cooley and Tukey's four steps).

    Uses slices, products, sums and transpositions alone, so that every runtime can run it and both batch and
    samples can vary in an exported graph. Agrees with `FFTLogMel` to about 1e-5.

    A frame of n = p * q samples is p blocks of q, x[q a + b], and bin c + p d of its transform is

        sum over b of  exp(-2i pi (c b / n + b d / q))  (sum over a of  exp(-2i pi a c / p)  x[q a + b])

    Real samples need c up to p / 2 only: bins over n / 2 stand in for their mirror images. A hop is whole blocks, so
    that frames that overlap are cut from one transposed signal, and both sums are large products without a copy
    between that moves single numbers: a tenth of the work of a product with cosines and sines of all n samples.
    """

    window: Tensor
    inner: Tensor
    real: Tensor
    imaginary: Tensor
    mel: Tensor

    def __init__(self, spec: LogMel = STUDENT_LOGMEL) -> None:
        super().__init__()
        self.spec = spec
        n, common = spec.n_fft, math.gcd(spec.n_fft, spec.hop)
        # Of the blocks that a hop is whole numbers of, the one nearest to the square root of a frame.
        q = min((d for d in range(1, common + 1) if common % d == 0), key=lambda d: abs(math.log(d * d / n)))
        p = n // q
        self.blocks, self.block = p, q
        a, b, c = np.arange(p), np.arange(q), np.arange(p // 2 + 1)
        inner = np.exp(-2j * np.pi * np.outer(c, a) / p)
        outer = np.exp(-2j * np.pi * ((c[:, None, None] * b[:, None]) / n + (b[:, None] * b) / q))
        bins = (c[:, None] + p * b).ravel()
        bins = np.minimum(bins, n - bins)
        first = np.zeros(len(bins), bool)
        first[np.unique(bins, return_index=True)[1]] = (
            True  # where c is 0 or p / 2, a bin and its mirror image are here
        )
        self.register_buffer("window", _buffer(window_of(spec).reshape(p, 1, 1, q)), persistent=False)
        self.register_buffer("inner", _buffer(np.stack([inner.real, inner.imag], 1).reshape(-1, p)), persistent=False)
        self.register_buffer("real", _buffer(np.concatenate([outer.real, -outer.imag], 1)), persistent=False)
        self.register_buffer("imaginary", _buffer(np.concatenate([outer.imag, outer.real], 1)), persistent=False)
        self.register_buffer("mel", _buffer((mel_matrix(spec)[:, bins] * first).T), persistent=False)

    def forward(self, waveform: Tensor) -> Tensor:
        """Log-mels (batch, n_mels, frames) of waveforms (batch, samples)."""
        _check(self.spec, waveform)
        with in_float32(waveform):
            signal = _signal(self.spec, waveform)
            batch, p, q = signal.shape[0], self.blocks, self.block
            frames = (signal.shape[1] - self.spec.n_fft) // self.spec.hop + 1
            framed = self._frames(signal, frames) * self.window
            half = self.inner @ framed.reshape(p, -1)
            half = half.reshape(-1, 2, batch * frames, q).transpose(1, 2).reshape(-1, batch * frames, 2 * q)
            power = (half @ self.real).square() + (half @ self.imaginary).square()
            mel = power.transpose(0, 1).reshape(batch, frames, -1) @ self.mel
            return _log(self.spec, mel.transpose(1, 2))

    def _frames(self, signal: Tensor, frames: int) -> Tensor:
        """The blocks of all frames (blocks, batch, frames, block): the first of each, the second of each, ..."""
        per_hop = self.spec.hop // self.block
        hops = -(-self.blocks // per_hop)  # that a frame reaches into
        missing = (hops * per_hop - self.blocks) * self.block
        signal = F.pad(signal, (0, missing)) if missing else signal
        count = frames + hops - 1
        by_hop = signal[:, : count * self.spec.hop].reshape(signal.shape[0], count, per_hop, self.block)
        by_block = by_hop.permute(2, 0, 1, 3)
        return torch.cat([by_block[:, :, i : i + frames] for i in range(hops)])[: self.blocks]


def _log(spec: LogMel, mel: Tensor) -> Tensor:
    if spec.log_floor:
        mel = mel.clamp(min=spec.log_floor)
    logmel = torch.log(mel + spec.log_offset)
    return logmel if (spec.mean, spec.std) == (0.0, 1.0) else (logmel - spec.mean) / spec.std
