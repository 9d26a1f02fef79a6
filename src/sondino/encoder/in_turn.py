"""Sounds embedded by one thread, for models that take one call at a time: other threads decode ahead.

Memory is bounded whatever the number and length of the files: every file being read has a short queue of windows, and
its reader waits while that is full.
"""

import queue
import threading
from collections import deque
from collections.abc import Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

from sondino.encoder.embedded import Clip, Embedded, Prepared, WindowsOf, embed_windows
from sondino.encoder.encoder import ResolvedEncoder

_Queue = queue.Queue[Prepared | BaseException | None]

GATHERED = 16  # windows gathered before the model runs: enough to batch some of equal length among short clips
QUEUE = 4  # windows that a file may be read ahead
AHEAD = 8  # files opened ahead of the current one, besides those being read


def embed_in_turn(
    model: ResolvedEncoder, count: int, windows_of: WindowsOf, per_window: bool, readers: int
) -> Generator[Embedded, None, None]:
    """Embed so many sounds on the calling thread, windows of equal shape together, also across sounds.

    Args:
        model: any encoder.
        count: of sounds.
        windows_of: reads one of them.
        per_window: a row for every window, where otherwise a sound has one.
        readers: threads that decode ahead; 0: decode in turn with the model.

    Yields:
        The result of each sound, in order.
    """
    clips: deque[Clip] = deque()
    waiting: list[tuple[Clip, Prepared]] = []

    def finished() -> Iterator[Embedded]:
        while clips and clips[0].finished:
            yield clips.popleft().embedded(model.dim)

    # Closed explicitly, so that no thread is left waiting when the caller stops in the middle.
    following = (Clip(index, per_window, model.sample_rate) for index in range(count))
    with closing(_read_ahead(following, windows_of, readers)) as ahead:
        for clip, windows in ahead:
            clips.append(clip)
            for window in windows:
                clip.waiting += 1
                waiting.append((clip, window))
                if len(waiting) == GATHERED or window[3] == 1:
                    _run(model, waiting)
                    yield from finished()
            clip.ended = True
    _run(model, waiting)
    yield from finished()


def _run(model: ResolvedEncoder, waiting: list[tuple[Clip, Prepared]]) -> None:
    """Embed the waiting windows, those of equal shape together, and empty the list."""
    shapes: dict[tuple[int, ...], list[tuple[Clip, Prepared]]] = {}
    for entry in waiting:
        shapes.setdefault(entry[1][0].shape, []).append(entry)
    waiting.clear()
    for entries in shapes.values():
        size = min(window[3] for _, window in entries)
        for first in range(0, len(entries), size):
            batch = entries[first : first + size]
            embeddings = embed_windows(model, [window for _, window in batch])
            for (clip, (_, start, real, _)), embedding in zip(batch, embeddings, strict=True):
                clip.add(embedding, start, real)


def _read_ahead(
    clips: Iterator[Clip], windows_of: WindowsOf, readers: int
) -> Generator[tuple[Clip, Iterator[Prepared]], None, None]:
    """Each clip with its windows, in order, decoded by `readers` threads some files ahead.

    Readers take the sounds in order, so the current sound always has a reader, and readers of later ones wait at
    full queues: no order of long and short files can block.
    """
    if readers < 1:
        yield from ((clip, windows_of(clip)) for clip in clips)
        return
    stop = threading.Event()
    pool = ThreadPoolExecutor(readers, thread_name_prefix="sondino-read")
    queues: deque[tuple[Clip, _Queue]] = deque()
    try:
        while True:
            while len(queues) < readers + AHEAD and (clip := next(clips, None)) is not None:
                buffer: _Queue = queue.Queue(QUEUE)
                pool.submit(_read_windows, buffer, windows_of, clip, stop)
                queues.append((clip, buffer))
            if not queues:
                return
            clip, buffer = queues.popleft()
            yield clip, _take(buffer)
    finally:
        stop.set()
        pool.shutdown(wait=True, cancel_futures=True)


def _read_windows(buffer: _Queue, windows_of: WindowsOf, clip: Clip, stop: threading.Event) -> None:
    try:
        for window in windows_of(clip):
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
