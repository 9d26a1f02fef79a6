"""The command probe: a linear head on embeddings."""

from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from sondino.cli.app import list_skipped
from sondino.cli.early import check_labelled, check_model
from sondino.console import print_line
from sondino.hub.catalogue import DEFAULT_MODEL
from sondino.tasks.labelled import NO_LABEL

if TYPE_CHECKING:
    from sondino.metrics.classification import Score
    from sondino.tasks.labelled import Labelled


def probe(
    audio: Path,
    *,
    model: str = DEFAULT_MODEL,
    out: Path,
    labels: Path | None = None,
    multi_label: Literal["auto", "yes", "no"] = "auto",
    background: tuple[str, ...] = NO_LABEL,
    seed: int = 0,
    threads: int | None = None,
    quiet: bool = False,
) -> int:
    """Fit a linear head on a model's embeddings, and save it in a copy of the model. Needs no PyTorch.

    The model is not changed. The score is cross-validated, beside chance level.

    Example: `sondino probe my_sounds --model run/bundle --out my_classifier`

    Args:
        audio: a folder whose subfolders are the labels, or a CSV list as for --labels.
        model: a bundle, a run's folder, or a name that `sondino models` lists. Default: the model that comes with the
            package.
        out: folder of the new bundle.
        labels: CSV or Parquet with columns path and label, or labels (several in a cell with ; between); optionally id,
            fold, or split (train, valid, test), and source (clips of one recording are kept together).
        multi_label: whether clips may have several labels. auto: where the list gives any clip several.
        background: a folder or label whose clips have no label; may be repeated.
        seed: draws the folds where the list gives none.
        threads: processor threads. Default: all.
        quiet: show no progress.
    """
    check_labelled(audio, labels)
    check_model(model)
    from sondino.finetuning.linear_head import probe as run_probe
    from sondino.pretrained.load import load
    from sondino.progress import show, stages

    with stages(2), ExitStack() as stage:
        progress = stage.enter_context(show("embedding", "files", quiet))

        def count(done: int, total: int, seconds: float) -> None:
            progress(done, total)
            if done == total:
                stage.close()
                stage.enter_context(show("fitting the classifier and scoring it", quiet=quiet))

        fitted = run_probe(audio, load(model, threads), out, labels, multi_label, seed, count, background)
    print_labelled(fitted.labelled)
    print_line(f"{fitted.score}")
    print_verdict(fitted.score)
    print_line(f"bundle: {out}")
    return list_skipped(list(fitted.labelled.skipped))


def print_verdict(score: "Score") -> None:
    """Print what a score allows one to say, where that is little."""
    from sondino.metrics.verdicts import of_score

    for verdict in of_score(score.as_dict()):
        print_line(verdict)


def print_labelled(labelled: "Labelled") -> None:
    """Print how many clips each label has, and the notes on them."""
    targets = labelled.targets()
    names = [label for label in labelled.labels if label != labelled.background]  # which is the last
    counts = targets.sum(0)[: len(names)]
    each = ", ".join(f"{label} {count}" for label, count in zip(names, counts, strict=True))
    shown = each if len(names) <= 20 else f"{counts.min()} to {counts.max()} clips each"
    without = int((~targets[:, : len(names)].any(1)).sum())
    bare = f"; {without} clips without a label" if without else ""
    print_line(f"{len(labelled.clips)} clips, {len(names)} labels: {shown}{bare}")
    for note in labelled.notes:
        print_line(f"note: {note}", error=True)
