"""The command that removes filters of a model: prune."""

import shlex
from contextlib import nullcontext
from pathlib import Path
from typing import Literal

from sondino.cli.app import Device
from sondino.cli.early import check_labelled, check_model, check_teacher, loading
from sondino.cli.probing import print_labelled
from sondino.console import print_line
from sondino.errors import OptionError

COLLAPSED = 0.99
"""Mean pairwise cosine of embeddings above which a model is reported as collapsed."""


def prune(
    bundle: str,
    *,
    score: Literal["operator-norm", "l1", "geometric-median", "taylor"],
    ratio: str,
    out: Path,
    layers: str | None = None,
    together: bool = False,
    steps: int = 1,
    corpus: Path | None = None,
    teacher: str | None = None,
    labels: Path | None = None,
    epochs: int = 0,
    lr: float | None = None,
    device: Device = "auto",
    quiet: bool = False,
) -> int:
    """Remove the filters that score lowest: a smaller model, used like any other. Needs `sondino[train]`.

    With --epochs it is trained again: on --corpus, distilled from the unpruned model or from --teacher; or on --labels.
    If interrupted, the same command resumes.

    Example: `sondino prune run --score operator-norm --ratio 0.5 --corpus recordings/ --epochs 10 --out smaller`

    Args:
        bundle: a bundle, a run or a published name.
        score: operator-norm, l1 and geometric-median rank filters by their weights, taylor by their effect on
            the embeddings of real audio.
        ratio: share of the filters to remove, between 0 and 1. Several, as 0.25,0.5,0.75: a bundle each.
        out: the new bundle's folder; of several ratios the folder of folders named by them. Another bundle there is
            not replaced.
        layers: which layers lose filters, a pattern of names such as "conv_block[456].*". Default: all but the last.
        together: rank the filters of all layers as one list; otherwise the same share of each layer is removed.
        steps: prune a little and recover, so many times.
        corpus: audio to recover on, to recalibrate BatchNorm statistics on, and for taylor to score by: a folder, or a
            corpus made by `sondino corpus`. Default: the statistics are recalibrated on the sample sounds.
        teacher: what to recover from. Default: the unpruned model, whose embeddings it then keeps.
        labels: labelled audio instead (a folder with a subfolder a label, or a CSV); with --epochs it gives a new head.
        epochs: of recovery after each step. Default 0: none.
        lr: highest learning rate of the recovery.
        device: where the recovery runs.
        quiet: show no progress.
    """
    from sondino.tasks.labelled import read_labelled

    ratios = _ratios(ratio)
    if corpus is not None and not corpus.exists():
        raise OptionError(f"{corpus} does not exist: give a folder of audio, a list or a corpus to recover on")
    if labels is not None:
        check_labelled(labels)
        if epochs and corpus is None:
            print_labelled(read_labelled(labels))
    if teacher is not None:
        check_teacher(teacher)
    check_model(bundle)
    from sondino.metrics.verdicts import of_score
    from sondino.progress import within

    with loading(quiet):
        from sondino.pruning.prune import prune as run_prune

    folders = {value: out / f"{value:g}" if "," in ratio else out for value in ratios}
    for value, folder in folders.items():
        with within(f"ratio {value:g}") if len(folders) > 1 else nullcontext():
            facts = run_prune(
                bundle,
                folder,
                score=score,
                ratio=value,
                layers=layers,
                together=together,
                steps=steps,
                corpus=corpus,
                labels=labels,
                teacher=teacher,
                epochs=epochs,
                lr=lr,
                device=device,
                quiet=quiet,
            )
        pruned = facts["pruned"]
        print_line(
            f"{folder}: {facts['parameters'] / 1e6:.2f} M parameters of {pruned['parameters_before'] / 1e6:.2f} M, "
            f"{facts['macs_per_10s'] / 1e6:,.0f} M multiply-adds for 10 s "
            f"of {pruned['macs_per_10s_before'] / 1e6:,.0f} M"
        )
        if pruned["left_whole"]:
            print_line(f"not pruned: {', '.join(pruned['left_whole'])}")
        if labels is not None and epochs and "head_score" in facts:
            print_line(f"its new head: {facts['scores']['head']}")
            for verdict in of_score(facts["head_score"]):
                print_line(verdict)
        if pruned["alike"] > COLLAPSED:
            print_line(
                f"the embeddings have collapsed: their mean pairwise cosine is {pruned['alike']:.4f}; "
                "let the model recover with --corpus AUDIO --epochs N, or remove fewer filters"
            )
        if pruned.get("without_unlike"):
            print_line(
                "left out: the score of what is unlike the training clips (`unlike` of classify), which was of the "
                "unpruned model; `sondino probe` fits a head with one on the pruned model's embeddings"
            )
    print_line(f"compare costs and scores: {shlex.join(['sondino', 'compare', bundle, *map(str, folders.values())])}")
    return 0


def _ratios(text: str) -> list[float]:
    """The numbers of "0.25,0.5"."""
    try:
        found = [float(part) for part in text.split(",")]
    except ValueError as error:
        raise OptionError(f"ratio {text!r} is no number, nor several with commas: give one such as 0.5") from error
    if wrong := [value for value in found if not 0 < value < 1]:
        raise OptionError(
            f"ratio {wrong[0]:g} is out of range: give the share of filters to leave out, between 0 and 1"
        )
    return sorted(set(found))
