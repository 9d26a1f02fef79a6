"""Tables that grow: what an earlier call with `append` put into a table, and from which files.

Beside such a table lies NAME.inputs.json: the model and options, and path, id, size and time of change of each file.
It is written after the table: a kill between the two makes the next call process some files again, and loses nothing.
"""

import math
import os
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from sondino.audio.fragment import stretch_of
from sondino.audio.signal import Scale
from sondino.audio.windows import Windowing
from sondino.embedding.inputs import ADDRESS, Input
from sondino.embedding.table_readers import Rows, read_rows
from sondino.embedding.tables import TablePart
from sondino.encoder.encoder import Encoder, resolve
from sondino.errors import OptionError, RunError
from sondino.files import read_json, write_json

FORM = 1


class Counts(Protocol):
    """A report, as `EmbedReport` and `FilesReport` are."""

    skipped: list[tuple[str, str]]
    kept: int
    replaced: int
    gone: int


@dataclass(frozen=True)
class Known:
    """A file whose rows are in the table: its id there, its size (bytes) and its time of change (nanoseconds)."""

    id: str
    size: int
    changed: int


@dataclass(frozen=True)
class Plan:
    """What a call that appends does.

    Attributes:
        output: the table.
        settings: of the model and the options.
        known: path -> file, of those that are in the table.
        todo: files that are new or have changed, with the ids that they get.
        replaced: ids among them that have rows in the table.
        kept: files whose rows stay.
        gone: files of those that are no longer there.
        stamp: of the record that this was read from: size and time of change.
    """

    output: Path
    settings: Mapping[str, Any]
    known: Mapping[str, Known]
    todo: list[Input]
    replaced: frozenset[str]
    kept: int
    gone: int
    stamp: tuple[int, int] | None

    @property
    def exists(self) -> bool:
        """Whether there is a table to add to."""
        return bool(self.known)

    def save(self, failed: Collection[str]) -> None:
        """Record what is in the table now: all that were to be done but those whose paths failed."""
        files = {path: [file.id, file.size, file.changed] for path, file in self.known.items()}
        for file in self.todo:
            if file.path not in failed:
                files[whole_path(file.path)] = [file.id, file.size, file.changed]
        write_json(record_of(self.output), {"form": FORM, "settings": dict(self.settings), "files": files})


def record_of(output: Path) -> Path:
    """The file beside a table that says what is in it."""
    return output.with_name(f"{output.name}.inputs.json")


def whole_path(path: str) -> str:
    """What a file is known by, from whatever folder the command is called."""
    return path if ADDRESS.match(path) else os.path.abspath(path)  # noqa: PTH100 - links not resolved


def _is_gone(path: str) -> bool:
    """Whether a file is no longer on disk, nor the tar file that it is a member of; False of an address."""
    file = Path(stretch_of(path).file)
    return not ADDRESS.match(path) and not os.path.lexists(file) and not any(above.is_file() for above in file.parents)


def plan_append(output: Path, settings: Mapping[str, Any], files: Sequence[Input]) -> Plan:
    """Compare files with what is in a table.

    A file is known by its whole path, and has changed where its size or time of change has. Files that are in the table
    keep their ids; a new file whose id another file has there gets its path as given.

    Args:
        output: the table, which need not exist.
        settings: of the model and the options.
        files: as `list_inputs` lists them.

    Raises:
        OptionError: the table was not written with `append`, or with another model or other options.
    """
    stamp = _stamp(output)
    known = check_settings(output, settings)
    taken = {file.id: path for path, file in known.items()}
    todo, replaced, given = [], set(), set()
    for file in files:
        path = whole_path(file.path)
        given.add(path)
        before = known.get(path)
        if before is None:
            name = (
                file.id
                if taken.get(file.id, path) == path
                else file.path
                if ADDRESS.match(file.path)
                else Path(file.path).as_posix()
            )
            todo.append(replace(file, id=name))
        elif (before.size, before.changed) != (file.size, file.changed):
            todo.append(replace(file, id=before.id))
            replaced.add(before.id)
    gone = sum(path not in given and _is_gone(path) for path in known)
    kept = len(known) - len(replaced)
    return Plan(output, settings, known, todo, frozenset(replaced), kept, gone, stamp)


