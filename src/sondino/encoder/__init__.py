"""The encoder: the contract between whatever maps sound to embeddings and whatever uses it."""

from sondino.encoder.check import check_encoder
from sondino.encoder.encoder import Encoder, ResolvedEncoder, resolve

__all__ = ["Encoder", "ResolvedEncoder", "check_encoder", "resolve"]
