"""Fine-tune a model on labelled audio: a new head, alone or together with the backbone, written as a bundle."""

from __future__ import annotations

# ruff: noqa: E402 - a missing extra is reported before anything imports it
from sondino.errors import require_extra

require_extra("train")

import hashlib
import json
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from sondino.encoder.encoder import Encoder
from sondino.encoder.head import Head
from sondino.encoder.unlike import Unlike
from sondino.errors import OptionError
from sondino.files import read_json, write_json
from sondino.finetuning.clips import gather
from sondino.finetuning.linear_head import check_out, name_facts, score_facts
from sondino.finetuning.train import (
    LAST,
    NetworkEncoder,
    Plan,
    Trainer,
    ValidationScore,
    best_of,
    label_weights,
    train_head,
)
from sondino.metrics.classification import Mask, Score, metric_of, score_with_interval
from sondino.model.bundle import copy_with_head
from sondino.model.head_layers import Kind, Standard, after, as_head, new_layers, unfolded
from sondino.model.model import Model
from sondino.model.torch_model import TorchModel
from sondino.probing.embeddings import embed_labelled
from sondino.probing.linear import standard
from sondino.probing.probe import best_C, classifiers_up_to, validation_scores
from sondino.probing.unlike import embed_windows, fit_unlike
from sondino.progress import show, stages
from sondino.tasks.labelled import NO_LABEL, Labelled, MultiLabel, read_labelled
from sondino.tasks.splits import Fold, draw_part, holdout, unseen_labels
from sondino.training.accelerator import make_accelerator
from sondino.training.run import check_same_config, open_run, training_folder

EPOCHS, FROZEN_EPOCHS = 30, 200
REAL_CLIPS = 4
CHOSE = ", which also chose the epoch"


@dataclass(frozen=True)
class Finetuned:
    """What fine-tuning made.

    Attributes:
        out: the bundle.
        labelled: the clips that were used, and what was left out.
        probe: of a linear head on the original embeddings, fitted on the same clips.
        score: of the finished model, on test clips, or on validation clips if the list has none.
        weights: (labels,) of the loss; None: labels are not weighted.
        epochs: that were trained.
        best: the epoch that was kept; 0: none was better than the start.
    """

    out: Path
    labelled: Labelled
    probe: Score
    score: Score
    weights: NDArray[np.float32] | None
    epochs: int
    best: int


def finetune(
    audio: str | Path,
    model: Model | str | Path,
    out: str | Path,
    labels: str | Path | None = None,
    *,
    multi_label: MultiLabel = "auto",
    freeze: bool = False,
    head: Kind = "linear",
    hidden: Sequence[int] = (512,),
    epochs: int | None = None,
    lr: float = 1e-3,
    batch_size: int = 32,
    clip: float | None = None,
    device: str = "auto",
    seed: int = 0,
    quiet: bool = False,
    background: Sequence[str] = NO_LABEL,
) -> Finetuned:
    """Train a head on labelled audio, and the backbone with it unless `freeze`; write a new bundle.

    The head is initialised with a linear probe of the original embeddings. Each epoch is evaluated on held-out clips;
    the best one is kept. If interrupted, the same call resumes after the last complete epoch, in `out`.training.

    Args:
        audio: a folder whose subfolders are the labels, or a CSV list as for `labels`.
        model: a model, or a bundle, run or published name as `sondino.load` takes it; it is not changed.
        out: folder of the new bundle.
        labels: CSV with columns path and label, or labels (several separated by ;); optionally fold (the first is held
            out), or split (train, valid, test), and source (clips of one recording are kept in one fold).
        multi_label: "auto", "yes" or "no", whether clips may have several labels; "auto": if the list has such clips.
        freeze: do not train the backbone: embeddings are computed once, and stay those of `model` bit for bit.
        head: "linear", or "mlp": with hidden layers and ReLU.
        hidden: units of each hidden layer of an MLP.
        epochs: at most; None: 30, or 200 with `freeze`. Training stops early when half of them bring no better score.
        lr: learning rate of the head; the backbone's is a tenth.
        batch_size: crops per step.
        clip: seconds of a random crop of each clip, and the window of the new model; None: the model's window.
        device: "auto", "cpu" or "cuda".
        seed: of all draws.
        quiet: show no progress.
        background: names of folders or labels whose clips have no label, as in the documentation of classifiers.

    Returns:
        The bundle's folder, its score beside that of the linear probe, epochs, and the labelled clips.

    Raises:
        OptionError: a value out of range, or `out` holds something else.
        AudioError: no labelled clip can be decoded.
        RunError: `out`.training was started with other options, is in use, or the disk is full.

    Examples:
        >>> done = sondino.finetune("labelled", "run/bundle", "my_classifier", freeze=True, epochs=2, quiet=True)
        >>> done.labelled.labels
        ('bass', 'drum')
        >>> sondino.load(done.out).head.labels
        ('bass', 'drum')
    """
    from sondino.pretrained.load import load

    out, model = Path(out), load(model) if isinstance(model, (str, Path)) else model
    check_out(out, model.folder)
    window = clip if clip is not None else (model.window or 10.0)
    most = epochs if epochs is not None else (FROZEN_EPOCHS if freeze else EPOCHS)
    if freeze and clip is not None:
        raise OptionError("clip and freeze do not go together: frozen embeddings are of the model's own window")
    plan = Plan(freeze, head, tuple(hidden) if head == "mlp" else (), most, lr, batch_size, window, model.short, seed)
    _check_plan(plan)
    labelled = read_labelled(audio, labels, multi_label, background=background)
    with open_run(training_folder(out)) as folder:
        started_with = {"audio": str(Path(audio).resolve()), "list": _hash(labelled), "model": model.fingerprint}
        check_same_config(folder, {**started_with, "plan": plan.as_dict()})
        try:
            with stages(3 if freeze else 6 + (head == "mlp")):
                if freeze:
                    done = _frozen(labelled, model, plan, out, folder, quiet)
                else:
                    done = _unfrozen(labelled, model, plan, out, folder, device, quiet)
        except OptionError:
            if not (folder / LAST).exists():
                shutil.rmtree(folder, ignore_errors=True)  # else the right options would not be those it began with
            raise
        shutil.rmtree(folder, ignore_errors=True)
    return done


