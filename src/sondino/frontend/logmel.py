"""The log-mel front-ends, one definition each: a `LogMel`, a frozen dataclass of numbers.

`logmel_numpy.py` computes it with NumPy, for inference; `logmel_torch.py` holds the torch modules for training and
export.
"""

import math
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

_TYPES: dict[type, tuple[type, ...]] = {float: (float, int)}  # a user may write 50 for 50.0


@dataclass(frozen=True)
class LogMel:
    """Everything that fixes a log-mel: log(max(mel, log_floor) + log_offset), then (. - mean) / std.

    The window is a Hann window and the spectrogram a power spectrogram. The defaults are those of S-SONDO.

    Attributes:
        sample_rate: of the waveform, in hertz.
        n_fft: samples of a Fourier transform.
        window_length: samples of the window, zero-padded on both sides to `n_fft` where shorter.
        hop: samples from one frame to the next.
        n_mels: number of mel bands.
        f_min: lower edge of the lowest band, in hertz.
        f_max: upper edge of the highest band, in hertz.
        center: frames centred on multiples of the hop, the ends padded by reflection; otherwise the first
            frame begins with the first sample and an incomplete frame at the end is dropped.
        log_offset: added to the mel power before the logarithm.
        mean: taken from the log-mel.
        std: divides the log-mel.
        periodic: of the window; otherwise it is symmetric.
        mel_scale: "slaney", triangles of equal area; "kaldi", triangles of height 1 on mel = 1127 ln(1 + f / 700).
        preemphasis: p of x[t + 1] - p x[t], taken of the waveform first; it shortens it by a sample. 0: off.
        log_floor: what mel power is raised to where it is less. 0: off.
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
    periodic: bool = True
    mel_scale: Literal["slaney", "kaldi"] = "slaney"
    preemphasis: float = 0.0
    log_floor: float = 0.0

    @property
    def minimum_samples(self) -> int:
        """The fewest samples for one frame: a full one, or what reflection padding needs."""
        return (self.n_fft // 2 + 1 if self.center else self.n_fft) + bool(self.preemphasis)

    def samples_for(self, frames: int) -> int:
        """The fewest samples for this many frames (at least one)."""
        whole = (max(frames, 1) - 1) * self.hop + (self.n_fft % 2 if self.center else self.n_fft)
        return max(self.minimum_samples, whole + bool(self.preemphasis))

    def as_dict(self) -> dict[str, Any]:
        """For config.json; `from_dict` reads it back."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "LogMel":
        """From what `as_dict` returned.

        Raises:
            ValueError: a value is missing, unknown or of another type.
        """
        kinds = {field.name: type(field.default) for field in fields(cls)}
        wrong = list((kinds.keys() ^ values.keys()) - {"log_floor"})  # which bundles of version 0.1.0 do not name
        wrong += [n for n, kind in kinds.items() if n in values and not isinstance(values[n], _TYPES.get(kind, kind))]
        if wrong:
            raise ValueError(f"a front-end with {', '.join(sorted(set(wrong)))} missing, unknown or of another type")
        return cls(**values)


STUDENT_LOGMEL = LogMel()
"""All students' front-end (S-SONDO, arXiv 2604.24933): 10 s at 32 kHz give 128 x 624."""

RATES = (16000, 32000, 48000, 96000, 256000)
"""Sample rates that a student can be trained at, in hertz. The published front-ends are at 32000."""

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

EFFICIENTAT_LOGMEL = LogMel(
    window_length=800,
    hop=320,
    f_min=0.0,
    f_max=15000.0,
    center=True,
    log_offset=1e-5,
    mean=-4.5,
    std=5.0,
    periodic=False,
    mel_scale="kaldi",
    preemphasis=0.97,
)
"""EfficientAT's front-end (arXiv 2211.04772): 10 s at 32 kHz give 128 x 1000."""

PANNS_LOGMEL = LogMel(
    hop=320,
    n_mels=64,
    f_min=50.0,
    f_max=14000.0,
    center=True,
    log_offset=0.0,
    log_floor=1e-10,
    std=math.log(10.0) / 10.0,
)
"""PANNs' front-end (arXiv 1912.10211), in decibels: 10 s at 32 kHz give 64 x 1001."""


