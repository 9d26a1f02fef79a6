"""The contract of an encoder, its checker, and the one loop that turns clips of any length into vectors.

An encoder is anything with four attributes and one method; teachers and students, torch or not, are encoders.
"""

import hashlib
import json
import math
import numbers
from collections.abc import Callable, Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from sondino import audio
from sondino.audio import ShortPolicy
from sondino.errors import EncoderError

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
    for waveform in waveforms:
        pieces, _, real = audio.windows(
            waveform,
            encoder.sample_rate,
            encoder.window,
            getattr(encoder, "hop", None),
            short,
            int(getattr(encoder, "minimum", 0)),
        )
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
        vectors[end - 1] if len(w) == 1 else audio.merge(vectors[end - len(w) : end], w)
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
        raise EncoderError(f"encoder {encoder.name!r} failed on a {shape} batch: {_said(error)}") from error
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
    return hashlib.sha256(json.dumps([*about, heard(encoder)]).encode()).hexdigest()


def heard(encoder: Encoder) -> str:
    """A sha256 (hex) of the encoder's answer to two fixed sounds: a noise, and the same noise fading out.

    Taken from eight random projections of the vectors, rounded to a thousandth: fine enough for any retraining,
    coarse enough that another number of threads or another processor does not make old targets useless.
    """
    samples = _samples(encoder, 1.0)
    noise = _noise(1, samples)[0]
    fading = noise * np.linspace(1, 0, samples, dtype=np.float32)
    vectors = _embed(encoder, np.stack([noise, fading])).astype(np.float64)
    scale = float(np.sqrt(np.mean(vectors**2))) or 1.0
    directions = np.random.default_rng(0).standard_normal((vectors.shape[1], 8)) / math.sqrt(vectors.shape[1])
    rounded = np.round(vectors @ directions / scale, 3) + 0.0  # + 0.0 makes -0 and 0 the same bytes
    return hashlib.sha256(rounded.tobytes() + f"{scale:.3g}".encode()).hexdigest()


def check_encoder(encoder: Any) -> list[str]:
    """Every fault of an encoder at once, each a sentence; empty when it keeps the contract.

    Looks at the attributes, then embeds silence, noise, noise with a NaN, short and long sounds, one alone and
    several together, and the same twice. An encoder that offers `lookup(ids)` in place of `embed` (precomputed
    vectors) is asked for its attributes alone.
    """
    faults = _attribute_faults(encoder)
    if faults or hasattr(encoder, "lookup"):
        return faults
    window = encoder.window
    samples = _samples(encoder, 1.0)
    tried = f"{samples} samples"

    noise = _noise(3, samples)
    kept = noise.copy()
    together = _attempt(encoder, noise, f"3 waveforms of noise ({tried})", faults)
    if not np.array_equal(noise, kept):
        faults.append("embed writes on the waveforms it is given: work on a copy")
        noise = kept.copy()
    alone = _attempt(encoder, noise[:1], f"1 waveform of noise ({tried})", faults)
    _attempt(encoder, np.zeros((2, samples), dtype=np.float32), f"silence ({tried})", faults)
    if together is not None:
        again = _attempt(encoder, noise.copy(), "noise a second time", faults)
        if again is not None and _apart(together, again) > 1e-6:
            faults.append(
                f"embed gives other vectors for the same noise a second time (off by {_apart(together, again):.1e}): "
                "switch off dropout, augmentation and random crops"
            )
        if alone is not None and _apart(together[:1], alone) > 1e-3:
            faults.append(
                f"embed gives another vector for a waveform alone than in a batch of 3 (off by "
                f"{_apart(together[:1], alone):.1e}): switch off batch statistics and padding to the batch"
            )
        if np.array_equal(together[0], together[1]):
            faults.append("embed gives the same vector for two different noises: it does not listen")
        _check_nan(encoder, noise, together, faults)

    if window is None:
        least = max(int(getattr(encoder, "minimum", 0)), 1)
        lengths = sorted({least, least + 1, _seconds(encoder, 0.3, least), _seconds(encoder, 12.5, least)})
        for length in lengths:
            what = f"1 waveform of {length} samples"
            before = len(faults)
            _attempt(encoder, _noise(1, length), what, faults)
            if len(faults) > before and length <= least + 1:
                faults[-1] += " (say the fewest samples it takes as `minimum`, or the seconds it wants as `window`)"
    else:
        for seconds in (0.4 * window, window + 1 / encoder.sample_rate, 2.5 * window):
            length = max(1, round(seconds * encoder.sample_rate))
            try:
                embed_clips(encoder, [_noise(1, length)[0]])
            except Exception as error:
                fault = f"a clip of {length} samples, cut into its windows, fails: {_said(error)}"
                if not faults:  # what a whole window does wrong is said above
                    faults.append(fault)
    return faults


