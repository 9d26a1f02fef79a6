"""The page of an evaluation: retention, cost, agreement of the embedding spaces, and errors."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from sondino.reporting.cells import (
    COLUMNS,
    Headline,
    grid,
    grid_cell,
    grid_row,
    headline_section,
    percent,
    range_under,
)
from sondino.reporting.details import details_of
from sondino.reporting.evaluation_map import maps_of
from sondino.reporting.html import notes_section, number, scrolling, section, text, write_page
from sondino.reporting.map import map_data, map_section
from sondino.reporting.mistakes import CLOSER_BYTES, closer_data, closer_sections, read_predictions
from sondino.reporting.results import Results, interval
from sondino.reporting.sounds import ReportClips
from sondino.text import milliseconds, times

TOGETHER = 4
"""Up to this many tasks, scores and costs share one table; with more they are two."""
FEW = 8
"""Up to this many rows of agreement are shown one by one; of more, their means over tasks."""
COSTS = ("parameters", "file_bytes", "macs_per_10s", "milliseconds_per_10s", "joules_per_10s")


@dataclass(frozen=True)
class Measure:
    """A measure of agreement: title, format, meaning, and a second measure shown small under it."""

    title: str
    write: Callable[[float], str]
    meaning: str
    under: str = ""
    under_title: str = ""


AGREEMENT = {
    "cosine": Measure(
        "cosine",
        "{:.3f}".format,
        "Mean cosine between linearly mapped student embeddings and teacher embeddings, on clips that the map was not "
        "fitted on. Under it: the baseline that predicts the teacher's mean embedding.",
        "cosine_of_mean",
        "mean",
    ),
    "neighbour_overlap": Measure(
        "10-NN overlap",
        percent,
        "Share of each clip's 10 nearest neighbours that student and teacher have in common. Under it: chance level.",
        "overlap_by_chance",
        "chance",
    ),
    "cka": Measure(
        "CKA",
        "{:.3f}".format,
        "Linear centred kernel alignment; 1 for spaces that differ by rotation and scale alone. Under it: the unbiased "
        "estimate, about 0 for unrelated spaces even with few clips.",
        "cka_unbiased",
        "unbiased",
    ),
    "retrieval_at_1": Measure(
        "retrieval@1",
        percent,
        "A mapped student embedding, as a query among the teacher's embeddings, retrieves its own clip first. Under "
        "it: within the first ten, and the chance level of the first.",
        "retrieval_at_10",
        "@10",
    ),
}

Row = Mapping[str, Any]


def write_evaluation(results: Results) -> ReportClips:
    """Write report.html beside the results; the returned clips name those whose audio could not be read."""
    sounds = ReportClips()
    predictions, notes = read_predictions(results)
    closer = closer_data(results, predictions, sounds, CLOSER_BYTES)
    points, more = maps_of(results, predictions)
    maps = [map_data(one, sounds) for one in points]
    data: dict[str, Any] = {}
    if closer:
        data["closer"] = closer
    if maps:
        data["maps"] = maps
    if sounds.uris:
        data["sounds"] = sounds.data()
    silent = [f"Audio: {sounds.message()}."] if sounds.lost else []
    write_page(
        results.folder / "report.html",
        results.title,
        _lead(results),
        [
            headline_section(_headline(results)),
            _retention_section(results),
            _agreement_section(results),
            map_section(maps),
            closer_sections(closer),
            notes_section([*results.notes, *notes, *more, *silent]),
            details_of(results),
        ],
        data,
        [name for name, there in (("map.js", maps), ("closer.js", closer)) if there],
    )
    return sounds


def _lead(results: Results) -> str:
    tasks = _tasks(results)
    names = tasks or list(dict.fromkeys(str(row["task"]) for row in results.rows("agreement")))
    clips = sum(int(number(results.task(name).get("clips")) or 0) for name in names)
    on = results.task_title(names[0]) if len(names) == 1 else f"{len(names)} tasks"
    count = len(results.rows("models"))
    how = "linear probes on frozen embeddings" if tasks else "agreement with the teacher, without labels"
    return f"{count} model{'s' if count != 1 else ''} on {on}, {clips:,} clips: {how}."


def _tasks(results: Results) -> list[str]:
    """Names of the tasks that were scored, in order."""
    scored = {row["task"] for row in results.rows("scores")}
    named = [task["name"] for task in results.rows("tasks") if task["name"] in scored]
    return named + sorted(scored - set(named))


def _models(results: Results) -> list[str]:
    """Names of the models that were scored, in order."""
    scored = {row["model"] for row in results.rows("scores")}
    named = [model["name"] for model in results.rows("models") if model["name"] in scored]
    return named + sorted(scored - set(named))


def _by_model(results: Results, name: str) -> dict[str, Row]:
    key = "name" if name == "models" else "model"
    return {row[key]: row for row in results.rows(name)}


def _headline(results: Results) -> list[Headline]:
    """Retention and cost of the first student; without a student, the score of each model."""
    kept, facts = _by_model(results, "retention"), _by_model(results, "models")
    models = _models(results)
    tasks = _tasks(results)
    over = results.task_title(tasks[0]) if len(tasks) == 1 else f"average over {len(tasks)} tasks"
    student = next((name for name in models if results.role(name) == "student"), None)
    if student is None:
        averages = [(name, number(kept.get(name, {}).get("average"))) for name in models[:4]]
        return [Headline(name, percent(value), over) for name, value in averages if value is not None]
    teacher = next((name for name in models if results.role(name) == "teacher"), None)
    untrained = next((name for name in models if results.role(name) == "untrained"), None)
    row, fact = kept.get(student, {}), facts.get(student, {})
    own, theirs, blank = (
        number(kept.get(name, {}).get("average")) if name else None for name in (student, teacher, untrained)
    )
    out = []
    if (share := number(row.get("kept"))) is not None:
        against = f"{percent(own)} against {percent(theirs)}" if own is not None and theirs is not None else ""
        out.append(Headline("relative to teacher", percent(share), against))
    if own is not None:
        out.append(Headline(over, percent(own), f"randomly initialised {percent(blank)}" if blank is not None else ""))
    if (smaller := number(row.get("times_smaller"))) is not None:
        small, big = (number(facts.get(name, {}).get("parameters")) for name in (student, teacher or ""))
        sizes = COLUMNS["parameters"].text
        why = f"{sizes(small)} parameters against {sizes(big)}" if small and big else ""
        out.append(Headline("smaller than teacher", times(smaller), why))
    if (speed := number(fact.get("milliseconds_per_10s"))) is not None:
        out.append(
            Headline(
                "ms per 10 s of audio", milliseconds(speed), f"{10_000 / speed:,.0f} times real time" if speed else ""
            )
        )
    return out


def _retention_section(results: Results) -> str:
    """Models as rows; tasks, average and retention as columns, then each model's costs."""
    tasks, models = _tasks(results), _models(results)
    if not tasks:
        models = [str(row["name"]) for row in results.rows("models")]
    scores = {(row["model"], row["task"]): row for row in results.rows("scores")}
    kept, facts = _by_model(results, "retention"), _by_model(results, "models")
    many = len(tasks) > 1
    shares = any(number(row.get("kept")) is not None for row in kept.values())
    costs = [key for key in COSTS if any(number(row.get(key)) is not None for row in facts.values())]
    # A screen shows only some of many tasks until the table is scrolled: the averages then come first.
    ordered = _kept_first if len(tasks) > TOGETHER else _kept_last
    score_heads = ordered(
        ["average"] * many + ["relative to teacher"] * shares, [_task_head(results, name) for name in tasks]
    )
    cost_heads = [text(COLUMNS[key].title) for key in costs]
    score_rows = []
    for name in models:
        cells = [_score_cell(scores.get((name, task), {})) for task in tasks]
        score_rows.append(
            (name, results.role(name), ordered(_kept_cells(kept.get(name, {}), many, shares, True), cells))
        )
    chance = [next((row.get("chance") for row in scores.values() if row["task"] == task), None) for task in tasks]
    if any(number(value) is not None for value in chance):
        cells = [_number_cell(value, percent) for value in chance]
        score_rows.append(("chance", "", ordered(_kept_cells(kept.get("chance", {}), many, shares), cells)))
    cost_rows = [
        (name, results.role(name), [_number_cell(facts.get(name, {}).get(key), COLUMNS[key].text) for key in costs])
        for name in models
    ]
    if len(tasks) <= TOGETHER:
        nothing = [grid_cell("")] * len(costs)
        beside = {name: cells for name, _, cells in cost_rows}
        rows = [(name, role, [*cells, *beside.get(name, nothing)]) for name, role, cells in score_rows]
        content = _table("results", [*score_heads, *cost_heads], rows)
    else:
        content = _table("results", score_heads, score_rows)
        if costs:
            content += "<h3>Resource use</h3>" + _table("costs", cost_heads, cost_rows)
    content += "".join(f'<p class="note">{text(how)}</p>' for how in _how(results, costs))
    return section("results", "Retention" if shares else "Scores" if tasks else "Resource use", content, "", "results")


