"""Figures as SVG, for the page and for files: lines and dots with their intervals, and bars.

Colours are given by the caller: the page's follow light and dark, a file's are for white paper.
"""

import html
import math
import textwrap
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from sondino.text import NO_BREAK, distinct_texts

Interval = tuple[float, float]

FONT = 'ui-sans-serif, system-ui, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif'
WIDE, NARROW, PAPER_WIDTH = 1060.0, 326.0, 760.0
"""Pixels across: a whole card, one on a phone, a file."""

COLOURS = 10
"""Most colours of a figure or a legend; of more groups the first nine have their own, and the others share the last."""

_LETTER = 6.9  # mean width of a letter of 12.5 px
_BOLD = 8.8  # of a bold one of 15 px
_LINES = 4  # of a name, which a figure cuts after so many


@dataclass(frozen=True)
class Look:
    """Colours of a figure: text, secondary text, grid lines, background, and series."""

    ink: str
    soft: str
    rule: str
    ground: str
    colours: tuple[str, ...]


PAGE = Look("var(--ink)", "var(--soft)", "var(--line)", "var(--card)", tuple(f"var(--c{i})" for i in range(COLOURS)))
PAPER = Look(
    "#17201f", "#56625f", "#dde2de", "#ffffff",
    ("#2f6bd0", "#cf5a1f", "#1f8f5f", "#c23a55", "#7a4fc4", "#0a8aa0", "#a97a06", "#c9428f", "#657a22", "#5f6b78"),
)  # fmt: skip


def plain(value: float, digits: int) -> str:
    """A number in so many digits, without zeros at its end."""
    return f"{value:.{digits}g}"


def share(value: float, digits: int) -> str:
    """A share of 1 in percent."""
    return f"{100 * value:.{digits}g}{NO_BREAK}%"


@dataclass(frozen=True)
class Axis:
    """An axis.

    Attributes:
        title: beside it.
        format: a value in so many digits.
        log: whether it is logarithmic.
        zero: whether it begins at 0.
        digits: of a value; ticks take more where they would read the same.
    """

    title: str
    format: Callable[[float, int], str] = plain
    log: bool = False
    zero: bool = False
    digits: int = 6

    def write(self, value: float) -> str:
        """A value as text."""
        return self.format(value, self.digits)

    def ticks(self, values: Sequence[float]) -> list[str]:
        """Values as texts that differ where the values do."""
        return distinct_texts(values, self.format, self.digits)


@dataclass(frozen=True)
class Series:
    """Values to draw, with the interval of each where it is known.

    Attributes:
        name: in the legend.
        x: (n,) where; for dots the number of the row.
        y: (n,) the values.
        intervals: (n,) of each value (low, high), or None.
        level: the height of a dashed line, such as the value of uniform sampling.
        level_name: of the dashed line, in the legend.
        mark: the x whose value is ringed.
    """

    name: str
    x: Sequence[float]
    y: Sequence[float]
    intervals: Sequence[Interval | None]
    level: float | None = None
    level_interval: Interval | None = None
    level_name: str = ""
    mark: float | None = None


@dataclass(frozen=True)
class Figure:
    """A finished drawing: the content of its <svg>, and its size in pixels."""

    inside: str
    width: float
    height: float
    label: str

    def svg(self) -> str:
        """As an element of a page."""
        return (
            f'<svg class="figure" role="img" aria-label="{_text(self.label)}" width="{self.width:g}" '
            f'height="{self.height:g}" viewBox="0 0 {self.width:g} {self.height:g}">{self.inside}</svg>'
        )


def _text(value: str) -> str:
    return html.escape(value, quote=True)


def _write(
    x: float, y: float, words: str, colour: str, anchor: str = "start", size: float = 12, bold: bool = False
) -> str:
    weight = ";font-weight:600" if bold else ""
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" style="fill:{colour};font-size:{size:g}px{weight}">'
        f"{_text(words)}</text>"
    )


def _rule(x1: float, y1: float, x2: float, y2: float, colour: str, more: str = "") -> str:
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" style="stroke:{colour};{more}"/>'


def ticks(low: float, high: float, count: int) -> list[float]:
    """Round values from low to high, about `count` of them."""
    raw = (high - low) / max(1, count)
    if not raw > 0:
        return [low]
    power = 10 ** math.floor(math.log10(raw))
    step = next(s * power for s in (1, 2, 2.5, 5, 10) if s * power >= raw * 0.999)
    first = math.ceil(low / step - 1e-9)
    return [round(i * step, 12) for i in range(first, math.floor(high / step + 1e-6) + 1)]


