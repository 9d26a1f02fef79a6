"""Fewer filters in a trained student, with recovery."""
