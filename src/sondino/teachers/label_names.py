"""Names of the labels that a teacher's last layer gives: AudioSet's, those in a file's metadata, or numbers."""

import ast
import csv
import json
import zipfile
import zlib
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from sondino.encoder.audioset import audioset_classes
from sondino.encoder.head import Head
from sondino.errors import OptionError

NOT_IN_YAMNET = {
    "Male speech, man speaking",
    "Female speech, woman speaking",
    "Male singing",
    "Female singing",
    "Battle cry",
    "Funny music",
}
"""Classes of AudioSet that YAMNet leaves out, as its README states; the others keep their order."""

KEYS = ("labels", "classes", "class_names", "label_names", "names", "id2label")
"""Keys of a model's metadata under which labels are stored."""


def yamnet_classes() -> tuple[str, ...]:
    """The names of YAMNet's 521 classes by index."""
    return tuple(name for name in audioset_classes() if name not in NOT_IN_YAMNET)


def numbered(count: int) -> tuple[str, ...]:
    """Stand-ins for names that are not known: "class 0" to "class count-1"."""
    return tuple(f"class {number}" for number in range(count))


def is_unnamed(head: Head) -> bool:
    """Whether the names of a head's labels are not known."""
    return head.labels == numbered(len(head.labels))


def rename(head: Head, file: Path) -> Head:
    """A head with the names in a text file, one in each line, or in the last column of a CSV file with a header.

    Raises:
        OptionError: the file cannot be read, or holds another number of names, or one of them twice.
    """
    try:
        text = file.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise OptionError(
            f"label names {file} cannot be read ({error}): give a text file, one name in a line"
        ) from None
    names, header = list(_lines(text)), ""
    if file.suffix.lower() == ".csv":
        first = text.partition("\n")[0]
        rows = list(
            csv.reader(text.splitlines(keepends=True), delimiter=";" if ";" in first and "," not in first else ",")
        )
        names = [" ".join(row[-1].split()) for row in rows[1:] if row]
        header = ", its first line taken for a header"
    if len(names) != len(head.labels):
        raise OptionError(
            f"{file} has {len(names)} names{header}, and the teacher {len(head.labels)} labels: give one name for "
            "each, in the order of the teacher's outputs"
        )
    for number, name in enumerate(names, start=1):
        if not name or name in names[: number - 1]:
            fault = f"is {name!r} a second time" if name else "is empty"
            raise OptionError(f"{file}: name {number} {fault}; give each label a name of its own")
    return replace(head, labels=tuple(names))


def from_metadata(values: Mapping[str, str], count: int) -> tuple[str, ...] | None:
    """The names among a model's metadata, if there are as many as outputs."""
    found = (_as_names(values[key]) for key in KEYS if key in values)
    return next((names for names in found if _fit(names, count)), None)


def from_archive(file: Path, count: int) -> tuple[str, ...] | None:
    """The names in a text file that a LiteRT file carries in an appended ZIP archive, if there are as many.

    An archive that is damaged, encrypted or compressed in another way has none.
    """
    if not zipfile.is_zipfile(file):
        return None
    damaged = (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, NotImplementedError, ValueError)
    with suppress(*damaged), zipfile.ZipFile(file) as archive:
        for name in archive.namelist():
            if name.lower().endswith(".txt") and archive.getinfo(name).file_size < 10_000_000:
                names = _lines(archive.read(name).decode("utf-8", "replace"))
                if _fit(names, count):
                    return names
    return None


def _fit(names: tuple[str, ...], count: int) -> bool:
    return len(names) == count == len(set(names)) and all(names)


def _as_names(text: str) -> tuple[str, ...]:
    """Names from JSON or a Python literal (a list, or a mapping from the index), from lines, or between commas."""
    if not text.lstrip().startswith(("[", "{")):
        return _lines(text) if "\n" in text else tuple(name.strip() for name in text.split(","))
    found: Any = None
    for read in (json.loads, ast.literal_eval):
        with suppress(ValueError, SyntaxError, RecursionError, MemoryError):
            found = read(text)
            break
    if isinstance(found, dict):
        with suppress(ValueError, TypeError):
            found = [found[key] for key in sorted(found, key=int)]
    if not isinstance(found, list) or not all(isinstance(name, str | int) for name in found):
        return ()
    return tuple(" ".join(str(name).split()) for name in found)


def _lines(text: str) -> tuple[str, ...]:
    return tuple(line.strip() for line in text.splitlines() if line.strip())
