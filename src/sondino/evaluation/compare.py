"""Models side by side: size, cost and scores of each, absolute and relative to the first model."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sondino.arrow import AsTable, arrow_of_dicts
from sondino.benchmark.measure import milliseconds_side_by_side
from sondino.encoder.encoder import Encoder
from sondino.errors import OptionError
from sondino.evaluation.evaluate import EvaluatedModel, add_model
from sondino.evaluation.models import model_facts
from sondino.evaluation.record import results_header, task_facts
from sondino.evaluation.retention import explained, retention, table_with_notes
from sondino.evaluation.scores import STAGES, score_task
from sondino.files import make_folder, thread_count, write_json, write_whole
from sondino.locks import lock_or_fail
from sondino.metrics.verdicts import of_models
from sondino.probing.probe import check_probe
from sondino.progress import show, stages
from sondino.tasks.labelled import Labelled
from sondino.tasks.registry import read_tasks
from sondino.tasks.task import Task
from sondino.text import csv_of_dicts, if_known, percent, score_text

if TYPE_CHECKING:
    import pyarrow

GRID = 475.0
"""Grams of CO2e per kilowatt-hour: the world's average, codecarbon's default."""

ROUNDS = 9
JOULES_PER_KWH = 3.6e6

COSTS = ("parameters", "macs_per_10s", "file_bytes", "milliseconds_per_10s", "joules_per_10s")


@dataclass
class Compared(AsTable):
    """The outcome of `compare`; `to_arrow` and `to_pandas` give the table of compare.csv.

    Attributes:
        results: as in compare.json.
        skipped: (path, reason) of files that could not be used.
    """

    results: dict[str, Any]
    skipped: list[tuple[str, str]] = field(default_factory=list)

    def to_arrow(self) -> pyarrow.Table:
        """A row a model, for pyarrow; raises MissingExtra without pyarrow."""
        text = dict.fromkeys(("model", "source", "joules_how"), "string")
        return arrow_of_dicts(self.results["rows"], {**text, "parameters": "int64", "file_bytes": "int64"})


def compare(
    models: Sequence[str | Encoder],
    out: str | Path | None = None,
    *,
    tasks: Sequence[str] = (),
    data: str | Path | None = None,
    seeds: int = 5,
    grid: float = GRID,
    threads: int | None = None,
    quiet: bool = False,
    command: Sequence[str] = (),
) -> Compared:
    """Measure size, speed, energy and probe scores of models, absolute and relative to the first.

    Times are measured in turn, round after round. Scores are those of `evaluate`.

    Args:
        models: bundles, or whatever else `evaluate` takes; each is compared with the first.
        out: folder for compare.csv, compare.json and compare.md, and for embeddings and scores, so that the same call
            resumes where it was stopped; None: nothing is saved.
        tasks: as in `evaluate`; empty: costs alone.
        data: as in `evaluate`.
        seeds: as in `evaluate`.
        grid: grams of CO2e for a kilowatt-hour.
        threads: processor threads; None: all.
        quiet: show no progress.
        command: the command line, for the record.

    Raises:
        SondinoError: the fault and what to do; finished work stays.

    Examples:
        >>> done = sondino.compare(["run/bundle"], quiet=True)
        >>> [row["model"] for row in done.results["rows"]]
        ['small']
    """
    given = list(dict.fromkeys(models))
    if not given:
        raise OptionError("nothing to compare: name bundles, first the one that the others are compared with")
    if seeds < 1:
        raise OptionError(f"seeds is {seeds}: give a whole number, 1 or more")
    if not 0 <= grid <= 5000:
        raise OptionError(f"grid is {grid:g}: give grams of CO2e for a kilowatt-hour, from 0 to 5000")
    thread_count(threads)
    on = read_tasks(tasks, None if data is None else Path(data)) if tasks else []
    for task, labelled in on:
        check_probe(task.title, labelled)
    opened: list[EvaluatedModel] = []
    for one in given:
        opened.append(add_model(one, opened, threads=threads))
    with _folder(out) as folder, stages(1 + STAGES * len(opened) * len(on)):
        skipped: list[tuple[str, str]] = []
        facts = _costs(opened, quiet)
        scores, about_tasks = _scores(opened, on, folder, seeds, threads, quiet, skipped)
        notes = [note for task in about_tasks for note in task["notes"]]
        if any(model["joules_per_10s"] is None for model in facts):
            notes.append("no energy: that needs codecarbon, pip install 'sondino[energy]'")
        notes += of_models(facts, scores)
        results = {
            **results_header("comparison", ", ".join(task.title for task, _ in on), command, notes),
            "seeds": seeds,
            "rounds": ROUNDS,
            "grid": grid,
            "tasks": about_tasks,
            "models": facts,
            "scores": scores,
            "rows": rows(facts, about_tasks, scores, grid),
        }
        if out is not None:
            write_json(folder / "compare.json", results)
            write_whole(folder / "compare.csv", csv_of_dicts(results["rows"], digits=6).encode())
            write_whole(folder / "compare.md", table_with_notes(shown_rows(results), format_results(results)).encode())
    return Compared(results, skipped)


@contextmanager
def _folder(out: str | Path | None) -> Iterator[Path]:
    """The folder of the results; a temporary one for None."""
    if out is None:
        with tempfile.TemporaryDirectory(prefix="sondino-compare-") as passing:
            yield Path(passing)
        return
    folder = make_folder(Path(out))
    with lock_or_fail(folder, "comparison", "filling"):
        yield folder


def _costs(opened: Sequence[EvaluatedModel], quiet: bool) -> list[dict[str, Any]]:
    with show("size, speed and energy", "models", quiet) as progress:
        progress(0, len(opened))
        times = milliseconds_side_by_side([one.encoder for one in opened], ROUNDS)
        facts = []
        for one, milliseconds in zip(opened, times, strict=True):
            facts.append(model_facts(one.encoder, one.name, one.role, one.source, milliseconds))
            progress(len(facts), len(opened))
    return facts


def _scores(
    opened: Sequence[EvaluatedModel],
    on: Sequence[tuple[Task, Labelled]],
    folder: Path,
    seeds: int,
    threads: int | None,
    quiet: bool,
    skipped: list[tuple[str, str]],
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Scores of every model on every task, and the tasks; adds undecodable files to `skipped`, each once."""
    scores: list[dict[str, Any]] = []
    tasks: list[dict[str, Any]] = []
    for task, labelled in on:
        usable = labelled
        for one in opened:
            entry, usable = score_task(one.encoder, one.name, task, labelled, folder, seeds=seeds, threads=threads,
                                      quiet=quiet)  # fmt: skip
            scores.append(entry)
            skipped += [each for each in usable.skipped if each not in skipped]
        notes = [note for entry in scores if entry["task"] == task.name for note in entry["notes"]]
        tasks.append({**task_facts(task, usable), "notes": list(dict.fromkeys([*usable.notes, *notes]))})
    return scores, tasks


