"""Threads that each read a sound and embed it, for models that several threads may call at once.

A thread that has read a batch leaves it to the others while they have none waiting, and embeds it itself otherwise. So
short sounds are read and embedded side by side, and the windows of one long sound are shared.
"""

from collections import deque
from collections.abc import Generator, Iterator
from contextlib import closing
from threading import Condition, Thread

import numpy as np
from numpy.typing import NDArray

from sondino.encoder.embedded import Clip, Embedded, Prepared, WindowsOf, embed_windows
from sondino.encoder.encoder import ResolvedEncoder

AHEAD = 64  # sounds that are begun before the first of them is finished, at most


def embed_side_by_side(
    model: ResolvedEncoder, count: int, windows_of: WindowsOf, per_window: bool
) -> Generator[Embedded, None, None]:
    """Embed so many sounds with as many threads as the model has workers; the calling thread is one of them.

    Args:
        model: with `workers` above 1.
        count: of sounds.
        windows_of: reads one of them.
        per_window: a row for every window, where otherwise a sound has one.

    Yields:
        The result of each sound, in order.
    """
    work = _Work(model, count, windows_of, per_window)
    try:
        while True:
            yield from work.finished()
            job = work.next_job(handing_out=True)
            if job is None:
                break
            with closing(job):
                for _ in job:
                    yield from work.finished()
                    if work.failure is not None:  # of another thread: a sound of hours is not read to its end first
                        break
        if work.failure is not None:
            raise work.failure
    finally:
        work.stop()


Job = Generator[None, None, None]


class _Work:
    """What is to be done, shared by the threads. Every attribute but those of `__init__` is guarded by `_changed`."""

    def __init__(self, model: ResolvedEncoder, count: int, windows_of: WindowsOf, per_window: bool) -> None:
        self._model, self._count, self._windows_of, self._per_window = model, count, windows_of, per_window
        self._changed = Condition()
        self._threads: list[Thread] = []
        self._idle = 0  # of them
        self._stopped = False
        self._begun = 0  # sounds
        self._clips: deque[_Ordered] = deque()  # begun and not handed out, in order
        self._batches: deque[_Batch] = deque()  # read, and not being embedded
        self.failure: BaseException | None = None

    def finished(self) -> Iterator[Embedded]:
        """Hand out the finished sounds up to the first that is not."""
        while True:
            with self._changed:
                if not (self._clips and self._clips[0].clip.finished):
                    return
                first = self._clips.popleft()
                self._changed.notify_all()
            yield first.clip.embedded(self._model.dim)

    def next_job(self, handing_out: bool) -> Job | None:
        """Wait for something to do: a batch, or else a sound. None where nothing will come any more.

        Args:
            handing_out: the calling thread hands the results out, so it stays until all are there; it is given an
                empty job where the first sound was finished meanwhile.
        """
        with self._changed:
            while not self._stopped and self.failure is None:
                if self._batches:
                    return self._embed(self._batches.popleft())
                if self._begun < self._count and len(self._clips) < AHEAD:
                    clip = _Ordered(Clip(self._begun, self._per_window, self._model.sample_rate))
                    self._begun += 1
                    self._clips.append(clip)
                    if self._begun < self._count:
                        self._call_another()
                    return self._read_sound(clip)
                all_begun = self._begun == self._count
                if handing_out and self._clips and self._clips[0].clip.finished:
                    return self._nothing()
                if all_begun and not (self._clips if handing_out else any(not c.clip.ended for c in self._clips)):
                    return None
                self._idle += not handing_out
                self._changed.wait()
                self._idle -= not handing_out
        return None

    def stop(self) -> None:
        """End the threads; what they have not begun is dropped."""
        with self._changed:
            self._stopped = True
            self._changed.notify_all()
        for thread in self._threads:
            thread.join()

    def _call_another(self) -> None:
        """Start a thread, if the model has a worker left and none of the others is idle."""
        if not self._idle and len(self._threads) < self._model.workers - 1:
            thread = Thread(target=self._loop, name="sondino-embed")
            self._threads.append(thread)
            thread.start()

    def _loop(self) -> None:
        try:
            while (job := self.next_job(handing_out=False)) is not None:
                with closing(job):
                    for _ in job:
                        if self._stopped or self.failure is not None:
                            return
        except BaseException as error:  # raised again where the results are handed out
            with self._changed:
                self.failure = self.failure or error
                self._changed.notify_all()

    def _nothing(self) -> Job:
        yield from ()

    def _read_sound(self, ordered: "_Ordered") -> Job:
        """Read a sound, whose windows are of one shape; pauses between them."""
        windows: list[Prepared] = []
        for window in self._windows_of(ordered.clip):
            if windows and len(windows) >= windows[0][3]:
                yield from self._leave(ordered, windows)
                windows = []
            windows.append(window)
            yield
        with self._changed:
            last = ordered.batch(windows) if windows else None
            ordered.clip.ended = True
            self._changed.notify_all()
        if last is not None:  # while it is in this processor's cache
            yield from self._embed(last)

    def _leave(self, ordered: "_Ordered", windows: list[Prepared]) -> Job:
        """Leave a batch to the other threads; embed the oldest here where they have enough."""
        with self._changed:
            self._batches.append(ordered.batch(windows))
            if len(self._batches) < self._model.workers:
                self._call_another()
                self._changed.notify()
                return
            batch = self._batches.popleft()
        yield from self._embed(batch)

    def _embed(self, batch: "_Batch") -> Job:
        ordered, number, windows = batch
        embeddings = embed_windows(self._model, windows)
        with self._changed:
            ordered.put(number, windows, embeddings)
            if ordered.clip.finished:
                self._changed.notify_all()
        yield


class _Ordered:
    """A clip whose batches may be embedded in any order; its windows are added in theirs."""

    def __init__(self, clip: Clip) -> None:
        self.clip = clip
        self._batches = self._added = 0
        self._early: dict[int, list[tuple[NDArray[np.float32], float, float]]] = {}

    def batch(self, windows: list[Prepared]) -> "_Batch":
        """The next batch."""
        self.clip.waiting += len(windows)
        self._batches += 1
        return self, self._batches - 1, windows

    def put(self, number: int, windows: list[Prepared], embeddings: NDArray[np.float32]) -> None:
        """The embeddings of a batch; without its windows, since one that takes long may have many behind it."""
        self._early[number] = [
            (embedding, start, real) for embedding, (_, start, real, _) in zip(embeddings, windows, strict=True)
        ]
        while self._added in self._early:
            for embedding, start, real in self._early.pop(self._added):
                self.clip.add(embedding, start, real)
            self._added += 1


_Batch = tuple[_Ordered, int, list[Prepared]]
"""Windows of a clip, and which batch of it they are."""
