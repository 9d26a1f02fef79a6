"""Labels and parts from elsewhere, joined to what a listing has by the names of its sounds."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from sondino.corpus.sources import Listing
from sondino.corpus.sources.listing import strings
from sondino.errors import AudioError, require
from sondino.files import DUPLICATE, NOT_LISTED

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.compute as pc
else:
    pa = require("pyarrow", "train")
    pc = require("pyarrow.compute", "train")

BATCH = 65_536
"""Names that are looked up at a time."""

Known = tuple[str, str, str]
"""What a name stands for: a key that is the same for every copy of the sound, its labels (`;` between), its split."""

LabelsOf = Callable[[Sequence[str]], Sequence[Known | None]]
"""What each of some names stands for; None: nothing that is known."""


@dataclass
class _Unknown:
    """Sounds of one archive or folder that are not known."""

    first: str
    count: int = 0


def relabel(listing: Listing, labels_of: LabelsOf) -> Listing:
    """A listing with the labels and splits that the names of its sounds stand for, in place of those it had.

    Sound whose name is not known is left out, with a line of `skipped` for each archive or folder that it is in; so is
    a further copy of a sound, by its name.

    Args:
        listing: of any source.
        labels_of: gives what names stand for.

    Raises:
        AudioError: no name is known.
    """
    entries = listing.entries
    names = _first_of(entries, "name", "id", "path")  # an id that several sounds have is a name no more
    ids = _first_of(entries, "id", "path")
    found = [one for begin in range(0, len(names), BATCH) for one in labels_of(names[begin : begin + BATCH])]
    paths = entries["path"].to_pylist()
    starts = entries["start"].to_pylist() if "start" in entries.column_names else [None] * len(names)
    packed = _packed(entries)
    kept: list[int] = []
    skipped: list[tuple[str, str]] = []
    unknown: dict[str, _Unknown] = {}
    owners: dict[tuple[str, float | None], str] = {}
    for row, (name, known, start) in enumerate(zip(ids, found, starts, strict=True)):
        if known is None:
            where = paths[row] if packed[row] else paths[row].rpartition("/")[0]
            unknown.setdefault(where, _Unknown(name)).count += 1
        elif owner := owners.get((known[0], start)):
            skipped.append((name, f"{DUPLICATE}{owner}, by its id"))
        else:
            owners[known[0], start] = name
            kept.append(row)
    if not kept:
        raise AudioError(f"no name of the {len(names):,} sounds has an id that the lists have; the first is {names[0]}")
    for where, some in unknown.items():
        more = f", and {some.count - 1:,} more of {where or 'this folder'}" if some.count > 1 else ""
        skipped.append((some.first, f"{NOT_LISTED}no segment has its id{more}"))
    rows = entries.take(pa.array(kept))
    for column, place in (("label", 1), ("split", 2)):
        cells = strings([known[place] for row in kept if (known := found[row]) is not None])
        rows = rows.drop_columns([column]) if column in rows.column_names else rows
        rows = rows.append_column(column, cells)
    return replace(listing, entries=rows, skipped=[*listing.skipped, *skipped])


def _first_of(entries: pa.Table, *columns: str) -> list[str]:
    """The first of some columns that has a value, of each entry."""
    found: list[str] = pc.coalesce(*(entries[name] for name in columns if name in entries.column_names)).to_pylist()
    return found


def _packed(entries: pa.Table) -> NDArray[np.bool_]:
    """Which entries (rows,) lie in a file with others."""
    marks = np.zeros(len(entries), bool)
    for name in ("offset", "row"):
        if name in entries.column_names:
            marks |= pc.is_valid(entries[name]).to_numpy()
    return marks
