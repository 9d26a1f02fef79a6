"""The end of a run: the encoder as a file and as a bundle, and what the run's page and table are made of."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor

from sondino.audio.reading import read
from sondino.errors import OptionError
from sondino.files import unreadable, write_json, write_whole
from sondino.model.config import read_config
from sondino.model.torch_model import TorchModel
from sondino.model.write import write_bundle
from sondino.nets import matpac
from sondino.nets.checkpoints import read_state
from sondino.nets.vit_student import ViTStudent
from sondino.pretraining.crops import Crops, Grid
from sondino.pretraining.model import Pretrainer
from sondino.pretraining.recipe import PretrainRecipe, as_dict
from sondino.pretraining.statistics import why_collapsed
from sondino.sample_sounds import sample_folder
from sondino.training.versions import versions

ENCODER_FILE = "encoder.safetensors"
CLIPS = ("ambi_choir", "bd_808", "loop_amen")
"""Shipped clips that the bundle's graph is compared with torch on."""


@dataclass(frozen=True)
class RunData:
    """What a run was made from.

    Attributes:
        folder: of the run.
        recipe: fully resolved.
        crops: of the corpus.
        grid: the patches of a crop.
        skipped: (path, reason) of files left out.
        made_with: versions and device.
    """

    folder: Path
    recipe: PretrainRecipe
    crops: Crops
    grid: Grid
    skipped: list[tuple[str, str]]
    made_with: dict[str, str]


def load_initial(model: Pretrainer, file: Path) -> None:
    """Take the encoder of a published file, or of another run, as first weights of student and teacher.

    Raises:
        OptionError: it cannot be read, or is of other sizes.
        EncoderError: it is no such encoder.
    """
    vit, _ = matpac.build(read_state(file), file)
    own, other = model.sizes.encoder, vit.shape
    if replace(other, grid=own.grid) != own or other.grid[0] != own.grid[0]:
        raise OptionError(
            f"init {file} holds an encoder of {other.depth} blocks of width {other.width}, and this one has {own.depth} "
            f"of {own.width}: give the --size that it was pretrained with"
        )
    state = vit.state_dict()
    prefixed = {name if name in model.state_dict() else matpac.PREFIX + name: state[name] for name in state}
    model.load_encoder(prefixed)


def encoder_tensors(model: Pretrainer, normalisation: tuple[float, float]) -> dict[str, Tensor]:
    """The student's encoder under the published names, with the mean and deviation of its log-mels."""
    state = {name: tensor.detach().cpu().float().contiguous() for name, tensor in model.encoder_state().items()}
    return state | {matpac.NORM_STATS: torch.tensor(normalisation, dtype=torch.float32)}


def write_bundle_of(
    model: Pretrainer, normalisation: tuple[float, float], grid: Grid, folder: Path, facts: Mapping[str, Any]
) -> Path:
    """Write the student's encoder as a bundle whose window is a crop.

    Args:
        model: the nets.
        normalisation: mean and deviation of the log-mels.
        grid: the patches of a crop.
        folder: where to.
        facts: further entries of config.json.
    """
    vit, logmel = matpac.build(encoder_tensors(model, normalisation), folder)
    student = ViTStudent("matpac", vit, logmel, grid.seconds)
    bundle = TorchModel(student.eval(), folder.resolve().name, grid.seconds, short="repeat", facts=facts)
    samples = round(grid.seconds * logmel.sample_rate)
    sounds = sample_folder() / "audio"
    clips = [read(sounds / f"{clip}.ogg", logmel.sample_rate)[:samples] for clip in CLIPS]
    return write_bundle(bundle, folder, clips)


def finish_run(run: RunData, model: Pretrainer) -> dict[str, Any]:
    """Write encoder.safetensors, the bundle, and summary.json last; returns the summary."""
    normalisation = run.crops.normalisation
    write_whole(run.folder / ENCODER_FILE, save(encoder_tensors(model, normalisation)))
    history = [json.loads(line) for line in (run.folder / "metrics.jsonl").read_text().splitlines()]
    corpus = run.crops.logmels.corpus
    hours = round(float(corpus.column("duration").sum()) / 3600, 3)
    data = {"recordings": len(set(corpus.column("content").tolist())), "hours": hours, "corpus": corpus.hash}
    pretrained = {"method": run.recipe.method, "size": run.recipe.size, "updates": run.recipe.updates}
    facts = {"teachers": [], "pretrained": pretrained, "data": data, "recipe": as_dict(run.recipe)}
    bundle = write_bundle_of(
        model, normalisation, run.grid, run.folder / "bundle", {**facts, "versions": run.made_with}
    )
    last = history[-1]
    summary = {
        "kind": "pretraining",
        **pretrained,
        "parameters": read_config(bundle / "config.json")["parameters"],
        "trained_parameters": sum(weight.numel() for weight in model.parameters() if weight.requires_grad),
        **data,
        "crop": run.grid.seconds,
        "normalisation": list(normalisation),
        "training_seconds": round(sum(row["seconds"] for row in history), 1),
        "last": last,
        "collapsed": why_collapsed(last),
        "skipped": len(run.skipped),
        "unreadable": unreadable(run.skipped),
        "versions": run.made_with,
    }
    write_json(run.folder / "summary.json", summary)
    return summary
