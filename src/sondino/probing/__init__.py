"""Probes on frozen embeddings: a linear classifier and the nearest neighbours."""