def _kept_first(kept: list[str], tasks: list[str]) -> list[str]:
    return kept + tasks


def _kept_last(kept: list[str], tasks: list[str]) -> list[str]:
    return tasks + kept


def _kept_cells(row: Row, many: bool, shares: bool, strong: bool = False) -> list[str]:
    """Average, and average relative to the teacher's, where the table has them."""
    cells = [_number_cell(row.get("average"), percent, strong)] * many
    return cells + [_number_cell(row.get("kept"), percent, strong)] * shares


def _table(label: str, heads: Sequence[str], rows: Sequence[tuple[str, str, list[str]]]) -> str:
    drawn = [grid_row(name, role, cells, "aside" if name == "chance" else "") for name, role, cells in rows]
    return scrolling(f"Table of {label}", grid(["model", *heads], drawn))


def _task_head(results: Results, name: str) -> str:
    metric = str(results.task(name).get("metric") or "")
    return text(results.task_title(name)) + (f'<span class="role">{text(metric)}</span>' if metric else "")


def _score_cell(row: Row) -> str:
    value, ends, clips = number(row.get("value")), interval(row.get("interval95")), number(row.get("clips"))
    under = range_under(*ends) if ends else ""
    under += f'<span class="range">{clips:,.0f} clips</span>' if value is not None and clips is not None else ""
    return grid_cell(None if value is None else percent(value), under)


