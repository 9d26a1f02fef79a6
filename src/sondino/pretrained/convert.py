"""Convert a published checkpoint into a bundle."""

# ruff: noqa: E402 - a missing extra gets its message before anything imports it
from sondino.errors import require_extra

require_extra("train")

import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_args

from torch import Tensor

from sondino.audio.reading import read
from sondino.audio.windows import ShortPolicy
from sondino.errors import OptionError, RunError, unknown_name
from sondino.files import read_json, sha256
from sondino.model.config import BUNDLE_FORMAT
from sondino.model.torch_model import TorchModel
from sondino.model.write import write_bundle
from sondino.nets import m2d, matpac
from sondino.nets.checkpoints import read_checkpoint, state_dict
from sondino.pretrained import efficientat, panns, ssondo, vit
from sondino.pretrained.source import CheckpointKind
from sondino.sample_sounds import sample_folder

CLIPS = ("ambi_choir", "bd_808", "guit_e_fifths", "loop_amen")
"""Shipped clips that a converted net is compared on."""


def convert(
    file: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    kind: CheckpointKind | None = None,
    name: str | None = None,
    window: float | None = None,
    short: ShortPolicy | None = None,
) -> Path:
    """Turn a published checkpoint into a bundle. No code of the file is run.

    Args:
        file: a .ckpt of S-SONDO, an AudioSet release of EfficientAT (.pt), CNN14 of PANNs (.pth), or a checkpoint of
            MATPAC or M2D.
        out: the folder to write; a bundle already there is replaced if it was made of the same file.
        kind: whose checkpoint it is; None: detected from its content.
        name: what the model is to be called; None: the file's name.
        window: seconds of its input window; None: as published, 10.
        short: "pad", "native" or "repeat" clips under a window; None: as published.

    Returns:
        `out`.

    Raises:
        OptionError: the file is none of these, would run code, is damaged, or was built in a way that our nets cannot
            be; or `out` holds something else.
        RunError: the bundle cannot be written.

    Examples:
        >>> sondino.load(sondino.convert("mn01_as.pt", "mn01_as")).dim
        96
    """
    path, folder = Path(file), Path(out)
    check_free(folder, path)
    return write_converted(read_published(path, kind=kind, name=name, window=window, short=short), folder)


def read_published(
    file: str | os.PathLike[str],
    *,
    kind: CheckpointKind | None = None,
    name: str | None = None,
    window: float | None = None,
    short: ShortPolicy | None = None,
) -> TorchModel:
    """The model in a checkpoint, with the options of `convert`; nothing is written.

    Raises:
        OptionError: as `convert`.
    """
    if kind is not None and kind not in get_args(CheckpointKind):
        raise unknown_name("kind of checkpoint", kind, get_args(CheckpointKind))
    if short is not None and short not in get_args(ShortPolicy):
        raise unknown_name("policy for short clips", short, get_args(ShortPolicy))
    if window is not None and not (0.1 <= window <= 3600 and math.isfinite(window)):
        raise OptionError(f"window {window!r} is out of range: give seconds, from 0.1 to 3600")
    path = Path(file)
    if (path / "config.json").exists():
        raise OptionError(f"{path} is a bundle already: give it to `--model` as it is")
    content = read_checkpoint(path)
    tensors = state_dict(content, path)
    kind = kind or _kind_of(content, tensors, path)
    if kind == "ssondo":
        found = ssondo.read_ssondo(content, tensors, path, name or "")
    elif kind == "efficientat":
        found = efficientat.read_efficientat(tensors, path)
    elif kind == "panns":
        found = panns.read_panns(tensors, path)
    else:
        found = vit.read_vit(kind, tensors, path, window)
    found.name, found.short = name or path.stem, short or found.short
    if window is not None:
        found.window = window
        found.facts.pop("hop", None)
    return found.eval()


def write_converted(model: TorchModel, out: Path) -> Path:
    """Write what `read_published` returned as a bundle, comparing it with torch on a few shipped clips.

    Raises:
        OptionError: `out` holds something that is no bundle.
        RunError: the bundle cannot be written.
    """
    folder = sample_folder() / "audio"
    clips = [read(folder / f"{name}.ogg", model.sample_rate) for name in CLIPS]
    return write_bundle(model, out, [clip[: round(model.window * model.sample_rate)] for clip in clips])


def check_free(out: Path, file: Path) -> None:
    """Raises OptionError where a folder holds anything but a bundle that was made of this file."""
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return
    if not (out / "config.json").is_file():
        raise OptionError(f"{out} is there and is no bundle: give a folder that is not there yet")
    try:
        config = read_json(out / "config.json")
    except RunError:
        config = {}
    source = config.get("source")
    made_of = source.get("sha256") if isinstance(source, Mapping) else None
    if config.get("format") != BUNDLE_FORMAT or not file.is_file() or made_of != sha256(file):
        raise OptionError(f"{out} holds something that was not made of {file}: remove it, or give another folder")


def _kind_of(content: Any, tensors: Mapping[str, Tensor], path: Path) -> CheckpointKind:
    if "training_config" in content or any(name.startswith(ssondo.BACKBONE) for name in tensors):
        return "ssondo"
    if any(mark in tensors for mark in panns.MARKS):  # one of its nets has names of EfficientAT's too
        return "panns"
    if any(mark in tensors for mark in efficientat.MARKS.values()):
        return "efficientat"
    if "patch_embed.proj.weight" in {name.removeprefix(m2d.FINE_TUNED).removeprefix(matpac.PREFIX) for name in tensors}:
        if any(name.startswith(matpac.PREFIX) for name in tensors):
            return "matpac"
        if "norm_stats" in tensors or m2d.named_sizes(path) or any(n.startswith(m2d.FINE_TUNED) for n in tensors):
            return "m2d"
        raise OptionError(f"{path} holds a ViT, which could be MATPAC's or M2D's: say which, with kind (--kind)")
    if "probe.linear_probe.weight" in tensors:
        raise OptionError(f"{path} is a head and no model: load a model and give this file as its head")
    raise OptionError(
        f"{path} holds {len(tensors)} tensors, first {next(iter(tensors))[:80]!r}, of no model that can be converted: "
        "those are S-SONDO's students, EfficientAT's AudioSet releases, PANNs' CNN14, MATPAC and M2D"
    )
