"""The split into training and validation clips, and batches of waveforms that threads prepare ahead of the net."""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sondino.errors import OptionError
from sondino.lists import SPLITS
from sondino.processors import cores
from sondino.training.ahead import made_ahead


@dataclass(frozen=True)
class Split:
    """Row numbers of a corpus: training clips, and clips of held-out source files."""

    train: NDArray[np.int64]
    validation: NDArray[np.int64]


def split_by_file(
    files: Sequence[str],
    splits: Sequence[str | None],
    views: NDArray[np.integer],
    partners: NDArray[np.integer],
    usable: NDArray[np.bool_],
    share: float,
    seed: int,
) -> Split:
    """Hold out whole source files, so that no clip of a file is on both sides.

    Args:
        files: content hash of each row's file.
        splits: the corpus's own split of each row; where any row has one, rows of "valid", "validation" or "val"
            are held out, rows of "test" are left out, and the others train.
        views: 0 for a clip as it is, 1 and up for its augmented views; only clips themselves validate.
        partners: row mixed into each view, -1 for none; a view with a held-out clip in it is not trained on.
        usable: rows that have targets.
        share: of the files to hold out where the corpus has no split.
        seed: of the choice.

    Raises:
        OptionError: a split that is none of these.
    """
    names = np.asarray(files)
    if any(splits):
        # A list's splits are checked as it is read; a corpus that an older version made may have others.
        strange = sorted({split for split in splits if split and split.lower() not in SPLITS})
        if strange:
            raise OptionError(f"the corpus has the split {strange[0]!r}: give train, valid or test in its list")
        own = np.array([SPLITS[(split or "").lower()] for split in splits])
        held, out = own == "valid", own == "test"
    else:
        unique = sorted(set(files), key=lambda name: hashlib.sha256(f"{seed} {name}".encode()).digest())
        count = min(max(round(share * len(unique)), 1), len(unique) - 1) if share > 0 else 0
        held = np.isin(names, unique[:count])
        out = np.zeros(len(names), dtype=bool)
    tainted = (partners >= 0) & (held | out)[np.maximum(partners, 0)]
    train = usable & ~held & ~out & ~tainted
    return Split(np.flatnonzero(train), np.flatnonzero(usable & held & (views == 0)))


def fit_length(waveform: NDArray[np.float32], samples: int, short: str) -> NDArray[np.float32]:
    """A clip at the one length that a batch needs: cut, or zero-padded ("pad"), or repeated (every other policy)."""
    if len(waveform) >= samples:
        return waveform[:samples]
    if short == "pad":
        return np.pad(waveform, (0, samples - len(waveform)))
    return np.resize(waveform, samples)


@dataclass
class Batches:
    """Reads batches of waveforms in threads while the net works; decoding and copying release the interpreter lock."""

    read: Callable[[int], NDArray[np.float32]]
    samples: int
    short: str
    workers: int = field(default_factory=lambda: max(1, cores() // 2))
    waited: float = 0.0
    """Seconds that the net has waited for data."""

    def __call__(self, rows: Sequence[NDArray[np.int64]]) -> Iterator[tuple[NDArray[np.int64], Tensor]]:
        """Yield (rows (batch,), waveforms (batch, samples) float32) for each array of row numbers, in order."""
        yield from made_ahead(rows, self._batch, self.workers, self._count)

    def _count(self, seconds: float) -> None:
        self.waited += seconds

    def _batch(self, rows: NDArray[np.int64]) -> Tensor:
        batch = np.empty((len(rows), self.samples), dtype=np.float32)
        for place, row in enumerate(rows):
            batch[place] = fit_length(self.read(int(row)), self.samples, self.short)
        return torch.from_numpy(batch)


def spread(rows: NDArray[np.int64], most: int) -> NDArray[np.int64]:
    """At most so many rows, evenly spread over all."""
    return rows if len(rows) <= most else rows[np.linspace(0, len(rows) - 1, most).astype(np.int64)]
