"""Prune a bundle: remove filters, let the net recover, and write the result as a bundle like any other."""

import hashlib
import json
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sondino.audio.clips import real_clips
from sondino.corpus.table import Corpus, build_corpus, open_corpus
from sondino.corpus.waveforms import decode
from sondino.errors import OptionError, SondinoError
from sondino.files import read_json, sha256
from sondino.frontend.logmel_torch import FFTLogMel
from sondino.metrics.collapse import mean_pairwise_cosine
from sondino.model.bundle import copy_with_head, free_folder
from sondino.model.torch_model import NEW_AFTER_TRAINING, TorchModel
from sondino.model.write import write_bundle
from sondino.nets.saved import write_weights
from sondino.nets.size import macs, parameters
from sondino.nets.student import Student
from sondino.progress import show, stages, within
from sondino.pruning.filters import prune_student
from sondino.pruning.recalibration import recalibrate_batchnorm
from sondino.pruning.scores import ScoreName
from sondino.sample_sounds import sample_folder
from sondino.tasks.labelled import read_labelled
from sondino.training.batches import fit_length, spread
from sondino.training.run import check_same_config, open_run, training_folder

CALIBRATION_SECONDS, BATCH_SECONDS = 640.0, 80.0
"""Audio that BatchNorm statistics are recalibrated on and the Taylor score is computed from, in all and per batch."""
FINETUNING_LR = 1e-2
"""Of the head; the backbone's is a tenth. A pruned backbone has more to learn than an unpruned one."""
CHECKED_CLIPS = 4
"""Sample sounds on which each written bundle is compared with torch."""


@dataclass(frozen=True)
class Pruning:
    """Which filters are removed, as in `prune`."""

    score: ScoreName
    ratio: float
    layers: str | None
    together: bool
    steps: int


@dataclass(frozen=True)
class Recovery:
    """How a pruned net is trained again.

    Attributes:
        epochs: of training after each step; 0: none.
        audio: to distil on, to recalibrate BatchNorm on and to compute the Taylor score from: a folder, or a corpus
            already built. None: BatchNorm is recalibrated on the sample sounds.
        labelled: whether `audio` has labels, which the net is then fine-tuned on, with a new head.
        teacher: to distil from, as `sondino distill` names one; None: the unpruned net itself, whose embeddings the
            pruned one is to keep, so that heads still fit.
        lr: highest learning rate; None: that of `sondino distill` or `sondino finetune`.
    """

    epochs: int = 0
    audio: Path | None = None
    labelled: bool = False
    teacher: str | None = None
    lr: float | None = None

    def __post_init__(self) -> None:
        """Raise OptionError for values that are out of range or do not go together."""
        if self.epochs < 0:
            raise OptionError(f"epochs is {self.epochs}: give 0 or more")
        if self.epochs and self.audio is None:
            raise OptionError("epochs are of a recovery: name its audio with --corpus, or labelled audio with --labels")
        if self.audio is not None and not self.audio.exists():
            raise OptionError(f"{self.audio} does not exist: give a folder of audio, a list or a corpus to recover on")
        if self.labelled and self.audio is not None:
            read_labelled(self.audio)  # wrong labels are reported before anything is done
        if self.lr is not None and not 0 < self.lr < np.inf:
            raise OptionError(f"lr is {self.lr:g}: give a learning rate above 0")
        if self.teacher is not None and (self.labelled or not self.epochs):
            raise OptionError("a teacher is for a recovery on --corpus with --epochs: give both, or leave it out")


@dataclass(frozen=True)
class _Pruned:
    """What the steps made.

    Attributes:
        model: the pruned net.
        bundle: of the last recovery; None: there was none.
        unpruned: layers that lost no filter.
        logmels: of the calibration audio.
    """

    model: TorchModel
    bundle: Path | None
    unpruned: list[str]
    logmels: list[Tensor]


