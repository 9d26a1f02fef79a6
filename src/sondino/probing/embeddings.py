"""Frozen embeddings of labelled clips: computed once, and cached by the content of model and audio."""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Sequence
from pathlib import Path, PurePath

import numpy as np
from numpy.typing import NDArray

from sondino.audio.fragment import path_of, stretch_of
from sondino.audio.windows import Windowing
from sondino.embedding.files import Progress, embed_table
from sondino.encoder.encoder import Encoder, resolve
from sondino.encoder.pipeline import resolve_windowing
from sondino.files import make_folder, read_arrays, read_json, write_json
from sondino.progress import Report
from sondino.tasks.labelled import Labelled

CONTENTS = "contents.json"
"""Hashes of the files, each with the file's size and time when it was hashed."""
SECONDS_BETWEEN_WRITES = 60.0
"""So that a stopped call keeps most of its hashes."""


def task_embeddings(
    model: Encoder,
    labelled: Labelled,
    store: str | Path,
    *,
    windowing: Windowing | None = None,
    threads: int | None = None,
    progress: Report | None = None,
) -> tuple[Labelled, NDArray[np.float32], Path]:
    """One embedding per clip: the mean of its windows' embeddings, weighted by samples without padding.

    A stopped call resumes. Cached embeddings are found again for the same audio under other names or in another folder,
    and not for a model, a window or a file that changed.

    Args:
        model: any encoder.
        labelled: the clips.
        store: folder of the cache.
        windowing: how clips are cut into windows; None: the model's.
        threads: processor threads; None: the model's.
        progress: called with (clips done, clips in all).

    Returns:
        the clips that could be decoded; their embeddings (clips, dim); the .npz that holds them.

    Raises:
        SondinoError: the fault and what to do; finished work stays.
    """
    store = make_folder(Path(store))
    paths = [clip.path for clip in labelled.clips]
    contents = _contents(store / CONTENTS, paths)
    how = windowing or resolve_windowing(model)
    parameters = [resolve(model).fingerprint, how.window, how.hop, how.short, how.policy]
    key = hashlib.sha256(json.dumps([1, parameters, contents]).encode()).hexdigest()[:16]
    table = store / f"{key}.npz"
    facts = table.with_suffix(".json")
    embeddings = _read_kept(table) if facts.exists() else None
    if embeddings is not None:
        lost = {paths[row]: reason for row, reason in read_json(facts)["lost"]}
    else:
        report = None if progress is None else _files_alone(progress)
        embedded, embeddings, lost = _embed(model, paths, table, how, threads, report)
        place = {path: row for row, path in enumerate(paths)}
        write_json(facts, {
            "model": model.name, "window": how.window, "hop": how.hop, "short": how.short, "clips": embedded,
            "lost": [[place[path], reason] for path, reason in lost.items()],
        })  # fmt: skip
    return labelled.without(lost) if lost else labelled, embeddings, table


def embed_labelled(
    model: Encoder, labelled: Labelled, table: Path, progress: Progress | None = None
) -> tuple[Labelled, NDArray[np.float32]]:
    """Embeddings of labelled clips, without a cache.

    Args:
        model: any encoder.
        labelled: the clips; those that cannot be decoded go to `skipped`.
        table: .npz for the embeddings; a stopped call resumes.
        progress: as in `embed_files`.

    Returns:
        the clips that could be decoded, and their embeddings (clips, dim).
    """
    paths = [clip.path for clip in labelled.clips]
    _, embeddings, lost = _embed(model, paths, table, resolve_windowing(model), progress=progress)
    return labelled.without(lost), embeddings


def _embed(
    model: Encoder,
    paths: Sequence[str],
    table: Path,
    windowing: Windowing,
    threads: int | None = None,
    progress: Progress | None = None,
) -> tuple[int, NDArray[np.float32], dict[str, str]]:
    """How many were embedded, their embeddings in the order of the paths, and path -> reason of the others."""
    report = embed_table(paths, model, table, windowing, threads=threads, progress=progress)
    lost = dict(report.skipped)
    found = read_arrays(table)
    row = {name: number for number, name in enumerate(found["ids"].tolist())}
    embeddings = found["vectors"]
    order = [row[PurePath(path).as_posix()] for path in paths if path not in lost]
    if order != list(range(len(embeddings))):
        embeddings = embeddings[order]
    return report.files, embeddings, lost


def _read_kept(table: Path) -> NDArray[np.float32] | None:
    """The embeddings of a table; None where it is missing or damaged and they must be computed again."""
    try:
        return read_arrays(table)["vectors"]
    except (OSError, ValueError, KeyError):
        return None


def _files_alone(progress: Report) -> Progress:
    return lambda done, total, _: progress(done, total)


def _contents(memory: Path, paths: Sequence[str]) -> list[str]:
    """The hash of each file, from memory where size and time are what they were."""
    known = read_json(memory) if memory.exists() else {}
    hashes, new = [], False
    written = time.monotonic()
    for stretch in map(stretch_of, paths):
        path = os.path.abspath(stretch.file)  # noqa: PTH100 - of hundreds of thousands
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
            # Of all of a file as of earlier versions, which had no stretches.
            hashes.append(path_of(entry[2], stretch.start, stretch.duration))
        except OSError as error:
            hashes.append(f"unreadable: {error.strerror}")  # embedding reports it too
    if new:
        write_json(memory, known)
    return hashes
