"""Distances between a student's projected embeddings and a teacher's, as pure functions (S-SONDO, arXiv 2604.24933).

Every loss takes `projected` and `target`, both (batch, dim) float32, and returns one value per clip, (batch,),
so that losses can be mixed clip by clip (mixup). The published ones are the means of these.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

Loss = Callable[[Tensor, Tensor], Tensor]

CLAP_TEMPERATURE = 0.1
KL_TEMPERATURE = 2.0


def cosine(projected: Tensor, target: Tensor) -> Tensor:
    """1 - cos(h(z_s), z_t), independent of the norms. The published choice."""
    return 1 - F.cosine_similarity(projected, target, dim=1)


def clap(projected: Tensor, target: Tensor) -> Tensor:
    """Symmetric InfoNCE over the batch, between each clip's projection and its own teacher embedding."""
    # (batch, dim) @ (dim, batch) -> (batch, batch)
    logits = F.normalize(projected, dim=1) @ F.normalize(target, dim=1).T / CLAP_TEMPERATURE
    diagonal = torch.arange(len(logits), device=logits.device)
    return (
        F.cross_entropy(logits, diagonal, reduction="none") + F.cross_entropy(logits.T, diagonal, reduction="none")
    ) / 2


def kl(projected: Tensor, target: Tensor) -> Tensor:
    """Kullback-Leibler divergence of the softmaxed embeddings at temperature 2, mean over dimensions, times T^2."""
    # (batch, dim) each; the mean over dim gives (batch,)
    student = F.log_softmax(projected / KL_TEMPERATURE, dim=1)
    teacher = F.log_softmax(target / KL_TEMPERATURE, dim=1)
    return F.kl_div(student, teacher, reduction="none", log_target=True).mean(1) * KL_TEMPERATURE**2


def l1(projected: Tensor, target: Tensor) -> Tensor:
    """Mean absolute difference over dimensions."""
    return (projected - target).abs().mean(1)


def mse(projected: Tensor, target: Tensor) -> Tensor:
    """Mean squared difference over dimensions."""
    return (projected - target).square().mean(1)


LOSSES: dict[str, Loss] = {"cosine": cosine, "clap": clap, "kl": kl, "l1": l1, "mse": mse}


def mixed(loss: Loss, projected: Tensor, target: Tensor, partner: Tensor, ratio: Tensor) -> Tensor:
    """The loss of a mixup batch: ratio * loss with the clip's target + (1 - ratio) * loss with its partner's.

    Args:
        partner: index (batch,) of the clip that was mixed into each.
        ratio: weight (batch,) of the clip itself, from 0.5 to 1.
    """
    return ratio * loss(projected, target) + (1 - ratio) * loss(projected, target[partner])


def class_loss(logits: Tensor, classes: Tensor) -> Tensor:
    """Cross-entropy (batch,) of a softmax over logits (batch, classes) with each clip's class; 0 where it is -1."""
    return F.cross_entropy(logits, classes, ignore_index=-1, reduction="none")


def marks_loss(logits: Tensor, marks: Tensor) -> Tensor:
    """Binary cross-entropy (batch,) of logits (batch, classes) with marks of 0 and 1, the mean over classes.

    A clip whose marks are -1 has no labels: 0.
    """
    losses = F.binary_cross_entropy_with_logits(logits, marks.clamp_min(0), reduction="none").mean(1)
    return losses * (marks[:, 0] >= 0)
