"""The page of a pretraining run, from the files in its folder."""

import math
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sondino.errors import RunError
from sondino.files import read_json
from sondino.metrics.verdicts import LEAST_CLASSES, LEAST_DEVIATION, of_pretraining
from sondino.reporting.cells import Headline, grid, grid_cell, grid_row, headline_section, percent
from sondino.reporting.curves import curves_section, metrics_table
from sondino.reporting.entries import PretrainingSummary, read_metrics, read_pretraining, read_settings
from sondino.reporting.figures import COLOURS
from sondino.reporting.html import details_section, number, pairs_table, scrolling, section, text, write_page
from sondino.text import read_csv, short_count, short_duration

CLASSES = {"tiny": 256, "small": 1024, "base": 2048}
"""Classes of the class head of each size."""
UNRELATED = 2.0
"""Distance 2 - 2 cos of a target and a prediction that have nothing in common."""
MOST_SKIPPED = 200
"""Skipped files that the page lists; skipped.csv has all."""
DASHES = "6 5"
RATES = {"encoder_decay": "encoder", "head_decay": "class head"}
"""The decays of the teacher's moving average."""

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Measure:
    """A measurement of a run.

    Attributes:
        key: in metrics.jsonl.
        title: on the page.
        meaning: what it means.
        level: its value where nothing was learnt, or its highest; None: it has none.
        level_name: what that value is of.
    """

    key: str
    title: str
    meaning: str = ""
    level: float | None = None
    level_name: str = ""


def report_pretraining(run: Path) -> Path:
    """Write report.html of a run, finished or not, from what is on disk.

    Returns:
        The page.

    Raises:
        RunError: there is no run, or a file of it is damaged.
        MissingExtra: pyyaml is not installed.
    """
    summary = read_pretraining(run)
    metrics = _by_update(read_metrics(run))
    if summary is None and not metrics:
        raise RunError(f"{run} holds no pretraining that has measured anything: give what `sondino pretrain` wrote")
    recipe = read_settings(run)
    plots = pretraining_curves(metrics, recipe)
    page = run / "report.html"
    write_page(
        page,
        _title(run, summary, recipe),
        _lead(run, summary, metrics, recipe),
        [
            headline_section(_headline(summary, metrics, recipe)),
            _verdict_section(metrics, recipe),
            _measures_section(metrics, recipe),
            curves_section(plots),
            _next_section(run, summary is not None),
            _skipped_section(run / "skipped.csv"),
            details_section(
                [pairs_table("Recipe", recipe), pairs_table("Versions", summary.versions if summary else {})],
                metrics_table(metrics, "lines of metrics"),
            ),
        ],
        {"curves": plots} if plots else {},
        ["curves.js"] if plots else [],
    )
    return page


def pretraining_curves(metrics: Sequence[Row], recipe: Row) -> dict[str, Any] | None:
    """The plots as the page's script reads them, or None where nothing was measured.

    Args:
        metrics: one dict a line, each with its own update.
        recipe: of the run; its size has the number of classes.
    """
    if not metrics:
        return None
    known = {measure.key: measure for measure in _measures(metrics, recipe)}

    def measures(*keys: str) -> list[Measure]:
        return [known[key] for key in keys if key in known]

    wins = measures(*(key for key in known if key.startswith("wins_")))
    rates = {key: title for key, title in RATES.items() if key in known}
    charts = [
        _chart("Loss of prediction", metrics, measures("prediction_loss")),
        _chart("Loss of classification", metrics, measures("classification_loss")),
        _chart("Deviation of the targets", metrics, measures("deviation", "deviation_in_clip")),
        _chart("Classes", metrics, measures("perplexity", "sharpness")),
        _chart("Patches that each hypothesis is nearest to", metrics, wins),
        _chart("Learning rate", metrics, measures("learning_rate")),
        _chart(
            "Share of the student that the teacher takes on, 1 - decay",
            [{key: None if (v := number(row.get(key))) is None else 1 - v for key in rates} for row in metrics],
            [Measure(key, title) for key, title in rates.items()],
        ),
        _chart("Temperatures", metrics, measures("teacher_temperature", "hypothesis_temperature")),
        _chart("Norm of the gradient", metrics, measures("gradient_norm")),
        _chart("Seconds an update", _with_pace(metrics), [Measure("pace", "seconds")]),
    ]
    updates = [row["update"] for row in metrics]
    return {"unit": "update", "places": updates, "charts": [chart for chart in charts if chart["series"]]}


def _chart(title: str, metrics: Sequence[Row], measures: Sequence[Measure]) -> dict[str, Any]:
    """A plot of what was measured, and a dashed line at each level."""
    series: list[dict[str, Any]] = []
    for measure in measures:
        values = [number(row.get(measure.key)) for row in metrics]
        if any(value is not None for value in values):
            series.append({"name": measure.title, "values": values, "colour": min(len(series), COLOURS - 1)})
    levels = {measure.level_name: measure.level for measure in measures if measure.level is not None}
    for name, level in levels.items() if series else ():
        series.append({"name": name, "values": [level] * len(metrics), "colour": COLOURS - 1, "dash": DASHES})
    return {"title": title, "series": series}


