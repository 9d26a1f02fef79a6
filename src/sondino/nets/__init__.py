"""Architectures: students and published encoders, their weights and their size."""
