"""Text of tables and messages: errors on one line, numbers with their units, CSV, Markdown. Standard library only."""

import csv
import io
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TextIO

NO_BREAK = "\u00a0"
"""The space between a number and its unit in an HTML page."""


# ---- errors -----------------------------------------------------------------------------------------------------


def first_line(error: BaseException) -> str:
    """The first line of an error's message; its type where it has none."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def format_error(error: BaseException) -> str:
    """An error's type and the first line of its message."""
    return f"{type(error).__name__}: {first_line(error)}" if str(error).strip() else type(error).__name__


# ---- numbers in one unit, as the rows of a column are compared -----------------------------------------------------


def if_known(value: float | None, form: Callable[[float], str]) -> str:
    """A value in a form; empty for None."""
    return "" if value is None else form(value)


def percent(value: float, digits: int = 1, space: str = " ") -> str:
    """0.8123 as "81.2 %"."""
    return f"{100 * value:.{digits}f}{space}%"


def score_text(value: float, interval: Sequence[float] | None = None) -> str:
    """A score of 0 to 1 in percent without the sign, with half the width of its interval: "81.2 ± 1.3"."""
    return f"{100 * value:.1f}" + (f" ± {50 * (interval[1] - interval[0]):.1f}" if interval else "")


def millions(value: float) -> str:
    """2,970,000 as "2.97 M"."""
    return f"{value / 1e6:.2f} M"


def megabytes(value: float) -> str:
    """Bytes: 12,400,000 as "12.4 MB"."""
    return f"{value / 1e6:.1f} MB"


# ---- numbers in the unit that fits each, for HTML pages -------------------------------------------------------------


def short_count(value: float) -> str:
    """12,345 as "12.3 k", 2,970,000 as "2.97 M"."""
    for size, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{value / size:.3g}{NO_BREAK}{unit}"
    return f"{value:.3g}"


def short_bytes(value: float) -> str:
    """4,100,000 as "4.1 MB"."""
    for size, unit in ((1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if abs(value) >= size:
            return f"{value / size:.3g}{NO_BREAK}{unit}"
    return f"{value:.0f}{NO_BREAK}B"


def short_duration(seconds: float) -> str:
    """0.5 as "0.5 s", 90 as "1.5 min", 5400 as "1.5 h"."""
    if seconds < 90:
        return f"{seconds:.3g}{NO_BREAK}s"
    return f"{seconds / 60:.1f}{NO_BREAK}min" if seconds < 5400 else f"{seconds / 3600:.1f}{NO_BREAK}h"


def milliseconds(value: float) -> str:
    """5.43 as "5.4", 1234.5 as "1,234"."""
    return f"{value:.1f}" if value < 100 else f"{value:,.0f}"


def joules(value: float) -> str:
    """Three digits: "0.0123", "1.23", "123"."""
    return f"{value:.3g}" if value < 1000 else f"{value:,.0f}"


def times(ratio: float) -> str:
    """28.9 as "29×", 2.34 as "2.3×"."""
    return f"{ratio:.0f}×" if ratio >= 10 else f"{ratio:.1f}×"


# ---- CSV --------------------------------------------------------------------------------------------------------


def csv_writer(file: TextIO) -> Any:
    r"""A `csv.writer` in the form of every CSV file that sondino writes: commas, lines that end with \n."""
    return csv.writer(file, lineterminator="\n")


def csv_text(header: Sequence[str], rows: Iterable[Sequence[Any]], digits: int | None = None) -> str:
    """A table as CSV; None is an empty field.

    Args:
        header: names of the columns.
        rows: their values.
        digits: that floats are rounded to. None: all.
    """

    def rounded(value: Any) -> Any:
        return round(value, digits) if digits is not None and isinstance(value, float) else value

    text = io.StringIO()
    writer = csv_writer(text)
    writer.writerow(header)
    writer.writerows([rounded(value) for value in row] for row in rows)
    return text.getvalue()


def csv_of_dicts(rows: Sequence[Mapping[str, Any]], header: Sequence[str] = (), digits: int | None = None) -> str:
    """Rows of named values as CSV.

    Args:
        rows: a column that a row lacks is empty there.
        header: names of the columns. None: the first row's.
        digits: as in `csv_text`.
    """
    names = list(header or rows[0])
    return csv_text(names, ([row.get(name) for name in names] for row in rows), digits)


def to_bytes(text: str) -> bytes:
    """Text as UTF-8 for a file; names of files in it need not be UTF-8 and come out as they are on disk."""
    return text.encode(errors="surrogateescape")


# ---- Markdown ---------------------------------------------------------------------------------------------------


def markdown_row(cells: Iterable[Any]) -> str:
    """A line of a table; bars in a cell, as a label may have, are escaped."""
    return "| " + " | ".join(str(cell).replace("|", r"\|") for cell in cells) + " |"


def markdown_table(header: Sequence[str], rows: Iterable[Sequence[Any]], left: int | None = None) -> str:
    """A table in Markdown, without an empty line at its end.

    Args:
        header: names of the columns.
        rows: their cells.
        left: columns that are aligned left; the others are aligned right. None: no alignment is given.
    """
    rules = ["---" if left is None or place < left else "---:" for place in range(len(header))]
    return "\n".join([markdown_row(header), markdown_row(rules), *map(markdown_row, rows)])


def markdown_facts(facts: Mapping[str, Any]) -> str:
    """Names and values as a table of two columns without a header."""
    return "\n".join(["| | |\n| --- | --- |", *map(markdown_row, facts.items())])
