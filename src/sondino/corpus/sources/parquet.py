"""Parquet files with audio inside, as the Hugging Face hub keeps data sets: a column of struct{bytes, path}.

A row group may hold hundreds of megabytes and is never loaded whole: its rows are read in small batches, in order. A
row costs the rows before it in its group, so that a group is gone through once, and a reader keeps its place.
"""

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path, PureWindowsPath
from typing import TYPE_CHECKING, Any

from sondino.corpus.sources.listing import (
    IDENTITY,
    NOT_UTF8,
    Opener,
    Place,
    failing,
    in_memory,
    make_entries,
    not_utf8,
    strings,
)
from sondino.corpus.sources.stores import HEADER_BLOCK, WINDOW_BLOCK, Blocks, RangeFile, Remote
from sondino.errors import AudioError, SondinoError, require
from sondino.lists import BETWEEN_LABELS
from sondino.text import first_line

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq
else:
    pa = require("pyarrow", "train")
    pq = require("pyarrow.parquet", "train")

BUFFER = 1 << 20
"""Bytes read of a column at a time."""
BATCH_BYTES = 1 << 22
"""Bytes of the rows that are decoded from Parquet at a time, about; a row may have more."""
IDS = ("id", "video_id", "ytid", "YTID", "youtube_id", "key", "__key__")
LABELS = ("label", "labels")
NO_AUDIO = "holds no column of audio bytes (struct{bytes, path})"
NOT_EMBEDDED = (
    "has the path {path} and no bytes, since `Dataset.to_parquet` does not embed audio: give the folder of that file "
    "itself, or write the data set with `push_to_hub`"
)


@dataclass(frozen=True)
class _Columns:
    """What of a Parquet file is used, and the columns of audio that are not."""

    audio: str
    id: str | None
    label: str | None
    names: list[str] | None
    others: list[str]


def has_audio(file: Path | Remote) -> bool:
    """Whether a Parquet file has a column of audio bytes; False where it cannot be read."""
    try:
        with _opened(file, HEADER_BLOCK) as parquet:
            return _audio_columns(parquet.schema_arrow) != []
    except (SondinoError, OSError, ValueError, pa.ArrowException):
        return False


def list_parquet(files: Sequence[tuple[str, Path | Remote]]) -> tuple[pa.Table, list[tuple[str, str]]]:
    """The sounds of Parquet files, a row each; only ids and labels are read.

    Args:
        files: each one's path below the listing's root, and where it is.

    Returns:
        entries with id, and label where there are any; and what was passed over.
    """
    tables: list[pa.Table] = []
    skipped: list[tuple[str, str]] = []
    for path, file in files:
        if not_utf8(path):
            skipped.append((path, NOT_UTF8))
            continue
        try:
            with _opened(file, HEADER_BLOCK) as parquet:
                columns = _columns(parquet.schema_arrow)
                if columns is None:
                    skipped.append((path, NO_AUDIO))
                    continue
                skipped += [(f"{path}, column {name}", f"column {columns.audio} is read") for name in columns.others]
                tables.append(_rows(path, file, parquet, columns))
        except (SondinoError, FileNotFoundError) as error:
            skipped.append((path, str(error) if isinstance(error, SondinoError) else "there is no such file"))
        except (OSError, ValueError, pa.ArrowException) as error:
            skipped.append((path, f"cannot be read as Parquet ({first_line(error)}): write it again"))
    if not tables:
        return make_entries([]), skipped
    entries = pa.concat_tables(tables, promote_options="default")
    return with_own_ids(entries), skipped


def with_own_ids(entries: pa.Table) -> pa.Table:
    """Entries whose ids are unlike: one that several rows have, or none, gives way to the file's name and the row.

    The column `name` has the ids as they were.
    """
    ids = entries["id"].to_pylist()
    counts = Counter(ids)
    columns = (entries[name].to_pylist() for name in ("path", "number"))
    named = zip(ids, *columns, strict=True)
    own = [f"{path}:{number}" if name is None or counts[name] > 1 else name for name, path, number in named]
    named_so = entries.append_column("name", entries["id"]).drop_columns(["number"])
    return named_so.set_column(named_so.column_names.index("id"), "id", strings(own))


def _opened(file: Path | Remote, block: int) -> "pq.ParquetFile":
    source: Any = RangeFile(Blocks(file, block)) if isinstance(file, Remote) else file
    return pq.ParquetFile(source, pre_buffer=False, buffer_size=BUFFER)


def _rows(path: str, file: Path | Remote, parquet: "pq.ParquetFile", columns: _Columns) -> pa.Table:
    """The entries of one file; `number` is the row in the file, from 0."""
    facts = parquet.metadata
    groups, rows = [], []
    for group in range(facts.num_row_groups):
        count = facts.row_group(group).num_rows
        groups += [group] * count
        rows += list(range(count))
    wanted = [name for name in (columns.id, columns.label) if name]
    found = parquet.read(columns=wanted, use_threads=False) if wanted else None
    nothing: list[Any] = [None] * len(rows)
    ids = [_text(cell) for cell in found[columns.id].to_pylist()] if found is not None and columns.id else nothing
    more: dict[str, Any] = {
        "id": strings(ids),
        "number": pa.array(range(len(rows)), pa.int64()),
        "group": pa.array(groups, pa.int32()),
        "row": pa.array(rows, pa.int64()),
        "column": pa.array([columns.audio] * len(rows), pa.string()),
    }
    if found is not None and columns.label:
        more["label"] = strings([_label(cell, columns.names) for cell in found[columns.label].to_pylist()])
    if isinstance(file, Remote):
        more[IDENTITY] = strings([file.identity] * len(rows))
    return make_entries([path] * len(rows), **more)


