"""The contract of an encoder, its checker, and the one loop that turns clips of any length into vectors.

An encoder is anything with four attributes and one method; teachers and students, torch or not, are encoders.
"""

import hashlib
import json
import math
from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from sondino.audio.windows import ShortPolicy, Windowing, merge, stack_windows
from sondino.errors import EncoderError
from sondino.text import format_error

Array = NDArray[np.float32]

DEFAULT_BATCH = 16


@runtime_checkable
class Encoder(Protocol):
    """Sound in, one vector a waveform out.

    Optional attributes, read with `getattr`: `hop` (seconds from one window to the next, default `window`),
    `batch_size` (waveforms a call, default 16), `minimum` (fewest samples a call takes, default 0),
    `fingerprint` (a string that changes whenever the vectors would), `licence`, `notice`; and `workers` above 1 with
    `embed_batch` (as `embed`, called from so many threads at once).
    """

    @property
    def name(self) -> str:
        """What it is called in reports."""
        ...

    @property
    def sample_rate(self) -> int:
        """Of the waveforms it takes, in hertz."""
        ...

    @property
    def dim(self) -> int:
        """Length of its vectors."""
        ...

    @property
    def window(self) -> float | None:
        """Seconds of sound that it takes at once; None when it takes any length."""
        ...

    def embed(self, waveforms: Array) -> Array:
        """(batch, samples) float32 mono waveforms to (batch, dim) float32 vectors."""
        ...


def embed_clips(encoder: Encoder, waveforms: Sequence[Array], short: ShortPolicy = "pad") -> Array:
    """One vector a clip: each is cut into the encoder's windows, whose vectors are averaged by real samples.

    Windows of equal length go through the encoder together, also across clips, `batch_size` at a time.

    Args:
        encoder: any encoder.
        waveforms: mono clips (samples,) at the encoder's rate, of any lengths.
        short: what happens to a clip that is shorter than a window (see `audio.windows`).

    Returns:
        (n, dim) float32, row for row as the clips.

    Raises:
        AudioError: a clip has no samples.
        EncoderError: NaN or infinite vectors, another shape than (batch, dim), or an exception of the encoder.
    """
    batches: dict[int, list[tuple[int, Array]]] = {}  # window length -> (row of the window, its samples)
    weights: list[NDArray[np.float64]] = []
    rows = 0
    windowing = Windowing(encoder.window, getattr(encoder, "hop", None), short)
    minimum = int(getattr(encoder, "minimum", 0))
    for waveform in waveforms:
        pieces, _, real = stack_windows(waveform, encoder.sample_rate, windowing, minimum)
        for piece in pieces:
            batches.setdefault(len(piece), []).append((rows, piece))
            rows += 1
        weights.append(np.asarray(real, dtype=np.float64))

    vectors = np.empty((rows, encoder.dim), dtype=np.float32)
    size = max(1, int(getattr(encoder, "batch_size", DEFAULT_BATCH)))
    for group in batches.values():
        for start in range(0, len(group), size):
            part = group[start : start + size]
            vectors[[row for row, _ in part]] = _embed(encoder, np.stack([piece for _, piece in part]))

    ends = np.cumsum([len(w) for w in weights], dtype=int)
    merged = [
        vectors[end - 1] if len(w) == 1 else merge(vectors[end - len(w) : end], w)
        for w, end in zip(weights, ends, strict=True)
    ]
    return np.stack(merged).astype(np.float32) if merged else np.empty((0, encoder.dim), dtype=np.float32)


def _embed(encoder: Encoder, batch: Array) -> Array:
    """One call of the encoder, its answer checked."""
    batch = np.ascontiguousarray(batch, dtype=np.float32)
    try:
        vectors = np.asarray(encoder.embed(batch))
    except EncoderError:
        raise
    except Exception as error:
        shape = "x".join(map(str, batch.shape))
        raise EncoderError(f"encoder {encoder.name!r} failed on a {shape} batch: {format_error(error)}") from error
    if vectors.shape != (len(batch), encoder.dim):
        raise EncoderError(
            f"encoder {encoder.name!r} gave an array of shape {vectors.shape} for {len(batch)} waveforms, "
            f"but its dimension is {encoder.dim}: expected {(len(batch), encoder.dim)}"
        )
    bad = np.flatnonzero(~np.isfinite(vectors).all(axis=1))
    if len(bad):
        raise EncoderError(
            f"encoder {encoder.name!r} gave NaN or infinite values for {len(bad)} of {len(batch)} waveforms "
            f"(loudest sample of the first: {np.abs(batch[bad[0]]).max():.3g}): the encoder is at fault, or its weights"
        )
    return vectors.astype(np.float32, copy=False)


def fingerprint(encoder: Encoder) -> str:
    """A sha256 (hex) that changes whenever the encoder's vectors would.

    The encoder's own `fingerprint` where it has one; otherwise made of its attributes and of its response to a
    fixed noise, so that a retrained encoder of the same name never passes for the old one.
    """
    own = getattr(encoder, "fingerprint", None)
    if isinstance(own, str) and own:
        return own
    about = [encoder.name, encoder.sample_rate, encoder.dim, encoder.window, getattr(encoder, "hop", None)]
    return hashlib.sha256(json.dumps([*about, response_fingerprint(encoder)]).encode()).hexdigest()


def response_fingerprint(encoder: Encoder) -> str:
    """A sha256 (hex) of the encoder's answer to two fixed sounds: a noise, and the same noise fading out.

    Taken from eight random projections of the vectors, rounded to a thousandth: fine enough for any retraining,
    coarse enough that another number of threads or another processor does not make old targets useless.
    """
    samples = call_length(encoder, 1.0)
    noise = fixed_noise(1, samples)[0]
    fading = noise * np.linspace(1, 0, samples, dtype=np.float32)
    vectors = _embed(encoder, np.stack([noise, fading])).astype(np.float64)
    scale = float(np.sqrt(np.mean(vectors**2))) or 1.0
    directions = np.random.default_rng(0).standard_normal((vectors.shape[1], 8)) / math.sqrt(vectors.shape[1])
    rounded = np.round(vectors @ directions / scale, 3) + 0.0  # + 0.0 makes -0 and 0 the same bytes
    return hashlib.sha256(rounded.tobytes() + f"{scale:.3g}".encode()).hexdigest()


def call_length(encoder: Encoder, seconds: float) -> int:
    """A length that the encoder takes in one call: its window, or about so many seconds."""
    if encoder.window is not None:
        return max(1, round(encoder.window * encoder.sample_rate))
    return samples_of(encoder, seconds, int(getattr(encoder, "minimum", 0)))


def samples_of(encoder: Encoder, seconds: float, least: int) -> int:
    """Samples of so many seconds at the encoder's rate, `least` at the least."""
    return max(least, round(seconds * encoder.sample_rate), 1)


def fixed_noise(count: int, samples: int) -> Array:
    """The same noise (count, samples) at every call."""
    return (0.1 * np.random.default_rng(0).standard_normal((count, samples))).astype(np.float32)