def _check_plan(plan: Plan) -> None:
    for name, value in (("epochs", plan.epochs), ("batch_size", plan.batch_size)):
        if value < 1:
            raise OptionError(f"{name} is {value}: give a whole number, 1 or more")
    for name, number in (("lr", plan.lr), ("clip", plan.clip)):
        if not 0 < number < float("inf"):
            raise OptionError(f"{name} is {number}: give a number above 0")

    new_layers(1, 1, plan.head, plan.hidden)  # raises OptionError for an impossible head


def _hash(labelled: Labelled) -> str:
    clips = [[clip.path, clip.labels, clip.fold, clip.source] for clip in labelled.clips]
    return hashlib.sha256(json.dumps([clips, labelled.multi_label]).encode()).hexdigest()


# ---- the two ways ---------------------------------------------------------------------------------------------


def _frozen(labelled: Labelled, model: Model, plan: Plan, out: Path, folder: Path, quiet: bool) -> Finetuned:
    """A head on embeddings that are computed once. It is small and trained on the processor, whatever the device."""
    with show("embedding", "files", quiet) as progress:
        labelled, embeddings = embed_labelled(
            model, labelled, folder / "vectors.npz", lambda done, total, _: progress(done, total)
        )
    parts, on = holdout(labelled, plan.seed)
    targets = labelled.targets()
    probe, linear = linear_probe(embeddings, labelled, parts, on, plan.seed)
    layers = first_layers(embeddings, linear, parts, plan)
    with show("training the head", "epochs", quiet) as progress:
        scores = train_head(layers, embeddings, targets, parts, plan, labelled.multi_label, progress)
    unlike = _unlike(model, labelled, embeddings, parts, quiet)
    head = as_head(layers, "head", labelled.labels, labelled.multi_label, _note(plan, parts),
                   background=labelled.background, unlike=unlike)  # fmt: skip
    tested, description = _test_clips(parts, on, CHOSE)
    score = score_with_interval(
        [head.logits(embeddings[tested])], [targets[tested]], metric_of(labelled.multi_label), description
    )
    done = _finished(out, labelled, parts, probe, score, scores)
    facts = {**name_facts(model.config, out), **score_facts(model.config, score)}
    copy_with_head(model.folder, out, head, {**facts, "finetuned": _finetuning_facts(done, plan)})
    return done