def _text(cell: Any) -> str | None:
    text = None if cell is None else str(cell).strip()
    return text if text and not not_utf8(text) else None


def _label(cell: Any, names: Sequence[str] | None) -> str | None:
    """A cell of labels as text; of ClassLabel its names, several with `;` between."""
    cells = cell if isinstance(cell, list) else [cell]
    found = []
    for one in cells:
        if names is not None and isinstance(one, int):
            if 0 <= one < len(names):  # -1 stands for a label that is not given
                found.append(names[one])
        elif one is not None and str(one).strip():
            found.append(str(one).strip())
    return BETWEEN_LABELS.join(found) or None


# --- which columns ------------------------------------------------------------------------------------------------


def _features(schema: pa.Schema) -> Mapping[str, Any]:
    """What `datasets` writes of its columns; empty where something else wrote the file."""
    with suppress(ValueError, KeyError, TypeError, AttributeError):
        found = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"]
        if isinstance(found, dict):
            return found
    return {}


def _audio_columns(schema: pa.Schema) -> list[str]:
    features = _features(schema)
    structs = [one.name for one in schema if _has_bytes(one.type)]
    named = [name for name in structs if _kind(features.get(name)) == "Audio"]
    return named or [name for name in structs if name not in features]


def _has_bytes(kind: pa.DataType) -> bool:
    if not pa.types.is_struct(kind) or kind.get_field_index("bytes") < 0:
        return False
    inner = kind.field("bytes").type
    binary = (pa.types.is_binary, pa.types.is_large_binary, pa.types.is_binary_view)
    # A column of nothing but nulls may have the type null.
    return any(fits(inner) for fits in (*binary, pa.types.is_null))


def _kind(feature: Any) -> str | None:
    return feature.get("_type") if isinstance(feature, dict) else None


def _columns(schema: pa.Schema) -> _Columns | None:
    found = _audio_columns(schema)
    if not found:
        return None
    audio = "audio" if "audio" in found else found[0]
    names = schema.names
    label = next((name for name in LABELS if name in names), None)
    feature: Any = _features(schema).get(label) if label else None
    if isinstance(feature, list) and feature:  # how older versions write a list
        feature = feature[0]
    elif _kind(feature) in ("List", "LargeList", "Sequence"):
        feature = feature["feature"]
    classes = feature.get("names") if _kind(feature) == "ClassLabel" else None
    return _Columns(
        audio,
        next((name for name in IDS if name in names), None),
        label,
        classes if isinstance(classes, list) else None,
        [name for name in found if name != audio],
    )


# --- reading ------------------------------------------------------------------------------------------------------


class GroupReader:
    """One row group, read from the front in small batches; rows are asked for in ascending order."""

    def __init__(self, file: Path | Remote, group: int, column: str) -> None:
        self._parquet = _opened(file, WINDOW_BLOCK)
        facts = self._parquet.metadata.row_group(group)
        mean = max(1, facts.total_byte_size // max(1, facts.num_rows))
        fields = self._parquet.schema_arrow.field(column).type
        wanted = [f"{column}.{name}" for name in ("bytes", "path") if fields.get_field_index(name) >= 0]
        self._batches = self._parquet.iter_batches(
            max(1, min(256, BATCH_BYTES // mean)), row_groups=[group], columns=wanted, use_threads=False
        )
        self._column = column
        self._batch: pa.StructArray | None = None
        self._first = 0  # row of the batch's first
        self.at = 0
        """The next row that can be read."""

    def read(self, row: int) -> bytes:
        """The bytes of a row, not before `at`.

        Raises:
            AudioError: it holds none.
        """
        while self._batch is None or row >= self._first + len(self._batch):
            self._first += 0 if self._batch is None else len(self._batch)
            self._batch = None  # before the next one is made
            self._batch = next(self._batches).column(self._column)
        self.at = row + 1
        cell = self._batch[row - self._first]
        content = cell["bytes"].as_py() if cell.is_valid else None
        if content is None:
            path = cell["path"].as_py() if cell.is_valid and "path" in cell else None
            if path and (path.startswith("/") or PureWindowsPath(path).is_absolute()):
                raise AudioError(NOT_EMBEDDED.format(path=path))
            raise AudioError("holds no bytes: its cell is empty")
        return bytes(content)

    def close(self) -> None:
        """Close the file; nothing can be read any more."""
        self._batch = None
        self._batches.close()
        self._parquet.close(force=True)


def read_group(reader: GroupReader, places: Sequence[tuple[int, Place]]) -> Iterator[tuple[int, Opener]]:
    """Rows of a row group, in their order, each read once; number and how to open it."""
    for number, place in places:
        assert place.row is not None
        try:
            yield number, in_memory(reader.read(place.row))
        except AudioError as error:
            yield number, failing(error)
        except (OSError, ValueError, StopIteration, pa.ArrowException) as error:
            yield number, failing(AudioError(f"cannot be read as Parquet ({first_line(error)}): write it again"))
