"""Evaluation: probes on labelled tasks beside teacher, randomly initialised net and chance; agreement with the teacher.

`evaluate` writes a folder of results that `sondino report` turns into a page.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sondino.arrow import AsTable, arrow_of_dicts
from sondino.encoder.encoder import Encoder
from sondino.errors import MissingExtra, OptionError
from sondino.evaluation.models import RandomlyInitialised, Role, check_embeds_audio, model_facts
from sondino.evaluation.record import results_header, task_facts
from sondino.evaluation.retention import retention, score_rows, write_tables
from sondino.evaluation.scores import STAGES, score_task
from sondino.files import make_folder, thread_count, write_json
from sondino.locks import lock_or_fail
from sondino.metrics.agreement import agreement
from sondino.metrics.verdicts import agreement_by_chance, of_models
from sondino.model.model import Model
from sondino.pretrained.open import open_model
from sondino.probing.embeddings import task_embeddings
from sondino.probing.probe import check_probe
from sondino.progress import Report, show, stages
from sondino.tasks.labelled import Labelled
from sondino.tasks.own import read_unlabelled
from sondino.tasks.registry import read_tasks
from sondino.tasks.task import Task

if TYPE_CHECKING:
    import pyarrow

log = logging.getLogger(__name__)


@dataclass
class Evaluated(AsTable):
    """The outcome of `evaluate`; `to_arrow` and `to_pandas` give its scores, as in scores.csv.

    Attributes:
        folder: of the results.
        results: as in results.json.
        skipped: (path, reason) of files that could not be used.
    """

    folder: Path
    results: dict[str, Any]
    skipped: list[tuple[str, str]] = field(default_factory=list)

    def to_arrow(self) -> pyarrow.Table:
        """The scores for pyarrow, a row for each model and task; raises MissingExtra without pyarrow."""
        text = dict.fromkeys(("model", "task", "metric", "interval"), "string")
        return arrow_of_dicts(score_rows(self.results), {**text, "clips": "int64"})


@dataclass(frozen=True)
class EvaluatedModel:
    """A model in an evaluation.

    Attributes:
        name: in the results; unique.
        role: "teacher", "student", "untrained" or "supervised".
        source: path or name it was opened from.
        encoder: the model itself.
    """

    name: str
    role: Role
    source: str
    encoder: Encoder


def evaluate(
    models: Sequence[str | Encoder],
    out: str | Path,
    *,
    teacher: str | Encoder | None = None,
    supervised: str | Encoder | None = None,
    tasks: Sequence[str] = (),
    sounds: str | Path | None = None,
    data: str | Path | None = None,
    untrained: bool = True,
    seeds: int = 5,
    threads: int | None = None,
    device: str = "auto",
    quiet: bool = False,
    command: Sequence[str] = (),
) -> Evaluated:
    """Probe models on labelled tasks, and compare them with their teacher where there is one.

    Embeddings, scores and predictions are cached in the folder: the same call resumes where it was stopped, and one
    with more models or tasks computes only those.

    Args:
        models: bundles, runs, published names or checkpoints, teachers' names, or encoders.
        out: folder of the results: results.json, retention.md and .csv, scores.csv, agreement.csv, predictions/.
        teacher: what they are compared with.
        supervised: a student of the same architecture that was trained on labels, to compare with as well.
        tasks: names that `sondino tasks` lists, "all" for those found under `data`, labelled folders or CSVs.
        sounds: a folder or list of unlabelled audio, to compare models with their teacher on.
        data: where the tasks' data lie; None: $SONDINO_DATA, else the folder data.
        untrained: also probe the first student's net, randomly initialised; needs torch.
        seeds: how many times a probe draws folds, where a task has none of its own.
        threads: processor threads; None: all.
        device: where teachers run: "auto", "cpu" or "cuda".
        quiet: show no progress.
        command: the command line, for the record.

    Raises:
        SondinoError: the fault and what to do; finished work stays.

    Examples:
        >>> done = sondino.evaluate(["run/bundle"], "evaluation", tasks=["labelled"], untrained=False, quiet=True)
        >>> [score["task"] for score in done.results["scores"]]
        ['labelled']
    """
    if not models and teacher is None:
        raise OptionError("no model is named: give a bundle, a run, a published name or a teacher")
    if not tasks and sounds is None:
        raise OptionError("nothing to evaluate on: give --tasks (`sondino tasks` lists them), or --sounds")
    if sounds is not None and teacher is None:
        raise OptionError("--sounds compares models with their teacher: name it, --teacher")
    if seeds < 1:
        raise OptionError(f"seeds is {seeds}: give a whole number, 1 or more")
    thread_count(threads)
    on = read_tasks(tasks, None if data is None else Path(data)) if tasks else []
    for task, labelled in on:
        check_probe(task.title, labelled)
    unlabelled = [] if sounds is None else [read_unlabelled(Path(sounds))]
    opened, notes = _open_models(models, teacher, supervised, untrained and bool(tasks), threads, device)
    folder = make_folder(Path(out))
    with lock_or_fail(folder, "evaluation", "filling"):
        evaluation = _Evaluation(folder, opened, teacher is not None, seeds, threads, quiet)
        compared = [] if teacher is None else [*on, *unlabelled]
        with stages(len(opened) * (STAGES * len(on) + len(compared)) + 1):
            for task, labelled in on:
                evaluation.probe(task, labelled)
            for task, labelled in compared:
                evaluation.compare(task, labelled)
            results = evaluation.results(on, unlabelled, notes, command)
        write_json(folder / "results.json", results)
        write_tables(folder, results)
    return Evaluated(folder, results, evaluation.skipped)


def _open_models(
    models: Sequence[str | Encoder],
    teacher: str | Encoder | None,
    supervised: str | Encoder | None,
    untrained: bool,
    threads: int | None,
    device: str,
) -> tuple[list[EvaluatedModel], list[str]]:
    """All models, opened, each with a unique name; and notes on them."""
    asked: list[tuple[str | Encoder, Role | None]] = [] if teacher is None else [(teacher, "teacher")]
    asked += [(model, None) for model in models]
    asked += [] if supervised is None else [(supervised, "supervised")]
    opened: list[EvaluatedModel] = []
    notes: list[str] = []
    for given, as_what in asked:
        opened.append(add_model(given, opened, as_what, threads, device))
    student = next((one for one in opened if one.role == "student" and isinstance(one.encoder, Model)), None)
    if untrained and student is not None:
        try:
            blank = RandomlyInitialised(student.encoder)  # type: ignore[arg-type]
            opened.append(EvaluatedModel(_free(blank.name, "untrained", opened), "untrained", student.source, blank))
        except MissingExtra:
            notes.append("no randomly initialised net to compare with: that needs torch, pip install 'sondino[train]'")
        except OptionError:
            notes.append(
                f"no randomly initialised net to compare with: {student.name} is not one of the student architectures"
            )
    return opened, notes


def add_model(
    given: str | Encoder,
    others: Sequence[EvaluatedModel],
    role: Role | None = None,
    threads: int | None = None,
    device: str = "auto",
) -> EvaluatedModel:
    """A model opened, with a name that none of the others has.

    Args:
        given: what `open_model` takes, or an encoder.
        others: the models already in the evaluation.
        role: None: "teacher" where it is named as one, else "student".
        threads: as in `open_model`.
        device: as in `open_model`.

    Raises:
        SondinoError: there is no such model, or it cannot be opened.
    """
    encoder = open_model(given, threads, device) if isinstance(given, str) else given
    source = given if isinstance(given, str) else encoder.name
    check_embeds_audio(encoder, source)
    named_as_teacher = isinstance(given, str) and not isinstance(encoder, Model)
    return EvaluatedModel(
        _free(encoder.name, source, others), role or ("teacher" if named_as_teacher else "student"), source, encoder
    )


def _free(name: str, source: str, taken: Sequence[EvaluatedModel]) -> str:
    """A name that no other model has: its own, else with its source, else with a number."""
    names = {one.name for one in taken}
    for free in (name, f"{name} ({source})"):
        if free not in names:
            return free
    return next(f"{name} ({number})" for number in range(2, len(names) + 3) if f"{name} ({number})" not in names)


class _Evaluation:
    """An evaluation in progress; a teacher that the others are compared with is the first model."""

    def __init__(
        self,
        folder: Path,
        opened: Sequence[EvaluatedModel],
        has_teacher: bool,
        seeds: int,
        threads: int | None,
        quiet: bool,
    ) -> None:
        self.folder, self.models, self.seeds, self.threads, self.quiet = folder, opened, seeds, threads, quiet
        self.teacher = opened[0] if has_teacher else None
        self.scores: list[dict[str, Any]] = []
        self.agreements: list[dict[str, Any]] = []
        self.skipped: list[tuple[str, str]] = []
        self.tasks: list[dict[str, Any]] = []

    def probe(self, task: Task, labelled: Labelled) -> None:
        """Score every model on a task."""
        usable = labelled
        for one in self.models:
            entry, usable = score_task(one.encoder, one.name, task, labelled, self.folder, seeds=self.seeds,
                                      threads=self.threads, quiet=self.quiet)  # fmt: skip
            self.scores.append(entry)
        self.skip(usable)
        notes = [note for entry in self.scores if entry["task"] == task.name for note in entry["notes"]]
        self.tasks.append({**task_facts(task, usable), "notes": list(dict.fromkeys([*usable.notes, *notes]))})

    def compare(self, task: Task, labelled: Labelled) -> None:
        """Measure the agreement of every model's embeddings with the teacher's, without labels."""
        assert self.teacher is not None
        with show(f"{task.name}: embeddings of {self.teacher.name}", "clips", self.quiet) as progress:
            theirs, where = self.embeddings(self.teacher, task, labelled, progress)
        for one in self.models:
            if one is self.teacher:
                continue
            with show(f"{task.name}: agreement of {one.name}", "clips", self.quiet) as progress:
                ours, place = self.embeddings(one, task, labelled, progress)
                # Each may have failed on other clips.
                both = [path for path in where if path in place]
                rows = np.array([place[path] for path in both], int), np.array([where[path] for path in both], int)
                found = agreement(ours[rows[0]], theirs[rows[1]])
            self.agreements.append(
                {
                    "model": one.name,
                    "task": task.name,
                    **asdict(found),
                    **agreement_by_chance(found.clips, found.searched),
                }
            )

    def embeddings(
        self, one: EvaluatedModel, task: Task, labelled: Labelled, progress: Report
    ) -> tuple[np.ndarray, Mapping[str, int]]:
        """A model's embeddings (clips, dim), and the row of each path."""
        usable, embeddings, _ = task_embeddings(
            one.encoder, labelled, self.folder / "vectors", threads=self.threads, progress=progress
        )
        progress(len(labelled.clips), len(labelled.clips))  # of embeddings that were there, nothing is reported
        self.skip(usable)
        return embeddings, {clip.path: row for row, clip in enumerate(usable.clips)}

    def skip(self, usable: Labelled) -> None:
        """Record files that could not be used, each once."""
        self.skipped = list(dict.fromkeys([*self.skipped, *usable.skipped]))

    def results(
        self,
        on: Sequence[tuple[Task, Labelled]],
        unlabelled: Sequence[tuple[Task, Labelled]],
        notes: Sequence[str],
        command: Sequence[str],
    ) -> dict[str, Any]:
        """The content of results.json."""
        with show("size, speed and energy", "models", self.quiet) as progress:
            models = []
            for number, one in enumerate(self.models):
                models.append(model_facts(one.encoder, one.name, one.role, one.source))
                progress(number + 1, len(self.models))
        if any(facts["joules_per_10s"] is None for facts in models):
            notes = [*notes, "no energy: that needs codecarbon, pip install 'sondino[energy]'"]
        notes = [*notes, *of_models(models, self.scores)]
        titles = ", ".join(task.title for task, _ in [*on, *unlabelled])
        without = [{**task_facts(task, labelled), "metric": None} for task, labelled in unlabelled]
        return {
            **results_header("evaluation", titles, command, notes),
            "seeds": self.seeds,
            "tasks": [*self.tasks, *without],
            "models": models,
            "scores": self.scores,
            "retention": retention(
                models, self.tasks, self.scores, None if self.teacher is None else self.teacher.name
            ),
            "agreement": self.agreements,
        }
