"""Prune a bundle: leave filters out, let the net recover, and write what is left as a bundle like any other."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

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
from sondino.progress import show
from sondino.pruning.filters import prune_student
from sondino.pruning.scores import ScoreName
from sondino.sample_sounds import sample_folder
from sondino.tasks.labelled import read_labelled
from sondino.training.batches import fit_length, spread
from sondino.training.run import check_same_config, open_run, training_folder

HEARD, BATCH = 640.0, 80.0
"""Seconds of real sound that norms settle on and the Taylor score is taken over, and how many at once."""
FINETUNING_LR = 1e-2
"""Of the head; the backbone's is a tenth, and a pruned one has more to learn than one that is whole."""
CHECKED_CLIPS = 4
"""Shipped sounds that each written bundle is compared with torch on."""


@dataclass(frozen=True)
class Recovery:
    """How a pruned net learns again.

    Attributes:
        epochs: of training after each step; 0: none.
        audio: any sound, to distil on, for norms to settle on and for the Taylor score to hear: a folder, or a corpus
            already built. None: norms settle on the sounds that sondino ships.
        labelled: whether `audio` has labels, which the net is then fine-tuned on, with a new head.
        teacher: that it is distilled from, as `sondino distill` names one; None: the unpruned net itself, whose vectors
            it goes on giving, so that heads go on fitting.
        lr: highest learning rate; None: that of `sondino distill` or `sondino finetune`.
    """

    epochs: int = 0
    audio: Path | None = None
    labelled: bool = False
    teacher: str | None = None
    lr: float | None = None

    def __post_init__(self) -> None:
        """Raise OptionError for what does not go together."""
        if self.epochs < 0:
            raise OptionError(f"epochs is {self.epochs}: give 0 or more")
        if self.epochs and self.audio is None:
            raise OptionError("epochs are of a recovery: name its sound with --corpus, or labelled sound with --labels")
        if self.audio is not None and not self.audio.exists():
            raise OptionError(f"{self.audio} does not exist: give a folder of sound, a list or a corpus to recover on")
        if self.labelled and self.audio is not None:
            read_labelled(self.audio)  # what is wrong with the labels is told before anything is done
        if self.lr is not None and not 0 < self.lr < np.inf:
            raise OptionError(f"lr is {self.lr:g}: give a learning rate above 0")
        if self.teacher is not None and (self.labelled or not self.epochs):
            raise OptionError("a teacher is for a recovery on --corpus with --epochs: give both, or leave it out")


