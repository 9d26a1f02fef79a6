"""The end of a run: bundle, measurements, report, and the table that is printed."""

import json
import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from sondino.benchmark.measure import costs_of, milliseconds_per_10s
from sondino.corpus.cluster_labels import describe_clusters
from sondino.corpus.clusters import Clusters
from sondino.corpus.table import Corpus
from sondino.corpus.targets import Targets
from sondino.distillation.recipe import Recipe, as_dict
from sondino.distillation.train import Distiller, TrainingData, score
from sondino.encoder.encoder import Encoder, resolve
from sondino.errors import OptionError
from sondino.files import unreadable, write_json
from sondino.frontend.logmel_torch import FFTLogMel
from sondino.metrics.agreement import neighbour_overlap
from sondino.model.write import write_bundle
from sondino.nets.saved import new_net
from sondino.nets.student import Student
from sondino.pretrained.load import load
from sondino.probing.probe import probe_labels
from sondino.reporting.map import map_2d
from sondino.reporting.run_page import keep_layout, report_run
from sondino.text import if_known, megabytes, millions, percent
from sondino.training.batches import Batches, spread
from sondino.version import __version__

Read = Callable[[int], NDArray[np.float32]]

MAP_ROWS = 2_000
REAL_CLIPS = 4


def teacher_facts(encoder: Encoder, spec: str) -> dict[str, Any]:
    """What the card and the table say of a teacher."""
    encoder = resolve(encoder)
    heard = encoder.lookup is None  # vectors that were computed elsewhere have no speed
    return {
        "spec": spec,
        "name": encoder.name,
        "dim": encoder.dim,
        "sample_rate": encoder.sample_rate,
        "licence": encoder.licence,
        "parameters": costs_of(encoder).parameters,
        "file_bytes": encoder.path.stat().st_size if encoder.path else None,
        "milliseconds_per_10s": milliseconds_per_10s(encoder.embed, encoder.sample_rate, 3, encoder.window)
        if heard
        else None,
    }


