"""Detections on disk: one table for all recordings, or a file for each, in the forms that other programs read."""

import csv
import io
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Literal, get_args

from sondino.arrow import Kinds, arrow_schema, arrow_table
from sondino.audio.recorded import time_of
from sondino.embedding.append import Stays
from sondino.embedding.detections import Recording
from sondino.embedding.inputs import ADDRESS
from sondino.embedding.label_tables import kept_csv, kept_json, other_columns
from sondino.embedding.table_readers import report_damage
from sondino.errors import OptionError, require
from sondino.files import make_folder, new_file, text_file
from sondino.text import CsvWriter, escape, unescape

Format = Literal["csv", "parquet", "jsonl", "raven", "audacity", "kaleidoscope"]

SUFFIXES: dict[str, Format] = {".csv": "csv", ".parquet": "parquet", ".jsonl": "jsonl"}
"""Formats that an output's suffix names."""

ENDINGS: dict[Format, str] = {
    "csv": ".csv",
    "parquet": ".parquet",
    "jsonl": ".jsonl",
    "raven": ".selections.txt",
    "audacity": ".labels.txt",
    "kaleidoscope": ".kaleidoscope.csv",
}
"""What follows a recording's own name in the name of its file."""

KINDS: Kinds = {
    "path": "string",
    "channel": "int32",
    "start": "float64",
    "end": "float64",
    "label": "string",
    "probability": "float32",
    "time": "string",
    "unlike": "float32",
}
"""Columns of a table and their types; `channel` is there where each channel has rows of its own."""
RAVEN = (
    "Selection",
    "View",
    "Channel",
    "Begin Time (s)",
    "End Time (s)",
    "Low Freq (Hz)",
    "High Freq (Hz)",
    "Begin Path",
    "File Offset (s)",
    "Annotation",
    "Probability",
)
KALEIDOSCOPE = ("INDIR", "FOLDER", "IN FILE", "CHANNEL", "OFFSET", "DURATION", "TOP1MATCH", "PROBABILITY")

Put = Callable[[Recording], None]
"""Called with each recording; the output is there, whole, once the context that gave this has been left."""

GROWING: tuple[Format, ...] = ("csv", "parquet", "jsonl")
"""Formats of tables that can be added to."""


@dataclass(frozen=True)
class Table:
    """A table of detections that is being written.

    Attributes:
        put: adds the detections of a recording.
        copy: adds the rows that stay of the table that it will replace.
    """

    put: Put
    copy: Callable[[Stays], None]


def format_of(output: Path, form: Format | None) -> tuple[Format, bool]:
    """The format of an output, and whether it is one file a recording.

    An output with a suffix of a table is one table; one that is a folder, or has no suffix, gets a file a recording.

    Raises:
        OptionError: the suffix and the format contradict each other, or say nothing.
        MissingExtra: parquet without pyarrow.
    """
    if form is not None and form not in get_args(Format):
        raise OptionError(f"format is {form!r}: give one of {', '.join(get_args(Format))}")
    named = SUFFIXES.get(output.suffix.lower())
    apart = output.is_dir() or not output.suffix
    if not apart and named is None and form is None:
        raise OptionError(
            f"output {output} must end in {', '.join(SUFFIXES)}, or be a folder for a file of each recording; give "
            "--format for other tables"
        )
    if not apart and form == "audacity":
        raise OptionError(
            f"output {output} is one file, and Audacity has a label track for each recording: name a folder"
        )
    if not apart and form is not None and named not in (None, form) and not (form == "kaleidoscope" and named == "csv"):
        raise OptionError(f"output {output} ends in {output.suffix}, and format is {form}: give one of the two")
    chosen: Format = form or named or "csv"
    if chosen == "parquet":
        require("pyarrow", "tables")
    return chosen, apart


