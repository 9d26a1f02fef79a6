"""The columns of a list: which are read, under which names, and which are refused because they look like one."""

import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path

import sondino.raven as raven
from sondino.errors import OptionError
from sondino.lists.cells import COLUMNS, SECONDS, ListToRead
from sondino.lists.values import number_of

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


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.casefold())


def our_names(names: Sequence[str]) -> list[str]:
    """A list's names, those that other programs write as ours, where ours is not there and one alone means it."""
    meant = [name if _RATHER.get(name, set()) & set(names) else READ_AS.get(name, name) for name in names]
    counts = Counter(meant)
    return [new if counts[new] == 1 else old for old, new in zip(names, meant, strict=True)]


def time_columns(given: Sequence[str], names: Sequence[str]) -> tuple[str, ...]:
    """The columns of seconds: Raven's offset is one where its beginning is the start."""
    return (*SECONDS, raven.OFFSET) if raven.BEGIN in given and raven.BEGIN not in names else SECONDS


def refused_columns(form: ListToRead, names: Sequence[str]) -> dict[str, str]:
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


def is_meant(name: str, cell: str | float | None) -> bool:
    """Whether a cell of a refused column holds what its name says: a column `time` may be about dates."""
    if cell is None or (isinstance(cell, str) and not cell.strip()):
        return False
    if not _MOMENT.fullmatch(_plain(name)):
        return True
    try:
        return (number_of(cell) or 0.0) < _LATEST
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


def is_part(cell: str) -> bool:
    """Whether a cell names a part of a data set, such as "dev"."""
    return cell.casefold() in _PARTS


def parts_in(cells: Iterable[str]) -> set[str]:
    """The values of a column that gives rows a part, under whatever name; empty where it is about something else."""
    found = set()
    for cell in cells:
        if cell:
            if not is_part(cell):
                return set()
            found.add(cell)
    return found if {cell.casefold() for cell in found} - _TRAINS else set()


def check_parts(file: Path, name: str, parts: Collection[str]) -> None:
    """Raises OptionError where a column under another name than `split` holds parts."""
    if parts:
        raise OptionError(f"{file}, column {name!r} holds {', '.join(sorted(parts))}: write 'split' as its name")