def rows(
    models: Sequence[Mapping[str, Any]],
    tasks: Sequence[Mapping[str, Any]],
    scores: Sequence[Mapping[str, Any]],
    grid: float,
) -> list[dict[str, Any]]:
    """A flat row per model: its costs and scores, each followed by its ratio to the first model's.

    Args:
        models: as in compare.json, the reference first.
        tasks: as there.
        scores: as there.
        grid: grams of CO2e for a kilowatt-hour.

    Returns:
        of each of `COSTS` the value and NAME_share; mg_co2e_per_10s; of each task the score, TASK_low, TASK_high and
        TASK_kept; average and kept. None where a value is unknown, and in the ratios of a single model.
    """
    alone = len(models) == 1
    reference = models[0]["name"]
    found = {(score["model"], score["task"]): score for score in scores}
    averages = {row["model"]: row for row in retention(models, tasks, scores, reference)}
    flat = []
    for model in models:
        row: dict[str, Any] = {"model": model["name"], "source": model["source"]}
        for cost in COSTS:
            row |= {cost: model[cost], f"{cost}_share": None if alone else _share(model[cost], models[0][cost])}
        joules = model["joules_per_10s"]
        row["mg_co2e_per_10s"] = None if joules is None else 1000 * grid * joules / JOULES_PER_KWH
        for task in tasks:
            score, name = found[model["name"], task["name"]], task["name"]
            kept = None if alone else _share(score["value"], found[reference, name]["value"])
            row |= {name: score["value"], f"{name}_low": score["interval95"][0], f"{name}_high": score["interval95"][1]}
            row[f"{name}_kept"] = kept
        average = averages[model["name"]]["average"]
        row |= {"average": average, "kept": None if alone else _share(average, averages[reference]["average"])}
        flat.append(row | {"joules_how": model["joules_how"]})
    return flat


def _share(value: float | None, of: float | None) -> float | None:
    return None if value is None or not of else value / of


def shown_rows(results: Mapping[str, Any]) -> list[dict[str, str]]:
    """The table for people: every value with its ratio to the first model's; empty columns are left out.

    Args:
        results: as in compare.json.
    """
    names = [task["name"] for task in results["tasks"]]
    shown = []
    for number, row in enumerate(results["rows"]):

        def cell(value: str, share: float | None, first: bool = number == 0) -> str:
            return value if first or share is None else f"{value} ({percent(share, 0 if share >= 0.1 else 1)})"

        line = {"model": row["model"]}
        for cost, (title, scale, unit) in _SHOWN.items():
            value = row[cost]
            line[title] = "" if value is None else cell(f"{value / scale:.3g}{unit}", row[f"{cost}_share"])
        carbon = row["mg_co2e_per_10s"]
        line["mg CO2e"] = if_known(carbon, "{:.2g}".format)
        for name in names:
            line[name] = cell(score_text(row[name], (row[f"{name}_low"], row[f"{name}_high"])), row[f"{name}_kept"])
        if len(names) > 1:
            line["average"] = cell(score_text(row["average"]), row["kept"])
        shown.append(line)
    known = [title for title in shown[0] if any(line[title] for line in shown)]
    return [{title: line[title] for title in known} for line in shown]


_SHOWN = {
    "parameters": ("parameters", 1e6, " M"),
    "macs_per_10s": ("MACs", 1e9, " G"),
    "file_bytes": ("file", 1e6, " MB"),
    "milliseconds_per_10s": ("ms", 1.0, ""),
    "joules_per_10s": ("J", 1.0, ""),
}


def format_results(results: Mapping[str, Any]) -> list[str]:
    """Notes on what the table's numbers are.

    Args:
        results: as in compare.json.
    """
    of = f"in brackets: relative to {results['models'][0]['name']}; " if len(results["models"]) > 1 else ""
    lines = [
        f"{of}MACs, ms, J and mg CO2e are for 10 s of audio; ms: median of {results['rounds']} rounds, "
        "all models in turn; file: a bundle's model.onnx, its log-mel inside"
    ]
    lines += explained({**results, "retention": []})
    chance = {score["task"]: score["chance"] for score in results["scores"]}
    if chance:
        lines.append(f"chance: {', '.join(f'{name} {score_text(value)}' for name, value in chance.items())}")
    if any(row["mg_co2e_per_10s"] is not None for row in results["rows"]):
        lines.append(f"mg CO2e: an estimate, those joules at {results['grid']:g} g for a kilowatt-hour (--grid)")
    return [*lines, *results["notes"]]
