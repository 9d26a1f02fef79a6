"""An approximate index of a table of embeddings, for search in millions of rows: a graph of neighbours by usearch.

The graph holds each embedding as int8, scaled by its own largest value. Neighbours found in it are candidates: their
cosines are computed anew from the table's embeddings. usearch ends the process where a graph's bytes are damaged, so
its file is opened only after its hash was checked.
"""

import mmap
import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sondino.embedding import table_readers
from sondino.embedding.row_readers import RowReader, Span, files_of, open_rows
from sondino.embedding.table_readers import Rows, read_rows
from sondino.errors import OptionError, RunError, SondinoError, require
from sondino.files import read_json, replacing, sha256, thread_count, write_array, write_json
from sondino.progress import Report

INDEX_FORMAT = "sondino-index-1"
FACTS, GRAPH, IDS = "index.json", "graph.usearch", "ids.bin"
CONNECTIVITY, EXPANSION = 16, 128
"""Neighbours of a node of the graph, and how many candidates are followed when it is built and at least in a search."""
RECALL_AT = 10
CANDIDATES = 4
"""Rows that are looked up in the graph for each clip of the answer."""
STALE = 0.1
"""Mean difference of a graph's and a table's cosines, above which the two do not belong together; int8 makes 0.001."""


@dataclass(frozen=True)
class IndexReport:
    """An index as it was made.

    Attributes:
        folder: of the index.
        rows: of the table.
        clips: of the table.
        dim: of its embeddings.
        empty: rows of zeros, which have no cosine and are not in the graph.
        recall: share of the 10 rows nearest to a row that a search by index finds, 0 to 1; None where there were no
            rows to measure it on.
        queries: rows that the recall was measured on.
        bytes: of all its files.
        seconds: that it took.
    """

    folder: Path
    rows: int
    clips: int
    dim: int
    empty: int
    recall: float | None
    queries: int
    bytes: int
    seconds: float


class _ClipColumns(NamedTuple):
    """What the rows of a table are: where each clip begins, and its name, channel and starts."""

    firsts: NDArray[np.int64]  # (clips + 1,), row numbers
    ends: NDArray[np.int64]  # (clips + 1,), where each name begins among the names
    channels: NDArray[np.int64] | None  # (clips,)
    starts: NDArray[np.float64] | None  # (rows,)


def index_beside(table: str | Path) -> Path:
    """Where the index of a table lies if no other place is named: TABLE.index."""
    table = Path(table)
    return table.with_name(table.name + ".index")


def is_index(folder: Path) -> bool:
    """Whether a folder holds an index."""
    return (folder / FACTS).is_file()


