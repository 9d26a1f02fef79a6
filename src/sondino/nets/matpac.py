"""The encoder of MATPAC."""

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from sondino.frontend.logmel import MATPAC_LOGMEL, LogMel
from sondino.nets.vit import ViT

PREFIX = "student_encoder."
"""What published checkpoints put before the names of the encoder's blocks."""


def build(tensors: Mapping[str, Tensor], path: Path) -> tuple[ViT, LogMel]:
    """The net of a MATPAC checkpoint and its front-end; `path` is for the message.

    Raises:
        EncoderError: these are no tensors of MATPAC.
    """
    state = {name.removeprefix(PREFIX): tensor for name, tensor in tensors.items()}
    return ViT.from_state(state, MATPAC_LOGMEL.n_mels, f"{path}, read as a MATPAC checkpoint,"), MATPAC_LOGMEL
