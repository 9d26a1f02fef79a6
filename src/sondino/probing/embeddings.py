"""Frozen vectors of labelled clips: computed once, and kept by the content of model and sound."""

from __future__ import annotations

import hashlib
import json
import os
import time
import zipfile
from collections.abc import Sequence
from pathlib import Path, PurePath

import numpy as np
from numpy.typing import NDArray

from sondino.audio.windows import Windowing
from sondino.embedding.files import Progress, embed_table
from sondino.encoder.encoder import Encoder, resolve
from sondino.encoder.pipeline import resolve_windowing
from sondino.files import make_folder, read_json, write_json
from sondino.progress import Report
from sondino.tasks.labelled import Labelled

CONTENTS = "contents.json"
"""Hashes of the sounds, each with the size and time of the file when it was taken."""
SECONDS_BETWEEN_WRITES = 60.0
"""So that a stopped call has not hashed for nothing."""


def task_vectors(
    model: Encoder,
    labelled: Labelled,
    store: str | Path,
    *,
    windowing: Windowing | None = None,
    threads: int | None = None,
    progress: Report | None = None,
) -> tuple[Labelled, NDArray[np.float32], Path]:
    """One vector a clip: the mean of its windows' vectors, by real samples.

    Stopped at any moment, the same call goes on. The same sounds under other names or in another place are known again;
    a model, a window or a sound that changed is not taken for the old one.

    Args:
        model: any encoder.
        labelled: the clips.
        store: folder that vectors are kept in.
        windowing: how clips are cut into windows; None: as the model is.
        threads: processor threads; None: the model's.
        progress: called with (clips done, clips in all).

    Returns:
        the clips that could be heard; their vectors (clips, dim); the .npz that holds them.

    Raises:
        SondinoError: what is wrong, in a sentence; what is done stays.
    """
    store = make_folder(Path(store))
    paths = [clip.path for clip in labelled.clips]
    contents = _contents(store / CONTENTS, paths)
    how = windowing or resolve_windowing(model)
    heard = [resolve(model).fingerprint, how.window, how.hop, how.short, how.policy]
    key = hashlib.sha256(json.dumps([1, heard, contents]).encode()).hexdigest()[:16]
    table = store / f"{key}.npz"
    facts = table.with_suffix(".json")
    vectors = _read_kept(table) if facts.exists() else None
    if vectors is not None:
        lost = {paths[row]: reason for row, reason in read_json(facts)["lost"]}
    else:
        tell = None if progress is None else _files_alone(progress)
        embedded, vectors, lost = _embed(model, paths, table, how, threads, tell)
        place = {path: row for row, path in enumerate(paths)}
        write_json(facts, {
            "model": model.name, "window": how.window, "hop": how.hop, "short": how.short, "clips": embedded,
            "lost": [[place[path], reason] for path, reason in lost.items()],
        })  # fmt: skip
    return labelled.without(lost) if lost else labelled, vectors, table


def embed_labelled(
    model: Encoder, labelled: Labelled, table: Path, progress: Progress | None = None
) -> tuple[Labelled, NDArray[np.float32]]:
    """The same without keeping.

    Args:
        model: any encoder.
        labelled: the clips; those that cannot be heard go to `skipped`.
        table: .npz for the vectors; stopped, the same call goes on.
        progress: as in `embed_files`.

    Returns:
        the clips that could be heard, and their vectors (clips, dim).
    """
    paths = [clip.path for clip in labelled.clips]
    _, vectors, lost = _embed(model, paths, table, resolve_windowing(model), progress=progress)
    return labelled.without(lost), vectors


def _embed(
    model: Encoder,
    paths: Sequence[str],
    table: Path,
    windowing: Windowing,
    threads: int | None = None,
    progress: Progress | None = None,
) -> tuple[int, NDArray[np.float32], dict[str, str]]:
    """How many were embedded, their vectors in the order of the paths, and path -> reason of the others."""
    report = embed_table(paths, model, table, windowing, threads=threads, progress=progress)
    lost = dict(report.skipped)
    with np.load(table) as found:
        row = {name: number for number, name in enumerate(found["ids"].tolist())}
        vectors = found["vectors"]
    order = [row[PurePath(path).as_posix()] for path in paths if path not in lost]
    if order != list(range(len(vectors))):
        vectors = vectors[order]
    return report.files, vectors, lost


def _read_kept(table: Path) -> NDArray[np.float32] | None:
    """The vectors of a table; None where it is missing or damaged, and they are to be computed again."""
    try:
        with np.load(table) as found:
            vectors: NDArray[np.float32] = found["vectors"]
            return vectors
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return None


def _files_alone(progress: Report) -> Progress:
    return lambda done, total, _: progress(done, total)


def _contents(memory: Path, paths: Sequence[str]) -> list[str]:
    """The hash of each file, from memory where size and time are what they were."""
    known = read_json(memory) if memory.exists() else {}
    hashes, new = [], False
    written = time.monotonic()
    for path in map(os.path.abspath, paths):
        if new and time.monotonic() - written > SECONDS_BETWEEN_WRITES:
            write_json(memory, known)
            written = time.monotonic()
        try:
            facts = os.stat(path)  # noqa: PTH116 - of hundreds of thousands
            stamp = [facts.st_size, facts.st_mtime_ns]
            entry = known.get(path)
            if entry is None or entry[:2] != stamp:
                with open(path, "rb") as opened:  # noqa: PTH123
                    entry = [*stamp, hashlib.file_digest(opened, "sha256").hexdigest()]
                known[path], new = entry, True
            hashes.append(entry[2])
        except OSError as error:
            hashes.append(f"unreadable: {error.strerror}")  # embedding says so too
    if new:
        write_json(memory, known)
    return hashes