def build_index(
    table: str | Path,
    out: str | Path | None = None,
    *,
    recall_queries: int = 100,
    threads: int | None = None,
    progress: Report = lambda done, total: None,
) -> IndexReport:
    """Make an index of a table, with which `find_similar` need not read all of it.

    Memory holds the graph, about one byte a dimension and row plus 150 bytes a row, and 16 MB of the table. The index
    appears complete or not at all. It belongs to the table as it is: one that changes afterwards needs a new one.

    Args:
        table: .npz, .npy, .parquet, .lance or a folder of Parquet files, as `find_similar` takes them; no .csv.
        out: the folder of the index; None: TABLE.index, where `sondino similar` looks for it.
        recall_queries: rows, drawn by chance, on which the recall is measured against exact search; 0: it is not.
        threads: None: all cores. More than one make a slightly different graph each time.
        progress: called with (rows done, rows).

    Returns:
        Rows, size, seconds and recall.

    Raises:
        OptionError: the table cannot be read by row, is empty, or `out` holds something else.
        SondinoError: the table is damaged or holds NaN.
        RunError: it cannot be written, or the table changed meanwhile.
        MissingExtra: usearch is not installed (sondino[search]).

    Examples:
        >>> model = sondino.load("run/bundle")
        >>> report = sondino.embed_files("recordings", model, "embeddings.npz")
        >>> index = sondino.build_index("embeddings.npz")
        >>> query = model.embed("recordings/drum_cowbell.ogg")
        >>> sondino.find_similar(query, "embeddings.npz", k=3, index=index.folder)[0].id
        'drum_cowbell.ogg'
    """
    began, table = time.perf_counter(), Path(table)
    if isinstance(recall_queries, bool) or not isinstance(recall_queries, (int, np.integer)) or recall_queries < 0:
        raise OptionError(f"recall_queries is {recall_queries!r}: give a whole number, 0 or more")
    threads = thread_count(threads)
    usearch = require("usearch.index", "search")
    dim = next(read_rows(table)).embeddings.shape[1]  # with the messages of a file that is no table
    folder = Path(out) if out is not None else index_beside(table)
    with open_rows(table) as reader, replacing(folder, is_index, "index") as new:
        if reader.rows == 0:
            raise OptionError(f"table {table} has no rows: there is nothing to index")
        before = [_stamp(file) for file in files_of(table)]
        graph = usearch.Index(
            ndim=dim, metric="cos", dtype="i8", connectivity=CONNECTIVITY, expansion_add=EXPANSION,
            expansion_search=EXPANSION, enable_key_lookups=False,
        )  # fmt: skip
        clips, empty = _add_rows(table, reader.rows, graph, new, threads, progress)
        recall, queries = _recall(table, reader, graph, int(recall_queries))
        _save(graph, new / GRAPH)
        hashes = [{"file": _name(file, table), "sha256": sha256(file)} for file in files_of(table)]
        if [_stamp(file) for file in files_of(table)] != before:
            raise RunError(f"{table} changed while its index was made: run the same command again")
        own = {file.name: sha256(file) for file in sorted(new.iterdir())}
        report = IndexReport(folder.resolve(), reader.rows, len(clips.firsts) - 1, dim, empty, recall, queries,
                             sum((new / name).stat().st_size for name in own), 0.0)  # fmt: skip
        facts = {
            "format": INDEX_FORMAT,
            "usearch": version("usearch"),
            "rows": reader.rows,
            "dim": dim,
            "clips": report.clips,
            "empty": empty,
            "recall_at_10": recall,
            "recall_queries": queries,
            "table": [entry | stamp for entry, stamp in zip(hashes, before, strict=True)],
            "files": own,
        }
        write_json(new / FACTS, facts)
    return IndexReport(**asdict(report) | {"seconds": time.perf_counter() - began})


def _name(file: Path, table: Path) -> str:
    """The name of a file within a table that is a folder; a table of one file may be renamed."""
    return file.relative_to(table).as_posix() if table.is_dir() else ""


def _stamp(file: Path) -> dict[str, int]:
    state = file.stat()
    return {"bytes": state.st_size, "changed": state.st_mtime_ns}


def _quantised(embeddings: NDArray[np.floating]) -> NDArray[np.int8]:
    """Embeddings (n, dim) as int8, each scaled by its own largest value: the cosine ignores the scale.

    usearch's own scaling is by the length, and leaves few steps to an embedding of many dimensions.
    """
    largest = np.abs(embeddings).max(1, keepdims=True)
    return np.rint(embeddings * (127 / np.where(largest > 0, largest, 1))).astype(np.int8)


