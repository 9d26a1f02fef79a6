"""A model on disk: config.json, model.safetensors, model.onnx (waveform to embedding), body.onnx and card.md.

body.onnx is the same net from the log-mel on; its weights are those inside model.onnx. A bundle with a head has a
head.safetensors too. Opening one needs no torch, and nothing is unpickled.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import sondino.files as files
from sondino.errors import SondinoError, content_elsewhere
from sondino.files import sha256
from sondino.model.card import card
from sondino.model.head import Head, write_head
from sondino.text import millions

BUNDLE_FORMAT = "sondino-bundle-1"
EXPORT_FORMAT = "sondino-export-1"
"""Of export.json, which stands in the folder of an exported model."""


def free_folder(folder: Path) -> Path:
    """The absolute path of a folder that a bundle may be written to: not there yet, empty, or an older bundle.

    Raises:
        OptionError: it holds something else.
    """
    return files.free_folder(folder, is_bundle, "bundle")


def new_bundle(folder: Path) -> AbstractContextManager[Path]:
    """An empty folder to write a bundle in, which becomes `folder` once it is complete: `files.replacing`."""
    return files.replacing(folder, is_bundle, "bundle")


def is_bundle(folder: Path) -> bool:
    """Whether a folder holds a bundle of this format, whole or damaged: config.json names the format."""
    try:
        return BUNDLE_FORMAT in (folder / "config.json").read_text(encoding="utf-8")
    except (OSError, ValueError):
        return False


def copy_with_head(folder: Path, out: Path, head: Head | None, facts: Mapping[str, Any]) -> Path:
    """A copy of a bundle with another head; its embeddings are bit-for-bit the same.

    Args:
        folder: the bundle.
        out: where to; an older bundle there is replaced once the new one is complete.
        head: from the bundle's embeddings to labels; None: no head.
        facts: entries of config.json to add or replace.

    Raises:
        OptionError: `out` holds something that is no bundle.
        RunError: it cannot be read or written; `out` is then as it was.
    """
    with new_bundle(out) as partial:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        for file in config["hashes"]:
            if file != "head.safetensors":
                shutil.copyfile(folder / file, partial / file)
        finish_bundle(partial, {**config, **facts}, head)
    return out.resolve()


def finish_bundle(partial: Path, config: dict[str, Any], head: Head | None) -> None:
    """Write the files beside the net in a bundle's folder: the head, config.json and the card.

    Args:
        partial: the folder; holds model.onnx.
        config: for config.json; its entries about the head are replaced.
        head: from its embeddings to labels.
    """
    config.pop("head", None)
    config["hashes"].pop("head.safetensors", None)
    if head is not None:
        config["head"] = write_head(partial, head)
        config["hashes"]["head.safetensors"] = sha256(partial / "head.safetensors")
    (partial / "config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    size = (partial / "model.onnx").stat().st_size
    (partial / "card.md").write_text(card(config, size), encoding="utf-8")


def find_bundles(folder: Path) -> list[dict[str, str]]:
    """A row for each bundle under a folder: name, folder, parameters, rate, window, dimension, teachers' licences."""
    rows = []
    for file in sorted(folder.rglob("config.json")):
        try:
            config = json.loads(file.read_text())
        except (OSError, ValueError):
            continue  # somebody else's config.json
        if not isinstance(config, dict) or config.get("format") != BUNDLE_FORMAT:
            continue
        licences = sorted({str(t.get("licence") or "unknown") for t in config.get("teachers", [])})
        rows.append(
            {
                "name": str(config.get("name")),
                "folder": str(file.parent),
                "parameters": millions(config["parameters"]) if "parameters" in config else "",
                "rate": f"{config.get('sample_rate')} Hz",
                "window": f"{config['window']:g} s" if config.get("window") else "any",
                "dimension": str(config.get("dim")),
                "teachers' licences": ", ".join(licences) or "no teacher",
            }
        )
    return rows


def read_config(file: Path) -> dict[str, Any]:
    """A bundle's config.json.

    Raises:
        SondinoError: it cannot be read, or is no table of values.
    """
    try:
        config = json.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        reason = f"{file}: cannot be read ({error.strerror}); name the folder of a bundle"
        raise SondinoError(content_elsewhere(file) or reason) from error
    except ValueError as error:
        reason = f"{file}: is damaged ({error}); copy the whole bundle again"
        raise SondinoError(content_elsewhere(file) or reason) from error
    if not isinstance(config, dict):
        raise SondinoError(f"{file}: is damaged (no table of values); copy the whole bundle again")
    return config
