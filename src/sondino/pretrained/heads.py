"""The seven heads that were published for `ssondo/matpac-mobilenetv3`: linear, on its embeddings of 960 dimensions."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file, save

from sondino.encoder.head import Head
from sondino.errors import OptionError, SondinoError, require, unknown_name
from sondino.files import sha256, write_whole
from sondino.hub import huggingface
from sondino.hub.cache import lock_and_wait, models_folder, recall, remember
from sondino.hub.catalogue import HEADS
from sondino.locks import restore
from sondino.model.config import read_config
from sondino.model.head import read_head

REPOSITORY = "mohammedali2501/ssondo"
OWN_FILE = "matpac_mobilenetv3"
DIM = 960
WEIGHT, BIAS = "probe.linear_probe.weight", "probe.linear_probe.bias"
SUFFIXES = (".pth", ".pt")


@cache
def published_heads() -> dict[str, dict[str, Any]]:
    """Name -> data (of the set), order (where the labels' order is from; None: unknown), multi_label, labels."""
    heads: dict[str, dict[str, Any]] = json.loads(Path(__file__).with_name("published.json").read_text("utf-8"))
    return heads


def load_head(source: str | Path) -> Head:
    """A head by name or from disk.

    Args:
        source: "esc50", "us8k", "fsd50k", "gtzan", "openmic", "nsynth" or "magna-tag-a-tune"; a .pth of one of those,
            called after it; or a bundle (or run, or hf:owner/name) that has a head.

    Raises:
        OptionError: no head has that name, or the bundle has none.
        SondinoError: a file is damaged or cannot be fetched.
    """
    path = Path(source)
    if str(source).startswith("hf:"):
        from sondino.pretrained.locate import locate

        return _head_of_bundle(locate(source))
    if path.is_dir():
        return _head_of_bundle(path)
    if path.is_file():
        return read_published_head(path, path.stem)
    if path.suffix in SUFFIXES or len(path.parts) > 1:
        raise OptionError(f"{path} does not exist: give a head's name, a .pth of one, or a bundle that has a head")
    name = str(source)
    if name not in published_heads():
        raise unknown_name("head", name, published_heads())

    return read_published_head(fetch_head(name), name)


def misfit_warning(head: Head, config: Mapping[str, Any]) -> str:
    """Returns a warning if a published head is used on another model than its own, else "".

    Args:
        head: any.
        config: the model's config.json.
    """
    source = config.get("source")
    file = str(source.get("file")) if isinstance(source, Mapping) else ""
    changed = config.get("finetuned", {}).get("freeze") is False
    if not head.note.startswith(f"Weights: {REPOSITORY}") or (OWN_FILE in file and not changed):
        return ""
    return (
        f"the head {head.name} was fitted on the embeddings of ssondo/matpac-mobilenetv3; "
        f"on those of {config.get('name')} its labels mean nothing"
    )


def read_published_head(file: Path, name: str) -> Head:
    """Read a published .pth as a head; no code in it is run.

    Args:
        file: holds `probe.linear_probe.weight` and `.bias`.
        name: which of the seven it is.

    Raises:
        OptionError: there is no head of that name.
        SondinoError: the file is damaged, needs code to be run, or is another model's.
    """
    if name not in published_heads():
        raise OptionError(
            f"{file}: labels are known for {', '.join(published_heads())}: name the file after its data set"
        )
    facts = published_heads()[name]
    labels = tuple(facts["labels"])
    weight, bias = _read_tensors(file)
    if weight.shape != (len(labels), DIM) or bias.shape != (len(labels),):
        raise SondinoError(
            f"{file}: holds weights of shape {weight.shape} and {bias.shape}, where the head {name} has "
            f"{(len(labels), DIM)} and {(len(labels),)}; is it of another data set or another model?"
        )
    order = facts["order"]
    note = f"Weights: {REPOSITORY}, heads/{name}.pth, fitted on {facts['data']} over ssondo/matpac-mobilenetv3. " + (
        f"Order of the labels: {order}; the publisher does not state it."
        if order
        else "The publisher does not name the labels and the data set has no order of its own: they are numbered."
    )
    # The package that they were fitted with refuses clips under 10 s: its users, and its own notebook, add zeros.
    return Head(name, labels, bool(facts["multi_label"]), ((weight, bias),), note=note, short="pad")


def _read_tensors(file: Path) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Weight and bias; read once with torch, and afterwards from a copy in the cache without."""
    kept = models_folder() / "heads" / f"{sha256(file)}.safetensors"
    try:
        tensors = load_file(kept)
        return tensors["weight"], tensors["bias"]
    except (OSError, SafetensorError, KeyError):
        pass
    require("torch", "train")
    from sondino.nets.checkpoints import read_state

    state = read_state(file)
    if not {WEIGHT, BIAS} <= state.keys():
        raise OptionError(f"{file} is no published head: it must hold {WEIGHT} and {BIAS}")
    weight, bias = (state[name].float().contiguous().numpy() for name in (WEIGHT, BIAS))
    with suppress(OSError, SondinoError):  # a cache that cannot be written costs time and nothing else
        kept.parent.mkdir(parents=True, exist_ok=True)
        write_whole(kept, save({"weight": weight, "bias": bias}))
    return weight, bias


def _head_of_bundle(folder: Path) -> Head:
    restore(folder)
    inside = folder / "bundle"
    if not (folder / "config.json").exists() and (inside / "config.json").exists():
        folder = inside
    try:
        config = read_config(folder / "config.json")
    except SondinoError as error:
        if (folder / "config.json").exists():
            raise
        raise OptionError(
            f"{folder} is no bundle (it has no config.json): give a head's name, a .pth or a bundle"
        ) from error
    if not config.get("head"):
        raise OptionError(f"{folder} has no head: fit one with `sondino probe AUDIO --model {folder} --out NEW`")
    return read_head(folder, config["head"])


def fetch_head(name: str) -> Path:
    """The local file of a published head, a .pth of a linear layer's weight and bias.

    Args:
        name: one of `HEADS`.

    Raises:
        OptionError: unknown name.
        SondinoError: it cannot be fetched, or its hash is wrong.
    """
    if name not in HEADS:
        raise unknown_name("head", name, HEADS)
    file = HEADS[name]
    record = f"head:{name}"
    pinned = recall(record).get("", {}).get("commit")
    by_hand = f"download {huggingface.url(file.repo, file.path)} by hand and name that file as the head"
    found = huggingface.fetch_file(file, by_hand, pinned=pinned)
    if not pinned:
        with lock_and_wait(record, f"head {name}"):
            remember(record, "", {"commit": found.commit})
    return found.path