def file_of(output: Path, path: str, form: Format) -> Path:
    """The file of one recording in the folder of an output, at its path below the folder that was given.

    A path that leaves the folder, such as an absolute one, loses what leads out of it.
    """
    parts = [part for part in PurePosixPath(path.replace("\\", "/")).parts if part not in ("/", "..", ".")]
    parts = [part.replace(":", "_") for part in parts]
    return output.joinpath(*parts[:-1], parts[-1] + ENDINGS[form])


@contextmanager
def one_table(output: Path, form: Format, top_frequency: float, by_channel: bool = False) -> Iterator[Table]:
    """A table of all recordings.

    Args:
        output: the file.
        form: its format.
        top_frequency: hertz, the highest that the model processes: the upper edge of a selection.
        by_channel: whether a column has the channel.
    """
    columns = list(kinds_of(by_channel))
    if form == "parquet":
        with _parquet(output, by_channel) as table:
            yield table
        return
    with text_file(output) as file:
        put = line_writer(file, form, top_frequency, by_channel)

        def copy(stays: Stays) -> None:
            if form == "csv":
                csv.writer(file, lineterminator="\n").writerows(kept_csv(output, columns, stays))
            elif form == "jsonl":
                file.writelines(kept_json(output, stays))

        yield Table(put, copy)


def kinds_of(by_channel: bool) -> Kinds:
    """The columns of a table, and their types."""
    return {name: kind for name, kind in KINDS.items() if by_channel or name != "channel"}


def line_writer(file: io.TextIOWrapper, form: Format, top_frequency: float, by_channel: bool = False) -> Put:
    """Writes recordings in a format of text into an open file; its line of names is written at once."""
    if form == "csv":
        return _csv(file, by_channel)
    if form == "jsonl":
        return _json_lines(file, by_channel)
    return _WRITERS[form](file, top_frequency)


def write_one(
    output: Path, channels: Sequence[Recording], form: Format, top_frequency: float, by_channel: bool = False
) -> None:
    """Write the table of one recording, or of its channels, whole or not at all."""
    with one_table(output, form, top_frequency, by_channel) as table:
        for recording in channels:
            table.put(recording)


# ---- formats --------------------------------------------------------------------------------------------------


def rows_of(recording: Recording) -> Iterator[tuple[str, float, float, str, float, str | None, float | None]]:
    """The rows of a recording, in the order of `KINDS`; time and unlike are None where they are not known."""
    for found in recording.detections:
        time = None if recording.recorded is None else time_of(recording.recorded, found.start)
        yield recording.path, found.start, found.end, found.label, found.probability, time, found.unlike


def table_rows(recording: Recording, by_channel: bool) -> Iterator[Sequence[Any]]:
    """The rows of a recording, in the order of `kinds_of`."""
    for path, *found in rows_of(recording):
        yield [path, *([recording.channel] if by_channel else []), *found]


def _number(value: float) -> str:
    """Seconds or a probability with six significant digits, and a time to the millisecond however long it is."""
    return f"{value:.6g}" if abs(value) < 1000 else f"{value:.3f}"


def _csv(file: io.TextIOWrapper, by_channel: bool) -> Put:
    table = CsvWriter(file)
    table.writerow(kinds_of(by_channel))

    def put(recording: Recording) -> None:
        channel = [str(recording.channel)] if by_channel else []
        for path, start, end, label, probability, time, unlike in rows_of(recording):
            shown = "" if unlike is None else _number(unlike)
            found = [_number(start), _number(end), label, _number(probability), time or "", shown]
            table.writerow([path, *channel, *found])

    return put


def as_dicts(recording: Recording, by_channel: bool = False) -> Iterator[dict[str, Any]]:
    """The rows of a recording as objects of JSON."""
    channel = {"channel": recording.channel} if by_channel else {}
    for path, start, end, label, probability, time, unlike in rows_of(recording):
        times = {"start": round(start, 6), "end": round(end, 6)}
        found = {"label": escape(label), "probability": round(probability, 6)}
        shown = None if unlike is None else round(unlike, 6)
        yield {"path": escape(path), **channel, **times, **found, "time": time, "unlike": shown}


