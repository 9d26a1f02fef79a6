"""The maps of an evaluation: the cached vectors of a model and its teacher on one task, coloured in several ways."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path, PurePath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sondino.embedding.table_readers import read_rows
from sondino.errors import OptionError, SondinoError, require
from sondino.reporting.html import number, shown
from sondino.reporting.map import MAP_POINTS, Mode, Points, cluster_mode, map_2d
from sondino.reporting.mistakes import Prediction, Predictions, root_of
from sondino.reporting.results import Results
from sondino.reporting.sounds import ReportClips

RIGHT, WRONG = 2, 3
"""Colours: green and red."""
MAPS = 2
"""A student's, and its teacher's beside it: each takes seconds to lay out."""


def maps_of(results: Results, predictions: Predictions) -> tuple[list[Points], list[str]]:
    """The maps of the first task that has vectors, of a student first; and sentences on what had to be left out."""
    notes: list[str] = []
    rows = [row for row in results.rows("scores") if row.get("vectors")]
    rows = [row for row in rows if row["task"] == rows[0]["task"]]
    order = {"student": 0, "teacher": 1}
    rows.sort(key=lambda row: order.get(results.role(row["model"]), 2))
    # One of each role first: a student and its teacher tell more than two students.
    roles = [results.role(row["model"]) for row in rows]
    rows = [row for _, row in sorted(enumerate(rows), key=lambda entry: roles.index(roles[entry[0]]) != entry[0])]
    maps: list[Points] = []
    for row in rows:
        if len(maps) == MAPS:
            break
        try:
            maps.append(_points(results, row, predictions.get((row["model"], row["task"]), ())))
        except SondinoError as error:
            notes.append(f"The map of {row['model']} is left out: {error}.")
    # The script has one choice of colours for all of them.
    return [one for one in maps if [m.name for m in one.modes] == [m.name for m in maps[0].modes]], notes


def _points(results: Results, row: Mapping[str, Any], predictions: Sequence[Prediction]) -> Points:
    """The map of one model's vectors for a task: of the clips that were held out, where that is known.

    Raises:
        SondinoError: the vectors cannot be read, or are of other clips than the predictions.
    """
    task = results.task(row["task"])
    file = results.file(str(row["vectors"]))
    if not file.exists():
        raise OptionError(f"{file} is not there any more")
    told = {_key(one.path): one for one in predictions}
    chosen = sorted(told)
    if len(chosen) > MAP_POINTS:
        chosen = sorted(np.random.default_rng(0).choice(chosen, MAP_POINTS, replace=False).tolist())
    ids, vectors = _rows(file, set(chosen))
    if not ids:
        # Vectors are kept by content: the clips may have lain elsewhere when they were made.
        names = {PurePath(path).name: path for path in chosen}
        found, vectors = _rows(file, set(names), lambda path: PurePath(path).name)
        ids = [names[PurePath(path).name] for path in found]
    if not ids or len(set(ids)) < len(ids):
        raise OptionError(f"{file} holds no vectors of the clips in the predictions")
    name = f"{row['model']} on {results.task_title(row['task'])}"
    coordinates = map_2d(vectors)
    classes = int(number(task.get("classes")) or 10)
    modes = _modes(_clusters(vectors, coordinates, classes), [told[path] for path in ids] if told else [])

    def hear(place: int, sounds: ReportClips) -> int | None:
        return sounds.add_file(results.clip(ids[place], row["task"]))

    root = root_of(ids)
    return Points(name, coordinates, [shown(path[len(root) :]) for path in ids], modes, hear)


def _key(path: str) -> str:
    """A path as tables of vectors have it."""
    return PurePath(path).as_posix()


def _rows(file: Path, chosen: set[str], key: Callable[[str], str] = _key) -> tuple[list[str], NDArray[np.float32]]:
    """Ids and vectors (n, dim) of the chosen clips, or of all where none are."""
    ids: list[str] = []
    kept = []
    for block in read_rows(file):
        wanted = [place for place, path in enumerate(block.ids) if not chosen or key(path) in chosen]
        ids += [key(block.ids[place]) for place in wanted]
        kept.append(block.embeddings[wanted])
    return ids, np.concatenate(kept)


def _clusters(vectors: NDArray[np.float32], coordinates: NDArray[np.floating], classes: int) -> NDArray[np.int64]:
    """k-means (n,) on unit vectors, as many clusters as the task has classes; -1 for what is not on the map."""
    drawn = np.flatnonzero(np.isfinite(coordinates).all(axis=1))
    clusters = np.full(len(vectors), -1)
    if len(drawn) > classes:
        unit = vectors[drawn] / np.maximum(np.linalg.norm(vectors[drawn], axis=1, keepdims=True), 1e-12)
        kmeans = require("sklearn.cluster", "report").KMeans(classes, n_init=4, random_state=0)
        clusters[drawn] = kmeans.fit_predict(unit)
    return clusters


def _modes(clusters: NDArray[np.int64], told: Sequence[Prediction]) -> list[Mode]:
    """Ways to colour the clips: by label, prediction, right or wrong, and cluster."""
    if not told:
        return [cluster_mode(clusters)]
    truths = [", ".join(one.truth) or "no label" for one in told]
    given = [one.given[0] if one.given else "nothing" for one in told]
    right = ["right" if one.right else "wrong" for one in told]
    return [
        Mode("label", truths),
        Mode("prediction", given),
        Mode("right or wrong", right, {"right": RIGHT, "wrong": WRONG}),
        cluster_mode(clusters, truths),
    ]
