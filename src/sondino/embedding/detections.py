"""Detections: a label in a stretch of a recording, from the probabilities of its windows."""

import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sondino.audio.recorded import RecordingTime
from sondino.encoder.head import Head
from sondino.errors import OptionError


@dataclass(frozen=True)
class Detection:
    """A label in a stretch of a recording.

    Attributes:
        start: seconds from the beginning of the recording.
        end: seconds.
        label: one of the head's.
        probability: of the window; of several that were merged the highest.
    """

    start: float
    end: float
    label: str
    probability: float


@dataclass(frozen=True)
class Recording:
    """What was found in one recording.

    Attributes:
        path: the file, below the folder that was given, or as it was given.
        file: the file, to open it.
        seconds: its length.
        detections: by start, then by probability, highest first.
        likeliest: the most probable of the wanted labels in any window, whether or not it is a detection.
        recorded: when the recording was made, where its file or its name says so.
        channel: that it was found in, from 1; None: in the mean of all.
    """

    path: str
    file: str
    seconds: float
    detections: tuple[Detection, ...]
    likeliest: tuple[str, float]
    recorded: RecordingTime | None = None
    channel: int | None = None


@dataclass(frozen=True)
class Wanted:
    """Which labels of a window are detections.

    Attributes:
        min_confidence: the lowest probability.
        top: how many labels of a window, most probable first, at most.
        labels: places (n,) of the labels that may be detections, in the head's order.
        merge: detections of a label that are at most so many seconds apart become one; None: each window has its own.

    Raises:
        OptionError: a value out of range.
    """

    min_confidence: float
    top: int
    labels: NDArray[np.int64]
    merge: float | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.min_confidence <= 1:
            raise OptionError(f"min confidence is {self.min_confidence:g}: give a probability from 0 to 1")
        if self.top < 1:
            raise OptionError(f"top is {self.top}: give the number of labels, 1 or more")
        if self.merge is not None and not 0 <= self.merge < float("inf"):
            raise OptionError(f"merge is {self.merge:g}: give seconds, 0 or more")


def wanted_labels(head: Head, file: Path | None) -> NDArray[np.int64]:
    """Places of a head's labels that a text file lists, one a line; all of them without a file.

    Empty lines and lines that begin with # do not count.

    Raises:
        OptionError: the file cannot be read, lists nothing, or a name that the head does not have.
    """
    if file is None:
        return np.arange(len(head.labels))
    try:
        lines = [line.strip() for line in file.read_text(encoding="utf-8-sig").splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        raise OptionError(f"labels {file} cannot be read ({error}): give a text file, one label a line") from error
    names = list(dict.fromkeys(line for line in lines if line and not line.startswith("#")))
    if not names:
        raise OptionError(f"labels {file} lists no label: give one a line")
    place = {label: number for number, label in enumerate(head.labels)}
    for name in names:
        if name not in place:
            near = difflib.get_close_matches(name, head.labels, n=3, cutoff=0.4)
            hint = f"; did you mean {' or '.join(map(repr, near))}?" if near else ""
            raise OptionError(f"labels {file}: {name!r} is none of the {len(head.labels)} labels of {head.name}{hint}")
    return np.array(sorted(place[name] for name in names), dtype=np.int64)


def find_detections(
    head: Head,
    probabilities: NDArray[np.float32],
    starts: NDArray[np.float64],
    ends: NDArray[np.float64],
    wanted: Wanted,
) -> tuple[Detection, ...]:
    """The detections in the windows of one recording, by start, then by probability.

    Args:
        head: whose labels they are.
        probabilities: (windows, labels).
        starts: seconds (windows,).
        ends: seconds (windows,).
        wanted: which they are.
    """
    chosen = probabilities[:, wanted.labels]
    order = np.argsort(-chosen, axis=1, kind="stable")[:, : wanted.top]
    found = [
        Detection(float(start), float(end), head.labels[wanted.labels[place]], float(row[place]))
        for row, places, start, end in zip(chosen, order, starts, ends, strict=True)
        for place in places
        if row[place] >= wanted.min_confidence
    ]
    return tuple(found) if wanted.merge is None else merged(found, wanted.merge)


def merged(detections: Sequence[Detection], gap: float) -> tuple[Detection, ...]:
    """Detections of a label that are at most `gap` seconds apart, or overlap, as one with the highest probability.

    Args:
        detections: of one recording, by start.
        gap: seconds.
    """
    last: dict[str, int] = {}
    joined: list[Detection] = []
    for found in detections:
        place = last.get(found.label)
        # Times of windows are sums of seconds: a microsecond is no gap.
        if place is not None and found.start - joined[place].end <= gap + 1e-6:
            before = joined[place]
            end, probability = max(before.end, found.end), max(before.probability, found.probability)
            joined[place] = Detection(before.start, end, found.label, probability)
        else:
            last[found.label] = len(joined)
            joined.append(found)
    return tuple(sorted(joined, key=lambda d: (d.start, -d.probability)))
