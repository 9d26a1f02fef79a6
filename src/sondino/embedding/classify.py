"""Files and folders to labels with probabilities, a row a clip or a row a detection, in bounded memory."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from sondino.arrow import Kinds
from sondino.audio.crashes import crash_marks
from sondino.audio.signal import Scale
from sondino.embedding.append import Stays, finish_append, forget, keeping_rows, plan_append, settings_of
from sondino.embedding.files import Progress
from sondino.embedding.inputs import Channel, Given, Input, list_inputs
from sondino.embedding.label_tables import kept_csv, kept_json
from sondino.embedding.labelling import FilesReport, embedded_files, head_of, identity_of, keeping
from sondino.encoder.pipeline import resolve_windowing
from sondino.errors import OptionError
from sondino.files import text_file
from sondino.model.model import Model
from sondino.text import CsvWriter, escape

KINDS: Kinds = {
    "path": "string",
    "channel": "int32",
    "seconds": "float64",
    "rank": "int32",
    "label": "string",
    "probability": "float32",
    "unlike": "float32",
}
"""Columns of a table and their types; `channel` is there where each channel has rows of its own."""

Ranking = list[tuple[str, float]]
"""Labels with their probabilities, highest first."""


@dataclass(frozen=True)
class ClipPrediction:
    """The labels of one clip.

    Attributes:
        path: the file, below the folder that was given, or as it was given.
        seconds: its length.
        labels: the most probable labels of the clip, from the mean of its windows' embeddings.
        unlike: how unlike the head's training clips that mean is, 0 to 1; None: not known.
        channel: that was classified, from 1; None: the mean of all.
    """

    path: str
    seconds: float
    labels: Ranking
    unlike: float | None = None
    channel: int | None = None


def classify_files(
    inputs: Given | Sequence[Given],
    model: Model,
    output: str | Path | None = None,
    top: int = 3,
    threads: int | None = None,
    *,
    scale: Scale = "none",
    channel: Channel = "mean",
    append: bool = False,
    show: Callable[[ClipPrediction], None] | None = None,
    progress: Progress | None = None,
) -> FilesReport:
    """Classify files and folders with a model's head: the labels of each clip as a whole.

    Args:
        inputs: files and folders; paths are as the ids of `embed_files`.
        model: has a head.
        output: .csv (a row for each label of each clip: path, seconds, rank, label, probability, unlike) or .jsonl (an
            object a clip); written at the end. None: nothing is written, and without `show` the report holds the rows.
        top: number of labels, by probability.
        threads: as in `embed_files`.
        scale: as in `embed_files`.
        channel: as in `embed_files`; with "each", tables have a column channel after the path.
        append: keep what is in the table, as in `embed_files`.
        show: called with each clip.
        progress: called with (files done, files in all, seconds of sound so far).

    Raises:
        OptionError: the model has no head, or an option is out of range.
        SondinoError: no file could be decoded.

    Examples:
        >>> model = sondino.load("run/bundle")
        >>> sondino.classify_files("recordings", model, "labels.csv", top=1).files
        8
    """
    head = head_of(model)
    if top < 1:
        raise OptionError(f"top is {top}: give the number of labels, 1 or more")
    target = None if output is None else Path(output)
    if target is None and append:
        raise OptionError("append is for a table, and nothing is written: give an output, or leave it out")
    write = _writer_for(target)
    files, skipped = list_inputs(inputs, channel)
    by_channel = channel == "each"
    report = FilesReport(skipped=list(skipped), output=target, columns=kinds_of(by_channel))
    windowing = resolve_windowing(model)

    def each(put: Callable[[ClipPrediction], None], todo: Sequence[Input]) -> None:
        for file, clip in embedded_files(todo, model, windowing, False, threads, scale, report, progress):
            probabilities = head.probabilities(clip.embeddings)[0]
            unlike = None if head.unlike is None else float(head.unlike.scores(clip.embeddings)[0])
            ranking = head.top(probabilities, top)
            prediction = ClipPrediction(file.id, clip.seconds, ranking, unlike, file.channel)
            put(prediction)
            if show is not None:
                show(prediction)

    if target is None:
        each(keeping(report, show, lambda prediction: rows_of(prediction, by_channel)), files)
    elif append:
        options = {"head": identity_of(head), "channel": channel, "top": top, "per_clip": True}
        plan = plan_append(target, settings_of(model, windowing, scale, **options), files)
        report.kept = plan.kept
        if plan.todo:
            with (
                write(target, by_channel) as table,
                crash_marks(target.parent, target.name),
                keeping_rows(plan, table.copy, report.skipped),
            ):
                each(table.put, plan.todo)
        finish_append(plan, report)
    else:
        # Within the output's lock: the marks are those of one run.
        with write(target, by_channel) as table, crash_marks(target.parent, target.name):
            each(table.put, files)
            forget(target)
    return report


# ---- output ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class ClipTable:
    """A table of clips that is being written.

    Attributes:
        put: adds the labels of a clip.
        copy: adds the rows that stay of the table that it will replace.
    """

    put: Callable[[ClipPrediction], None]
    copy: Callable[[Stays], None]


def _writer_for(output: Path | None) -> Callable[[Path, bool], AbstractContextManager[ClipTable]]:
    writers = {".csv": _csv, ".jsonl": _json_lines}
    if output is not None and output.suffix.lower() not in writers:
        raise OptionError(f"output {output} must end in {' or '.join(writers)}")
    if output is not None and output.is_dir():
        raise OptionError(f"output {output} is a folder; name a file")
    return _csv if output is None else writers[output.suffix.lower()]


@contextmanager
def _csv(output: Path, by_channel: bool) -> Iterator[ClipTable]:
    with text_file(output) as file:
        put = clip_writer(file, "csv", by_channel)
        plain = csv.writer(file, lineterminator="\n")  # of rows as they stand in a table
        yield ClipTable(put, lambda stays: plain.writerows(kept_csv(output, list(kinds_of(by_channel)), stays)))


@contextmanager
def _json_lines(output: Path, by_channel: bool) -> Iterator[ClipTable]:
    with text_file(output) as file:
        put = clip_writer(file, "jsonl", by_channel)
        yield ClipTable(put, lambda stays: file.writelines(kept_json(output, stays)))


def kinds_of(by_channel: bool) -> Kinds:
    """The columns of a table, and their types."""
    return {name: kind for name, kind in KINDS.items() if by_channel or name != "channel"}


def clip_writer(
    file: io.TextIOWrapper, form: Literal["csv", "jsonl"], by_channel: bool = False
) -> Callable[[ClipPrediction], None]:
    """Writes the labels of clips into an open file; the line of names of a CSV is written at once."""
    if form == "jsonl":

        def put(prediction: ClipPrediction) -> None:
            file.write(json.dumps(_as_dict(prediction, by_channel), ensure_ascii=False) + "\n")

        return put
    table = CsvWriter(file)
    table.writerow(kinds_of(by_channel))
    return lambda prediction: table.writerows(map(_cell, row) for row in rows_of(prediction, by_channel))


def rows_of(prediction: ClipPrediction, by_channel: bool = False) -> Iterator[list[Any]]:
    """A clip's rows of the table, the most probable label first; unlike is None where it is not known."""
    channel = [prediction.channel] if by_channel else []
    for rank, (label, probability) in enumerate(prediction.labels, start=1):
        yield [prediction.path, *channel, prediction.seconds, rank, label, probability, prediction.unlike]


def _cell(value: Any) -> str:
    return "" if value is None else f"{value:.6g}" if isinstance(value, float) else str(value)


def _as_dict(prediction: ClipPrediction, by_channel: bool) -> dict[str, Any]:
    labels = [
        {"label": escape(label), "probability": round(probability, 6)} for label, probability in prediction.labels
    ]
    unlike = None if prediction.unlike is None else round(prediction.unlike, 6)
    return {
        "path": escape(prediction.path),
        **({"channel": prediction.channel} if by_channel else {}),
        "seconds": round(prediction.seconds, 6),
        "labels": labels,
        "unlike": unlike,
    }
