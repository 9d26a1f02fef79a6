"""Audio files to embeddings: threads decode ahead while the model embeds windows, batched across files.

Memory is bounded whatever the number and length of the files: every file being read has a short queue of windows, and
its reader waits while that is full; the number of batches in the model is bounded too.
"""

import itertools
import queue
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field
from typing import cast

import numpy as np
from numpy.typing import NDArray

from sondino.audio.decoded import Source
from sondino.audio.reading import open_blocks
from sondino.audio.signal import Scale, check_array_rate, from_array, resampled_blocks
from sondino.audio.windows import ShortPolicy, Windowing, WindowPolicy, iter_windows
from sondino.encoder.encoder import Encoder, ResolvedEncoder, check_shape, resolve
from sondino.encoder.inputs import Sound as Sound
from sondino.encoder.inputs import samples_of, sound_name
from sondino.errors import EncoderError, OptionError, SondinoError

_Taken = tuple[Sound, int | None]
"""A sound, and the channel that is taken of it."""
Prepared = tuple[NDArray[np.float32], float, float, int]
"""A prepared window, its start in seconds, how many of its samples are real, how many make a batch at most."""
_WindowsOf = Callable[[_Taken], Iterator[Prepared]]
_Queue = queue.Queue[Prepared | BaseException | None]

BATCH = 16  # windows of equal length in a batch, at most
BATCH_SECONDS = 10.0  # of audio in a batch: more is no faster on a CPU, and takes memory
MAX_FINISHED = 256  # finished batches that may wait for an earlier, slower one
GATHERED = 16  # windows gathered before the model runs: enough to batch some of equal length among short clips
QUEUE = 4  # windows that a file may be read ahead
AHEAD = 8  # files opened ahead of the current one, besides those being read
MAX_WINDOW_SECONDS = 3600.0  # seconds of a window


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
        OptionError: an unknown `short` or `policy`, or a window of more than an hour or of NaN.
    """
    own = resolve(encoder).windowing
    if window is not None and not window <= MAX_WINDOW_SECONDS:  # NaN neither
        raise OptionError(f"window is {window:g} s: give {MAX_WINDOW_SECONDS:g} s at the most")
    return Windowing(
        own.window if window is None else window,
        hop if hop is not None else (own.hop if window is None else None),
        own.short if short is None else short,
        own.policy if policy is None else policy,
    )


def readers(threads: int) -> int:
    """Threads that decode ahead, of so many in all: decoding takes about half as long as the net.

    With two threads the calling one decodes, in turn with its share of the net: a third thread would compete for two
    cores.
    """
    return 0 if threads < 3 else min(8, threads // 3)


def batch_size(samples: int, sample_rate: int) -> int:
    """Batch size for windows of so many samples."""
    return min(BATCH, max(1, int(BATCH_SECONDS * sample_rate / samples)))


def embed_sounds(
    model: Encoder,
    sounds: Sequence[Sound],
    windowing: Windowing,
    per_window: bool = False,
    readers: int = 2,
    scale: Scale = "none",
    channels: Sequence[int | None] | None = None,
) -> Generator[Embedded, None, None]:
    """Embed sounds, and yield the result of each in order. A sound that cannot be decoded has its own error.

    Args:
        model: any encoder.
        sounds: as `inputs.list_sounds` lists them.
        windowing: from `resolve_windowing`.
        per_window: a row for every window, where otherwise a sound has one.
        readers: threads that decode ahead; 0: decode in turn with the model.
        scale: "auto" divides whole numbers in a wider type by their full scale.
        channels: of each sound, from 1, or None for the mean; None: the mean of all.

    Raises:
        EncoderError: the model fails, or its embeddings have another dimension than it states.
    """
    model = resolve(model)

    def windows_of(taken: _Taken) -> Iterator[Prepared]:
        # Nothing is opened before the first window is asked for: an error then belongs to this sound.
        sound, channel = taken
        samples = samples_of(sound)
        if samples is not None:
            array, given = samples
            check_array_rate(given)
            rate = rate_of(model, given, windowing)
            yield from prepared_windows([from_array(array, given, rate, scale, channel)], rate, model, windowing)
            return

        def taken_at(rate: int, is_cut: bool) -> int:
            # Where a sound is cut off it has all frequencies, up to half the rate that it is cut at. So a stretch that
            # is padded depends on the rate; what is resampled first is as in training.
            return model.sample_rate if is_cut else rate_of(model, rate, windowing)

        with open_blocks(cast(Source, sound), taken_at, scale, channel) as (rate, blocks):
            yield from prepared_windows(blocks, rate, model, windowing)

    clips: deque[_Clip] = deque()
    waiting: list[tuple[_Clip, Prepared]] = []
    # Closed explicitly, so that no thread is left waiting when the caller stops in the middle.
    taken = list(zip(sounds, channels or [None] * len(sounds), strict=True))
    with closing(_read_ahead(taken, windows_of, readers)) as ahead, closing(_Runner(model)) as runner:
        for index, windows in enumerate(ahead):
            clip = _Clip(index, per_window, model.sample_rate)
            clips.append(clip)
            try:
                for window in windows:
                    clip.waiting += 1
                    waiting.append((clip, window))
                    if len(waiting) == GATHERED or window[3] == 1:
                        runner.run(waiting)
                        yield from _finished(clips, model.dim)
            except EncoderError:
                raise
            except SondinoError as error:
                clip.error = error
            except OSError as error:
                clip.error = SondinoError(
                    f"{sound_name(sounds[index]) or 'an open file'}: cannot be read ({error.strerror or error})"
                )
            clip.ended = True
        runner.run(waiting)
        runner.wait()
        yield from _finished(clips, model.dim)


def rate_of(model: ResolvedEncoder, rate: float, windowing: Windowing) -> int:
    """Hertz at which a sound of a rate is cut into windows: its own where the model takes it, else the model's."""
    # As the published package computes it, embeddings are those of resampled sound.
    own = windowing.policy != "published" and rate == int(rate) and model.takes_rate(int(rate))
    return int(rate) if own else model.sample_rate


