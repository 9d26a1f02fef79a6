"""The encoder of M2D, by the size that its checkpoint's folder names."""

import math
import re
from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from sondino.errors import EncoderError
from sondino.frontend.logmel import LogMel, m2d_logmel
from sondino.nets.vit import ViT

# ...-80x608p16x16-221006-mr7: mels x frames, p, patch mels x frames, then p32k where the rate is not 16 kHz
_NAMED = re.compile(r"-(\d+)x(\d+)p(\d+)x(\d+)(?:p(\d+)k)?")

FINE_TUNED = "module.ar.runtime.backbone."
"""What fine-tuned checkpoints put before the encoder's names."""


def named_sizes(path: Path) -> tuple[tuple[int, int], tuple[int, int], int] | None:
    """Input size, patch size and sample rate as the checkpoint's folder (or its own name) carries them."""
    for name in (path.parent.name, path.stem):
        if found := _NAMED.search(name):
            mels, frames, high, wide = (int(n) for n in found.groups()[:4])
            return (mels, frames), (high, wide), 1000 * int(found.group(5) or 16)
    return None


def build(tensors: Mapping[str, Tensor], path: Path, rate: int | None = None) -> tuple[ViT, LogMel]:
    """The net of an M2D checkpoint and its front-end.

    Args:
        tensors: of the checkpoint; the normalisation is its `norm_stats`, else (-7.1, 4.2).
        path: its file, whose folder's name carries the sizes.
        rate: in hertz; None: that of the folder's name, else 16 kHz.

    Raises:
        EncoderError: these are no tensors of M2D, or not of the sizes in the folder's name.
    """
    state = {name.removeprefix(FINE_TUNED): tensor for name, tensor in tensors.items()}
    named = named_sizes(path)
    stats = state["norm_stats"].flatten().tolist() if "norm_stats" in state else [-7.1, 4.2]
    if len(stats) != 2 or not (math.isfinite(stats[0]) and 0 < stats[1] < math.inf):
        raise EncoderError(f"{path}: its norm_stats are no mean and deviation: fetch it again")
    logmel = m2d_logmel(rate or (named[2] if named else 16000), *stats)
    vit = ViT.from_state(state, logmel.n_mels, f"{path}, read as an M2D checkpoint,")
    if named and named[:2] != ((logmel.n_mels, vit.shape.frames), vit.shape.patch):
        (mels, frames), (high, wide), _ = named
        raise EncoderError(
            f"{path} lies in a folder named for {mels}x{frames} inputs in {high}x{wide} patches, but holds "
            f"{logmel.n_mels}x{vit.shape.frames} in {vit.shape.patch[0]}x{vit.shape.patch[1]}: "
            "give the folder its name back"
        )
    return vit, logmel
