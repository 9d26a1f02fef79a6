"""MATPAC and MATPAC++ (arXiv 2502.12031, 2508.12709): a ViT-B over 80 mels, one vector of 3840 a clip."""

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from sondino.checkpoints import read_state
from sondino.frontend import MATPAC_LOGMEL, LogMel
from sondino.teachers.catalogue import MATPAC_LICENCE
from sondino.teachers.device import pick_device
from sondino.teachers.net_encoder import NetEncoder, checkpoint, vit_encoder
from sondino.teachers.spec import TeacherSpec
from sondino.teachers.vit import ViT

PREFIX = "student_encoder."
"""What published checkpoints put before the names of the encoder's blocks."""


def load(spec: TeacherSpec, device: str = "auto") -> NetEncoder:
    """Open a MATPAC checkpoint; without a file the published MATPAC++ one is fetched.

    Raises:
        OptionError: the file cannot be read as a checkpoint.
        EncoderError: the file is no MATPAC checkpoint.
    """
    target = pick_device(device)
    path = checkpoint(spec)
    vit, logmel = build(read_state(path), path)
    return vit_encoder(spec, path, vit, logmel, target, MATPAC_LICENCE)


def build(tensors: Mapping[str, Tensor], path: Path) -> tuple[ViT, LogMel]:
    """The net of a MATPAC checkpoint and what it hears through; `path` is for the sentence.

    Raises:
        EncoderError: these are no tensors of MATPAC.
    """
    state = {name.removeprefix(PREFIX): tensor for name, tensor in tensors.items()}
    return ViT.from_state(state, MATPAC_LOGMEL.n_mels, f"{path}, read as a MATPAC checkpoint,"), MATPAC_LOGMEL
