"""Labelled sound: a folder with a subfolder a label, or a CSV list. Which clips there are, and their splits."""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from sondino.audio.fragment import path_of, stretch_of
from sondino.audio.walk import GONE, nothing_usable, search_audio, why_unusable
from sondino.errors import AudioError, OptionError
from sondino.lists import BETWEEN_LABELS, SPLITS, SoundList, read_list
from sondino.tracks import FEWEST_SECONDS, read_track, track_of

MultiLabel = Literal["auto", "yes", "no"]
SplitKind = Literal["fold", "split", "none"]
"""Whether a list gives each clip a fold, or train, valid or test, or leaves it to us."""

_END = 65_536
FEWEST = 2
"""Clips that a label needs: one to train on, one to score."""
BACKGROUND = "background"
"""The class of clips without any label, where a clip has one label."""
NO_LABEL = (BACKGROUND, "noise")
"""Names, in any case, of folders and labels whose clips have no label."""


@dataclass(frozen=True, slots=True)
class Clip:
    """One labelled file, or a stretch of one.

    Attributes:
        id: its path as the list has it, or below the folder.
        path: where it lies; of a stretch with its times (`sondino.audio.fragment`).
        labels: one, or several, or none where clips may have several.
        fold: its fold, or "train", "valid" or "test"; "" where the list gives none.
        source: clips that share it are from one recording and stay on one side of every split.
        known: labels of which it is known whether the clip has them; None: of all.
    """

    id: str
    path: str
    labels: tuple[str, ...]
    fold: str = ""
    source: str = ""
    known: tuple[str, ...] | None = None


