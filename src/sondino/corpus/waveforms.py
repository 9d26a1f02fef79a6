"""Clips as waveforms: decoded in threads, or kept decoded beside the corpus so that training waits for no codec."""

import hashlib
import shutil
from collections import deque
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sondino.audio.crashes import crash_marks
from sondino.audio.reading import read
from sondino.corpus.parts import Parts, write_rows
from sondino.corpus.sources import Fetcher, Opener, open_source, places_of
from sondino.corpus.table import Corpus
from sondino.corpus.views import VIEW_COLUMNS, View, render, view_of
from sondino.errors import AudioError, RunError, SondinoError
from sondino.files import make_folder, read_json, write_json
from sondino.locks import lock_or_fail
from sondino.processors import cores
from sondino.progress import Report

WAVEFORMS_FORMAT = "sondino-waveforms-1"
FULL_SCALE = 32767
PART_SECONDS = 2560.0
"""Sound decoded at once, at most: 164 MB at 16 kHz."""
AHEAD = 8
"""Files that are fetched and not decoded yet, at most."""

Array = NDArray[np.float32]


def rows_a_part(clip: float) -> int:
    """Clips that are decoded, embedded and written as one part: at most 256, fewer where clips are long."""
    return int(min(256, max(1, PART_SECONDS // clip)))


def decode(
    corpus: Corpus,
    row: int,
    sample_rate: int,
    begin: float = 0.0,
    seconds: float | None = None,
    opener: Opener | None = None,
) -> Array:
    """The waveform (samples,) of one row that is a clip as it is; raises AudioError where it cannot be decoded.

    Args:
        corpus: any corpus.
        row: of the clip.
        sample_rate: hertz.
        begin: seconds from the clip's start on.
        seconds: how many, at most; None: to the clip's end.
        opener: opens the clip's file, where a `Fetcher` gave it; None: it is opened by itself.
    """
    path, start, duration = (corpus.table[name][row].as_py() for name in ("path", "start", "duration"))
    try:
        opened = open_source(corpus.root, places_of(corpus.table, [row])[0]) if opener is None else opener()
        with opened as source:
            wanted = duration - begin if seconds is None else min(seconds, duration - begin)
            return read(source, sample_rate, start + begin, wanted, corpus.scale)
    except Exception as error:  # a store's own errors; what is wrong with one clip is no fault of the rest
        if isinstance(error, FileNotFoundError) or isinstance(error.__cause__, FileNotFoundError):
            raise AudioError(f"{path} is no longer in {corpus.root}: put it back, or build the corpus again") from error
        if isinstance(error, SondinoError):
            raise
        raise AudioError(f"{path} cannot be read: {type(error).__name__}: {error}") from error


def try_clips(
    corpus: Corpus,
    rows: Sequence[int] | NDArray[np.integer],
    sample_rate: int,
    pool: ThreadPoolExecutor,
    rounded: bool = False,
    fetcher: Fetcher | None = None,
) -> list[Array | str]:
    """The waveform of each row, or the reason why there is none; each clip is decoded once for all its views.

    Args:
        corpus: any corpus.
        rows: of it.
        sample_rate: hertz.
        pool: threads that decode.
        rounded: whether a clip has the 16 bits that `open_waveforms` keeps.
        fetcher: opens the files of parts that follow one another; None: one for these rows alone.
    """
    views = {int(row): view_of(corpus, int(row)) for row in rows}
    needed: dict[int, None] = {}  # a set that keeps its order
    for row, view in views.items():
        needed[row if view is None else view.base] = None
        if view is not None and view.mix >= 0:
            needed[view.mix] = None

    def attempt(row: int, opener: Opener) -> Array | str:
        try:
            clip = decode(corpus, row, sample_rate, opener=opener)
        except SondinoError as error:
            return str(error)
        return as_kept(clip) if rounded else clip

    if fetcher is None:
        with Fetcher(corpus.root) as own:
            clips = _decoded(corpus, list(needed), own, pool, attempt)
    else:
        clips = _decoded(corpus, list(needed), fetcher, pool, attempt)

    def made(row: int) -> Array | str:
        view = views[row]
        if view is None:
            return clips[row]
        for part in (view.base, view.mix):
            if part >= 0 and isinstance(clips[part], str):
                return clips[part]

        def stretch(part: int, first: int, stop: int) -> Array:
            return clips[part][first:stop]  # type: ignore[return-value]

        return render(view, stretch, sample_rate)

    return [made(int(row)) for row in rows]


def _decoded(
    corpus: Corpus,
    rows: list[int],
    fetcher: Fetcher,
    pool: ThreadPoolExecutor,
    attempt: Callable[[int, Opener], Array | str],
) -> dict[int, Array | str]:
    """Each row's clip; of files that are read in order, no more bytes are held than the threads need."""
    clips: dict[int, Array | str] = {}
    pending: deque[tuple[int, Future[Array | str]]] = deque()
    for number, opener in fetcher.fetch(places_of(corpus.table, rows)):
        pending.append((rows[number], pool.submit(attempt, rows[number], opener)))
        if len(pending) >= AHEAD:
            row, future = pending.popleft()
            clips[row] = future.result()
    for row, future in pending:
        clips[row] = future.result()
    return clips


def to_int16(waveform: Array) -> tuple[NDArray[np.int16], float]:
    """Samples as integers, and the value of one step.

    The loudest sample takes the whole range: what exceeds 1.0 does not clip, what is quiet keeps 16 bits.
    """
    peak = float(np.max(np.abs(waveform), initial=0.0))
    step = np.float32(peak / FULL_SCALE)
    if step == 0:
        return np.zeros(len(waveform), np.int16), 0.0
    return np.rint(np.clip(waveform / step, -FULL_SCALE, FULL_SCALE)).astype(np.int16), float(step)


def as_kept(clip: Array) -> Array:
    """A clip as it is read back after it was kept in 16 bits."""
    kept, step = to_int16(clip)
    restored: Array = kept * np.float32(step)
    return restored


@dataclass
class Waveforms:
    """The sound of every row at one rate, from decoded clips on disk or straight from the files; bit for bit the same.

    Safe in threads: nothing but a memory map is held open.
    """

    corpus: Corpus
    sample_rate: int
    folder: Path | None
    """Of the decoded clips; None: each read decodes."""
    skipped: list[tuple[str, str]] = field(default_factory=list)
    """(id, reason) of clips that could not be decoded; unknown where nothing is kept."""

    def read(self, row: int) -> Array:
        """The waveform (samples,) float32 of a row.

        Raises:
            AudioError: it cannot be decoded.
        """
        if self.folder is None:
            return self._decoded(row)
        base = int(self._base[row])
        if base == row:
            return self._stretch(row, 0, None)
        return render(self._view(row), self._stretch, self.sample_rate)

    @cached_property
    def valid(self) -> NDArray[np.bool_]:
        """Rows (rows,) whose sound is there; all of them where nothing is kept."""
        if self.folder is None:
            return np.ones(len(self.corpus), dtype=bool)
        good = np.zeros(len(self.corpus), dtype=bool)
        good[self._slot >= 0] = np.asarray(self._lengths)[self._slot[self._slot >= 0]] > 0
        mix = self.corpus.column("mix_row")
        return good[self._base] & ((mix < 0) | good[np.maximum(mix, 0)])

    def _decoded(self, row: int) -> Array:
        view = view_of(self.corpus, row)
        clips: dict[int, Array] = {}

        def stretch(clip: int, first: int, stop: int | None) -> Array:
            if clip not in clips:
                clips[clip] = as_kept(decode(self.corpus, clip, self.sample_rate))
            return clips[clip][first:stop]

        return stretch(row, 0, None) if view is None else render(view, stretch, self.sample_rate)

    def _stretch(self, row: int, first: int, stop: int | None) -> Array:
        slot = self._slot[row]
        begin, length = int(self._offsets[slot]), int(self._lengths[slot])
        if length == 0:
            raise AudioError(f"{self.corpus.ids([row])[0]} could not be decoded: see `skipped` for the reason")
        stop = length if stop is None else min(stop, length)
        waveform: Array = self._samples[begin + first : begin + max(first, stop)] * self._steps[slot]
        return waveform

    def _view(self, row: int) -> View:
        return View(*(columns[row] for columns in self._views))

    @cached_property
    def _views(self) -> list[NDArray[Any]]:
        return [self.corpus.column(name) for name in VIEW_COLUMNS]

    @cached_property
    def _base(self) -> NDArray[np.int64]:
        return self.corpus.column("base_row")

    @cached_property
    def _slot(self) -> NDArray[np.int64]:
        """Place of each row's clip among those kept, -1 for a view."""
        own = self.corpus.column("view") == 0
        return np.where(own, np.cumsum(own) - 1, -1)

    @cached_property
    def _offsets(self) -> NDArray[np.int64]:
        return _offsets(self.corpus, self.sample_rate)

    @cached_property
    def _samples(self) -> NDArray[np.int16]:
        return self._open("samples")

    @cached_property
    def _lengths(self) -> NDArray[np.int32]:
        return np.array(self._open("lengths"))

    @cached_property
    def _steps(self) -> NDArray[np.float32]:
        return np.array(self._open("steps"))

    def _open(self, name: str) -> NDArray[Any]:
        assert self.folder is not None
        try:
            # A plain array over the map: np.memmap pays for its own bookkeeping at each slice.
            return np.load(self.folder / f"{name}.npy", mmap_mode="r").view(np.ndarray)
        except (OSError, ValueError) as error:
            raise RunError(f"{self.folder} is damaged ({error}): remove it and run the same command again") from error


def _offsets(corpus: Corpus, sample_rate: int) -> NDArray[np.int64]:
    """Where each clip that is as it is begins among the kept samples, and after them where the last ends."""
    seconds = corpus.column("duration")[corpus.column("view") == 0]
    # As audio.read counts, so that a clip never outgrows its room.
    return np.concatenate([[0], np.cumsum(np.maximum(1, np.rint(seconds * sample_rate)))]).astype(np.int64)


def open_waveforms(
    corpus: Corpus,
    sample_rate: int,
    progress: Report = lambda done, total: None,
    cache: bool | None = None,
    workers: int | None = None,
) -> Waveforms:
    """The sound of a corpus at a rate, decoded once and kept as 16-bit samples beside it.

    Only clips as they are take room; views are made from them. Written in parts that count once whole, so an
    interrupted run resumes there.

    Args:
        corpus: any corpus.
        sample_rate: hertz, of the student or a teacher.
        progress: called with (clips decoded, clips in all).
        cache: False: keep nothing and decode at each read; None: keep where it takes at most half of the room that
            is free. Both read bit for bit the same.
        workers: threads that decode; None: one a processor.

    Raises:
        RunError: the disk is full, or another process is at it.
    """
    offsets = _offsets(corpus, sample_rate)
    key = hashlib.sha256(f"{WAVEFORMS_FORMAT} {corpus.hash} {sample_rate}".encode()).hexdigest()
    folder = corpus.folder / "waveforms" / key[:16]
    if cache is None and not folder.exists():
        cache = 2 * int(offsets[-1]) <= shutil.disk_usage(corpus.folder).free // 2
    if cache is False:
        return Waveforms(corpus, sample_rate, None)
    own = np.flatnonzero(corpus.column("view") == 0)
    make_folder(folder)
    described = folder / "waveforms.json"
    if not described.exists():
        size = rows_a_part(corpus.clip)
        facts = {
            "format": WAVEFORMS_FORMAT,
            "key": key,
            "sample_rate": sample_rate,
            "clips": len(own),
            "part_rows": size,
        }
        write_json(described, facts | {"samples": int(offsets[-1])})
    parts = Parts(folder, len(own), int(read_json(described)["part_rows"]))
    if len(parts.done()) < parts.count:
        with lock_or_fail(folder, "fill", "decoding clips into"), crash_marks(folder):
            parts.prepare(
                samples=((int(offsets[-1]),), np.int16),
                lengths=((len(own),), np.int32),
                steps=((len(own),), np.float32),
            )
            _fill(corpus, sample_rate, parts, own, offsets, progress, workers)
    skipped = [(name, reason) for record in parts.records() for name, reason in record["skipped"]]
    return Waveforms(corpus, sample_rate, folder, skipped)


def _fill(
    corpus: Corpus,
    sample_rate: int,
    parts: Parts,
    own: NDArray[np.int64],
    offsets: NDArray[np.int64],
    progress: Report,
    workers: int | None,
) -> None:
    finished = parts.rows_done()
    progress(finished, parts.rows)
    with closing(decoded_parts(corpus, sample_rate, parts, own, workers)) as decoded:
        for part, clips in decoded:
            first, stop = parts.span(part)
            bounds = offsets[first : stop + 1] - offsets[first]
            samples = np.zeros(int(bounds[-1]), np.int16)
            lengths, steps = np.zeros(stop - first, np.int32), np.zeros(stop - first, np.float32)
            skipped = []
            for place, clip in enumerate(clips):
                if isinstance(clip, str):
                    skipped.append((corpus.ids([int(own[first + place])])[0], clip))
                    continue
                begin = int(bounds[place])
                kept, steps[place] = to_int16(clip[: int(bounds[place + 1]) - begin])
                lengths[place] = len(kept)
                samples[begin : begin + len(kept)] = kept
            write_rows(parts.folder / "samples.npy", int(offsets[first]), samples)
            write_rows(parts.folder / "lengths.npy", first, lengths)
            write_rows(parts.folder / "steps.npy", first, steps)
            parts.mark(part, {"part": part, "rows": [first, stop], "skipped": skipped})
            finished += stop - first
            progress(finished, parts.rows)


def decoded_parts(
    corpus: Corpus,
    sample_rate: int,
    parts: Parts,
    rows: NDArray[np.int64],
    workers: int | None = None,
    chosen: Sequence[int] | None = None,
    rounded: bool = False,
) -> Generator[tuple[int, list[Array | str]]]:
    """The clips of each part that is not whole yet, the next part being decoded while the caller works on one.

    Args:
        corpus: any corpus.
        sample_rate: hertz of the clips.
        parts: how the rows are divided into parts.
        rows: corpus row of each row of the parts.
        workers: threads that decode; None: one a processor.
        chosen: parts of interest; None: all.
        rounded: as of `try_clips`.

    Yields:
        part, and for each of its rows the waveform or the reason why there is none.
    """
    done = parts.done()
    todo = iter([part for part in (range(parts.count) if chosen is None else chosen) if part not in done])
    ahead, pool = ThreadPoolExecutor(1), ThreadPoolExecutor(workers or cores())
    fetcher = Fetcher(corpus.root)  # only `ahead` uses it, part after part

    def clips(part: int) -> list[Array | str]:
        first, stop = parts.span(part)
        return try_clips(corpus, rows[first:stop], sample_rate, pool, rounded, fetcher)

    try:
        current = next(todo, None)
        future = None if current is None else ahead.submit(clips, current)
        while current is not None and future is not None:
            result = future.result()
            following = next(todo, None)
            future = None if following is None else ahead.submit(clips, following)
            yield current, result
            current = following
    finally:
        pool.shutdown(cancel_futures=True)
        ahead.shutdown(cancel_futures=True)
        fetcher.close()
