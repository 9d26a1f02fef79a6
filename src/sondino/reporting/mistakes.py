"""The errors of an evaluation: score per label, confusion matrix, and misclassified clips to play."""

import csv
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sondino.reporting.html import fill, number, section, shown, text
from sondino.reporting.results import Results
from sondino.reporting.sounds import ReportClips
from sondino.text import read_csv

CLOSER_BYTES = 3_500_000
"""Budget of audio for the misclassified clips of all models and tasks; the map has the rest."""
MISTAKES = 12
"""How many of the most confident are listed."""
PAIRS = 12
"""How many of the most frequent confusions are listed."""
A_CELL = 3
"""Clips of one cell of the confusion matrix that can be played."""
MOST = 600
"""Misclassified clips of one model and task in the page."""
BETWEEN = ";"


@dataclass(frozen=True)
class Prediction:
    """One held-out clip.

    Attributes:
        path: as the results name it.
        truth: its label or labels.
        given: the predicted label; of several labels the most probable first.
        probability: of the predicted one; None where unknown.
    """

    path: str
    truth: tuple[str, ...]
    given: tuple[str, ...]
    probability: float | None

    @property
    def right(self) -> bool:
        """Whether the (most probable) label is one that the clip has."""
        return bool(self.given) and self.given[0] in self.truth


Predictions = Mapping[tuple[str, str], Sequence[Prediction]]
"""Of each (model, task)."""


def read_predictions(results: Results) -> tuple[dict[tuple[str, str], list[Prediction]], list[str]]:
    """The held-out predictions that lie beside the results, and a message for each file that cannot be used."""
    found, notes = {}, []
    for row in results.rows("scores"):
        if not row.get("predictions"):
            continue
        file = results.file(str(row["predictions"]))
        several = bool(results.task(row["task"]).get("multi_label"))
        try:
            with file.open(newline="", encoding="utf-8", errors="surrogateescape") as lines:
                found[row["model"], row["task"]] = [_prediction(line, several) for line in read_csv(lines)]
        except (OSError, csv.Error, KeyError, AttributeError) as error:
            reason = f"no column {error}" if isinstance(error, KeyError) else getattr(error, "strerror", None) or error
            notes.append(f"{file.name} cannot be used ({reason}): its misclassified clips are left out.")
    return found, notes


def _prediction(row: Mapping[str, str], several: bool) -> Prediction:
    def names(cell: str) -> tuple[str, ...]:
        return tuple(name.strip() for name in cell.split(BETWEEN) if name.strip()) if several else (cell,)

    try:
        probability = number(float(row["probability"])) if row.get("probability") else None
    except ValueError:
        probability = None
    return Prediction(row["path"], names(row["truth"]), names(row["top" if several else "predicted"]), probability)


def closer_data(results: Results, predictions: Predictions, sounds: ReportClips, upto: int) -> dict[str, Any]:
    """What the page's script draws: the labels, confusion matrix and misclassified clips of each model and task.

    Args:
        results: of an evaluation.
        predictions: as `read_predictions` gives them.
        sounds: that the misclassified clips are added to, the most confident of every model and task first.
        upto: bytes of audio in the page after that, at most.
    """
    shown_of = [
        row for row in results.rows("scores") if row.get("per_label") or (row["model"], row["task"]) in predictions
    ]
    # The page opens with the first view, so a student comes first.
    shown_of.sort(key=lambda row: results.role(row["model"]) != "student")
    models = list(dict.fromkeys(str(row["model"]) for row in shown_of))
    tasks = list(dict.fromkeys(str(row["task"]) for row in shown_of))
    clips: dict[tuple[str, str], int] = {}
    views, wanted = {}, []
    for row in shown_of:
        model, task = str(row["model"]), str(row["task"])
        view, order = _view(results, row, predictions.get((model, task), ()), clips)
        views[f"{models.index(model)} {tasks.index(task)}"] = view
        wanted.append(order)
    places = [-1] * len(clips)
    of_clip = list(clips)
    # In turns: the most confident of each model and task, then the second of each.
    for clip in (
        order[turn] for turn in range(max(map(len, wanted), default=0)) for order in wanted if turn < len(order)
    ):
        task, path = of_clip[clip]
        place = sounds.add_file(results.clip(path, task), upto)
        places[clip] = -1 if place is None else place
    roots = {task: root_of([path for own, path in of_clip if own == task]) for task in tasks}
    shown_tasks = [
        {"title": results.task_title(task), "metric": results.task(task).get("metric") or ""} for task in tasks
    ]
    names = [shown(path[len(roots[task]) :]) for task, path in of_clip]
    return {"models": models, "tasks": shown_tasks, "clips": names, "sound": places, "views": views} if views else {}


