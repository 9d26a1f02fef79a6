"""Files and folders to labels with probabilities, clip by clip, in bounded memory."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, closing, contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sondino.audio.crashes import crash_marks
from sondino.audio.signal import Scale
from sondino.audio.windows import merge
from sondino.embedding.files import Progress, list_inputs
from sondino.encoder.head import Head
from sondino.encoder.pipeline import Embedded, Sound, embed_sounds, readers, resolve_windowing
from sondino.errors import OptionError, SondinoError
from sondino.files import make_folder, new_file, thread_count
from sondino.model.model import Model
from sondino.text import CsvWriter, escape

COLUMNS = ("id", "window", "start", "end", "rank", "label", "probability")

Ranking = list[tuple[str, float]]
"""Labels with their probabilities, highest first."""


@dataclass(frozen=True)
class ClipPrediction:
    """The labels of one clip.

    Attributes:
        id: the file.
        seconds: its length.
        labels: the most probable labels of the clip, from the mean of its windows' embeddings.
        windows: start and end in seconds and the most probable labels of each window; empty without `per_window`.
    """

    id: str
    seconds: float
    labels: Ranking
    windows: list[tuple[float, float, Ranking]] = field(default_factory=list)


@dataclass
class ClassifyReport:
    """What `classify_files` did: files in the output, seconds of sound, (path, reason) of every file that is not."""

    files: int = 0
    seconds: float = 0.0
    skipped: list[tuple[str, str]] = field(default_factory=list)


def classify_files(
    inputs: str | Path | Sequence[str | Path],
    model: Model,
    output: str | Path | None = None,
    per_window: bool = False,
    top: int = 3,
    threads: int | None = None,
    *,
    scale: Scale = "none",
    show: Callable[[ClipPrediction], None] | None = None,
    progress: Progress | None = None,
) -> ClassifyReport:
    """Classify files and folders with a model's head.

    Args:
        inputs: files and folders; ids are as in `embed_files`.
        model: has a head.
        output: .csv (a row for each label of each clip: id, window, start, end, rank, label, probability; window is
            empty for the whole clip) or .jsonl (an object a clip); written at the end.
        per_window: also the labels of each window.
        top: number of labels, by probability.
        threads: as in `embed_files`.
        scale: as in `embed_files`.
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
    if model.head is None:
        raise OptionError(
            f"{model.name} has no head: fit one with `sondino probe`, or name one, such as --head esc50 for "
            "ssondo/matpac-mobilenetv3"
        )
    if top < 1:
        raise OptionError(f"top is {top}: give the number of labels, 1 or more")
    write = _writer_for(None if output is None else Path(output))
    files, skipped = list_inputs([inputs] if isinstance(inputs, (str, Path)) else list(inputs))
    ahead = readers(thread_count(model.threads if threads is None else threads))
    windowing = resolve_windowing(model)
    report = ClassifyReport(skipped=list(skipped))
    sounds: list[Sound] = [file.path for file in files]
    # Within the output's lock: the marks are those of one run.
    marks = nullcontext() if output is None else crash_marks(Path(output).parent, Path(output).name)
    with write as put, marks, closing(embed_sounds(model, sounds, windowing, per_window, ahead, scale)) as found:
        for clip in found:
            file = files[clip.index]
            if clip.error is not None:
                report.skipped.append((file.path, str(clip.error).removeprefix(f"{file.path}: ")))
            else:
                prediction = _predict_clip(model.head, file.id, clip, windowing.window, top, per_window)
                put(prediction)
                if show is not None:
                    show(prediction)
                report.files += 1
                report.seconds += clip.seconds
            if progress is not None:
                progress(clip.index + 1, len(files), report.seconds)
        if report.files == 0:
            path, reason = report.skipped[len(skipped)]
            raise SondinoError(f"none of the {len(files)} files could be decoded; {path}: {reason}")
    return report


def _predict_clip(
    head: Head, name: str, clip: Embedded, window: float | None, top: int, per_window: bool
) -> ClipPrediction:
    embeddings = clip.embeddings
    if not per_window:
        return ClipPrediction(name, clip.seconds, _ranked(head, embeddings, top)[0])
    ends = np.minimum(clip.starts + (np.inf if window is None else window), clip.seconds)
    whole = merge(embeddings, ends - clip.starts)  # as `embed` averages them: by their real samples
    spans = zip(clip.starts.tolist(), ends.tolist(), _ranked(head, embeddings, top), strict=True)
    return ClipPrediction(name, clip.seconds, _ranked(head, whole[None], top)[0], list(spans))


def _ranked(head: Head, embeddings: NDArray[np.float32], top: int) -> list[Ranking]:
    return [head.top(row, top) for row in head.probabilities(embeddings)]


# ---- output ---------------------------------------------------------------------------------------------------


def _writer_for(output: Path | None) -> AbstractContextManager[Callable[[ClipPrediction], None]]:
    if output is None:
        return _nowhere()
    writers = {".csv": _csv, ".jsonl": _json_lines}
    if output.suffix.lower() not in writers:
        raise OptionError(f"output {output} must end in {' or '.join(writers)}")
    if output.is_dir():
        raise OptionError(f"output {output} is a folder; name a file")
    return writers[output.suffix.lower()](output)


@contextmanager
def _nowhere() -> Iterator[Callable[[ClipPrediction], None]]:
    yield lambda prediction: None


@contextmanager
def _csv(output: Path) -> Iterator[Callable[[ClipPrediction], None]]:
    with _text_file(output) as file:
        table = CsvWriter(file)
        table.writerow(COLUMNS)

        def put(prediction: ClipPrediction) -> None:
            table.writerows(csv_rows(prediction))

        yield put


def csv_rows(prediction: ClipPrediction) -> Iterator[list[str]]:
    """A clip's rows of the table: the whole clip's labels, then each window's."""
    spans: list[tuple[str, float, float, Ranking]] = [("", 0.0, prediction.seconds, prediction.labels)]
    spans += [(str(number), *window) for number, window in enumerate(prediction.windows)]
    for number, start, end, labels in spans:
        for rank, (label, probability) in enumerate(labels, start=1):
            yield [prediction.id, number, f"{start:.6g}", f"{end:.6g}", str(rank), label, f"{probability:.6g}"]


@contextmanager
def _json_lines(output: Path) -> Iterator[Callable[[ClipPrediction], None]]:
    with _text_file(output) as file:

        def put(prediction: ClipPrediction) -> None:
            file.write(json.dumps(_as_dict(prediction), ensure_ascii=False) + "\n")

        yield put


def _as_dict(prediction: ClipPrediction) -> dict[str, Any]:
    def as_objects(labels: Ranking) -> list[dict[str, Any]]:
        return [{"label": escape(label), "probability": round(probability, 6)} for label, probability in labels]

    found: dict[str, Any] = {
        "id": escape(prediction.id),
        "seconds": round(prediction.seconds, 6),
        "labels": as_objects(prediction.labels),
    }
    if prediction.windows:
        found["windows"] = [
            {"start": round(start, 6), "end": round(end, 6), "labels": as_objects(labels)}
            for start, end, labels in prediction.windows
        ]
    return found


@contextmanager
def _text_file(output: Path) -> Iterator[io.TextIOWrapper]:
    """A text file that gets the output's name once it is complete."""
    make_folder(output.parent)
    with new_file(output, alone=True) as file:
        text = io.TextIOWrapper(file, encoding="utf-8", newline="")
        try:
            yield text
            text.flush()
        finally:
            text.detach()
