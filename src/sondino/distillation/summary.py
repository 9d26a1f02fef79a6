"""The end of a run: bundle, measurements, report, and the table that is printed."""

import json
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from sondino.audio.clips import real_clips
from sondino.benchmark.measure import costs_of, milliseconds_per_10s
from sondino.console import new_table, open_console, print_line
from sondino.corpus.cluster_labels import describe_clusters
from sondino.corpus.clusters import Clusters
from sondino.corpus.labels import RowLabels, row_labels
from sondino.corpus.table import Corpus
from sondino.corpus.targets import Targets
from sondino.distillation.label_head import TeacherLabels, clips_to_fit, fit_head
from sondino.distillation.recipe import Recipe, as_dict
from sondino.distillation.train import Distiller, TrainingData, score
from sondino.encoder.encoder import Encoder, resolve
from sondino.encoder.head import Head
from sondino.errors import OptionError
from sondino.files import read_json, sha256, unreadable, write_json
from sondino.frontend.logmel_torch import FFTLogMel
from sondino.metrics.agreement import neighbour_overlap
from sondino.metrics.classification import label_agreement
from sondino.metrics.collapse import norm_ok
from sondino.metrics.verdicts import of_norms, of_run, overlap_by_chance
from sondino.model.head_layers import as_head
from sondino.model.model import Model
from sondino.model.torch_model import TorchModel
from sondino.model.write import write_bundle
from sondino.nets.saved import new_net
from sondino.nets.student import Student
from sondino.pretrained.load import load
from sondino.probing.probe import probe_labels, probe_several
from sondino.progress import show
from sondino.reporting.entries import read_summary
from sondino.reporting.map import map_2d
from sondino.reporting.run_page import keep_layout, report_run
from sondino.text import if_known, megabytes, millions, percent, printable
from sondino.training.batches import Batches, spread
from sondino.training.versions import versions

Read = Callable[[int], NDArray[np.float32]]

MAP_ROWS = 2_000
FEWEST_CLIPS = 10
"""Held-out clips under which the agreement of labels says nothing."""
SCORES = (
    *("validation_cosine", "validation_overlap", "validation_accuracy", "validation_mAP"),
    *("label_top1", "label_mAP", "label_calibration_error"),
)
"""Measurements on held-out clips that a bundle records."""
REAL_CLIPS = 4
OTHER_CLIPS = 64
"""Samples that come with sondino whose embeddings are checked for outlier norms."""


@dataclass(frozen=True)
class RunData:
    """What a run was made from.

    Attributes:
        folder: of the run.
        recipe: fully resolved.
        corpus: clips and views.
        teachers: facts of each, from `teacher_facts`.
        targets: of each teacher.
        clusters: of the targets; None: there are none.
        data: targets, weights and split.
        read: gives the waveform of a row at the student's sample rate.
        skipped: (path, reason) of files left out.
        labels: those of a teacher, which the student's head learns; None: there are none.
    """

    folder: Path
    recipe: Recipe
    corpus: Corpus
    teachers: Sequence[Mapping[str, Any]]
    targets: Sequence[Targets]
    clusters: Clusters | None
    data: TrainingData
    read: Read
    skipped: Sequence[tuple[str, str]]
    labels: TeacherLabels | None

    @property
    def held_out(self) -> NDArray[np.int64]:
        """Rows of the validation clips."""
        return self.data.split.validation

    @cached_property
    def clips(self) -> NDArray[np.int64]:
        """Rows of the clips, views left out, that train or validate."""
        used = np.sort(np.concatenate([self.data.split.train, self.held_out]))
        return used[self.corpus.column("view")[used] == 0]

    @cached_property
    def rows(self) -> NDArray[np.int64]:
        """Rows of the clips that are measured and drawn: at most `MAP_ROWS`, spread over all."""
        return spread(self.clips, MAP_ROWS)

    @property
    def own_labels(self) -> RowLabels:
        """The labels of `rows` in the corpus."""
        return row_labels(self.corpus.column("label")[self.rows])


@dataclass(frozen=True)
class Embeddings:
    """Embeddings of a run's clips (clips, dim): by the student, by it before training, and by each teacher."""

    student: NDArray[np.float32]
    untrained: NDArray[np.float32]
    teachers: Sequence[NDArray[np.float32]]