def prune(
    model: str | Path,
    out: str | Path,
    *,
    score: ScoreName,
    ratio: float,
    layers: str | None = None,
    together: bool = False,
    steps: int = 1,
    corpus: str | Path | None = None,
    labels: str | Path | None = None,
    teacher: str | None = None,
    epochs: int = 0,
    lr: float | None = None,
    device: str = "auto",
    quiet: bool = False,
) -> dict[str, Any]:
    """Write a bundle with fewer filters. Needs `pip install 'sondino[train]'`.

    If interrupted, the same call resumes, from `out`.training.

    Args:
        model: a bundle, a run or a published name, as `sondino.load` takes it; it is not changed.
        out: the new bundle's folder. A bundle that the same call made before is kept.
        score: how filters are ranked: "operator-norm", "l1", "geometric-median" (by their weights) or "taylor" (by
            their effect on the embeddings of `corpus` or `labels`).
        ratio: share of the filters to remove, between 0 and 1: of each layer, or of all with `together`.
        layers: which layers lose filters, a pattern of names such as "conv_block[456].*"; None: all but the last.
        together: rank the filters of all layers as one list.
        steps: prune a little and recover, so many times.
        corpus: audio to recover on by distillation, to recalibrate BatchNorm on, and for "taylor" to score by: a
            folder, or a corpus already built. None: BatchNorm is recalibrated on the sample sounds.
        labels: labelled audio instead (a folder with a subfolder a label, or a CSV); with `epochs` it gives a new head.
        teacher: to recover from; None: the unpruned model itself.
        epochs: of recovery after each step; 0: none.
        lr: highest learning rate of the recovery; None: that of `distill` or `finetune`.
        device: "auto", "cpu" or "cuda", of the recovery.
        quiet: show no progress.

    Returns:
        config.json of the new bundle; what was done is under "pruned".

    Raises:
        OptionError: there is no such model, it has no weights, an option is out of range, or `out` holds another
            bundle.
        RunError: the disk is full, or `out`.training was begun with other options.

    Examples:
        >>> config = sondino.prune("run/bundle", "pruned", score="l1", ratio=0.5, corpus="recordings", quiet=True)
        >>> config["parameters"] < config["pruned"]["parameters_before"]
        True
    """
    from sondino.pretrained.locate import locate

    if corpus is not None and labels is not None:
        raise OptionError("recovery is on --corpus or on --labels, not on both: leave one out")
    audio = labels if corpus is None else corpus
    recovery = Recovery(epochs, None if audio is None else Path(audio), labels is not None, teacher, lr)
    pruning = Pruning(score, ratio, layers, together, steps)
    folder = free_folder(Path(out))
    bundle = locate(model)
    source = TorchModel.open(bundle)
    _check_options(source, bundle, folder, steps, recovery)
    asked = _asked(bundle, pruning, recovery)
    if (folder / "config.json").exists():
        return _same_bundle(folder, asked)
    with open_run(training_folder(folder)) as work:
        check_same_config(work, asked)
        headers = _clip_of(recovery.audio) is None
        with stages(headers + 1 + steps * (2 if epochs else 1) + 1):
            with _discarded_if_untrained(work):
                pruned = _prune_in_steps(source, bundle, pruning, recovery, work, device, quiet)
            with show("making and checking its ONNX graph", quiet=quiet):
                _write(folder, source, pruned, _pruning_facts(source, pruned, asked, recovery))
        shutil.rmtree(work, ignore_errors=True)
    return read_json(folder / "config.json")


def _check_options(source: TorchModel, bundle: Path, folder: Path, steps: int, recovery: Recovery) -> None:
    if folder == bundle.resolve():
        raise OptionError(f"{folder} is the bundle that would be pruned: name another folder")
    if steps < 1 or (steps > 1 and not recovery.epochs):
        raise OptionError(f"steps is {steps}: give 1, or more where --epochs lets the net recover between them")
    clip = _clip_of(recovery.audio)
    if recovery.epochs and recovery.teacher is None and clip not in (None, source.window):
        raise OptionError(f"{recovery.audio} was cut into clips of {clip:g} s, and {source.name} takes "
                          f"{source.window:g} s: give the folder of audio itself")  # fmt: skip


def _asked(bundle: Path, pruning: Pruning, recovery: Recovery) -> dict[str, Any]:
    """What identifies a call, as JSON."""
    return {
        "model": sha256(bundle / "model.safetensors"),
        "pruning": asdict(pruning),
        "recovery": {name: str(value) for name, value in asdict(recovery).items()},
    }


def _digest(recovery: dict[str, Any]) -> str:
    """Identifies a recovery in a bundle, which holds no paths."""
    return hashlib.sha256(json.dumps(recovery, sort_keys=True).encode()).hexdigest()


def _same_bundle(folder: Path, asked: dict[str, Any]) -> dict[str, Any]:
    """config.json of a bundle that the same call made before, as when a call of several ratios was interrupted.

    Raises:
        OptionError: it was made otherwise.
    """
    config = read_json(folder / "config.json")
    pruned = config.get("pruned") or {}
    same = {**asked["pruning"], "from_sha256": asked["model"], "asked_recovery": _digest(asked["recovery"])}
    if any(pruned.get(name) != value for name, value in same.items()):
        raise OptionError(f"{folder} holds a bundle that was made otherwise: name another folder, or remove it")
    return config