def at_rate(spec: LogMel, rate: int) -> LogMel:
    """A published front-end for another sample rate; at its own rate it is returned as it is.

    Window and hop keep their times, so that the frames of a second are as many. The transform is the next power of two
    of samples. As many bands reach from the same lowest frequency to half the rate, so that the net stays the same.

    Args:
        spec: the published front-end.
        rate: hertz.
    """
    if rate == spec.sample_rate:
        return spec
    scale = rate / spec.sample_rate
    window = round(spec.window_length * scale)
    n_fft = 1 << (window - 1).bit_length()
    # A sound's mel power grows with the square of the window's samples and with the bins in a band. Offset, floor and
    # mean follow it, so that a sound keeps its log-mel and the offset covers noise of the same level.
    power = scale * n_fft / spec.n_fft
    return replace(
        spec,
        sample_rate=rate,
        n_fft=n_fft,
        window_length=window,
        hop=round(spec.hop * scale),
        f_max=rate / 2,
        log_offset=spec.log_offset * power,
        log_floor=spec.log_floor * power,
        mean=spec.mean + math.log(power),
    )


def with_hop(spec: LogMel, seconds: float) -> LogMel:
    """A front-end with another time from one frame to the next.

    Args:
        spec: any front-end.
        seconds: rounded to whole samples.

    Raises:
        ValueError: longer than the window, so that samples between two frames would be left out, or under a sample.
    """
    hop = round(seconds * spec.sample_rate)
    if not 1 <= hop <= spec.window_length:
        raise ValueError(
            f"a hop of {seconds:g} s: give at most the window, {spec.window_length / spec.sample_rate:g} s"
        )
    return replace(spec, hop=hop)


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
    length = samples - bool(spec.preemphasis)
    padded = length + 2 * (spec.n_fft // 2) if spec.center else length
    return (padded - spec.n_fft) // spec.hop + 1


def resampled_length(samples: int, rate: int, to_rate: int) -> int:
    """Samples that a waveform of so many, at a rate (hertz), has once it is resampled to another."""
    return (2 * samples * to_rate + rate) // (2 * rate)


def _slaney_hz(mels: NDArray[np.float64]) -> NDArray[np.float64]:
    """Slaney's mel scale back to hertz: 3 mels per 200 Hz up to 1 kHz, then 27 mels for each factor of 6.4."""
    linear = mels * (200.0 / 3.0)
    logarithmic = 1000.0 * 6.4 ** ((mels - 15.0) / 27.0)
    return np.where(mels < 15.0, linear, logarithmic)


def _slaney_mel(hz: float) -> float:
    return hz * 3.0 / 200.0 if hz < 1000.0 else 15.0 + 27.0 * math.log(hz / 1000.0) / math.log(6.4)


def mel_matrix(spec: LogMel) -> NDArray[np.float64]:
    """The mel filterbank (n_mels, n_fft // 2 + 1)."""
    hz = np.arange(spec.n_fft // 2 + 1, dtype=np.float64) * (spec.sample_rate / spec.n_fft)
    if spec.mel_scale == "kaldi":
        bins = 1127.0 * np.log1p(hz / 700.0)
        ends = 1127.0 * np.log1p(np.array([spec.f_min, spec.f_max]) / 700.0)
        edges = np.linspace(ends[0], ends[1], spec.n_mels + 2)
    else:
        bins = hz
        edges = _slaney_hz(np.linspace(_slaney_mel(spec.f_min), _slaney_mel(spec.f_max), spec.n_mels + 2))
    low, peak, high = edges[:-2, None], edges[1:-1, None], edges[2:, None]
    triangles = np.maximum(np.minimum((bins - low) / (peak - low), (high - bins) / (high - peak)), 0.0)
    if spec.mel_scale == "kaldi":
        triangles[:, -1] = 0.0  # Kaldi leaves out the bin at half the sample rate
        return triangles
    return triangles * (2.0 / (high - low))


def window_of(spec: LogMel) -> NDArray[np.float64]:
    """The Hann window (n_fft,), centred in the frame."""
    n = spec.window_length
    window = 0.5 - 0.5 * np.cos(2.0 * np.pi * np.arange(n) / (n if spec.periodic else n - 1))
    left = (spec.n_fft - n) // 2
    return np.pad(window, (left, spec.n_fft - n - left))
