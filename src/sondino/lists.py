"""Lists of sound, CSV or Parquet: one definition of their columns and values for every command that reads one.

A column is used, or refused by its name, or it is about something else: nothing that decides which sound is
used, under which label and in which part, is dropped.
"""

import csv
import math
import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import sondino.raven as raven
from sondino.errors import OptionError, require
from sondino.text import first_line

TEXT = ("path", "id", "label", "labels", "fold", "split", "source")
SECONDS = ("start", "end", "duration")
COLUMNS = (*TEXT, *SECONDS)
READ_AS = {
    "start_time": "start",
    "end_time": "end",
    raven.BEGIN: "start",
    raven.END: "end",
    raven.DELTA: "duration",
    "Annotation": "label",
    "Start (s)": "start",
    "End (s)": "end",
    "Common name": "label",
    "Common Name": "label",
    "File": "path",
    "Begin Path": "path",
    "Begin File": "path",
}
"""Names that other programs write, Raven and BirdNET among them, and the columns of ours that they are read as."""
_RATHER = {
    "Begin Path": {"File"},
    "Begin File": {"File", "Begin Path"},
    "Common Name": {"Annotation", "Common name"},
}
"""Names that are not read where one of these is there."""
SPLITS = {"": "train", "train": "train", "valid": "valid", "validation": "valid", "val": "valid", "test": "test"}
"""What a cell of `split` may hold, and which part it means."""
BETWEEN_LABELS = ";"
MOST_NAMED = 8
"""Columns that are not read and are named."""
SUFFIXES = (".csv", ".parquet")

# Other names of the times: "Begin Time (s)", onset, segment_end, duration_ms, t0.
_BEFORE = (
    r"(?:segment|seg|clip|event|annotation|label|region|call|sound|audio|window|chunk|selection|detection|interval"
    r"|time|t)?"
)
_AFTER = r"(?:timestamp|time|t)?(?:in)?(?:s|secs?|seconds?|ms|msecs?|milliseconds?|samples?|frames?)?"
_TIMES = (
    ("start", re.compile(rf"{_BEFORE}(?:start|onset|begin){_AFTER}|[tx]min|t0|from")),
    ("end", re.compile(rf"{_BEFORE}(?:end|stop){_AFTER}|[tx]max|t1|to")),
    ("duration", re.compile(rf"{_BEFORE}(?:duration|dur|deltatime){_AFTER}")),
)
_OFFSET = re.compile(rf"{_BEFORE}offset{_AFTER}")  # the start in some tools' lists, the end in others'
_MOMENT = re.compile(rf"{_BEFORE}(?:time|times|timestamps?|timepoints?|moment){_AFTER}")  # or the time of a recording
_LATEST = 1e8
"""Numbers from here on are dates, in seconds from 1970, rather than times in a file, in seconds or milliseconds."""
_LENGTH = re.compile(
    rf"{_BEFORE}(?:length|len|seconds|secs){_AFTER}"
)  # a stretch's beside a start, by itself the file's
_FOLD = re.compile(r"(?:k|cv)?fold(?:id|no|number|index|idx)?")
_TRAINS = {"train", "training", "trn"}
_PARTS = _TRAINS | {"test", "testing", "tst", "valid", "validation", "val", "dev", "eval", "evaluation", "holdout"}
_PART_NAMES = {"test", "train", "validation", "holdout", "istest", "istrain", "isvalidation", "isholdout"}


