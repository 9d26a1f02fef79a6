"""The table of a sweep, like the loss table of S-SONDO: settings, domains of tasks, the average and its interval."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any

from sondino.console import new_table
from sondino.files import write_whole
from sondino.metrics.intervals import t_interval
from sondino.metrics.verdicts import of_best
from sondino.text import csv_text, if_known, markdown, markdown_table, millions, printable, score_text

if TYPE_CHECKING:
    from rich.table import Table

SEED = "seed"
AGREEMENT = ("cosine", "neighbour_overlap")
COUNTED = ("chance", "clips", "overlap_by_chance", "held_out")
TITLES = {"cosine": "cosine", "neighbour_overlap": "10-NN overlap", "parameters": "parameters"}


def averages(values: Mapping[str, float], domains: Mapping[str, str]) -> dict[str, Any]:
    """The mean over tasks, and over the tasks of each domain.

    Args:
        values: task -> score, 0 to 1.
        domains: task -> domain, in the order of the tasks; with a task that has no score there is no average.
    """
    if not domains or values.keys() != domains.keys():
        return {"average": None, "domains": {}}
    by_domain: dict[str, list[float]] = {}
    for name, domain in domains.items():
        by_domain.setdefault(domain, []).append(values[name])
    return {
        "average": fmean(values[name] for name in domains),
        "domains": {domain: fmean(scores) for domain, scores in by_domain.items()},
    }


def tabulate(runs: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Runs that differ by their seed alone, as one row: means, and the 95 % interval of the average.

    The interval is Student's t over seeds where there are two or more, else it is combined from the tasks' own.

    Args:
        runs: rows of results.json's `runs`.
    """
    groups: dict[tuple[tuple[str, Any], ...], list[Mapping[str, Any]]] = {}
    for run in runs:
        groups.setdefault(tuple((k, v) for k, v in run["settings"].items() if k != SEED), []).append(run)
    rows = []
    for settings, same in groups.items():
        row: dict[str, Any] = {"settings": dict(settings), "seeds": len(same)}
        low_high, how = _interval(same)
        row |= {"average": _mean(same, "average"), "interval95": low_high, "interval": how}
        row["domains"] = {
            domain: fmean(run["domains"][domain] for run in same if domain in run["domains"])
            for domain in dict.fromkeys(d for run in same for d in run["domains"])
        }
        row["tasks"] = {
            task: fmean(run["scores"][task]["value"] for run in same if task in run["scores"])
            for task in dict.fromkeys(t for run in same for t in run["scores"])
        }
        for name in AGREEMENT:
            row[name] = _mean(same, name)
            row[f"{name}_interval95"] = over_seeds([run[name] for run in same if run.get(name) is not None])
        row |= {name: same[0].get(name) for name in ("overlap_by_chance", "held_out", "parameters")}
        # Of several tasks the fewest clips count.
        clips = [score["clips"] for run in same for score in run["scores"].values() if "clips" in score]
        row["clips"] = min(clips, default=None)
        chances = [score["chance"] for score in same[0]["scores"].values() if "chance" in score]
        row["chance"] = fmean(chances) if chances else None
        rows.append(row)
    return rows


def _mean(runs: Sequence[Mapping[str, Any]], name: str) -> float | None:
    values = [run[name] for run in runs if run.get(name) is not None]
    return fmean(values) if values else None


def _interval(runs: Sequence[Mapping[str, Any]]) -> tuple[list[float] | None, str]:
    scored = [run for run in runs if run["average"] is not None]
    if len(scored) > 1:
        found = over_seeds([run["average"] for run in scored])
        if found is not None:
            return found, f"t over {len(scored)} seeds"
    if not scored:
        return None, ""
    scores = list(scored[0]["scores"].values())
    if len(scores) == 1:
        return list(scores[0]["interval95"]), scores[0]["interval"]
    # Errors of independent tasks add in quadrature, each side by itself.
    low = math.hypot(*(s["value"] - s["interval95"][0] for s in scores)) / len(scores)
    high = math.hypot(*(s["interval95"][1] - s["value"] for s in scores)) / len(scores)
    average = scored[0]["average"]
    return [average - low, average + high], "of the tasks' own intervals"


