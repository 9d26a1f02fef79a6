"""Write a student as a bundle, checking its ONNX form against torch."""

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from sondino.audio.windows import ShortPolicy
from sondino.encoder.head import Head
from sondino.errors import RunError, require_extra
from sondino.files import sha256
from sondino.model.bundle import finish_bundle, new_bundle
from sondino.model.config import BUNDLE_FORMAT
from sondino.nets.student import Student

TOLERANCE = 1e-4
"""Largest difference between ONNX and torch, relative to the largest value, that a bundle is written with."""

NEAR_SILENCE = 1e-3
"""The same where what is added to the mel power before the logarithm, or its floor, is as small as rounding errors of
float32 (CNN14, MATPAC, M2D): they are what nearly silent bands hold, and they differ between implementations of the
log-mel (0.03 dB in audio that was resampled from 16 kHz)."""
SMALL_OFFSET = 1e-6


class Writable(Protocol):
    """What a bundle is made of: `TorchModel` has it all."""

    backbone: Student
    name: str
    window: float
    short: ShortPolicy
    facts: dict[str, Any]

    def as_head(self) -> Head | None:
        """The head as arrays; None where there is none."""
        ...


def write_bundle(model: Writable, folder: Path, clips: Sequence[NDArray[np.float32]] = ()) -> Path:
    """Write a model as a bundle, checking ONNX against torch on noise and on real clips.

    Args:
        model: a student, its head and its facts; it stays as it is, on any device and in any mode.
        folder: where to; an older bundle there is replaced once the new one is whole.
        clips: waveforms (samples,) at the model's rate to compare on.

    Returns:
        the folder, as an absolute path.

    Raises:
        OptionError: the folder holds something that is no bundle.
        RunError: ONNX and torch differ by more than 1e-4 of the largest value (1e-3 for CNN14, MATPAC and M2D), and
            ONNX is further from float64 than four times torch's own difference and three times the bound; or the disk
            is full.
    """
    require_extra("train")
    from safetensors import torch as safetensors

    from sondino.model.onnx_file import export_onnx, only_rounding, verify_onnx
    from sondino.nets.size import macs, parameters

    student = copy.deepcopy(model.backbone).cpu().eval()
    with new_bundle(folder) as partial:
        tensors = {name: tensor.contiguous() for name, tensor in student.state_dict().items()}
        (partial / "model.safetensors").write_bytes(safetensors.save(tensors))  # save_file lets only its owner read it
        export_onnx(student, partial / "model.onnx", partial / "body.onnx")
        written = partial / "model.onnx", partial / "body.onnx"
        difference = verify_onnx(student, *written, list(clips))
        bound = NEAR_SILENCE if student.logmel.log_offset < SMALL_OFFSET else TOLERANCE
        if not difference <= bound and not only_rounding(student, *written, list(clips), bound):
            raise RunError(
                f"the exported model differs from the trained one by {difference:.1e} of the largest value, over the "
                f"bound of {bound:.0e}, and is further from float64 than torch is: no bundle was written; please "
                "report this with the run's recipe.yaml"
            )
        config = {
            "format": BUNDLE_FORMAT,
            "name": model.name,
            "student": student.name,
            "width": student.width,
            "sample_rate": student.logmel.sample_rate,
            "dim": student.dim,
            "window": model.window,
            "short": model.short,
            "minimum": student.minimum_samples,
            "front_end": student.logmel.as_dict(),
            "build": student.build,
            "parameters": parameters(student),
            "macs_per_10s": macs(student, 10.0),
            "onnx_difference": difference,
            "hashes": {file: sha256(partial / file) for file in ("model.onnx", "body.onnx", "model.safetensors")},
            **model.facts,
        }
        finish_bundle(partial, config, model.as_head())
    return folder.resolve()
