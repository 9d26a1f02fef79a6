"""Distil a teacher into a student: the whole line from a folder of sound to a bundle."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from accelerate import Accelerator

from sondino.corpus.clusters import Clusters, balanced_weights, fit_clusters
from sondino.corpus.table import Corpus, build_corpus, open_corpus
from sondino.corpus.targets import Targets, compute_targets
from sondino.corpus.views import add_views
from sondino.corpus.waveforms import open_waveforms
from sondino.distill.batches import split_by_file
from sondino.distill.recipe import Recipe, resolve_recipe
from sondino.distill.run import open_run, write_skipped
from sondino.distill.summary import finish_run, teacher_facts
from sondino.distill.train import Lessons, make_accelerator, train
from sondino.encoder import Encoder
from sondino.errors import OptionError, RunError
from sondino.progress import show
from sondino.students import build_student
from sondino.students.initial import load_initial
from sondino.teachers import load_teacher

if TYPE_CHECKING:
    from sondino.students.common import Student


def distill(
    audio: str | Path,
    *,
    out: str | Path,
    teacher: str | Encoder | Sequence[str | Encoder] | None = None,
    recipe: str | Path | Mapping[str, Any] | None = None,
    device: str = "auto",
    quiet: bool = False,
    **options: Any,
) -> Path:
    """Distil one teacher or several into a small student that gives nearly the same vectors, without labels.

    The same call goes on where it was stopped, and ends in the same weights.

    Args:
        audio: a folder of sound, a CSV or Parquet list of paths, tar shards, or a corpus already built.
        out: the run's folder; it will hold `bundle/`, `report.html`, `metrics.jsonl`, `recipe.yaml`, `skipped.csv`.
        teacher: what `sondino teachers` lists, such as "birdnet" or "onnx:FILE?rate=16000", or an encoder of your own.
        recipe: a YAML file or a mapping of `Recipe` entries.
        device: "auto", "cpu" or "cuda".
        quiet: show no progress.
        options: `Recipe` entries by name (student, width, clip, epochs, ...), which win over the recipe's.

    Returns:
        The folder of the bundle; open it with `sondino.load`.

    Raises:
        SondinoError: what is wrong, in a sentence; what is already done stays.
    """
    given = [teacher] if isinstance(teacher, str | Encoder) else list(teacher or ())
    own = {t.name: t for t in given if not isinstance(t, str)}
    names = tuple(t if isinstance(t, str) else t.name for t in given)
    plan = resolve_recipe(recipe, teacher=names or None, **options)
    # What can be wrong with the names is found before the run's folder is begun.
    encoders = {name: own[name] if name in own else load_teacher(name, device) for name in plan.teacher}
    if not Path(audio).exists():
        raise OptionError(
            f"{audio} does not exist: give a folder of sound, a CSV or Parquet list, tar shards or a corpus"
        )
    accelerator = make_accelerator(device, plan.precision, Path(out))
    with open_run(Path(out), plan, accelerator.is_main_process) as run:
        if (run / "summary.json").exists():
            return run / "bundle"
        # The first process gathers and the others then find it done; targets are shared out between them.
        with accelerator.main_process_first():
            corpus = gather(audio, run, plan, quiet)
        taught = [teach(corpus, name, encoder, accelerator, quiet) for name, encoder in encoders.items()]
        accelerator.wait_for_everyone()
        targets, teachers = [t for t, _ in taught], [facts for _, facts in taught]
        with accelerator.main_process_first():
            clusters = group(targets[0], plan) if targets else None
            lessons = plan_lessons(corpus, targets, clusters, plan)
            student = new_student(plan)
            with show(f"audio at {student.logmel.sample_rate} Hz", "clips", quiet) as progress:
                waveforms = open_waveforms(corpus, student.logmel.sample_rate, progress)
        skipped = write_skipped(run / "skipped.csv", [*corpus.skipped, *(s for t in targets for s in t.skipped)])
        with show("training", "clips", quiet) as progress:
            distiller = train(student, lessons, waveforms.read, plan, run, accelerator, progress)
        if accelerator.is_main_process:
            finish_run(run, plan, corpus, teachers, targets, clusters, lessons, waveforms.read, distiller, skipped)
    return run / "bundle"


def gather(audio: str | Path, run: Path, recipe: Recipe, quiet: bool) -> Corpus:
    """The corpus of a run: built once in the run's folder, or the one that `audio` already is; with its views."""
    if (Path(audio) / "corpus.json").exists():
        corpus = open_corpus(Path(audio))
        if corpus.clip != recipe.clip:
            raise RunError(
                f"{audio} was cut into clips of {corpus.clip:g} s and the recipe says {recipe.clip:g} s: "
                f"give --clip {corpus.clip:g}, or build a corpus with --clip {recipe.clip:g}"
            )
    else:
        with show("headers", "files", quiet) as progress:
            corpus = build_corpus(audio, run / "corpus", recipe.clip, progress=progress)
    return add_views(corpus, recipe.views, recipe.seed)


def teach(
    corpus: Corpus, spec: str, encoder: Encoder, accelerator: Accelerator, quiet: bool
) -> tuple[Targets, dict[str, Any]]:
    """A teacher's targets for a corpus (of several processes, each fills its share), and the facts of the teacher."""
    rank, world = accelerator.process_index, accelerator.num_processes
    with show(f"targets of {encoder.name}", "clips", quiet) as progress:
        return compute_targets(corpus, encoder, spec, progress=progress, rank=rank, world=world), teacher_facts(
            encoder, spec
        )


def group(targets: Targets, recipe: Recipe) -> Clusters:
    """The clusters that balanced sampling evens out; a small corpus has fewer, of five clips at least on average."""
    return fit_clusters(targets, min(recipe.clusters, max(1, int(targets.valid.sum()) // 5)), recipe.seed)


def new_student(recipe: Recipe) -> "Student":
    """The student before its first lesson: drawn by seed, or from a checkpoint."""
    torch.manual_seed(recipe.seed)
    student = build_student(recipe.student, recipe.width)
    if recipe.init:
        load_initial(student, Path(recipe.init))
    return student


def plan_lessons(corpus: Corpus, targets: Sequence[Targets], clusters: Clusters | None, recipe: Recipe) -> Lessons:
    """Who trains, who is held out, and how likely each clip is to be drawn."""
    usable = np.logical_and.reduce([t.valid for t in targets]) if targets else np.ones(len(corpus), dtype=bool)
    labels = corpus.label_numbers() if recipe.label_weight > 0 else None
    if recipe.label_weight == 1 and labels is not None:
        usable &= labels >= 0
    split = split_by_file(
        corpus.column("content").tolist(),
        corpus.column("split").tolist(),
        corpus.column("view"),
        corpus.column("mix_row"),
        usable,
        recipe.validation,
        recipe.seed,
    )
    if len(split.train) == 0:
        raise RunError(f"{corpus.folder} leaves no clip to train on: see its skipped.csv, and its split column if any")
    weights = usable.astype(np.float64)
    if recipe.sampling == "balanced" and clusters is not None:
        weights = balanced_weights(clusters.assignment) * usable
    return Lessons([t.matrix for t in targets], weights, split, labels)
