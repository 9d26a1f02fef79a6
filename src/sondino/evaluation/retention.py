"""Retention: the scores of models per task, relative to their teacher's, as rows for a table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sondino.files import write_whole
from sondino.reporting.cells import ROLES
from sondino.text import csv_of_dicts, if_known, markdown, markdown_table, megabytes, millions, percent, score_text

Row = Mapping[str, Any]


def retention(
    models: Sequence[Row], tasks: Sequence[Row], scores: Sequence[Row], teacher_name: str | None
) -> list[dict[str, Any]]:
    """Models and chance as rows: each task, the average over tasks, and the average relative to the teacher's.

    Args:
        models: as in results.json.
        tasks: as in results.json, in the order of the columns.
        scores: as in results.json.
        teacher_name: the model that the others are compared with; None: there is none.

    Returns:
        model, role, scores (task -> value), average, kept, times_smaller (by parameters), smaller_by_file (by bytes);
        None where unknown. The last row is chance.
    """
    teacher = next((model for model in models if model["name"] == teacher_name), None)
    names = [task["name"] for task in tasks]
    found = {(score["model"], score["task"]): score["value"] for score in scores}
    rows: list[dict[str, Any]] = []
    for model in models:
        of = {name: found.get((model["name"], name)) for name in names}
        rows.append({
            "model": model["name"],
            "role": model["role"],
            "scores": of,
            "average": _average(of),
            "kept": None,
            "times_smaller": _times(teacher, model, "parameters"),
            "smaller_by_file": _times(teacher, model, "file_bytes"),
        })  # fmt: skip
    chance = {name: next((s["chance"] for s in scores if s["task"] == name), None) for name in names}
    empty = dict.fromkeys(("kept", "times_smaller", "smaller_by_file"))
    rows.append({"model": "chance", "role": "chance", "scores": chance, "average": _average(chance), **empty})
    reference = next((row["average"] for row in rows if row["model"] == teacher_name), None)
    for row in rows:
        if reference and row["average"] is not None and row["model"] != teacher_name:
            row["kept"] = row["average"] / reference
    return rows


def write_tables(folder: Path, results: Mapping[str, Any]) -> None:
    """Write retention.md, retention.csv, scores.csv and agreement.csv from results.json's content."""
    if results["tasks"] and results["scores"]:
        rows = flat_rows(results)
        write_whole(folder / "retention.csv", csv_of_dicts(rows, digits=6).encode())
        write_whole(folder / "retention.md", _markdown(results).encode())
        write_whole(folder / "scores.csv", csv_of_dicts(score_rows(results), digits=6).encode())
    if results["agreement"]:
        write_whole(folder / "agreement.csv", csv_of_dicts(results["agreement"], digits=6).encode())


def score_rows(results: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The rows of scores.csv: one for each model and task, with the ends of the score's interval."""
    flat = [{**score, "low": score["interval95"][0], "high": score["interval95"][1]} for score in results["scores"]]
    return [_without(row, ("interval95", "rounds", "per_label", "notes", "vectors", "predictions")) for row in flat]


def flat_rows(results: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The rows of the retention table with each task's interval and each model's costs, one value per column."""
    facts = {model["name"]: model for model in results["models"]}
    scores = {(score["model"], score["task"]): score for score in results["scores"]}
    costs = ("parameters", "file_bytes", "macs_per_10s", "milliseconds_per_10s", "joules_per_10s", "joules_how")
    rows = []
    for row in results["retention"]:
        flat: dict[str, Any] = {"model": row["model"], "role": row["role"]}
        for task, value in row["scores"].items():
            ends = scores.get((row["model"], task), {}).get("interval95", (None, None))
            flat |= {task: value, f"{task}_low": ends[0], f"{task}_high": ends[1]}
        flat |= {name: row[name] for name in ("average", "kept", "times_smaller")}
        flat |= {name: facts.get(row["model"], {}).get(name) for name in costs}
        rows.append(flat)
    return rows


def shown_rows(results: Mapping[str, Any]) -> list[dict[str, str]]:
    """The retention table for people: percent with half the interval, sizes with their units."""
    facts = {model["name"]: model for model in results["models"]}
    scores = {(score["model"], score["task"]): score for score in results["scores"]}
    rows = []
    for row in results["retention"]:
        shown = {"model": row["model"], "role": ROLES.get(row["role"], row["role"])}
        for task, value in row["scores"].items():
            ends = scores.get((row["model"], task), {}).get("interval95")
            shown[task] = "" if value is None else score_text(value, ends)
        if len(row["scores"]) > 1:
            shown["average"] = if_known(row["average"], score_text)
        model = facts.get(row["model"], {})
        shown |= {
            "relative to teacher": if_known(row["kept"], percent),
            "smaller": if_known(row["times_smaller"], "{:.1f}×".format),
            "parameters": if_known(model.get("parameters"), millions),
            "file": if_known(model.get("file_bytes"), megabytes),
            "MACs, 10 s": if_known(model.get("macs_per_10s"), lambda v: f"{v / 1e9:.3g} G"),
            "ms, 10 s": if_known(model.get("milliseconds_per_10s"), "{:.1f}".format),
            "J, 10 s": if_known(model.get("joules_per_10s"), "{:.2g}".format),
        }
        rows.append(shown)
    known = [name for name in rows[0] if name in ("model", "role") or any(row[name] for row in rows)]
    return [{name: row[name] for name in known} for row in rows]


def explained(results: Mapping[str, Any]) -> list[str]:
    """Notes on what the table's numbers are."""
    notes = []
    for task in results["tasks"]:
        intervals = dict.fromkeys(s["interval"] for s in results["scores"] if s["task"] == task["name"])
        if intervals:
            notes.append(
                f"{task['name']}: {task['metric']} in percent of a linear probe on {task['clips']:,} clips, "
                f"± half the 95 % interval ({' or '.join(intervals)})"
            )
    hows = dict.fromkeys(model["joules_how"] for model in results["models"] if model.get("joules_how"))
    notes += [f"J: {how}" for how in hows]
    if any(row["kept"] is not None for row in results["retention"]):
        notes.append(
            "relative to teacher: average over the teacher's average; smaller: teacher's parameters over the model's"
        )
    return notes


def _markdown(results: Mapping[str, Any]) -> str:
    return table_with_notes(shown_rows(results), [*explained(results), *results["notes"]])


def table_with_notes(rows: Sequence[Mapping[str, str]], notes: Sequence[str]) -> str:
    """Rows of named cells as a table in Markdown, with notes as a list under it."""
    table = markdown_table(list(rows[0]), [list(row.values()) for row in rows])
    return "\n".join([table, "", *(f"- {markdown(note)}" for note in notes)]) + "\n"


def _without(row: Row, names: Sequence[str]) -> dict[str, Any]:
    return {name: value for name, value in row.items() if name not in names}


def _average(scores: Mapping[str, float | None]) -> float | None:
    """The mean over tasks; None where one is missing, since averages over different tasks cannot be compared."""
    values = list(scores.values())
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known and len(known) == len(values) else None


def _times(teacher: Row | None, model: Row, what: str) -> float | None:
    if (
        teacher is None
        or model is teacher
        or model["role"] == "untrained"
        or not (teacher.get(what) and model.get(what))
    ):
        return None
    return float(teacher[what] / model[what])