def _measures(metrics: Sequence[Row], recipe: Row) -> list[Measure]:
    """What the page shows of a run, in order; what its recipe leaves out, or was not measured, is not among it."""
    found = {key for row in metrics for key in row}
    classes = CLASSES.get(str(recipe.get("size")))
    wins = sorted((key for key in found if key.startswith("wins_")), key=lambda key: int(key[5:]))
    chance = 1 / len(wins) if wins else None
    all_classes = (float(classes), "all classes") if classes else (None, "")
    shown = [
        Measure("loss", "loss", "of both, weighted; what is trained"),
        Measure(
            "prediction_loss",
            "loss of prediction",
            "2 - 2 cos of the teacher's output and the prediction",
            UNRELATED,
            "unrelated",
        ),
        Measure(
            "classification_loss",
            "loss of classes",
            "cross-entropy of the teacher's classes and the student's",
            math.log(classes) if classes else None,
            "all classes equally likely",
        ),
        Measure(
            "deviation",
            "targets' deviation",
            f"over the batch; of unrelated targets 1; under {LEAST_DEVIATION:g}: collapsed",
            1.0,
            "unrelated targets",
        ),
        Measure(
            "deviation_in_clip",
            "the same in a clip",
            "low where the patches of a clip are much alike",
            1.0,
            "unrelated targets",
        ),
        Measure(
            "perplexity",
            "perplexity of classes",
            f"classes in use, as if used equally; under {LEAST_CLASSES:g}: collapsed",
            *all_classes,
        ),
        Measure(
            "sharpness",
            "sharpness of classes",
            "classes that one patch is spread over; 1: the teacher is certain",
            *all_classes,
        ),
        Measure("classes", "most probable classes", "different ones in the last batch"),
        *(
            Measure(key, f"wins of {int(key[5:]) + 1}", "hypothesis; share of patches", chance, "chance")
            for key in wins
        ),
        Measure("gradient_norm", "gradient's norm", "before it is clipped"),
        Measure("learning_rate", "learning rate"),
        Measure("encoder_decay", "encoder's decay", "what the teacher keeps of itself at an update"),
        Measure("head_decay", "class head's decay", "the same"),
        Measure("teacher_temperature", "classes' temperature", "of the teacher; of the student 0.1"),
        Measure("hypothesis_temperature", "hypotheses' temperature", "of the weights by distance"),
    ]
    left_out = set() if wins else {"hypothesis_temperature"}
    if "perplexity" not in found:  # no classification
        left_out |= {"classification_loss", "head_decay", "teacher_temperature"}
    return [measure for measure in shown if measure.key in found - left_out]


def _by_update(metrics: Sequence[Row]) -> list[Row]:
    """The lines in the order of their updates; of one that is there twice, the later."""
    found = {update: row for row in metrics if (update := number(row.get("update"))) is not None}
    return [found[update] for update in sorted(found)]


def _with_pace(metrics: Sequence[Row]) -> list[dict[str, Any]]:
    """The seconds that an update took, of each line."""
    paces: list[dict[str, Any]] = []
    before = 0.0
    for row in metrics:
        seconds, update = number(row.get("seconds")), float(row["update"])
        paces.append({"pace": None if seconds is None else seconds / max(1.0, update - before)})
        before = update
    return paces


def _title(run: Path, summary: PretrainingSummary | None, recipe: Row) -> str:
    name = run.resolve().name
    known = [str(word) for word in ((summary and summary.method) or recipe.get("method"), recipe.get("size")) if word]
    return f"{name}: {' '.join(known)}" if known else name


def _lead(run: Path, summary: PretrainingSummary | None, metrics: Sequence[Row], recipe: Row) -> str:
    if summary is not None:
        return (
            f"{summary.method} pretraining on {summary.hours:,.2f} hours of sound in {summary.recordings:,} "
            f"recordings, without labels and without a teacher: {summary.updates:,} updates in "
            f"{short_duration(summary.training_seconds)}."
        )
    planned = number(recipe.get("updates"))
    of = f" of {planned:,.0f}" if planned is not None else ""
    file = run / "corpus" / "corpus.json"
    seconds = number(read_json(file).get("seconds")) if file.exists() else None
    hours = f", on {seconds / 3600:,.2f} hours of sound" if seconds is not None else ""
    return f"Not finished: {metrics[-1]['update']:,.0f}{of} updates{hours}."


