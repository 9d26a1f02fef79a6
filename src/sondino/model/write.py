"""Write a student as a bundle, checking its ONNX form against torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from sondino.errors import RunError, require
from sondino.files import sha256
from sondino.model.bundle import BUNDLE_FORMAT, finish_bundle, new_bundle
from sondino.model.head import Head

if TYPE_CHECKING:
    from sondino.nets.student import Student

TOLERANCE = 1e-4
"""Largest difference between ONNX and torch, relative to the largest value, that a bundle is written with."""

IN_DECIBELS = 1e-3
"""The same where the log-mel goes down to a floor: what it hears in bands that are all but silent is rounding, of which
each way of computing it has its own (0.03 dB in sound that was resampled from 16 kHz)."""


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
    from sondino.errors import require_export

    require_export()
    safetensors = require("safetensors.torch", "train")

    from sondino.model.onnx_file import export_onnx, verify_onnx
    from sondino.nets.size import macs, parameters

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
            "format": BUNDLE_FORMAT,
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
