"""M2D, masked modelling duo (arXiv 2210.14648): a ViT-B over 80 mels, one vector of 3840 a clip."""

import re
from pathlib import Path

from sondino.errors import EncoderError
from sondino.frontend import m2d_logmel
from sondino.teachers.catalogue import M2D_LICENCE
from sondino.teachers.spec import TeacherSpec
from sondino.teachers.vit import ViT
from sondino.teachers.vit_encoder import ViTEncoder, checkpoint
from sondino.teachers.weights import pick_device, read_state

# ...-80x608p16x16-221006-mr7: mels x frames, p, patch mels x frames, then p32k where the rate is not 16 kHz
_NAMED = re.compile(r"-(\d+)x(\d+)p(\d+)x(\d+)(?:p(\d+)k)?")

_FINE_TUNED = "module.ar.runtime.backbone."  # what fine-tuned checkpoints put before the encoder's names


def named_sizes(path: Path) -> tuple[tuple[int, int], tuple[int, int], int] | None:
    """Input size, patch size and sample rate as the checkpoint's folder (or its own name) carries them."""
    for name in (path.parent.name, path.stem):
        if found := _NAMED.search(name):
            mels, frames, high, wide = (int(n) for n in found.groups()[:4])
            return (mels, frames), (high, wide), 1000 * int(found.group(5) or 16)
    return None


def load(spec: TeacherSpec, device: str = "auto") -> ViTEncoder:
    """Open an M2D checkpoint; without a file the published one (80x608, 16 kHz) is fetched.

    The normalisation is the checkpoint's `norm_stats`, else (-7.1, 4.2); the rate that of `?rate=`, else of the
    folder's name, else 16 kHz.

    Raises:
        EncoderError: the file is no M2D checkpoint, or not of the sizes that its folder's name says.
    """
    target = pick_device(device)
    path = checkpoint(spec)
    state = {name.removeprefix(_FINE_TUNED): tensor for name, tensor in read_state(path).items()}
    named = named_sizes(path)
    stats = state["norm_stats"].tolist() if "norm_stats" in state else (-7.1, 4.2)
    logmel = m2d_logmel(spec.rate(named[2] if named else 16000), *stats)
    vit = ViT.from_state(state, logmel.n_mels, f"{path}, read as an M2D checkpoint,")
    if named and named[:2] != ((logmel.n_mels, vit.shape.frames), vit.shape.patch):
        (mels, frames), (high, wide), _ = named
        raise EncoderError(
            f"{path} lies in a folder named for {mels}x{frames} inputs in {high}x{wide} patches, but holds "
            f"{logmel.n_mels}x{vit.shape.frames} in {vit.shape.patch[0]}x{vit.shape.patch[1]}: "
            "give the folder its name back"
        )
    return ViTEncoder(spec, vit, logmel, path, target, M2D_LICENCE)
