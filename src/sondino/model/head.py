"""A bundle's head on disk: head.safetensors, and the entry "head" of config.json."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load as load_tensors
from safetensors.numpy import save as save_tensors

from sondino.encoder.head import Head
from sondino.encoder.unlike import Unlike
from sondino.errors import OptionError, SondinoError, content_elsewhere
from sondino.files import sha256, write_whole

FILE = "head.safetensors"


def write_head(folder: Path, head: Head, half: bool = False) -> dict[str, Any]:
    """Write head.safetensors into a folder, with `half` in float16.

    Returns:
        the entry "head" of the bundle's config.json, which `read_head` takes.
    """
    tensors = {}
    for number, (weight, bias) in enumerate(head.layers):
        stored = np.float16 if half else np.float32
        tensors[f"{number}.weight"] = weight.astype(stored)
        tensors[f"{number}.bias"] = bias.astype(stored)
    if head.unlike is not None:
        tensors |= {f"unlike.{name}": array for name, array in head.unlike.as_arrays().items()}
    write_whole(folder / FILE, save_tensors(tensors))
    return {
        "name": head.name,
        "labels": list(head.labels),
        "multi_label": head.multi_label,
        "layers": len(head.layers),
        "activation": head.activation,
        "note": head.note,
        "short": head.short,
        **({"background": head.background} if head.background else {}),
        "sha256": sha256(folder / FILE),
    }


def read_head(folder: Path, entry: Mapping[str, Any]) -> Head:
    """The head of a bundle.

    Args:
        folder: the bundle; holds head.safetensors.
        entry: the entry "head" of config.json.

    Raises:
        SondinoError: the file is missing or damaged, or its hash is not the one in the entry.
    """
    file = folder / FILE
    try:
        content = file.read_bytes()
        digest = sha256(file)
    except OSError as error:
        again = f"{file}: cannot be read ({error.strerror}); copy the whole bundle again"
        raise SondinoError(content_elsewhere(file) or again) from error
    if digest != entry.get("sha256", digest):
        again = f"{file}: is damaged, its hash is not the one in config.json; copy the whole bundle again"
        raise SondinoError(content_elsewhere(file) or again)
    try:
        tensors = load_tensors(content)
        layers = tuple((tensors[f"{i}.weight"], tensors[f"{i}.bias"]) for i in range(int(entry["layers"])))
        unlike = {name.removeprefix("unlike."): part for name, part in tensors.items() if name.startswith("unlike.")}
        return Head(
            name=str(entry["name"]),
            labels=tuple(str(label) for label in entry["labels"]),
            multi_label=bool(entry["multi_label"]),
            layers=layers,
            activation=entry.get("activation", "relu"),
            note=str(entry.get("note", "")),
            short=entry.get("short"),
            background=str(entry.get("background", "")),
            unlike=Unlike(**unlike) if unlike else None,
        )
    except (SafetensorError, KeyError, TypeError, ValueError, OptionError) as error:
        raise SondinoError(f"{file}: is damaged ({error}); copy the whole bundle again") from error