def _add_rows(
    table: Path, total: int, graph: Any, folder: Path, threads: int, progress: Report
) -> tuple[_ClipColumns, int]:
    """Put all rows of a table into a graph, and what they are into files of the folder; rows of zeros are counted."""
    firsts, ends, done, empty = [0], [0], 0, 0
    channels: list[int] = []
    starts: list[NDArray[np.float64]] = []
    last: tuple[str, int | None] | None = None
    progress(0, total)
    with (folder / IDS).open("wb") as names:
        names.write(b"\0")
        for rows in read_rows(table):
            _check_finite(rows, table)
            keep = np.flatnonzero(rows.embeddings.any(1))
            if len(keep):
                graph.add(keep + done, _quantised(rows.embeddings[keep]), threads=threads)
            empty += len(rows.ids) - len(keep)
            numbers = [None] * len(rows.ids) if rows.channels is None else rows.channels.tolist()
            for row, clip in enumerate(zip(rows.ids, numbers, strict=True), done):
                if rows.starts is None or clip != last:
                    name = _bytes(clip[0])
                    names.write(name + b"\0")
                    ends.append(ends[-1] + len(name) + 1)
                    firsts.append(row)
                    channels += [] if clip[1] is None else [clip[1]]
                    last = clip
            starts += [] if rows.starts is None else [rows.starts]
            done += len(rows.ids)
            progress(done, total)
        names.flush()
        os.fsync(names.fileno())
    if done != total:
        raise SondinoError(f"{table}: has {done} of {total} rows; make it again")
    clips = _ClipColumns(
        np.array([*firsts[1:], done], np.int64),
        np.array(ends, np.int64),
        np.array(channels, np.int64) if channels else None,
        np.concatenate(starts) if starts else None,
    )
    for column, array in clips._asdict().items():
        if array is not None:
            write_array(folder / f"{column}.npy", array)
    return clips, empty


def _check_finite(rows: Rows, table: Path) -> None:
    bad = np.flatnonzero(~np.isfinite(rows.embeddings).all(1))
    if len(bad):
        raise SondinoError(f"{table}: the embedding of {rows.ids[bad[0]]} holds NaN or infinite values; embed it again")


def _bytes(name: str) -> bytes:
    return name.encode("utf-8", "surrogateescape")


def _save(graph: Any, file: Path) -> None:
    try:
        graph.save(str(file))
    except RuntimeError as error:  # usearch's, of a full disk
        raise OSError(None, str(error)) from error
    with file.open("rb") as saved:
        os.fsync(saved.fileno())


def _recall(table: Path, reader: RowReader, graph: Any, count: int) -> tuple[float | None, int]:
    """The share of each drawn row's ten nearest others that the graph leads to, and on how many rows."""
    rng = np.random.default_rng(0)
    own = np.sort(rng.choice(reader.rows, min(count, reader.rows), replace=False))
    if len(own) == 0 or reader.rows < 2:
        return None, 0
    queries = reader.read([(row, row + 1) for row in own.tolist()])
    own, queries = own[queries.any(1)], _unit(queries[queries.any(1)])
    if len(own) == 0:
        return None, 0
    best = np.full((len(own), RECALL_AT), -np.inf, np.float32)
    done = 0
    for rows in read_rows(table):
        cosines = queries @ _unit(rows.embeddings).T
        inside = np.flatnonzero((own >= done) & (own < done + len(rows.ids)))
        cosines[inside, own[inside] - done] = -np.inf  # itself
        best = -np.sort(-np.concatenate([best, cosines], axis=1), axis=1)[:, :RECALL_AT]
        done += len(rows.ids)
    right = possible = 0
    for row, query, nearest in zip(own.tolist(), queries, best, strict=True):
        keys, _ = _look_up(graph, query[None], CANDIDATES * RECALL_AT + 1)
        keys = keys[keys != row]
        cosines = _unit(reader.read(_spans(keys))) @ query if len(keys) else np.zeros(0, np.float32)
        limit = nearest[np.isfinite(nearest)]
        possible += len(limit)
        # Rows that are equally near count alike, whichever was found.
        right += min(len(limit), int((cosines >= limit.min(initial=1) - 1e-6).sum()))
    return right / possible, len(own)


def _unit(embeddings: NDArray[np.float32]) -> NDArray[np.float32]:
    lengths = np.sqrt(np.einsum("nd,nd->n", embeddings, embeddings, dtype=np.float64))
    return (embeddings / np.where(lengths > 0, lengths, 1)[:, None]).astype(np.float32)


