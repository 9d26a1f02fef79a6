"""A model's score on a task: embeddings, probe and held-out predictions, each computed once and cached."""

from __future__ import annotations

import hashlib
import json
import os
import re
from pathlib import Path
from typing import Any

import numpy as np

from sondino.audio.windows import Windowing
from sondino.encoder.encoder import Encoder
from sondino.files import make_folder, read_json, write_json, write_whole
from sondino.lists import BETWEEN_LABELS
from sondino.probing.embeddings import task_embeddings
from sondino.probing.probe import Probed, probe
from sondino.progress import show
from sondino.tasks.labelled import Labelled
from sondino.tasks.task import Task
from sondino.text import csv_text

STAGES = 2
"""That `score_task` shows."""
PROTOCOL = 2
"""Incremented whenever a probe of the same embeddings would score otherwise."""
TOP = 3
"""Predicted labels that are saved per clip where clips may have several."""


def score_task(
    model: Encoder,
    name: str,
    task: Task,
    labelled: Labelled,
    out: Path,
    *,
    seeds: int = 5,
    windowing: Windowing | None = None,
    threads: int | None = None,
    quiet: bool = False,
) -> tuple[dict[str, Any], Labelled]:
    """Probe a model on a task, or read the score that an earlier call cached.

    Args:
        model: any encoder.
        name: in the results.
        task: which.
        labelled: its clips.
        out: the folder of the results, with `vectors/`, `scores/` and `predictions/`.
        seeds: as in `probe`.
        windowing: how clips are cut into windows; None: as the model is.
        threads: processor threads; None: the model's.
        quiet: show no progress.

    Returns:
        the entry of `scores` in results.json; the clips that could be decoded.

    Raises:
        SondinoError: the fault and what to do; finished work stays.
    """
    with show(f"{task.name}: embeddings of {name}", "clips", quiet) as progress:
        usable, embeddings, table = task_embeddings(
            model, labelled, out / "vectors", windowing=windowing, threads=threads, progress=progress
        )
        progress(len(labelled.clips), len(labelled.clips))  # of embeddings that were there, nothing is reported
    with show(f"{task.name}: probe of {name}", quiet=quiet):
        key = score_key(table, task, usable, seeds)
        kept = make_folder(out / "scores") / f"{key}.json"
        predictions = out / "predictions" / f"{in_file_name(name)}-{in_file_name(task.name)}-{key[:6]}.csv"
        if kept.exists() and predictions.exists() and read_json(kept)["model"] == name:
            return read_json(kept), usable
        found = probe(embeddings, usable, seeds)
    make_folder(predictions.parent)
    write_whole(predictions, _predictions(found, usable).encode())
    entry = {
        "model": name,
        "task": task.name,
        "metric": found.metric,
        "value": found.value,
        "interval95": list(found.interval95),
        "interval": found.interval,
        "chance": found.chance,
        "rounds": list(found.fold_scores),
        "strength": found.C,
        "knn": found.knn,
        "accuracy": found.accuracy,
        "mean_average_precision": found.mean_average_precision,
        "per_label": found.per_label,
        "clips": found.clips,
        "notes": list(found.notes),
        "vectors": table.relative_to(out).as_posix(),
        "predictions": predictions.relative_to(out).as_posix(),
    }
    write_json(kept, entry)
    return entry, usable


def score_key(table: Path, task: Task, labelled: Labelled, seeds: int) -> str:
    """Changes whenever a probe's score or the paths of its predictions would, of the embeddings in a table."""
    digest = hashlib.sha256(json.dumps([PROTOCOL, table.stem, task.name, seeds, labelled.split_kind]).encode())
    digest.update(json.dumps([labelled.multi_label, labelled.labels, len(labelled.clips)]).encode())
    for clip in labelled.clips:
        facts = [os.path.abspath(clip.path), clip.labels, clip.fold, clip.source, clip.known]  # noqa: PTH100
        digest.update(json.dumps(facts).encode())
    return digest.hexdigest()[:16]


def in_file_name(name: str) -> str:
    """A name as part of a file's name on any system; a hash is added where characters had to be replaced."""
    plain = re.sub(r"[^A-Za-z0-9._-]+", "_", name).strip("._")[:60]
    return plain if plain == name else f"{plain}-{hashlib.sha256(name.encode(errors='replace')).hexdigest()[:6]}"


def _predictions(found: Probed, labelled: Labelled) -> str:
    """Held-out predictions as CSV: one label with its probability, or the most probable few."""
    labels = labelled.labels
    several = labelled.multi_label
    header = ("path", "truth", "top") if several else ("path", "truth", "predicted", "probability", "fold")
    rows: list[tuple[Any, ...]] = []
    for row, probabilities in zip(found.rows.tolist(), found.probabilities, strict=True):
        clip = labelled.clips[row]
        path = os.path.abspath(clip.path)  # noqa: PTH100 - so that the page finds its sound from any folder
        if several:
            top = np.argsort(-probabilities, kind="stable")[: max(TOP, len(clip.labels))].tolist()
            between = BETWEEN_LABELS
            rows.append((path, between.join(clip.labels), between.join(labels[k] for k in top)))
        else:
            best = int(probabilities.argmax())
            rows.append((path, clip.labels[0], labels[best], f"{probabilities[best]:.4f}", clip.fold))
    return csv_text(header, rows)