def _unfrozen(
    labelled: Labelled, model: Model, plan: Plan, out: Path, folder: Path, device: str, quiet: bool
) -> Finetuned:
    """Head and backbone together, from crops of the audio."""
    network = TorchModel.open(model.folder)
    accelerator = make_accelerator(device, "auto", folder)
    network.window, network.short = plan.clip, plan.short
    fixed = network.backbone.fixed_samples
    if fixed is not None and fixed != round(plan.clip * network.sample_rate):
        raise OptionError(
            f"clip is {plan.clip:g} s, and {network.name} takes {fixed / network.sample_rate:g} s at a time: "
            "leave clip out"
        )
    labelled, audio_clips = gather(labelled, folder, network.sample_rate, quiet)
    parts, on = holdout(labelled, plan.seed)
    targets = labelled.targets()
    start = folder / "start.json"
    if start.exists():
        probe = Score.from_dict(read_json(start))
        layers = new_layers(network.dim, len(labelled.labels), plan.head, plan.hidden)
        layers = after(
            Standard(np.zeros(network.dim), np.ones(network.dim)), layers
        )  # weights are loaded from the checkpoint
    else:
        network.to(accelerator.device)
        everyone = np.ones(len(targets), dtype=bool)
        with show("embedding", "clips", quiet) as progress:
            embeddings = audio_clips.embeddings(NetworkEncoder(network, accelerator.device, plan), everyone, progress)
        probe, linear = linear_probe(embeddings, labelled, parts, on, plan.seed)
        layers = first_layers(embeddings, linear, parts, plan)
        if plan.head == "mlp":  # randomly initialised: its gradients would spoil the backbone
            alone = replace(plan, epochs=FROZEN_EPOCHS)
            with show("training the head", "epochs", quiet) as progress:
                train_head(layers, embeddings, targets, parts, alone, labelled.multi_label, progress)
    network.take_head(layers, labelled.labels, labelled.multi_label, labelled.background)
    trainer = Trainer(network, audio_clips, targets, parts, plan, folder, accelerator)
    with show("fine-tuning", "clips", quiet) as progress:
        trainer.run(progress, begun=lambda: write_json(start, asdict(probe)))
    tested, description = _test_clips(parts, on, CHOSE)
    score = score_with_interval(
        [trainer.logits(tested)], [targets[tested]], metric_of(labelled.multi_label), description
    )
    done = _finished(out, labelled, parts, probe, score, trainer.scores)
    samples = round(plan.clip * network.sample_rate)
    clips = [audio_clips.waveforms.read(int(row))[:samples] for row in audio_clips.rows[:REAL_CLIPS]]
    facts = {**score_facts({}, score), "finetuned": _finetuning_facts(done, plan)}
    encoder = NetworkEncoder(network, accelerator.device, plan)
    embeddings = audio_clips.embeddings(encoder, np.ones(len(targets), dtype=bool))
    unlike = _unlike(encoder, labelled, embeddings, parts, quiet)
    with show("making and checking its ONNX graph", quiet=quiet):
        network.save(out, out.name, facts, clips, _note(plan, parts), unlike)
    return done


def _unlike(
    encoder: Encoder, labelled: Labelled, embeddings: NDArray[np.float32], parts: Fold, quiet: bool
) -> Unlike | None:
    """The score of what is unlike the training clips, calibrated on clips that were not trained on."""
    held_out = parts.valid | parts.test
    with show("windows of held-out clips", "clips", quiet) as progress:
        windows = embed_windows(encoder, labelled, held_out, progress)
    return fit_unlike(embeddings, labelled, windows, [(parts.train, held_out)], parts.train)


def linear_probe(
    embeddings: NDArray[np.float32], labelled: Labelled, parts: Fold, on: str, seed: int
) -> tuple[Score, Head]:
    """The score of a linear head on the embeddings, and the head, fitted on training clips; some of them choose C."""
    targets, known, multi_label = labelled.targets(), labelled.known(), labelled.multi_label
    valid = draw_part(targets, labelled.sources(), multi_label, seed, among=parts.train)
    C = best_C(validation_scores(embeddings, targets, parts.train & ~valid, valid, multi_label, known))
    *_, (weight, bias) = classifiers_up_to(C, embeddings, targets, parts.train, multi_label, known)
    layer = (weight.astype(np.float32), bias.astype(np.float32))
    head = Head("head", labelled.labels, labelled.multi_label, (layer,))
    tested, description = _test_clips(parts, on)
    return score_with_interval(
        [head.logits(embeddings[tested])], [targets[tested]], metric_of(multi_label), description
    ), head


def first_layers(embeddings: NDArray[np.float32], linear: Head, parts: Fold, plan: Plan) -> nn.Sequential:
    """The initial head, on standardised embeddings: the linear one itself, or a randomly initialised MLP."""
    first = Standard(*standard(embeddings[parts.train]))
    if plan.head == "linear":
        return unfolded(first, linear)
    torch.manual_seed(plan.seed)
    return after(first, new_layers(linear.dim, len(linear.labels), plan.head, plan.hidden))


def _test_clips(parts: Fold, on: str, after: str = "") -> tuple[Mask, str]:
    """The clips that the score is computed on, and their description: test clips, else the validation clips."""
    return (parts.test, "the list's test clips") if parts.test.any() else (parts.valid, on + after)


def _note(plan: Plan, parts: Fold) -> str:
    how = "alone" if plan.freeze else "with the backbone"
    return f"Trained {how} on {int(parts.train.sum())} labelled clips."


def _finished(
    out: Path, labelled: Labelled, parts: Fold, probe: Score, score: Score, scores: Sequence[ValidationScore]
) -> Finetuned:
    labelled = replace(labelled, notes=labelled.notes + unseen_labels(labelled, [parts]))
    weights = label_weights(labelled.targets()[parts.train])
    return Finetuned(out, labelled, probe, score, weights, len(scores) - 1, best_of(scores))


def _finetuning_facts(done: Finetuned, plan: Plan) -> dict[str, Any]:
    """For config.json."""
    return {
        **plan.as_dict(),
        "clips": len(done.labelled.clips),
        "trained_epochs": done.epochs,
        "best_epoch": done.best,
        "probe_score": done.probe.as_dict(),
    }
