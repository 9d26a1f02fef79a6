"""The clips of a table nearest to a sound by cosine: of all rows, or of those that an index leads to."""

import math
from bisect import insort
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sondino.arrow import AsTable, arrow_of_dicts
from sondino.embedding.search_index import SearchIndex, open_index
from sondino.embedding.table_readers import Rows, read_rows
from sondino.encoder.pipeline import Sound
from sondino.errors import OptionError, SondinoError

if TYPE_CHECKING:
    import pyarrow

    from sondino.model.model import Model

PIECE = 128  # rows compared at once: what a processor's cache holds in float64
MOST_COSINES = 1 << 22  # at once: 32 MB, however long the query is


@dataclass(frozen=True)
class Neighbour:
    """A clip near a query.

    Attributes:
        id: of the clip, a file or a channel of one.
        cosine: -1 to 1; 0 for an embedding of zeros (a silent clip, for some models).
        start: seconds, of the clip's window nearest to the query; None where the table has one row a clip.
        channel: from 1, where the table has rows for each channel of a file; else None.
    """

    id: str
    cosine: float
    start: float | None
    channel: int | None = None


class Neighbours(list[Neighbour], AsTable):
    """The clips near a query, nearest first.

    Attributes:
        by_index: whether they are the nearest that an index led to; False: of all rows.
        compared: rows of the table whose cosines were computed.
    """

    by_index = False
    compared = 0

    def rows(self) -> list[dict[str, Any]]:
        """A row for each: rank, id, cosine, and channel and start where the table has them."""
        found = []
        for rank, near in enumerate(self, 1):
            places = {"channel": near.channel, "start": near.start}
            known = {name: value for name, value in places.items() if value is not None}
            found.append({"rank": rank, "id": near.id, **known, "cosine": near.cosine})
        return found

    def to_arrow(self) -> "pyarrow.Table":
        """Those rows for pyarrow; raises MissingExtra without pyarrow."""
        kinds = {"rank": "int32", "id": "string", "channel": "int32", "start": "float64", "cosine": "float64"}
        names = list(self.rows()[0]) if self else ["rank", "id", "cosine"]
        return arrow_of_dicts(self.rows(), kinds, names)


def find_similar(
    embeddings: ArrayLike,
    table: str | Path,
    k: int = 10,
    leave_out: str | None = None,
    index: str | Path | SearchIndex | None = None,
) -> Neighbours:
    """The k clips of a table nearest to a query, nearest first; ties in the table's order.

    In a table of windows, each of the query's embeddings is compared with the clip's window nearest to it, and the
    clip's cosine is the mean of these: one matching window of a long recording is enough for a short query, matching
    silence is not. In a table with rows for each channel, each channel of a file is a clip. The table is read once, in
    blocks of 16 MB, and compared in float64.

    Args:
        embeddings: the query: (dim,) or (n, dim), of the model that made the table.
        table: .npz, .npy, .csv, .parquet or .lance, as `sondino embed` writes them, or a folder of Parquet files; a
            clip's windows are in rows that follow each other.
        k: how many; a smaller table gives fewer.
        leave_out: the id of a clip to exclude, such as the query itself, with all of its channels.
        index: of this table, made by `build_index`, or one that `open_index` opened: only the rows that it leads to are
            read, and some of the nearest may be missed. A search that needs half of the table reads all of it. None:
            all rows are compared.

    Returns:
        A list of `id`, `cosine`, `start` and `channel`; its to_arrow() and to_pandas() give a table.

    Raises:
        OptionError: k under 1, a query of zeros or NaN or of another dimension, a file that is not a table, an index of
            another table or of this one before it changed.
        SondinoError: the table or the index is damaged, or the table holds NaN.

    Examples:
        >>> model = sondino.load("run/bundle")
        >>> report = sondino.embed_files("recordings", model, "embeddings.npz")
        >>> query = model.embed("recordings/drum_cowbell.ogg")
        >>> sondino.find_similar(query, "embeddings.npz", k=3)[0].id
        'drum_cowbell.ogg'
    """
    if isinstance(k, bool) or not isinstance(k, (int, np.integer)) or k < 1:
        raise OptionError(f"k is {k!r}: give a whole number, 1 or more")
    query = _unit_query(embeddings)
    nearest, compared = _Nearest(int(k), leave_out), 0
    near = None
    if index is not None:
        opened = index if isinstance(index, SearchIndex) else open_index(index, table)
        _check_dim(table, opened.dim, query)
        near = opened.near(query, int(k), leave_out)
    for rows in read_rows(table) if near is None else near:
        _check_dim(table, rows.embeddings.shape[1], query)
        bad = np.flatnonzero(~np.isfinite(rows.embeddings).all(1))
        if len(bad):
            raise SondinoError(
                f"{table}: the embedding of {rows.ids[bad[0]]} holds NaN or infinite values; embed it again"
            )
        nearest.add(rows, query)
        compared += len(rows.ids)
    found = nearest.neighbours()
    found.by_index, found.compared = near is not None, compared
    return found


