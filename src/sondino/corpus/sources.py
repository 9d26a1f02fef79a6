"""Where sound comes from: folders, lists, tar shards and URLs; what is in each file, found without decoding it."""

import hashlib
import io
import os
import shutil
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from sondino.audio.reading import info
from sondino.audio.tars import tar_sounds, why_unread
from sondino.audio.walk import find_audio, nothing_usable, search_audio, why_unusable
from sondino.errors import AudioError, OptionError, SondinoError, require
from sondino.files import make_folder, new_file
from sondino.lists import SUFFIXES as LIST_SUFFIXES
from sondino.lists import read_list
from sondino.processors import cores
from sondino.progress import Report
from sondino.text import first_line

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.compute as pc
else:
    pa = require("pyarrow", "train")
    pc = require("pyarrow.compute", "train")

BATCH = 10_000
"""Files scanned between two saves of the scan."""
WHOLE = 64 * 2**20
"""Files up to this many bytes are hashed whole; larger ones by size, first, middle and last MiB."""
PIECE = 2**20
UNUSED = {"fold": "a corpus has none: write split (train, valid, test), or remove the column"}
"""Columns of other lists -> what to do where a list of a corpus has them."""
NOT_UTF8 = "its name is not UTF-8: rename it"


@dataclass(frozen=True)
class Listing:
    """What was given, before anything is opened: a row for each file or stretch of a file."""

    root: str
    """Folder that relative paths start from."""
    entries: pa.Table
    """path (str), offset and length (int64: bytes of a tar member, else null), and what a list gave of id, start,
    duration (s), label, split."""
    skipped: list[tuple[str, str]] = field(default_factory=list)


def is_url(path: str) -> bool:
    """Whether a path is to be opened by fsspec."""
    return "://" in path


@contextmanager
def open_source(root: str, path: str, offset: int | None, length: int | None) -> Iterator[str | BinaryIO]:
    """Give a stored path as something that audio.py reads: a local path, an open file, or a tar member's bytes."""
    if is_url(path):
        with require("fsspec", "train").open(path, "rb") as opened:
            yield opened
    elif offset is None:
        yield os.path.join(root, path)  # noqa: PTH118 - a Path object a clip costs more than the join
    else:
        with open(os.path.join(root, path), "rb") as shard:  # noqa: PTH118, PTH123
            shard.seek(offset)
            yield io.BytesIO(shard.read(length))


# --- what was given ---------------------------------------------------------------------------------------------


def list_audio(given: str | os.PathLike[str]) -> Listing:
    """Find the sound in a folder, a CSV or Parquet list, a tar file, a folder of tar shards, or one audio file.

    Raises:
        AudioError: there is nothing there, or no sound in it; the message says what can be given.
        OptionError: a list without a column path, or with a column or value that would not be used.
    """
    path = Path(given).absolute()
    if not os.path.lexists(path):
        raise AudioError(
            f"{given} does not exist: give a folder of audio, a CSV or Parquet list with a column path, or a tar file"
        )
    name = path.name.lower()
    if not_utf8(str(path)):
        raise OptionError(f"{given}: the name of the folder or file is not UTF-8: rename it")
    if path.is_dir():
        return _list_folder(path)
    if name.endswith(".tar"):
        return _list_tars(path.parent, [path])
    if name.endswith(LIST_SUFFIXES):
        return _list_rows(path)
    return Listing(str(path.parent), _entries([file.name for file in find_audio(path)]))


def _entries(
    paths: Sequence[str],
    offsets: Sequence[int | None] | None = None,
    lengths: Sequence[int | None] | None = None,
    **more: Any,
) -> pa.Table:
    missing = pa.nulls(len(paths), pa.int64())
    columns = {
        "path": pa.array(paths, pa.string()),
        "offset": missing if offsets is None else pa.array(offsets, pa.int64()),
        "length": missing if lengths is None else pa.array(lengths, pa.int64()),
    }
    return pa.table(columns | more)


def _list_folder(folder: Path) -> Listing:
    found = search_audio(folder, tars=True)
    if not found.files and not found.tars:
        raise nothing_usable(found.skipped)
    inside = len(os.path.join(folder, ""))  # noqa: PTH118
    files = [str(file)[inside:].replace(os.sep, "/") for file in found.files]
    strange = {file for file in files if not_utf8(file)}
    skipped = [(path[inside:], reason) for path, reason in found.skipped]
    skipped += [(file, NOT_UTF8) for file in files if file in strange]
    loose = _entries([file for file in files if file not in strange])
    if not found.tars:
        return Listing(str(folder), loose, skipped)
    members = _list_tars(folder, found.tars, alone=not files)
    loose = loose.append_column("id", loose["path"])
    return Listing(str(folder), pa.concat_tables([loose, members.entries]), [*skipped, *members.skipped])


