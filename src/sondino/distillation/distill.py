"""Distil a teacher into a student: from a folder of audio to a bundle."""

# ruff: noqa: E402 - a missing extra is reported before anything imports it
from sondino.errors import require_extra

require_extra("train")

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from accelerate import Accelerator
from numpy.typing import NDArray

from sondino.corpus.clusters import Clusters, Embeddings, fit_clusters
from sondino.corpus.joined import JoinedTargets
from sondino.corpus.table import Corpus, build_corpus, open_corpus
from sondino.corpus.targets import Targets, compute_targets
from sondino.corpus.views import add_views
from sondino.corpus.waveforms import Waveforms, open_waveforms
from sondino.distillation.label_head import TeacherLabels, find_labels
from sondino.distillation.recipe import Recipe, as_dict, fully_resolved, initial_bundle, resolve_recipe, write_recipe
from sondino.distillation.sampling import balanced_weights, uniform_weights
from sondino.distillation.summary import RunData, finish_run, teacher_facts
from sondino.distillation.train import TrainingData, train
from sondino.encoder.check import check_encoder
from sondino.encoder.encoder import Encoder, resolve
from sondino.errors import EncoderError, OptionError, RunError
from sondino.files import whole_name, write_skipped
from sondino.frontend.logmel import RATES, LogMel
from sondino.nets.initial import load_initial
from sondino.nets.registry import build_student
from sondino.nets.saved import read_student
from sondino.pretrained.open import open_teacher
from sondino.progress import show, stages
from sondino.text import percent
from sondino.training.accelerator import broadcast_from_main, computes_in, make_accelerator
from sondino.training.batches import split_by_file
from sondino.training.run import check_same_config, open_run
from sondino.training.shared import check_shared

if TYPE_CHECKING:
    from sondino.nets.student import Student


def distill(
    audio: str | Path,
    *,
    out: str | Path,
    teacher: str | Encoder | Sequence[str | Encoder] | None = None,
    recipe: str | Path | Mapping[str, Any] | None = None,
    device: str = "auto",
    quiet: bool = False,
    page: bool = True,
    **options: Any,
) -> Path:
    """Distil one or several teachers into a small student whose embeddings are nearly theirs, without labels.

    If interrupted, the same call resumes, and ends in the same weights.

    Args:
        audio: a folder of audio, a CSV or Parquet list of paths, tar shards, or a corpus already built.
        out: the run's folder; it will hold `bundle/`, `report.html`, `metrics.jsonl`, `recipe.yaml`, `skipped.csv`.
        teacher: a kind that `list_teachers` lists, such as "birdnet" or "onnx:FILE?rate=16000"; a bundle, or a name or
            checkpoint that `load` opens; or any `Encoder`; or several in a list. If one ends in labels, so does the
            student (see `keep_labels`).
        recipe: a YAML file or a mapping of `Recipe` entries.
        device: "auto", "cpu" or "cuda".
        quiet: show no progress.
        page: write report.html at the end.
        options: `Recipe` entries by name (student, width, clip, epochs, ...), which override the recipe's.

    Returns:
        The folder of the bundle; open it with `sondino.load`.

    Raises:
        OptionError: an unknown name, a value out of range, or `audio` does not exist.
        EncoderError: the teacher is no encoder, or gave NaN.
        RunError: `out` was started with other options, is in use, or the disk is full; finished work is kept.

    Examples:
        >>> teacher = "onnx:teacher.onnx?rate=16000&window=1"
        >>> options = {"width": 0.1, "clip": 1.0, "epochs": 1, "quiet": True}
        >>> bundle = sondino.distill("recordings", teacher=teacher, out="my_run", **options)
        >>> sondino.load(bundle).window
        1.0
    """
    plan, given = name_teachers(teacher, recipe, options)
    run = Path(out)
    accelerator = make_accelerator(device, plan.precision, run)
    # Wrong names are found before the run's folder is made.
    student = new_student(plan)
    check_shared(run, audio, accelerator)
    finished = (run / "summary.json").exists()
    encoders = {} if finished else {name: given.get(name) or open_teacher(name, device) for name in plan.teacher}
    if accelerator.is_main_process:
        for encoder in encoders.values():
            warn_of_lost_band(encoder, student.logmel)
    labels = find_labels(encoders, plan.keep_labels, plan.label_names) if accelerator.is_main_process else None
    with open_run(run, accelerator.is_main_process):
        if accelerator.is_main_process:
            check_same_config(run, {"audio": whole_name(audio), "recipe": as_dict(plan)})
        if not finished:
            with stages(_count_stages(Path(audio), plan, labels)):
                corpus = open_or_build(audio, run, plan, accelerator, quiet)
                train_run(run, plan, corpus, student, encoders, labels, accelerator, quiet, page)
    return run / "bundle"


def _count_stages(audio: Path, plan: Recipe, labels: TeacherLabels | None) -> int:
    """Stages of a run: headers, each teacher's targets, clusters, audio, training, labels, and the results."""
    headers = not (audio / "corpus.json").exists()
    # Views are decoded for a teacher before its targets.
    targets = len(plan.teacher) * (2 if plan.views else 1)
    return headers + targets + (plan.clusters > 0) + 3 + (labels is not None)


