"""MATPAC and MATPAC++ (arXiv 2502.12031, 2508.12709): a ViT-B over 80 mels, one vector of 3840 a clip."""

from sondino.frontend import MATPAC_LOGMEL
from sondino.teachers.catalogue import MATPAC_LICENCE
from sondino.teachers.spec import TeacherSpec
from sondino.teachers.vit import ViT
from sondino.teachers.vit_encoder import ViTEncoder, checkpoint
from sondino.teachers.weights import pick_device, read_state


def load(spec: TeacherSpec, device: str = "auto") -> ViTEncoder:
    """Open a MATPAC checkpoint; without a file the published MATPAC++ one is fetched.

    Raises:
        EncoderError: the file is no MATPAC checkpoint.
    """
    target = pick_device(device)
    path = checkpoint(spec)
    state = {name.removeprefix("student_encoder."): tensor for name, tensor in read_state(path).items()}
    vit = ViT.from_state(state, MATPAC_LOGMEL.n_mels, f"{path}, read as a MATPAC checkpoint,")
    return ViTEncoder(spec, vit, MATPAC_LOGMEL, path, target, MATPAC_LICENCE)
