"""The ViT of MATPAC and M2D in the shape of a student: log-mels of one length to one embedding."""

from dataclasses import asdict
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from sondino.frontend.logmel import LogMel, n_frames
from sondino.nets.student import Student
from sondino.nets.vit import ViT


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

    @property
    def build(self) -> dict[str, Any]:
        """The sizes of the ViT, and the samples that it takes."""
        return {"vit": {**asdict(self.vit.shape), "samples": self.fixed_samples}}

    def forward(self, logmel: Tensor) -> Tensor:
        """Embeddings (batch, dim) of log-mels (batch, n_mels, frames)."""
        image = self.as_image(logmel).squeeze(1)
        padded = F.pad(image, (0, -image.shape[2] % self.vit.shape.patch[1]))
        columns = [self.vit(part) for part in padded.split(self.vit.shape.frames, dim=2)]
        return torch.cat(columns, dim=1).mean(dim=1)
