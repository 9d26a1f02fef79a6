"""Smaller forms of a finished model."""
