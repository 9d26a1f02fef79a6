"""MATPAC and MATPAC++ (arXiv 2502.12031, 2508.12709): a ViT-B over 80 mels, one embedding of 3840 a clip."""

from sondino.nets.checkpoints import read_state
from sondino.nets.matpac import build
from sondino.teachers.catalogue import MATPAC_LICENCE
from sondino.teachers.device import pick_device
from sondino.teachers.net_encoder import NetEncoder, checkpoint, vit_encoder
from sondino.teachers.spec import TeacherSpec


def load_matpac(spec: TeacherSpec, device: str = "auto") -> NetEncoder:
    """Open a MATPAC checkpoint; without a file the published MATPAC++ one is fetched.

    Raises:
        OptionError: the file cannot be read as a checkpoint.
        EncoderError: the file is no MATPAC checkpoint.
    """
    target = pick_device(device)
    path = checkpoint(spec)
    vit, logmel = build(read_state(path), path)
    return vit_encoder(spec, path, vit, logmel, target, MATPAC_LICENCE)