def teacher_facts(encoder: Encoder, spec: str) -> dict[str, Any]:
    """The facts of a teacher for the card and the table."""
    encoder = resolve(encoder)
    runs = encoder.lookup is None  # precomputed embeddings have no speed
    return {
        "spec": spec,
        "name": encoder.name,
        "dim": encoder.dim,
        "sample_rate": encoder.sample_rate,
        "licence": encoder.licence,
        "sha256": sha256(encoder.path) if encoder.path and encoder.path.is_file() else None,
        "parameters": costs_of(encoder).parameters,
        "file_bytes": encoder.path.stat().st_size if encoder.path else None,
        "milliseconds_per_10s": milliseconds_per_10s(encoder.embed, encoder.sample_rate, 3, encoder.window)
        if runs
        else None,
    }


def finish_run(run: RunData, distiller: Distiller, page: bool = True, quiet: bool = False) -> None:
    """Write the bundle, measure it, and write summary.json and (with `page`) report.html."""
    made_with = versions(next(distiller.parameters()).device)
    metrics = [json.loads(line) for line in (run.folder / "metrics.jsonl").read_text().splitlines()]
    best = max(metrics, key=score)
    head, agreement = label_head(run, distiller.student, quiet)
    head = head or trained_head(run, distiller)
    with show("writing and measuring the student", quiet=quiet):
        write_student(run, distiller.student, head, {**best, **agreement}, made_with)
        model = load(run.folder / "bundle")
        embeddings = embed_clips(run, model)
        table = [
            *teacher_rows(run),
            student_row(run, model, {**best, **agreement}, embeddings),
            untrained_row(run, embeddings),
        ]
        add_probes(table, [*embeddings.teachers, embeddings.student, embeddings.untrained], run.own_labels)
        summary = {"table": table, **run_facts(run, metrics, best), "versions": made_with}
        summary |= count_norm_outliers(embeddings.student, embed_other_sound(run, model))
        for message in of_norms(summary):
            logging.getLogger(__name__).warning("%s", message)
        summary |= cluster_facts(run)
        if page:
            assignment = run.clusters.assignment[run.rows] if run.clusters else np.full(len(run.rows), -1)
            keep_layout(run.folder, map_2d(embeddings.student, run.recipe.seed), assignment, run.corpus, run.rows)
        write_json(run.folder / "summary.json", summary)
        if page:
            report_run(run.folder)


def embed_other_sound(run: RunData, model: Model) -> NDArray[np.float32]:
    """Embeddings (clips, dim) of samples that come with sondino, which may be unlike what was trained on."""
    clips = real_clips(
        model.sample_rate, round(run.recipe.clip * model.sample_rate), run.recipe.short, count=OTHER_CLIPS
    )
    return np.concatenate([model.embed(clip[None]) for clip in clips])


def count_norm_outliers(student: NDArray[np.float32], other: NDArray[np.float32]) -> dict[str, Any]:
    """Count embeddings far longer than the run's own usually are, among those (clips, dim) and those of other sound."""
    return {
        "norm_outliers": int((~norm_ok(student)).sum()),
        "other_sound": {"clips": len(other), "norm_outliers": int((~norm_ok(other, usual=student)).sum())},
    }


def label_head(run: RunData, student: Student, quiet: bool) -> tuple[Head | None, dict[str, float]]:
    """The student's head with a teacher's labels, and its agreement with the teacher on held-out clips."""
    if run.labels is None:
        return None, {}
    targets = run.targets[run.labels.teacher].matrix
    most = clips_to_fit(len(run.labels.head.labels), run.recipe.epochs * (run.recipe.draws or 0))
    rows = spread(run.data.split.train, most)
    embeddings = embed_rows(student, run.read, rows, run.recipe)
    with show("labels", "epochs", quiet) as progress:
        head = fit_head(embeddings, targets[rows], run.labels, run.recipe.seed, progress)
    held_out = spread(run.held_out, MAP_ROWS)
    if len(held_out) < FEWEST_CLIPS:
        return head, {}
    found = label_agreement(
        head.probabilities(embed_rows(student, run.read, held_out, run.recipe)),
        run.labels.head.probabilities(targets[held_out].astype(np.float32)),
        head.multi_label,
    )
    return head, {f"label_{name}": round(value, 5) for name, value in found.items()}


def trained_head(run: RunData, distiller: Distiller) -> Head | None:
    """The head that was trained on the corpus's own labels; None where none was, or where there is one class alone."""
    labels = run.data.labels
    if labels is None or distiller.label_head is None or (len(labels.names) < 2 and not labels.multi_label):
        return None
    layers = nn.Sequential(*(layer for layer in distiller.label_head.mlp if not isinstance(layer, nn.Dropout)))
    note = f"trained with the student on {int(labels.labelled[run.data.split.train].sum())} labelled clips"
    return as_head(layers, "labels of the corpus", labels.names, labels.multi_label, note)


