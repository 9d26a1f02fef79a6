"""What is in each file of a listing: its hash, rate and length, found without decoding it, in threads."""

import hashlib
import os
import shutil
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import numpy as np
from numpy.typing import NDArray

from sondino.audio.reading import info
from sondino.audio.walk import why_unusable
from sondino.corpus.sources import IDENTITY, PLACE_COLUMNS, Fetcher, Listing, Opener, Place, places_of
from sondino.corpus.sources.listing import joined
from sondino.corpus.sources.stores import RangeFile
from sondino.errors import SondinoError, require
from sondino.files import make_folder, new_file
from sondino.processors import cores
from sondino.progress import Report

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

Facts = tuple[str, int, float, str | None]
"""Content hash, rate and seconds of a file, or the reason why it cannot be used."""


def scan(listing: Listing, folder: Path, workers: int | None, progress: Report) -> tuple[pa.Table, NDArray[np.int64]]:
    """Hash every file and read its header, in threads, each file once; what an earlier scan found is reused.

    A file counts as unchanged where its path, size and time of change are; an object of a store where its size and
    ETag are, which are its hash too. The scan is saved every 10,000 files.

    Returns:
        a row for each file: content (str), sample_rate (int32), seconds (float64), reason (str, null where the
        file is good); and for each entry of the listing the row of its file.
    """
    entries = listing.entries
    parts = ("path", "offset", "group", "row", "column")
    cells = [pc.fill_null(entries[name].cast(pa.string()), "") for name in parts if name in entries.column_names]
    row_of = _encode(pc.binary_join_element_wise(*cells, "\0").combine_chunks())
    _, first = np.unique(row_of, return_index=True)
    kept = [name for name in (*PLACE_COLUMNS, IDENTITY) if name in entries.column_names]
    files = entries.select(kept).take(pa.array(first))
    keys = _keys(listing.root, files)
    known = _known(folder)
    places = pc.index_in(keys, value_set=known["key"].combine_chunks()).to_numpy(zero_copy_only=False)
    places = np.where(np.isnan(places), -1, places).astype(np.int64) if len(known) else np.full(len(files), -1)
    unknown = np.flatnonzero(places < 0)
    found = [known]
    total, done = len(files), len(files) - len(unknown)
    progress(done, total)
    threads = workers or min(32, 4 * cores())
    with ThreadPoolExecutor(threads) as pool, Fetcher(listing.root, scanning=True) as fetcher:
        for number, begin in enumerate(range(0, len(unknown), BATCH)):
            rows = pa.array(unknown[begin : begin + BATCH])
            results: dict[int, Facts] = {}
            for place, facts in _look_at(files.take(rows), fetcher, pool, threads):
                results[place] = facts
                done += 1
                progress(done, total)
            fresh = _scanned(keys.take(rows), [results[place] for place in range(len(rows))])
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
    marks = files[IDENTITY].to_pylist() if IDENTITY in files.column_names else [None] * len(files)

    def stamp(path: str, mark: str | None) -> str:
        if path not in stamps:
            try:
                if mark is None:
                    state = os.stat(joined(root, path))  # noqa: PTH116
                stamps[path] = mark or f"{state.st_size} {state.st_mtime_ns}"
            except (OSError, ValueError):
                stamps[path] = f"never {os.urandom(8).hex()}"  # a URL, or a file that may come back: check again
        return stamps[path]

    keys = []
    for place, mark in zip(places_of(files), marks, strict=True):
        key = f"{root}\0{place.path}\0{place.offset}\0{stamp(place.path, mark)}"
        keys.append(key if place.row is None else f"{key}\0{place.group} {place.row} {place.column}")
    return pa.array(keys, pa.string())


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


def _look_at(files: pa.Table, fetcher: Fetcher, pool: ThreadPoolExecutor, threads: int) -> Iterator[tuple[int, Facts]]:
    """What is in each file, as it is found; no more are open than the threads need."""
    places = places_of(files)
    marks = files[IDENTITY].to_pylist() if IDENTITY in files.column_names else [None] * len(files)
    pending: deque[tuple[int, Future[Facts]]] = deque()
    try:
        for number, opener in fetcher.fetch(places):
            pending.append((number, pool.submit(_look, opener, places[number], marks[number])))
            if len(pending) >= 2 * threads:
                first, future = pending.popleft()
                yield first, future.result()
        while pending:
            first, future = pending.popleft()
            yield first, future.result()
    finally:
        for _, future in pending:
            future.cancel()


def _look(opener: Opener, place: Place, identity: str | None) -> Facts:
    """Content hash, rate, seconds of one file, or the reason why it cannot be decoded: one file never stops a scan."""
    try:
        with opener() as source:
            if isinstance(source, str | os.PathLike):
                reason = why_unusable(source)
                if reason:
                    return "", 0, 0.0, reason
                with open(source, "rb") as opened:  # noqa: PTH123
                    content = _content(opened)
            elif identity is not None and isinstance(source, RangeFile):
                content = _known_content(place, identity)
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


def _known_content(place: Place, identity: str) -> str:
    """The hash of an object of a store, by what its listing says; of a member of a tar there, with its place."""
    where = "" if place.offset is None else f" {place.offset} {place.length}"
    return hashlib.blake2b(f"{identity}{where}".encode(), digest_size=16).hexdigest()


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
