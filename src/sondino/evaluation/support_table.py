"""The table of temporal support, and the shortest sufficient window."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sondino.console import new_table
from sondino.files import write_whole
from sondino.metrics.verdicts import of_best, of_count
from sondino.text import csv_text, if_known, megabytes, percent, printable, score_text

if TYPE_CHECKING:
    from rich.table import Table

COLUMNS = ("model", "task", "window", "filled", "value", "low95", "high95", "interval", "chance", "clips",
           "milliseconds_per_10s", "memory_bytes")  # fmt: skip


def choose(rows: Sequence[Mapping[str, Any]], task: str) -> dict[str, Any]:
    """The shortest window whose score is within one interval (half its width) of the best, and a message on it.

    Args:
        rows: of one model and one task, from the shortest window on.
        task: its title.
    """
    best = max(rows, key=lambda row: row["value"])
    half = (best["interval95"][1] - best["interval95"][0]) / 2
    short = next(row for row in rows if row["value"] >= best["value"] - half)
    at = f"{percent(best['value'])} at {best['window']:g} s"
    start = f"{best['model']} on {task}: {short['window']:g} s"
    if best is rows[0]:
        message = f"{start}, the shortest tried, is enough: no other scores higher than its {percent(best['value'])}"
    elif short is best:
        message = f"{start} is best, {at}, and no shorter window comes within its interval (± {100 * half:.1f})"
    else:
        message = (
            f"{start} is enough, {percent(short['value'])}, within one interval (± {100 * half:.1f}) of the best, "
            f"{at}{_saved(short, best)}"
        )
    clips = min(row["clips"] for row in rows)
    verdict = of_best([(f"{row['window']:g} s", row["value"], row["interval95"]) for row in rows], clips)
    few = of_count(clips, "clips")
    verdicts = [each for each in (verdict, few) if each] or [f"{clips} clips were scored"]
    message += "".join(f"; {each}" for each in verdicts)
    return {
        "model": best["model"],
        "task": best["task"],
        "window": short["window"],
        "best_window": best["window"],
        "clips": clips,
        "verdict": verdict,
        "sentence": message,
    }


def _saved(short: Mapping[str, Any], best: Mapping[str, Any]) -> str:
    savings = []
    if short["memory_bytes"] is not None and best["memory_bytes"] is not None:
        savings.append(f"{megabytes(short['memory_bytes'])} of memory for {best['memory_bytes'] / 1e6:.1f}")
    savings.append(f"{short['milliseconds_per_10s']:.1f} ms for 10 s in place of {best['milliseconds_per_10s']:.1f}")
    return "; " + ", ".join(savings)


def write_table(file: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """support.csv: a row for every model, task and window."""
    flat = [{**row, "low95": row["interval95"][0], "high95": row["interval95"][1]} for row in rows]
    write_whole(file, csv_text(COLUMNS, [[row[name] for name in COLUMNS] for row in flat], 6).encode())


def rich_table(results: Mapping[str, Any]) -> Table:
    """A line for every model and window: the tasks' scores with half their intervals, memory and time.

    A task's shortest sufficient window is bold.
    """
    from rich.text import Text

    tasks = results["tasks"]
    enough = {(one["model"], one["task"]): one["window"] for one in results["chosen"]}
    lines: dict[tuple[str, float], dict[str, Mapping[str, Any]]] = {}
    for row in results["rows"]:
        lines.setdefault((row["model"], row["window"]), {})[row["task"]] = row
    table = new_table()
    table.add_column("model", overflow="fold")
    for name in ("window", *(f"{task['title']} ({task['metric']})" for task in tasks), "memory", "ms / 10 s"):
        table.add_column(printable(name), justify="right")
    for (model, window), cells in lines.items():
        scores = []
        for task in tasks:
            row = cells.get(task["name"])
            cell = "" if row is None else score_text(row["value"], row["interval95"])
            scores.append(Text(cell, "bold" if enough[(model, task["name"])] == window else ""))
        cost = next(iter(cells.values()))
        memory = if_known(cost["memory_bytes"], megabytes)
        table.add_row(printable(model), f"{window:g} s", *scores, memory, f"{cost['milliseconds_per_10s']:.1f}")
    chance = {row["task"]: score_text(row["chance"]) for row in results["rows"]}
    blank = ["", ""] if lines else []
    table.add_row("chance", "", *(chance.get(task["name"], "") for task in tasks), *blank)
    return table