def write_student(
    run: RunData, student: Student, head: Head | None, best: Mapping[str, Any], made_with: Mapping[str, str]
) -> None:
    """Write the bundle, its ONNX graphs compared with torch on a few clips."""
    model = TorchModel(
        student,
        name=run.folder.resolve().name,
        window=run.recipe.clip,
        short=run.recipe.short,
        facts={
            "teachers": list(run.teachers),
            "data": {
                "clips": len(run.clips),
                "held_out": len(run.held_out),
                "hours": hours(run.corpus),
                "corpus": run.corpus.hash,
            },
            "scores": {name: best[name] for name in SCORES if name in best},
            "recipe": as_dict(run.recipe),
            "versions": made_with,
        },
        head=head,
    )
    write_bundle(model, run.folder / "bundle", [run.read(int(row)) for row in spread(run.clips, REAL_CLIPS)])


def embed_clips(run: RunData, model: Model) -> Embeddings:
    """Embeddings of a run's clips by the bundle, by the same net before training, and by the teachers."""
    # A few clips at a time: all at once would be gigabytes.
    pieces = np.array_split(run.rows, max(1, len(run.rows) // 64))
    rate = model.sample_rate
    student = np.concatenate([model.embed([(run.read(int(row)), rate) for row in piece]) for piece in pieces])
    torch.manual_seed(run.recipe.seed)
    untrained = embed_rows(new_net(run.folder / "bundle"), run.read, run.rows, run.recipe)
    teachers = [targets.matrix[run.rows].astype(np.float32) for targets in run.targets]
    return Embeddings(student, untrained, teachers)


def overlap(run: RunData, embeddings: NDArray[np.float32], teachers: Sequence[NDArray[np.float32]]) -> float | None:
    """Neighbour overlap of held-out clips with the teachers, among all clips; None: no teacher or nothing held out."""
    queries = np.flatnonzero(np.isin(run.rows, run.held_out))
    if not teachers or len(queries) == 0:
        return None
    return float(np.mean([neighbour_overlap(embeddings, teacher, queries=queries) for teacher in teachers]))


def teacher_rows(run: RunData) -> list[dict[str, Any]]:
    """The rows of the teachers in the summary's table."""
    measured = ("parameters", "file_bytes", "milliseconds_per_10s")
    return [
        {"model": teacher["name"], "role": "teacher"} | {name: teacher[name] for name in measured}
        for teacher in run.teachers
    ]


def student_row(run: RunData, model: Model, best: Mapping[str, Any], embeddings: Embeddings) -> dict[str, Any]:
    """The row of the student, measured."""
    return {
        "model": f"{run.recipe.student} {run.recipe.width:g}",
        "role": "student",
        "parameters": model.config["parameters"],
        "macs_per_10s": model.config["macs_per_10s"],
        "file_bytes": (run.folder / "bundle" / "model.onnx").stat().st_size,
        "milliseconds_per_10s": milliseconds_per_10s(model.embed, model.sample_rate, window=model.window),
        "cosine": best.get("validation_cosine"),
        "label_top1": best.get("label_top1"),
        "label_mAP": best.get("label_mAP"),
        **{f"own_{name}": best[f"validation_{name}"] for name in ("accuracy", "mAP") if f"validation_{name}" in best},
        "neighbour_overlap": overlap(run, embeddings.student, embeddings.teachers),
    }


def untrained_row(run: RunData, embeddings: Embeddings) -> dict[str, Any]:
    """The row of the same net, randomly initialised."""
    found = overlap(run, embeddings.untrained, embeddings.teachers)
    return {"model": "untrained student", "role": "untrained", "neighbour_overlap": found}


def run_facts(run: RunData, metrics: Sequence[Mapping[str, Any]], best: Mapping[str, Any]) -> dict[str, Any]:
    """Counts, epochs and seconds of a run."""
    return {
        "clips": len(run.clips),
        "hours": hours(run.corpus),
        "held_out": len(run.held_out),
        "compared": len(run.rows),
        "epochs": len(metrics),
        "best_epoch": best["epoch"],
        "training_seconds": round(sum(m["seconds"] for m in metrics), 1),
        "skipped": len(run.skipped),
        "unreadable": unreadable(run.skipped),
    }


def cluster_facts(run: RunData) -> dict[str, Any]:
    """The clusters with their quality and their labels; nothing where there are none."""
    if run.clusters is None:
        return {}
    quality = {name: None if np.isnan(value) else value for name, value in run.clusters.quality.items()}
    return {"clusters": {"quality": quality, **asdict(describe_clusters(run.corpus, run.clusters))}}


def add_probes(table: Sequence[dict[str, Any]], embeddings: Sequence[NDArray[np.float32]], labels: RowLabels) -> None:
    """Add the score of a linear probe on each model's embeddings, if the clips have labels; training used none.

    It is the accuracy, `probe_accuracy`; where clips have several labels the mAP, `probe_mAP`.
    """
    rows = np.flatnonzero(labels.labelled)
    if len(rows) == 0:
        return
    given = [tuple(labels.names[number] for number in labels.of(row)) for row in rows.tolist()]
    for row, of_model in zip(table, embeddings, strict=True):
        try:
            if labels.multi_label:
                probe = probe_several(of_model[rows], given)
                row["probe_mAP"], row["probe_mAP_interval95"] = probe.value, probe.interval95
            else:
                probe = probe_labels(of_model[rows], [own[0] for own in given])
                row["probe_accuracy"], row["probe_interval95"] = probe.value, probe.interval95
        except OptionError:
            return  # too few clips per label


@torch.inference_mode()
def embed_rows(student: Student, read: Read, rows: NDArray[np.int64], recipe: Recipe) -> NDArray[np.float32]:
    """Embeddings (rows, dim) of some rows by a net in torch."""
    frontend = FFTLogMel(student.logmel)
    batches = Batches(read, round(recipe.clip * student.logmel.sample_rate), recipe.short)
    parts = np.array_split(rows, max(1, len(rows) // recipe.batch_size))
    student = student.eval()
    return np.concatenate([student(frontend(waveforms)).numpy() for _, waveforms in batches(parts)])


def hours(corpus: Corpus) -> float:
    """Hours of audio in the clips, views not counted."""
    return round(float(corpus.column("duration")[corpus.column("view") == 0].sum()) / 3600, 3)


def print_summary(run: Path) -> int:
    """Print a finished run's table and where its bundle and report are; 1 if files could not be read, else 0."""
    summary, facts = read_summary(run)
    if not (run / "report.html").exists():  # it was interrupted just before
        report_run(run)
    shown = {
        "parameters": ("parameters", millions),
        "file_bytes": ("file", megabytes),
        "milliseconds_per_10s": ("ms / 10 s", lambda v: f"{v:.1f}"),
        "cosine": ("cosine", lambda v: f"{v:.3f}"),
        "neighbour_overlap": ("neighbours", lambda v: percent(v, 0)),
        "label_top1": ("same label", lambda v: percent(v, 0)),
        "label_mAP": ("labels' mAP", percent),
        "probe_accuracy": ("probe", percent),
        "probe_mAP": ("probe's mAP", percent),
        "own_accuracy": ("own labels", percent),
        "own_mAP": ("own labels' mAP", percent),
    }
    columns = [name for name in shown if any(row.get(name) is not None for row in summary.get("table", []))]
    table = new_table()
    table.add_column("model")
    for name in columns:
        table.add_column(shown[name][0], justify="right")
    for row in summary.get("table", []):
        table.add_row(printable(row["model"]), *(if_known(row.get(n), shown[n][1]) for n in columns))
    open_console().print(table)
    by_chance = f"; neighbours by chance: {percent(overlap_by_chance(facts.compared), 0)}" if facts.compared else ""
    print_line(
        f"\n{facts.clips} clips ({facts.hours:.2f} h), {facts.held_out} held out; "
        f"{facts.epochs} epochs in {facts.training_seconds:.0f} s, best {facts.best_epoch}"
        f"\ncosine and neighbours: with the teacher, on held-out clips{by_chance}"
        + ("; labels: with the teacher's most probable ones" if "label_top1" in columns else "")
        + ("; probe: linear, on frozen embeddings, over folds" if {"probe_accuracy", "probe_mAP"} & {*columns} else "")
        + ("; own labels: of the corpus, on held-out clips" if {"own_accuracy", "own_mAP"} & {*columns} else "")
    )
    for verdict in of_run(summary):
        print_line(verdict)
    built = run / "corpus" / "corpus.json"
    for note in read_json(built).get("notes", ()) if built.exists() else ():
        print_line(f"note: {note}", error=True)
    print_line(f"bundle: {run / 'bundle'}\nreport: {(run / 'report.html').resolve()}")
    if facts.skipped:
        print_line(f"skipped: {facts.skipped}, listed in {run / 'skipped.csv'}")
    return 1 if facts.unreadable else 0
