"""The encoder of MATPAC."""

import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from torch import Tensor

from sondino.errors import EncoderError
from sondino.frontend.logmel import MATPAC_LOGMEL, LogMel
from sondino.nets.vit import ViT

PREFIX = "student_encoder."
"""What published checkpoints put before the names of the encoder's blocks."""
NORM_STATS = "norm_stats"
"""Mean and deviation of the log-mels, where they are not the published ones."""


def build(tensors: Mapping[str, Tensor], path: Path) -> tuple[ViT, LogMel]:
    """The net of a MATPAC checkpoint and its front-end; `path` is for the message.

    One that was pretrained with `sondino pretrain` carries its normalisation as `norm_stats`, mean and deviation.

    Raises:
        EncoderError: these are no tensors of MATPAC.
    """
    state = {name.removeprefix(PREFIX): tensor for name, tensor in tensors.items()}
    logmel = MATPAC_LOGMEL
    if NORM_STATS in state:
        stats = state[NORM_STATS].flatten().tolist()
        if len(stats) != 2 or not (math.isfinite(stats[0]) and 0 < stats[1] < math.inf):
            raise EncoderError(f"{path}: its {NORM_STATS} are no mean and deviation: copy it again")
        logmel = replace(logmel, mean=stats[0], std=stats[1])
    return ViT.from_state(state, logmel.n_mels, f"{path}, read as a MATPAC checkpoint,"), logmel
