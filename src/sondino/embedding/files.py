"""Files and folders to a table of vectors, in bounded memory; goes on where it was stopped.

Vectors of finished parts (up to 256 files) wait in OUTPUT.partial/; the output itself appears whole, at the end.
"""

import hashlib
import json
import logging
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path, PurePath
from typing import Any

import numpy as np

from sondino.audio.reading import find_audio
from sondino.audio.windows import ShortPolicy
from sondino.embedding.tables import Part, writer_for
from sondino.encoder.encoder import Encoder, fingerprint
from sondino.encoder.pipeline import Sound, Windowing, embed_sounds, readers, resolve_windowing
from sondino.errors import OptionError, RunError, SondinoError
from sondino.files import lock_or_fail, thread_count, write_json

PART_FILES = 256
PART_BYTES = 1 << 30  # so that a part of long recordings is not a day's work

log = logging.getLogger(__name__)

Progress = Callable[[int, int, float], None]
"""Called with (files done, files in all, seconds of sound so far)."""


@dataclass
class EmbedReport:
    """What `embed_files` did.

    Attributes:
        output: the file written.
        files: files that are in it.
        vectors: rows of it: one a file, or one a window.
        seconds: of sound.
        skipped: (path, reason) of every file that is not in it.
        resumed: files whose vectors an earlier, stopped call had left.
    """

    output: Path
    files: int = 0
    vectors: int = 0
    seconds: float = 0.0
    skipped: list[tuple[str, str]] = field(default_factory=list)
    resumed: int = 0


@dataclass(frozen=True)
class Input:
    """A file to embed: its id in the table, its path, and what tells whether it changed (bytes, nanoseconds)."""

    id: str
    path: str
    size: int
    changed: int


def embed_files(
    inputs: str | Path | Sequence[str | Path],
    model: Encoder,
    output: str | Path,
    windows: bool = False,
    threads: int | None = None,
    *,
    short: ShortPolicy | None = None,
    window: float | None = None,
    hop: float | None = None,
    progress: Progress | None = None,
) -> EmbedReport:
    """Embed files and folders into one table.

    Files that cannot be heard are left out and listed in the report. Stopped at any moment, the same call goes on
    from the last whole part; with another model, other options or other files it starts over.

    Args:
        inputs: files and folders. A file's id is its path below its folder, or its path as given.
        model: any encoder, such as `sondino.load("bundle")`.
        output: .npz (ids, vectors; with `windows` also clip and start), .npy (and ids in a CSV beside it), .csv or
            .parquet.
        windows: a row for every window, where otherwise a file has one: the mean of its windows.
        threads: processor threads in all; None: the model's. From three on, a third of them decode ahead.
        short: what becomes of a clip under a window; None: as the model says.
        window: seconds; None: the model's.
        hop: seconds from one window to the next; None: the model's.
        progress: called after every file.

    Raises:
        AudioError: an input does not exist or holds no audio.
        OptionError: the output's suffix is none of the above.
        RunError: another process is writing this output, or the disk is full; what is done stays.
        SondinoError: no file could be heard.
    """
    output = Path(output)
    write = writer_for(output)
    files = list_inputs([inputs] if isinstance(inputs, (str, Path)) else list(inputs))
    how = resolve_windowing(model, window, hop, short)
    ahead = readers(thread_count(getattr(model, "threads", None) if threads is None else threads))
    partial = output.with_name(output.name + ".partial")
    with _disk(output):
        output.parent.mkdir(parents=True, exist_ok=True)
        partial.mkdir(exist_ok=True)
    with lock_or_fail(partial, "embed", "filling"):
        with _disk(output):
            _match_key(partial, _key(model, how, windows, files))
        report = EmbedReport(output)
        parts = []
        for number, (first, last) in enumerate(_part_bounds(files)):
            part = _load_part(partial, number)
            if part is None:
                began = report.seconds

                def tell(done: int, seconds: float, first: int = first, began: float = began) -> None:
                    if progress is not None:
                        progress(first + done, len(files), began + seconds)

                part = _embed_part(model, files[first:last], how, windows, ahead, tell)
                with _disk(output):
                    _save_part(partial, number, part)
            else:
                report.resumed += last - first
            parts.append(partial / _part_name(number))
            report.files += len(part.ids)
            report.vectors += len(part.vectors)
            report.seconds += part.seconds
            report.skipped += part.skipped
            if progress is not None:
                progress(last, len(files), report.seconds)
        if report.files == 0:
            shutil.rmtree(partial, ignore_errors=True)
            path, reason = report.skipped[0]
            raise SondinoError(
                f"none of the {len(files)} files could be heard, and {output} was not written; {path}: {reason}"
            )
        with _disk(output):
            write(output, (_read_part(folder) for folder in parts), report.files, report.vectors, model.dim, windows)
        shutil.rmtree(partial, ignore_errors=True)
    return report


