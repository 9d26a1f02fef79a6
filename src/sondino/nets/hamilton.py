"""Quaternions as real matrices: Hamilton's product, and first weights."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor


def hamilton(weight: Tensor) -> Tensor:
    """The real matrix that multiplies by quaternions from the left.

    Args:
        weight: (4, outputs, inputs, ...): the real, i, j and k parts of a weight for each output and input.

    Returns:
        (4 * outputs, 4 * inputs, ...): from four blocks of input components to four blocks of output components.
    """
    r, i, j, k = weight.unbind(0)
    rows = ((r, -i, -j, -k), (i, r, -k, j), (j, k, r, -i), (k, -j, i, r))
    return torch.cat([torch.cat(row, dim=1) for row in rows])


def first_quaternions(shape: tuple[int, ...]) -> Tensor:
    """First weights (4, outputs, inputs, ...) in polar form: a length, an angle and an axis each, drawn apart.

    The length follows a chi distribution of four degrees, scaled as He and others have it, so that the variance of an
    output is twice that of an input; the angle is uniform; the axis is a unit vector (Parcollet and others 2019).

    Args:
        shape: (outputs, inputs, ...) in quaternions.
    """
    sigma = (2 * math.prod(shape[1:])) ** -0.5
    length = sigma * torch.randn(4, *shape).norm(dim=0)
    angle = (2 * torch.rand(shape) - 1) * torch.pi
    axis = F.normalize(torch.rand(3, *shape), dim=0)
    return torch.cat([(length * angle.cos())[None], length * angle.sin() * axis])
