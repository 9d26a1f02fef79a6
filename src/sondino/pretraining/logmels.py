"""Log-mels of a corpus, computed once and kept beside it as float16; crops of them, and their mean and deviation."""

import hashlib
import math
import shutil
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sondino.audio.crashes import crash_marks
from sondino.corpus.parts import Parts, write_rows
from sondino.corpus.table import Corpus
from sondino.corpus.waveforms import decode, decoded_parts, rows_a_part
from sondino.errors import RunError
from sondino.files import make_folder, read_json, write_json
from sondino.frontend.logmel import MATPAC_LOGMEL, n_frames
from sondino.frontend.logmel_numpy import log_mel
from sondino.locks import lock_or_fail
from sondino.progress import Report

LOGMELS_FORMAT = "sondino-logmels-1"
RAW = replace(MATPAC_LOGMEL, mean=0.0, std=1.0)
"""MATPAC's front-end before normalisation."""
STRETCH = 60.0
"""Seconds of a stretch, of which the log-mel is computed as one; crops lie within one."""

Array = NDArray[np.float32]


@dataclass
class LogMels:
    """The log-mels of every row of a corpus, from a matrix on disk or computed at each read.

    Safe in threads: nothing but a memory map is held open.
    """

    corpus: Corpus
    frames: NDArray[np.int64]
    """Frames of each row (rows,); 0 where its sound cannot be decoded."""
    folder: Path | None
    """Of the matrix; None: each read decodes."""
    mean: float
    """Over every value of every log-mel."""
    std: float
    skipped: list[tuple[str, str]] = field(default_factory=list)
    """(id, reason) of rows that could not be decoded."""

    def read(self, row: int, start: int, frames: int) -> Array:
        """Frames (n_mels, frames) of a row from frame `start` on, not normalised.

        Raises:
            AudioError: it can no longer be decoded.
        """
        if self.folder is None:
            hop, rate = RAW.hop, RAW.sample_rate
            begin, samples = start * hop / rate, RAW.samples_for(frames)
            # Samples more, since a decoder may give one less.
            waveform = decode(self.corpus, row, rate, begin, (samples + hop) / rate)[:samples]
            return log_mel(RAW, np.pad(waveform, (0, samples - len(waveform)))).astype(np.float16).astype(np.float32)
        begin = int(self._offsets[row]) + start
        return np.ascontiguousarray(self._matrix[begin : begin + frames].T, dtype=np.float32)

    @cached_property
    def _offsets(self) -> NDArray[np.int64]:
        return _offsets(self.corpus)

    @cached_property
    def _matrix(self) -> NDArray[Any]:
        assert self.folder is not None
        return _open(self.folder, "logmels")


def open_logmels(
    corpus: Corpus, progress: Report = lambda done, total: None, cache: bool | None = None, workers: int | None = None
) -> LogMels:
    """The log-mels of a corpus, and their mean and deviation, from one pass over its sound.

    They are written in parts that count once whole, so an interrupted run resumes there.

    Args:
        corpus: without views.
        progress: called with (stretches done, stretches in all).
        cache: False: keep no log-mels, and decode at each read; None: keep them where they take at most half of the
            room that is free.
        workers: threads that decode; None: one a processor.

    Raises:
        RunError: the disk is full, or another process is at it.
    """
    offsets, rows = _offsets(corpus), len(corpus)
    key = hashlib.sha256(f"{LOGMELS_FORMAT} {corpus.hash} {RAW}".encode()).hexdigest()
    folder = corpus.folder / "logmels" / key[:16]
    make_folder(folder)
    described = folder / "logmels.json"
    if not described.exists():
        if cache is None:
            free = shutil.disk_usage(folder).free
            cache = 2 * RAW.n_mels * int(offsets[-1]) <= free // 2
        size = {"rows": rows, "part_rows": rows_a_part(corpus.clip), "frames": int(offsets[-1])}
        write_json(described, {"format": LOGMELS_FORMAT, "key": key, **size, "kept": cache})
    facts = read_json(described)
    parts = Parts(folder, rows, int(facts["part_rows"]))
    if len(parts.done()) < parts.count:
        with lock_or_fail(folder, "fill", "computing log-mels into"), crash_marks(folder):
            matrix = {"logmels": ((int(offsets[-1]), RAW.n_mels), np.float16)} if facts["kept"] else {}
            parts.prepare(counts=((rows,), np.int64), **matrix)
            _fill(corpus, parts, offsets, bool(facts["kept"]), progress, workers)
    records = list(parts.records())
    mean, std = _statistics(records)
    skipped = [(name, reason) for record in records for name, reason in record["skipped"]]
    return LogMels(corpus, np.array(_open(folder, "counts")), folder if facts["kept"] else None, mean, std, skipped)


def _offsets(corpus: Corpus) -> NDArray[np.int64]:
    """Where each row's frames begin in the matrix, and after them where the last end."""
    samples = np.maximum(1, np.rint(corpus.column("duration") * RAW.sample_rate)).astype(np.int64)
    counts = [n_frames(RAW, int(count)) for count in samples]
    return np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)


def _open(folder: Path, name: str) -> NDArray[Any]:
    try:
        # A plain array over the map: np.memmap pays for its own bookkeeping at each slice.
        return np.load(folder / f"{name}.npy", mmap_mode="r").view(np.ndarray)
    except (OSError, ValueError) as error:
        raise RunError(f"{folder} is damaged ({error}): remove it and run the same command again") from error


def _fill(
    corpus: Corpus,
    parts: Parts,
    offsets: NDArray[np.int64],
    kept: bool,
    progress: Report,
    workers: int | None,
) -> None:
    finished = parts.rows_done()
    progress(finished, parts.rows)
    with closing(decoded_parts(corpus, RAW.sample_rate, parts, np.arange(len(corpus)), workers)) as decoded:
        for part, clips in decoded:
            first, stop = parts.span(part)
            begin = int(offsets[first])
            values = np.zeros((int(offsets[stop]) - begin, RAW.n_mels), np.float16)
            counts, total, squares, skipped = np.zeros(stop - first, np.int64), 0.0, 0.0, []
            for place, clip in enumerate(clips):
                row = first + place
                if isinstance(clip, str):
                    skipped.append((corpus.ids([row])[0], clip))
                    continue
                if len(clip) < RAW.minimum_samples:
                    continue
                room = int(offsets[row + 1] - offsets[row])
                found = log_mel(RAW, clip)[:, :room].T.astype(np.float16)
                counts[place] = len(found)
                values[int(offsets[row]) - begin :][: len(found)] = found
                exact = found.astype(np.float64)
                total, squares = total + float(exact.sum()), squares + float((exact**2).sum())
            if kept and len(values):
                write_rows(parts.folder / "logmels.npy", begin, values)
            write_rows(parts.folder / "counts.npy", first, counts)
            sums = {"values": int(counts.sum()) * RAW.n_mels, "sum": total, "squares": squares}
            parts.mark(part, {"part": part, "rows": [first, stop], "skipped": skipped, **sums})
            finished += stop - first
            progress(finished, parts.rows)


def _statistics(records: Sequence[dict[str, Any]]) -> tuple[float, float]:
    """Mean and deviation of every value, in float64; (0, 0) where there is none."""
    count = sum(record["values"] for record in records)
    if count == 0:
        return 0.0, 0.0
    mean = math.fsum(record["sum"] for record in records) / count
    power = math.fsum(record["squares"] for record in records) / count
    return mean, math.sqrt(max(power - mean**2, 0.0))
