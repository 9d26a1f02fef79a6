"""The store of an archive's embedded windows: it grows by new and changed files, and is mapped into memory.

windows.json says what the windows were made with. embeddings.f16 has a row (dim float16) for each window, and times.f64
its start and end in seconds. A line of files.jsonl, written once the rows of its files are on disk, makes them count: a
kill at any moment loses the files of one line at most. Rows are never removed, so the number of a window stays.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sondino.audio.crashes import crash_marks
from sondino.audio.fragment import stretch_of
from sondino.embedding.append import settings_of
from sondino.embedding.inputs import Input, list_inputs, reason_of
from sondino.encoder.pipeline import embed_sounds, readers, resolve_windowing
from sondino.errors import AudioError, OptionError, RunError
from sondino.files import disk_error, make_folder, read_json, sync_folder, write_json
from sondino.locks import lock_or_fail
from sondino.model.model import Model
from sondino.progress import Report

SETTINGS, FILES, EMBEDDINGS, TIMES = "windows.json", "files.jsonl", "embeddings.f16", "times.f64"
FORM = 1
LINE_FILES, LINE_WINDOWS = 64, 4096
"""Files, or windows, after which a line is written."""
CLOSE = 2e-3
"""Seconds by which the times of a window in an answer and in the store may differ."""
_MOST = float(np.finfo(np.float16).max)


@dataclass(frozen=True, slots=True)
class StoredFile:
    """A recording, or a stretch of one, as it was when it was embedded.

    Attributes:
        id: its path below the archive.
        size: bytes.
        changed: its time of change (nanoseconds).
        first: the number of its first window.
        count: how many windows it has.
        reason: why it has none; "" where it has some.
    """

    id: str
    size: int
    changed: int
    first: int
    count: int
    reason: str


@dataclass(frozen=True)
class Store:
    """The windows of an archive.

    Attributes:
        embeddings: (windows, dim) float16, mapped from disk.
        times: (windows, 2) start and end in seconds, mapped from disk.
        alive: (windows,) those whose recording is there, unchanged.
        files: in the order of their windows.
        latest: id -> place in `files` of its latest entry.
        found: id -> the file, for recordings that are there.
        skipped: (path, reason) of what has no windows.
        gone: ids of recordings that were embedded and are no longer there.
    """

    embeddings: NDArray[np.float16]
    times: NDArray[np.float64]
    alive: NDArray[np.bool_]
    files: Sequence[StoredFile]
    latest: dict[str, int]
    found: dict[str, str]
    skipped: list[tuple[str, str]]
    gone: list[str]

    def __len__(self) -> int:
        return len(self.embeddings)

    @cached_property
    def firsts(self) -> NDArray[np.int64]:
        """The number (files,) of the first window of each file."""
        return np.array([file.first for file in self.files], np.int64)

    def owners(self, windows: NDArray[np.int64]) -> NDArray[np.int64]:
        """The places in `files` of the recordings of windows (n,)."""
        # Files without windows share the next one's first: the last of equal ones has the window.
        return np.searchsorted(self.firsts, windows, side="right") - 1

    def place_of(self, window: int) -> tuple[str, float, float]:
        """The path below the archive, the start and the end in seconds of a window.

        Raises:
            OptionError: there is no such window.
        """
        if not 0 <= window < len(self):
            raise OptionError(f"there is no window {window}: the archive has {len(self)}")
        file = self.files[int(self.owners(np.array([window]))[0])]
        start, end = self.times[window].tolist()
        return stretch_of(file.id).file, start, end

    def file_of(self, window: int) -> Path:
        """The file of a window.

        Raises:
            OptionError: there is no such window.
            AudioError: its recording is no longer there.
        """
        path, _, _ = self.place_of(window)
        file = self.files[int(self.owners(np.array([window]))[0])]
        there = self.found.get(file.id)
        if there is None or not Path(there).is_file():
            raise AudioError(f"{path} is no longer there: put it back, or go on with the next candidate")
        return Path(there)

    def window_at(self, path: str, start: float) -> int | None:
        """The window of a recording that starts at so many seconds, the latest where there are several; else None."""
        for place in self._of_path.get(path, ()):
            file = self.files[place]
            starts = self.times[file.first : file.first + file.count, 0]
            at = int(np.abs(starts - start).argmin()) if len(starts) else 0
            if len(starts) and abs(float(starts[at]) - start) < CLOSE:
                return file.first + at
        return None

    def windows_in(self, path: str, start: float, end: float) -> list[int]:
        """The windows of a recording that lie for half of their length or more within a stretch, or hold all of it."""
        found: list[int] = []
        for place in self._of_path.get(path, ()):
            file = self.files[place]
            times = self.times[file.first : file.first + file.count]
            shared = np.minimum(times[:, 1], end) - np.maximum(times[:, 0], start)
            least = np.minimum(times[:, 1] - times[:, 0], end - start) * 0.5
            within = np.flatnonzero((shared >= least) & (shared > 0))
            found += (file.first + within[self.alive[file.first + within]]).tolist()
        return found

    @cached_property
    def _of_path(self) -> dict[str, list[int]]:
        """The places in `files` of what is read from each path, the latest first."""
        known: dict[str, list[int]] = {}
        for place in range(len(self.files) - 1, -1, -1):
            known.setdefault(stretch_of(self.files[place].id).file, []).append(place)
        return known


def open_store(
    folder: Path, recordings: str | Path, model: Model, progress: Report = lambda done, total: None
) -> Store:
    """Embed what is new or has changed in an archive, and map all windows into memory.

    A file is known by its path below the archive, and has changed where its size or time of change has.

    Args:
        folder: of the store; it is made where it is not there.
        recordings: a folder, a file or a list.
        model: that embeds.
        progress: called with (new files done, new files in all).

    Raises:
        AudioError: there is no audio, or none that can be decoded.
        RunError: the store is of another model, another process is embedding into it, or it cannot be written.
    """
    settings = settings_of(model, resolve_windowing(model), "none")
    inputs, skipped = list_inputs(recordings)
    packed = [file for file in inputs if not isinstance(file.sound, str)]
    skipped += [(file.path, "is in a tar file or a table: unpack it first") for file in packed]
    inputs = [file for file in inputs if isinstance(file.sound, str)]
    if not inputs:
        raise AudioError(f"{recordings} holds no file that can be labelled: give a folder of recordings")
    make_folder(folder)
    _check_settings(folder, settings)
    known, _ = _read_files(folder)
    todo = _new_ones(known, inputs)
    if todo:
        with lock_or_fail(folder, "windows", "embedding recordings into", folder), crash_marks(folder):
            known, rows = _read_files(folder)  # another process may have added some
            todo = _new_ones(known, inputs)
            if not (folder / SETTINGS).exists():
                write_json(folder / SETTINGS, {"form": FORM, "dim": model.dim, "settings": settings})
            try:
                _grow(folder, model, todo, rows, progress)
            except OSError as error:
                raise disk_error(folder, error) from error
        known, _ = _read_files(folder)
    return _mapped(folder, model.dim, known, inputs, skipped)


def _check_settings(folder: Path, settings: dict[str, Any]) -> None:
    file = folder / SETTINGS
    if not file.exists():
        return
    found = read_json(file)
    before = found.get("settings") if isinstance(found, dict) and found.get("form") == FORM else None
    if not isinstance(before, dict):
        raise RunError(f"{file} is damaged or of another version: remove {folder}, and the windows are embedded anew")
    then, now = before.get("model"), settings["model"]
    if not isinstance(then, list) or then[1:] != [now[1]]:  # a copy with another name gives the same embeddings
        was = f"{then[0]} ({str(then[1])[:8]})" if isinstance(then, list) and len(then) == 2 else "another one"
        raise RunError(
            f"{folder} was embedded with the model {was}, and this is {now[0]} ({now[1][:8]}): give the model that it "
            "was embedded with, or name another --out"
        )


def _new_ones(known: Sequence[StoredFile], inputs: Sequence[Input]) -> list[Input]:
    stamps = {file.id: (file.size, file.changed) for file in known}
    return [file for file in inputs if stamps.get(file.id) != (file.size, file.changed)]


def _read_files(folder: Path) -> tuple[list[StoredFile], int]:
    """The files of a store, from its whole lines, and how many windows they have."""
    try:
        content = (folder / FILES).read_bytes()
    except FileNotFoundError:
        return [], 0
    files: list[StoredFile] = []
    rows = 0
    for line in content[: content.rfind(b"\n") + 1].splitlines():
        try:
            for name, size, changed, count, reason in json.loads(line):
                files.append(StoredFile(name, size, changed, rows, count, reason))
                rows += count
        except (ValueError, TypeError) as error:
            raise RunError(
                f"{folder / FILES} is damaged: remove {folder}, and the windows are embedded anew; answers stay"
            ) from error
    return files, rows


def _grow(folder: Path, model: Model, todo: Sequence[Input], rows: int, progress: Report) -> None:
    """Embed files, and add their windows behind the first `rows`: what a killed process left there is overwritten."""
    for name, width in ((EMBEDDINGS, 2 * model.dim), (TIMES, 16)):
        with (folder / name).open("ab") as opened:
            if opened.tell() < rows * width:
                raise RunError(f"{folder / name} is damaged: remove {folder}, and the windows are embedded anew")
    line: list[list[Any]] = []
    embedded: list[NDArray[np.float16]] = []
    times: list[NDArray[np.float64]] = []

    def flush() -> None:
        nonlocal rows
        if not line:
            return
        new = np.concatenate(embedded) if embedded else np.zeros((0, model.dim), np.float16)
        _write_rows(folder / EMBEDDINGS, rows, new)
        _write_rows(folder / TIMES, rows, np.concatenate(times) if times else np.zeros((0, 2)))
        _add_line(folder / FILES, json.dumps(line).encode() + b"\n")
        rows += len(new)
        line.clear()
        embedded.clear()
        times.clear()

    windowing = resolve_windowing(model)
    sounds = [file.sound for file in todo]
    with closing(embed_sounds(model, sounds, windowing, True, readers(model.threads))) as clips:
        for clip in clips:
            file = todo[clip.index]
            if clip.error is not None:
                line.append([file.id, file.size, file.changed, 0, reason_of(file, clip.error)])
            else:
                offset = stretch_of(file.path).start
                ends = np.minimum(
                    clip.starts + (np.inf if windowing.window is None else windowing.window), clip.seconds
                )
                embedded.append(np.clip(clip.embeddings, -_MOST, _MOST).astype(np.float16))
                times.append(np.column_stack([clip.starts, ends]) + offset)
                line.append([file.id, file.size, file.changed, len(clip.embeddings), ""])
            if len(line) >= LINE_FILES or sum(map(len, embedded)) >= LINE_WINDOWS:
                flush()
            progress(clip.index + 1, len(todo))
    flush()


def _write_rows(file: Path, rows: int, values: NDArray[Any]) -> None:
    with file.open("r+b") as opened:
        opened.seek(rows * values.itemsize * values.shape[1])
        opened.write(np.ascontiguousarray(values).tobytes())
        opened.flush()
        os.fsync(opened.fileno())


def _add_line(file: Path, line: bytes) -> None:
    new = not file.exists()
    with file.open("r+b" if not new else "w+b") as opened:
        content = opened.read()
        opened.truncate(content.rfind(b"\n") + 1)  # a torn line of a killed process
        opened.seek(0, os.SEEK_END)
        opened.write(line)
        opened.flush()
        os.fsync(opened.fileno())
    if new:
        sync_folder(file.parent)


def _mapped(
    folder: Path, dim: int, files: Sequence[StoredFile], inputs: Sequence[Input], skipped: list[tuple[str, str]]
) -> Store:
    rows = files[-1].first + files[-1].count if files else 0
    there = {file.id: file for file in inputs}
    latest = {file.id: place for place, file in enumerate(files)}
    alive = np.zeros(rows, bool)
    for name, place in latest.items():
        if name in there:
            file = files[place]
            alive[file.first : file.first + file.count] = True
            if file.reason:
                skipped.append((there[name].path, file.reason))
    if not alive.any():
        path, reason = skipped[0] if skipped else (str(folder), "it has no windows")
        raise AudioError(f"none of the {len(inputs)} recordings could be decoded; {path}: {reason}")
    try:
        embeddings = np.memmap(folder / EMBEDDINGS, np.float16, "r", shape=(rows, dim))
        times = np.memmap(folder / TIMES, np.float64, "r", shape=(rows, 2))
    except (OSError, ValueError) as error:
        raise RunError(f"{folder} is damaged: remove it, and the windows are embedded anew; answers stay") from error
    gone = sorted(name for name, place in latest.items() if name not in there and files[place].count)
    found = {name: stretch_of(str(Path(file.path).absolute())).file for name, file in there.items()}
    return Store(embeddings, times, alive, files, latest, found, skipped, gone)
