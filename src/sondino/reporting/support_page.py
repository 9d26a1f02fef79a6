"""The page of temporal support: score, time and memory against window length, and the shortest sufficient window."""

from collections.abc import Callable, Mapping
from functools import partial
from statistics import fmean
from typing import Any

from sondino.files import write_whole
from sondino.reporting.cells import (
    Headline,
    grid,
    grid_cell,
    grid_row,
    headline_section,
    percent,
    range_under,
)
from sondino.reporting.details import details_of
from sondino.reporting.figures import (
    PAGE,
    PAPER,
    PAPER_WIDTH,
    Axis,
    Figure,
    Look,
    Series,
    in_two_widths,
    line_figure,
    share,
    standalone,
    under_each_other,
)
from sondino.reporting.html import notes_section, number, scrolling, section, shown, text, write_page
from sondino.reporting.results import Results, interval
from sondino.text import milliseconds, short_bytes

SVG = "support.svg"
WINDOW = Axis("window length, seconds", log=True)
COSTS = {
    "milliseconds_per_10s": (Axis("ms per 10 s of audio", zero=True), milliseconds),
    "memory_bytes": (Axis("peak memory", short_bytes, zero=True, digits=3), short_bytes),
}
FEW = 14
"""Up to this many rows the table is open at first."""

Row = Mapping[str, Any]


def write_support(results: Results) -> None:
    """Write report.html and support.svg beside the results."""
    models = list(dict.fromkeys(str(row["model"]) for row in results.rows("rows")))
    scored = [model for model in models if _scores(results, model)]
    costs = {key: axis for key, (axis, _) in COSTS.items() if _costs(results, key)}
    titles = {model: f"{model}: score" for model in scored}
    figures = "".join(_in_page(titles[model], partial(_score_figure, results, model)) for model in scored)
    small = "".join(_in_page(axis.title, partial(_cost_figure, results, key), 505) for key, axis in costs.items())
    messages = "".join(f"<li>{text(row['sentence'])}</li>" for row in results.rows("chosen") if row.get("sentence"))
    tasks = list(dict.fromkeys(results.task_title(row["task"]) for row in results.rows("rows")))
    lead = f"Score, time and memory of {' and '.join(models)} against window length, on {', '.join(tasks)}."
    content = (
        f'<ul class="words">{messages}</ul>' * bool(messages)
        + figures
        + f'<div class="charts">{small}</div>' * bool(small)
    )
    write_page(
        results.folder / "report.html",
        results.title,
        lead,
        [
            headline_section(_headline(results, len(models) > 1)),
            section(
                "results",
                "Score against window length",
                content,
                "Band: 95 % interval. Ring: the shortest sufficient window. Dashed: chance level.",
            ),
            _numbers_section(results),
            notes_section(results.notes),
            details_of(results),
        ],
        {},
    )
    drawn = [_score_figure(results, model, PAPER_WIDTH, PAPER, titles[model]) for model in scored]
    drawn += [_cost_figure(results, key, PAPER_WIDTH, PAPER, axis.title) for key, axis in costs.items()]
    if drawn:
        write_whole(results.folder / SVG, shown(standalone(under_each_other(drawn))).encode())


def _in_page(title: str, draw: Callable[[float], Figure], wide: float | None = None) -> str:
    drawn = in_two_widths(draw, wide) if wide else in_two_widths(draw)
    return f"<figure><figcaption><h3>{text(title)}</h3></figcaption>{drawn}</figure>"


def _window(row: Row) -> float | None:
    """The window in seconds; None where a logarithmic axis cannot show it."""
    window = number(row.get("window"))
    return window if window is not None and window > 0 else None


def _scores(results: Results, model: str) -> list[Series]:
    """A model's score over windows, one series per task; the shortest sufficient window is marked."""
    enough = {row["task"]: number(row.get("window")) for row in results.rows("chosen") if row["model"] == model}
    found: dict[str, list[tuple[float, float, tuple[float, float] | None]]] = {}
    chance = {row["task"]: number(row.get("chance")) for row in results.rows("rows")}
    for row in results.rows("rows"):
        window, value = _window(row), number(row.get("value"))
        if row["model"] == model and window is not None and value is not None:
            found.setdefault(row["task"], []).append((window, value, interval(row.get("interval95"))))
    series = []
    for task, points in found.items():
        x, y, intervals = zip(*sorted(points), strict=True)
        series.append(
            Series(
                results.task_title(task),
                x,
                y,
                intervals,
                mark=enough.get(task),
                level=chance[task],
                level_name="chance",
            )
        )
    return series


def _costs(results: Results, key: str) -> list[Series]:
    """Time or memory over windows, one series per model: the mean over tasks."""
    found: dict[str, dict[float, list[float]]] = {}
    for row in results.rows("rows"):
        window, value = _window(row), number(row.get(key))
        if window is not None and value is not None:
            found.setdefault(str(row["model"]), {}).setdefault(window, []).append(value)
    return [
        Series(model, sorted(values), [fmean(values[window]) for window in sorted(values)], [None] * len(values))
        for model, values in found.items()
    ]


def _score_figure(results: Results, model: str, width: float, look: Look = PAGE, title: str = "") -> Figure:
    metrics = {results.task(row["task"]).get("metric") or "score" for row in results.rows("rows")}
    y = Axis(" or ".join(sorted(map(str, metrics))), share)
    return line_figure(_scores(results, model), WINDOW, y, width=width, height=320, look=look, title=title)


def _cost_figure(results: Results, key: str, width: float, look: Look = PAGE, title: str = "") -> Figure:
    return line_figure(_costs(results, key), WINDOW, COSTS[key][0], width=width, height=210, look=look, title=title)


def _headline(results: Results, several: bool) -> list[Headline]:
    out = []
    for row in results.rows("chosen")[:4]:
        window, best = number(row.get("window")), number(row.get("best_window"))
        if window is not None:
            of = f"{row['model']}; " if several else ""
            why = f"{of}best at {best:g} s" if best is not None and best != window else f"{of}no other scores higher"
            clips = number(row.get("clips"))
            why += f"; {clips:,.0f} clips" if clips is not None else ""
            out.append(Headline(f"window sufficient for {results.task_title(row['task'])}", f"{window:g}\u00a0s", why))
    return out


def _numbers_section(results: Results) -> str:
    chosen = {(row["model"], row["task"], row.get("window")) for row in results.rows("chosen")}
    drawn = []
    for row in results.rows("rows"):
        value, ends = number(row.get("value")), interval(row.get("interval95"))
        window = number(row["window"])
        cells = [
            grid_cell(None if window is None else f"{window:g} s"),
            grid_cell(None if value is None else percent(value), range_under(*ends) if ends else ""),
            *(
                grid_cell(None if (cost := number(row.get(key))) is None else write(cost))
                for key, (_, write) in COSTS.items()
            ),
        ]
        enough = (row["model"], row["task"], row["window"]) in chosen
        drawn.append(grid_row(str(row["model"]), results.task_title(row["task"]), cells, "student" if enough else ""))
    heads = ["model and task", "window", "score", *(text(axis.title) for axis, _ in COSTS.values())]
    table = scrolling("Table of all windows", grid(heads, drawn))
    opened = " open" if len(drawn) <= FEW else ""
    return f'<details class="card results"{opened}><summary>All windows</summary>{table}</details>'