@dataclass(frozen=True)
class SoundList:
    """The rows of a list.

    Attributes:
        file: the list.
        lines: the number of each row's line in a CSV, of each row in Parquet, from 1.
        text: column -> cells, "" where empty.
        seconds: column -> cells, None where empty: start and duration, `end` being made one.
        skipped: (row, reason) of rows without a path.
        unread: columns about something else, which hold anything.
    """

    file: Path
    lines: list[int]
    text: dict[str, list[str]]
    seconds: dict[str, list[float | None]]
    skipped: list[tuple[str, str]] = field(default_factory=list)
    unread: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.lines)

    def place(self, row: int) -> str:
        """A row in messages, such as "line 3"."""
        return _row(self.file, self.lines[row])

    def notes(self) -> tuple[str, ...]:
        """A message with the columns that are not read; none where all are."""
        if not self.unread:
            return ()
        more = f" and {len(self.unread) - MOST_NAMED} more" if len(self.unread) > MOST_NAMED else ""
        return (f"{self.file.name} has columns that are not read: {', '.join(self.unread[:MOST_NAMED])}{more}",)


def read_list(file: Path, unused: Mapping[str, str], labelled: bool = False) -> SoundList:
    """Read a list, and refuse every column and value that would not be used as it is meant.

    Args:
        file: .parquet, or CSV in UTF-8, with a column path.
        unused: columns that the caller does not use -> why, and what to do; refused where they hold anything.
        labelled: whether a column label or labels is needed.

    Raises:
        OptionError: it cannot be read, or a column or value is refused: the message names it.
        MissingExtra: Parquet without pyarrow.
    """
    if file.exists() and not file.is_file():  # opening a named pipe may wait for ever
        raise OptionError(f"{file} is not a file: give a CSV or Parquet list")
    form = _Form(file, unused, labelled)
    table = _read_parquet(form) if file.suffix.lower() == ".parquet" else _read_csv(form)
    lines, text = table.lines, table.text
    if "split" in text:
        _check_splits(file, lines, text["split"])
    seconds = {
        name: _seconds(file, table.written.get(name, name), lines, cells) for name, cells in table.seconds.items()
    }
    if "end" in seconds:
        seconds["duration"] = _durations(file, table, seconds)
        del seconds["end"]
    if raven.OFFSET in seconds:  # after the durations, since an end counts from where its start does
        for row, begin_and_offset in enumerate(zip(seconds["start"], seconds[raven.OFFSET], strict=True)):
            if None in begin_and_offset:
                raise OptionError(
                    f"{file}, {_row(file, lines[row])}: {raven.BEGIN} or {raven.OFFSET} is empty: fill it in, "
                    f"or leave the column {raven.OFFSET} out where the table is of one recording"
                )
        seconds["start"] = seconds.pop(raven.OFFSET)
    lacking = [row for row, path in enumerate(text["path"]) if not path]
    again = raven.repeated([*text.values(), *seconds.values()]) if raven.VIEW in table.written else set()
    if not lacking and not again:
        return SoundList(file, lines, text, seconds, unread=table.unread)
    skipped = [(f"{_row(file, lines[row])} of {file.name}", "has no path") for row in lacking]
    there = [row for row, path in enumerate(text["path"]) if path and row not in again]
    return SoundList(
        file,
        [lines[row] for row in there],
        {name: [cells[row] for row in there] for name, cells in text.items()},
        {name: [values[row] for row in there] for name, values in seconds.items()},
        skipped,
        table.unread,
    )


@dataclass(frozen=True)
class _Form:
    """A list to read, and what its reader needs and does not use."""

    file: Path
    unused: Mapping[str, str]
    labelled: bool


@dataclass
class _Cells:
    """A list as it stands in its file: text of every column, numbers of Parquet as they are."""

    lines: list[int]
    text: dict[str, list[str]]
    seconds: Mapping[str, Sequence[str | float | None]]
    unread: tuple[str, ...] = ()
    written: Mapping[str, str] = field(default_factory=dict)  # names of ours -> as they stand in the file


def _row(file: Path, line: int) -> str:
    return f"{'row' if file.suffix.lower() == '.parquet' else 'line'} {line}"


# ---- columns ------------------------------------------------------------------------------------------------------


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.casefold())


