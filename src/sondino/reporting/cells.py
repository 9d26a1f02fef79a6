"""The results table of a run and its headline numbers, as HTML."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sondino.metrics.verdicts import overlap_by_chance
from sondino.reporting.html import number, scrolling, section, text
from sondino.text import NO_BREAK, joules, milliseconds, short_bytes, short_count, times
from sondino.text import percent as plain_percent

Row = Mapping[str, Any]


def percent(value: float, digits: int = 1) -> str:
    """0.8123 as 81.2 %, on one line."""
    return plain_percent(value, digits, NO_BREAK)


@dataclass(frozen=True)
class Column:
    """Title and format of a known column."""

    title: str
    text: Callable[[float], str]
    bar: bool = False  # a value from 0 to 1 that a bar makes comparable at a glance


# Quality comes before cost: a phone shows the first columns only, until the table is scrolled.
COLUMNS: dict[str, Column] = {
    "probe_accuracy": Column("probe accuracy", percent, bar=True),
    "probe_mAP": Column("probe mAP", percent, bar=True),
    "own_accuracy": Column("own labels", percent, bar=True),
    "own_mAP": Column("own labels' mAP", percent, bar=True),
    "cosine": Column("cosine to teacher", lambda value: f"{value:.3f}"),
    "neighbour_overlap": Column("10-NN overlap", percent, bar=True),
    "label_top1": Column("same label", percent, bar=True),
    "label_mAP": Column("labels' mAP", percent, bar=True),
    "parameters": Column("parameters", short_count),
    "file_bytes": Column("file", short_bytes),
    "macs_per_10s": Column("MACs per 10 s", short_count),
    "milliseconds_per_10s": Column("ms per 10 s", milliseconds),
    "joules_per_10s": Column("J per 10 s", joules),
}
ROLES = {"untrained": "randomly initialised"}
"""Roles that tables and pages name otherwise than results.json does."""
_INTERVAL = {
    "probe_interval95": "probe_accuracy",
    "probe_mAP_interval95": "probe_mAP",
}  # shown inside the other column's cell


LONG = 10
"""Letters from which on a headline is words, in smaller type."""


@dataclass(frozen=True)
class Headline:
    """One number at the top of the page, its name and a remark."""

    name: str
    value: str
    why: str


def _get(row: Row | None, key: str) -> float | None:
    return None if row is None else number(row.get(key))


def headline_numbers(
    rows: Sequence[Row], metrics: Sequence[Row], held_out: float | None = None, compared: float | None = None
) -> list[Headline]:
    """The numbers that summarise the student's quality and cost; unknown ones are left out.

    Args:
        rows: of the results table; the first row of role "student" is compared with the first "teacher".
        metrics: of training; the last epoch is used where the table has no cosine or overlap.
        held_out: clips that the agreement is of; None: not known.
        compared: clips among which neighbours are sought; None: not known.
    """

    def first(role: str) -> Row | None:
        return next((row for row in rows if row.get("role") == role), None)

    student, teacher, untrained = first("student"), first("teacher"), first("untrained")
    last = metrics[-1] if metrics else None
    out = []

    for key, what, form in (("parameters", "parameters", short_count), ("file_bytes", "file size", short_bytes)):
        small, big = _get(student, key), _get(teacher, key)
        if small and big:
            word = "smaller than teacher" if big >= small else "the teacher's size over the student's"
            out.append(Headline(word, times(big / small), f"{what}: {form(small)} against {form(big)}"))
            break
    ours, theirs, blank = (_get(row, "probe_accuracy") for row in (student, teacher, untrained))
    if ours is not None and theirs:
        why = f"{percent(ours)}, teacher {percent(theirs)}" + (
            f", randomly initialised {percent(blank)}" if blank else ""
        )
        out.append(Headline("probe accuracy relative to teacher", percent(ours / theirs, 0), why))
    elif ours is not None:
        out.append(Headline("probe accuracy", percent(ours), f"randomly initialised {percent(blank)}" if blank else ""))
    over = f"mean over {held_out:,.0f} held-out clips" if held_out else "mean over held-out clips"
    # "is None", not "or": a cosine of 0 is an answer.
    cosine = _get(student, "cosine")
    cosine = _get(last, "validation_cosine") if cosine is None else cosine
    if cosine is not None:
        out.append(Headline("cosine to teacher", f"{cosine:.3f}", over))
    overlap = _get(student, "neighbour_overlap")
    overlap = _get(last, "validation_overlap") if overlap is None else overlap
    if overlap is not None:
        chance = f"; by chance {percent(overlap_by_chance(int(compared)), 0)}" if compared else ""
        out.append(Headline("10-NN overlap with teacher", percent(overlap, 0), over + chance))
    speed = _get(student, "milliseconds_per_10s")
    if speed:
        out.append(Headline("ms per 10 s of audio", milliseconds(speed), f"{10_000 / speed:,.0f} times real time"))
    return out


def headline_section(numbers: Sequence[Headline]) -> str:
    """The tiles at the top, or nothing where there are none."""
    if not numbers:
        return ""
    tiles = "".join(
        f'<div class="tile"><dt>{text(n.name)}</dt>'
        f'<dd class="big{" long" * (len(n.value) > LONG)}">{text(n.value)}</dd>'
        f'<dd class="why">{text(n.why)}</dd></div>'
        for n in numbers
    )
    return f'<dl class="headline" aria-label="Summary">{tiles}</dl>'


def results_section(rows: Sequence[Row]) -> str:
    """The results table of a run: known columns with their units first, then any others under their own names."""
    if not rows:
        return ""
    found = dict.fromkeys(key for row in rows for key in row)
    skip = {"model", "role", *_INTERVAL}
    keys = [key for key in COLUMNS if key in found] + [key for key in found if key not in COLUMNS and key not in skip]
    titles = [COLUMNS[key].title if key in COLUMNS else key.replace("_", " ") for key in keys]
    body = [
        grid_row(
            str(row.get("model") or row.get("role") or "–"), str(row.get("role") or ""), [_cell(row, k) for k in keys]
        )
        for row in rows
    ]
    note = "The range under a probe accuracy is its 95 % interval over folds."
    shown = note if any(key in found for key in _INTERVAL) else ""
    return section(
        "results", "Results", scrolling("Table of results", grid(["model", *map(text, titles)], body)), shown, "results"
    )


def grid(heads: Sequence[str], rows: Sequence[str]) -> str:
    """A table: heads and rows in HTML."""
    first = "".join(f'<th scope="col">{head}</th>' for head in heads)
    return f"<table><thead><tr>{first}</tr></thead><tbody>{''.join(rows)}</tbody></table>"


def grid_row(name: str, role: str, cells: Sequence[str], style: str = "") -> str:
    """A row of a table: the model and its role, then cells in HTML; a student's row is highlighted."""
    under = f'<span class="role">{text(ROLES.get(role, role))}</span>' if role and role != name else ""
    style = style or ("student" if role == "student" else "")
    kind = f' class="{style}"' if style else ""
    return f'<tr{kind}><th scope="row">{text(name)}{under}</th>{"".join(cells)}</tr>'


