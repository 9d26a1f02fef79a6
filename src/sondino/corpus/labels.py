"""The labels of a corpus's clips: none, one or several each, as a list's cell `label` holds them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sondino.lists import BETWEEN_LABELS

NONE = -1
"""The class of a clip without a label, and each mark of one where clips may have several."""


@dataclass(frozen=True)
class RowLabels:
    """The labels of some rows. They take a few bytes a row: AudioSet's marks in full would be a gigabyte.

    Attributes:
        names: of all labels, sorted; a label's number is its place.
        first: (rows + 1,) where each row's numbers begin in `numbers`.
        numbers: of the labels (all of them,), row after row.
    """

    names: tuple[str, ...]
    first: NDArray[np.int64]
    numbers: NDArray[np.int32]

    def __len__(self) -> int:
        return len(self.first) - 1

    @property
    def multi_label(self) -> bool:
        """Whether any row has several."""
        return bool((np.diff(self.first) > 1).any())

    @property
    def labelled(self) -> NDArray[np.bool_]:
        """Which rows (rows,) have a label."""
        return np.diff(self.first) > 0

    def of(self, row: int) -> NDArray[np.int32]:
        """The numbers of a row's labels."""
        return self.numbers[self.first[row] : self.first[row + 1]]

    def classes(self) -> NDArray[np.int64]:
        """The number (rows,) of each row's first label, -1 where it has none."""
        found = np.full(len(self), NONE, dtype=np.int64)
        labelled = self.labelled
        found[labelled] = self.numbers[self.first[:-1][labelled]]
        return found

    def marks(self, rows: NDArray[np.integer]) -> NDArray[np.float32]:
        """1 for each label of some rows (len(rows), labels), 0 for the others; -1 all along where a row has none."""
        found = np.zeros((len(rows), len(self.names)), dtype=np.float32)
        for place, row in enumerate(np.asarray(rows).tolist()):
            own = self.of(row)
            found[place, own] = 1
            if len(own) == 0:
                found[place] = NONE
        return found


def split_label(cell: str | None) -> tuple[str, ...]:
    """The labels of a cell, each once, in their order; none of an empty one."""
    if cell is None:
        return ()
    return tuple(dict.fromkeys(name for part in cell.split(BETWEEN_LABELS) if (name := part.strip())))


def row_labels(cells: Sequence[str | None] | NDArray[Any]) -> RowLabels:
    """The labels of rows from their cells: several are joined by `;`."""
    splits = {cell: split_label(cell) for cell in set(cells)}
    names = tuple(sorted({name for found in splits.values() for name in found}))
    place = {name: number for number, name in enumerate(names)}
    numbered = {cell: [place[name] for name in found] for cell, found in splits.items()}
    first = np.zeros(len(cells) + 1, dtype=np.int64)
    np.cumsum([len(numbered[cell]) for cell in cells], out=first[1:])
    numbers = np.fromiter((number for cell in cells for number in numbered[cell]), np.int32, int(first[-1]))
    return RowLabels(names, first, numbers)