def not_utf8(name: str) -> bool:
    """Whether a name has bytes that are not UTF-8, which Parquet cannot hold."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return True
    return False


def _list_tars(root: Path, shards: Sequence[Path], alone: bool = True) -> Listing:
    """The clips of tar files.

    Args:
        root: the folder that they lie in.
        shards: the tar files.
        alone: whether there is nothing else, so that no clip in them is an error.
    """
    paths: list[str] = []
    ids: list[str] = []
    offsets: list[int] = []
    lengths: list[int] = []
    skipped: list[tuple[str, str]] = []
    for shard in shards:
        relative = shard.relative_to(root).as_posix()
        if not_utf8(relative):
            skipped.append((relative, NOT_UTF8))
            continue
        try:
            for member in tar_sounds(shard):
                name = f"{relative}/{member.name.removeprefix('./')}"
                reason = NOT_UTF8 if not_utf8(name) else why_unread(member)
                if reason:
                    skipped.append((name, reason))
                else:
                    paths.append(relative)
                    ids.append(name)
                    offsets.append(member.offset_data)
                    lengths.append(member.size)
        except Exception as error:  # tarfile's own errors, and what a damaged header makes of numbers and names
            reason = first_line(error)
            skipped.append((relative, f"not a whole, uncompressed tar file ({reason}): what came before was used"))
    if not paths and alone:
        reason = f"{skipped[0][0]}: {skipped[0][1]}" if skipped else "names must end in .wav, .flac or the like"
        raise AudioError(f"no audio found in the tar files of {root}; {reason}")
    return Listing(str(root), _entries(paths, offsets, lengths, id=pa.array(ids, pa.string())), skipped)


def _list_rows(file: Path) -> Listing:
    rows = read_list(file, UNUSED)
    if len(rows) == 0:
        raise AudioError(f"{file} lists no files")
    root, paths = _relative(file.parent, rows.text["path"])
    more: dict[str, pa.Array] = {
        name: _strings(rows.text[name]) for name in ("id", "label", "split") if name in rows.text
    }
    if "labels" in rows.text:
        more["label"] = _strings(rows.text["labels"])
    more |= {name: pa.array(values, pa.float64()) for name, values in rows.seconds.items()}
    return Listing(root, _entries(paths, **more), rows.skipped)


def _strings(cells: Sequence[str]) -> pa.Array:
    return pa.array([cell or None for cell in cells], pa.string())


def _relative(folder: Path, paths: Sequence[str]) -> tuple[str, list[str]]:
    """The folder that all local paths lie in, and the paths from there; so a moved corpus keeps its identity."""
    whole = [path if is_url(path) else os.path.normpath(folder / path) for path in paths]
    homes = {os.path.dirname(path) for path in whole if not is_url(path)} | {str(folder)}  # noqa: PTH120
    try:
        root = os.path.commonpath(homes)
    except ValueError:  # two drives of Windows
        return str(folder), whole
    return root, [path if is_url(path) else Path(path).relative_to(root).as_posix() for path in whole]


# --- what is in each file ---------------------------------------------------------------------------------------


def scan(listing: Listing, folder: Path, workers: int | None, progress: Report) -> tuple[pa.Table, NDArray[np.int64]]:
    """Hash every file and read its header, in threads, each file once; what an earlier scan found is reused.

    A file counts as unchanged where its path, size and time of change are. The scan is saved every 10,000 files.

    Returns:
        a row for each file: content (str), sample_rate (int32), seconds (float64), reason (str, null where the
        file is good); and for each entry of the listing the row of its file.
    """
    entries = listing.entries
    names = pc.binary_join_element_wise(
        entries["path"], pc.fill_null(entries["offset"], -1).cast(pa.string()), "\0"
    ).combine_chunks()
    row_of = _encode(names)
    _, first = np.unique(row_of, return_index=True)
    files = entries.select(["path", "offset", "length"]).take(pa.array(first))
    keys = _keys(listing.root, files)
    known = _known(folder)
    places = pc.index_in(keys, value_set=known["key"].combine_chunks()).to_numpy(zero_copy_only=False)
    places = np.where(np.isnan(places), -1, places).astype(np.int64) if len(known) else np.full(len(files), -1)
    unknown = np.flatnonzero(places < 0)
    found = [known]
    total, done = len(files), len(files) - len(unknown)
    progress(done, total)
    with ThreadPoolExecutor(workers or min(32, 4 * cores())) as pool:
        for number, begin in enumerate(range(0, len(unknown), BATCH)):
            rows = pa.array(unknown[begin : begin + BATCH])
            batch = files.take(rows)
            columns = (batch[name].to_pylist() for name in ("path", "offset", "length"))
            results = []
            for result in pool.map(_look, [listing.root] * len(batch), *columns):
                results.append(result)
                done += 1
                progress(done, total)
            fresh = _scanned(keys.take(rows), results)
            found.append(fresh)
            write_table(make_folder(folder / "scan") / f"{number:04d}-{os.getpid()}.parquet", fresh)
    everything = pa.concat_tables(found)
    places[unknown] = len(known) + np.arange(len(unknown))
    result = everything.take(pa.array(places))
    if len(unknown):
        write_table(folder / "scan.parquet", result)
    shutil.rmtree(folder / "scan", ignore_errors=True)
    return result.drop_columns(["key"]), row_of


def _encode(strings: pa.Array) -> NDArray[np.int64]:
    """Number each string by its first appearance."""
    return strings.dictionary_encode().indices.to_numpy(zero_copy_only=False).astype(np.int64)


def _keys(root: str, files: pa.Table) -> pa.Array:
    stamps: dict[str, str] = {}

    def stamp(path: str) -> str:
        if path not in stamps:
            try:
                state = os.stat(os.path.join(root, path))  # noqa: PTH116, PTH118
                stamps[path] = f"{state.st_size} {state.st_mtime_ns}"
            except (OSError, ValueError):
                stamps[path] = f"never {os.urandom(8).hex()}"  # a URL, or a file that may come back: check again
        return stamps[path]

    columns = zip(files["path"].to_pylist(), files["offset"].to_pylist(), strict=True)
    return pa.array([f"{root}\0{path}\0{offset}\0{stamp(path)}" for path, offset in columns], pa.string())


def _scanned(keys: pa.Array, results: Sequence[tuple[str, int, float, str | None]]) -> pa.Table:
    content, rates, seconds, reasons = zip(*results, strict=True) if results else ((), (), (), ())
    return pa.table(
        {
            "key": keys,
            "content": pa.array(content, pa.string()),
            "sample_rate": pa.array(rates, pa.int32()),
            "seconds": pa.array(seconds, pa.float64()),
            "reason": pa.array(reasons, pa.string()),
        }
    )


def _known(folder: Path) -> pa.Table:
    empty = _scanned(pa.array([], pa.string()), [])
    tables = [empty]
    for file in [folder / "scan.parquet", *sorted((folder / "scan").glob("*.parquet"))]:
        try:
            table = require("pyarrow.parquet", "train").read_table(file)
        except (OSError, pa.ArrowException):
            continue  # only a saving of time: check again
        if table.schema == empty.schema:
            # What could not be read may have been a passing fault.
            tables.append(table.filter(pc.is_null(table["reason"])))
    return pa.concat_tables(tables)


def _look(root: str, path: str, offset: int | None, length: int | None) -> tuple[str, int, float, str | None]:
    """Content hash, rate, seconds of one file, or the reason why it cannot be decoded: one file never stops a scan."""
    try:
        with open_source(root, path, offset, length) as source:
            if isinstance(source, str | os.PathLike):
                reason = why_unusable(source)
                if reason:
                    return "", 0, 0.0, reason
                with open(source, "rb") as opened:  # noqa: PTH123
                    content = _content(opened)
            else:
                content = _content(source)
                source.seek(0)
            facts = info(source)
    except FileNotFoundError:
        return "", 0, 0.0, "there is no such file"
    except OSError as error:
        return "", 0, 0.0, f"cannot be opened: {error.strerror or error}"
    except SondinoError as error:
        return "", 0, 0.0, str(error)
    except Exception as error:  # a store's own errors; a decoder's unforeseen ones
        return "", 0, 0.0, f"cannot be read: {type(error).__name__}: {error}"
    if not facts.duration > 0:
        return "", 0, 0.0, "holds no sound"
    return content, facts.sample_rate, facts.duration, None


def _content(opened: BinaryIO) -> str:
    size = opened.seek(0, os.SEEK_END)
    digest = hashlib.blake2b(digest_size=16)
    pieces: Iterable[int] = range(0, size, PIECE)
    if size > WHOLE:
        digest.update(str(size).encode())
        pieces = (0, size // 2, size - PIECE)
    for place in pieces:
        opened.seek(place)
        digest.update(opened.read(PIECE))
    return digest.hexdigest()


def write_table(file: Path, table: pa.Table) -> None:
    """Write a Parquet file that is whole or absent."""
    with new_file(file) as opened:
        require("pyarrow.parquet", "train").write_table(table, opened)
