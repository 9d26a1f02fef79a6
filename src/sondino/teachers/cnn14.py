"""CNN14 of PANNs (arXiv 1912.10211): a convolutional net over 64 mels in decibels, one embedding of 2048 a clip."""

from sondino.nets.checkpoints import read_state
from sondino.nets.panns import build
from sondino.teachers.catalogue import CNN14_LICENCE
from sondino.teachers.device import pick_device
from sondino.teachers.net_encoder import NetEncoder, checkpoint
from sondino.teachers.spec import TeacherSpec


def load_cnn14(spec: TeacherSpec, device: str = "auto") -> NetEncoder:
    """Open a CNN14 checkpoint; without a file the published one is fetched.

    Raises:
        OptionError: the file cannot be read as a checkpoint, or is no CNN14.
    """
    target = pick_device(device)
    path = checkpoint(spec)
    net = build(read_state(path), path)
    return NetEncoder(spec, path, net, net, net.logmel, net.minimum_samples, target, CNN14_LICENCE)
