"""What AudioSet's metadata holds, as rows to print."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from sondino.tasks.audioset.metadata import Metadata
from sondino.tasks.audioset.ontology import find_node, roots, walk

WHOLE = 10_000
"""Milliseconds of a segment that was not cut short by the end of its video."""


def totals(metadata: Metadata) -> dict[str, Any]:
    """Counts of all sets together, and of each."""
    segments = metadata.segments
    return {
        "segments": len(segments),
        "videos": len(np.unique(segments.ids)),
        "labels": int((segments.counts() > 0).sum()),
        "ontology": len(metadata.ontology),
        "strong": {name: len(found) for name, found in metadata.strong.items()},
        "sets": [_set_facts(metadata, number) for number in range(len(segments.sets))],
    }


def _set_facts(metadata: Metadata, number: int) -> dict[str, Any]:
    segments = metadata.segments
    own = segments.set_of == number
    lengths = (segments.end - segments.start)[own]
    labels = np.diff(segments.first)[own]
    return {
        "set": segments.sets[number],
        "segments": int(own.sum()),
        "labels": int((segments.counts(own) > 0).sum()),
        "labels_per_segment": round(float(labels.mean()), 3) if own.any() else 0.0,
        "most_labels": int(labels.max(initial=0)),
        "hours": round(float(lengths.sum(dtype=np.int64)) / 3_600_000, 1),
        "shorter_than_10_s": int((lengths < WHOLE).sum()),
    }


def set_rows(metadata: Metadata) -> list[dict[str, str]]:
    """The table of sets."""
    rows = [_set_facts(metadata, number) for number in range(len(metadata.segments.sets))]
    return [
        {
            "set": row["set"],
            "segments": f"{row['segments']:,}",
            "labels": str(row["labels"]),
            "labels per segment": f"{row['labels_per_segment']:.2f} (at most {row['most_labels']})",
            "hours": f"{row['hours']:,.1f}",
            "shorter than 10 s": f"{row['shorter_than_10_s']:,}",
        }
        for row in rows
    ]


def strong_rows(metadata: Metadata) -> list[dict[str, str]]:
    """The table of strong labels."""
    return [
        {
            "strong labels": name,
            "sounds": f"{len(found):,}",
            "videos": f"{len(set(found.ids)):,}",
            "labels": str(len(set(found.mids))),
        }
        for name, found in metadata.strong.items()
    ]


def label_rows(metadata: Metadata) -> list[dict[str, str]]:
    """The table of labels, the commonest first, with the segments of each set."""
    segments = metadata.segments
    counts = [segments.counts(segments.set_of == number) for number in range(len(segments.sets))]
    names, every = metadata.label_names(), segments.counts()
    return [
        {"label": names[label], "id": segments.mids[label]}
        | {name: str(count[label]) for name, count in zip(segments.sets, counts, strict=True)}
        for label in np.argsort(-every, kind="stable").tolist()
    ]


def ontology_lines(metadata: Metadata, node: str | None = None) -> Iterator[str]:
    """The tree of the ontology, or what is below a node: a line a node, with the segments that have it as a label.

    Raises:
        OptionError: there is no ontology, or no such node.
    """
    segments = metadata.segments
    count = dict(zip(segments.mids, segments.counts().tolist(), strict=True))
    first = find_node(metadata.ontology, node or "") if node is not None or not metadata.ontology else None
    for root in [first] if first is not None else roots(metadata.ontology):
        for depth, one in walk(metadata.ontology, root):
            remarks = [f"{count[one.id]:,}"] if one.id in count else []
            remarks += ["abstract"] * one.abstract + ["blacklisted"] * one.blacklisted
            yield f"{'  ' * depth}{one.name}  {one.id}" + (f"  ({', '.join(remarks)})" if remarks else "")
