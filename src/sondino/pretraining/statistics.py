"""What shows whether a run learns or collapses, computed every few updates."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from sondino.pretraining.model import Pass


@torch.no_grad()
def describe_pass(found: Pass) -> dict[str, float]:
    """Statistics of a forward pass.

    Returns:
        deviation: of the normalised targets over all patches of the batch, times the root of their dimension: near 1
            for unrelated ones, 0 for equal ones.
        deviation_in_clip: the same within a clip, averaged over clips.
        perplexity: exp(entropy) of the mean class distribution: from 1, one class for all, to the number of classes.
        sharpness: exp(entropy) of a patch's class distribution, averaged as entropy: 1 is certain.
        classes: how many are the most probable one of some patch.
        wins_0 ...: share of the patches that each hypothesis is nearest to.
    """
    unit = F.normalize(found.targets, dim=-1)
    scale = math.sqrt(unit.shape[-1])
    described = {
        "deviation": float(unit.flatten(0, 1).std(0).mean()) * scale,
        "deviation_in_clip": float(unit.std(1).mean()) * scale if unit.shape[1] > 1 else 0.0,
    }
    if found.probabilities is not None:
        classes = found.probabilities.flatten(0, 1)
        described["perplexity"] = math.exp(float(_entropy(classes.mean(0))))
        described["sharpness"] = math.exp(float(_entropy(classes).mean()))
        described["classes"] = float(len(classes.argmax(-1).unique()))
    if found.best is not None and found.weights is not None:
        count = found.weights.shape[-1]
        wins = torch.bincount(found.best.flatten(), minlength=count) / found.best.numel()
        described |= {f"wins_{place}": float(share) for place, share in enumerate(wins)}
    return described


def _entropy(probabilities: Tensor) -> Tensor:
    return -(probabilities * probabilities.clamp_min(1e-30).log()).sum(-1)