def grid_cell(value: str | None, under: str = "", strong: bool = False) -> str:
    """A cell of a table: a value as text, and what stands under it in HTML; None is a dash."""
    if value is None:
        return '<td><span aria-hidden="true">–</span><span class="hide">not known</span></td>'
    return f"<td>{f'<b>{text(value)}</b>' if strong else text(value)}{under}</td>"


def range_under(low: float, high: float) -> str:
    """An interval of shares, as it stands under its value."""
    return f'<span class="range">{100 * low:.1f}–{100 * high:.1f}</span>'


def bar_under(share: float) -> str:
    """A share as a bar under its value."""
    return f'<span class="bar" aria-hidden="true"><i style="width:{100 * min(1.0, max(0.0, share)):.1f}%"></i></span>'


def _cell(row: Row, key: str) -> str:
    value = row.get(key)
    if isinstance(value, str):
        return f'<td class="text">{text(value)}</td>'
    if isinstance(value, (list, tuple, bool)):
        return grid_cell(str(value))
    found = number(value)
    if found is None:
        return grid_cell(None)
    column = COLUMNS.get(key)
    shown = column.text(found) if column else (str(value) if isinstance(value, int) else f"{found:.4g}")
    extra = ""
    for name, of in _INTERVAL.items():
        ends = row.get(name)
        if of == key and isinstance(ends, (list, tuple)) and len(ends) == 2:
            extra += range_under(float(ends[0]), float(ends[1]))
    return grid_cell(shown, extra + (bar_under(found) if column and column.bar else ""))
