"""Embeddings computed elsewhere, looked up by clip id: a teacher that you can only call on another machine."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sondino.errors import EncoderError, OptionError, require
from sondino.files import read_arrays, sha256
from sondino.teachers.common import fingerprint, title
from sondino.teachers.spec import TeacherSpec
from sondino.text import unescape

SHOWN = 3  # ids that a message names


class Precomputed:
    """A table of embeddings by id. It has `lookup` in place of `embed`, which always raises an error.

    Attributes:
        name: kind and file.
        sample_rate: hertz that the clips would be read at; nothing is read, so only a default.
        dim: of the embeddings.
        window: None, each id is a whole clip.
        hop: None.
        batch_size: 1.
        fingerprint: changes with the file.
        licence: of the embeddings.
    """

    def __init__(self, path: Path, spec: TeacherSpec) -> None:
        ids, self._embeddings = _read_table(path)
        self._path = path
        self._rows = {name: row for row, name in enumerate(ids)}
        if len(self._rows) != len(ids):
            twice = next(name for row, name in enumerate(ids) if self._rows[name] != row)
            raise OptionError(f"{path} has {len(ids) - len(self._rows)} ids more than once, such as {twice!r}")
        self.name = title(spec)
        self.licence = "the file's"
        self.sample_rate = spec.rate(16000)
        self.dim = int(self._embeddings.shape[1])
        self.window: float | None = None
        self.hop: float | None = None
        self.batch_size = 1
        self.fingerprint = fingerprint("precomputed", sha256(path))

    def lookup(self, ids: list[str]) -> NDArray[np.float32]:
        """The embeddings (n, dim) of clips by their ids, in the order given.

        Raises:
            EncoderError: ids that the file lacks, how many and the first ones; or embeddings of NaN.
        """
        lacking = [name for name in ids if name not in self._rows]
        if lacking:
            raise EncoderError(
                f"{self._path} lacks {len(lacking)} of {len(ids)} clips, such as {_few(lacking)}; its own ids are such "
                f"as {_few(list(self._rows))}: compute the missing ones, or leave those clips out of the corpus"
            )
        embeddings = self._embeddings[[self._rows[name] for name in ids]].astype(np.float32)
        bad = np.flatnonzero(~np.isfinite(embeddings).all(axis=1))
        if len(bad):
            raise EncoderError(f"{self._path} has NaN or infinite values for {_few([ids[i] for i in bad])}")
        return embeddings

    def embed(self, waveforms: NDArray[np.float32]) -> NDArray[np.float32]:
        """Raises an error: there is no model here, only embeddings by id."""
        raise EncoderError(
            f"{self.name} holds embeddings by id and cannot embed new audio: it is a teacher for its own clips only"
        )


def _few(names: list[str]) -> str:
    return ", ".join(map(repr, names[:SHOWN]))


def _read_table(path: Path) -> tuple[list[str], NDArray[np.floating]]:
    if path.suffix == ".npz":
        ids, embeddings = _read_npz(path)
    elif path.suffix in (".parquet", ".pq"):
        ids, embeddings = _read_parquet(path)
    else:
        raise OptionError(f"{path} is neither .npz nor .parquet: give a file of ids and embeddings in one of them")
    if embeddings.ndim != 2 or len(ids) != len(embeddings) or not len(ids):
        raise EncoderError(
            f"{path} has {len(ids)} ids and embeddings of shape {embeddings.shape}: give one embedding an id (n, dim), "
            "not one a window"
        )
    return ids, embeddings


def _read_npz(path: Path) -> tuple[list[str], NDArray[np.floating]]:
    try:
        arrays = read_arrays(path)
    except (OSError, ValueError) as error:  # such as arrays of Python objects, which would have to be unpickled
        raise EncoderError(
            f"{path} cannot be read ({error}): save ids as strings and embeddings as floats with numpy.savez"
        ) from error
    key = next(((i, v) for i, v in (("ids", "vectors"), ("id", "vector")) if {i, v} <= arrays.keys()), None)
    if key is None:
        raise OptionError(f"{path} holds {', '.join(sorted(arrays)) or 'nothing'}, not `ids` and `vectors`")
    ids, embeddings = arrays[key[0]], arrays[key[1]]
    if ids.ndim != 1:
        raise EncoderError(f"{path} has ids of shape {ids.shape}, not one a row")
    if embeddings.dtype.kind != "f":
        raise EncoderError(f"{path} has embeddings of {embeddings.dtype}: save them as float32")
    return [str(name) for name in ids.tolist()], embeddings


def _read_parquet(path: Path) -> tuple[list[str], NDArray[np.floating]]:
    parquet = require("pyarrow.parquet", "tables")
    try:
        table = parquet.read_table(path)
        column = next((i, v) for i, v in (("id", "vector"), ("ids", "vectors")) if {i, v} <= set(table.column_names))
        listed = table.column(column[1]).combine_chunks()
        flat = np.asarray(listed.flatten())
        return [unescape(str(name)) for name in table.column(column[0]).to_pylist()], flat.reshape(len(listed), -1)
    except StopIteration:
        raise OptionError(f"{path} holds {', '.join(table.column_names)}, not the columns `id` and `vector`") from None
    except Exception as error:
        raise EncoderError(f"{path} is no Parquet file of ids and embeddings of one length: {error}") from error


def load_precomputed(spec: TeacherSpec, device: str = "auto") -> Precomputed:
    """Open a file of embeddings: .npz (`ids`, `vectors`, as `sondino embed` writes) or .parquet (`id`, `vector`)."""
    return Precomputed(spec.path, spec)