@dataclass(frozen=True)
class Labelled:
    """Labelled clips.

    Attributes:
        clips: in the order of the list, or sorted.
        labels: those that a head can be fitted for, sorted. Where clips without a label are a class, it is the last one
            and is called `BACKGROUND`.
        multi_label: whether a clip may have several.
        split_kind: what `Clip.fold` means.
        skipped: (path, reason) of clips that cannot be used.
        notes: messages on what was left out or may mislead.
        background: `BACKGROUND` where that is the last of `labels` and no label; "" otherwise.
    """

    clips: tuple[Clip, ...]
    labels: tuple[str, ...]
    multi_label: bool
    split_kind: SplitKind = "none"
    skipped: tuple[tuple[str, str], ...] = ()
    notes: tuple[str, ...] = ()
    background: str = ""

    def targets(self) -> NDArray[np.bool_]:
        """Which clip has which label, (clips, labels)."""
        marks = np.zeros((len(self.clips), len(self.labels)), dtype=bool)
        marks[self._places([clip.labels for clip in self.clips])] = True
        return marks

    def known(self) -> NDArray[np.bool_]:
        """Of which clip and label it is known whether the clip has it, (clips, labels)."""
        named = [clip.known for clip in self.clips]
        marks = np.array([names is None for names in named], dtype=bool)[:, None].repeat(len(self.labels), axis=1)
        marks[self._places([names or () for names in named])] = True
        return marks

    def _places(self, named: Sequence[tuple[str, ...]]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Row and column of every label that is one of ours, of label names for each clip."""
        column = {label: number for number, label in enumerate(self.labels)}
        columns = np.array([column.get(name, -1) for names in named for name in names], dtype=np.int64)
        rows = np.arange(len(named)).repeat(np.array([len(names) for names in named], dtype=np.int64))
        return rows[columns >= 0], columns[columns >= 0]

    def folds(self) -> NDArray[np.str_]:
        """The fold of each clip, (clips,)."""
        return np.array([clip.fold for clip in self.clips], dtype=np.str_)

    def sources(self) -> NDArray[np.int64]:
        """The number (clips,) of each clip's recording."""
        names = [clip.source for clip in self.clips]
        number = {name: place for place, name in enumerate(sorted(set(names)))}
        return np.array([number[name] for name in names], dtype=np.int64)

    def without(self, lost: Mapping[str, str]) -> Labelled:
        """The clips that are left when some turn out to be unusable.

        Args:
            lost: path -> reason.

        Raises:
            OptionError: fewer than two labels are left.
        """
        clips = tuple(clip for clip in self.clips if clip.path not in lost)
        skipped = self.skipped + tuple((clip.path, lost[clip.path]) for clip in self.clips if clip.path in lost)
        left = replace(self, clips=clips, skipped=skipped)
        return _checked(left, "the clips that could be decoded") if self.labels else left


def read_labelled(
    audio: str | Path,
    labels: str | Path | None = None,
    multi_label: MultiLabel = "auto",
    *,
    fewest: int = FEWEST,
    background: Sequence[str] = NO_LABEL,
) -> Labelled:
    """Find labelled clips.

    A label needs `fewest` clips; one with fewer is left out and named in `notes`. Files that do not exist are listed in
    `skipped` and stop nothing.

    Args:
        audio: a folder whose subfolders are the labels (deeper folders belong to the label at the top), or whose
            recordings have label tracks of Audacity or selection tables of Raven beside them; with `labels` the folder
            that its paths may start from; or a CSV itself.
        labels: CSV or Parquet with columns path (from the list's folder or from `audio`), and label or labels (several
            in one cell with ";" between: then clips may have several). If wanted start with end or duration (seconds: a
            row is a stretch of its file), id, fold, or split (train, valid, test), and source (clips cut from one
            recording share it and stay on one side of every split, as stretches of one file do).
        multi_label: whether clips may have several labels; "auto": where the list gives any clip several.
        fewest: clips that a label needs.
        background: names, in any case, of folders or labels whose clips have no label. Where clips have one label they
            are a class of their own, `BACKGROUND`; where clips have several they have none of them.

    Raises:
        OptionError: no labels, one label only, a column that is missing, or one or a value that would not be used.
        AudioError: there is no such folder.
    """
    audio = Path(audio)
    if not audio.exists():
        raise AudioError(f"{audio}: no such file or folder; give a folder with a subfolder a label, or a CSV list")
    if labels is None and audio.is_file():
        audio, labels = audio.parent, audio
    found = _read_folder(audio) if labels is None else _read_list(Path(labels), audio)
    found, bare_clips = _without_background(found, background)
    several = next((clip for clip in found.clips if len(clip.labels) > 1), None)
    if multi_label == "no" and several is not None:
        raise OptionError(
            f"{several.id} has several labels ({', '.join(several.labels)}) and --multi-label is no: "
            "give it one, or leave --multi-label out"
        )
    many = several is not None if multi_label == "auto" else multi_label == "yes"
    if not many:
        bare = [clip for clip in found.clips if not clip.labels and clip.path not in bare_clips]
        skipped = tuple((clip.path, "has no label in the list") for clip in bare)
        clips = tuple(
            replace(clip, labels=(BACKGROUND,)) if clip.path in bare_clips else clip
            for clip in found.clips
            if clip.labels or clip.path in bare_clips
        )
        found = replace(found, clips=clips, skipped=found.skipped + skipped, background=BACKGROUND * bool(bare_clips))
    clips, notes = _with_sources(found.clips, found.split_kind)
    notes = found.notes + notes
    where = str(audio if labels is None else labels)
    return _checked(replace(found, clips=clips, multi_label=many, notes=notes), where, fewest)


def _without_background(found: Labelled, names: Sequence[str]) -> tuple[Labelled, set[str]]:
    """The clips without the labels that mean none, with a note, and the paths of those that have no other label."""
    meant = {name.casefold() for name in names}
    if meant:
        meant.add(BACKGROUND)  # the class of these clips has that name
    clips, bare, seen = [], set(), set()
    for clip in found.clips:
        left = tuple(label for label in clip.labels if label.casefold() not in meant)
        seen.update(set(clip.labels) - set(left))
        if clip.labels and not left:
            bare.add(clip.path)
        clips.append(replace(clip, labels=left))
    if not seen:
        return found, bare
    note = f"{len(bare)} clips of {', '.join(sorted(seen))} have no label; --background names what means that"
    return replace(found, clips=tuple(clips), notes=(*found.notes, note)), bare


def published(
    clips: Sequence[Clip],
    split_kind: SplitKind,
    multi_label: bool,
    where: str,
    skipped: Sequence[tuple[str, str]] = (),
    notes: Sequence[str] = (),
) -> Labelled:
    """Labelled clips of a published data set: its list is trusted, and no file is opened, since there may be many.

    Args:
        clips: with `source` as the data set gives it; "" where a clip is a recording of its own.
        split_kind: what `Clip.fold` means.
        multi_label: whether clips may have several labels.
        where: the data set, for messages.
        skipped: (path, reason) of clips that are not there.
        notes: messages to report.

    Raises:
        OptionError: fewer than two labels have clips.
    """
    named = tuple(clip if clip.source else replace(clip, source=clip.id) for clip in clips)
    torn = _torn(named, split_kind)
    messages = (*notes, f"{torn}, as {where} was published") if torn else tuple(notes)
    return _checked(Labelled(named, (), multi_label, split_kind, tuple(skipped), messages), where)


def _read_folder(folder: Path) -> Labelled:
    clips = []
    found = search_audio(folder)
    skipped = list(found.skipped)
    if not found.files:
        raise nothing_usable(skipped)
    tracks = {recording: track_of(recording) for recording in found.files}
    marked = sum(track is not None for track, _ in tracks.values())
    nested = any(recording.parent != folder for recording in tracks)
    if marked and (not nested or 2 * marked >= len(tracks)):
        return _read_tracks(folder, tracks, skipped)
    for path in found.files:
        inside = path.relative_to(folder)
        if len(inside.parts) == 1:
            skipped.append((str(path), "lies in no label's folder"))
        else:
            clips.append(Clip(inside.as_posix(), str(path), (inside.parts[0],)))
    if not clips:
        raise OptionError(
            f"{folder} has no subfolder with audio: put the clips of each label in a folder of its name, put label "
            "tracks or selection tables beside the recordings, or give a list of paths and labels, --labels CSV"
        )
    unused = (
        f"the subfolders are the labels: the label tracks or selection tables beside {marked} of {len(tracks)} "
        "recordings, fewer than half, are not used",
    )
    return Labelled(tuple(clips), (), False, "none", tuple(skipped), unused if marked else ())


def _read_tracks(
    folder: Path, tracks: Mapping[Path, tuple[Path | None, list[Path]]], skipped: Sequence[tuple[str, str]]
) -> Labelled:
    """Recordings with label tracks or selection tables beside them; those without are left out."""
    without = [recording for recording, (track, _) in tracks.items() if track is None]
    clips: dict[str, Clip] = {}
    points, notes = 0, []
    for recording, (track, others) in tracks.items():
        if track is None:
            continue
        if others:
            notes.append(f"of {recording.name} the labels in {track.name} are used, not {others[0].name}")
        for mark in read_track(track, recording):
            if not mark.label or not mark.duration:
                points += 1
                continue
            path = path_of(str(recording), mark.start, mark.duration)
            name = path_of(recording.relative_to(folder).as_posix(), mark.start, mark.duration)
            before = clips.get(path)
            labels = (*(before.labels if before else ()), mark.label)
            clips[path] = Clip(name, path, tuple(dict.fromkeys(labels)))
    if without:
        notes.append(
            f"{len(without)} of {len(tracks)} recordings have no label track or selection table beside them and are "
            f"left out, the first {without[0].relative_to(folder)}"
        )
    if points:
        notes.append(f"{points} labels have no text or no length (1 ms or more) and are left out")
    if not clips:
        raise OptionError(f"the label tracks in {folder} hold no label with a text and a length: add some")
    return Labelled(tuple(clips.values()), (), False, "none", tuple(skipped), tuple(notes))


def _read_list(file: Path, folder: Path) -> Labelled:
    rows = read_list(file, {}, labelled=True)
    split_kind: SplitKind = "fold" if "fold" in rows.text else "split" if "split" in rows.text else "none"
    clips: dict[str, Clip] = {}
    skipped = list(rows.skipped)
    cells = zip(*(rows.text.get(name) or [""] * len(rows) for name in ("path", "id", "source")), strict=True)
    labels = rows.text.get("label") or rows.text.get("labels") or []
    for row, ((path, name, source), cell) in enumerate(zip(cells, labels, strict=True)):
        start, duration = _times(rows, row)
        if not start and duration is None:
            path, start, duration = stretch_of(path)  # a path may name a stretch itself
        there = _find(path, (file.parent, folder))
        if there is None:
            reason = min((why_unusable(place / path) for place in (file.parent, folder)), key=lambda why: why == GONE)
            skipped.append((path, f"{rows.place(row)} of {file.name}: {reason}"))
            continue
        names = tuple(dict.fromkeys(label.strip() for label in cell.split(BETWEEN_LABELS) if label.strip()))
        there = path_of(there, start, duration)
        clip = Clip(name or path_of(path, start, duration), there, names, _fold(rows, row, split_kind), source)
        before = clips.setdefault(there, clip)
        if before.labels != clip.labels or before.fold != clip.fold:
            raise OptionError(
                f"{file}, {rows.place(row)}: {path} is listed twice and differs ({_shown(before)} and {_shown(clip)}): "
                f"give it one line, its labels in one cell with {BETWEEN_LABELS} between"
            )
    if not clips:
        places = " and ".join(dict.fromkeys(str(place) for place in (file.parent, folder)))
        first = f"; the first, {skipped[0][0]}, was sought in {places}" if skipped else ""
        raise OptionError(f"{file} lists no file that exists{first}: give paths from the list's folder or from AUDIO")
    if split_kind == "split" and {clip.fold for clip in clips.values()} == {"train"}:
        split_kind = "none"
    return Labelled(tuple(clips.values()), (), False, split_kind, tuple(skipped), rows.notes())


def _times(rows: SoundList, row: int) -> tuple[float, float | None]:
    """Where a row's stretch begins, and how long it is, in seconds; None: to the end.

    Raises:
        OptionError: a time below 0, or a stretch without length.
    """
    start = (rows.seconds["start"][row] if "start" in rows.seconds else None) or 0.0
    duration = rows.seconds["duration"][row] if "duration" in rows.seconds else None
    if start < 0 or (duration is not None and duration < FEWEST_SECONDS):
        length = "" if duration is None else f" and is {duration:g} s long"
        raise OptionError(
            f"{rows.file}, {rows.place(row)}: the stretch begins at {start:g} s{length}: give a start of 0 or more, "
            "and an end behind it"
        )
    return start, duration


def _find(path: str, folders: Iterable[Path]) -> str | None:
    # Not Path.is_file, which raises an error for names that are too long for the system.
    return next((str(folder / path) for folder in folders if os.path.isfile(folder / path)), None)  # noqa: PTH113


def _fold(rows: SoundList, row: int, split_kind: SplitKind) -> str:
    if split_kind == "none":
        return ""
    cell = rows.text[split_kind][row]
    if split_kind == "split":
        return SPLITS[cell]
    if not cell:
        where = f"{rows.file}, {rows.place(row)}: {rows.text['path'][row]}"
        raise OptionError(f"{where} has no fold: give every clip one, or drop the column")
    return cell


def _shown(clip: Clip) -> str:
    return ", ".join(clip.labels) + (f" in {clip.fold}" if clip.fold else "")


def _with_sources(clips: Sequence[Clip], split_kind: SplitKind) -> tuple[tuple[Clip, ...], tuple[str, ...]]:
    """Give every clip a source, files of the same bytes the same one; and a note where a source is on both sides."""
    files = [stretch_of(clip.path).file for clip in clips]
    whole = list(dict.fromkeys(files))
    sizes = {file: _size(file) for file in whole}
    shared = Counter(sizes.values())
    # Only files of one size, and of those the ones that begin and end the same, can hold the same bytes.
    ends = {file: _ends(file) if shared[sizes[file]] > 1 else None for file in whole}
    same_ends = Counter((sizes[file], ends[file]) for file in whole)
    copies = [file for file in whole if ends[file] is not None and same_ends[sizes[file], ends[file]] > 1]
    contents = {file: content for file in copies if (content := _content(file)) is not None}
    given: dict[str, str] = {}  # content -> the first source that was seen with it
    done = []
    for clip, file in zip(clips, files, strict=True):
        source = f"given {clip.source}" if clip.source else file
        if file in contents:
            source = given.setdefault(contents[file], source)
        done.append(replace(clip, source=source))
    torn = _torn(done, split_kind)
    return tuple(done), (f"{torn}, so the scores are too good",) if torn else ()


def _torn(clips: Sequence[Clip], split_kind: SplitKind) -> str:
    """A phrase on recordings with clips in several folds; "" where there are none."""
    folds: dict[str, str] = {}
    torn = {clip.source: None for clip in clips if folds.setdefault(clip.source, clip.fold) != clip.fold}
    if not torn:
        return ""
    first = next(iter(torn))
    names = [clip.id for clip in clips if clip.source == first]
    kind = "recording lies" if len(torn) == 1 else "recordings lie"
    return f"{len(torn)} {kind} in more than one {split_kind} (such as {' and '.join(names[:2])})"


def _size(path: str) -> int:
    try:
        return os.stat(path).st_size  # noqa: PTH116 - of thousands
    except OSError:  # reading it will report that
        return -1


def _ends(path: str) -> bytes | None:
    """The first and the last 64 kB of a file: enough to distinguish most files of one size. None: it cannot be read."""
    try:
        with open(path, "rb") as opened:  # noqa: PTH123
            first = opened.read(_END)
            opened.seek(max(0, os.fstat(opened.fileno()).st_size - _END))
            return hashlib.sha256(first + opened.read(_END)).digest()
    except OSError:
        return None


def _content(path: str) -> str | None:
    """The hash of a file. None: it cannot be read."""
    try:
        with open(path, "rb") as opened:  # noqa: PTH123
            return hashlib.file_digest(opened, "sha256").hexdigest()
    except OSError:
        return None


def _checked(labelled: Labelled, where: str, fewest: int = FEWEST) -> Labelled:
    """Leave out labels that have too few recordings or are on every clip, and refuse fewer than two."""
    recordings = Counter(
        label for _, label in {(clip.source, label) for clip in labelled.clips for label in clip.labels}
    )
    if not recordings:
        raise OptionError(f"no clip of {where} has a label: {_how()}")
    few = sorted(label for label, count in recordings.items() if count < fewest)
    everywhere = []
    if labelled.multi_label:
        counts = Counter(label for clip in labelled.clips for label in clip.labels)
        known = Counter(label for clip in labelled.clips if clip.known is not None for label in clip.known)
        free = sum(clip.known is None for clip in labelled.clips)
        everywhere = sorted(label for label, count in counts.items() if count == free + known[label])
    gone = {*few, *everywhere}
    notes = labelled.notes
    if few:
        notes += (f"left out, with fewer than {fewest} recordings: {_some(few)}",)
    if everywhere:
        notes += (f"left out, since every clip has it: {_some(everywhere)}",)
    background = labelled.background if labelled.background not in gone else ""
    left = tuple(sorted(recordings.keys() - gone, key=lambda label: (label == background, label)))
    if len(left) < (1 if labelled.multi_label else 2) or left == (background,):
        usable = f"only {left[0]}" if left else "none"
        raise OptionError(
            f"{where} has {usable} with {fewest} clips or more"
            + (f" (fewer: {_some(few)})" if few else "")
            + f", and a head needs two labels or more: {_how()}"
        )
    clips = labelled.clips
    if gone and labelled.multi_label:
        clips = tuple(replace(c, labels=tuple(label for label in c.labels if label not in gone)) for c in clips)
    elif gone:
        clips = tuple(clip for clip in clips if clip.labels[0] not in gone)
    return replace(labelled, clips=clips, labels=left, notes=notes, background=background)


def _how() -> str:
    return "put clips in a folder a label, or list them in a CSV of path and label"


def _some(names: Sequence[str], most: int = 10) -> str:
    rest = len(names) - most
    return ", ".join(names[:most]) + (f" and {rest} more" if rest > 0 else "")