def _ours(names: Sequence[str]) -> list[str]:
    """A list's names, those that other programs write as ours, where ours is not there and one alone means it."""
    meant = [name if _RATHER.get(name, set()) & set(names) else READ_AS.get(name, name) for name in names]
    counts = Counter(meant)
    return [new if counts[new] == 1 else old for old, new in zip(names, meant, strict=True)]


def _times(given: Sequence[str], names: Sequence[str]) -> tuple[str, ...]:
    """The columns of seconds: Raven's offset is one where its beginning is the start."""
    return (*SECONDS, raven.OFFSET) if raven.BEGIN in given and raven.BEGIN not in names else SECONDS


def _refused(form: _Form, names: Sequence[str]) -> dict[str, str]:
    """Check a list's names, and give the columns that are refused where they hold anything -> what to do.

    Raises:
        OptionError: a column is missing or there twice.
    """
    file, counts = form.file, Counter(names)
    twice = next((name for name in (*COLUMNS, raven.OFFSET) if counts[name] > 1), None)
    if twice is not None:
        raise OptionError(f"{file} has {counts[twice]} columns {twice}: keep one of them")
    for one, other in (("label", "labels"), ("fold", "split")):
        if counts[one] and counts[other]:
            raise OptionError(f"{file} has both a column {one} and a column {other}: keep one of them")
    lacking = [] if counts["path"] else ["path"]
    if form.labelled and not (counts["label"] or counts["labels"]):
        lacking.append("label")
    for meant in lacking:
        near = next((name for name in names if _meaning(name) == meant), None)
        if near is not None:
            raise OptionError(f"{file}, column {near!r}: write {meant!r}")
    if lacking:
        used = ", ".join(name for name in COLUMNS if name not in form.unused)
        needs = "needs the columns path and label" if form.labelled else "has no column path"
        raise OptionError(
            f"{file} {needs} (it has {', '.join(sorted(filter(None, names))) or 'none'}): "
            f"a line of names at the top, with commas or tabs between; sondino reads {used}"
        )
    return _unread_columns(names, form.unused)


def _unread_columns(names: Sequence[str], unused: Mapping[str, str]) -> dict[str, str]:
    refused = {}
    begins = any(_meaning(name) == "start" for name in names)
    divided = {"fold", "split"} & set(names)
    for name in names:
        meant = _meaning(name)
        plain = _plain(name)
        if name in COLUMNS:
            if name in unused:
                refused[name] = unused[name]
        elif meant is not None and meant in unused:
            refused[name] = unused[meant]
        elif meant is not None:
            advice = f"write {meant!r}" + (", in seconds, or rename it" if meant in SECONDS else "")
            refused[name] = "keep one of the two, or rename it" if meant in names else advice
        elif name == raven.OFFSET and "start" not in names:
            refused[name] = unused.get("start", "write 'start', or rename it")
        elif _OFFSET.fullmatch(plain):
            named = "end" if begins else "start"
            refused[name] = unused.get(named, f"write {named!r}, in seconds, or rename it")
        elif _LENGTH.fullmatch(plain) and begins and not {"end", "duration"} & set(names):
            refused[name] = unused.get("duration", "write 'duration', in seconds, or rename it")
        elif _MOMENT.fullmatch(plain) and not begins:
            refused[name] = unused.get("start", "write 'start', in seconds, or rename it")
        elif (plain in _PART_NAMES or "split" in plain) and not divided:
            refused[name] = "write a column 'split' of train, valid and test, or rename it"
    return refused


def _is_meant(name: str, cell: str | float | None) -> bool:
    """Whether a cell of a refused column holds what its name says: a column `time` may be about dates."""
    if cell is None or (isinstance(cell, str) and not cell.strip()):
        return False
    if not _MOMENT.fullmatch(_plain(name)):
        return True
    try:
        return (_number(cell) or 0.0) < _LATEST
    except (TypeError, ValueError, OverflowError):
        return False