def over_seeds(values: Sequence[float]) -> list[float] | None:
    """Student's 95 % interval of a mean, [low, high], not clipped; None for fewer than two values, or equal ones."""
    if len(values) < 2 or min(values) == max(values):
        return None
    return list(t_interval(values, bounds=(-math.inf, math.inf)))


def write_tables(folder: Path, results: Mapping[str, Any]) -> None:
    """runs.csv with a row for every run, table.csv and table.md with one for all seeds of a setting."""
    tasks = [task["name"] for task in results["tasks"]]
    names = list(results["varied"])
    rest_of = ("average", *AGREEMENT, "overlap_by_chance", "held_out", "parameters", "training_seconds")
    header = [*names, "run", *tasks, *rest_of]
    runs: list[list[Any]] = []
    for run in results["runs"]:
        scores = [run["scores"].get(task, {}).get("value") for task in tasks]
        runs.append([*run["settings"].values(), run["run"], *scores, *(run.get(name) for name in rest_of)])
    write_whole(folder / "runs.csv", csv_text(header, runs, 6).encode())
    write_whole(folder / "table.csv", csv_text(*_plain_table(results), 6).encode())
    write_whole(folder / "table.md", _markdown(results).encode())


def _plain_table(results: Mapping[str, Any]) -> tuple[list[str], list[list[Any]]]:
    table = results["table"]
    domains = _domains(results)
    tasks = [task["name"] for task in results["tasks"]]
    names = [name for name in results["varied"] if name != SEED]
    head = [
        *names,
        "seeds",
        *domains,
        *(t for t in tasks if t not in domains),
        "average",
        "low95",
        "high95",
        "interval",
        *COUNTED,
        *AGREEMENT,
        "parameters",
    ]
    rows: list[list[Any]] = []
    for row in table:
        low, high = row["interval95"] or (None, None)
        values = [row["domains"].get(d) for d in domains] + [row["tasks"].get(t) for t in tasks if t not in domains]
        counted = [row.get(name) for name in (*COUNTED, *AGREEMENT, "parameters")]
        ends = [row["average"], low, high, row["interval"]]
        rows.append([*row["settings"].values(), row["seeds"], *values, *ends, *counted])
    return head, rows


def _domains(results: Mapping[str, Any]) -> list[str]:
    return list(dict.fromkeys(task["domain"] for task in results["tasks"]))


def cells(results: Mapping[str, Any]) -> tuple[list[str], list[list[str]], list[str]]:
    """The table as text: its header, its rows, and notes under it. Scores are in percent."""
    table, tasks = results["table"], results["tasks"]
    settings = [name for name in results["varied"] if name != SEED]
    domains = _domains(results) if len(tasks) > 1 else []
    shown = [name for name in AGREEMENT if any(row[name] is not None for row in table)]
    sizes = ["parameters"] if len({row["parameters"] for row in table}) > 1 else []
    head = [*(settings or ["recipe"]), *domains]
    if tasks:
        head.append("average" if len(tasks) > 1 else f"{tasks[0]['title']} ({tasks[0]['metric']})")
    head += [TITLES[name] for name in (*shown, *sizes)]
    ways = list(dict.fromkeys(row["interval"] for row in table if row["interval"]))
    head += ["interval"] if len(ways) > 1 else []
    rows = []
    for row in table:
        line = [setting(name, row["settings"][name]) for name in settings] or ["as it is"]
        line += [if_known(row["domains"].get(domain), score_text) for domain in domains]
        if tasks:
            line.append("" if row["average"] is None else score_text(row["average"], row["interval95"]))
        line += ["" if row[n] is None else _agreement(n, row[n], row[f"{n}_interval95"]) for n in shown]
        line += [if_known(row[n], millions) for n in sizes]
        line += [row["interval"]] if len(ways) > 1 else []
        rows.append(line)
    return head, rows, _under(results, shown, ways)


