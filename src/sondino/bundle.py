"""A model on disk: config.json, model.safetensors, model.onnx (raw waveform in, vector out), body.onnx and card.md.

body.onnx is the same net from the log-mel on; its weights are those inside model.onnx. A bundle with a head has a
head.safetensors too. Opening one needs no torch and unpickles nothing.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from sondino import files
from sondino.audio import WindowPolicy
from sondino.card import card
from sondino.errors import RunError, require
from sondino.files import sha256
from sondino.heads.head import Head, write_head
from sondino.runtime import FORMAT, Model
from sondino.sessions import Engine, Precision

if TYPE_CHECKING:
    from sondino.students.common import Student

TOLERANCE = 1e-4
"""Largest difference between ONNX and torch, relative to the largest value, that a bundle is written with."""
IN_DECIBELS = 1e-3
"""The same where the log-mel goes down to a floor: what it hears in bands that are all but silent is rounding, of which
each way of computing it has its own (0.03 dB in sound that was resampled from 16 kHz)."""


def load(
    source: str | Path,
    threads: int | None = None,
    *,
    windows: WindowPolicy = "all",
    head: Head | str | Path | None = None,
    device: str = "cpu",
    engine: Engine = "onnxruntime",
    precision: Precision = "float32",
) -> Model:
    """Open a model that embeds files, folders and arrays, without torch.

    A published checkpoint is converted once, which needs torch, and kept as a bundle in the user's cache.

    Args:
        source: a bundle, a run's folder, a published name such as "ssondo/matpac-mobilenetv3", "hf:owner/name" of a
            bundle on the Hugging Face hub, or a published checkpoint's file.
        threads: processor threads to use; None: all.
        windows: "all" keeps short clips and tails; "published" hears full windows only, as the published package does.
        head: in place of the model's own: a published head's name ("esc50"), a file of one, or a bundle that has one.
        device: "cpu", or "cuda" with onnxruntime-gpu.
        engine: "onnxruntime", or "openvino" with `pip install 'sondino[openvino]'`.
        precision: "float32"; with OpenVINO also "bfloat16" or "float16". `Model.cosine_to_float32` says what it costs.

    Raises:
        OptionError: there is no such model, or an option is out of range.
        SondinoError: a file of it is damaged, or cannot be fetched.
    """
    from sondino.hub import locate

    model = Model(locate(source), threads, windows=windows, device=device, engine=engine, precision=precision)
    return model if head is None else model.with_head(head)


def write_bundle(
    folder: Path,
    student: Student,
    name: str,
    window: float,
    short: str,
    real_clips: Sequence[NDArray[np.float32]],
    facts: Mapping[str, Any],
    head: Head | None = None,
) -> Path:
    """Write a student as a bundle, checking ONNX against torch on noise and on real clips.

    Args:
        folder: where to; an older bundle there is replaced once the new one is whole.
        student: the trained net.
        name: what the model is called.
        window: seconds of audio that it takes at once.
        short: what is done with clips under a window: "pad", "native" or "repeat".
        real_clips: waveforms (samples,) at the student's rate to compare on.
        facts: what else the config and the card should say: teacher, licences, data, scores.
        head: from its vectors to labels.

    Raises:
        OptionError: the folder holds something that is no bundle.
        RunError: ONNX and torch differ by more than 1e-4 of the largest value (1e-3 for CNN14), or the disk is full.
    """
    from sondino.export import require_export

    require_export()
    safetensors = require("safetensors.torch", "train")

    from sondino.evaluate.measure import macs, parameters
    from sondino.export.onnx import export_onnx, verify_onnx

    student = student.eval().cpu()
    with new_bundle(folder) as partial:
        tensors = {name: tensor.contiguous() for name, tensor in student.state_dict().items()}
        (partial / "model.safetensors").write_bytes(safetensors.save(tensors))  # save_file lets only its owner read it
        export_onnx(student, partial / "model.onnx", partial / "body.onnx")
        difference = verify_onnx(student, partial / "model.onnx", partial / "body.onnx", list(real_clips))
        bound = IN_DECIBELS if student.logmel.log_floor else TOLERANCE
        if not difference <= bound:
            raise RunError(
                f"the exported model differs from the trained one by {difference:.1e} of the largest value, over the "
                f"bound of {bound:.0e}: no bundle was written; please report this with the run's recipe.yaml"
            )
        config = {
            "format": FORMAT,
            "name": name,
            "student": student.name,
            "width": student.width,
            "sample_rate": student.logmel.sample_rate,
            "dim": student.dim,
            "window": window,
            "short": short,
            "minimum": student.minimum_samples,
            "front_end": student.logmel.as_dict(),
            "build": student.build,
            "parameters": parameters(student),
            "macs_per_10s": macs(student, 10.0),
            "onnx_difference": difference,
            "hashes": {file: sha256(partial / file) for file in ("model.onnx", "body.onnx", "model.safetensors")},
            **facts,
        }
        finish_bundle(partial, config, head)
    return folder.resolve()


def free_folder(folder: Path) -> Path:
    """A folder that a bundle may be written to, as a whole path: not there yet, empty, or an older bundle.

    Raises:
        OptionError: it holds something else.
    """
    return files.free_folder(folder, _is_bundle, "bundle")


def new_bundle(folder: Path) -> AbstractContextManager[Path]:
    """An empty folder to write a bundle in, which becomes `folder` once it is whole: `files.replacing`."""
    return files.replacing(folder, _is_bundle, "bundle")


def _is_bundle(folder: Path) -> bool:
    try:
        return FORMAT in (folder / "config.json").read_text(encoding="utf-8")
    except (OSError, ValueError):
        return False


def copy_with_head(folder: Path, out: Path, head: Head | None, facts: Mapping[str, Any]) -> Path:
    """A copy of a bundle with a head of its own; its vectors stay the same to the bit.

    Args:
        folder: the bundle.
        out: where to; an older bundle there is replaced once the new one is whole.
        head: from the bundle's vectors to labels; None: none.
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
    """Write what stands beside the net in a bundle's folder: the head, config.json and the card.

    Args:
        partial: the folder; holds model.onnx.
        config: of config.json; its entries about the head are made anew.
        head: from its vectors to labels.
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
    """A row for each bundle under a folder: name, place, size, rate, dimension, licence of its teachers."""
    rows = []
    for file in sorted(folder.rglob("config.json")):
        try:
            config = json.loads(file.read_text())
        except (OSError, ValueError):
            continue  # somebody else's config.json
        if not isinstance(config, dict) or config.get("format") != FORMAT:
            continue
        licences = sorted({str(t.get("licence") or "unknown") for t in config.get("teachers", [])})
        rows.append(
            {
                "name": str(config.get("name")),
                "folder": str(file.parent),
                "parameters": f"{config['parameters'] / 1e6:.2f} M" if "parameters" in config else "",
                "rate": f"{config.get('sample_rate')} Hz",
                "window": f"{config['window']:g} s" if config.get("window") else "any",
                "dimension": str(config.get("dim")),
                "teachers' licences": ", ".join(licences) or "no teacher",
            }
        )
    return rows