def _view(
    results: Results, row: Mapping[str, Any], predictions: Sequence[Prediction], clips: dict[tuple[str, str], int]
) -> tuple[dict[str, Any], list[int]]:
    """One model and task; and its clips in the order in which they are given audio."""
    task = results.task(row["task"])
    per_label = row.get("per_label") or {}
    labels = [str(label) for label in task.get("labels") or sorted(per_label)]
    known = {label: place for place, label in enumerate(labels)}
    for one in predictions:
        for label in (*one.truth, *one.given[:1]):
            known.setdefault(label, len(known))
    several = bool(task.get("multi_label"))
    wrong = sorted((one for one in predictions if not one.right and one.given), key=lambda one: -(one.probability or 0))
    cells: dict[tuple[int, int], list[int]] = {}
    mistakes: list[dict[str, Any]] = []
    listed: list[int] = []  # places in mistakes
    examples: list[int] = []
    for one in wrong:
        truth, given = known[one.truth[0]] if one.truth else -1, known[one.given[0]]
        cell = cells.setdefault((truth, given), [])
        first = len(listed) < MISTAKES
        if first or (len(cell) < A_CELL and len(mistakes) < MOST):
            clip = clips.setdefault((row["task"], one.path), len(clips))
            place = len(mistakes)
            mistakes.append({
                "clip": clip, "truth": truth, "given": given, "sure": one.probability,
                **({"truths": ", ".join(one.truth)} if several else {}),
            })  # fmt: skip
            (listed if first else examples).append(place)
            cell.append(place)
    counts: dict[tuple[int, int], int] = {}
    if not several:
        for one in predictions:
            pair = known[one.truth[0]], known[one.given[0]]
            counts[pair] = counts.get(pair, 0) + 1
    pairs = sorted(
        ((n, pair) for pair, n in counts.items() if pair[0] != pair[1]), key=lambda entry: (-entry[0], entry[1])
    )
    # After the list the frequent pairs, then the rest.
    frequent = [place for _, pair in pairs[:PAIRS] for place in cells[pair]]
    order = [mistakes[place]["clip"] for place in dict.fromkeys([*listed, *frequent, *examples])]
    others = [one for one in results.rows("scores") if one["task"] == row["task"] and one["model"] != row["model"]]
    teacher = next((one.get("per_label") or {} for one in others if results.role(one["model"]) == "teacher"), {})
    view = {
        "labels": [shown(label) for label in known],
        "scores": [number(per_label.get(label)) for label in known],
        "teacher": [number(teacher.get(label)) for label in known],
        "cells": [[truth, given, n] for (truth, given), n in sorted(counts.items())],
        "pairs": [[truth, given, n] for n, (truth, given) in pairs[:PAIRS]],
        "mistakes": mistakes,
        "listed": listed,
        "clips": len(predictions),
        "wrong": len(wrong),
        "several": several,
    }
    return view, order


def root_of(paths: Sequence[str]) -> str:
    """The common start of all paths, up to its last slash, which a page need not repeat."""
    common = os.path.commonprefix(list(paths))  # noqa: RUF071 - of letters, for ids that need not be paths
    return common[: common.rfind("/") + 1]


def closer_sections(closer: Mapping[str, Any]) -> str:
    """The sections that the script draws in, with one choice of model and task above them."""
    if not closer:
        return ""

    def choice(name: str, label: str, options: Sequence[str]) -> str:
        listed = "".join(f"<option>{text(option)}</option>" for option in options)
        return f'<label{"" if len(options) > 1 else " hidden"}>{label} <select id="{name}">{listed}</select></label>'

    chosen = choice("closer-model", "model", closer["models"]) + choice(
        "closer-task", "task", [task["title"] for task in closer["tasks"]]
    )
    alone = len(closer["models"]) == len(closer["tasks"]) == 1
    bar = (
        f'<div class="choose" role="group" aria-label="What is shown below"{" hidden" if alone else ""}>{chosen}</div>'
    )
    return (
        f'<div class="closer">{bar}'
        + section("labels", "Score per label", fill("labels.html"))
        + section("matrix", "Confusion matrix", fill("matrix.html"))
        + section("mistakes", "Misclassified clips", fill("mistakes.html"))
        + "</div>"
    )
