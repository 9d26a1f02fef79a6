"""The command that leaves filters out of a model: prune."""

import shlex
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from sondino.cli.app import Device, app
from sondino.errors import OptionError

ALIKE = 0.99
"""Mean cosine between vectors of different sounds from which a model is told to have collapsed."""


@app.command
def prune(
    bundle: str,
    *,
    score: Literal["operator-norm", "l1", "geometric-median", "taylor"],
    ratio: str,
    out: Path,
    layers: str | None = None,
    together: Annotated[bool, Parameter(negative=())] = False,
    steps: int = 1,
    corpus: Path | None = None,
    teacher: str | None = None,
    labels: Path | None = None,
    epochs: int = 0,
    lr: float | None = None,
    device: Device = "auto",
    quiet: bool = False,
) -> int:
    """Leave out the filters that matter least: a smaller model, used like any other. Needs `sondino[train]`.

    With --epochs it learns again: on --corpus from the model as it was, or from --teacher; or on --labels. The same
    command goes on where it was stopped.

    Example: `sondino prune run --score operator-norm --ratio 0.5 --corpus recordings/ --epochs 10 --out smaller`

    Args:
        bundle: a bundle, a run or a published name.
        score: operator-norm, l1 and geometric-median rank filters by their weights, taylor by what they do to real
            sound.
        ratio: share of the filters to leave out, between 0 and 1. Several, as 0.25,0.5,0.75: a bundle each.
        out: the new bundle's folder; of several ratios the folder of folders named by them. Another bundle there is
            not replaced.
        layers: which layers lose filters, a pattern of names such as "conv_block[456].*". Default: all but the last.
        together: rank the filters of all layers as one list; otherwise each layer loses the same share.
        steps: prune a little and recover, so many times.
        corpus: any sound, to recover on, for norms to settle on, and for taylor to score by: a folder, or what
            `sondino corpus` made. Default: norms settle on the sounds that sondino ships.
        teacher: what to recover from. Default: the model as it was, whose vectors it then goes on giving.
        labels: labelled sound instead (a folder with a subfolder a label, or a CSV); with --epochs it gives a new head.
        epochs: of recovery after each step. Default 0: none.
        lr: highest learning rate of the recovery.
        device: where the recovery runs.
        quiet: show no progress.
    """
    from sondino.pruning.prune import prune as run_prune

    ratios = _ratios(ratio)
    folders = {value: out / f"{value:g}" if "," in ratio else out for value in ratios}
    for value, folder in folders.items():
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
        print(
            f"{folder}: {facts['parameters'] / 1e6:.2f} M parameters of {pruned['parameters_before'] / 1e6:.2f} M, "
            f"{facts['macs_per_10s'] / 1e6:,.0f} M multiply-adds for 10 s "
            f"of {pruned['macs_per_10s_before'] / 1e6:,.0f} M"
        )
        if pruned["left_whole"]:
            print(f"left whole: {', '.join(pruned['left_whole'])}")
        if pruned["alike"] > ALIKE:
            print(
                f"vectors of different sounds are {pruned['alike']:.4f} alike: little is left of what the model knew; "
                "let it recover with --corpus SOUND --epochs N, or leave out fewer filters"
            )
    print(f"see what it costs and keeps: {shlex.join(['sondino', 'compare', bundle, *map(str, folders.values())])}")
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
