"""Patches of a log-mel: how many there are, their fixed positions, and which are masked."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


def sincos_positions(grid: tuple[int, int], width: int) -> NDArray[np.float32]:
    """Fixed positions (1 + patches, width) of a grid's patches row by row, after a row of zeros for the class token.

    The first half of the channels codes the column (time), the second the row; each half is sines, then cosines, of the
    place at width / 4 frequencies from 1 down to 1 / 10000 (as in MAE, arXiv 2111.06377).

    Args:
        grid: (rows, columns) of patches.
        width: of a token, a multiple of 4.
    """
    rows, columns = np.meshgrid(*(np.arange(n, dtype=np.float64) for n in grid), indexing="ij")
    frequencies = 10000.0 ** (-np.arange(width // 4) / (width / 4))
    halves = []
    for place in (columns, rows):
        phases = np.outer(place.reshape(-1), frequencies)
        halves += [np.sin(phases), np.cos(phases)]
    table = np.concatenate(halves, axis=1)
    return np.concatenate([np.zeros((1, width)), table]).astype(np.float32)


def count_visible(patches: int, ratio: float) -> int:
    """How many of some patches stay visible at a mask ratio; rounded down, as published."""
    return int(patches * (1 - ratio))


def split_patches(noise: Tensor, visible: int) -> tuple[Tensor, Tensor]:
    """Indices of the visible and of the masked patches of each clip, both in random order.

    Args:
        noise: (batch, patches), uniform.
        visible: how many stay visible: those with the least noise.

    Returns:
        (batch, visible) and (batch, masked).
    """
    order = noise.argsort(dim=1)
    return order[:, :visible], order[:, visible:]


def take(tokens: Tensor, index: Tensor) -> Tensor:
    """The tokens (batch, n, width) at some indices (batch, n) of tokens (batch, patches, width)."""
    return tokens.gather(1, index.unsqueeze(-1).expand(-1, -1, tokens.shape[-1]))


def mask_noise(shape: tuple[int, int], seed: int) -> Tensor:
    """Uniform noise (batch, patches) of a seed, the same on every device."""
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))