def _number_cell(value: object, write: Callable[[float], str], strong: bool = False) -> str:
    found = number(value)
    return grid_cell(None if found is None else write(found), "", strong)


def _agreement_section(results: Results) -> str:
    """The agreement of each model's embeddings with the teacher's, and what each measure means."""
    rows = results.rows("agreement")
    keys = [key for key in AGREEMENT if any(number(row.get(key)) is not None for row in rows)]
    if not keys:
        return ""
    meanings = "".join(
        f"<div><dt>{text(AGREEMENT[key].title)}</dt><dd>{text(AGREEMENT[key].meaning)}</dd></div>" for key in keys
    )
    content = f'<dl class="meanings">{meanings}</dl>'
    each = _agreement_table("agreement by task", results, rows, keys)
    if len(rows) > FEW:
        means = [
            _mean_row(name, [row for row in rows if row["model"] == name])
            for name in dict.fromkeys(row["model"] for row in rows)
        ]
        content = _agreement_table("agreement", results, means, keys) + content
        content += f"<details><summary>Every task</summary>{each}</details>"
    else:
        content = each + content
    return section("agreement", "Agreement with the teacher, without labels", content, "", "results")


def _mean_row(name: str, rows: Sequence[Row]) -> dict[str, Any]:
    """The mean of each measure over tasks; the sum of their clips."""
    out: dict[str, Any] = {
        "model": name,
        "task": f"{len(rows)} tasks",
        "clips": sum(number(r.get("clips")) or 0 for r in rows),
    }
    for key in [*(name for one in AGREEMENT for name in (one, AGREEMENT[one].under)), "retrieval_by_chance"]:
        known = [value for row in rows if (value := number(row.get(key))) is not None]
        out[key] = fmean(known) if known else None
    return out


def _agreement_table(label: str, results: Results, rows: Sequence[Row], keys: Sequence[str]) -> str:
    drawn = []
    for row in rows:
        cells = [f'<td class="text">{text(results.task_title(row["task"]))}</td>']
        cells += [_agreement_cell(row, key) for key in keys]
        cells.append(_number_cell(row.get("clips"), "{:,.0f}".format))
        drawn.append(grid_row(str(row["model"]), results.role(row["model"]), cells))
    heads = ["model", '<span class="left">task</span>', *(text(AGREEMENT[key].title) for key in keys), "clips"]
    return scrolling(f"Table of {label}", grid(heads, drawn))


def _agreement_cell(row: Row, key: str) -> str:
    value, measure = number(row.get(key)), AGREEMENT[key]
    below = number(row.get(measure.under))
    under = "" if below is None else f'<span class="range">{measure.under_title} {measure.write(below)}</span>'
    if key == "retrieval_at_1" and (chance := number(row.get("retrieval_by_chance"))) is not None:
        under += f'<span class="range">chance {measure.write(chance)}</span>'
    return grid_cell(None if value is None else measure.write(value), under)


def _how(results: Results, costs: Sequence[str]) -> list[str]:
    """Notes under the table: what the intervals are over, and how joules were measured."""
    ways: dict[str, list[str]] = {}
    for row in results.rows("scores"):
        title = results.task_title(row["task"])
        if row.get("interval") and interval(row.get("interval95")) and title not in ways.get(str(row["interval"]), []):
            ways.setdefault(str(row["interval"]), []).append(title)
    notes = []
    if ways:
        which = next(iter(ways)) if len(ways) == 1 else "; ".join(f"{', '.join(of)}: {way}" for way, of in ways.items())
        notes.append(f"The range under a score is its 95 % interval ({which}).")
    if "joules_per_10s" in costs:
        sources = dict.fromkeys(str(row["joules_how"]) for row in results.rows("models") if row.get("joules_how"))
        notes += [f"Joules: {'; '.join(sources)}."] if sources else []
    return notes
