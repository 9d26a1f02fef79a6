"""The page of a sweep: the table of its settings, and the score against each setting that was varied."""

from collections.abc import Mapping, Sequence
from functools import partial
from statistics import fmean
from typing import Any

from sondino.files import write_whole
from sondino.reporting.cells import Headline, grid, grid_cell, grid_row, headline_section, percent
from sondino.reporting.details import details_of
from sondino.reporting.figures import (
    PAGE,
    PAPER,
    PAPER_WIDTH,
    Axis,
    Figure,
    Interval,
    Look,
    Series,
    dot_figure,
    in_two_widths,
    line_figure,
    plain,
    share,
    standalone,
    under_each_other,
)
from sondino.reporting.html import notes_section, number, scrolling, section, shown, text, write_page
from sondino.reporting.results import Results, interval
from sondino.text import NO_BREAK, score_text, short_count, short_duration

SVG = "sweep.svg"
SEED = "seed"
UNIFORM = "clusters"
"""The setting whose value 0 means uniform sampling, drawn as a dashed line and not as a value on the axis."""
UNIFORMLY = "uniform sampling"
LOGARITHMIC = 20
"""The ratio of largest to smallest value from which an axis is logarithmic."""

Row = Mapping[str, Any]


class Measure:
    """The measure that students are compared by: the average over tasks, else the cosine to the teacher."""

    def __init__(self, rows: Sequence[Row]) -> None:
        known = {
            "average": "average over tasks",
            "cosine": "cosine to teacher",
            "neighbour_overlap": "10-NN overlap",
        }
        self.key = next((key for key in known if any(number(row.get(key)) is not None for row in rows)), "average")
        self.title = known[self.key]
        self.axis = Axis(self.title, plain if self.key == "cosine" else share)

    def value(self, row: Row) -> float | None:
        """Of a row of the table."""
        return number(row.get(self.key))

    def interval(self, row: Row) -> Interval | None:
        """Its 95 % interval."""
        return interval(row.get("interval95" if self.key == "average" else f"{self.key}_interval95"))

    def band(self, row: Row) -> Interval | None:
        """Its 95 % interval as it is drawn, clipped to the measure's range, which few seeds may exceed."""
        ends = self.interval(row)
        least = -1.0 if self.key == "cosine" else 0.0
        return None if ends is None else (max(least, ends[0]), min(1.0, ends[1]))

    def clips(self, row: Row) -> float | None:
        """Clips that it is of."""
        return number(row.get("clips" if self.key == "average" else "held_out"))

    def chance(self, rows: Sequence[Row]) -> str:
        """Its chance level in brackets; nothing where there is none."""
        key = {"average": "chance", "neighbour_overlap": "overlap_by_chance"}.get(self.key, "")
        known = [value for row in rows if (value := number(row.get(key))) is not None]
        return f" (chance {percent(known[0])})" if known else ""

    def write(self, row: Row) -> str | None:
        """Value ± half of the interval."""
        return _format_metric(self.key, self.value(row), self.interval(row))


def write_sweep(results: Results) -> None:
    """Write report.html and sweep.svg beside the results."""
    rows = [row for row in results.rows("table") if isinstance(row.get("settings"), dict)]
    measure = Measure(rows)
    varied = [name for name in results.content.get("varied") or {} if name != SEED]
    drawable = [name for name in varied if _values(rows, name, measure)]
    chance = measure.chance(rows)
    figures = "".join(
        f"<figure><figcaption><h3>{text(measure.title + chance)} by {text(_words(name))}</h3></figcaption>"
        f"{in_two_widths(partial(_figure, rows, name, measure))}</figure>"
        for name in drawable
    )
    runs = results.rows("runs")
    took = sum(number(run.get("training_seconds")) or 0.0 for run in runs)
    lead = f"{len(runs)} runs of one recipe, varied in {' and '.join(map(_words, varied)) or 'their seed'}"
    write_page(
        results.folder / "report.html",
        results.title,
        lead + (f"; {short_duration(took)} of training in all." if took else "."),
        [
            headline_section(_headline(rows, varied, measure)),
            section("figures", "Score by setting", figures) if figures else "",
            _table_section(results, rows, varied, measure),
            notes_section(results.notes),
            details_of(results, _runs_table(results)),
        ],
        {},
    )
    drawn = [
        _figure(rows, name, measure, PAPER_WIDTH, PAPER, f"{measure.title} by {_words(name)}") for name in drawable
    ]
    if drawn:
        write_whole(results.folder / SVG, shown(standalone(under_each_other(drawn))).encode())