@contextmanager
def _discarded_if_untrained(work: Path) -> Iterator[None]:
    """Remove a work folder after an error that left no trained weights in it, so that options may be corrected."""
    try:
        yield
    except SondinoError:
        if not any(work.glob("step-*/recovered*/**/*.safetensors")):
            shutil.rmtree(work, ignore_errors=True)
        raise


def _prune_in_steps(
    source: TorchModel, bundle: Path, pruning: Pruning, recovery: Recovery, work: Path, device: str, quiet: bool
) -> _Pruned:
    corpus = _corpus(source, work, recovery.audio or sample_folder(), quiet)
    with show("log-mels to recalibrate on", quiet=quiet):
        logmels = _logmels(source, corpus)
    current, made = source, None
    for step in range(1, pruning.steps + 1):
        at = f", step {step} of {pruning.steps}" if pruning.steps > 1 else ""
        with show(f"removing filters{at}", quiet=quiet):
            pruned = prune_student(
                current.backbone,
                pruning.score,
                1 - (1 - pruning.ratio) ** (step / pruning.steps),
                layers=pruning.layers,
                together=pruning.together,
                logmels=() if recovery.audio is None else logmels,
                whole=source.backbone if pruning.steps > 1 else None,
            )
            current = current.with_backbone(pruned.student)
            recalibrate_batchnorm(current.backbone, logmels)
        if recovery.epochs:
            with within(f"recovery{at}"):
                made = _recover(current, source, bundle, corpus, work / f"step-{step}", recovery, device, quiet)
            # The head fits only embeddings of the unpruned net's own kind.
            head = current.as_head() if recovery.teacher is None else None
            current = TorchModel.open(made)
            if not recovery.labelled:
                current.set_head(head)
    return _Pruned(current, made, pruned.whole, logmels)


def _write(folder: Path, source: TorchModel, pruned: _Pruned, facts: dict[str, Any]) -> None:
    """Write the bundle; that of a recovery is copied, since its graphs are made already."""
    model = pruned.model
    if pruned.bundle is not None:
        copy_with_head(pruned.bundle, folder, model.as_head(), {**facts, "name": folder.name})
        return
    model.name, model.short, model.facts = folder.name, source.short_policy, facts
    write_bundle(model, folder, _comparison_clips(source))


def _recover(
    current: TorchModel,
    source: TorchModel,
    bundle: Path,
    corpus: Corpus,
    step: Path,
    recovery: Recovery,
    device: str,
    quiet: bool,
) -> Path:
    """Train a pruned net again; returns the bundle."""
    pruned, recovered = step / "pruned", step / "recovered"
    if recovery.labelled:
        return _finetuned(current, source, pruned, recovered, recovery, device, quiet)
    if not (pruned / "config.json").exists():
        write_weights(pruned, current.backbone)
    return _distilled(pruned, source, bundle, corpus, recovered, recovery, device, quiet)


def _finetuned(
    current: TorchModel, source: TorchModel, pruned: Path, out: Path, recovery: Recovery, device: str, quiet: bool
) -> Path:
    from sondino.finetuning.finetune import finetune
    from sondino.model.model import Model

    assert recovery.audio is not None
    if not (pruned / "config.json").exists():
        head = current.as_head()
        model = TorchModel(current.backbone, source.name, source.window, source.short_policy, source.facts, head)
        with show("making the ONNX graph to start from", quiet=quiet):
            write_bundle(model, pruned, _comparison_clips(source))
    if not (out / "config.json").exists():
        lr = FINETUNING_LR if recovery.lr is None else recovery.lr
        finetune(recovery.audio, Model(pruned), out, epochs=recovery.epochs, lr=lr, device=device, quiet=quiet)
    return out


def _distilled(
    pruned: Path,
    source: TorchModel,
    bundle: Path,
    corpus: Corpus,
    run: Path,
    recovery: Recovery,
    device: str,
    quiet: bool,
) -> Path:
    from sondino.distillation.distill import distill
    from sondino.model.model import Model

    return distill(
        corpus.folder,
        teacher=recovery.teacher or Model(bundle),
        out=run,
        student=source.backbone.name,
        width=source.backbone.width,
        init=str(pruned),
        clip=corpus.clip,
        mapping="mlp" if recovery.teacher else "none",
        standardise=recovery.teacher is not None,
        short=source.short_policy,
        epochs=recovery.epochs,
        lr=recovery.lr,
        device=device,
        quiet=quiet,
        page=False,
    )


