"""A model on disk: config.json, model.safetensors, model.onnx (waveform to embedding), body.onnx and card.md.

body.onnx is the same net from the log-mel on; its weights are those inside model.onnx. A bundle with a head has a
head.safetensors too. Opening one needs no torch, and nothing is unpickled.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import sondino.files as files
from sondino.encoder.head import Head
from sondino.errors import SondinoError
from sondino.files import sha256
from sondino.locks import UNFINISHED, restore
from sondino.model.card import card
from sondino.model.config import BUNDLE_FORMAT, Config, read_checked_config, read_config
from sondino.model.head import write_head
from sondino.model.paths import without_paths
from sondino.text import escape, millions

PARTIAL = (UNFINISHED, ".partial")
"""How a hidden folder ends that is being written, by this version and by earlier ones."""

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
        config = read_config(folder / "config.json")
        for file in config["hashes"]:
            if file != "head.safetensors":
                shutil.copyfile(folder / file, partial / file)
        finish_bundle(partial, {**config, **facts}, head)
    return out.resolve()


def finish_bundle(partial: Path, config: dict[str, Any], head: Head | None, half: bool = False) -> None:
    """Write the files beside the net in a bundle's folder: the head, config.json and the card.

    No path of this machine is in them: files are named without their folders.

    Args:
        partial: the folder; holds model.onnx.
        config: for config.json; its entries about the head are replaced.
        head: from its embeddings to labels.
        half: whether the head's weights are stored as float16.
    """
    config.pop("head", None)
    config["hashes"].pop("head.safetensors", None)
    if head is not None:
        config["head"] = write_head(partial, head, half)
        config["hashes"]["head.safetensors"] = sha256(partial / "head.safetensors")
    config = without_paths(config)
    (partial / "config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    size = (partial / "model.onnx").stat().st_size
    (partial / "card.md").write_text(card(config, size), encoding="utf-8")


@dataclass(frozen=True)
class BundleRecord:
    """A bundle under a folder: where it lies, and its config."""

    folder: Path
    config: Config

    def row(self) -> dict[str, str]:
        """The record as one line of a table, by column."""
        config = self.config
        return {
            "name": config.name,
            "folder": str(self.folder),
            "parameters": "" if config.parameters is None else millions(config.parameters),
            "rate": f"{config.sample_rate} Hz",
            "window": f"{config.window:g} s" if config.window else "any",
            "dimension": str(config.dim),
            "teachers' licences": ", ".join(self._licences()) or "no teacher",
        }

    def facts(self) -> dict[str, Any]:
        """The record for JSON."""
        config = self.config
        return {
            "name": config.name,
            "folder": escape(str(self.folder)),
            "parameters": config.parameters,
            "sample_rate": config.sample_rate,
            "window": config.window,
            "dim": config.dim,
            "teachers_licences": self._licences(),
        }

    def _licences(self) -> list[str]:
        return sorted({teacher.licence or "unknown" for teacher in self.config.teachers})


def find_bundles(folder: Path) -> tuple[list[BundleRecord], list[tuple[str, str]]]:
    """The bundles under a folder, and (folder, reason) of each that cannot be read."""
    found, damaged = [], []
    for place in _bundle_folders(folder):
        try:
            found.append(BundleRecord(place, read_checked_config(place / "config.json")[1]))
        except SondinoError as error:
            damaged.append((str(place), str(error).removeprefix(f"{place / 'config.json'}: ")))
    return found, damaged


def _bundle_folders(folder: Path) -> Iterator[Path]:
    """Folders that hold a bundle, whole or damaged, without those that are being written."""
    for place, inside, names in os.walk(folder):
        for name in [name for name in inside if name.startswith(".") and name.endswith(UNFINISHED)]:
            whole = name[1 : -len(UNFINISHED)]
            if whole not in inside:
                restore(Path(place) / whole)
                inside += [whole] if (Path(place) / whole).is_dir() else []
        inside[:] = sorted(name for name in inside if not (name.startswith(".") and name.endswith(PARTIAL)))
        if "config.json" in names and ("model.onnx" in names or is_bundle(Path(place))):
            yield Path(place)