def warn_of_lost_band(teacher: Encoder, logmel: LogMel) -> None:
    """Warn of a teacher with a higher rate than the student's, with the share of its band that the student lacks."""
    if teacher.sample_rate <= logmel.sample_rate:
        return
    better = next((rate for rate in RATES if rate >= teacher.sample_rate), RATES[-1])
    advice = f": give --rate {better}" if better > logmel.sample_rate else ""
    top, highest = teacher.sample_rate / 2, min(logmel.f_max, logmel.sample_rate / 2)
    logging.getLogger(__name__).warning(
        "%s takes audio at %d Hz and the student at %d Hz: the student cannot process %.0f to %.0f Hz, %s of the "
        "teacher's band; sounds that lie there alone are silence to it%s",
        teacher.name,
        teacher.sample_rate,
        logmel.sample_rate,
        highest,
        top,
        percent(1 - highest / top, 0),
        advice,
    )


def train_run(
    run: Path,
    recipe: Recipe,
    corpus: Corpus,
    student: "Student",
    encoders: Mapping[str, Encoder],
    labels: TeacherLabels | None,
    accelerator: Accelerator,
    quiet: bool,
    page: bool,
) -> None:
    """Compute targets and clusters, train, and write the bundle.

    Of several processes the main one builds the corpus and the clusters, and the others open them; targets are shared
    out between all.
    """
    found = [targets_of(corpus, name, encoder, accelerator, quiet) for name, encoder in encoders.items()]
    accelerator.wait_for_everyone()
    targets, teachers = [t for t, _ in found], [facts for _, facts in found]
    waveforms = decoded(corpus, student.logmel.sample_rate, accelerator, quiet)
    with accelerator.main_process_first():
        on = clustered_targets(targets, recipe.cluster_on)
        clusters = None if on is None else cluster(on, recipe, quiet or not accelerator.is_main_process)
    data = training_data(corpus, targets, clusters, waveforms.valid, recipe)
    recipe = fully_resolved(recipe, len(data.split.train), computes_in(accelerator), student.logmel)
    skipped: list[tuple[str, str]] = []
    if accelerator.is_main_process:
        keys = [t.key for t in targets]
        check_same_config(run, {"corpus": corpus.hash, "labels": corpus.label_hash(), "targets": keys})
        write_recipe(recipe, run / "recipe.yaml")
        reasons = [*corpus.skipped, *waveforms.skipped, *(s for t in targets for s in t.skipped)]
        skipped = write_skipped(run / "skipped.csv", reasons)
    with show("training", "clips", quiet or not accelerator.is_main_process) as progress:
        distiller = train(student, data, waveforms.read, recipe, run, accelerator, progress)
    if accelerator.is_main_process:
        made_from = RunData(run, recipe, corpus, teachers, targets, clusters, data, waveforms.read, skipped, labels)
        finish_run(made_from, distiller, page, quiet)
    accelerator.wait_for_everyone()
    accelerator.end_training()


def name_teachers(
    teacher: str | Encoder | Sequence[str | Encoder] | None,
    recipe: str | Path | Mapping[str, Any] | None,
    options: Mapping[str, Any],
) -> tuple[Recipe, dict[str, Encoder]]:
    """The recipe with its teachers' names checked, and by name the teachers that were given as objects."""
    given: list[Any] = list(teacher) if isinstance(teacher, list | tuple) else [] if teacher is None else [teacher]
    for one in given:
        if not isinstance(one, str | Encoder):
            raise EncoderError(f"a teacher given as an object must be an encoder: {'; '.join(check_encoder(one))}")
    names = tuple(one if isinstance(one, str) else one.name for one in given)
    if repeated := [name for name in names if names.count(name) > 1]:
        raise OptionError(f"teacher {repeated[0]!r} is named twice: give each teacher a name of its own")
    plan = resolve_recipe(recipe, teacher=names or None, **options)
    return plan, {one.name: one for one in given if not isinstance(one, str)}


def open_or_build(audio: str | Path, run: Path, recipe: Recipe, accelerator: Accelerator, quiet: bool) -> Corpus:
    """The corpus of a run, with its views: built once in the run's folder, or opened if `audio` is one."""
    folder = None
    if accelerator.is_main_process:
        if (Path(audio) / "corpus.json").exists():
            corpus = open_corpus(Path(audio))
            if corpus.clip != recipe.clip:
                raise RunError(
                    f"{audio} was cut into clips of {corpus.clip:g} s and the recipe says {recipe.clip:g} s: "
                    f"give --clip {corpus.clip:g}, or build a corpus with --clip {recipe.clip:g}"
                )
            if recipe.scale == "auto" != corpus.scale:
                raise RunError(f"{audio} was built without --scale auto: build it again with it, or leave it out here")
        else:
            with show("headers", "files", quiet) as progress:
                corpus = build_corpus(audio, run / "corpus", recipe.clip, scale=recipe.scale, progress=progress)
        folder = add_views(corpus, recipe.views, recipe.seed).folder
    return open_corpus(broadcast_from_main(folder))


