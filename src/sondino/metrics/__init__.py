"""Figures from embeddings and scores: agreement, classification, confidence intervals, collapse."""
