"""The results table and the headline numbers of a report, as HTML."""

import html
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Row = Mapping[str, Any]


def _count(value: float) -> str:
    """12,345 as 12.3 k, 2,970,000 as 2.97 M."""
    for size, unit in ((1e9, "\u00a0G"), (1e6, "\u00a0M"), (1e3, "\u00a0k")):
        if abs(value) >= size:
            return f"{value / size:.3g}{unit}"
    return f"{value:.3g}"


def _bytes(value: float) -> str:
    for size, unit in ((1e9, "\u00a0GB"), (1e6, "\u00a0MB"), (1e3, "\u00a0kB")):
        if abs(value) >= size:
            return f"{value / size:.3g}{unit}"
    return f"{value:.0f}\u00a0B"


def _percent(value: float) -> str:
    return f"{100 * value:.1f}\u00a0%"


def _milliseconds(value: float) -> str:
    return f"{value:.1f}" if value < 100 else f"{value:,.0f}"


@dataclass(frozen=True)
class Column:
    """How a known column is shown."""

    title: str
    text: Callable[[float], str]
    bar: bool = False  # a value from 0 to 1 that a bar makes comparable at a glance


# What was kept comes before what it costs: a phone shows the first columns only, until they are pushed aside.
COLUMNS: dict[str, Column] = {
    "probe_accuracy": Column("probe accuracy", _percent, bar=True),
    "cosine": Column("cosine to the teacher", lambda value: f"{value:.3f}"),
    "neighbour_overlap": Column("neighbours in common", _percent, bar=True),
    "parameters": Column("parameters", _count),
    "file_bytes": Column("file", _bytes),
    "macs_per_10s": Column("MACs for 10 s", _count),
    "milliseconds_per_10s": Column("ms for 10 s", _milliseconds),
}
_INTERVAL = {"probe_interval95": "probe_accuracy"}  # shown inside the other column's cell


@dataclass(frozen=True)
class Headline:
    """One number at the top of the page."""

    name: str
    value: str
    why: str


def _get(row: Row | None, key: str) -> float | None:
    value = None if row is None else row.get(key)
    if value is None or isinstance(value, (str, bool)):
        return None
    number = float(value)
    return number if math.isfinite(number) else None


def headline_numbers(rows: Sequence[Row], metrics: Sequence[Row]) -> list[Headline]:
    """The few numbers that say what the student kept and what it costs; those that are not known are left out.

    Args:
        rows: of the results table; the first row of role "student" is told, against the first "teacher".
        metrics: of training; the last epoch stands in where the table has no cosine or overlap.
    """

    def first(role: str) -> Row | None:
        return next((row for row in rows if row.get("role") == role), None)

    student, teacher, untrained = first("student"), first("teacher"), first("untrained")
    last = metrics[-1] if metrics else None
    out = []

    for key, what, text in (("parameters", "parameters", _count), ("file_bytes", "file size", _bytes)):
        small, big = _get(student, key), _get(teacher, key)
        if small and big:
            times = f"{big / small:.0f}×" if big / small >= 10 else f"{big / small:.1f}×"
            word = "smaller than its teacher" if big >= small else "the teacher's size over the student's"
            out.append(Headline(word, times, f"{what}: {text(small)} against {text(big)}"))
            break
    ours, theirs, blank = (_get(row, "probe_accuracy") for row in (student, teacher, untrained))
    if ours is not None and theirs:
        why = f"{_percent(ours)}, teacher {_percent(theirs)}" + (f", untrained {_percent(blank)}" if blank else "")
        out.append(Headline("of the teacher's probe accuracy", f"{100 * ours / theirs:.0f}\u00a0%", why))
    elif ours is not None:
        out.append(Headline("probe accuracy", _percent(ours), f"untrained {_percent(blank)}" if blank else ""))
    # "is None", not "or": a cosine of 0 is an answer.
    cosine = _get(student, "cosine")
    cosine = _get(last, "validation_cosine") if cosine is None else cosine
    if cosine is not None:
        out.append(Headline("cosine to the teacher", f"{cosine:.3f}", "mean over clips it never trained on"))
    overlap = _get(student, "neighbour_overlap")
    overlap = _get(last, "validation_overlap") if overlap is None else overlap
    if overlap is not None:
        out.append(
            Headline("of neighbours in common", f"{100 * overlap:.0f}\u00a0%", "each held-out clip's 10 nearest")
        )
    speed = _get(student, "milliseconds_per_10s")
    if speed:
        out.append(Headline("ms for 10 s of sound", _milliseconds(speed), f"{10_000 / speed:,.0f} times real time"))
    return out


def headline_section(numbers: Sequence[Headline]) -> str:
    """The tiles at the top, or nothing where there are none."""
    if not numbers:
        return ""
    tiles = "".join(
        f'<div class="tile"><dt>{html.escape(n.name)}</dt><dd class="big">{html.escape(n.value)}</dd>'
        f'<dd class="why">{html.escape(n.why)}</dd></div>'
        for n in numbers
    )
    return f'<dl class="headline" aria-label="In short">{tiles}</dl>'


def results_section(rows: Sequence[Row]) -> str:
    """The results table: known columns with their units first, then any others under their own names."""
    if not rows:
        return ""
    found = dict.fromkeys(key for row in rows for key in row)
    skip = {"model", "role", *_INTERVAL}
    keys = [key for key in COLUMNS if key in found] + [key for key in found if key not in COLUMNS and key not in skip]
    titles = [COLUMNS[key].title if key in COLUMNS else key.replace("_", " ") for key in keys]
    heads = "".join(f'<th scope="col">{html.escape(title)}</th>' for title in ["model", *titles])
    body = "".join(_row(row, keys) for row in rows)
    note = '<p class="note">The range under a probe accuracy is its 95 % interval over folds.</p>'
    return (
        '<section class="results" aria-labelledby="results"><h2 id="results">Results</h2>'
        '<div class="scroll" tabindex="0" role="region" aria-labelledby="results">'
        f"<table><thead><tr>{heads}</tr></thead><tbody>{body}</tbody></table></div>"
        f"{note if any(key in found for key in _INTERVAL) else ''}</section>"
    )


def _row(row: Row, keys: Sequence[str]) -> str:
    role = str(row.get("role") or "")
    model = str(row.get("model") or role or "–")
    under = f'<span class="role">{html.escape(role)}</span>' if role and role != model else ""
    cells = "".join(_cell(row, key) for key in keys)
    style = ' class="student"' if role == "student" else ""
    return f'<tr{style}><th scope="row">{html.escape(model)}{under}</th>{cells}</tr>'


def _cell(row: Row, key: str) -> str:
    value = row.get(key)
    if isinstance(value, str):
        return f'<td class="text">{html.escape(value)}</td>'
    if isinstance(value, (list, tuple, bool)):
        return f"<td>{html.escape(str(value))}</td>"
    number = _get(row, key)
    if number is None:
        return '<td><span aria-label="not known">–</span></td>'
    column = COLUMNS.get(key)
    text = column.text(number) if column else (str(value) if isinstance(value, int) else f"{number:.4g}")
    extra = ""
    for name, of in _INTERVAL.items():
        ends = row.get(name)
        if of == key and isinstance(ends, (list, tuple)) and len(ends) == 2:
            extra += f'<span class="range">{100 * float(ends[0]):.1f}–{100 * float(ends[1]):.1f}</span>'
    if column and column.bar:
        width = 100 * min(1.0, max(0.0, number))
        extra += f'<span class="bar" aria-hidden="true"><i style="width:{width:.1f}%"></i></span>'
    return f"<td>{html.escape(text)}{extra}</td>"
