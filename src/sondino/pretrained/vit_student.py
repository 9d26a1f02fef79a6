"""MATPAC and M2D as bundles: the teachers' ViT in the shape of a student."""

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from sondino.frontend.logmel import LogMel, n_frames
from sondino.model.torch_model import TorchModel
from sondino.nets import m2d, matpac
from sondino.nets.student import Student
from sondino.nets.vit import ViT
from sondino.nets.weights import check_finite, counted
from sondino.pretrained.source import source_facts
from sondino.teachers.catalogue import RECORDS

WINDOW = 10.0
"""Seconds: as long as the clips that both were published with."""


class ViTStudent(Student):
    """A ViT over log-mels of one length, cut into inputs of its own, and the mean over time of what they give.

    Args:
        name: "matpac" or "m2d".
        vit: with its weights.
        logmel: its front-end.
        window: seconds that it takes, no more and no less: its graph has no loop over inputs.
    """

    def __init__(self, name: str, vit: ViT, logmel: LogMel, window: float) -> None:
        super().__init__()
        self.name, self.width, self.dim = name, 1.0, vit.dim
        self.logmel = logmel
        self.fixed_samples = round(window * logmel.sample_rate)
        self.minimum_frames = n_frames(logmel, self.fixed_samples)
        self.vit = vit

    def forward(self, logmel: Tensor) -> Tensor:
        """Embeddings (batch, dim) of log-mels (batch, n_mels, frames)."""
        image = self.as_image(logmel).squeeze(1)
        padded = F.pad(image, (0, -image.shape[2] % self.vit.shape.patch[1]))
        columns = [self.vit(part) for part in padded.split(self.vit.shape.frames, dim=2)]
        return torch.cat(columns, dim=1).mean(dim=1)


def read_vit(
    kind: Literal["matpac", "m2d"], tensors: Mapping[str, Tensor], path: Path, window: float | None = None
) -> TorchModel:
    """The encoder of a MATPAC or M2D checkpoint.

    Args:
        kind: which of the two.
        tensors: its state dict.
        path: its file; the name of M2D's folder carries the rate.
        window: seconds of the model's input window; None: 10.

    Raises:
        EncoderError: these are not the tensors of such a model.
        OptionError: a tensor holds NaN.
    """
    vit, logmel = matpac.build(tensors, path) if kind == "matpac" else m2d.build(tensors, path)
    window = window or WINDOW
    student = ViTStudent(kind, vit, logmel, window)
    check_finite(student.state_dict(), path)
    rest = len(tensors) - len(vit.state_dict()) - ("norm_stats" in tensors)
    dropped = [f"{counted(rest, 'tensor')} not used for embeddings"] if rest else []
    facts = {"source": source_facts(kind, path, RECORDS[kind].licence, dropped), "teachers": []}
    return TorchModel(student.eval(), path.stem, window, short="repeat", facts=facts)
