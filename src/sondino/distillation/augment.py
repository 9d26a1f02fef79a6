"""Augmentation of a batch of log-mels during training: mixup and SpecAugment. Random numbers are torch's own."""

import torch
from torch import Tensor


def mixup(logmel: Tensor, alpha: float) -> tuple[Tensor, Tensor, Tensor]:
    """Mix every clip of a batch with another one (Zhang and others 2018).

    Args:
        logmel: (batch, mels, frames).
        alpha: of the Beta(alpha, alpha) distribution of the ratio.

    Returns:
        The mixed batch (batch, mels, frames), the partner of each clip (batch,), and the weight of the clip itself
        (batch,): max(l, 1 - l).
    """
    batch = len(logmel)
    # A ratio of gamma variates is beta distributed; torch draws them from its seeded generator.
    gammas = torch._standard_gamma(torch.full((2, batch), alpha))
    share = gammas[0] / gammas.sum(0).clamp_min(1e-12)
    ratio = torch.maximum(share, 1 - share).to(logmel.device)
    partner = torch.randperm(batch).to(logmel.device)
    weight = ratio[:, None, None].to(logmel.dtype)
    return weight * logmel + (1 - weight) * logmel[partner], partner, ratio


def spec_augment(logmel: Tensor, frequency_mask: int = 16, time_mask: float = 0.1) -> Tensor:
    """Mask one band of mels and one stretch of time of every clip with the clip's mean (Park and others 2019).

    Args:
        logmel: (batch, mels, frames).
        frequency_mask: largest number of mels.
        time_mask: largest share of the frames.

    Returns:
        The masked batch (batch, mels, frames).
    """
    batch, mels, frames = logmel.shape
    masked = _stretch(batch, mels, min(frequency_mask, mels)).unsqueeze(2) | _stretch(
        batch, frames, int(time_mask * frames)
    ).unsqueeze(1)
    return torch.where(masked.to(logmel.device), logmel.mean((1, 2), keepdim=True), logmel)


def _stretch(batch: int, size: int, longest: int) -> Tensor:
    """A mask (batch, size) with one random stretch of at most `longest` places per row."""
    width = torch.randint(0, longest + 1, (batch, 1))
    start = (torch.rand(batch, 1) * (size - width + 1)).long()
    place = torch.arange(size)
    return (place >= start) & (place < start + width)