def _json_lines(file: io.TextIOWrapper, by_channel: bool) -> Put:
    def put(recording: Recording) -> None:
        for row in as_dicts(recording, by_channel):
            file.write(json.dumps(row, ensure_ascii=False) + "\n")

    return put


def _raven(file: io.TextIOWrapper, top_frequency: float) -> Put:
    """A selection table of Raven: tabs; times of several files count on from file to file, as Raven opens them."""
    file.write("\t".join(RAVEN) + "\n")
    selections, before = 0, 0.0
    last: Recording | None = None

    def put(recording: Recording) -> None:
        nonlocal selections, before, last
        same = last is not None and last.file == recording.file and (last.channel or 0) < (recording.channel or 0)
        if last is not None and not same:
            before += last.seconds
        last = recording
        for found in recording.detections:
            selections += 1
            cells = (
                str(selections),
                "Spectrogram 1",
                str(recording.channel or 1),
                f"{before + found.start:.6f}",
                f"{before + found.end:.6f}",
                "0",
                f"{top_frequency:.0f}",
                _one_cell(recording.file),
                f"{found.start:.6f}",
                _one_cell(found.label),
                _number(found.probability),
            )
            file.write("\t".join(cells) + "\n")

    return put


def _audacity(file: io.TextIOWrapper, top_frequency: float) -> Put:
    def put(recording: Recording) -> None:
        for found in recording.detections:
            label = f"{_one_cell(found.label)}\t{_number(found.probability)}"  # as BirdNET-Analyzer writes it
            file.write(f"{found.start:.6f}\t{found.end:.6f}\t{label}\n")

    return put


def _kaleidoscope(text: io.TextIOWrapper, top_frequency: float) -> Put:
    table = CsvWriter(text)
    table.writerow(KALEIDOSCOPE)

    def put(recording: Recording) -> None:
        file, inside = Path(recording.file), recording.path if f"/{recording.path}" in recording.file else ""
        parent = recording.file.rpartition("/")[0] if ADDRESS.match(recording.file) else str(file.parent)
        folder = recording.file.removesuffix(f"/{inside}") if inside else parent
        channel = (recording.channel or 1) - 1
        below = str(PurePosixPath(inside).parent) if "/" in inside else ""
        for found in recording.detections:
            times = (_number(found.start), _number(found.end - found.start))
            table.writerow([folder, below, file.name, channel, *times, found.label, _number(found.probability)])

    return put


def _one_cell(text: str) -> str:
    """Text without tabs and line breaks, which would end a cell."""
    return escape(text).replace("\t", " ")


_WRITERS: dict[str, Callable[[io.TextIOWrapper, float], Put]] = {
    "raven": _raven,
    "audacity": _audacity,
    "kaleidoscope": _kaleidoscope,
}


@contextmanager
def _parquet(output: Path, by_channel: bool) -> Iterator[Table]:
    parquet = require("pyarrow.parquet", "tables")
    kinds = kinds_of(by_channel)
    schema = arrow_schema(kinds)
    make_folder(output.parent)
    with new_file(output, alone=True) as file, parquet.ParquetWriter(file, schema) as table:

        def put(recording: Recording) -> None:
            table.write_table(arrow_table(kinds, table_rows(recording, by_channel)))

        def copy(stays: Stays) -> None:
            for batch in _kept_batches(output, schema, stays):
                table.write_batch(batch)

        yield Table(put, copy)


def _kept_batches(table: Path, schema: Any, stays: Stays) -> Iterator[Any]:
    pyarrow, parquet = require("pyarrow", "tables"), require("pyarrow.parquet", "tables")
    with report_damage(table, "classify"), parquet.ParquetFile(table) as old:
        if not old.schema_arrow.equals(schema):
            raise other_columns(table, old.schema_arrow.names, schema.names)
        for batch in old.iter_batches():
            places = zip(batch.column("path").to_pylist(), batch.column("start").to_pylist(), strict=True)
            yield batch.filter(pyarrow.array([stays(unescape(path), at) for path, at in places], pyarrow.bool_()))
