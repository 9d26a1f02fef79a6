"""Tables in parts: a folder of Parquet files, with a manifest that says which belong to it, or without."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sondino.errors import OptionError, SondinoError
from sondino.schema import load_json

PARTS_FORMAT = "sondino-parts-1"
MANIFEST = "manifest.json"
PART_NAMES = re.compile(r"part-\d{6}-[0-9a-f]{12}\.parquet")
"""Files of parts as `embed` names them: the number, and a hash of all that decides the rows."""


@dataclass(frozen=True)
class PartFile:
    """A Parquet file of a table in parts.

    Attributes:
        path: of the file.
        rows: that it must have; None where there is no manifest.
        dim: of its embeddings; None where there is no manifest.
        per_window: whether it must have starts; None where there is no manifest.
    """

    path: Path
    rows: int | None = None
    dim: int | None = None
    per_window: bool | None = None


def is_part_table(table: Path) -> bool:
    """Whether a path is a folder of Parquet files, and no Lance dataset."""
    return table.is_dir() and table.suffix.lower() != ".lance"


def part_files(folder: Path) -> list[PartFile]:
    """The files of a table in parts, in order: the manifest's, or without one all .parquet files by name.

    Raises:
        OptionError: no manifest and no Parquet file.
        SondinoError: the manifest is damaged or of another format, or a file of it is not there.
    """
    if not (folder / MANIFEST).exists():
        if any(PART_NAMES.fullmatch(file.name) for file in folder.glob("part-*.parquet")):
            raise SondinoError(f"{folder} is not finished, it has no {MANIFEST}: run the command that makes it again")
        found = sorted(file for file in folder.glob("*.parquet") if file.is_file() and not file.name.startswith("."))
        if not found:
            raise OptionError(f"table {folder} is a folder without {MANIFEST} or .parquet files: name a table")
        return [PartFile(file) for file in found]
    rows, dim, per_window, parts = _read_manifest(folder / MANIFEST)
    files = [PartFile(folder / name, count, dim, per_window) for name, count in parts]
    missing = [file.path.name for file in files if not file.path.is_file()]
    if missing:
        raise SondinoError(
            f"{folder} lacks {len(missing)} of its {len(files)} parts, such as {missing[0]}: copy the whole folder, or "
            "make it again"
        )
    held = sum(count for _, count in parts)
    if held != rows:
        raise SondinoError(
            f"{folder / MANIFEST} says {rows} rows, and its parts have {held}: the table is not whole; make it again"
        )
    return files


def _read_manifest(file: Path) -> tuple[int, int, bool, list[tuple[str, int]]]:
    """Rows, dimension, whether a row is a window, and name and rows of each part."""
    try:
        facts: Any = load_json(file)
        if facts["format"] != PARTS_FORMAT:
            raise ValueError(f"its format is {facts['format']!r}, not {PARTS_FORMAT!r}")
        rows, dim, per_window = facts["rows"], facts["dim"], facts["per_window"]
        parts = [(part["file"], part["rows"]) for part in facts["parts"]]
        counts = [rows, dim, *(count for _, count in parts)]
        if not all(isinstance(count, int) and count >= 0 for count in counts) or not isinstance(per_window, bool):
            raise ValueError("its counts are not whole numbers")
        if not all(isinstance(name, str) and name == Path(name).name for name, _ in parts):
            raise ValueError("it names parts outside its folder")
    except (OSError, ValueError, KeyError, TypeError) as error:
        reason = f"it has no {error}" if isinstance(error, KeyError) else error
        raise SondinoError(f"{file} cannot be read ({reason}): make the table again") from error
    return rows, dim, per_window, parts
