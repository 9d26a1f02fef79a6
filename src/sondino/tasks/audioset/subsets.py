"""Subsets of AudioSet: at random, balanced by label, or what lies under a node of the ontology."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sondino.errors import OptionError
from sondino.files import text_file
from sondino.tasks.audioset.metadata import EVALUATION, Metadata, segment_lines
from sondino.tasks.audioset.ontology import descendants, find_node


def check_choice(clips: int | None, per_label: int | None) -> None:
    """Raises OptionError for numbers that `choose` cannot take: they are checked before 2 million segments are read."""
    if clips is not None and per_label is not None:
        raise OptionError("both clips and per-label are given: choose at random, or by label")
    for name, value in (("clips", clips), ("per-label", per_label)):
        if value is not None and value < 1:
            raise OptionError(f"{name} is {value}: give a whole number above 0")


def choose(
    metadata: Metadata,
    clips: int | None = None,
    per_label: int | None = None,
    nodes: tuple[str, ...] = (),
    sets: tuple[str, ...] = (),
    seed: int = 0,
    among: NDArray[np.bool_] | None = None,
) -> NDArray[np.bool_]:
    """Choose segments.

    Args:
        metadata: of the segments.
        clips: how many, at random; None: all that the rest leaves.
        per_label: how many each label shall have at least, where there are so many: the rarest labels choose first. A
            clip counts for all of its labels, so that common ones have more.
        nodes: names or ids of the ontology: only segments with such a label, or one below it.
        sets: names of lists; (): all but the evaluation set.
        seed: of the draws.
        among: marks (rows,) the segments that may be chosen; None: all.

    Returns:
        (rows,) marks of the chosen segments.

    Raises:
        OptionError: an unknown set or node, or nothing is left to choose.
    """
    check_choice(clips, per_label)
    segments = metadata.segments
    unknown = [name for name in sets if name not in segments.sets]
    if unknown:
        raise OptionError(f"there is no set {unknown[0]!r}: the metadata has {', '.join(segments.sets)}")
    wanted = [n for n, name in enumerate(segments.sets) if (name in sets if sets else name not in EVALUATION)]
    marks = np.isin(segments.set_of, wanted)
    if among is not None:
        marks &= among
    if nodes:
        below = {
            node.id for name in nodes for node in descendants(metadata.ontology, find_node(metadata.ontology, name))
        }
        numbers = [number for number, mid in enumerate(segments.mids) if mid in below]
        has = np.zeros(len(segments), bool)
        has[segments.rows_of_labels()[np.isin(segments.numbers, numbers)]] = True
        marks &= has
    rows = np.flatnonzero(marks)
    if len(rows) == 0:
        raise OptionError("no segment is left to choose: name other sets or nodes, or another folder of audio")
    rng = np.random.default_rng(seed)
    if per_label is not None:
        return _balanced(metadata, marks, per_label, rng)
    if clips is not None and clips < len(rows):
        marks[:] = False
        marks[rng.choice(rows, clips, replace=False)] = True
    return marks


def _balanced(
    metadata: Metadata, marks: NDArray[np.bool_], per_label: int, rng: np.random.Generator
) -> NDArray[np.bool_]:
    segments = metadata.segments
    row_of = segments.rows_of_labels()
    usable = marks[row_of]
    row_of, numbers = row_of[usable], segments.numbers[usable]
    order = np.argsort(numbers, kind="stable")
    row_of, numbers = row_of[order], numbers[order]
    ends = np.searchsorted(numbers, np.arange(len(segments.mids) + 1))
    sizes = np.diff(ends)
    chosen = np.zeros(len(segments), bool)
    for label in np.argsort(sizes, kind="stable").tolist():
        own = row_of[ends[label] : ends[label + 1]]
        there = int(chosen[own].sum())
        if there < per_label and len(own):
            rest = own[~chosen[own]]
            chosen[rng.choice(rest, min(per_label - there, len(rest)), replace=False)] = True
    return chosen


def write_segments(metadata: Metadata, marks: NDArray[np.bool_], out: Path) -> int:
    """Write the marked segments as a segment list in AudioSet's own form, which all commands here read.

    Returns:
        How many it has.

    Raises:
        OptionError: another suffix than .csv, or segments of the evaluation set beside others.
    """
    if out.suffix.lower() != ".csv":
        raise OptionError(f"{out}: a list of segments ends in .csv")
    segments = metadata.segments
    rows = np.flatnonzero(marks)
    names = [segments.sets[number] for number in np.unique(segments.set_of[rows]).tolist()]
    tested = [name for name in names if name in EVALUATION]
    if tested and len(names) > 1:
        raise OptionError(f"{tested[0]} is for tests alone: choose it in a list of its own")
    name = tested[0] if tested else names[0] if len(names) == 1 else "train"
    with text_file(out) as text:
        text.write(f"# Segments of AudioSet (CC BY 4.0), chosen by sondino: set={name}\n")
        text.write(f"# num_segs={len(rows)}\n# YTID, start_seconds, end_seconds, positive_labels\n")
        text.writelines(line + "\n" for line in segment_lines(metadata, rows.tolist()))
    return len(rows)
