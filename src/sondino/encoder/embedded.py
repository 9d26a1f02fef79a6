"""Windows of a sound on their way through a model, and the sound's embedding from those of its windows."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from sondino.encoder.encoder import ResolvedEncoder, check_shape
from sondino.errors import EncoderError, SondinoError

Prepared = tuple[NDArray[np.float32], float, float, int]
"""A prepared window, its start in seconds, how many of its samples are real, how many make a batch at most."""


@dataclass
class Embedded:
    """The embeddings of one sound, or its error.

    Attributes:
        index: which one, from 0.
        embeddings: (1, dim) float32, the mean of its windows by real samples; or (windows, dim).
        starts: seconds of each row of `embeddings`.
        seconds: length of the sound.
        error: why there are no embeddings; else None.
    """

    index: int
    embeddings: NDArray[np.float32]
    starts: NDArray[np.float64]
    seconds: float
    error: SondinoError | None = None


@dataclass
class Clip:
    """A sound whose windows are being embedded. Where they are averaged it holds their sum, not all of them."""

    index: int
    per_window: bool
    sample_rate: int
    waiting: int = 0  # windows that are not embedded yet
    ended: bool = False  # it has no more windows
    error: SondinoError | None = None
    seconds: float = 0.0
    weight: float = 0.0
    total: NDArray[np.float64] | None = None
    rows: list[NDArray[np.float32]] = field(default_factory=list)
    starts: list[float] = field(default_factory=list)

    @property
    def finished(self) -> bool:
        """Whether `embedded` has all of it."""
        return self.ended and self.waiting == 0

    def add(self, embedding: NDArray[np.float32], start: float, weight: float) -> None:
        """The embedding of the next window: its start in seconds, how many of its samples are real."""
        self.waiting -= 1
        self.seconds = max(self.seconds, start + weight / self.sample_rate)
        if not np.isfinite(embedding).all():
            self.error = EncoderError(f"the model gave NaN or infinite values at {start:g} s")
        elif self.per_window:
            self.rows.append(embedding.copy())
            self.starts.append(start)
        else:
            share = weight * embedding.astype(np.float64)
            self.total = share if self.total is None else self.total + share
            self.weight += weight

    def embedded(self, dim: int) -> Embedded:
        """What became of it, once it is finished."""
        none = np.zeros((0, dim), np.float32)
        if self.error is not None:
            return Embedded(self.index, none, np.zeros(0), self.seconds, self.error)
        if self.per_window:
            return Embedded(self.index, np.stack(self.rows), np.array(self.starts), self.seconds)
        assert self.total is not None  # a sound without a window is an error
        embedding = (self.total / self.weight).astype(np.float32)
        return Embedded(self.index, embedding[None], np.zeros(1), self.seconds)


WindowsOf = Callable[[Clip], Iterator[Prepared]]
"""Reads a clip's sound; sets the clip's `error` where that cannot be decoded."""


def embed_windows(model: ResolvedEncoder, windows: Sequence[Prepared]) -> NDArray[np.float32]:
    """Embeddings (n, dim) of prepared windows of one shape, on the calling thread.

    Raises:
        EncoderError: the model fails, or its embeddings have another dimension than it states.
    """
    prepared = [window for window, *_ in windows]
    # A single one is not copied: a waveform of 10 s would cost as much as its decoding.
    embeddings = model.embed_prepared(np.stack(prepared) if len(prepared) > 1 else prepared[0][None])
    check_shape(model, embeddings, len(windows))
    return embeddings
