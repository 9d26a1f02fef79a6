"""The encoder contract, and the one loop that turns waveforms of any length into embeddings.

An encoder is anything with four attributes and one method; teachers and students, torch or not, are encoders. `resolve`
reads the optional attributes once, where an encoder enters, and fills in their defaults.
"""

import hashlib
import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from sondino.audio.signal import fixed_noise
from sondino.audio.windows import ShortPolicy, Windowing, WindowPolicy, merge, stack_windows
from sondino.errors import EncoderError, OptionError
from sondino.text import format_error

Array = NDArray[np.float32]

DEFAULT_BATCH = 16


@runtime_checkable
class Encoder(Protocol):
    """Audio in, one embedding per waveform out.

    The optional attributes, and what is assumed where one is missing, are those of `ResolvedEncoder`.

    Examples:
        >>> class Energy:
        ...     name, sample_rate, dim, window = "energy", 16000, 1, None
        ...
        ...     def embed(self, waveforms):
        ...         return (waveforms**2).mean(axis=1, keepdims=True)
        >>> isinstance(Energy(), sondino.Encoder)
        True
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
        """Embedding dimension."""
        ...

    @property
    def window(self) -> float | None:
        """Seconds of audio that one waveform holds; None where any length is taken."""
        ...

    def embed(self, waveforms: Array) -> Array:
        """(batch, samples) float32 mono waveforms to (batch, dim) float32 embeddings."""
        ...


@dataclass(frozen=True)
class Costs:
    """What an encoder computes, its front-end not counted; None where something of it cannot be counted.

    Attributes:
        macs: multiply-accumulates for 10 s of audio.
        parameters: weights that the embeddings come from.
    """

    macs: int | None = None
    parameters: int | None = None


@dataclass(frozen=True)
class ResolvedEncoder:
    """An encoder with its optional attributes filled in; itself an encoder.

    Attributes:
        encoder: the encoder itself.
        name: as in `Encoder`.
        sample_rate: as in `Encoder`.
        dim: as in `Encoder`.
        window: as in `Encoder`.
        hop: seconds from one window to the next; None = `window`.
        short: what is done with a clip shorter than a window. Default: "pad".
        window_policy: "all", the default, or "published": full windows only.
        minimum: samples of the shortest waveform that it takes. Default: 0.
        batch_size: waveforms a call. Default: 16.
        workers: recommended number of concurrent calls of `embed_batch`. Default: 1.
        threads: processor threads that it runs on; None: not known.
        licence: of the weights; None: not known.
        notice: a remark on the weights, for the user. Default: empty.
        path: file of the weights; None: not known.
        lookup: maps ids to embeddings (n, dim), where they are precomputed and `embed` takes nothing; else None.
        costs: counts what it computes; None where it cannot.
        takes_rate: whether `prepare` takes waveforms at a rate (hertz). Default: none but `sample_rate`. It, `prepare`
            and `embed_prepared` are read only of an encoder that has all three.
    """

    encoder: Encoder
    name: str
    sample_rate: int
    dim: int
    window: float | None
    hop: float | None
    short: ShortPolicy
    window_policy: WindowPolicy
    minimum: int
    batch_size: int
    workers: int
    threads: int | None
    licence: str | None
    notice: str
    path: Path | None
    lookup: Callable[[list[str]], Array] | None
    costs: Callable[[], Costs] | None
    embed_batch: Callable[[Array], Array]
    """As `embed`, called from `workers` threads at once. Default: `embed`."""
    takes_rate: Callable[[int], bool]
    prepare: Callable[[Array, int], Array]
    """What `embed_prepared` takes of a waveform (samples,) at a rate (hertz) that is taken. Default: the waveform.

    It and `embed_prepared` are called from `workers` threads at once.
    """
    embed_prepared: Callable[[Array], Array]
    """Embeddings (batch, dim) of prepared waveforms (batch, ...), on the calling thread. Default: `embed_batch`."""
    given_fingerprint: str | None

    def embed(self, waveforms: Array) -> Array:
        """(batch, samples) float32 mono waveforms to (batch, dim) float32 embeddings."""
        return self.encoder.embed(waveforms)

    @property
    def windowing(self) -> Windowing:
        """How it cuts clips into windows."""
        return Windowing(self.window, self.hop, self.short, self.window_policy)

    @cached_property
    def fingerprint(self) -> str:
        """A string that changes whenever the embeddings would.

        The encoder's own where it has one; otherwise a sha256 (hex) of its attributes and of its response to a fixed
        noise, so that a retrained encoder of the same name never passes for the old one.
        """
        if self.given_fingerprint is not None:
            return self.given_fingerprint
        facts = [self.name, self.sample_rate, self.dim, self.window, self.hop, response_fingerprint(self)]
        return hashlib.sha256(json.dumps(facts).encode()).hexdigest()


def resolve(encoder: Encoder) -> ResolvedEncoder:
    """Read an encoder's optional attributes; those that are missing or None get their defaults.

    Raises:
        OptionError: it is no encoder, such as the name of one.
    """
    if isinstance(encoder, ResolvedEncoder):
        return encoder
    check_encodes(encoder)

    def optional(attribute: str, default: Any = None) -> Any:
        value = getattr(encoder, attribute, None)
        return default if value is None else value

    path = optional("path")
    embed_batch = optional("embed_batch", encoder.embed)
    # Together or not at all: a class may have a method `prepare` that means something else.
    prepares = all(hasattr(encoder, name) for name in ("takes_rate", "prepare", "embed_prepared"))
    return ResolvedEncoder(
        encoder=encoder,
        name=encoder.name,
        sample_rate=encoder.sample_rate,
        dim=encoder.dim,
        window=encoder.window,
        hop=optional("hop"),
        short=optional("short", "pad"),
        window_policy=optional("window_policy", "all"),
        minimum=int(optional("minimum", 0)),
        batch_size=max(1, int(optional("batch_size", DEFAULT_BATCH))),
        workers=int(optional("workers", 1)),
        threads=optional("threads"),
        licence=optional("licence"),
        notice=optional("notice", ""),
        path=None if path is None else Path(path),
        lookup=optional("lookup"),
        costs=optional("costs"),
        embed_batch=embed_batch,
        takes_rate=optional("takes_rate") if prepares else lambda rate: rate == encoder.sample_rate,
        prepare=optional("prepare") if prepares else lambda waveform, _: waveform,
        embed_prepared=optional("embed_prepared") if prepares else embed_batch,
        given_fingerprint=optional("fingerprint") or None,
    )


def check_encodes(encoder: object) -> None:
    """Raises OptionError where what was given as a model is none."""
    if isinstance(encoder, (str, Path)):
        raise OptionError(f"the model is {str(encoder)!r}, a name or path: open it with sondino.load({str(encoder)!r})")
    if isinstance(encoder, type):
        raise OptionError(f"the model is the class {encoder.__name__}: give an object of it, {encoder.__name__}(...)")
    if not hasattr(encoder, "embed"):
        raise OptionError(f"a {type(encoder).__name__} is no model: give one that sondino.load(...) opened")
    lacking = [name for name in ("name", "sample_rate", "dim", "window") if not hasattr(encoder, name)]
    if lacking:
        raise OptionError(f"the model, a {type(encoder).__name__}, has no {', '.join(lacking)}: see sondino.Encoder")


def embed_clips(encoder: Encoder, waveforms: Sequence[Array], short: ShortPolicy | None = None) -> Array:
    """One embedding a clip: the mean of its windows' embeddings, weighted by their real samples.

    Windows of equal length go through the encoder together, also across clips, `batch_size` at a time.

    Args:
        encoder: any encoder.
        waveforms: mono clips (samples,) at the encoder's rate, of any lengths.
        short: what is done with a clip shorter than a window (see `audio.windows`). None: as the encoder says.

    Returns:
        (n, dim) float32, row for row as the clips.

    Raises:
        AudioError: a clip has no samples.
        EncoderError: NaN or infinite embeddings, another shape than (batch, dim), or an exception of the encoder.
    """
    encoder = resolve(encoder)
    windowing = Windowing(encoder.window, encoder.hop, short or encoder.short)
    batches: dict[int, list[tuple[int, Array]]] = {}  # window length -> (row of the window, its samples)
    weights: list[NDArray[np.float64]] = []
    rows = 0
    for waveform in waveforms:
        pieces, _, real = stack_windows(waveform, encoder.sample_rate, windowing, encoder.minimum)
        for piece in pieces:
            batches.setdefault(len(piece), []).append((rows, piece))
            rows += 1
        weights.append(np.asarray(real, dtype=np.float64))

    embeddings = np.empty((rows, encoder.dim), dtype=np.float32)
    for group in batches.values():
        for start in range(0, len(group), encoder.batch_size):
            part = group[start : start + encoder.batch_size]
            embeddings[[row for row, _ in part]] = _embed(encoder, np.stack([piece for _, piece in part]))

    ends = np.cumsum([len(w) for w in weights], dtype=int)
    merged = [
        embeddings[end - 1] if len(w) == 1 else merge(embeddings[end - len(w) : end], w)
        for w, end in zip(weights, ends, strict=True)
    ]
    return np.stack(merged).astype(np.float32) if merged else np.empty((0, encoder.dim), dtype=np.float32)


def _embed(encoder: Encoder, batch: Array) -> Array:
    """One call of the encoder, its result checked."""
    batch = np.ascontiguousarray(batch, dtype=np.float32)
    try:
        embeddings = np.asarray(encoder.embed(batch))
    except EncoderError:
        raise
    except Exception as error:
        shape = "x".join(map(str, batch.shape))
        raise EncoderError(f"encoder {encoder.name!r} failed on a {shape} batch: {format_error(error)}") from error
    check_shape(encoder, embeddings, len(batch))
    bad = np.flatnonzero(~np.isfinite(embeddings).all(axis=1))
    if len(bad):
        raise EncoderError(
            f"encoder {encoder.name!r} gave NaN or infinite values for {len(bad)} of {len(batch)} waveforms "
            f"(loudest sample of the first: {np.abs(batch[bad[0]]).max():.3g}): the encoder is at fault, or its weights"
        )
    return embeddings.astype(np.float32, copy=False)


def check_shape(encoder: Encoder, embeddings: Array, count: int) -> None:
    """Raises EncoderError if the embeddings of so many waveforms are not (count, dim)."""
    if embeddings.shape != (count, encoder.dim):
        raise EncoderError(
            f"encoder {encoder.name!r} gave an array of shape {embeddings.shape} for {count} waveforms, "
            f"but its dimension is {encoder.dim}: expected {(count, encoder.dim)}"
        )


def response_fingerprint(encoder: Encoder) -> str:
    """A sha256 (hex) of the encoder's response to two fixed waveforms: a noise, and the same noise fading out.

    Taken from eight random projections of the embeddings, rounded to a thousandth: fine enough for any retraining,
    coarse enough that another number of threads or another processor does not make old targets useless.
    """
    samples = call_length(encoder, 1.0)
    noise = fixed_noise(samples)
    fading = noise * np.linspace(1, 0, samples, dtype=np.float32)
    embeddings = _embed(encoder, np.stack([noise, fading])).astype(np.float64)
    scale = float(np.sqrt(np.mean(embeddings**2))) or 1.0
    directions = np.random.default_rng(0).standard_normal((embeddings.shape[1], 8)) / math.sqrt(embeddings.shape[1])
    rounded = np.round(embeddings @ directions / scale, 3) + 0.0  # + 0.0 makes -0 and 0 the same bytes
    return hashlib.sha256(rounded.tobytes() + f"{scale:.3g}".encode()).hexdigest()


def call_length(encoder: Encoder, seconds: float) -> int:
    """Samples that the encoder takes in one call: its window, or about so many seconds."""
    if encoder.window is not None:
        return max(1, round(encoder.window * encoder.sample_rate))
    return samples_of(encoder, seconds, resolve(encoder).minimum)


def samples_of(encoder: Encoder, seconds: float, least: int) -> int:
    """Samples of so many seconds at the encoder's rate, `least` at the least."""
    return max(least, round(seconds * encoder.sample_rate), 1)
