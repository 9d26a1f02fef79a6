"""Distillation from output embeddings alone (S-SONDO, arXiv 2604.24933)."""

from sondino.errors import require_extra

require_extra("train")
