"""Sounds in, embeddings out: files are decoded ahead by threads while the model runs on windows batched across files.

Memory stays bounded whatever the number and the length of the files: every file being read has a short queue of
windows, and its reader waits where that is full; so many batches are with the model, and no more.
"""

import queue
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field
from os import PathLike

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sondino.audio.reading import stream
from sondino.audio.signal import from_array
from sondino.audio.windows import ShortPolicy, Window, Windowing, WindowPolicy, iter_windows
from sondino.encoder.encoder import Encoder, ResolvedEncoder, check_shape, resolve
from sondino.errors import EncoderError, OptionError, SondinoError

Sound = str | PathLike[str] | tuple[ArrayLike, int]
"""A path, or an array with its rate."""

_Cutter = Callable[[Sound], Iterator[Window]]
_Shelf = queue.Queue[Window | BaseException | None]

BATCH = 16  # windows of equal length through the model at once, at most
BATCH_SECONDS = 10.0  # of sound in a batch: more is no faster on a processor, and takes memory
BEHIND = 256  # batches whose embeddings may wait for an earlier one that takes longer
ROUND = 16  # windows gathered before the model runs: enough to find some of equal length among short clips
QUEUE = 4  # windows that a file may have read ahead
AHEAD = 8  # files opened ahead of the one whose turn it is, besides those being read
MAX_WINDOW_SECONDS = 3600.0  # seconds of a window
BLOCK = 10.0  # seconds decoded at once


@dataclass
class Embedded:
    """What became of one sound.

    Attributes:
        index: which one, from 0.
        embeddings: (1, dim) float32, the mean of its windows by real samples; or (windows, dim).
        starts: seconds of each row of `embeddings`.
        seconds: length of the sound.
        error: why there are no embeddings, else None.
    """

    index: int
    embeddings: NDArray[np.float32]
    starts: NDArray[np.float64]
    seconds: float
    error: SondinoError | None = None


def resolve_windowing(
    encoder: Encoder,
    window: float | None = None,
    hop: float | None = None,
    short: ShortPolicy | None = None,
    policy: WindowPolicy | None = None,
) -> Windowing:
    """The encoder's own windowing, with the given options in place of its own.

    The encoder's hop belongs to its window: where another window is given, the hop is that window.

    Raises:
        OptionError: an unknown `short` or `policy`, or a window of more than an hour.
    """
    own = resolve(encoder).windowing
    if window is not None and window > MAX_WINDOW_SECONDS:
        raise OptionError(f"window is {window:g} s: give {MAX_WINDOW_SECONDS:g} s at the most")
    return Windowing(
        own.window if window is None else window,
        hop if hop is not None else (own.hop if window is None else None),
        own.short if short is None else short,
        own.policy if policy is None else policy,
    )


def readers(threads: int) -> int:
    """Threads that decode ahead, of so many in all: reading takes about half as long as the net.

    With two threads the one that asks decodes, in turn with its share of the net: a third thread would take turns on
    two processors.
    """
    return 0 if threads < 3 else min(8, threads // 3)


def batch_size(samples: int, sample_rate: int) -> int:
    """Windows of so many samples that go through a model at once."""
    return min(BATCH, max(1, int(BATCH_SECONDS * sample_rate / samples)))


def embed_sounds(
    model: Encoder, sounds: Sequence[Sound], windowing: Windowing, per_window: bool = False, readers: int = 2
) -> Generator[Embedded, None, None]:
    """Embed sounds, and yield what became of each in order. A sound that cannot be heard is an error of its own.

    Args:
        model: any encoder.
        sounds: paths, or (array, rate).
        windowing: from `resolve_windowing`.
        per_window: a row for every window, where otherwise a sound has one.
        readers: threads that decode ahead; 0: decode in turn with the model.

    Raises:
        EncoderError: the model fails, or its embeddings have another shape than it says.
    """
    model = resolve(model)

    def cuts(sound: Sound) -> Iterator[Window]:
        if isinstance(sound, tuple):
            blocks: Iterable[NDArray[np.float32]] = [from_array(*sound, model.sample_rate)]
        else:
            blocks = stream(sound, model.sample_rate, BLOCK)
        return iter_windows(blocks, model.sample_rate, windowing, model.minimum)

    clips: deque[_Clip] = deque()
    waiting: list[tuple[_Clip, Window]] = []
    # Closed by hand, so that no thread is left waiting when the caller stops in the middle.
    with closing(_read_ahead(sounds, cuts, readers)) as ahead, closing(_Runner(model)) as runner:
        for index, pieces in enumerate(ahead):
            clip = _Clip(index, per_window, model.sample_rate)
            clips.append(clip)
            try:
                for piece in pieces:
                    clip.waiting += 1
                    waiting.append((clip, piece))
                    if len(waiting) == ROUND or batch_size(len(piece[0]), model.sample_rate) == 1:
                        runner.run(waiting)
                        yield from _finished(clips, model.dim)
            except EncoderError:
                raise
            except SondinoError as error:
                clip.error = error
            except OSError as error:
                clip.error = SondinoError(f"{sounds[index]}: cannot be read ({error.strerror or error})")
            clip.ended = True
        runner.run(waiting)
        runner.wait()
        yield from _finished(clips, model.dim)


@dataclass
class _Clip:
    """A sound whose windows are on their way. Where windows are merged it holds their sum, not all of them."""

    index: int
    per_window: bool
    sample_rate: int
    waiting: int = 0  # windows that have not been through the model
    ended: bool = False
    error: SondinoError | None = None
    seconds: float = 0.0
    weight: float = 0.0
    total: NDArray[np.float64] | None = None
    rows: list[NDArray[np.float32]] = field(default_factory=list)
    starts: list[float] = field(default_factory=list)

    def add(self, embedding: NDArray[np.float32], start: float, weight: float) -> None:
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
        none = np.zeros((0, dim), np.float32)
        if self.error is not None:
            return Embedded(self.index, none, np.zeros(0), self.seconds, self.error)
        if self.per_window:
            return Embedded(self.index, np.stack(self.rows), np.array(self.starts), self.seconds)
        assert self.total is not None  # a sound without a window is an error
        embedding = (self.total / self.weight).astype(np.float32)
        return Embedded(self.index, embedding[None], np.zeros(1), self.seconds)


def _finished(clips: deque[_Clip], dim: int) -> Iterator[Embedded]:
    """Take off the front of `clips` those that are done."""
    while clips and clips[0].ended and clips[0].waiting == 0:
        yield clips.popleft().embedded(dim)


class _Runner:
    """Puts windows through the model: one batch after another, or as many side by side as the model has workers.

    The calling thread is one of the workers: where it would have to wait for the others, it takes a batch itself.
    """

    def __init__(self, model: ResolvedEncoder) -> None:
        self._model = model
        self._others = model.workers - 1
        self._pool = ThreadPoolExecutor(self._others, "sondino-run") if self._others else None
        self._running: deque[tuple[list[_Place], Future[NDArray[np.float32]]]] = deque()

    def run(self, waiting: list[tuple[_Clip, Window]]) -> None:
        """Take the waiting windows, those of equal length together, and empty the list."""
        lengths: dict[int, list[tuple[_Clip, Window]]] = {}
        for entry in waiting:
            lengths.setdefault(len(entry[1][0]), []).append(entry)
        waiting.clear()
        for samples, entries in lengths.items():
            size = batch_size(samples, self._model.sample_rate)
            for first in range(0, len(entries), size):
                self._start(entries[first : first + size])

    def _start(self, batch: list[tuple[_Clip, Window]]) -> None:
        if self._pool is None:
            _add(_places(batch), _embeddings(self._model, batch, alone=True))
            return
        # Two for each worker: one that it works on, one that it finds ready.
        if sum(not running.done() for _, running in self._running) < 2 * self._others:
            self._running.append((_places(batch), self._pool.submit(_embeddings, self._model, batch)))
        else:
            here: Future[NDArray[np.float32]] = Future()
            here.set_result(_embeddings(self._model, batch))
            self._running.append((_places(batch), here))
        while self._running and (self._running[0][1].done() or len(self._running) > BEHIND):
            self._take()

    def wait(self) -> None:
        """Until every window is through."""
        while self._running:
            self._take()

    def _take(self) -> None:
        places, embeddings = self._running.popleft()
        _add(places, embeddings.result())

    def close(self) -> None:
        """Let the workers end; what they have not begun is dropped."""
        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=True)


