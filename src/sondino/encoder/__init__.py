"""The encoder: the contract between whatever maps sound to embeddings and whatever uses it."""

from sondino.encoder.check import check_encoder
from sondino.encoder.encoder import Encoder

__all__ = ["Encoder", "check_encoder"]