def _range(series: Sequence[Series], zero: bool = False) -> Interval:
    """The lowest and highest value, intervals and levels included, with a margin."""
    found = [value for s in series for value in s.y]
    for s in series:
        found += [end for interval in [*s.intervals, s.level_interval] if interval for end in interval]
        found += [s.level] if s.level is not None else []
    low, high = min(found), max(found)
    low = min(low, 0.0) if zero else low
    spread = high - low if high - low > 1e-9 * max(abs(low), abs(high)) else 0.0
    pad = 0.06 * spread or 0.1 * abs(high) or 0.1
    return low if zero and low == 0 else low - pad, high + pad


def _thinned(places: Sequence[float], gap: float) -> list[int]:
    """Indexes of places that are at least `gap` apart; the last one is always kept."""
    kept: list[int] = []
    for i in reversed(range(len(places))):
        if not kept or places[kept[-1]] - places[i] >= gap:
            kept.append(i)
    return kept[::-1]


def _wrapped(words: str, width: float, letter: float = _LETTER) -> list[str]:
    """Words in lines of at most so many pixels, four of them; what does not fit is cut."""
    return textwrap.wrap(words, max(4, int(width / letter)), max_lines=_LINES, placeholder="…") or [""]


def _colours(series: Sequence[Series], look: Look) -> list[str]:
    """The colour of each series; of more than ten, all from the tenth on have one."""
    return [look.colours[min(i, COLOURS - 1)] for i in range(len(series))]


def _legend(series: Sequence[Series], width: float, look: Look) -> tuple[str, float]:
    """The names of the series and of their dashed lines, in rows; and their height. One series needs no name."""
    entries = [(s.name, colour, False) for s, colour in zip(series, look.colours, strict=False)]
    entries = entries if len(series) > 1 else []
    if len(series) > COLOURS:
        others = len(series) - COLOURS + 1
        entries[-1] = (f"the other {others}, in one colour", look.colours[-1], False)
    levels = {s.level_name: i for i, s in reversed(list(enumerate(series))) if s.level is not None}
    entries += [(name, look.colours[i] if len(series) == 1 else look.soft, True) for name, i in levels.items()]
    drawn, x, y = "", 0.0, 14.0
    for name, colour, dashed in entries:
        wide = 26 + _LETTER * len(name) + 18
        if x > 0 and x + wide > width + 18:
            x, y = 0.0, y + 20
        drawn += _rule(
            x, y - 4, x + 18, y - 4, colour, "stroke-width:2.6" + (";stroke-dasharray:4 3" if dashed else "")
        )
        lines = _wrapped(name, width - 25)
        drawn += "".join(_write(x + 25, y + 15 * i, line, look.soft, size=12.5) for i, line in enumerate(lines))
        y += 15 * (len(lines) - 1)
        x += wide
    return drawn, y + 18 if entries else 6.0


def line_figure(
    series: Sequence[Series], x: Axis, y: Axis, *, width: float, height: float = 300, look: Look = PAGE, title: str = ""
) -> Figure:
    """Lines over a number, with a band for their intervals; a series' level is a dashed line.

    Args:
        series: at least one with a value.
        x: the horizontal axis; where it is logarithmic all x must be above 0.
        y: the vertical axis.
        width: in pixels.
        height: of the plot with its axes, in pixels; title and legend come on top.
        look: the colours.
        title: drawn above; "" for none.
    """
    bottom, right = 44.0, 14.0
    low, high = _range(series, y.zero)
    marks = [tick for tick in ticks(low, high, max(3, round(height / 52))) if low <= tick <= high]
    texts = y.ticks(marks)
    left = 14.0 + _LETTER * max(map(len, texts))
    legend, used = _legend(series, width - right, look)
    drawn, top = _titled(title, width, look)
    top += used
    drawn += f'<g transform="translate(0 {top - used:.1f})">{legend}</g>'
    end = top + height - bottom
    to = math.log if x.log else float
    all_x = sorted({place for s in series for place in s.x})
    first, last = to(all_x[0]), to(all_x[-1])

    def across(value: float) -> float:
        share = (to(value) - first) / (last - first) if last > first else 0.5
        return left + 10 + share * (width - left - right - 20)

    def up(value: float) -> float:
        return top + (high - value) / (high - low) * (end - top)

    for tick, text in zip(marks, texts, strict=True):
        drawn += _rule(left, up(tick), width - right, up(tick), look.rule)
        drawn += _write(left - 8, up(tick) + 4, text, look.soft, "end")
    places = [across(value) for value in all_x]
    texts = x.ticks(all_x)
    for i in _thinned(places, 14 + _LETTER * max(map(len, texts))):
        drawn += _rule(places[i], end, places[i], end + 5, look.rule)
        drawn += _write(places[i], end + 19, texts[i], look.soft, "middle")
    drawn += _write((left + width - right) / 2, end + 38, x.title, look.soft, "middle")
    # The first series, which have colours of their own, are drawn last.
    coloured = list(zip(series, _colours(series, look), strict=True))[::-1]
    for s, colour in coloured:
        drawn += _level(s, colour, left, width - right, up, y)
    for s, colour in coloured:
        drawn += _line(s, colour, look, across, up, x, y)
    words = "; ".join(
        f"{s.name}: " + ", ".join(f"{x.write(a)} {y.write(b)}" for a, b in zip(s.x, s.y, strict=True)) for s in series
    )
    return Figure(drawn, width, end + bottom, f"{title or y.title} over {x.title}. {words}")