def _headline(summary: PretrainingSummary | None, metrics: Sequence[Row], recipe: Row) -> list[Headline]:
    out = []
    if summary is not None:
        crop = f", crops of {summary.crop:.2f} s" if summary.crop else ""
        out.append(Headline("parameters", short_count(summary.parameters), f"{summary.size} encoder{crop}"))
    if not metrics:
        return out
    first, last = metrics[0], metrics[-1]
    for measure in _measures(metrics, recipe):
        value, before = number(last.get(measure.key)), number(first.get(measure.key))
        if measure.key in ("prediction_loss", "deviation", "perplexity") and value is not None:
            level = f"; {measure.level_name} {measure.level:g}" if measure.level is not None else ""
            why = f"{before:.3g} at update {first['update']:,.0f}{level}" if before is not None else level[2:]
            out.append(Headline(measure.title, f"{value:.3g}", why))
    seconds = sum(number(row.get("seconds")) or 0.0 for row in metrics)
    waited = sum((number(row.get("data_wait")) or 0.0) * (number(row.get("seconds")) or 0.0) for row in metrics)
    if seconds:
        pace = f"{seconds / float(last['update']):.3g} seconds an update"
        out.append(Headline("of the time waiting for data", percent(waited / seconds), pace))
    return out


def _verdict_section(metrics: Sequence[Row], recipe: Row) -> str:
    """Whether the teacher's outputs, or its classes, have become one."""
    if not metrics:
        return ""
    last = metrics[-1]
    reason = of_pretraining(last)
    if reason:
        since = last["update"]
        for row in reversed(metrics):
            if not of_pretraining(row):
                break
            since = row["update"]
        words = f"<b>Collapsed</b> since update {since:,.0f}: {text(reason)}."
    else:
        parts = []
        deviation, perplexity = number(last.get("deviation")), number(last.get("perplexity"))
        if deviation is not None:
            parts.append(f"the teacher's outputs have {deviation:.2f} of the deviation of unrelated ones")
        if perplexity is not None:
            classes = CLASSES.get(str(recipe.get("size")))
            parts.append(f"{perplexity:.0f}{f' of {classes:,}' if classes else ''} classes are in use")
        words = f"<b>Not collapsed</b>: {text(' and '.join(parts) or 'no sign of it')}."
    return section("verdict", "Collapse", f'<p class="note">{words}</p>')


def _measures_section(metrics: Sequence[Row], recipe: Row) -> str:
    """The first and the last value of everything that was measured."""
    if not metrics:
        return ""
    rows = []
    for measure in _measures(metrics, recipe):
        first, last = number(metrics[0].get(measure.key)), number(metrics[-1].get(measure.key))
        if last is None:
            continue
        level = None if measure.level is None else f"{measure.level:.3g}"
        under = f'<span class="range">{text(measure.level_name)}</span>' if level else ""
        cells = [
            grid_cell(None if first is None else _figure(first)),
            grid_cell(_figure(last), strong=True),
            grid_cell(level, under),
        ]
        rows.append(grid_row(measure.title, measure.meaning, cells))
    heads = [
        "measurement",
        f"update {metrics[0]['update']:,.0f}",
        f"update {metrics[-1]['update']:,.0f}",
        "to compare with",
    ]
    note = "Losses and the norm are means over the updates since the line before; the others are of one batch."
    return section("results", "Measurements", scrolling("Table of measurements", grid(heads, rows)), note, "results")


def _figure(value: float) -> str:
    """Four digits, and more of a decay near 1."""
    near = abs(1 - value)
    return f"{value:.4g}" if near == 0 or near > 1e-3 else f"{value:.{2 - math.floor(math.log10(near))}g}"


def _next_section(run: Path, finished: bool) -> str:
    """The commands that come next."""
    name = shlex.quote(str(run))
    steps = {
        f"sondino distill AUDIO --teacher {name} --out STUDENT": "a small student of this encoder",
        f"sondino evaluate {name} --tasks LABELLED --out EVALUATION": "a linear probe on your labels",
        f"sondino embed RECORDINGS --model {name} --output embeddings.npz": "its embeddings",
        f"sondino export {name} --to onnx --out EXPORTED": "a file for another runtime",
    }
    shown = "".join(f"<li><code>{text(command)}</code>: {text(why)}</li>" for command, why in steps.items())
    note = "" if finished else "Once it has finished. Until then the same `sondino pretrain` command resumes it."
    return section("next", "How to go on", f'<ul class="words">{shown}</ul>', note)


def _skipped_section(file: Path) -> str:
    """The files that were left out, and why."""
    if not file.exists():
        return ""
    with file.open(newline="", encoding="utf-8", errors="replace") as lines:
        rows = [(row.get("path") or "", row.get("reason") or "") for row in read_csv(lines)]
    if not rows:
        return ""
    listed = [
        f'<tr><th scope="row">{text(path)}</th><td class="text">{text(reason)}</td></tr>'
        for path, reason in rows[:MOST_SKIPPED]
    ]
    more = f"The first {MOST_SKIPPED} of {len(rows):,}; skipped.csv has all." if len(rows) > MOST_SKIPPED else ""
    table = scrolling("Table of skipped files", grid(["file", '<span class="left">reason</span>'], listed))
    return section("skipped", f"{len(rows):,} skipped", table, more)
