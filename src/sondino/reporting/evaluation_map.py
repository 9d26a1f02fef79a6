"""The maps of an evaluation: the cached embeddings of a model and its teacher on one task, coloured in several ways."""

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
    """The maps of the first task that has embeddings, a student's first; and notes on those left out."""
    notes: list[str] = []
    rows = [row for row in results.rows("scores") if row.get("vectors")]
    rows = [row for row in rows if row["task"] == rows[0]["task"]]
    order = {"student": 0, "teacher": 1}
    rows.sort(key=lambda row: order.get(results.role(row["model"]), 2))
    # One of each role first: a student and its teacher rather than two students.
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
    """The map of one model's embeddings for a task: of the held-out clips, where those are known.

    Raises:
        SondinoError: the embeddings cannot be read, or are of other clips than the predictions.
    """
    task = results.task(row["task"])
    file = results.file(str(row["vectors"]))
    if not file.exists():
        raise OptionError(f"{file} does not exist any more")
    by_path = {_key(one.path): one for one in predictions}
    chosen = sorted(by_path)
    if len(chosen) > MAP_POINTS:
        chosen = sorted(np.random.default_rng(0).choice(chosen, MAP_POINTS, replace=False).tolist())
    ids, embeddings = _rows(file, set(chosen))
    if not ids:
        # Embeddings are cached by content: the clips may have been in another folder then.
        names = {PurePath(path).name: path for path in chosen}
        found, embeddings = _rows(file, set(names), lambda path: PurePath(path).name)
        ids = [names[PurePath(path).name] for path in found]
    if not ids or len(set(ids)) < len(ids):
        raise OptionError(f"{file} holds no embeddings of the clips in the predictions")
    name = f"{row['model']} on {results.task_title(row['task'])}"
    coordinates = map_2d(embeddings)
    classes = int(number(task.get("classes")) or 10)
    modes = _modes(_clusters(embeddings, coordinates, classes), [by_path[path] for path in ids] if by_path else [])

    def add_clip(place: int, sounds: ReportClips) -> int | None:
        return sounds.add_file(results.clip(ids[place], row["task"]))

    root = root_of(ids)
    return Points(name, coordinates, [shown(path[len(root) :]) for path in ids], modes, add_clip)


def _key(path: str) -> str:
    """A path as tables of embeddings have it."""
    return PurePath(path).as_posix()


def _rows(file: Path, chosen: set[str], key: Callable[[str], str] = _key) -> tuple[list[str], NDArray[np.float32]]:
    """Ids and embeddings (n, dim) of the chosen clips; of all where none is chosen."""
    ids: list[str] = []
    kept = []
    for block in read_rows(file):
        wanted = [place for place, path in enumerate(block.ids) if not chosen or key(path) in chosen]
        ids += [key(block.ids[place]) for place in wanted]
        kept.append(block.embeddings[wanted])
    return ids, np.concatenate(kept)


def _clusters(embeddings: NDArray[np.float32], coordinates: NDArray[np.floating], classes: int) -> NDArray[np.int64]:
    """k-means clusters (n,) of the normalised embeddings, one per class of the task; -1 for clips not on the map."""
    drawn = np.flatnonzero(np.isfinite(coordinates).all(axis=1))
    clusters = np.full(len(embeddings), -1)
    if len(drawn) > classes:
        unit = embeddings[drawn] / np.maximum(np.linalg.norm(embeddings[drawn], axis=1, keepdims=True), 1e-12)
        kmeans = require("sklearn.cluster", "report").KMeans(classes, n_init=4, random_state=0)
        clusters[drawn] = kmeans.fit_predict(unit)
    return clusters


def _modes(clusters: NDArray[np.int64], predictions: Sequence[Prediction]) -> list[Mode]:
    """Ways to colour the clips: by label, prediction, right or wrong, and cluster."""
    if not predictions:
        return [cluster_mode(clusters)]
    truths = [", ".join(one.truth) or "no label" for one in predictions]
    given = [one.given[0] if one.given else "nothing" for one in predictions]
    right = ["right" if one.right else "wrong" for one in predictions]
    return [
        Mode("label", truths),
        Mode("prediction", given),
        Mode("right or wrong", right, {"right": RIGHT, "wrong": WRONG}),
        cluster_mode(clusters, truths),
    ]