def _look_up(graph: Any, queries: NDArray[Any], count: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """The rows that a graph leads to from some queries, ascending and each once, and the cosine to the mean query."""
    graph.expansion_search = max(EXPANSION, count)
    found = [graph.search(query, count, threads=1) for query in _quantised(queries)]
    keys = np.concatenate([matches.keys for matches in found]).astype(np.int64)
    cosines = np.concatenate([1 - np.asarray(matches.distances, np.float64) for matches in found])
    unique, at = np.unique(keys, return_index=True)
    return unique, cosines[at]


def _spans(rows: NDArray[np.int64]) -> list[Span]:
    return [(row, row + 1) for row in rows.tolist()]


class SearchIndex:
    """An open index of a table.

    Attributes:
        folder: of the index.
        table: that it was made of.
        rows: of the table.
        dim: of its embeddings.
        recall: share of the 10 nearest rows that it found when it was made, or None.
    """

    def __init__(self, folder: Path, table: Path, facts: dict[str, Any], graph: Any, clips: _ClipColumns) -> None:
        self.folder, self.table = folder, table
        self.rows, self.dim, self.recall = int(facts["rows"]), int(facts["dim"]), facts["recall_at_10"]
        self._graph, self._clips = graph, clips

    def near(self, query: NDArray[np.float64], k: int, leave_out: str | None) -> Iterator[Rows] | None:
        """The rows of clips that may be the k nearest to a query (queries, dim) of unit length, in the table's order.

        None where that would be a good part of the table: it is then read as a whole.
        """
        omitted = set() if leave_out is None else set(self.clips_named(leave_out))
        known = len(self._clips.firsts) - 1 - len(omitted)
        # Of a table without windows, the mean of the cosines to each is the one to their mean.
        queries = query.mean(0)[None] if self._clips.starts is None else query
        queries = queries[queries.any(1)]
        wanted = CANDIDATES * k + len(omitted)
        while len(queries) and wanted * 2 < self.rows:
            rows, _ = _look_up(self._graph, queries, wanted)
            clips = np.unique(np.searchsorted(self._clips.firsts, rows, "right") - 1)
            clips = clips[~np.isin(clips, list(omitted))]
            # In a table of windows, many rows may be of one clip.
            if len(clips) >= min(2 * k, known):
                return self._rows_of(clips, queries)
            wanted *= CANDIDATES
        return None

    def _rows_of(self, clips: NDArray[np.int64], queries: NDArray[np.float64]) -> Iterator[Rows]:
        size = max(1, table_readers.BLOCK_BYTES // (4 * self.dim))
        with open_rows(self.table) as reader:
            self._check_cosines(reader, queries[0])
            for pieces in _pieces(clips, self._clips.firsts, size):
                spans = [span for _, span in pieces]
                counts = [last - first for first, last in spans]
                owners = [clip for clip, _ in pieces]
                ids = [name for clip, count in zip(owners, counts, strict=True) for name in [self._id(clip)] * count]
                starts, channels = self._clips.starts, self._clips.channels
                yield Rows(
                    ids,
                    None if starts is None else np.concatenate([starts[first:last] for first, last in spans]),
                    reader.read(spans),
                    None if channels is None else np.repeat(channels[owners], counts),
                )

    def _check_cosines(self, reader: RowReader, query: NDArray[np.float64]) -> None:
        """Raises RunError where the table's embeddings are not those of the graph."""
        rows, cosines = _look_up(self._graph, query[None], RECALL_AT)
        exact = _unit(reader.read(_spans(rows))) @ (query / np.linalg.norm(query))
        if np.abs(exact - cosines).mean() > STALE:
            raise _stale(self.folder, self.table)

    def clips_named(self, name: str) -> list[int]:
        """The numbers of the clips that have an id: several where each channel of a file is a clip."""
        wanted = b"\0" + _bytes(name) + b"\0"
        found = []
        with (self.folder / IDS).open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as names:
            at = names.find(wanted)
            while at >= 0:
                clip = int(np.searchsorted(self._clips.ends, at))
                if self._clips.ends[clip] == at:
                    found.append(clip)
                at = names.find(wanted, at + 1)
        return found

    def embeddings_named(self, name: str) -> NDArray[np.float32]:
        """All rows (n, dim) of the clips that have an id; none where no clip has."""
        spans = [(int(self._clips.firsts[c]), int(self._clips.firsts[c + 1])) for c in self.clips_named(name)]
        with open_rows(self.table) as reader:
            return reader.read(spans) if spans else np.zeros((0, self.dim), np.float32)

    def _id(self, clip: int) -> str:
        with (self.folder / IDS).open("rb") as names:
            names.seek(int(self._clips.ends[clip]) + 1)
            length = int(self._clips.ends[clip + 1] - self._clips.ends[clip]) - 1
            return names.read(length).decode("utf-8", "surrogateescape")


def _pieces(clips: NDArray[np.int64], firsts: NDArray[np.int64], size: int) -> Iterator[Sequence[tuple[int, Span]]]:
    """The rows of clips, some at a time: of each clip its number and a span of rows."""
    pieces: list[tuple[int, Span]] = []
    held = 0
    for clip in clips.tolist():
        first, last = int(firsts[clip]), int(firsts[clip + 1])
        while first < last:
            end = min(last, first + size - held)
            pieces.append((clip, (first, end)))
            held += end - first
            first = end
            if held == size:
                yield pieces
                pieces, held = [], 0
    if pieces:
        yield pieces


def open_index(folder: str | Path, table: str | Path) -> SearchIndex:
    """Open the index of a table; its files are hashed first, which takes about a second a gigabyte.

    Args:
        folder: made by `build_index`.
        table: that it was made of. Files whose size or time of change differ are hashed and compared.

    Raises:
        OptionError: there is no index, or it was made of another table, or of this one before it changed.
        RunError: the index is damaged.
        MissingExtra: usearch is not installed (sondino[search]).
    """
    folder, table = Path(folder), Path(table)
    if not is_index(folder):
        raise OptionError(f"index {folder}: no such index; `sondino index {table}` makes one")
    if not table.exists():
        next(read_rows(table))  # raises, with the advice that belongs to it
    facts = read_json(folder / FACTS)
    try:
        if facts["format"] != INDEX_FORMAT:
            raise ValueError(f"its format is {facts['format']!r}, not {INDEX_FORMAT!r}")
        _check_table(folder, table, facts["table"])
        for name, digest in facts["files"].items():
            if name != Path(name).name or sha256(folder / name) != digest:
                raise ValueError(f"{name} has changed since it was written")
        graph = require("usearch.index", "search").Index(
            ndim=facts["dim"], metric="cos", dtype="i8", enable_key_lookups=False
        )
        graph.view(str(folder / GRAPH))
        arrays: dict[str, Any] = {name: _mapped(folder / f"{name}.npy") for name in _ClipColumns._fields}
        return SearchIndex(folder, table, facts, graph, _ClipColumns(**arrays))
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RuntimeError) as error:
        raise RunError(f"index {folder} cannot be used ({error}): make it again with `sondino index") from error


def _mapped(file: Path) -> NDArray[Any] | None:
    return np.load(file, mmap_mode="r", allow_pickle=False) if file.exists() else None


def _check_table(folder: Path, table: Path, recorded: list[dict[str, Any]]) -> None:
    files = files_of(table)
    if [_name(file, table) for file in files] != [entry["file"] for entry in recorded]:
        raise _stale(folder, table)
    for file, entry in zip(files, recorded, strict=True):
        stamp = _stamp(file)
        if stamp["bytes"] != entry["bytes"]:
            raise _stale(folder, table)
        if stamp["changed"] != entry["changed"] and sha256(file) != entry["sha256"]:
            raise _stale(folder, table)


def _stale(folder: Path, table: Path) -> OptionError:
    return OptionError(
        f"index {folder} was made of another table than {table} as it is now: make it again with `sondino index"
        f" {table}`, or search without it (--exact)"
    )
