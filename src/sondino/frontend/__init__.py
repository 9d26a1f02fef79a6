"""The front-end: log-mel spectrograms, in NumPy and in torch."""

from sondino.frontend.logmel import LogMel
from sondino.frontend.logmel_numpy import log_mel

__all__ = ["LogMel", "log_mel"]
