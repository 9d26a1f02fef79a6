"""Heads: labels on top of vectors. What a head is, the published ones, and fitting one on labelled sound."""