def _words(name: str) -> str:
    return name.replace("_", " ")


def _setting(name: str, value: object) -> str:
    if name == UNIFORM and value == 0:
        return UNIFORMLY
    return f"{value:g}" if isinstance(value, float) else "none" if value is None else str(value)


def _named(name: str, value: object) -> str:
    """A setting for a legend: a word by itself, a number with its name."""
    shown = _setting(name, value)
    return shown if isinstance(value, str) or shown == UNIFORMLY else f"{_words(name)} {shown}"


def _format_metric(key: str, value: float | None, ends: Interval | None) -> str | None:
    """A value, ± half of its interval where it has one."""
    if value is None:
        return None
    if key == "cosine":
        return f"{value:.3f}" + (f" ± {(ends[1] - ends[0]) / 2:.3f}" if ends else "")
    return f"{score_text(value, ends)}{NO_BREAK}%"


def _values(rows: Sequence[Row], name: str, measure: Measure) -> list[Any]:
    """The values of a setting that were measured, in the order of the table."""
    return list(dict.fromkeys(row["settings"].get(name) for row in rows if measure.value(row) is not None))


def _numbers(values: Sequence[Any], name: str) -> list[float]:
    """Values for a numeric axis, sorted; empty for words or a single number."""
    found = [number(value) for value in values if not (name == UNIFORM and value == 0)]
    places = sorted(value for value in found if value is not None)
    return places if len(places) == len(found) > 1 else []


def _figure(
    rows: Sequence[Row], name: str, measure: Measure, width: float, look: Look = PAGE, title: str = ""
) -> Figure:
    """The score against one setting; the others are distinguished by colour."""
    groups: dict[str, list[Row]] = {}
    for row in rows:
        if measure.value(row) is not None:
            others = {key: value for key, value in row["settings"].items() if key not in (name, SEED)}
            legend = ", ".join(_named(key, value) for key, value in others.items())
            groups.setdefault(legend or measure.title, []).append(row)
    values = _values(rows, name, measure)
    places = _numbers(values, name)
    if not places:
        series = [
            Series(legend, [values.index(row["settings"].get(name)) for row in own],
                   [measure.value(row) or 0.0 for row in own], [measure.band(row) for row in own])
            for legend, own in groups.items()
        ]  # fmt: skip
        names = [_setting(name, value) for value in values]
        return dot_figure(names, series, measure.axis, width=width, look=look, title=title)
    series = [_line(legend, own, name, measure) for legend, own in groups.items()]
    series = [one for one in series if one.x]
    log = places[0] > 0 and places[-1] / places[0] >= LOGARITHMIC
    axis = Axis(_words(name) + (", logarithmic" if log else ""), log=log)
    return line_figure(series, axis, measure.axis, width=width, height=340, look=look, title=title)


def _line(legend: str, rows: Sequence[Row], name: str, measure: Measure) -> Series:
    """One line over a numeric setting; uniform sampling is a horizontal level."""
    uniform = next((row for row in rows if name == UNIFORM and row["settings"].get(name) == 0), None)
    own = sorted((row for row in rows if row is not uniform), key=lambda row: number(row["settings"][name]) or 0.0)
    return Series(
        legend,
        [number(row["settings"][name]) or 0.0 for row in own],
        [measure.value(row) or 0.0 for row in own],
        [measure.band(row) for row in own],
        level=None if uniform is None else measure.value(uniform),
        level_interval=None if uniform is None else measure.band(uniform),
        level_name=UNIFORMLY,
    )


def _headline(rows: Sequence[Row], varied: Sequence[str], measure: Measure) -> list[Headline]:
    """The best setting, and the worst of them."""
    known = [row for row in rows if measure.value(row) is not None]
    if not known:
        return []

    def settings(row: Row) -> str:
        return ", ".join(_named(name, row["settings"].get(name)) for name in varied) or "this recipe"

    best, worst = (choose(known, key=lambda row: measure.value(row) or 0.0) for choose in (max, min))
    clips = measure.clips(best)
    count = f", {clips:,.0f} held-out clips" if clips is not None else ""
    out = [Headline("best setting", settings(best), f"{measure.title} {measure.write(best)}{count}")]
    if worst is not best:
        out.append(Headline("worst setting", settings(worst), f"{measure.title} {measure.write(worst)}"))
        gap = (measure.value(best) or 0.0) - (measure.value(worst) or 0.0)
        shown = f"{gap:.3f}" if measure.key == "cosine" else f"{100 * gap:.1f}"
        high, low = measure.interval(worst), measure.interval(best)
        why = "their intervals overlap: it may be chance" if high and low and high[1] >= low[0] else measure.title
        out.append(Headline("difference" if measure.key == "cosine" else "percentage points apart", shown, why))
    return out


