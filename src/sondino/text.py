"""Text of tables and messages: errors on one line, numbers with their units, CSV, Markdown. Standard library only."""

import csv
import io
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
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


def distinct_texts(values: Sequence[float], write: Callable[[float, int], str], digits: int) -> list[str]:
    """Numbers as texts that differ where the numbers do.

    Args:
        values: the numbers.
        write: a number in so many digits.
        digits: taken where they are enough; a double has no more than 16.
    """
    texts: list[str] = []
    for count in range(digits, 17):
        texts = [write(value, count) for value in values]
        if len(set(texts)) == len(set(values)):
            break
    return texts


# ---- numbers in the unit that fits each, for HTML pages -------------------------------------------------------------


def short_count(value: float) -> str:
    """12,345 as "12.3 k", 2,970,000 as "2.97 M"."""
    for size, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{value / size:.3g}{NO_BREAK}{unit}"
    return f"{value:.3g}"


def short_bytes(value: float, digits: int = 3) -> str:
    """4,100,000 as "4.1 MB"."""
    for size, unit in ((1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if abs(value) >= size:
            return f"{value / size:.{digits}g}{NO_BREAK}{unit}"
    return f"{value:.{digits - 3}f}{NO_BREAK}B"


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


# ---- names in text ----------------------------------------------------------------------------------------------

_NOT_TEXT = "\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff"
# Of what is escaped, and of no other character.
_CODES = "(?:x([0189][0-9a-f]|7f|5c)|u(202[89a-e]|206[6-9]|d[89a-f][0-9a-f]{2}))"
_CONTROL = re.compile(f"[{_NOT_TEXT}]")
_TO_ESCAPE = re.compile(rf"[{_NOT_TEXT}]|\\(?={_CODES})")
_ESCAPED = re.compile(rf"\\{_CODES}")
_FORMULA = re.compile("'*[=+\\-@\uff1d\uff0b\uff0d\uff20].")
_NUMBER = re.compile(r"[+-]?(?:(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?|inf|nan)")


def _code(found: re.Match[str]) -> str:
    return f"\\x{ord(found[0]):02x}" if ord(found[0]) < 256 else f"\\u{ord(found[0]):04x}"


def escape(name: str) -> str:
    r"""A name as valid Unicode on one line, from which `unescape` restores it.

    Control characters, line separators and bytes that are not UTF-8 are written as in Python: \x0d, \udcff. A
    backslash before such a code is written \x5c; others stay.
    """
    return name if name.isprintable() and "\\" not in name else _TO_ESCAPE.sub(_code, name)


def unescape(text: str) -> str:
    """The name that `escape` was given."""
    return _ESCAPED.sub(lambda found: chr(int(found[1] or found[2], 16)), text) if "\\" in text else text


def printable(text: object) -> str:
    """Text for a terminal: control codes, which could move the cursor or hide text, are escaped; lines stay lines."""
    return _CONTROL.sub(lambda found: found[0] if found[0] in "\n\t" else _code(found), str(text))


# ---- CSV --------------------------------------------------------------------------------------------------------


def to_cell(value: Any) -> Any:
    """A value as a cell of CSV: text is escaped, and what a spreadsheet would compute gets an apostrophe in front.

    Numbers stay as they are, as text too. `from_cell` restores the text.
    """
    if not isinstance(value, str):
        return value
    text = escape(value)
    return f"'{text}" if _FORMULA.match(text) and not _NUMBER.fullmatch(text) else text


def from_cell(cell: str) -> str:
    """The text that `to_cell` was given."""
    return unescape(cell[1:] if cell.startswith("'") and _FORMULA.match(cell) else cell)


class CsvWriter:
    r"""The one writer of CSV: commas, lines that end with \n, cells as of `to_cell`."""

    def __init__(self, file: TextIO) -> None:
        self._writer = csv.writer(file, lineterminator="\n")

    def writerow(self, row: Iterable[Any]) -> None:
        """Write a row."""
        self._writer.writerow([to_cell(value) for value in row])

    def writerows(self, rows: Iterable[Iterable[Any]]) -> None:
        """Write rows."""
        for row in rows:
            self.writerow(row)


def read_csv(lines: Iterable[str]) -> Iterator[dict[str, str]]:
    """The rows of a table that `CsvWriter` wrote, by column.

    Raises:
        csv.Error: a row is damaged.
    """
    for row in csv.DictReader(lines, strict=True):
        yield {name: from_cell(cell) for name, cell in row.items() if isinstance(name, str) and cell is not None}


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
    writer = CsvWriter(text)
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


# ---- Markdown ---------------------------------------------------------------------------------------------------


_MARKUP = re.compile(r"[\\`*\[\]<&~]|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])")


def markdown(name: object) -> str:
    """A name, label or note as plain text in Markdown: what would be markup or HTML is shown as it is written."""
    return _MARKUP.sub(lambda found: f"\\{found[0]}", escape(str(name)))


def markdown_code(name: object) -> str:
    """A name as code in Markdown."""
    text = escape(str(name))
    fence = "`" * (1 + max((len(run) for run in re.findall("`+", text)), default=0))
    space = " " if "`" in text else ""
    return f"{fence}{space}{text}{space}{fence}"


def markdown_row(cells: Iterable[Any]) -> str:
    """A line of a table; bars in a cell, as a label may have, are escaped."""
    return "| " + " | ".join(str(cell).replace("|", r"\|") for cell in cells) + " |"


def markdown_table(header: Sequence[str], rows: Iterable[Sequence[Any]], left: int | None = None) -> str:
    """A table in Markdown, without an empty line at its end.

    Args:
        header: names of the columns, as plain text.
        rows: their cells, as plain text.
        left: columns that are aligned left; the others are aligned right. None: no alignment is given.
    """
    rules = ["---" if left is None or place < left else "---:" for place in range(len(header))]
    lines = [map(markdown, header), rules, *(map(markdown, row) for row in rows)]
    return "\n".join(map(markdown_row, lines))


def markdown_facts(facts: Mapping[str, Any]) -> str:
    """Names and values, in Markdown, as a table of two columns without a header."""
    return "\n".join(["| | |\n| --- | --- |", *map(markdown_row, facts.items())])
