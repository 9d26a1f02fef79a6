"""Files and folders to labels with probabilities, a row a clip or a row a detection, in bounded memory."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sondino.audio.crashes import crash_marks
from sondino.audio.signal import Scale
from sondino.embedding.files import Progress
from sondino.embedding.inputs import list_inputs
from sondino.embedding.labelling import FilesReport, embedded_files, head_of
from sondino.encoder.pipeline import resolve_windowing
from sondino.errors import OptionError
from sondino.files import text_file
from sondino.model.model import Model
from sondino.text import CsvWriter, escape

COLUMNS = ("path", "seconds", "rank", "label", "probability")

Ranking = list[tuple[str, float]]
"""Labels with their probabilities, highest first."""


@dataclass(frozen=True)
class ClipPrediction:
    """The labels of one clip.

    Attributes:
        path: the file, below the folder that was given, or as it was given.
        seconds: its length.
        labels: the most probable labels of the clip, from the mean of its windows' embeddings.
    """

    path: str
    seconds: float
    labels: Ranking


def classify_files(
    inputs: str | Path | Sequence[str | Path],
    model: Model,
    output: str | Path | None = None,
    top: int = 3,
    threads: int | None = None,
    *,
    scale: Scale = "none",
    show: Callable[[ClipPrediction], None] | None = None,
    progress: Progress | None = None,
) -> FilesReport:
    """Classify files and folders with a model's head: the labels of each clip as a whole.

    Args:
        inputs: files and folders; paths are as the ids of `embed_files`.
        model: has a head.
        output: .csv (a row for each label of each clip: path, seconds, rank, label, probability) or .jsonl (an object
            a clip); written at the end.
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
    head = head_of(model)
    if top < 1:
        raise OptionError(f"top is {top}: give the number of labels, 1 or more")
    write = _writer_for(None if output is None else Path(output))
    files, skipped = list_inputs(inputs)
    report = FilesReport(skipped=list(skipped))
    # Within the output's lock: the marks are those of one run.
    marks = nullcontext() if output is None else crash_marks(Path(output).parent, Path(output).name)
    windowing = resolve_windowing(model)
    with write as put, marks:
        for file, clip in embedded_files(files, model, windowing, False, threads, scale, report, progress):
            probabilities = head.probabilities(clip.embeddings)[0]
            prediction = ClipPrediction(file.id, clip.seconds, head.top(probabilities, top))
            put(prediction)
            if show is not None:
                show(prediction)
    return report


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
    with text_file(output) as file:
        table = CsvWriter(file)
        table.writerow(COLUMNS)

        def put(prediction: ClipPrediction) -> None:
            table.writerows(csv_rows(prediction))

        yield put


def csv_rows(prediction: ClipPrediction) -> Iterator[list[str]]:
    """A clip's rows of the table, the most probable label first."""
    for rank, (label, probability) in enumerate(prediction.labels, start=1):
        yield [prediction.path, f"{prediction.seconds:.6g}", str(rank), label, f"{probability:.6g}"]


@contextmanager
def _json_lines(output: Path) -> Iterator[Callable[[ClipPrediction], None]]:
    with text_file(output) as file:

        def put(prediction: ClipPrediction) -> None:
            file.write(json.dumps(_as_dict(prediction), ensure_ascii=False) + "\n")

        yield put


def _as_dict(prediction: ClipPrediction) -> dict[str, Any]:
    labels = [
        {"label": escape(label), "probability": round(probability, 6)} for label, probability in prediction.labels
    ]
    return {"path": escape(prediction.path), "seconds": round(prediction.seconds, 6), "labels": labels}