def targets_of(
    corpus: Corpus, spec: str, encoder: Encoder, accelerator: Accelerator, quiet: bool
) -> tuple[Targets, dict[str, Any]]:
    """A teacher's targets for a corpus (each of several processes computes its share), and the teacher's facts."""
    rank, world = accelerator.process_index, accelerator.num_processes
    needs_audio = resolve(encoder).lookup is None
    views = corpus.column("view").any()  # a clip without views is decoded once in either case
    waveforms = decoded(corpus, encoder.sample_rate, accelerator, quiet) if views and needs_audio else None
    with show(f"targets of {encoder.name}", "clips", quiet or not accelerator.is_main_process) as progress:
        targets = compute_targets(corpus, encoder, spec, progress=progress, rank=rank, world=world, waveforms=waveforms)
    return targets, teacher_facts(encoder, spec)


def decoded(corpus: Corpus, sample_rate: int, accelerator: Accelerator, quiet: bool) -> Waveforms:
    """The corpus's audio at the student's or a teacher's rate, decoded once if the disk has room for it."""
    folder, skipped = None, []
    if accelerator.is_main_process:
        with show(f"audio at {sample_rate} Hz", "clips", quiet) as progress:
            waveforms = open_waveforms(corpus, sample_rate, progress)
            folder, skipped = waveforms.folder, waveforms.skipped
    folder, skipped = broadcast_from_main((folder, skipped))
    return Waveforms(corpus, sample_rate, folder, skipped)


def clustered_targets(targets: Sequence[Targets], on: str) -> Embeddings | None:
    """What is clustered for balanced sampling: one teacher's targets, or those of all; None without a teacher."""
    if on == "all" and len(targets) > 1:
        return JoinedTargets(targets)
    return targets[0 if on == "all" else int(on) - 1] if targets else None


def cluster(targets: Embeddings, recipe: Recipe, quiet: bool) -> Clusters | None:
    """The clusters for balanced sampling; a small corpus has fewer, so that they hold five clips on average."""
    if recipe.clusters == 0:
        return None
    count = min(recipe.clusters, max(1, int(targets.valid.sum()) // 5))
    with show("clusters", "batches", quiet) as progress:
        return fit_clusters(targets, count, recipe.seed, progress)


def new_student(recipe: Recipe) -> "Student":
    """The student before training: randomly initialised by seed, from a checkpoint, or the net of a bundle.

    Raises:
        OptionError: the bundle or checkpoint is of another student or width, or the bundle of another rate or hop.
    """
    torch.manual_seed(recipe.seed)
    bundle = initial_bundle(recipe.init)
    if bundle is not None:
        student = read_student(bundle)
        if (student.name, student.width) != (recipe.student, recipe.width) or recipe.quaternion not in (
            None,
            student.quaternion,
        ):
            raise OptionError(
                f"init {recipe.init} holds {student.name} of width {student.width:g}"
                + (f" with quaternion {student.quaternion}" if student.quaternion else "")
                + ": give --student and --width to match"
            )
        if recipe.rate not in (None, own := student.logmel.sample_rate):
            raise OptionError(
                f"init {recipe.init} takes audio at {own} Hz, and rate is {recipe.rate}: leave --rate out to keep "
                f"{own} Hz, or give its model.safetensors as --init to start from its weights at another rate"
            )
        own_hop = student.logmel.hop / student.logmel.sample_rate
        if recipe.hop is not None and round(recipe.hop * student.logmel.sample_rate) != student.logmel.hop:
            raise OptionError(
                f"init {recipe.init} has a frame every {own_hop:g} s, and hop is {recipe.hop:g}: leave --hop out to "
                f"keep {own_hop:g} s, or give its model.safetensors as --init to start from its weights at another hop"
            )
        return student
    student = build_student(
        recipe.student, recipe.width, rate=recipe.rate, hop=recipe.hop, quaternion=recipe.quaternion
    )
    if recipe.init:
        for note in load_initial(student, Path(recipe.init)):
            logging.getLogger(__name__).warning("%s: %s", recipe.init, note)
    return student


def training_data(
    corpus: Corpus,
    targets: Sequence[Targets],
    clusters: Clusters | None,
    decodable: NDArray[np.bool_],
    recipe: Recipe,
) -> TrainingData:
    """The split into training and validation clips, and the sampling weight of each clip (clips,)."""
    usable = np.logical_and.reduce([decodable, *(t.valid for t in targets)])
    labels = corpus.labels() if recipe.label_weight > 0 else None
    if labels is not None and not labels.labelled.any():
        raise OptionError(
            f"label_weight is {recipe.label_weight:g}, and {corpus.folder} has no labels: give a list with them"
        )
    if labels is not None and recipe.label_weight == 1:
        usable &= labels.labelled
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
    trains = np.zeros(len(corpus), dtype=bool)
    trains[split.train] = True
    weights = uniform_weights(trains)
    if recipe.sampling == "balanced" and clusters is not None:
        weights = balanced_weights(np.where(trains, clusters.assignment, -1))
    return TrainingData([t.matrix for t in targets], weights, split, labels)
