"""PANNs' HDF5 files: `audio_name`, `waveform` (clips, samples) int16 or float32, `target`, attribute `sample_rate`.

A clip that PANNs' downloads lacked has an empty name and zeros. A target of 527 classes is AudioSet's. Samples are
given on as a WAV, so that a clip is read as its file would be.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from sondino.audio.wav import FLOAT, PCM, wav_format, wav_header
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
from sondino.corpus.sources.parquet import with_own_ids
from sondino.corpus.sources.stores import HEADER_BLOCK, WINDOW_BLOCK, Blocks, RangeFile, Remote
from sondino.encoder.audioset import audioset_classes
from sondino.errors import AudioError, MissingExtra, SondinoError, require
from sondino.lists import BETWEEN_LABELS
from sondino.text import first_line

if TYPE_CHECKING:
    import pyarrow as pa
else:
    pa = require("pyarrow", "train")

WAVEFORM = "waveform"
SLICE = 1 << 23
"""Bytes of neighbouring clips that are read at a time, at most."""
NOT_OURS = "is no HDF5 file of PANNs' layout ({reason}): it needs audio_name, waveform and the attribute sample_rate"
MISSING = "has no name, as PANNs' files have it for a clip that was missing"


def has_waveforms(file: Path | Remote) -> bool:
    """Whether an HDF5 file is of PANNs' layout; False where it cannot be read."""
    try:
        with _opened(file, HEADER_BLOCK) as opened:
            _check(opened)
            return True
    except (SondinoError, OSError, ValueError, KeyError, RuntimeError):
        return False


def list_hdf5(files: Sequence[tuple[str, Path | Remote]]) -> tuple[pa.Table, list[tuple[str, str]]]:
    """The clips of HDF5 files; names and targets are read, no samples.

    Args:
        files: each one's path below the listing's root, and where it is.

    Returns:
        entries with id, and label where there are targets: AudioSet's names where there are 527, else numbers, `;`
        between; and what was passed over.
    """
    tables: list[pa.Table] = []
    skipped: list[tuple[str, str]] = []
    for path, file in files:
        if not_utf8(path):
            skipped.append((path, NOT_UTF8))
            continue
        try:
            with _opened(file, HEADER_BLOCK) as opened:
                _check(opened)
                tables.append(_rows(path, file, opened, skipped))
        except MissingExtra:
            raise
        except (SondinoError, FileNotFoundError) as error:
            skipped.append((path, str(error) if isinstance(error, SondinoError) else "there is no such file"))
        except (OSError, ValueError, KeyError, RuntimeError) as error:
            skipped.append((path, NOT_OURS.format(reason=first_line(error))))
    if not tables:
        return make_entries([]), skipped
    return with_own_ids(pa.concat_tables(tables, promote_options="default")), skipped


def _opened(file: Path | Remote, block: int) -> Any:
    h5py = require("h5py", "hdf5")
    return h5py.File(RangeFile(Blocks(file, block)) if isinstance(file, Remote) else file, "r")


def _check(opened: Any) -> None:
    """Raises AudioError where the layout is another."""
    for name in ("audio_name", WAVEFORM):
        if name not in opened:
            raise AudioError(NOT_OURS.format(reason=f"it has no {name}"))
    sound = opened[WAVEFORM]
    if sound.ndim != 2 or sound.dtype not in (np.int16, np.float32) or len(sound) != len(opened["audio_name"]):
        raise AudioError(NOT_OURS.format(reason=f"its waveform is {sound.dtype} of the shape {sound.shape}"))
    if "sample_rate" not in opened.attrs:
        raise AudioError(NOT_OURS.format(reason="it has no attribute sample_rate"))


def _rows(path: str, file: Path | Remote, opened: Any, skipped: list[tuple[str, str]]) -> pa.Table:
    names = [_name(cell) for cell in opened["audio_name"][:]]
    skipped += [(f"{path}:{row}", MISSING) for row, name in enumerate(names) if not name]
    rows = [row for row, name in enumerate(names) if name]
    more: dict[str, Any] = {
        "id": strings([names[row] for row in rows]),
        "number": pa.array(rows, pa.int64()),
        "group": pa.nulls(len(rows), pa.int32()),
        "row": pa.array(rows, pa.int64()),
        "column": pa.array([WAVEFORM] * len(rows), pa.string()),
    }
    if "target" in opened and len(opened["target"]) == len(names):
        more["label"] = strings(_labels(opened["target"], rows))
    if isinstance(file, Remote):
        more[IDENTITY] = strings([file.identity] * len(rows))
    return make_entries([path] * len(rows), **more)


def _name(cell: Any) -> str:
    text = cell.decode("utf-8", "replace") if isinstance(cell, bytes) else str(cell)
    return text.strip("\0 ")


def _labels(target: Any, rows: Sequence[int]) -> list[str]:
    """The names or numbers of the classes that are set in each row."""
    wanted, found, classes = set(rows), [], audioset_classes()
    names = classes if target.shape[1:] == (len(classes),) else tuple(map(str, range(int(np.prod(target.shape[1:])))))
    step = max(1, SLICE // max(1, target.dtype.itemsize * int(np.prod(target.shape[1:], dtype=np.int64))))
    for first in range(0, len(target), step):
        block = np.asarray(target[first : first + step]) != 0
        for place, row in enumerate(block):
            if first + place in wanted:
                found.append(BETWEEN_LABELS.join(names[number] for number in np.flatnonzero(row)))
    return found


def read_clips(file: Path | Remote, places: Sequence[tuple[int, Place]]) -> Iterator[tuple[int, Opener]]:
    """Clips of an HDF5 file, neighbours by one read; number of each and how to open it."""
    left = {number for number, _ in places}
    try:
        with _opened(file, WINDOW_BLOCK) as opened:
            _check(opened)
            sound, rate = opened[WAVEFORM], int(opened.attrs["sample_rate"])
            most = max(1, SLICE // max(1, sound.dtype.itemsize * sound.shape[1]))
            for run in _runs(places, most):
                first, last = run[0][1].row or 0, run[-1][1].row or 0
                block = sound[first : last + 1]
                for number, place in run:
                    left.discard(number)
                    yield number, in_memory(_as_wav(block[(place.row or 0) - first], rate))
    except Exception as error:  # HDF5 raises many kinds on damaged bytes
        message = AudioError(NOT_OURS.format(reason=first_line(error)))
        for number in sorted(left):
            yield number, failing(error if isinstance(error, SondinoError | FileNotFoundError) else message)


def _runs(places: Sequence[tuple[int, Place]], most: int) -> Iterator[list[tuple[int, Place]]]:
    """Neighbouring rows, at most so many."""
    run: list[tuple[int, Place]] = []
    for number, place in sorted(places, key=lambda one: one[1].row or 0):
        row = place.row or 0
        if run and (row - (run[-1][1].row or 0) > 1 or row - (run[0][1].row or 0) >= most):
            yield run
            run = []
        run.append((number, place))
    if run:
        yield run


def _as_wav(samples: NDArray[Any], rate: int) -> bytes:
    little = np.ascontiguousarray(samples, dtype=samples.dtype.newbyteorder("<"))
    width = little.itemsize
    codec = PCM if width == 2 else FLOAT
    body = np.array([codec, 1], "<u2").tobytes() + np.array([rate, rate * width], "<u4").tobytes()
    layout = wav_format(body + np.array([width, 8 * width], "<u2").tobytes(), "<")
    assert layout is not None
    content = little.tobytes()
    return wav_header(layout, len(content)) + content