def _attribute_faults(encoder: Any) -> list[str]:
    faults = []

    def need(attribute: str, holds: Callable[[Any], bool], what: str, optional: bool = False) -> None:
        try:
            value = getattr(encoder, attribute)
        except AttributeError:
            if not optional:
                faults.append(f"it has no attribute `{attribute}`, {what}")
            return
        if not (optional and value is None) and not holds(value):
            faults.append(f"`{attribute}` is {value!r}, not {what}")

    need("name", lambda v: isinstance(v, str) and bool(v.strip()), "a name that is not empty")
    need("sample_rate", lambda v: _whole(v) and v > 0, "a whole number of hertz above 0")
    need("dim", lambda v: _whole(v) and v > 0, "the whole number of values in a vector")
    if not hasattr(encoder, "window"):
        faults.append("it has no attribute `window`, seconds of sound it takes at once, or None for any length")
    else:
        need("window", _positive, "a number of seconds above 0, or None for any length", optional=True)
    need("embed", callable, "a method from (batch, samples) to (batch, dim)")
    need("hop", _positive, "a number of seconds above 0", optional=True)
    need("batch_size", lambda v: _whole(v) and v > 0, "a whole number of waveforms above 0", optional=True)
    need("minimum", lambda v: _whole(v) and v >= 0, "a whole number of samples", optional=True)
    need("fingerprint", lambda v: isinstance(v, str) and bool(v), "a string that changes with the vectors", True)
    if not faults and encoder.window is not None:
        hop = getattr(encoder, "hop", None)
        if round(encoder.window * encoder.sample_rate) < 1:
            faults.append(f"its window of {encoder.window} s holds no sample at {encoder.sample_rate} Hz")
        if hop is not None and hop > encoder.window * (1 + 1e-9):
            faults.append(f"its hop of {hop} s is longer than its window of {encoder.window} s: sound is lost")
    return faults


def _check_nan(encoder: Encoder, noise: Array, clean: Array, faults: list[str]) -> None:
    """A NaN in one waveform may spoil its own vector, or be refused, but must not touch its neighbours."""
    spoilt = noise.copy()
    spoilt[1, len(spoilt[1]) // 2] = np.nan
    try:
        vectors = np.asarray(encoder.embed(spoilt))
    except Exception:
        return
    if vectors.shape == clean.shape and not _apart(vectors[[0, 2]], clean[[0, 2]]) <= 1e-3:
        faults.append("a NaN in one waveform changes the vectors of the others in its batch")


def _attempt(encoder: Encoder, waveforms: Array, what: str, faults: list[str]) -> Array | None:
    """The vectors, or None with the faults noted."""
    try:
        vectors = encoder.embed(waveforms)
    except Exception as error:
        faults.append(f"embed fails on {what}: {_said(error)}")
        return None
    if not isinstance(vectors, np.ndarray):
        faults.append(f"embed gives a {type(vectors).__name__} for {what}, not a NumPy array")
        return None
    expected = (len(waveforms), encoder.dim)
    if vectors.shape != expected:
        faults.append(f"embed gives shape {vectors.shape} for {what}, not {expected}")
        return None
    if vectors.dtype != np.float32:
        faults.append(f"embed gives {vectors.dtype} for {what}, not float32")
    if not np.isfinite(vectors).all():
        faults.append(f"embed gives NaN or infinite values for {what}")
        return None
    return vectors


def _apart(a: NDArray[Any], b: NDArray[Any]) -> float:
    """Largest difference relative to the largest value."""
    return float(np.abs(a - b).max() / max(float(np.abs(a).max()), 1e-12))


def _samples(encoder: Encoder, seconds: float) -> int:
    """A length that the encoder takes in one call: its window, or about so many seconds."""
    if encoder.window is not None:
        return max(1, round(encoder.window * encoder.sample_rate))
    return _seconds(encoder, seconds, int(getattr(encoder, "minimum", 0)))


def _seconds(encoder: Encoder, seconds: float, least: int) -> int:
    return max(least, round(seconds * encoder.sample_rate), 1)


def _noise(count: int, samples: int) -> Array:
    return (0.1 * np.random.default_rng(0).standard_normal((count, samples))).astype(np.float32)


def _whole(value: Any) -> bool:
    return isinstance(value, numbers.Integral) and not isinstance(value, bool)


def _positive(value: Any) -> bool:
    return (
        isinstance(value, numbers.Real)
        and not isinstance(value, bool)
        and math.isfinite(float(value))
        and float(value) > 0
    )


def _said(error: Exception) -> str:
    first = (str(error).strip().splitlines() or [""])[0]
    return f"{type(error).__name__}: {first}" if first else type(error).__name__
