"""Distillation from output embeddings alone (S-SONDO, arXiv 2604.24933)."""
