"""The cells of a list in CSV, with commas or tabs between them."""

import csv
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import sondino.raven as raven
from sondino.errors import OptionError
from sondino.lists.cells import TEXT, UNNAMED, Cells, ListToRead
from sondino.lists.columns import check_parts, is_meant, is_part, our_names, parts_in, refused_columns, time_columns


def read_csv(form: ListToRead) -> Cells:
    """Read a CSV in UTF-8; OptionError where it is none, or a column is refused."""
    file = form.file
    try:
        with file.open(newline="", encoding="utf-8-sig") as opened:
            names = next((line for line in opened if line.strip()), "")
            opened.seek(0)
            outside = re.sub('"[^"]*"', "", names)
            between = "\t" if outside.count("\t") > outside.count(",") else ","
            lines = _without_nul(opened)
            if between == "\t" and raven.BEGIN in names:  # Raven quotes nothing: a quote there is one of the label
                return _cells(form, csv.reader(lines, delimiter=between, quoting=csv.QUOTE_NONE, strict=True))
            return _cells(form, csv.reader(lines, delimiter=between, strict=True))
    except OSError as error:
        raise OptionError(f"{file} cannot be read ({error.strerror or error}): give a CSV or Parquet list") from error
    except UnicodeDecodeError as error:
        byte = error.object[error.start]
        raise OptionError(f"{file} is no CSV in UTF-8 (it holds the byte 0x{byte:02x}): save it in UTF-8") from error
    except csv.Error as error:
        raise OptionError(f"{file} is no CSV in UTF-8 ({error}): save it as one") from error


def _without_nul(lines: Iterable[str]) -> Iterator[str]:
    for line in lines:
        if "\0" in line:
            raise csv.Error("it holds a NUL byte")
        yield line


def _rows(file: Path, reader: Any) -> Iterator[list[str]]:
    """The rows of a CSV; a quote that is never closed takes in the rest of the file."""
    while True:
        line = reader.line_num + 1
        try:
            row = next(reader, None)
        except csv.Error as error:
            if "unexpected end of data" not in str(error):
                raise
            raise OptionError(
                f"{file}, line {line}: a double quote is opened and never closed: close it, or write it twice where it "
                "belongs to the cell"
            ) from error
        if row is None:
            return
        yield row


def _cells(form: ListToRead, reader: Any) -> Cells:
    file = form.file
    rows = _rows(file, reader)
    given: list[str] = next((row for row in rows if any(cell.strip() for cell in row)), [])
    names = our_names(given)
    refused = refused_columns(form, names)
    times = time_columns(given, names)
    known = {name: names.index(name) for name in (*TEXT, *times) if name in names}
    suspects = {place: name for place, name in enumerate(names) if name in refused}
    others: dict[int, set[str]] = {}  # columns about something else, as it seems so far -> their values
    if not {"fold", "split"} & known.keys():
        others = {place: set() for place, name in enumerate(names) if name not in known}
    empty = {place for place, name in enumerate(names) if name and name not in known}  # as it seems so far
    foreign = sorted(empty)
    cells: dict[str, list[str]] = {name: [] for name in known}
    lines: list[int] = []
    for row in rows:
        if len(row) != len(names):
            if not any(cell.strip() for cell in row):
                continue
            if len(row) < len(names) or any(cell.strip() for cell in row[len(names) :]):
                raise OptionError(
                    f"{file}, line {reader.line_num} has {len(row)} cells and the line of names {len(names)}: "
                    "put a cell that holds a comma (or a tab) in double quotes"
                )
        elif not any(row):
            continue
        for place, name in suspects.items():
            if is_meant(name, row[place]):
                raise OptionError(f"{file}, column {given[place]!r}: {refused[name]}")
        for place in list(others):
            cell = row[place].strip()
            if cell and not is_part(cell):
                del others[place]
            elif cell:
                others[place].add(cell)
        empty -= {place for place in empty if row[place].strip()}
        lines.append(reader.line_num)
        for name, place in known.items():
            cells[name].append(row[place])
    for place, values in others.items():
        check_parts(file, names[place], parts_in(values))
    for name in ("label", "labels", "id", "fold", "source"):
        if name in cells:
            cells[name] = [cell.strip() for cell in cells[name]]
    text = {name: cells[name] for name in TEXT if name in cells}
    unread = tuple(names[place] for place in foreign if place not in empty and names[place] not in UNNAMED)
    written = dict(zip(names, given, strict=True))
    return Cells(lines, text, {name: cells[name] for name in times if name in cells}, unread, written)
