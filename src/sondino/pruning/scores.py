"""Importance scores of filters, from their layer's weights alone or from the embeddings of audio.

All are computed in float64. Filters with the lowest scores are removed.
"""

from collections.abc import Callable, Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from sondino.nets.student import Student

ScoreName = Literal["operator-norm", "l1", "geometric-median", "taylor"]


def operator_norm(weight: Tensor) -> Tensor:
    """How far each filter reaches along its layer's principal directions (Singh and Plumbley, arXiv 2305.18665).

    Of each input channel the kernels of all filters are stacked (filters x taps) and centred by the mean kernel. The
    first singular pair gives the direction along which they differ most, turned to where the first filter points. A
    filter's score is the square of the sum over input channels of its reach along those directions.

    Args:
        weight: (filters, inputs, taps) in float64.

    Returns:
        (filters,).
    """
    kernels = (weight - weight.mean(0)).transpose(0, 1)
    # The first right singular vector, from the small square matrix of the taps.
    _, vectors = torch.linalg.eigh(kernels.transpose(1, 2) @ kernels)
    reach = (kernels @ vectors[:, :, -1:]).squeeze(2)
    # A singular pair has no sign of its own. The published script takes the rank-one matrix's first row.
    signs = torch.where(reach[:, :1] < 0, -1.0, 1.0)
    return (signs * reach).sum(0).square()


def l1(weight: Tensor) -> Tensor:
    """Sum of each filter's magnitudes (Li and others 2017, arXiv 1608.08710).

    Args:
        weight: (filters, inputs, taps).

    Returns:
        (filters,).
    """
    return weight.abs().sum((1, 2))


def geometric_median(weight: Tensor) -> Tensor:
    """Sum of each filter's distances to all others (He and others 2019, arXiv 1811.00250).

    The filter with the smallest sum is nearest to the geometric median, and the others can stand in for it. The script
    published with E-PANNs goes by the same name and does something else: it compares each filter's geometric mean of
    magnitudes with that of the whole layer.

    Args:
        weight: (filters, inputs, taps).

    Returns:
        (filters,).
    """
    filters = weight.flatten(1)
    return torch.cdist(filters, filters).sum(1)


OF_WEIGHTS: dict[str, Callable[[Tensor], Tensor]] = {
    "operator-norm": operator_norm,
    "l1": l1,
    "geometric-median": geometric_median,
}
"""The scores that need no audio."""


def of_weight(score: str, weight: Tensor) -> Tensor:
    """The scores (filters,) of a convolution's or a linear layer's weight (filters, inputs, ...), real."""
    double = weight.detach().double()
    return OF_WEIGHTS[score](double.reshape(double.shape[0], double.shape[1], -1))


def taylor(student: Student, logmels: Sequence[Tensor], layers: Sequence[str], seed: int = 0) -> dict[str, Tensor]:
    """How much the embeddings would change without each channel, to first order.

    The score of Molchanov and others 2019 (arXiv 1906.10771) is the change of a loss, which needs targets; this is the
    expected square of the change of the normalised embedding, which needs audio alone. It is estimated by projecting
    each clip's embedding on a random direction.

    Args:
        student: any net; its weights and gradients stay as they are.
        logmels: batches (clips, n_mels, frames).
        layers: names of layers with a weight and perhaps a bias for each channel: norms, convolutions, linear layers.
        seed: of the directions.

    Returns:
        By layer, (channels,) float64.
    """
    found = dict(student.named_modules())
    watched = {name: _parameters(found[name]) for name in layers}
    flat = [parameter for parameters in watched.values() for parameter in parameters]
    scores = {name: torch.zeros(len(parameters[0]), dtype=torch.float64) for name, parameters in watched.items()}
    random = torch.Generator().manual_seed(seed)
    was_training = student.training
    student.eval()
    for batch in logmels:
        embeddings = nn.functional.normalize(student(batch), dim=1)  # (clips, dim)
        directions = torch.randn(embeddings.shape, generator=random)
        gradients = iter(torch.autograd.grad((embeddings * directions).sum(), flat))
        for name, parameters in watched.items():
            # w dw summed over a channel's weights: the change of the output, to first order, if the channel is zeroed.
            change = torch.zeros(len(parameters[0]), dtype=torch.float64)
            for parameter in parameters:
                product = parameter.detach().double() * next(gradients).double()
                change += product.reshape(len(parameter), -1).sum(1)
            scores[name] += change.square()
    student.train(was_training)
    return {name: score / len(logmels) for name, score in scores.items()}


def _parameters(layer: nn.Module) -> list[nn.Parameter]:
    return [parameter for parameter in layer.parameters(recurse=False) if parameter.requires_grad]