def list_inputs(inputs: Sequence[str | Path]) -> list[Input]:
    """Every file once, in the order given, with its id."""
    found: dict[str, tuple[str, str]] = {}  # path -> (id, id when that is not enough)
    for given in inputs:
        for path in find_audio(given):
            whole = PurePath(path).as_posix()
            name = PurePath(path).relative_to(given).as_posix() if Path(given).is_dir() else whole
            found.setdefault(str(path), (name, whole))
    names = [name for name, _ in found.values()]
    # Two folders may hold files of the same name: then ids are whole paths, in all of the table.
    unique = len(set(names)) == len(names)
    files = []
    for file, (name, whole) in found.items():
        try:
            facts = Path(file).stat()
            size, changed = facts.st_size, facts.st_mtime_ns
        except OSError:
            size = changed = 0  # gone since it was listed: reading it will say so
        files.append(Input(name if unique else whole, file, size, changed))
    if not files:
        raise OptionError("no input was given: name files or folders")
    return files


def _key(model: Encoder, how: Windowing, windows: bool, files: Sequence[Input]) -> str:
    digest = hashlib.sha256()
    digest.update(json.dumps([1, fingerprint(model), how.window, how.hop, how.short, how.policy, windows]).encode())
    for file in files:
        digest.update(json.dumps([file.id, file.path, file.size, file.changed]).encode())
    return digest.hexdigest()


def _part_bounds(files: Sequence[Input]) -> Iterator[tuple[int, int]]:
    first = size = 0
    for at, file in enumerate(files):
        if at > first and (at - first == PART_FILES or size + file.size > PART_BYTES):
            yield first, at
            first, size = at, 0
        size += file.size
    yield first, len(files)


def _embed_part(
    model: Encoder,
    files: Sequence[Input],
    how: Windowing,
    windows: bool,
    readers: int,
    tell: Callable[[int, float], None],
) -> Part:
    ids: list[str] = []
    rows, starts, counts = [], [], []
    skipped: list[tuple[str, str]] = []
    seconds = 0.0
    sounds: list[Sound] = [file.path for file in files]
    with closing(embed_sounds(model, sounds, how, windows, readers)) as embedded:
        for found in embedded:
            file = files[found.index]
            if found.error is not None:
                # The path stands beside the reason: once is enough.
                skipped.append((file.path, str(found.error).removeprefix(f"{file.path}: ")))
            else:
                ids.append(file.id)
                rows.append(found.vectors)
                starts.append(found.starts)
                counts.append(len(found.vectors))
                seconds += found.seconds
            tell(found.index + 1, seconds)
    vectors = np.concatenate(rows) if rows else np.zeros((0, model.dim), np.float32)
    start = np.concatenate(starts) if starts else np.zeros(0)
    return Part(ids, counts, vectors, start, seconds, skipped)


# ---- what a stopped call leaves -------------------------------------------------------------------------------


def _part_name(number: int) -> str:
    return f"{number:06d}"


def _save_part(partial: Path, number: int, part: Part) -> None:
    """Write a part; it counts once its JSON, written last, is there under its name."""
    at = partial / _part_name(number)
    for suffix, array in ((".vectors.npy", part.vectors), (".starts.npy", part.starts)):
        with at.with_suffix(suffix).open("wb") as file:
            np.save(file, array)
            file.flush()
            os.fsync(file.fileno())
    facts = {"ids": part.ids, "counts": part.counts, "seconds": part.seconds, "skipped": part.skipped}
    write_json(at.with_suffix(".json"), facts)


def _load_part(partial: Path, number: int) -> Part | None:
    """A part that an earlier call finished, else None."""
    at = partial / _part_name(number)
    try:
        return _read_part(at)
    except (OSError, ValueError, KeyError):
        return None


def _read_part(at: Path) -> Part:
    facts: dict[str, Any] = json.loads(at.with_suffix(".json").read_text(encoding="utf-8"))
    vectors = np.load(at.with_suffix(".vectors.npy"))
    starts = np.load(at.with_suffix(".starts.npy"))
    skipped = [(path, reason) for path, reason in facts["skipped"]]
    return Part(facts["ids"], facts["counts"], vectors, starts, facts["seconds"], skipped)


def _match_key(partial: Path, key: str) -> None:
    """Empty a partial folder that was made with another model, other options or other files."""
    file = partial / "key.json"
    if file.exists():
        try:
            if json.loads(file.read_text(encoding="utf-8"))["key"] == key:
                return
        except (ValueError, KeyError, TypeError):
            pass
        log.warning("%s: made with another model, other options or other files; starting over", partial)
    for old in [*partial.glob("*.npy"), *partial.glob("*.json")]:
        old.unlink()
    write_json(file, {"key": key})


@contextmanager
def _disk(output: Path) -> Iterator[None]:
    """Turn a full or unwritable disk into a sentence; finished parts stay."""
    try:
        yield
    except OSError as error:
        raise RunError(
            f"{output}: could not be written ({error.strerror or error}); make room or name another output, "
            "then run the same command: it goes on from the last finished part"
        ) from error
