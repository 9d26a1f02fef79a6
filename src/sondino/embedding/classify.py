"""Files and folders to labels with probabilities, a row a clip or a row a detection, in bounded memory."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, closing, contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sondino.audio.crashes import crash_marks
from sondino.audio.signal import Scale
from sondino.audio.windows import Windowing
from sondino.embedding.detection_tables import text_file
from sondino.embedding.files import Input, Progress, list_inputs
from sondino.encoder.head import Head
from sondino.encoder.pipeline import Embedded, Sound, embed_sounds, readers, resolve_windowing
from sondino.errors import OptionError, SondinoError
from sondino.files import thread_count
from sondino.model.model import Model
from sondino.text import CsvWriter, escape

COLUMNS = ("path", "seconds", "rank", "label", "probability", "unlike")

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
    """

    path: str
    seconds: float
    labels: Ranking
    unlike: float | None = None


@dataclass
class ClassifyReport:
    """What `classify_files` or `detect_files` did.

    Attributes:
        files: files in the output.
        seconds: of sound in them.
        detections: rows of them, of `detect_files`.
        kept: files whose detections are from an earlier call (`skip_existing`).
        skipped: (path, reason) of every file that is not in the output.
    """

    files: int = 0
    seconds: float = 0.0
    detections: int = 0
    kept: int = 0
    skipped: list[tuple[str, str]] = field(default_factory=list)


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
) -> ClassifyReport:
    """Classify files and folders with a model's head: the labels of each clip as a whole.

    Args:
        inputs: files and folders; paths are as the ids of `embed_files`.
        model: has a head.
        output: .csv (a row for each label of each clip: path, seconds, rank, label, probability, unlike) or .jsonl (an
            object a clip); written at the end.
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
    files, skipped = list_inputs([inputs] if isinstance(inputs, (str, Path)) else list(inputs))
    report = ClassifyReport(skipped=list(skipped))
    # Within the output's lock: the marks are those of one run.
    marks = nullcontext() if output is None else crash_marks(Path(output).parent, Path(output).name)
    windowing = resolve_windowing(model)
    with write as put, marks:
        for file, clip in embedded_files(files, model, windowing, False, threads, scale, report, progress):
            probabilities = head.probabilities(clip.embeddings)[0]
            unlike = None if head.unlike is None else float(head.unlike.scores(clip.embeddings)[0])
            prediction = ClipPrediction(file.id, clip.seconds, head.top(probabilities, top), unlike)
            put(prediction)
            if show is not None:
                show(prediction)
    return report


def head_of(model: Model) -> Head:
    """A model's head; raises OptionError where it has none."""
    if model.head is None:
        raise OptionError(
            f"{model.name} has no head: fit one with `sondino probe`, or name one, such as --head esc50 for "
            "ssondo/matpac-mobilenetv3"
        )
    return model.head


def embedded_files(
    files: Sequence[Input],
    model: Model,
    windowing: Windowing,
    per_window: bool,
    threads: int | None,
    scale: Scale,
    report: ClassifyReport,
    progress: Progress | None,
) -> Iterator[tuple[Input, Embedded]]:
    """The embeddings of each file that can be decoded, in order, counted in the report; the others are listed there.

    Raises:
        SondinoError: no file could be decoded.
    """
    ahead = readers(thread_count(model.threads if threads is None else threads))
    sounds: list[Sound] = [file.path for file in files]
    passed_over = len(report.skipped)
    with closing(embed_sounds(model, sounds, windowing, per_window, ahead, scale)) as found:
        for clip in found:
            file = files[clip.index]
            if clip.error is not None:
                report.skipped.append((file.path, str(clip.error).removeprefix(f"{file.path}: ")))
            else:
                yield file, clip
                report.files += 1
                report.seconds += clip.seconds
            if progress is not None:
                progress(clip.index + 1, len(files), report.seconds)
    if report.files == 0 and files and not report.kept:
        path, reason = report.skipped[passed_over]
        raise SondinoError(f"none of the {len(files)} files could be decoded; {path}: {reason}")


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
    unlike = "" if prediction.unlike is None else f"{prediction.unlike:.6g}"
    for rank, (label, probability) in enumerate(prediction.labels, start=1):
        yield [prediction.path, f"{prediction.seconds:.6g}", str(rank), label, f"{probability:.6g}", unlike]


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
    unlike = None if prediction.unlike is None else round(prediction.unlike, 6)
    return {
        "path": escape(prediction.path),
        "seconds": round(prediction.seconds, 6),
        "labels": labels,
        "unlike": unlike,
    }
