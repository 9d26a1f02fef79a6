"""Experiments on models, written down: evaluate, compare, support, sweep."""
