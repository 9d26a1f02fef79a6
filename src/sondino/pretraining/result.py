"""The end of a run: the encoder as a file and as a bundle, and what the run's page and table are made of."""

import json
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor

from sondino.audio.reading import read
from sondino.console import new_table, open_console, print_line
from sondino.errors import OptionError
from sondino.files import read_json, unreadable, write_json, write_whole
from sondino.metrics.verdicts import of_pretraining
from sondino.model.config import read_config
from sondino.model.torch_model import TorchModel
from sondino.model.write import write_bundle
from sondino.nets import matpac
from sondino.nets.checkpoints import read_state
from sondino.nets.vit_student import ViTStudent
from sondino.pretraining.crops import Crops, Grid
from sondino.pretraining.model import Pretrainer
from sondino.pretraining.recipe import PretrainRecipe, as_dict
from sondino.sample_sounds import sample_folder
from sondino.text import millions

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
    """Take the encoder of a published file, or of another run's folder, as first weights of student and teacher.

    Raises:
        OptionError: it cannot be read, or is of other sizes.
        EncoderError: it is no such encoder.
    """
    if (file / ENCODER_FILE).is_file():
        file = file / ENCODER_FILE
    vit, _ = matpac.build(read_state(file), file)
    own, other = model.sizes.encoder, vit.shape
    if replace(other, grid=own.grid) != own or other.grid[0] != own.grid[0]:
        raise OptionError(
            f"init {file} holds an encoder of {other.depth} blocks of width {other.width}, and this one has "
            f"{own.depth} of {own.width}: give the --size that it was pretrained with"
        )
    state = vit.state_dict()
    prefixed = {name if name in model.state_dict() else matpac.PREFIX + name: state[name] for name in state}
    model.load_encoder(prefixed)


def encoder_tensors(model: Pretrainer, normalisation: tuple[float, float]) -> dict[str, Tensor]:
    """The student's encoder under the published names, with the mean and deviation of its log-mels."""
    state = {name: tensor.detach().cpu().float().contiguous() for name, tensor in model.encoder_state().items()}
    return state | {matpac.NORM_STATS: torch.tensor(normalisation, dtype=torch.float32)}


def write_bundle_of(
    model: Pretrainer, normalisation: tuple[float, float], grid: Grid, folder: Path, name: str, facts: Mapping[str, Any]
) -> Path:
    """Write the student's encoder as a bundle whose window is a crop.

    Args:
        model: the nets.
        normalisation: mean and deviation of the log-mels.
        grid: the patches of a crop.
        folder: where to.
        name: what it is called in tables.
        facts: further entries of config.json.
    """
    vit, logmel = matpac.build(encoder_tensors(model, normalisation), folder)
    student = ViTStudent("matpac", vit, logmel, grid.seconds)
    bundle = TorchModel(student.eval(), name, grid.seconds, short="repeat", facts=facts)
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
    facts |= {"versions": run.made_with}
    name = run.folder.resolve().name
    bundle = write_bundle_of(model, normalisation, run.grid, run.folder / "bundle", name, facts)
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
        "collapsed": of_pretraining(last),
        "skipped": len(run.skipped),
        "unreadable": unreadable(run.skipped),
        "versions": run.made_with,
    }
    write_json(run.folder / "summary.json", summary)
    return summary


def print_summary(run: Path) -> int:
    """Print what a finished run has made, and how to go on; 1 if files could not be read, else 0."""
    summary = read_json(run / "summary.json")
    last = summary["last"]
    first = json.loads((run / "metrics.jsonl").read_text(encoding="utf-8").split("\n", 1)[0])
    table = new_table()
    for name in ("", f"update {first['update']}", f"update {last['update']}"):
        table.add_column(name, justify="right" if name else "left")
    for name, title in SHOWN.items():
        if name in last and (name != "classification_loss" or "perplexity" in last):
            table.add_row(title, f"{first[name]:.3g}", f"{last[name]:.3g}")
    open_console().print(table)
    print_line(
        f"\n{summary['method']} {summary['size']}, {millions(summary['parameters'])} parameters; {summary['updates']} "
        f"updates in {summary['training_seconds']:.0f} s on {summary['hours']:.2f} h of {summary['recordings']} "
        f"recordings\nlog-mels: mean {summary['normalisation'][0]:.3f}, deviation {summary['normalisation'][1]:.3f}"
    )
    if summary["collapsed"]:
        print_line(f"collapsed: {summary['collapsed']}")
    print_line(
        f"bundle: {run / 'bundle'}\nencoder: {run / ENCODER_FILE}\nreport: {(run / 'report.html').resolve()}\n"
        f"next: sondino distill AUDIO --teacher {shlex.quote(str(run))} --out STUDENT"
    )
    if summary["skipped"]:
        print_line(f"skipped: {summary['skipped']}, listed in {run / 'skipped.csv'}")
    return 1 if summary["unreadable"] else 0


SHOWN = {
    "prediction_loss": "loss of prediction",
    "classification_loss": "loss of classes",
    "deviation": "targets' deviation (unrelated ones: 1)",
    "deviation_in_clip": "the same in a clip",
    "perplexity": "perplexity of classes",
}
"""Measurements of the first and last updates that are printed, and how they are called."""
