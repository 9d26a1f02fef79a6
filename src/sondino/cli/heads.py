"""The commands for labels: probe, classify, finetune."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter

from sondino.cli.app import Device, app, list_skipped, report_skipped

if TYPE_CHECKING:
    from sondino.embedding.classify import ClipPrediction
    from sondino.tasks.labelled import Labelled


@app.command
def probe(
    audio: Path,
    *,
    model: str,
    out: Path,
    labels: Path | None = None,
    multi_label: Literal["auto", "yes", "no"] = "auto",
    seed: int = 0,
    threads: int | None = None,
    quiet: bool = False,
) -> int:
    """Fit a linear head on a model's embeddings, and save it in a copy of the model. Needs no PyTorch.

    The model is not changed. The score is cross-validated, beside chance level.

    Example: `sondino probe my_sounds --model run/bundle --out my_classifier`

    Args:
        audio: a folder whose subfolders are the labels, or a CSV list as for --labels.
        model: a bundle, a run's folder, or a published name.
        out: folder of the new bundle.
        labels: CSV with columns path and label, or labels (several in a cell with ; between); optionally fold, or split
            (train, valid, test), and source (clips of one recording are kept together).
        multi_label: whether clips may have several labels. auto: where the list gives any clip several.
        seed: draws the folds where the list gives none.
        threads: processor threads. Default: all.
        quiet: show no progress.
    """
    from sondino.finetuning.linear_head import probe as run_probe
    from sondino.pretrained.load import load
    from sondino.progress import show

    with show("embedding", "files", quiet) as progress:
        fitted = run_probe(audio, load(model, threads), out, labels, multi_label, seed,
                           lambda done, total, _: progress(done, total))  # fmt: skip
    _print_labelled(fitted.labelled)
    print(f"{fitted.score}\nbundle: {out}")
    return list_skipped(list(fitted.labelled.skipped))


@app.command
def classify(
    inputs: list[Path],
    *,
    model: str,
    head: str | None = None,
    output: Path | None = None,
    per_window: bool = False,
    top: int = 3,
    window_policy: Literal["all", "published"] = "all",
    threads: int | None = None,
    quiet: bool = False,
) -> int:
    """Label audio with a model that has a head, or with a published head. Needs no PyTorch.

    Example: `sondino classify recordings/ --model my_classifier --output labels.csv`

    Args:
        inputs: files and folders.
        model: a bundle with a head, or with --head any; also a published name, such as ssondo/matpac-mobilenetv3.
        head: esc50, us8k, fsd50k, gtzan, openmic, nsynth or magna-tag-a-tune (for ssondo/matpac-mobilenetv3), a .pth of
            one, or a bundle whose head is taken.
        output: labels.csv (id, window, start, end, rank, label, probability) or labels.jsonl. Default: a table here.
        per_window: also the labels of every window, with its start and end in seconds.
        top: how many labels are given, most probable first.
        window_policy: published embeds full windows only, as the published package does; all keeps short clips and
            tails.
        threads: processor threads. Default: all.
        quiet: show no progress.
    """
    from sondino.embedding.classify import classify_files
    from sondino.pretrained.heads import misfit_warning
    from sondino.pretrained.load import load
    from sondino.progress import show

    opened = load(model, threads, window_policy=window_policy, head=head)
    if opened.head is not None and (note := misfit_warning(opened.head, opened.config)):
        print(f"note: {note}", file=sys.stderr)
    here = output is None
    with show("classifying", "files", quiet or (here and sys.stdout.isatty())) as progress:
        report = classify_files(inputs, opened, output, per_window, top, threads, show=_print_clip if here else None,
                                progress=lambda done, total, _: progress(done, total))  # fmt: skip
    if output is None:
        return list_skipped(report.skipped)
    print(f"{report.files} files, {report.seconds:.0f} s of audio, in {output}")
    return report_skipped(report.skipped, output)


@app.command
def finetune(
    audio: Path,
    *,
    model: str,
    out: Path,
    labels: Path | None = None,
    multi_label: Literal["auto", "yes", "no"] = "auto",
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
        model: a bundle, a run's folder, or a published name. It is not changed.
        out: folder of the new bundle.
        labels: CSV with columns path and label, or labels (several separated by ;); optionally fold (the first
            is held out), or split (train, valid, test), and source (clips of one recording are kept together).
        multi_label: whether clips may have several labels. auto: where the list gives any clip several.
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

    require("torch", "train")
    require("accelerate", "train")
    from sondino.finetuning.finetune import finetune as run_finetune
    from sondino.pretrained.load import load

    try:
        sizes = tuple(int(size) for size in hidden.split(","))
    except ValueError:
        raise OptionError(f"--hidden is {hidden!r}: give whole numbers with commas between, such as 512,256") from None
    done = run_finetune(audio, load(model), out, labels, multi_label=multi_label, freeze=freeze, head=head,
                        hidden=sizes, epochs=epochs, lr=lr, batch_size=batch_size, clip=clip, device=device, seed=seed,
                        quiet=quiet)  # fmt: skip
    _print_labelled(done.labelled)
    if done.weights is not None:
        light, heavy = done.weights.argmin(), done.weights.argmax()
        names = done.labelled.labels
        print(f"labels are uneven and were weighted, from {names[light]} {done.weights[light]:.2f} to "
              f"{names[heavy]} {done.weights[heavy]:.2f}")  # fmt: skip
    print(
        f"frozen probe: {done.probe}\nfine-tuned: {done.score}\n{done.epochs} epochs, best {done.best}\nbundle: {out}"
    )
    return list_skipped(list(done.labelled.skipped))


def _print_clip(clip: "ClipPrediction") -> None:
    def likely(labels: list[tuple[str, float]]) -> str:
        return "  ".join(f"{label} {100 * probability:.1f} %" for label, probability in labels)

    name = clip.id.encode(errors="replace").decode()
    print(f"{name}  {likely(clip.labels)}")
    for start, end, labels in clip.windows:
        print(f"  {start:7.2f} to {end:7.2f} s  {likely(labels)}")


def _print_labelled(labelled: "Labelled") -> None:
    """Print how many clips each label has, and the notes on them."""
    counts = labelled.targets().sum(0)
    each = ", ".join(f"{label} {count}" for label, count in zip(labelled.labels, counts, strict=True))
    shown = each if len(labelled.labels) <= 20 else f"{counts.min()} to {counts.max()} clips each"
    print(f"{len(labelled.clips)} clips, {len(labelled.labels)} labels: {shown}")
    for note in labelled.notes:
        print(f"note: {note}", file=sys.stderr)