def prune_bundle(
    model: str | Path,
    out: str | Path,
    *,
    score: ScoreName,
    ratio: float,
    layers: str | None = None,
    together: bool = False,
    steps: int = 1,
    recovery: Recovery = Recovery(),
    device: str = "auto",
    quiet: bool = False,
) -> dict[str, Any]:
    """Write a bundle with fewer filters. Needs `pip install 'sondino[train]'`.

    Stopped, the same call goes on where it was, in `out`.training.

    Args:
        model: a bundle, a run or a published name, as `sondino.load` takes it; it stays as it is.
        out: the new bundle's folder. Where the same call made it before, it stays as it is.
        score: how filters are ranked.
        ratio: share of the filters to leave out, between 0 and 1: of each layer, or of all with `together`.
        layers: which layers lose filters, a pattern of names such as "conv_block[456].*"; None: all.
        together: rank the filters of all layers as one list.
        steps: prune a little and recover, so many times.
        recovery: what is trained after each step.
        device: "auto", "cpu" or "cuda", of the recovery.
        quiet: show no progress.

    Returns:
        config.json of the new bundle; what was done is under "pruned".

    Raises:
        OptionError: there is no such model, it has no weights, an option is out of range, or `out` holds another
            bundle.
        RunError: the disk is full, or `out`.training was begun with other options.
    """
    from sondino.pretrained.locate import locate

    folder = free_folder(Path(out))
    bundle = locate(model)
    source = TorchModel.open(bundle)
    if folder == bundle.resolve():
        raise OptionError(f"{folder} is the bundle that would be pruned: name another folder")
    if steps < 1 or (steps > 1 and not recovery.epochs):
        raise OptionError(f"steps is {steps}: give 1, or more where --epochs lets the net recover between them")
    clip = _clip_of(recovery.audio)
    if recovery.epochs and recovery.teacher is None and clip not in (None, source.window):
        raise OptionError(f"{recovery.audio} was cut into clips of {clip:g} s, and {source.name} hears "
                          f"{source.window:g} s: give the folder of sound itself")  # fmt: skip
    begun = {
        "model": sha256(bundle / "model.safetensors"),
        "pruning": {"score": score, "ratio": ratio, "layers": layers, "together": together, "steps": steps},
        "recovery": {name: str(value) for name, value in asdict(recovery).items()},
    }
    if (folder / "config.json").exists():
        made_before = read_json(folder / "config.json")
        if _is_same(made_before.get("pruned") or {}, begun):
            return made_before
        raise OptionError(f"{folder} holds a bundle that was made otherwise: name another folder, or remove it")
    with open_run(training_folder(folder)) as work:
        check_same_config(work, begun)
        try:
            current, made = source, None
            corpus = _corpus(source, work, recovery.audio or sample_folder(), quiet)
            sound = _sound(source, corpus)
            for step in range(1, steps + 1):
                pruned = prune_student(
                    current.backbone,
                    score,
                    1 - (1 - ratio) ** (step / steps),
                    layers=layers,
                    together=together,
                    logmels=() if recovery.audio is None else sound,
                    whole=source.backbone if steps > 1 else None,
                )
                current = current.with_backbone(pruned.student)
                settle_norms(current.backbone, sound)
                if recovery.epochs:
                    made = _recovered(current, source, bundle, corpus, work / f"step-{step}", recovery, device, quiet)
                    # Only vectors of the unpruned net's own kind can go into its head.
                    head = current.as_head() if recovery.teacher is None else None
                    current = TorchModel.open(made)
                    if not recovery.labelled:
                        current.set_head(head)
        except SondinoError:
            if not any(work.glob("step-*/recovered*/**/*.safetensors")):
                shutil.rmtree(work, ignore_errors=True)  # else the right options would not be those it began with
            raise
        told = _pruning_facts(source, current, begun, pruned.whole, recovery, sound)
        if made is None:
            current.name, current.short, current.facts = folder.name, source.short_policy, told
            write_bundle(current, folder, _comparison_clips(source))
        else:
            copy_with_head(made, folder, current.as_head(), {**told, "name": folder.name})
        shutil.rmtree(work, ignore_errors=True)
    return read_json(folder / "config.json")


def _is_same(pruned: dict[str, Any], begun: dict[str, Any]) -> bool:
    """Whether a bundle came of the same call, as where several ratios were stopped on the way."""
    asked = {**begun["pruning"], "from_sha256": begun["model"], "asked_recovery": begun["recovery"]}
    return all(pruned.get(name) == value for name, value in asked.items())


@torch.no_grad()
def settle_norms(student: Student, logmels: Sequence[Tensor]) -> None:
    """Let norms take the averages of what they hear now, in place: those of the unpruned net are of other inputs.

    Args:
        student: the net.
        logmels: batches (clips, n_mels, frames) of real sound.
    """
    norms = [module for module in student.modules() if isinstance(module, nn.BatchNorm2d)]
    momenta = [norm.momentum for norm in norms]
    student.eval()
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # the plain average over all batches
        norm.train()
    for batch in logmels:
        student(batch)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    student.eval()


def _recovered(
    current: TorchModel,
    source: TorchModel,
    bundle: Path,
    corpus: Corpus,
    step: Path,
    recovery: Recovery,
    device: str,
    quiet: bool,
) -> Path:
    """The bundle that a pruned net is after its epochs."""
    assert recovery.audio is not None
    pruned, recovered = step / "pruned", step / "recovered"
    if recovery.labelled:
        from sondino.finetuning.finetune import finetune
        from sondino.model.model import Model

        if not (pruned / "config.json").exists():
            model = TorchModel(
                current.backbone, source.name, source.window, source.short_policy, source.facts, current.as_head()
            )
            write_bundle(model, pruned, _comparison_clips(source))
        if not (recovered / "config.json").exists():
            lr = FINETUNING_LR if recovery.lr is None else recovery.lr
            finetune(recovery.audio, Model(pruned), recovered, epochs=recovery.epochs, lr=lr, device=device,
                     quiet=quiet)  # fmt: skip
        return recovered
    if not (pruned / "config.json").exists():
        write_weights(pruned, current.backbone)
    return _distilled(pruned, source, bundle, corpus, recovered, recovery, device, quiet)


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
        short=source.short_policy,
        epochs=recovery.epochs,
        lr=recovery.lr,
        device=device,
        quiet=quiet,
        page=False,
    )


