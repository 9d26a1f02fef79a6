"""Files and folders to detections: which label, from when to when, in which recording."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from sondino.audio.crashes import crash_marks
from sondino.audio.fragment import stretch_of
from sondino.audio.recorded import recorded_at
from sondino.audio.signal import Scale
from sondino.embedding.append import finish_append, forget, keeping_rows, plan_append, settings_of, whole_path
from sondino.embedding.detection_tables import (
    GROWING,
    Format,
    file_of,
    format_of,
    kinds_of,
    one_table,
    table_rows,
    write_one,
)
from sondino.embedding.detections import Recording, Wanted, find_detections, unlike_scores, wanted_labels
from sondino.embedding.files import Progress
from sondino.embedding.inputs import Channel, Given, Input, list_inputs
from sondino.embedding.labelling import FilesReport, embedded_files, head_of, identity_of, keeping
from sondino.encoder.head import Head
from sondino.encoder.pipeline import Embedded, resolve_windowing
from sondino.errors import OptionError
from sondino.model.model import Model

MIN_CONFIDENCE = 0.25


@dataclass
class DetectReport(FilesReport):
    """What `detect_files` did; `to_arrow` and `to_pandas` give its table.

    Attributes:
        detections: in the files that it processed.
    """

    detections: int = 0


def detect_files(
    inputs: Given | Sequence[Given],
    model: Model,
    output: str | Path | None = None,
    *,
    min_confidence: float = MIN_CONFIDENCE,
    top: int = 3,
    hop: float | None = None,
    merge: float | None = None,
    labels: str | Path | None = None,
    format: Format | None = None,
    skip_existing: bool = False,
    append: bool = False,
    max_unlike: float | None = None,
    threads: int | None = None,
    scale: Scale = "none",
    channel: Channel = "mean",
    show: Callable[[Recording], None] | None = None,
    progress: Progress | None = None,
) -> DetectReport:
    """Find labels in recordings: a row a detection, with path, start, end, label, probability and time.

    Each window of a recording is classified with the model's head. A label of at least `min_confidence` in a window is
    a detection. Its time is when it was recorded, where the file or its name says so (`sondino.audio.recorded`).

    Args:
        inputs: files and folders; paths are as the ids of `embed_files`.
        model: has a head.
        output: .csv, .parquet or .jsonl: one table of all recordings, written at the end. A folder: a file for each
            recording, written once it is done. None: nothing is written, and without `show` the report holds the rows.
        min_confidence: the lowest probability of a detection.
        top: how many labels of a window are detections at most.
        hop: seconds from one window to the next; None: the model's. Smaller than its window, windows overlap.
        merge: detections of a label in one recording that are at most so many seconds apart, or overlap, become one,
            with the highest of their probabilities; 0 merges those that touch. None: none are merged.
        labels: a text file with the labels to look for, one a line; None: all.
        format: "csv", "parquet", "jsonl", "raven" (a selection table), "audacity" (a label track for each recording) or
            "kaleidoscope"; None: as the output's suffix says, CSV in a folder.
        skip_existing: leave out recordings whose file is in the folder already.
        append: keep what is in the table (.csv, .jsonl or .parquet), as in `embed_files`.
        max_unlike: leave out detections in windows that are more unlike the classifier's training clips than this share
            (0 to 1) of the windows of held-out clips; None: none.
        threads: as in `embed_files`.
        scale: as in `embed_files`.
        channel: as in `embed_files`; with "each", tables have a column channel after the path.
        show: called with each recording.
        progress: called with (files done, files in all, seconds of sound so far).

    Raises:
        OptionError: the model has no head, or an option is out of range.
        MissingExtra: Parquet without pyarrow.
        SondinoError: no file could be decoded.

    Examples:
        >>> model = sondino.load("run/bundle")
        >>> sondino.detect_files("recordings", model, "detections.csv", min_confidence=0.5, merge=0).files
        8
    """
    head = head_of(model)
    places = wanted_labels(head, None if labels is None else Path(labels))
    wanted = Wanted(min_confidence, top, places, merge, max_unlike)
    unlike_scores(head, np.zeros((0, head.dim), np.float32), max_unlike)  # raises where the head has none
    windowing = resolve_windowing(model, hop=hop)
    if hop is not None and windowing.window is not None and not 0 < hop <= windowing.window:
        raise OptionError(
            f"hop is {hop:g} s: give more than 0 and at most the model's window of {windowing.window:g} s"
        )
    target = None if output is None else Path(output)
    if target is None and format is not None:
        raise OptionError(f"format is {format}, and nothing is written: give an output, or leave it out")
    form: Format = "csv"
    apart = False
    if target is not None:
        form, apart = format_of(target, format)
    if skip_existing and not apart:
        raise OptionError("skip existing needs a file for each recording: name a folder as output")
    if append:
        _check_grows(target, form, apart)
    by_channel = channel == "each"
    if by_channel and form == "audacity":
        raise OptionError("a label track has no channel: give the number of one, or another format")
    files, skipped = list_inputs(inputs, channel)
    report = DetectReport(skipped=list(skipped), output=target, columns=kinds_of(by_channel))
    top_frequency = model.sample_rate / 2

    def each(put: Callable[[Input, Recording], None], todo: Sequence[Input]) -> None:
        for file, clip in embedded_files(todo, model, windowing, True, threads, scale, report, progress):
            recording = _recording(head, file, clip, windowing.window, wanted)
            put(file, recording)
            report.detections += len(recording.detections)
            if show is not None:
                show(recording)

    if target is None:
        keep = keeping(report, show, lambda recording: table_rows(recording, by_channel))
        each(lambda file, recording: keep(recording), files)
    elif apart:
        _check_names(target, files, form)
        todo = [f for f in files if not (skip_existing and file_of(target, f.id, form).exists())]
        report.kept = len(files) - len(todo)
        target.mkdir(parents=True, exist_ok=True)
        count = Counter(file.path for file in todo)  # channels of each; they follow each other
        doing: tuple[Input, list[Recording]] | None = None

        def write_channels() -> None:
            nonlocal doing
            if doing is not None:
                file, channels = doing
                write_one(file_of(target, file.id, form), channels, form, top_frequency, by_channel)
            doing = None

        def put(file: Input, recording: Recording) -> None:
            nonlocal doing
            if doing is None or doing[0].path != file.path:
                write_channels()  # of a file with a channel that failed
                doing = file, []
            doing[1].append(recording)
            if len(doing[1]) == count[file.path]:  # not before: a file with one of its channels would count as finished
                write_channels()

        with crash_marks(target):
            each(put, todo)
            write_channels()
    elif append:
        settings = settings_of(model, windowing, scale, channel=channel, **_settings(wanted, head))
        plan = plan_append(target, settings, files)
        report.kept = plan.kept
        if plan.todo:
            with (
                one_table(target, form, top_frequency, by_channel) as table,
                crash_marks(target.parent, target.name),
                keeping_rows(plan, table.copy, report.skipped),
            ):
                each(lambda file, recording: table.put(recording), plan.todo)
        finish_append(plan, report)
    else:
        # The marks are within the output's lock: they are those of one run.
        with one_table(target, form, top_frequency, by_channel) as table, crash_marks(target.parent, target.name):
            each(lambda file, recording: table.put(recording), files)
            forget(target)
    return report


def _settings(wanted: Wanted, head: Head) -> dict[str, Any]:
    """What of the options decides the rows of a file."""
    names = [head.labels[place] for place in wanted.labels]
    return {
        "head": identity_of(head),
        "min_confidence": wanted.min_confidence,
        "top": wanted.top,
        "merge": wanted.merge,
        "max_unlike": wanted.max_unlike,
        "labels": None if len(names) == len(head.labels) else ", ".join(names),
        "per_clip": False,
    }


def _check_grows(target: Path | None, form: Format, apart: bool) -> None:
    """Raises OptionError where an output cannot be added to."""
    if target is None:
        raise OptionError("append is for a table, and nothing is written: give an output, or leave it out")
    if apart:
        raise OptionError(f"output {target} is a folder, with a file of each recording: skip existing adds new ones")
    if form not in GROWING:
        raise OptionError(f"a {form} table cannot be added to: take {', '.join(GROWING[:-1])} or {GROWING[-1]}")


def _check_names(target: Path, files: Sequence[Input], form: Format) -> None:
    """Refuse recordings whose files in the folder would be one."""
    names: dict[Path, str] = {}
    for file in files:
        other = names.setdefault(file_of(target, file.id, form), file.path)
        if other != file.path:
            raise OptionError(
                f"{other} and {file.path} would have one file in {target}: classify them apart, or into one table"
            )


def _recording(head: Head, file: Input, clip: Embedded, window: float | None, wanted: Wanted) -> Recording:
    # Of a stretch of a file the times are those in the file.
    stretch = stretch_of(file.path)
    starts = clip.starts + stretch.start
    seconds = stretch.start + clip.seconds
    ends = np.minimum(starts + (np.inf if window is None else window), seconds)
    probabilities = head.probabilities(clip.embeddings)  # (windows, labels)
    highest = probabilities[:, wanted.labels].max(axis=0)
    best = int(wanted.labels[highest.argmax()])
    unlike = unlike_scores(head, clip.embeddings, wanted.max_unlike)
    found = find_detections(head, probabilities, starts, ends, wanted, unlike)
    path = whole_path(stretch.file)  # so that other programs find it from any folder
    name = stretch_of(file.id).file if stretch.file != file.path else file.id
    likeliest = head.labels[best], float(highest.max())
    return Recording(name, path, seconds, found, likeliest, recorded_at(stretch.file), file.channel)