def _embeddings(model: ResolvedEncoder, batch: list[tuple[_Clip, Window]], alone: bool = False) -> NDArray[np.float32]:
    first = batch[0][1][0]
    # A single window is not copied: at 10 s that would cost as much as its decoding.
    waveforms = np.stack([window for _, (window, _, _) in batch]) if len(batch) > 1 else first[None]
    embed = model.embed if alone else model.embed_batch
    embeddings = embed(waveforms)
    check_shape(model, embeddings, len(batch))
    return embeddings


_Place = tuple[_Clip, float, float]
"""Where an embedding belongs: its clip, its window's start, how many samples were real."""


def _places(batch: list[tuple[_Clip, Window]]) -> list[_Place]:
    return [(clip, start, weight) for clip, (_, start, weight) in batch]


def _add(places: list[_Place], embeddings: NDArray[np.float32]) -> None:
    for (clip, start, weight), embedding in zip(places, embeddings, strict=True):
        clip.add(embedding, start, weight)


# ---- reading ahead --------------------------------------------------------------------------------------------


def _read_ahead(sounds: Sequence[Sound], cuts: _Cutter, readers: int) -> Generator[Iterator[Window], None, None]:
    """The windows of each sound, in order, decoded by `readers` threads some files ahead.

    Readers take the sounds in order, so the sound whose turn it is always has a reader, and readers of later ones
    wait at full queues: no order of long and short files can block.
    """
    if readers < 1:
        yield from map(cuts, sounds)
        return
    stop = threading.Event()
    pool = ThreadPoolExecutor(readers, thread_name_prefix="sondino-read")
    shelves: deque[_Shelf] = deque()
    following = iter(sounds)
    try:
        while True:
            while len(shelves) < readers + AHEAD and (sound := next(following, None)) is not None:
                shelf: _Shelf = queue.Queue(QUEUE)
                pool.submit(_fill, shelf, cuts, sound, stop)
                shelves.append(shelf)
            if not shelves:
                return
            yield _take(shelves.popleft())
    finally:
        stop.set()
        pool.shutdown(wait=True, cancel_futures=True)


def _fill(shelf: _Shelf, cuts: _Cutter, sound: Sound, stop: threading.Event) -> None:
    try:
        for piece in cuts(sound):
            if not _put(shelf, piece, stop):
                return
        _put(shelf, None, stop)
    except BaseException as error:  # raised again in the thread that takes
        _put(shelf, error, stop)


def _put(shelf: _Shelf, item: Window | BaseException | None, stop: threading.Event) -> bool:
    while not stop.is_set():
        try:
            shelf.put(item, timeout=0.2)
            return True
        except queue.Full:
            continue
    return False


def _take(shelf: _Shelf) -> Iterator[Window]:
    while (item := shelf.get()) is not None:
        if isinstance(item, BaseException):
            raise item
        yield item