def _clip_of(audio: Path | None) -> float | None:
    """Seconds of a corpus's clips; None for audio that is no corpus yet."""
    table = None if audio is None else audio / "corpus.json"
    return None if table is None or not table.exists() else float(read_json(table)["clip"])


def _corpus(source: TorchModel, work: Path, audio: Path, quiet: bool) -> Corpus:
    """The audio as a corpus: opened, or built once for all steps, which share its targets and decoded audio."""
    if _clip_of(audio) is not None:
        return open_corpus(audio)
    with show("headers", "files", quiet) as progress:
        return build_corpus(audio, work / "corpus", source.window, progress=progress)


def _logmels(source: TorchModel, corpus: Corpus) -> list[Tensor]:
    """Log-mels of windows spread over a corpus, in batches (clips, n_mels, frames); undecodable clips are left out."""
    # A batch has one length: with zero-padding, BatchNorm statistics of short clips would be mostly of zeros.
    samples, short = (
        round(source.window * source.sample_rate),
        "repeat" if source.short_policy == "native" else source.short_policy,
    )
    decoded: list[Tensor] = []
    for row in spread(np.arange(len(corpus)), round(CALIBRATION_SECONDS / source.window)):
        with suppress(SondinoError):
            decoded.append(torch.from_numpy(fit_length(decode(corpus, int(row), source.sample_rate), samples, short)))
    if not decoded:
        raise OptionError(f"nothing of {corpus.root} can be decoded: give other audio")
    front_end = FFTLogMel(source.backbone.logmel)
    batch = max(2, round(BATCH_SECONDS / source.window))
    # (samples,) each -> (clips, samples) -> (clips, n_mels, frames)
    return [front_end(torch.stack(decoded[i : i + batch])) for i in range(0, len(decoded), batch)]


def _comparison_clips(source: TorchModel) -> list[Any]:
    return real_clips(
        source.sample_rate, round(source.window * source.sample_rate), source.short_policy, None, CHECKED_CLIPS
    )


def _pruning_facts(source: TorchModel, made: _Pruned, asked: dict[str, Any], recovery: Recovery) -> dict[str, Any]:
    """The entries of a pruned bundle's config.json: those of the unpruned one that still hold, and what was done."""
    of_training = {"data", "recipe", "versions", "finetuned", "scores", "head_score"}
    outdated = {*NEW_AFTER_TRAINING, *(of_training if recovery.epochs else ())}
    kept = {name: value for name, value in source.facts.items() if name not in outdated}
    trained = made.model.facts
    new = {name: value for name, value in trained.items() if name in of_training} if recovery.epochs else {}
    if "recipe" in new:
        new["recipe"] = {**new["recipe"], "init": f"{source.name}, pruned"}  # its folder is removed
    teachers = kept.get("teachers", []) + (trained.get("teachers", []) if recovery.teacher else [])
    return {**kept, **new, "teachers": teachers, "pruned": _pruned_entry(source, made, asked, recovery)}


def _pruned_entry(source: TorchModel, made: _Pruned, asked: dict[str, Any], recovery: Recovery) -> dict[str, Any]:
    before, after = source.as_head(), made.model.as_head()
    had_unlike = before is not None and before.unlike is not None
    trained = {
        "epochs": recovery.epochs,
        "by": "labels" if recovery.labelled else recovery.teacher or "the unpruned net",
    }
    return {
        **asked["pruning"],
        "from": source.name,
        "from_sha256": asked["model"],
        "parameters_before": parameters(source.backbone),
        "macs_per_10s_before": macs(source.backbone, 10.0),
        "left_whole": made.unpruned,
        "norms_settled_on": "the sounds that sondino ships" if recovery.audio is None else "the sound that was given",
        "alike": mean_pairwise_cosine(_embeddings(made.model.backbone, made.logmels[:2])),
        "asked_recovery": _digest(asked["recovery"]),
        "without_unlike": had_unlike and after is not None and after.unlike is None,
        "recovery": trained if recovery.epochs else None,
        "before": source.facts.get("pruned"),
    }


@torch.inference_mode()
def _embeddings(student: Student, logmels: Sequence[Tensor]) -> NDArray[np.float32]:
    """Embeddings (clips, dim) of batches (clips, n_mels, frames) of log-mels."""
    return torch.cat([student.eval()(batch) for batch in logmels]).numpy()
