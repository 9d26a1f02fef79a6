"""The mapping head: from the student's embedding to the teacher's dimension, dropped after training."""

from torch import Tensor, nn


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
