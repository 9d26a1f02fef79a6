"""Labels of a corpus's clips from the label tracks and selection tables beside its recordings."""

from collections.abc import Sequence
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sondino.errors import OptionError
from sondino.lists import BETWEEN_LABELS
from sondino.tracks import Mark, read_track, track_of

LEAST_SHARE = 0.5
"""A stretch labels a clip where they share at least so much of the shorter of them."""


def track_labels(
    root: Path, paths: Sequence[str], starts: NDArray[np.float64], durations: NDArray[np.float64]
) -> tuple[list[str | None], list[str]]:
    """The labels of each clip, joined by `;`, and notes.

    Args:
        root: folder that paths start from.
        paths: of the clips' recordings.
        starts: of the clips, in seconds.
        durations: of the clips, in seconds.

    Returns:
        For each clip its labels, None where it has none; and messages: what was labelled, and each track that cannot
        be read.
    """
    notes: list[str] = []

    @cache
    def has_text(folder: Path) -> bool:
        """Whether a folder holds any text file: most do not, and are asked once."""
        return any(file.suffix.lower() == ".txt" for file in folder.iterdir())

    @cache
    def marks_of(path: str) -> list[Mark] | None:
        recording = root / path
        if not recording.parent.is_dir() or not has_text(recording.parent):
            return None
        track, _ = track_of(recording)
        if track is None:
            return None
        try:
            return [mark for mark in read_track(track, recording) if mark.label and mark.duration]
        except OptionError as error:
            notes.append(f"{error}; the clips of {path} have no labels")
            return None

    labels: list[str | None] = []
    for path, start, duration in zip(paths, starts.tolist(), durations.tolist(), strict=True):
        marks = marks_of(path)
        if marks is None:
            labels.append(None)
            continue
        found = [mark.label for mark in marks if _labels(mark, start, duration)]
        labels.append(BETWEEN_LABELS.join(dict.fromkeys(found)) or None)
    if count := sum(label is not None for label in labels):
        notes.append(f"{count} of {len(labels)} clips have labels that lie beside their recordings")
    return labels, notes


def _labels(mark: Mark, start: float, duration: float) -> bool:
    shared = min(mark.start + mark.duration, start + duration) - max(mark.start, start)
    return shared > 0 and shared >= LEAST_SHARE * min(mark.duration, duration)