def _check_dim(table: str | Path, dim: int, query: NDArray[np.float64]) -> None:
    if dim != query.shape[1]:
        raise OptionError(
            f"table {table} holds embeddings of dimension {dim}, the query has {query.shape[1]}: take the model that "
            "made the table"
        )


_Clip = tuple[str, int | None]
"""The id of a clip, and its channel where the table has such."""


def _clips_of(rows: Rows, piece: slice) -> list[_Clip]:
    """The clip of each of some rows."""
    ids = rows.ids[piece]
    return list(zip(ids, [None] * len(ids) if rows.channels is None else rows.channels[piece].tolist(), strict=True))


class _Nearest:
    """The k nearest clips of rows that come in blocks; the clip of the last row may continue in the next block."""

    def __init__(self, k: int, leave_out: str | None) -> None:
        self.k, self.leave_out = k, leave_out
        self.clips = 0
        self.found: list[tuple[float, int, Neighbour]] = []  # negative cosine, place in the table
        # Its id, best cosine to each embedding of the query, and nearest window's mean cosine and negative start.
        self.open: tuple[_Clip, NDArray[np.float64], tuple[float, float]] | None = None

    def add(self, rows: Rows, query: NDArray[np.float64]) -> None:
        """The next rows, for a query (queries, dim) of unit length."""
        means = _in_pieces(rows.embeddings, query.mean(0)[None])[:, 0]  # the mean of the cosines to each
        if rows.starts is None:
            least = -self.found[-1][0] if len(self.found) == self.k else -math.inf
            for row in np.flatnonzero(means > least).tolist():
                self._close(self.clips + row, _clips_of(rows, slice(row, row + 1))[0], means[row], None)
            self.clips += len(rows.ids)
            return
        # Some rows at a time, which may end within a clip.
        size = max(1, min(PIECE, MOST_COSINES // len(query)))
        for first in range(0, len(means), size):
            piece = slice(first, first + size)
            self._add_windows(_clips_of(rows, piece), rows.starts[piece], rows.embeddings[piece], means[piece], query)

    def _add_windows(
        self,
        clips: Sequence[_Clip],
        starts: NDArray[np.float64],
        embeddings: NDArray[np.float32],
        means: NDArray[np.float64],
        query: NDArray[np.float64],
    ) -> None:
        if all(name == self.leave_out for name, _ in clips):  # a long recording's own windows
            self._close_open()
            return
        cosines = _cosines(embeddings, query)
        firsts = [0, *(row for row, (one, other) in enumerate(pairwise(clips), 1) if one != other)]
        for first, last in pairwise([*firsts, len(clips)]):
            best = cosines[first:last].max(0)
            at = first + int(means[first:last].argmax())
            nearest = (float(means[at]), -float(starts[at]))
            if self.open is not None and self.open[0] == clips[first]:
                best, nearest = np.maximum(best, self.open[1]), max(nearest, self.open[2])
            else:
                self._close_open()
            self.open = (clips[first], best, nearest)

    def neighbours(self) -> Neighbours:
        """The nearest of all added clips."""
        self._close_open()
        return Neighbours(neighbour for _, _, neighbour in self.found)

    def _close_open(self) -> None:
        if self.open is not None:
            clip, best, (_, start) = self.open
            self._close(self.clips, clip, best.mean(), -start)
            self.clips += 1
            self.open = None

    def _close(self, place: int, clip: _Clip, cosine: float, start: float | None) -> None:
        name, channel = clip
        if name != self.leave_out:
            # The last digits depend on the order of summation in the matrix product: they must not rank equal clips.
            rounded = round(float(cosine), 9)
            insort(self.found, (-rounded, place, Neighbour(name, rounded, start, channel)))
            del self.found[self.k :]


def _in_pieces(embeddings: NDArray[np.float32], query: NDArray[np.float64]) -> NDArray[np.float64]:
    """`_cosines` of many embeddings to a few."""
    pieces = [_cosines(embeddings[first : first + PIECE], query) for first in range(0, len(embeddings), PIECE)]
    return np.concatenate(pieces) if pieces else np.zeros((0, len(query)))


def _cosines(embeddings: NDArray[np.float32], query: NDArray[np.float64]) -> NDArray[np.float64]:
    """Cosines (n, queries), 0 for embeddings of zeros."""
    exact = embeddings.astype(np.float64)
    lengths = np.sqrt(np.einsum("nd,nd->n", exact, exact))
    cosines = exact @ query.T / np.where(lengths > 0, lengths, 1)[:, None]
    return np.clip(cosines, -1, 1, out=cosines)


def _unit_query(embeddings: ArrayLike) -> NDArray[np.float64]:
    query = np.atleast_2d(np.asarray(embeddings, dtype=np.float64))
    if query.ndim != 2 or query.size == 0:
        raise OptionError(f"the query is an array of shape {query.shape}: give (dim,) or (n, dim)")
    if not np.isfinite(query).all():
        raise OptionError("the query holds NaN or infinite values: it has no neighbours")
    lengths = np.linalg.norm(query, axis=1, keepdims=True)
    if not lengths.any():
        raise OptionError("the query's embeddings are all zeros (a silent clip, for some models): it has no neighbours")
    return query / np.where(lengths > 0, lengths, 1)


def query_of_sound(sound: Sound, model: "Model", table: str | Path, **how: Any) -> NDArray[np.float32]:
    """A sound as a query (n, dim): an embedding a window if the table has a row a window, else one embedding.

    Args:
        sound: a path or an (array, rate).
        model: the one that made the table.
        table: as in `find_similar`.
        how: the options of `Model.embed` that the table was made with.

    Raises:
        AudioError: it cannot be decoded.
        OptionError: a folder, or a file that is not a table.
    """
    if isinstance(sound, (str, PathLike)) and Path(sound).is_dir():
        raise OptionError(f"{sound} is a folder: name one audio file")
    if next(read_rows(table)).starts is None:
        return model.embed([sound], **how)
    return model.embed_windows(sound, **how)[0]


def query_of_id(name: str, table: str | Path, index: SearchIndex | None = None) -> NDArray[np.float32]:
    """The rows (n, dim) of a clip that is in the table, as a query.

    Args:
        name: of the clip.
        table: as in `find_similar`.
        index: of the table; with it the table is not read from the front.

    Raises:
        OptionError: no clip has this id; the message has some similar ones.
    """
    if index is not None and len(known := index.embeddings_named(name)):
        return known
    found = []
    like: list[str] = []
    for rows in read_rows(table):
        found.append(rows.embeddings[[row for row, other in enumerate(rows.ids) if other == name]])
        if len(like) < 3:
            like += [other for other in dict.fromkeys(rows.ids) if Path(name).stem in other]
    embeddings = np.concatenate(found)
    if not len(embeddings):
        hint = f"did you mean {' or '.join(dict.fromkeys(like[:3]))}? " if like else ""
        if Path(name).is_file():
            hint = "it is a file: to search by its audio, name the model that made the table (--model); "
        raise OptionError(f"{name} is not an id in {table}: {hint}ids are the paths that `sondino embed` was given")
    return embeddings