def _clip_of(audio: Path | None) -> float | None:
    """Seconds that a corpus was cut into; None for sound that is no corpus yet."""
    table = None if audio is None else audio / "corpus.json"
    return None if table is None or not table.exists() else float(read_json(table)["clip"])


def _corpus(source: TorchModel, work: Path, audio: Path, quiet: bool) -> Corpus:
    """The sound as a corpus: the one that it is, or one for all steps, which share its targets and decoded sound."""
    if _clip_of(audio) is not None:
        return open_corpus(audio)
    with show("headers", "files", quiet) as progress:
        return build_corpus(audio, work / "corpus", source.window, progress=progress)


def _sound(source: TorchModel, corpus: Corpus) -> list[Tensor]:
    """Batches of real windows spread over a corpus, as log-mels; what cannot be heard is passed over."""
    # Batches are of one length: zeros behind a short sound would be most of what the norms hear.
    samples, short = (
        round(source.window * source.sample_rate),
        "repeat" if source.short_policy == "native" else source.short_policy,
    )
    heard: list[Tensor] = []
    for row in spread(np.arange(len(corpus)), round(HEARD / source.window)):
        with suppress(SondinoError):
            heard.append(torch.from_numpy(fit_length(decode(corpus, int(row), source.sample_rate), samples, short)))
    if not heard:
        raise OptionError(f"nothing of {corpus.root} can be heard: give other sound")
    front_end = FFTLogMel(source.backbone.logmel)
    batch = max(2, round(BATCH / source.window))
    return [front_end(torch.stack(heard[i : i + batch])) for i in range(0, len(heard), batch)]


def _comparison_clips(source: TorchModel) -> list[Any]:
    return real_clips(
        source.sample_rate, round(source.window * source.sample_rate), source.short_policy, None, CHECKED_CLIPS
    )


def _pruning_facts(
    source: TorchModel,
    made: TorchModel,
    begun: dict[str, Any],
    whole: Sequence[str],
    recovery: Recovery,
    sound: Sequence[Tensor],
) -> dict[str, Any]:
    """What config.json says of a pruned bundle: all that the unpruned one said, and what was done."""
    of_training = {"data", "recipe", "versions", "finetuned", "scores", "head_score"}
    untrue = {*NEW_AFTER_TRAINING, *(of_training if recovery.epochs else ())}
    kept = {name: value for name, value in source.facts.items() if name not in untrue}
    new = {name: value for name, value in made.facts.items() if name in of_training} if recovery.epochs else {}
    if "recipe" in new:
        new["recipe"] = {**new["recipe"], "init": f"{source.name}, pruned"}  # its folder is gone by now
    teachers = kept.get("teachers", []) + (made.facts.get("teachers", []) if recovery.teacher else [])
    trained = {
        "epochs": recovery.epochs,
        "by": "labels" if recovery.labelled else recovery.teacher or "the unpruned net",
    }
    return {
        **kept,
        **new,
        "teachers": teachers,
        "pruned": {
            **begun["pruning"],
            "from": source.name,
            "from_sha256": begun["model"],
            "parameters_before": parameters(source.backbone),
            "macs_per_10s_before": macs(source.backbone, 10.0),
            "left_whole": list(whole),
            "norms_settled_on": "the sounds that sondino ships"
            if recovery.audio is None
            else "the sound that was given",
            "alike": mean_pairwise_cosine(_vectors(made.backbone, sound[:2])),
            "asked_recovery": begun["recovery"],
            "recovery": trained if recovery.epochs else None,
            "before": source.facts.get("pruned"),
        },
    }


@torch.inference_mode()
def _vectors(student: Student, logmels: Sequence[Tensor]) -> NDArray[np.float32]:
    """(clips, dim) of batches of log-mels."""
    return torch.cat([student.eval()(batch) for batch in logmels]).numpy()
