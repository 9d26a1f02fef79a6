"""Log-mels with NumPy, for inference: of waveforms at the front-end's own sample rate, or at another one.

At another rate nothing is resampled. The transform spans as many seconds as the front-end's, so its bins stand on the
same hertz; the mel filterbank takes them, weighted by the response that the resampler would have had.
"""

import math
import threading
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import lru_cache
from typing import Any

import numpy as np
import soxr
from numpy.typing import NDArray

from sondino.frontend.logmel import LogMel, mel_matrix, n_frames, resampled_length, window_of

Bands = tuple[slice, slice, NDArray[np.float32]]
"""A group of mel bands, the FFT bins that they use, and the weights (bins, bands)."""

FRAMES, GROUP = 192, 8
"""Frames transformed, and bands summed, at once. A band uses a few bins, so groups save most of the product; and each
product is so small that OpenBLAS starts no threads for it, which would take the cores from the net."""

BIN_ERROR = 1e-3
"""By how much a transform at another rate may be longer or shorter than the front-end's, as a share of it. Embeddings
at 44.1 kHz, where it is 0.0009, have a mean cosine of 0.99999 to those of resampled sound (benchmarks/own_rate.py)."""

LARGEST_FACTOR = 60  # prime factor of a transform: above it NumPy takes longer than the resampler
MOST_SAMPLES = 1 << 14  # of a transform
LOWEST_SHARE = 4  # a rate is at most so many times lower than the front-end's
KEPT_RATES = 32  # and front-ends whose windows and filterbanks are kept
LEAST_OFFSET = 1e-5  # that is added before the logarithm: under it every bin counts, however silent

_kept = threading.local()


