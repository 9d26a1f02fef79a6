"""The mapping head: from the student's embedding to the teacher's dimension, dropped after training."""

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

BLOCK = 256
LARGEST = 8.0
"""Deviations from the mean at which a standardised value is cut: rectified embeddings have rare values of 20 and more,
which would be most of a squared error."""


class Standardise(nn.Module):
    """Brings each dimension of a teacher's embeddings to mean 0 and deviation 1.

    The probes read standardised embeddings, and a distance between raw ones is mostly one between a few dimensions and
    their means.

    Args:
        dim: of the embeddings.
        targets: (rows, dim) that mean and deviation are measured on; None: dimensions stay as they are.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(self, dim: int, targets: NDArray[np.float16] | None) -> None:
        super().__init__()
        self.largest = math.inf if targets is None else LARGEST
        mean, deviation = np.zeros(dim, np.float32), np.ones(dim, np.float32)
        if targets is not None:
            measured = np.empty(dim)
            for first in range(0, dim, BLOCK):  # all at once would be a gigabyte for 3,840 dimensions
                some = slice(first, first + BLOCK)
                chosen = targets[:, some].astype(np.float64)
                mean[some], measured[some] = chosen.mean(0), chosen.std(0)
            # A dimension that hardly varies counts for little, and one that does not vary for nothing.
            least = max(1e-3 * float(measured.mean()), 1e-6)
            deviation = np.maximum(measured, least).astype(np.float32)
        self.register_buffer("mean", torch.from_numpy(mean))
        self.register_buffer("deviation", torch.from_numpy(deviation))

    def forward(self, embeddings: Tensor) -> Tensor:
        """Standardised embeddings (batch, dim)."""
        return ((embeddings - self.mean) / self.deviation).clamp(-self.largest, self.largest)


class MappingHead(nn.Module):
    """Linear, hardswish, dropout, linear (S-SONDO, arXiv 2604.24933).

    Args:
        dim: embedding dimension of the student.
        teacher_dim: embedding dimension of the teacher.
        hidden: units of the hidden layer.
        dropout: its probability.
    """

    def __init__(self, dim: int, teacher_dim: int, hidden: int = 1280, dropout: float = 0.2) -> None:
        super().__init__()
        self.mlp = nn.Sequential(
            nn.Linear(dim, hidden), nn.Hardswish(inplace=True), nn.Dropout(dropout), nn.Linear(hidden, teacher_dim)
        )

    def forward(self, embeddings: Tensor) -> Tensor:
        """Projections (batch, teacher_dim) of embeddings (batch, dim)."""
        return self.mlp(embeddings)
