"""The checker of the encoder contract."""

import math
import numbers
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sondino.audio.signal import fixed_noise
from sondino.encoder.encoder import (
    Array,
    Encoder,
    call_length,
    embed_clips,
    resolve,
    samples_of,
)
from sondino.text import format_error


def check_encoder(encoder: Any) -> list[str]:
    """Check an encoder: a list of error messages, one a fault; empty if it keeps the contract.

    Looks at the attributes, then embeds silence, noise, noise with a NaN, short and long sounds, one alone and
    several together, and the same twice. An encoder that offers `lookup(ids)` in place of `embed` (precomputed
    embeddings) has its attributes checked alone.

    Args:
        encoder: any object.

    Returns:
        An error message for each fault; an empty list for a valid encoder.

    Examples:
        >>> sondino.check_encoder(sondino.load("run/bundle"))
        []
    """
    faults = _attribute_faults(encoder)
    if faults or hasattr(encoder, "lookup"):
        return faults
    window = encoder.window
    samples = call_length(encoder, 1.0)
    tried = f"{samples} samples"

    noise = fixed_noise(3, samples)
    kept = noise.copy()
    together = _attempt(encoder, noise, f"3 waveforms of noise ({tried})", faults)
    if not np.array_equal(noise, kept):
        faults.append("embed changes the waveforms that it is given: work on a copy")
        noise = kept.copy()
    alone = _attempt(encoder, noise[:1], f"1 waveform of noise ({tried})", faults)
    _attempt(encoder, np.zeros((2, samples), dtype=np.float32), f"silence ({tried})", faults)
    if together is not None:
        again = _attempt(encoder, noise.copy(), "noise a second time", faults)
        if again is not None and _apart(together, again) > 1e-6:
            faults.append(
                f"embed gives other embeddings for the same noise a second time (by {_apart(together, again):.1e}): "
                "switch off dropout, augmentation and random crops"
            )
        if alone is not None and _apart(together[:1], alone) > 1e-3:
            faults.append(
                f"embed gives another embedding for a waveform alone than in a batch of 3 (by "
                f"{_apart(together[:1], alone):.1e}): switch off batch statistics and padding to the batch"
            )
        if np.array_equal(together[0], together[1]):
            faults.append("embed gives the same embedding for two different noises: it does not depend on its input")
        _check_nan(encoder, noise, together, faults)

    if window is None:
        least = max(resolve(encoder).minimum, 1)
        lengths = sorted({least, least + 1, samples_of(encoder, 0.3, least), samples_of(encoder, 12.5, least)})
        for length in lengths:
            what = f"1 waveform of {length} samples"
            before = len(faults)
            _attempt(encoder, fixed_noise(1, length), what, faults)
            if len(faults) > before and length <= least + 1:
                faults[-1] += " (give the fewest samples that it takes as `minimum`, or its seconds as `window`)"
    else:
        for seconds in (0.4 * window, window + 1 / encoder.sample_rate, 2.5 * window):
            length = max(1, round(seconds * encoder.sample_rate))
            try:
                embed_clips(encoder, [fixed_noise(1, length)[0]])
            except Exception as error:
                fault = f"a clip of {length} samples, cut into its windows, fails: {format_error(error)}"
                if not faults:  # what is wrong with a full window is listed above
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
    need("sample_rate", lambda v: _is_whole_number(v) and v > 0, "a whole number of hertz above 0")
    need("dim", lambda v: _is_whole_number(v) and v > 0, "the embedding dimension, a whole number above 0")
    if not hasattr(encoder, "window"):
        faults.append("it has no attribute `window`, seconds of audio of one waveform, or None for any length")
    else:
        need("window", _positive, "a number of seconds above 0, or None for any length", optional=True)
    need("embed", callable, "a method from (batch, samples) to (batch, dim)")
    need("hop", _positive, "a number of seconds above 0", optional=True)
    need("batch_size", lambda v: _is_whole_number(v) and v > 0, "a whole number of waveforms above 0", optional=True)
    need("minimum", lambda v: _is_whole_number(v) and v >= 0, "a whole number of samples", optional=True)
    need("fingerprint", lambda v: isinstance(v, str) and bool(v), "a string that changes with the embeddings", True)
    if not faults and encoder.window is not None:
        hop = resolve(encoder).hop
        if round(encoder.window * encoder.sample_rate) < 1:
            faults.append(f"its window of {encoder.window} s holds no sample at {encoder.sample_rate} Hz")
        if hop is not None and hop > encoder.window * (1 + 1e-9):
            faults.append(
                f"its hop of {hop} s is longer than its window of {encoder.window} s: audio between windows is lost"
            )
    return faults


def _check_nan(encoder: Encoder, noise: Array, clean: Array, faults: list[str]) -> None:
    """A NaN in one waveform may spoil its own embedding, or raise, but must not change the others."""
    spoilt = noise.copy()
    spoilt[1, len(spoilt[1]) // 2] = np.nan
    try:
        embeddings = np.asarray(encoder.embed(spoilt))
    except Exception:
        return
    if embeddings.shape == clean.shape and not _apart(embeddings[[0, 2]], clean[[0, 2]]) <= 1e-3:
        faults.append("a NaN in one waveform changes the embeddings of the others in its batch")


def _attempt(encoder: Encoder, waveforms: Array, what: str, faults: list[str]) -> Array | None:
    """The embeddings, or None with the faults added."""
    try:
        embeddings = encoder.embed(waveforms)
    except Exception as error:
        faults.append(f"embed fails on {what}: {format_error(error)}")
        return None
    if not isinstance(embeddings, np.ndarray):
        faults.append(f"embed gives a {type(embeddings).__name__} for {what}, not a NumPy array")
        return None
    expected = (len(waveforms), encoder.dim)
    if embeddings.shape != expected:
        faults.append(f"embed gives shape {embeddings.shape} for {what}, not {expected}")
        return None
    if embeddings.dtype != np.float32:
        faults.append(f"embed gives {embeddings.dtype} for {what}, not float32")
    if not np.isfinite(embeddings).all():
        faults.append(f"embed gives NaN or infinite values for {what}")
        return None
    return embeddings


def _apart(a: NDArray[Any], b: NDArray[Any]) -> float:
    """Largest difference relative to the largest value."""
    return float(np.abs(a - b).max() / max(float(np.abs(a).max()), 1e-12))


def _is_whole_number(value: Any) -> bool:
    return isinstance(value, numbers.Integral) and not isinstance(value, bool)


def _positive(value: Any) -> bool:
    return (
        isinstance(value, numbers.Real)
        and not isinstance(value, bool)
        and math.isfinite(float(value))
        and float(value) > 0
    )