def setting(name: str, value: Any) -> str:
    """A setting's value as the table shows it."""
    if name == "clusters" and value == 0:
        return "0 (uniform)"
    return f"{value:g}" if isinstance(value, float) else str(value)


def _agreement(name: str, value: float, interval: Sequence[float] | None) -> str:
    if name == "neighbour_overlap":
        return score_text(value, interval)
    return f"{value:.3f}" + (f" ± {(interval[1] - interval[0]) / 2:.3f}" if interval else "")


def verdict_of(results: Mapping[str, Any]) -> str | None:
    """Whether the best setting can be distinguished from the others: a message where it cannot."""
    names = [name for name in results["varied"] if name != SEED]
    rows = results["table"]
    for key, count, ends in (("average", "clips", "interval95"), ("cosine", "held_out", "cosine_interval95")):
        known = [row for row in rows if row.get(key) is not None and row.get(count) is not None]
        if known:
            values = [
                (", ".join(f"{name} {setting(name, row['settings'][name])}" for name in names) or "the recipe",
                 row[key], row[ends])
                for row in known
            ]  # fmt: skip
            return of_best(values, min(row[count] for row in known))
    return None


def _under(results: Mapping[str, Any], shown: Sequence[str], ways: Sequence[str]) -> list[str]:
    found = []
    if results["tasks"]:
        titles = ", ".join(f"{task['title']} ({task['metric']}, {task['domain']})" for task in results["tasks"])
        how = f", {ways[0]}" if len(ways) == 1 else ""
        clips = min((row["clips"] for row in results["table"] if row.get("clips") is not None), default=None)
        chance = next((row["chance"] for row in results["table"] if row.get("chance") is not None), None)
        of = "" if clips is None else f", {clips} clips or more"
        by = "" if chance is None else f"; chance: {score_text(chance)}"
        found.append(f"Linear probes on {titles}, in percent; ±: half of the 95 % interval{how}{of}{by}.")
    if shown:
        seeds = max((row["seeds"] for row in results["table"]), default=0)
        over = " (±: half of Student's 95 % interval over seeds)" if not results["tasks"] and seeds > 1 else ""
        held_out = sorted({row["held_out"] for row in results["table"] if row.get("held_out") is not None})
        by_chance = sorted({row["overlap_by_chance"] for row in results["table"] if row.get("overlap_by_chance")})
        count = f"{' or '.join(map(str, held_out))} held-out clips" if held_out else "held-out clips"
        chance = f"; overlap by chance: {' or '.join(score_text(c) for c in by_chance)}" if by_chance else ""
        found.append(f"Cosine to teacher and 10-NN overlap with teacher (in percent), on {count}{over}{chance}.")
    if verdict := results.get("verdict"):
        found.append(f"{verdict[0].upper()}{verdict[1:]}.")
    return found


def _markdown(results: Mapping[str, Any]) -> str:
    head, rows, under = cells(results)
    settings = max(1, sum(name != SEED for name in results["varied"]))
    return "\n\n".join([markdown_table(head, rows, left=settings), *map(markdown, under)]) + "\n"


def rich_table(results: Mapping[str, Any]) -> tuple[Table, list[str]]:
    """The table for a terminal, the best average in bold; and the notes under it."""
    head, rows, under = cells(results)
    settings = max(1, sum(name != SEED for name in results["varied"]))
    table = new_table()
    for place, name in enumerate(head):
        table.add_column(printable(name), justify="left" if place < settings else "right", overflow="fold")
    key = "average" if results["tasks"] else "cosine"
    known = [row[key] for row in results["table"] if row[key] is not None]
    for row, line in zip(results["table"], rows, strict=True):
        table.add_row(*map(printable, line), style="bold" if known and row[key] == max(known) else None)
    return table, under