def _titled(title: str, width: float, look: Look) -> tuple[str, float]:
    """A title in as many lines as it needs, and their height; 0 for none."""
    if not title:
        return "", 0.0
    lines = _wrapped(title, width, _BOLD)
    drawn = [_write(0, 16 + 19 * i, line, look.ink, size=15, bold=True) for i, line in enumerate(lines)]
    return "".join(drawn), 7.0 + 19 * len(lines)


def _level(s: Series, colour: str, left: float, right: float, up: Callable[[float], float], y: Axis) -> str:
    if s.level is None:
        return ""
    drawn = ""
    if s.level_interval:
        low, high = s.level_interval
        drawn += (
            f'<rect x="{left:.1f}" y="{up(high):.1f}" width="{right - left:.1f}" height="{up(low) - up(high):.1f}" '
            f'style="fill:{colour};fill-opacity:.07"/>'
        )
    line = _rule(left, up(s.level), right, up(s.level), colour, "stroke-width:2;stroke-dasharray:6 5")
    return f"{drawn}<g><title>{_text(f'{s.level_name}: {y.write(s.level)}')}</title>{line}</g>"


def _line(
    s: Series, colour: str, look: Look, across: Callable[[float], float], up: Callable[[float], float], x: Axis, y: Axis
) -> str:
    drawn = ""
    banded = [(place, interval) for place, interval in zip(s.x, s.intervals, strict=True) if interval]
    if len(banded) > 1:
        edge = [f"{across(place):.1f},{up(high):.1f}" for place, (_, high) in banded]
        edge += [f"{across(place):.1f},{up(low):.1f}" for place, (low, _) in reversed(banded)]
        drawn += f'<polygon points="{" ".join(edge)}" style="fill:{colour};fill-opacity:.15"/>'
    elif banded:
        place, (low, high) = banded[0]
        drawn += _rule(across(place), up(low), across(place), up(high), colour, "stroke-width:2")
    points = " ".join(f"{across(a):.1f},{up(b):.1f}" for a, b in zip(s.x, s.y, strict=True))
    drawn += f'<polyline points="{points}" style="fill:none;stroke:{colour};stroke-width:2.2;stroke-linejoin:round"/>'
    for place, value, interval in zip(s.x, s.y, s.intervals, strict=True):
        shown = f"{s.name}, {x.write(place)}: {y.write(value)}"
        shown += f" ({y.write(interval[0])} to {y.write(interval[1])})" if interval else ""
        spot = f'cx="{across(place):.1f}" cy="{up(value):.1f}"'
        drawn += f"<g><title>{_text(shown)}</title>"
        if place == s.mark:
            drawn += f'<circle {spot} r="8" style="fill:{look.ground};stroke:{colour};stroke-width:2"/>'
        drawn += f'<circle {spot} r="3.6" style="fill:{colour}"/><circle {spot} r="11" style="fill:transparent"/></g>'
    return drawn