def finish_run(
    run: Path,
    recipe: Recipe,
    corpus: Corpus,
    teachers: Sequence[Mapping[str, Any]],
    targets: Sequence[Targets],
    clusters: Clusters | None,
    lessons: TrainingData,
    read: Read,
    distiller: Distiller,
    skipped: Sequence[tuple[str, str]],
    page: bool = True,
) -> None:
    """Write the bundle, measure it, and write summary.json and (where `page` asks for it) report.html."""
    made_with = versions(next(distiller.parameters()).device)
    metrics = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    best = max(metrics, key=score)
    student = distiller.student
    held_out = lessons.split.validation
    heard = np.sort(np.concatenate([lessons.split.train, held_out]))
    own = heard[corpus.column("view")[heard] == 0]
    rows = spread(own, MAP_ROWS)
    scores = {name: best[name] for name in ("validation_cosine", "validation_overlap") if name in best}
    write_bundle(
        run / "bundle",
        student,
        name=run.resolve().name,
        window=recipe.clip,
        short=recipe.short,
        real_clips=[read(int(row)) for row in spread(own, REAL_CLIPS)],
        facts={
            "teachers": list(teachers),
            "data": {"clips": len(own), "held_out": len(held_out), "hours": hours(corpus), "corpus": corpus.hash},
            "scores": scores,
            "recipe": as_dict(recipe),
            "versions": made_with,
        },
    )
    model = load(run / "bundle")
    rate = model.sample_rate
    # A few clips at a time: all at once would be gigabytes.
    pieces = np.array_split(rows, max(1, len(rows) // 64))
    student_vectors = np.concatenate([model.embed([(read(int(row)), rate) for row in piece]) for piece in pieces])
    torch.manual_seed(recipe.seed)
    untrained = new_net(run / "bundle")
    blank_vectors = embed_rows(untrained, read, rows, recipe)
    teacher_vectors = [t.matrix[rows].astype(np.float32) for t in targets]
    asked = np.flatnonzero(np.isin(rows, held_out))

    def overlap(vectors: NDArray[np.float32]) -> float | None:
        """Of held-out clips, whose neighbours are sought among all clips."""
        if not targets or len(asked) == 0:
            return None
        return float(np.mean([neighbour_overlap(vectors, t, queries=asked) for t in teacher_vectors]))

    table = [
        {"model": t["name"], "role": "teacher"}
        | {name: t[name] for name in ("parameters", "file_bytes", "milliseconds_per_10s")}
        for t in teachers
    ]
    table.append(
        {
            "model": f"{recipe.student} {recipe.width:g}",
            "role": "student",
            "parameters": model.config["parameters"],
            "macs_per_10s": model.config["macs_per_10s"],
            "file_bytes": (run / "bundle" / "model.onnx").stat().st_size,
            "milliseconds_per_10s": milliseconds_per_10s(model.embed, rate, window=model.window),
            "cosine": best.get("validation_cosine"),
            "neighbour_overlap": overlap(student_vectors),
        }
    )
    table.append({"model": "untrained student", "role": "untrained", "neighbour_overlap": overlap(blank_vectors)})
    add_probes(table, [*teacher_vectors, student_vectors, blank_vectors], corpus.column("label")[rows])
    summary: dict[str, Any] = {
        "table": table,
        "clips": len(own),
        "hours": hours(corpus),
        "held_out": len(held_out),
        "epochs": len(metrics),
        "best_epoch": best["epoch"],
        "training_seconds": round(sum(m["seconds"] for m in metrics), 1),
        "skipped": len(skipped),
        "unreadable": unreadable(skipped),
        "versions": made_with,
    }
    if clusters is not None:
        seen = asdict(describe_clusters(corpus, clusters))
        quality = {name: None if np.isnan(value) else value for name, value in clusters.quality.items()}
        summary["clusters"] = {"quality": quality, **seen}
    if page:
        assignment = clusters.assignment[rows] if clusters else np.full(len(rows), -1)
        keep_layout(run, map_2d(student_vectors, recipe.seed), assignment, corpus, rows)
    write_json(run / "summary.json", summary)
    if page:
        report_run(run)


def add_probes(table: Sequence[dict[str, Any]], vectors: Sequence[NDArray[np.float32]], labels: NDArray[Any]) -> None:
    """Add the accuracy of a linear probe on each model's vectors, where the clips have labels; training saw none."""
    labelled = np.array([label is not None for label in labels])
    if not labelled.any():
        return
    for row, of_model in zip(table, vectors, strict=True):
        try:
            probe = probe_labels(of_model[labelled], labels[labelled].astype(str))
        except OptionError:
            return  # too few clips of each label for a probe to say anything
        row["probe_accuracy"], row["probe_interval95"] = probe.value, probe.interval95


@torch.inference_mode()
def embed_rows(student: Student, read: Read, rows: NDArray[np.int64], recipe: Recipe) -> NDArray[np.float32]:
    """Vectors of some rows by a net in torch, (rows, dim)."""
    frontend = FFTLogMel(student.logmel)
    batches = Batches(read, round(recipe.clip * student.logmel.sample_rate), recipe.short)
    parts = np.array_split(rows, max(1, len(rows) // recipe.batch_size))
    student = student.eval()
    return np.concatenate([student(frontend(waveforms)).numpy() for _, waveforms in batches(parts)])


def hours(corpus: Corpus) -> float:
    """Hours of sound in the clips as they are, views not counted."""
    return round(float(corpus.column("duration")[corpus.column("view") == 0].sum()) / 3600, 3)


def versions(device: torch.device) -> dict[str, str]:
    """What made a run, for its record."""
    import onnxruntime

    threads = torch.get_num_threads()
    return {
        "sondino": __version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "onnxruntime": onnxruntime.__version__,
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else f"CPU, {threads} threads",
    }


def print_summary(run: Path) -> int:
    """Print a finished run's table and where its bundle and report are; 1 if files could not be read, else 0."""
    from rich.console import Console
    from rich.table import Table

    summary = json.loads((run / "summary.json").read_text())
    if not (run / "report.html").exists():  # it was stopped just before
        report_run(run)
    console = Console()
    shown = {
        "parameters": ("parameters", millions),
        "file_bytes": ("file", megabytes),
        "milliseconds_per_10s": ("ms / 10 s", lambda v: f"{v:.1f}"),
        "cosine": ("cosine", lambda v: f"{v:.3f}"),
        "neighbour_overlap": ("neighbours", lambda v: percent(v, 0)),
        "probe_accuracy": ("probe", percent),
    }
    columns = [name for name in shown if any(row.get(name) is not None for row in summary["table"])]
    table = Table("model", box=None, pad_edge=False, header_style="bold")
    for name in columns:
        table.add_column(shown[name][0], justify="right")
    for row in summary["table"]:
        table.add_row(row["model"], *(if_known(row.get(n), shown[n][1]) for n in columns))
    console.print(table)
    console.print(
        f"\n{summary['clips']} clips ({summary['hours']:.2f} h), {summary['held_out']} held out; "
        f"{summary['epochs']} epochs in {summary['training_seconds']:.0f} s, best {summary['best_epoch']}"
        "\ncosine and neighbours: to the teacher on held-out clips"
        + ("; probe: labels read off frozen vectors, over folds" if "probe_accuracy" in columns else ""),
        highlight=False,
    )
    console.print(
        f"bundle: {run / 'bundle'}\nreport: {(run / 'report.html').resolve()}", highlight=False, soft_wrap=True
    )
    if summary["skipped"]:
        console.print(
            f"skipped: {summary['skipped']}, listed in {run / 'skipped.csv'}", highlight=False, soft_wrap=True
        )
    return 1 if summary["unreadable"] else 0
