"""The command finetune: head and backbone trained on labelled audio."""

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from sondino.cli.app import Device, list_skipped
from sondino.cli.early import check_labelled, check_model, loading
from sondino.cli.probing import print_labelled, print_verdict
from sondino.console import print_line
from sondino.hub.catalogue import DEFAULT_MODEL
from sondino.tasks.labelled import NO_LABEL


def finetune(
    audio: Path,
    *,
    model: str = DEFAULT_MODEL,
    out: Path,
    labels: Path | None = None,
    multi_label: Literal["auto", "yes", "no"] = "auto",
    background: tuple[str, ...] = NO_LABEL,
    freeze: Annotated[bool, Parameter(name="--freeze", negative="--unfreeze")] = False,
    head: Literal["linear", "mlp"] = "linear",
    hidden: str = "512",
    epochs: int | None = None,
    lr: float = 1e-3,
    batch_size: int = 32,
    clip: float | None = None,
    device: Device = "auto",
    seed: int = 0,
    quiet: bool = False,
) -> int:
    """Train a model on labelled audio, all of it or a head alone, and save it as a new model.

    The best epoch on held-out clips is kept. If interrupted, the same command resumes. Needs
    `pip install 'sondino[train]'`.

    Example: `sondino finetune my_sounds --model run/bundle --out my_classifier --epochs 20`

    Args:
        audio: a folder whose subfolders are the labels, or a CSV list as for --labels.
        model: a bundle, a run's folder, or a name that `sondino models` lists. It is not changed. Default: the model
            that comes with the package.
        out: folder of the new bundle.
        labels: CSV or Parquet with columns path and label, or labels (several separated by ;); optionally id, fold (the
            first is held out), or split (train, valid, test), and source (clips of one recording are kept together).
        multi_label: whether clips may have several labels. auto: where the list gives any clip several.
        background: a folder or label whose clips have no label; may be repeated.
        freeze: train the head alone, on embeddings that are computed once: fast, and the embeddings do not change.
        head: linear, or mlp with hidden layers.
        hidden: sizes of an mlp's hidden layers, such as 512,256.
        epochs: at most so many; it ends sooner when half of them bring nothing. Default 30, or 200 with --freeze.
        lr: learning rate of the head; that of the backbone is a tenth.
        batch_size: clips per step.
        clip: seconds of a random crop of each clip, and the new model's window. Default: the
            model's window.
        device: where to train.
        seed: of all draws.
        quiet: show no progress.
    """
    from sondino.errors import OptionError, require

    try:
        sizes = tuple(int(size) for size in hidden.split(","))
    except ValueError:
        raise OptionError(f"--hidden is {hidden!r}: give whole numbers with commas between, such as 512,256") from None
    if epochs is not None and epochs < 1:
        raise OptionError(f"epochs is {epochs}: give a whole number, 1 or more")
    check_labelled(audio, labels)
    check_model(model)
    with loading(quiet):
        require("torch", "train")
        require("accelerate", "train")
        from sondino.finetuning.finetune import finetune as run_finetune
    from sondino.pretrained.load import load

    done = run_finetune(audio, load(model), out, labels, multi_label=multi_label, freeze=freeze, head=head,
                        hidden=sizes, epochs=epochs, lr=lr, batch_size=batch_size, clip=clip, device=device, seed=seed,
                        quiet=quiet, background=background)  # fmt: skip
    print_labelled(done.labelled)
    if done.weights is not None:
        light, heavy = done.weights.argmin(), done.weights.argmax()
        names = done.labelled.labels
        print_line(f"labels are uneven and were weighted, from {names[light]} {done.weights[light]:.2f} to "
              f"{names[heavy]} {done.weights[heavy]:.2f}")  # fmt: skip
    print_line(f"frozen probe: {done.probe}\nfine-tuned: {done.score}\n{done.epochs} epochs, best {done.best}")
    if done.best == 0:
        print_line(
            "no epoch was better than the start, which was kept: the net is as it was, with the probe as its head"
        )
    print_verdict(done.score)
    print_line(f"bundle: {out}")
    return list_skipped(list(done.labelled.skipped))
