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
        unlike: how unlike the head's training clips the window is, 0 to 1; of several that were merged the least. None:
            not known.
    """

    start: float
    end: float
    label: str
    probability: float
    unlike: float | None = None


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
        max_unlike: the highest `Detection.unlike`; None: any.

    Raises:
        OptionError: a value out of range.
    """

    min_confidence: float
    top: int
    labels: NDArray[np.int64]
    merge: float | None = None
    max_unlike: float | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.min_confidence <= 1:
            raise OptionError(f"min confidence is {self.min_confidence:g}: give a probability from 0 to 1")
        if self.top < 1:
            raise OptionError(f"top is {self.top}: give the number of labels, 1 or more")
        if self.merge is not None and not 0 <= self.merge < float("inf"):
            raise OptionError(f"merge is {self.merge:g}: give seconds, 0 or more")
        if self.max_unlike is not None and not 0 <= self.max_unlike <= 1:
            raise OptionError(f"max unlike is {self.max_unlike:g}: give a share from 0 to 1")


def wanted_labels(head: Head, file: Path | None) -> NDArray[np.int64]:
    """Places of a head's labels that a text file lists, one a line; all of them without a file, but its background.

    Empty lines and lines that begin with # do not count.

    Raises:
        OptionError: the file cannot be read, lists nothing, or a name that the head does not have.
    """
    if file is None:
        return np.array([n for n, label in enumerate(head.labels) if label != head.background], dtype=np.int64)
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


def unlike_scores(head: Head, embeddings: NDArray[np.float32], max_unlike: float | None) -> NDArray[np.float32] | None:
    """How unlike the head's training clips embeddings (n, dim) are, (n,); None where it has no such score.

    Raises:
        OptionError: it has none, and a highest one is asked for.
    """
    if head.unlike is None:
        if max_unlike is not None:
            raise OptionError(
                f"max unlike is {max_unlike:g}, and the head {head.name} has no score of what is unlike its clips: "
                "make the classifier anew with `sondino probe` or `sondino finetune`, or leave it out"
            )
        return None
    return head.unlike.scores(embeddings)


def find_detections(
    head: Head,
    probabilities: NDArray[np.float32],
    starts: NDArray[np.float64],
    ends: NDArray[np.float64],
    wanted: Wanted,
    unlike: NDArray[np.float32] | None = None,
) -> tuple[Detection, ...]:
    """The detections in the windows of one recording, by start, then by probability.

    Args:
        head: whose labels they are.
        probabilities: (windows, labels).
        starts: seconds (windows,).
        ends: seconds (windows,).
        wanted: which they are.
        unlike: (windows,) how unlike the head's training clips each is; None: not known.
    """
    scores: list[float | None] = [None] * len(probabilities) if unlike is None else [float(of) for of in unlike]
    chosen = probabilities[:, wanted.labels]
    order = np.argsort(-chosen, axis=1, kind="stable")[:, : wanted.top]
    found = [
        Detection(float(start), float(end), head.labels[wanted.labels[place]], float(row[place]), score)
        for row, places, start, end, score in zip(chosen, order, starts, ends, scores, strict=True)
        if wanted.max_unlike is None or score is None or score <= wanted.max_unlike
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
            unlike = None if before.unlike is None or found.unlike is None else min(before.unlike, found.unlike)
            joined[place] = Detection(before.start, end, found.label, probability, unlike)
        else:
            last[found.label] = len(joined)
            joined.append(found)
    return tuple(sorted(joined, key=lambda d: (d.start, -d.probability)))
