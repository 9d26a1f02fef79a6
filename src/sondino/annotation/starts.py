"""How the search for a label begins: an example, a label of the model's head, a group, or labels that are given."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sondino.annotation.choose import Space, similarity
from sondino.annotation.classifier import Embeddings, Rows, blocks, held_out
from sondino.annotation.windows import Store
from sondino.audio.fragment import stretch_of
from sondino.embedding.labelling import head_of
from sondino.errors import AudioError, OptionError, unknown_name
from sondino.lists import BETWEEN_LABELS, read_list
from sondino.model.model import Model
from sondino.tracks import read_track, track_of

GROUPS = 20
"""Groups that the windows are divided into."""
ROUNDS = 20
SAMPLE = 5000
"""Windows that the groups are found among, and given labels that a classifier is fitted on."""
LABEL, GROUP, RANDOM = "label:", "group:", "random"


def start_scores(by: str, store: Store, model: Model, space: Space) -> NDArray[np.float32] | None:
    """How much each window (windows,) is like a start; None for "random".

    Args:
        by: an example file, a stretch ("x.wav#t=1,2"), "label:dog" (of the model's head), "group:3", or "random".
        store: the windows.
        model: that embedded them.
        space: of the archive.

    Raises:
        OptionError: there is no such label or group, or the model has no head.
        AudioError: there is no such file, or it cannot be decoded.
    """
    if by == RANDOM:
        return None
    if by.startswith(LABEL):
        return _head_scores(by.removeprefix(LABEL), store.embeddings, model)
    if by.startswith(GROUP):
        number = by.removeprefix(GROUP)
        if not number.isdecimal() or not 1 <= int(number) <= GROUPS:
            raise OptionError(f"start {by!r} names no group: give group:1 to group:{GROUPS}")
        centres = group_centres(store.embeddings, space, np.flatnonzero(store.alive))
        return _to_centre(store.embeddings, space, centres[min(int(number), len(centres)) - 1])
    path = Path(by).expanduser()
    if not Path(stretch_of(str(path)).file).is_file():
        raise AudioError(f"start {by!r} is no file: give a file, x.wav#t=1,2, {LABEL}NAME, {GROUP}NUMBER or {RANDOM}")
    return similarity(store.embeddings, space, model.embed_windows(str(path))[0])


def _head_scores(label: str, embeddings: Embeddings, model: Model) -> NDArray[np.float32]:
    head = head_of(model)
    places = {name.casefold(): place for place, name in enumerate(head.labels)}
    if label.casefold() not in places:
        raise unknown_name("label", label, head.labels) if len(head.labels) <= 50 else _unknown_of_many(label, places)
    place = places[label.casefold()]
    found = np.empty(len(embeddings), np.float32)
    for block in blocks(len(embeddings)):
        found[block] = head.logits(np.asarray(embeddings[block], np.float32))[:, place]
    return found


def _unknown_of_many(label: str, names: Iterable[str]) -> OptionError:
    near = [name for name in names if label.casefold() in name][:5]
    hint = (
        f": did you mean {' or '.join(map(repr, near))}?" if near else "; `sondino classify` lists some of its labels"
    )
    return OptionError(f"the model's head has no label {label[:200]!r}{hint}")


def group_centres(embeddings: Embeddings, space: Space, alive: Rows) -> NDArray[np.float32]:
    """The centres (groups, dim), of length 1, of groups of alike windows, the largest first (k-means on the sphere)."""
    rows = alive[np.linspace(0, len(alive) - 1, min(SAMPLE, len(alive))).astype(np.int64)]
    units = space.units(embeddings[rows])
    centres = units[np.random.default_rng(0).permutation(len(units))[:GROUPS]].copy()
    nearest = np.zeros(len(units), np.int64)
    for _ in range(ROUNDS):
        nearest = (units @ centres.T).argmax(1)
        for number in range(len(centres)):
            if (nearest == number).any():
                centre = units[nearest == number].mean(0)
                centres[number] = centre / max(float(np.linalg.norm(centre)), 1e-12)
    sizes = np.bincount(nearest, minlength=len(centres))
    return centres[np.argsort(-sizes, kind="stable")]


def _to_centre(embeddings: Embeddings, space: Space, centre: NDArray[np.float32]) -> NDArray[np.float32]:
    found = np.empty(len(embeddings), np.float32)
    for block in blocks(len(embeddings)):
        found[block] = space.units(embeddings[block]) @ centre
    return found


# ---- given labels -------------------------------------------------------------------------------------------------


@dataclass
class Given:
    """Labels that are given, to be checked.

    Attributes:
        of: window -> its labels.
        labels: all of them, sorted.
        elsewhere: rows of a list, or labels of a track, that fit no window.
    """

    of: dict[int, tuple[str, ...]] = field(default_factory=dict)
    labels: tuple[str, ...] = ()
    elsewhere: int = 0


def read_given(source: Path, recordings: Path, store: Store) -> Given:
    """Read given labels, and find the windows that they are about.

    A label is of the windows that lie for at least half of their length in its stretch, or that hold half of it.

    Args:
        source: a list with columns path and label, a table of BirdNET's results (CSV) among them; or a folder, for
            label tracks and selection tables beside the recordings.
        recordings: the archive.
        store: its windows.

    Raises:
        OptionError: it cannot be read, or fits no recording.
    """
    rows = _of_tracks(store) if source.is_dir() else _of_list(source, recordings, store)
    given, names = Given(), set()
    found: dict[int, tuple[str, ...]] = {}
    for path, start, end, label in rows:
        windows = store.windows_in(path, start, end) if path else []
        given.elsewhere += not windows
        names.add(label)
        for window in windows:
            found[window] = tuple(dict.fromkeys((*found.get(window, ()), label)))
    if not found:
        raise OptionError(f"the labels of {source} fit no recording of {recordings}: check its paths and times")
    given.of, given.labels = found, tuple(sorted(names))
    return given


_Row = tuple[str, float, float, str]


def _of_tracks(store: Store) -> list[_Row]:
    rows = []
    for name, file in store.found.items():
        path = stretch_of(name).file
        track, _ = track_of(Path(file))
        if track is not None:
            for mark in read_track(track, Path(file)):
                if mark.label and mark.duration:
                    rows.append((path, mark.start, mark.start + mark.duration, mark.label))
    return rows


def _of_list(source: Path, recordings: Path, store: Store) -> list[_Row]:
    table = read_list(source, {}, labelled=True)
    table.warn()
    paths = {os.path.realpath(file): stretch_of(name).file for name, file in store.found.items()}
    folders = (source.parent, recordings if recordings.is_dir() else recordings.parent, Path())
    rows = []
    labels = table.text.get("label") or table.text.get("labels") or []
    nothing: list[float | None] = [None] * len(table)
    starts, durations = table.seconds.get("start", nothing), table.seconds.get("duration", nothing)
    for path, cell, start, duration in zip(table.text["path"], labels, starts, durations, strict=True):
        if start is None and duration is None:
            path, start, duration = stretch_of(path)
        there = [paths.get(os.path.realpath(folder / path)) for folder in folders]
        name = next((found for found in there if found is not None), "")
        first = start or 0.0
        for label in cell.split(BETWEEN_LABELS):
            if label.strip():
                rows.append((name, first, np.inf if duration is None else first + duration, label.strip()))
    return rows


def disagreement(
    embeddings: Embeddings, given: Given, label: str, known: dict[int, bool], owners: NDArray[np.int64]
) -> tuple[Rows, NDArray[np.float64]]:
    """The windows with given labels, and how much a classifier that did not see their recordings disagrees.

    Args:
        embeddings: (windows, dim).
        given: the labels.
        label: that is asked about.
        known: window -> whether it has the label, as answered: that counts before what is given.
        owners: the recording (windows given,) of each window, in ascending order of windows.

    Returns:
        The windows (n,), and values (n,) from 0 to 1: the probability of the opposite of what is given.
    """
    rows = np.array(sorted(given.of), np.int64)
    is_yes = np.array([known.get(int(row), label in given.of[int(row)]) for row in rows])
    if len(rows) > SAMPLE:
        some = np.sort(np.random.default_rng(0).permutation(len(rows))[:SAMPLE])
        rows, is_yes, owners = rows[some], is_yes[some], owners[some]
    order = np.concatenate([np.flatnonzero(is_yes), np.flatnonzero(~is_yes)])
    rows, is_yes, owners = rows[order], is_yes[order], owners[order]
    found = held_out(embeddings, rows[is_yes], rows[~is_yes], np.zeros(0, np.int64), owners)
    if found is None:
        return rows, np.zeros(len(rows))
    opposite = np.where(is_yes, -found, found)
    return rows, 1 / (1 + np.exp(-np.clip(opposite, -500, 500)))