def _stamp(output: Path) -> tuple[int, int] | None:
    try:
        facts = record_of(output).stat()
    except OSError:
        return None
    return facts.st_size, facts.st_mtime_ns


Stays = Callable[[str, float], bool]
"""Whether a row of an older table stays: called with its path, and where it starts in its file (NaN: no column)."""


@contextmanager
def keeping_rows(plan: Plan, copy: Callable[[Stays], None], skipped: Sequence[tuple[str, str]]) -> Iterator[None]:
    """Copy what stays of an older table, before the block, and after it the rows of changed files that failed in it.

    Args:
        plan: what the block does.
        copy: adds rows of the older table to the one that is being written, whose lock is held.
        skipped: (path, reason) of files that failed.

    Raises:
        RunError: another process has added to the table since the plan was made.
    """
    if _stamp(plan.output) != plan.stamp:
        raise RunError(f"another process has written {plan.output} meanwhile: run the same command again")
    if plan.exists:
        replaced = _rows_of([file for file in plan.todo if file.id in plan.replaced])
        copy(lambda path, start: not replaced(path, start))
    yield
    failed = {path for path, _ in skipped}
    back = [file for file in plan.todo if file.path in failed and file.id in plan.replaced]
    if back:
        copy(_rows_of(back))


def _rows_of(files: Iterable[Input]) -> Stays:
    """Which rows are of some files; a stretch's rows have its file's path."""
    names: set[str] = set()
    stretches: dict[str, list[tuple[float, float]]] = {}
    for file in files:
        names.add(file.id)
        name, start, duration = stretch_of(file.id)
        if name != file.id:
            end = math.inf if duration is None else start + duration
            stretches.setdefault(name, []).append((start, end))

    def of_these(path: str, start: float) -> bool:
        return path in names or any(low <= start < high for low, high in stretches.get(path, ()))

    return of_these


def finish_append(plan: Plan, report: Counts) -> None:
    """Record what the table holds now, once it is whole, and count in the report what was there before."""
    failed = {path for path, _ in report.skipped}
    if plan.todo:
        plan.save(failed)
    back = {file.id for file in plan.todo if file.path in failed} & plan.replaced
    report.kept, report.replaced, report.gone = plan.kept + len(back), len(plan.replaced) - len(back), plan.gone


def forget(output: Path) -> None:
    """Remove the record of a table that is about to be written anew."""
    record_of(output).unlink(missing_ok=True)


def kept_parts(table: Path, replaced: Collection[str], dim: int) -> Iterator[TablePart]:
    """The rows of a table of embeddings but those of some ids, the rows of a file together.

    Raises:
        OptionError: it is no table of embeddings, or one of another dimension.
        SondinoError: it is damaged.
    """
    held: TablePart | None = None  # the last recording of a table of windows may continue in the next block
    for rows in read_rows(table):
        if rows.embeddings.shape[1] != dim:
            raise OptionError(
                f"{table} has embeddings of {rows.embeddings.shape[1]} dimensions, and the model of {dim}"
            )
        part = _as_part(rows, replaced)
        if rows.starts is None:
            yield part
            continue
        part = part if held is None else _joined(held, part)
        if len(part.ids) > 1:
            yield _taken(part, 0, len(part.ids) - 1)
        held = _taken(part, len(part.ids) - 1, len(part.ids)) if part.ids else None
    if held is not None:
        yield held