@dataclass(frozen=True)
class _Transform:
    """How frames of a rate are transformed.

    Attributes:
        samples: of a frame.
        window: (samples,), times samples.
        bins: that the filterbank uses, from the lowest.
        groups: the filterbank, in groups of neighbouring bands.
        hop: samples from one frame to the next, where it is not whole: frames begin at the nearest sample.
        shift: samples at which the first frame would begin, so that its middle is where the front-end's is.
    """

    samples: int
    window: NDArray[np.float32]
    bins: int
    groups: list[Bands]
    hop: Fraction
    shift: Fraction

    @property
    def cycle(self) -> int:
        """Frames after which the places repeat themselves."""
        return self.hop.denominator

    def start_of(self, frame: int) -> int:
        """The first sample of a frame."""
        hop, shift = self.hop, self.shift
        whole = 2 * hop.denominator * shift.denominator  # of frame * hop + shift + 1 / 2
        above = (
            2 * frame * hop.numerator * shift.denominator + (2 * shift.numerator + shift.denominator) * hop.denominator
        )
        return max(0, above // whole)

    def frames_before(self, sample: int) -> int:
        """How many frames begin at a sample or before it, at least."""
        return math.floor((sample + 1) / self.hop) + 1


def log_mel(spec: LogMel, waveform: NDArray[np.float32], rate: int | None = None) -> NDArray[np.float32]:
    """The log-mel (n_mels, frames) of a waveform (samples,), float32; agrees with the torch forms to about 1e-5.

    Frames of zeros at the end, such as those of a padded window, cost next to nothing.

    Args:
        spec: the front-end.
        waveform: (samples,).
        rate: hertz of the waveform, one that `takes_rate` takes; None: the front-end's. The frames are as many as those
            of the resampled waveform.

    Raises:
        ValueError: fewer than `spec.minimum_samples` at the front-end's rate, or a rate that is not taken.
    """
    rate = spec.sample_rate if rate is None else rate
    samples = resampled_length(len(waveform), rate, spec.sample_rate)
    frames = n_frames(spec, samples)
    if frames == 0:
        raise ValueError(f"{samples} samples are too short for a log-mel: pad to {spec.minimum_samples} or more")
    signal = waveform.astype(np.float32, copy=False)
    if spec.preemphasis:
        signal = signal[1:] - np.float32(spec.preemphasis) * signal[:-1]
    if spec.center:
        signal = np.pad(signal, spec.n_fft // 2, mode="reflect")
    transform = _transform(spec, rate)
    missing = transform.start_of(frames - 1) + transform.samples - len(signal)
    signal = np.pad(signal, (0, missing)) if missing > 0 else np.ascontiguousarray(signal)
    out = np.zeros((frames, spec.n_mels), np.float32)
    nonzero = min(frames, transform.frames_before(_last_sample(signal)))
    for first in range(0, nonzero, FRAMES):
        last = min(first + FRAMES, nonzero)
        framed, spectrum, power = [array[: last - first] for array in _scratch(transform.samples, transform.bins)]
        for residue in range(min(transform.cycle, last - first)):
            # (frames, samples), a view: frames of one residue are equally far apart
            rows = framed[residue :: transform.cycle]
            at, apart = transform.start_of(first + residue), transform.hop.numerator
            every = np.ndarray(rows.shape, np.float32, signal, 4 * at, (4 * apart, 4))
            np.multiply(every, transform.window, out=rows)
        np.fft.rfft(framed, norm="forward", out=spectrum)  # (frames, samples // 2 + 1) complex
        parts = spectrum.view(np.float32)  # real and imaginary parts in turn: (frames, 2 * bins)
        np.square(parts, out=parts)
        used = parts[:, : 2 * transform.bins]
        np.add(used[:, 0::2], used[:, 1::2], out=power)  # (frames, bins)
        for bands, bins, weights in transform.groups:
            np.matmul(power[:, bins], weights, out=out[first:last, bands])  # (frames, bins) @ (bins, bands)
    if spec.log_floor:
        np.maximum(out, np.float32(spec.log_floor), out=out)
    if spec.log_offset:
        out += np.float32(spec.log_offset)
    np.log(out, out=out)
    if (spec.mean, spec.std) != (0.0, 1.0):
        out -= np.float32(spec.mean)
        out /= np.float32(spec.std)
    return np.ascontiguousarray(out.T)  # (n_mels, frames)


def takes_rate(spec: LogMel, rate: int) -> bool:
    """Whether `log_mel` takes waveforms of a rate (hertz): the front-end's own, or one where it is as good.

    Centred front-ends and those with pre-emphasis take only their own. Where little is added before the logarithm, and
    at rates under a quarter of the front-end's, what the resampler leaves in silent bands would be missing.
    """
    if rate == spec.sample_rate:
        return True
    if spec.center or spec.preemphasis or spec.log_offset < LEAST_OFFSET or LOWEST_SHARE * rate < spec.sample_rate:
        return False
    return _samples_at(spec, rate) is not None


@lru_cache(maxsize=KEPT_RATES)
def _samples_at(spec: LogMel, rate: int) -> int | None:
    """Samples of a transform at another rate, those that are transformed fastest; None where none is near enough."""
    exact = Fraction(spec.n_fft * rate, spec.sample_rate)
    if exact > MOST_SAMPLES:
        return None
    if exact.denominator == 1 and max(_factors(int(exact)), default=1) <= LARGEST_FACTOR:
        return int(exact)
    near = range(math.ceil(exact * (1 - BIN_ERROR)), math.floor(exact * (1 + BIN_ERROR)) + 1)
    fast = [samples for samples in near if max(_factors(samples), default=1) <= LARGEST_FACTOR]
    return min(fast, key=lambda samples: sum(_factors(samples)), default=None)


def _factors(number: int) -> list[int]:
    """Its prime factors."""
    found, factor = [], 2
    while factor * factor <= number:
        while number % factor == 0:
            found.append(factor)
            number //= factor
        factor += 1
    return [*found, number] if number > 1 else found


@lru_cache(maxsize=KEPT_RATES)
def _transform(spec: LogMel, rate: int) -> _Transform:
    mel = mel_matrix(spec)
    samples, window = spec.n_fft, window_of(spec)
    if rate != spec.sample_rate:
        nearest = _samples_at(spec, rate)
        if nearest is None:
            raise ValueError(f"a log-mel of sound at {rate} Hz: resample it to {spec.sample_rate} Hz first")
        samples = nearest
        window = window_of(replace(spec, n_fft=samples, window_length=round(spec.window_length * samples / spec.n_fft)))
        mel = mel[:, : samples // 2 + 1] * _response(spec, rate, samples) * (spec.n_fft / samples) ** 2
    mel = mel.astype(np.float32)
    groups: list[Bands] = []
    for first in range(0, spec.n_mels, GROUP):
        bands = slice(first, min(first + GROUP, spec.n_mels))
        used = np.flatnonzero(mel[bands].any(axis=0))
        bins = slice(int(used[0]), int(used[-1]) + 1) if len(used) else slice(0, 1)
        groups.append((bands, bins, np.ascontiguousarray(mel[bands, bins].T)))
    hop = Fraction(spec.hop * rate, spec.sample_rate)
    shift = (Fraction(spec.n_fft * rate, spec.sample_rate) - samples) / 2
    # Divided by its samples the transform stays in float32, in NumPy's other norm it is float64: so times them.
    used_bins = max(bins.stop for _, bins, _ in groups)
    return _Transform(samples, (window * samples).astype(np.float32), used_bins, groups, hop, shift)


def _response(spec: LogMel, rate: int, samples: int) -> NDArray[np.float64]:
    """The power that the resampler leaves of each bin, (bins,): 1 but for the highest frequencies of the lower rate."""
    # Of the resampler's answer to a single sample, at a place that both rates have.
    step = rate // math.gcd(rate, spec.sample_rate)
    at = step * math.ceil(4 * max(spec.n_fft, spec.n_fft * rate // spec.sample_rate) / step)
    impulse = np.zeros(2 * at + 1, np.float32)
    impulse[at] = 1
    answer = soxr.resample(impulse, rate, spec.sample_rate).astype(np.float64) * (rate / spec.sample_rate)
    power = np.abs(np.fft.rfft(answer)) ** 2
    hertz = np.fft.rfftfreq(len(answer), 1 / spec.sample_rate)
    bins = min(samples // 2, spec.n_fft // 2) + 1
    return np.interp(np.arange(bins) * (rate / samples), hertz, power, right=0.0)


def _scratch(samples: int, bins: int) -> tuple[Any, ...]:
    """This thread's buffers for frames, spectra and powers: allocating them for each clip costs more than the FFT."""
    if getattr(_kept, "size", None) != (samples, bins):
        _kept.size = (samples, bins)
        _kept.arrays = (
            np.empty((FRAMES, samples), np.float32),
            np.empty((FRAMES, samples // 2 + 1), np.complex64),
            np.empty((FRAMES, bins), np.float32),
        )
    arrays: tuple[Any, ...] = _kept.arrays  # numpy's types have a transform's `out` in float64 alone
    return arrays


def _last_sample(signal: NDArray[np.float32]) -> int:
    """Index of the last sample that is not zero; -1 where all are. Looks from the end, in blocks."""
    end = len(signal)
    while end > 0:
        start = max(0, end - 4096)
        if end > start and signal[end - 1]:
            return end - 1
        found = np.flatnonzero(signal[start:end])
        if len(found):
            return start + int(found[-1])
        end = start
    return -1
