"""The losses of MATPAC (arXiv 2502.12031) and MATPAC++ (arXiv 2508.12709), on masked patches alone.

All are computed in float32. Shapes: B clips, M masked patches, D the encoder's width, H hypotheses, K classes.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

HARD = 1e-4
"""Temperature of the hypotheses from which on the best alone counts."""
STUDENT_TEMPERATURE = 0.1
CENTRE_MOMENTUM = 0.9


def distances(target: Tensor, predicted: Tensor) -> Tensor:
    """Distance 2 - 2 cos of each prediction to its target.

    Args:
        target: the teacher's outputs (B, M, D), which get no gradient.
        predicted: (B, M, D), or hypotheses (B, M, H, D).

    Returns:
        (B, M) or (B, M, H).
    """
    target = F.normalize(target.detach().float(), dim=-1)
    if predicted.ndim == 4:
        target = target.unsqueeze(2)
    return 2 - 2 * (target * F.normalize(predicted.float(), dim=-1)).sum(-1)


def hypothesis_weights(distance: Tensor, temperature: float) -> Tensor:
    """Weights (B, M, H) of the hypotheses by their distances (B, M, H): annealed winner-takes-all, without gradient.

    At a temperature of `HARD` or less the best has all the weight.
    """
    distance = distance.detach()
    if temperature <= HARD:
        return F.one_hot(distance.argmin(-1), distance.shape[-1]).to(distance.dtype)
    return torch.softmax(-distance / temperature, dim=-1)


def class_probabilities(logits: Tensor, centre: Tensor, temperature: float) -> Tensor:
    """The teacher's classes (B, M, K): logits less the centre (K,), sharpened by a temperature."""
    return torch.softmax((logits.detach().float() - centre) / temperature, dim=-1)


def class_loss(logits: Tensor, probabilities: Tensor) -> Tensor:
    """Cross-entropy (B, M) of the student's logits (B, M, K) to the teacher's probabilities (B, M, K)."""
    return -(probabilities * F.log_softmax(logits.float() / STUDENT_TEMPERATURE, dim=-1)).sum(-1)


def next_centre(centre: Tensor, mean: Tensor) -> Tensor:
    """The centre (K,) for the next update: a running average of the teacher's mean output (K,) of each update."""
    return centre * CENTRE_MOMENTUM + mean * (1 - CENTRE_MOMENTUM)