def _meaning(name: str) -> str | None:
    """The column of ours that a name means, whatever its case, spaces and unit; None where it means none."""
    plain = _plain(name)
    if plain in COLUMNS:
        return plain
    if plain.removesuffix("s") in COLUMNS:
        return plain.removesuffix("s")
    if _FOLD.fullmatch(plain):
        return "fold"
    return next((column for column, form in _TIMES if form.fullmatch(plain)), None)


def _parts_in(cells: Iterable[str]) -> set[str]:
    """The values of a column that gives rows a part, under whatever name; empty where it is about something else."""
    found = set()
    for cell in cells:
        if cell:
            if cell.casefold() not in _PARTS:
                return set()
            found.add(cell)
    return found if {cell.casefold() for cell in found} - _TRAINS else set()


def _check_parts(file: Path, name: str, parts: Collection[str]) -> None:
    if parts:
        raise OptionError(f"{file}, column {name!r} holds {', '.join(sorted(parts))}: write 'split' as its name")


# ---- values -------------------------------------------------------------------------------------------------------


def _check_splits(file: Path, lines: Sequence[int], cells: Sequence[str]) -> None:
    for line, value in zip(lines, cells, strict=True):
        if value not in SPLITS:
            raise OptionError(f"{file}, {_row(file, line)}: split is {value!r}: give train, valid or test")


def _seconds(file: Path, name: str, lines: Sequence[int], cells: Sequence[str | float | None]) -> list[float | None]:
    values = []
    for line, cell in zip(lines, cells, strict=True):
        try:
            values.append(_number(cell))
        except (ValueError, OverflowError) as error:
            raise OptionError(
                f"{file}, {_row(file, line)}, column {name}: {cell!r} is no number: give seconds, or leave it empty"
            ) from error
    return values


def _number(cell: str | float | None) -> float | None:
    """A cell's number; NaN, which some tools write for nothing, is nothing."""
    if cell is None or (isinstance(cell, str) and not cell.strip()):
        return None
    value = float(cell)
    if math.isinf(value) or (isinstance(cell, str) and "_" in cell):
        raise ValueError(cell)
    return None if math.isnan(value) else value


def _durations(file: Path, table: _Cells, seconds: Mapping[str, Sequence[float | None]]) -> list[float | None]:
    """Each row's duration, from its end where it has one."""
    nothing: list[float | None] = [None] * len(table.lines)
    names = [table.written.get(name, name) for name in SECONDS]
    found = []
    rows = zip(table.lines, *(seconds.get(name, nothing) for name in SECONDS), strict=True)
    for line, start, end, duration in rows:
        try:
            found.append(raven.length(start or 0.0, end, duration, names))
        except ValueError as error:
            raise OptionError(f"{file}, {_row(file, line)}: {error}") from error
    return found


# ---- CSV ----------------------------------------------------------------------------------------------------------


def _read_csv(form: _Form) -> _Cells:
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


def _cells(form: _Form, reader: Any) -> _Cells:
    file = form.file
    rows = _rows(file, reader)
    given: list[str] = next((row for row in rows if any(cell.strip() for cell in row)), [])
    names = _ours(given)
    refused = _refused(form, names)
    times = _times(given, names)
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
            if _is_meant(name, row[place]):
                raise OptionError(f"{file}, column {given[place]!r}: {refused[name]}")
        for place in list(others):
            cell = row[place].strip()
            if cell and cell.casefold() not in _PARTS:
                del others[place]
            elif cell:
                others[place].add(cell)
        empty -= {place for place in empty if row[place].strip()}
        lines.append(reader.line_num)
        for name, place in known.items():
            cells[name].append(row[place])
    for place, values in others.items():
        _check_parts(file, names[place], _parts_in(values))
    for name in ("label", "labels", "id", "fold", "source"):
        if name in cells:
            cells[name] = [cell.strip() for cell in cells[name]]
    text = {name: cells[name] for name in TEXT if name in cells}
    unread = tuple(names[place] for place in foreign if place not in empty and names[place] != raven.VIEW)
    written = dict(zip(names, given, strict=True))
    return _Cells(lines, text, {name: cells[name] for name in times if name in cells}, unread, written)


