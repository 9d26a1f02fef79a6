"""M2D, masked modelling duo (arXiv 2210.14648): a ViT-B over 80 mels, one embedding of 3840 a clip."""

from sondino.nets.checkpoints import read_state
from sondino.nets.m2d import build, named_sizes
from sondino.teachers.catalogue import M2D_LICENCE
from sondino.teachers.device import pick_device
from sondino.teachers.net_encoder import NetEncoder, checkpoint, vit_encoder
from sondino.teachers.spec import TeacherSpec


def load_m2d(spec: TeacherSpec, device: str = "auto") -> NetEncoder:
    """Open an M2D checkpoint; without a file the published one (80x608, 16 kHz) is fetched.

    Raises:
        OptionError: the file cannot be read as a checkpoint.
        EncoderError: the file is no M2D checkpoint, or not of the sizes that its folder's name says.
    """
    target = pick_device(device)
    path = checkpoint(spec)
    named = named_sizes(path)
    vit, logmel = build(read_state(path), path, spec.rate(named[2] if named else 16000))
    return vit_encoder(spec, path, vit, logmel, target, M2D_LICENCE)
