"""The mapping head: from the student's vector to the teacher's dimension, thrown away after training."""

from torch import Tensor, nn


class MappingHead(nn.Module):
    """Linear, hardswish, dropout, linear (S-SONDO, arXiv 2604.24933).

    Args:
        dim: of the student's vectors.
        teacher_dim: of the teacher's.
        hidden: numbers in between.
        dropout: share of them left out at each training step.
    """

    def __init__(self, dim: int, teacher_dim: int, hidden: int = 1280, dropout: float = 0.2) -> None:
        super().__init__()
        self.mlp = nn.Sequential(
            nn.Linear(dim, hidden), nn.Hardswish(inplace=True), nn.Dropout(dropout), nn.Linear(hidden, teacher_dim)
        )

    def forward(self, vectors: Tensor) -> Tensor:
        """Projections (batch, teacher_dim) of vectors (batch, dim)."""
        return self.mlp(vectors)