def _joined(one: TablePart, other: TablePart) -> TablePart:
    """A part of one recording and the next part, which may begin with the same recording."""
    same = one.ids == other.ids[:1] and one.channels == other.channels[:1]
    ids, channels = one.ids + other.ids[same:], one.channels + other.channels[same:]
    counts = [one.counts[0] + other.counts[0], *other.counts[1:]] if same else one.counts + other.counts
    embeddings, starts = np.concatenate([one.embeddings, other.embeddings]), np.concatenate([one.starts, other.starts])
    return TablePart(ids, counts, embeddings, starts, 0.0, [], channels)


def _taken(part: TablePart, first: int, last: int) -> TablePart:
    """Some of the recordings of a part."""
    rows = slice(sum(part.counts[:first]), sum(part.counts[:last]))
    clips = slice(first, last)
    return TablePart(part.ids[clips], part.counts[clips], part.embeddings[rows], part.starts[rows], 0.0, [],
                     part.channels[clips])  # fmt: skip


def _as_part(rows: Rows, replaced: Collection[str]) -> TablePart:
    """Rows as a part, but those of some ids."""
    at = np.array([name not in replaced for name in rows.ids], dtype=bool)
    clips: list[tuple[str, int]] = []
    counts: list[int] = []
    numbers = [0] * len(rows.ids) if rows.channels is None else rows.channels.tolist()
    for clip, stays in zip(zip(rows.ids, numbers, strict=True), at, strict=True):
        if stays and rows.starts is not None and clips[-1:] == [clip]:
            counts[-1] += 1
        elif stays:
            clips.append(clip)
            counts.append(1)
    starts = np.zeros(int(at.sum())) if rows.starts is None else rows.starts[at]
    channels = [] if rows.channels is None else [number for _, number in clips]
    return TablePart([name for name, _ in clips], counts, rows.embeddings[at], starts, 0.0, [], channels)


def settings_of(model: Encoder, windowing: Windowing, scale: Scale, **options: Any) -> dict[str, Any]:
    """All that decides the rows of a file, for `plan_append`.

    Args:
        model: that embeds.
        windowing: how files are cut into windows.
        scale: as in `embed_files`.
        options: what else decides them, by name (_ stands for a space), such as the head.
    """
    model = resolve(model)
    return {
        "model": [model.name, model.fingerprint],
        "window": windowing.window,
        "hop": windowing.hop,
        "short": windowing.short,
        "window policy": windowing.policy,
        "scale": scale,
        **{name.replace("_", " "): value for name, value in options.items()},
    }


def check_settings(output: Path, settings: Mapping[str, Any]) -> dict[str, Known]:
    """The files that are in a table, by path; empty where there is no table.

    Raises:
        OptionError: as of `plan_append`.
    """
    if not output.exists():
        return {}
    record = record_of(output)
    if not record.exists():
        raise OptionError(
            f"{output} was written without append, so that {record.name}, which lists what is in it, is not there: "
            "write it anew with append, or name another output"
        )
    found = read_json(record)
    try:
        before = dict(found["settings"])
        known = {path: Known(str(name), int(size), int(time)) for path, (name, size, time) in found["files"].items()}
    except (KeyError, TypeError, ValueError, AttributeError):
        before = known = {}
    if not before or found.get("form") != FORM:
        raise OptionError(f"{record} is damaged: remove it and {output}, and write the table anew")
    for name in settings:
        if before.get(name) != settings[name]:
            then, now = _differing(name, before.get(name)), _differing(name, settings[name])
            named = name == "model" and then.partition(" (")[0] == now.partition(" (")[0]
            how = " (weights, --engine, --precision, --resample and --window-policy make another)" if named else ""
            raise OptionError(
                f"{output} was written with {then}, and this is {now}{how}: give what it was written with, or name "
                "another output"
            )
    return known


def _differing(name: str, value: Any) -> str:
    """A setting in messages; a model and a head are (name, hash)."""
    if isinstance(value, (list, tuple)):
        return f"the {name} {value[0]} ({str(value[1])[:8]})"
    return f"{name} {'unset' if value is None else value}"