# ---- Parquet ------------------------------------------------------------------------------------------------------


def _read_parquet(form: _Form) -> _Cells:
    file = form.file
    pa = require("pyarrow", "tables")
    parquet = require("pyarrow.parquet", "tables")
    try:
        with parquet.ParquetFile(file) as opened:
            schema = opened.schema_arrow
            given = list(schema.names)
            names = _ours(given)
            refused = _refused(form, names)
            times = _times(given, names)
            texts = [name for name, one in zip(names, schema, strict=True)
                     if names.count(name) == 1 and _is_text(pa, one.type)]  # fmt: skip
            wanted = {*TEXT, *times, *refused, *texts} & set(names)
            table = opened.read(columns=[old for old, new in zip(given, names, strict=True) if new in wanted])
        table.validate(full=True)
        ours = dict(zip(given, names, strict=True))
        table = table.rename_columns([ours[name] for name in table.column_names])
    except OptionError:
        raise
    except Exception as error:  # what a damaged file raises is not all of pyarrow's own types
        raise OptionError(f"{file} cannot be read as Parquet ({first_line(error)}): write it again") from error
    there = [name for name in names if name in wanted and name in table.column_names]
    written = {new: old for old, new in ours.items()}
    for name in refused:
        if names.count(name) > 1 or (name in there and any(_is_meant(name, cell) for cell in table[name].to_pylist())):
            raise OptionError(f"{file}, column {written[name]!r}: {refused[name]}")
    if not {"fold", "split"} & set(names):
        for name in set(texts) & set(there) - set(COLUMNS):
            distinct = [str(cell).strip() for cell in table[name].unique().to_pylist() if cell is not None]
            _check_parts(file, name, _parts_in(distinct))
    text = {name: _text_cells(pa, file, name, table[name]) for name in TEXT if name in there}
    seconds = {name: _number_cells(pa, file, written[name], table[name]) for name in times if name in there}
    unread = tuple(name for name, one in zip(names, schema, strict=True)
                   if name not in (*TEXT, *times, raven.VIEW) and not pa.types.is_null(one.type))  # fmt: skip
    return _Cells(list(range(1, len(table) + 1)), text, seconds, unread, written)


def _is_text(pa: Any, kind: Any) -> bool:
    types = pa.types
    if types.is_dictionary(kind):
        kind = kind.value_type
    return bool(types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind))


def _text_cells(pa: Any, file: Path, name: str, column: Any) -> list[str]:
    types, kind = pa.types, column.type
    several = name in ("label", "labels") and (types.is_list(kind) or types.is_large_list(kind))
    inner = kind.value_type if several else kind
    plain = (types.is_integer, types.is_floating, types.is_boolean, types.is_decimal, types.is_null)
    if not (_is_text(pa, inner) or any(fits(inner) for fits in plain)):
        raise OptionError(f"{file}, column {name} holds {kind}: give text")
    if several:
        cells = [
            BETWEEN_LABELS.join(str(each) for each in cell or () if each is not None) for cell in column.to_pylist()
        ]
    elif _is_text(pa, kind):
        cells = ["" if cell is None else cell for cell in column.to_pylist()]
    else:
        cells = ["" if cell is None else f"{cell:g}" if isinstance(cell, float) else str(cell)
                 for cell in column.to_pylist()]  # fmt: skip
    return cells if name in ("path", "split") else [cell.strip() for cell in cells]


def _number_cells(pa: Any, file: Path, name: str, column: Any) -> list[str | float | None]:
    types, kind = pa.types, column.type
    plain = (types.is_integer, types.is_floating, types.is_decimal, types.is_null)
    if not (_is_text(pa, kind) or any(fits(kind) for fits in plain)):
        raise OptionError(f"{file}, column {name} holds {kind}: give seconds as numbers")
    return list(column.to_pylist())