def prepared_windows(
    blocks: Iterable[NDArray[np.float32]], rate: int, model: ResolvedEncoder, windowing: Windowing
) -> Iterator[Prepared]:
    """Cut a sound that comes in blocks (samples,) at a rate that `rate_of` gave into windows, and prepare each."""
    if rate != model.sample_rate and windowing.short == "repeat" and windowing.window is not None:
        size = round(windowing.window * rate)
        held: list[NDArray[np.float32]] = []
        blocks = iter(blocks)
        while sum(map(len, held)) < size and (block := next(blocks, None)) is not None:
            held.append(block)
        if sum(map(len, held)) < size:
            # Repeated after resampling, as in training: it makes a difference where the end meets the beginning.
            blocks = resampled_blocks(iter(held), rate, model.sample_rate)
            rate = model.sample_rate
        else:
            blocks = itertools.chain(held, blocks)
    for window, start, real in iter_windows(blocks, model.sample_rate, windowing, model.minimum, rate):
        # Here, while it is in the processor's cache: a log-mel takes less memory than its window.
        yield model.prepare(window, rate), start, real, batch_size(len(window), rate)


@dataclass
class _Clip:
    """A sound whose windows are being embedded. Where they are averaged it holds their sum, not all of them."""

    index: int
    per_window: bool
    sample_rate: int
    waiting: int = 0  # windows that are not embedded yet
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
    """Remove the finished clips from the front of `clips`."""
    while clips and clips[0].ended and clips[0].waiting == 0:
        yield clips.popleft().embedded(dim)