def _table_section(results: Results, rows: Sequence[Row], varied: Sequence[str], measure: Measure) -> str:
    """Settings, domains, the average with its interval, then the tasks and the agreement with the teacher."""
    if not rows:
        return ""
    domains = list(dict.fromkeys(domain for row in rows for domain in row.get("domains") or {}))
    tasks = list(dict.fromkeys(task for row in rows for task in row.get("tasks") or {}))
    tasks = tasks if len(tasks) > 1 else []
    agreement = [
        key for key in ("cosine", "neighbour_overlap") if any(number(row.get(key)) is not None for row in rows)
    ]
    sized = len({number(row.get("parameters")) for row in rows} - {None}) > 1
    averaged = any(number(row.get("average")) is not None for row in rows)
    best = max((value for row in rows if (value := measure.value(row)) is not None), default=None)
    drawn = []
    for row in rows:
        settings = [_setting(name, row["settings"].get(name)) for name in varied] or ["this recipe"]
        cells = [f'<td class="text">{text(value)}</td>' for value in settings[1:]]
        cells += [_share((row.get("domains") or {}).get(domain)) for domain in domains]
        cells += [
            grid_cell(_format_metric("average", number(row.get("average")), interval(row.get("interval95"))), "", True)
        ] * averaged
        cells += [_share((row.get("tasks") or {}).get(task)) for task in tasks]
        cells += [
            grid_cell(_format_metric(key, number(row.get(key)), interval(row.get(f"{key}_interval95"))))
            for key in agreement
        ]
        cells += [grid_cell(None if (size := number(row.get("parameters"))) is None else short_count(size))] * sized
        cells.append(grid_cell(None if (seeds := number(row.get("seeds"))) is None else f"{seeds:.0f}"))
        winner = best is not None and measure.value(row) == best
        drawn.append(grid_row(settings[0], "", cells, "student" if winner else ""))
    by_chance = next((value for row in rows if (value := number(row.get("overlap_by_chance"))) is not None), None)
    titles = {"cosine": "cosine", "neighbour_overlap": "10-NN overlap"}
    if by_chance is not None:
        titles["neighbour_overlap"] += f' <span class="role">chance {text(percent(by_chance, 0))}</span>'
    heads = [_words(name) for name in varied] or ["recipe"]
    heads = [text(heads[0]), *(f'<span class="left">{text(head)}</span>' for head in heads[1:])]
    heads += [*map(text, domains), *(["average"] * averaged), *(text(results.task_title(task)) for task in tasks)]
    heads += [*(titles[key] for key in agreement), *(["parameters"] * sized), "seeds"]
    ways = list(dict.fromkeys(str(row["interval"]) for row in rows if row.get("interval")))
    note = f"±: half of the 95 % interval ({'; '.join(ways)}){measure.chance(rows)}." if ways else ""
    if verdict := str(results.content.get("verdict") or ""):
        note += f" {verdict[0].upper()}{verdict[1:]}."
    return section("results", "All settings", scrolling("Table of all settings", grid(heads, drawn)), note, "results")


def _share(value: object) -> str:
    found = number(value)
    return grid_cell(None if found is None else percent(found))


def _runs_table(results: Results) -> str:
    """Every run by itself, closed at first."""
    runs = results.rows("runs")
    names = list(dict.fromkeys(name for run in runs for name in run["settings"]))
    drawn = []
    for run in runs:
        scores = [number(score.get("value")) for score in (run.get("scores") or {}).values() if isinstance(score, dict)]
        known = [score for score in scores if score is not None]
        took, cosine = number(run.get("training_seconds")), number(run.get("cosine"))
        cells = [f'<td class="text">{text(_setting(name, run["settings"].get(name)))}</td>' for name in names]
        cells += [
            grid_cell(percent(fmean(known)) if known else None),
            grid_cell(None if cosine is None else f"{cosine:.3f}"),
            grid_cell(None if took is None else short_duration(took)),
        ]
        drawn.append(grid_row(str(run.get("run") or "–"), "", cells))
    heads = [
        "run",
        *(f'<span class="left">{text(_words(name))}</span>' for name in names),
        "average",
        "cosine",
        "training",
    ]
    table = scrolling("Table of every run", grid(heads, drawn))
    return f"<details><summary>Every run</summary>{table}</details>"
