"""Models and weights by name: where they are published, their hashes, and a local copy that works without a network."""

from sondino.hub.cache import cache_folder
from sondino.hub.catalogue import HEADS, PUBLISHED, HubFile, Published
from sondino.hub.releases import WEIGHTS, Weights, fetch

__all__ = [
    "HEADS",
    "PUBLISHED",
    "WEIGHTS",
    "HubFile",
    "Published",
    "Weights",
    "cache_folder",
    "fetch",
]