class _Runner:
    """Embeds batches of windows: one after another, or as many concurrently as the model has workers.

    The calling thread is one of the workers: instead of waiting for the others, it embeds a batch itself.
    """

    def __init__(self, model: ResolvedEncoder) -> None:
        self._model = model
        self._others = model.workers - 1
        self._pool = ThreadPoolExecutor(self._others, "sondino-run") if self._others else None
        self._running: deque[tuple[list[_Origin], Future[NDArray[np.float32]]]] = deque()

    def run(self, waiting: list[tuple[_Clip, Prepared]]) -> None:
        """Embed the waiting windows, those of equal shape together, and empty the list."""
        shapes: dict[tuple[int, ...], list[tuple[_Clip, Prepared]]] = {}
        for entry in waiting:
            shapes.setdefault(entry[1][0].shape, []).append(entry)
        waiting.clear()
        for entries in shapes.values():
            size = min(window[3] for _, window in entries)
            for first in range(0, len(entries), size):
                self._start(entries[first : first + size])

    def _start(self, batch: list[tuple[_Clip, Prepared]]) -> None:
        if self._pool is None:
            _add_embeddings(_origins(batch), _embeddings(self._model, batch))
            return
        # Two for each worker: the current one and the next.
        if sum(not running.done() for _, running in self._running) < 2 * self._others:
            self._running.append((_origins(batch), self._pool.submit(_embeddings, self._model, batch)))
        else:
            here: Future[NDArray[np.float32]] = Future()
            here.set_result(_embeddings(self._model, batch))
            self._running.append((_origins(batch), here))
        while self._running and (self._running[0][1].done() or len(self._running) > MAX_FINISHED):
            self._take()

    def wait(self) -> None:
        """Wait until every window is embedded."""
        while self._running:
            self._take()

    def _take(self) -> None:
        origins, embeddings = self._running.popleft()
        _add_embeddings(origins, embeddings.result())

    def close(self) -> None:
        """End the workers; batches that have not begun are dropped."""
        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=True)


def _embeddings(model: ResolvedEncoder, batch: list[tuple[_Clip, Prepared]]) -> NDArray[np.float32]:
    prepared = [window for _, (window, *_) in batch]
    # A single one is not copied: a waveform of 10 s would cost as much as its decoding.
    embeddings = model.embed_prepared(np.stack(prepared) if len(prepared) > 1 else prepared[0][None])
    check_shape(model, embeddings, len(batch))
    return embeddings


_Origin = tuple[_Clip, float, float]
"""What an embedding is of: its clip, its window's start, how many samples were real."""


def _origins(batch: list[tuple[_Clip, Prepared]]) -> list[_Origin]:
    return [(clip, start, real) for clip, (_, start, real, _) in batch]


def _add_embeddings(origins: list[_Origin], embeddings: NDArray[np.float32]) -> None:
    for (clip, start, weight), embedding in zip(origins, embeddings, strict=True):
        clip.add(embedding, start, weight)


# ---- reading ahead --------------------------------------------------------------------------------------------


def _read_ahead(
    sounds: Sequence[_Taken], windows_of: _WindowsOf, readers: int
) -> Generator[Iterator[Prepared], None, None]:
    """The windows of each sound, in order, decoded by `readers` threads some files ahead.

    Readers take the sounds in order, so the current sound always has a reader, and readers of later ones wait at
    full queues: no order of long and short files can block.
    """
    if readers < 1:
        yield from map(windows_of, sounds)
        return
    stop = threading.Event()
    pool = ThreadPoolExecutor(readers, thread_name_prefix="sondino-read")
    queues: deque[_Queue] = deque()
    following = iter(sounds)
    try:
        while True:
            while len(queues) < readers + AHEAD and (sound := next(following, None)) is not None:
                buffer: _Queue = queue.Queue(QUEUE)
                pool.submit(_read_windows, buffer, windows_of, sound, stop)
                queues.append(buffer)
            if not queues:
                return
            yield _take(queues.popleft())
    finally:
        stop.set()
        pool.shutdown(wait=True, cancel_futures=True)


def _read_windows(buffer: _Queue, windows_of: _WindowsOf, sound: _Taken, stop: threading.Event) -> None:
    try:
        for window in windows_of(sound):
            if not _put(buffer, window, stop):
                return
        _put(buffer, None, stop)
    except BaseException as error:  # raised again in the consuming thread
        _put(buffer, error, stop)


def _put(buffer: _Queue, item: Prepared | BaseException | None, stop: threading.Event) -> bool:
    while not stop.is_set():
        try:
            buffer.put(item, timeout=0.2)
            return True
        except queue.Full:
            continue
    return False


def _take(buffer: _Queue) -> Iterator[Prepared]:
    while (item := buffer.get()) is not None:
        if isinstance(item, BaseException):
            raise item
        yield item