def dot_figure(
    names: Sequence[str], series: Sequence[Series], y: Axis, *, width: float, look: Look = PAGE, title: str = ""
) -> Figure:
    """A row for each name, and in it a dot a series with its interval.

    Args:
        names: of the rows.
        series: x is the number of the row.
        y: the (horizontal) axis of the values.
        width: in pixels.
        look: the colours.
        title: drawn above; "" for none.
    """
    left = min(0.4 * width, 20 + 7.5 * max(map(len, names)))
    wrapped = [_wrapped(name, left - 16, 7.5) for name in names]
    row = max(34.0, 13.0 * len(series) + 16, 16.0 * max(map(len, wrapped)) + 10)
    right, bottom = 20.0, 44.0
    legend, used = _legend(series, width - right, look)
    drawn, top = _titled(title, width, look)
    drawn += f'<g transform="translate(0 {top:.1f})">{legend}</g>'
    top += used
    end = top + row * len(names)
    low, high = _range(series)

    def across(value: float) -> float:
        return left + (value - low) / (high - low) * (width - left - right)

    count = max(2, round((width - left) / 90))
    while len(marks := [tick for tick in ticks(low, high, count) if low <= tick <= high]) < 2:
        count += 1
    texts = y.ticks(marks)
    shown_ones = _thinned([across(tick) for tick in marks], 12 + _LETTER * max(map(len, texts), default=0))
    for i, tick in enumerate(marks):
        drawn += _rule(across(tick), top, across(tick), end, look.rule)
        if i in shown_ones:
            drawn += _write(across(tick), end + 18, texts[i], look.soft, "middle")
    drawn += _write((left + width - right) / 2, end + 38, y.title, look.soft, "middle")
    for i, (name, lines) in enumerate(zip(names, wrapped, strict=True)):
        first = top + (i + 0.5) * row + 4 - 8 * (len(lines) - 1)
        words = "".join(_write(left - 14, first + 16 * j, line, look.ink, "end", 13) for j, line in enumerate(lines))
        drawn += f"<g><title>{_text(name)}</title>{words}</g>"
    for i, (s, colour) in enumerate(zip(series, _colours(series, look), strict=True)):
        shift = (i - (len(series) - 1) / 2) * 13
        for place, value, interval in zip(s.x, s.y, s.intervals, strict=True):
            middle = top + (place + 0.5) * row + shift
            shown = f"{s.name}, {names[int(place)]}: {y.write(value)}"
            shown += f" ({y.write(interval[0])} to {y.write(interval[1])})" if interval else ""
            drawn += f"<g><title>{_text(shown)}</title>"
            if interval:
                ends = (across(interval[0]), middle, across(interval[1]), middle)
                drawn += _rule(*ends, colour, "stroke-width:6;stroke-opacity:.28;stroke-linecap:round")
            drawn += f'<circle cx="{across(value):.1f}" cy="{middle:.1f}" r="5" style="fill:{colour}"/></g>'
    report = "; ".join(
        f"{s.name}: " + ", ".join(f"{names[int(a)]} {y.write(b)}" for a, b in zip(s.x, s.y, strict=True))
        for s in series
    )
    return Figure(drawn, width, end + bottom, f"{title or y.title}. {report}")


def bar_figure(
    values: Sequence[float], names: Sequence[str], y: Axis, *, width: float, height: float = 190, look: Look = PAGE
) -> Figure:
    """Upright bars side by side, without names under them: each shows its own on hover."""
    left, top, bottom = 12.0 + _LETTER * len(y.write(max(values))), 8.0, 10.0
    high = max(values) or 1.0
    drawn = ""
    are_counts = all(float(value).is_integer() for value in values)
    marks = ticks(0, high, min(4, int(high)) if are_counts else 4)  # a count has no halves
    for tick, text in zip(marks, y.ticks(marks), strict=True):
        place = top + (1 - tick / high) * (height - top - bottom)
        drawn += _rule(left, place, width, place, look.rule) + _write(left - 8, place + 4, text, look.soft, "end")
    step = (width - left) / len(values)
    for i, (value, name) in enumerate(zip(values, names, strict=True)):
        tall = value / high * (height - top - bottom)
        drawn += (
            f'<rect x="{left + i * step + 0.1 * step:.1f}" y="{height - bottom - tall:.1f}" width="{0.8 * step:.1f}" '
            f'height="{max(tall, 1):.1f}" rx="{min(2.0, 0.2 * step):.1f}" style="fill:{look.colours[5]}">'
            f"<title>{_text(f'{name}: {y.write(value)}')}</title></rect>"
        )
    shown = f"{y.title}, {len(values)} bars from {y.write(max(values))} down to {y.write(min(values))}"
    return Figure(drawn, width, height, shown)


def under_each_other(figures: Sequence[Figure], gap: float = 26) -> Figure:
    """Several drawings as one."""
    inside, down = "", 0.0
    for figure in figures:
        inside += f'<g transform="translate(0 {down:.1f})">{figure.inside}</g>'
        down += figure.height + gap
    width = max(figure.width for figure in figures)
    return Figure(inside, width, down - gap, " ".join(figure.label for figure in figures))


def standalone(figure: Figure, margin: float = 20) -> str:
    """A drawing as a file of its own, on white."""
    wide, tall = figure.width + 2 * margin, figure.height + 2 * margin
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{wide:g}" height="{tall:g}" viewBox="0 0 {wide:g} {tall:g}" '
        f"font-family='{FONT}'><title>{_text(figure.label)}</title>"
        f'<rect width="{wide:g}" height="{tall:g}" fill="{PAPER.ground}"/>'
        f'<g transform="translate({margin:g} {margin:g})">{figure.inside}</g></svg>\n'
    )


def in_two_widths(draw: Callable[[float], Figure], wide: float = WIDE) -> str:
    """A drawing twice, for a screen and for a phone: one of them is shown, with its text in full size."""
    return f'<div class="wide">{draw(wide).svg()}</div><div class="narrow">{draw(NARROW).svg()}</div>'
