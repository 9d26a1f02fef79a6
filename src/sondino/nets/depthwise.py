"""Depthwise convolutions that also train fast on a CPU.

The values are PyTorch's own. Only the backward pass on a CPU is ours: oneDNN falls back to plain loops for the
weights' gradient of a 5x5 kernel and, in bfloat16, for the input's gradient at stride 2, where they take 10 to 50
times as long as the forward pass.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

_Mask = list[bool]


def _gradient(grad: Tensor, x: Tensor, weight: Tensor, stride: int, padding: int, mask: _Mask) -> Tensor:
    gradients = torch.ops.aten.convolution_backward(
        grad, x, weight, None, [stride] * 2, [padding] * 2, [1, 1], False, [0, 0], weight.shape[0], mask
    )
    return gradients[0] if mask[0] else gradients[1]


def _weight_gradient(grad: Tensor, x: Tensor, weight: Tensor, stride: int) -> Tensor:
    kernel = weight.shape[2]
    if kernel != 5:
        padding = kernel // 2
        if 1 in x.shape[2:]:  # in bfloat16 oneDNN would read past such an image: taps of padding come out as garbage
            x, padding = F.pad(x, (padding,) * 4), 0
        return _gradient(grad, x, weight, stride, padding, [False, True, False])
    # Fast loops exist for kernels up to 3 wide: the left three columns of taps, then the right three.
    padded = F.pad(x, (2, 2, 2, 2))
    reach = (grad.shape[3] - 1) * stride + 3
    left, right = (
        _gradient(grad, padded[..., i : i + reach], weight[..., i : i + 3], stride, 0, [False, True, False])
        for i in (0, 2)
    )
    return torch.cat([left, right[..., 1:]], dim=3)


class _Depthwise(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, stride: int) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.stride = stride
        return F.conv2d(x, weight, None, stride, weight.shape[2] // 2, 1, weight.shape[0])

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        x, weight = ctx.saved_tensors
        stride, padding = ctx.stride, weight.shape[2] // 2
        for_x = for_weight = None
        if ctx.needs_input_grad[0]:
            exact = torch.float32 if stride > 1 else grad.dtype
            # Of the input only shape and layout count here.
            args = (grad.to(exact), torch.empty_like(x, dtype=exact), weight.to(exact))
            for_x = _gradient(*args, stride, padding, [True, False, False]).to(x.dtype)
        if ctx.needs_input_grad[1]:
            for_weight = _weight_gradient(grad, x, weight, stride)
        return for_x, for_weight, None


def depthwise(x: Tensor, weight: Tensor, stride: int = 1) -> Tensor:
    """Each channel filtered by its own kernel.

    Args:
        x: images (batch, channels, mels, frames).
        weight: kernels (channels, 1, k, k), k odd; cast to the images' type.
        stride: of both axes.

    Returns:
        Images (batch, channels, ceil(mels / stride), ceil(frames / stride)).
    """
    weight = weight.to(x.dtype)
    plain = torch.compiler.is_compiling() or x.device.type != "cpu" or not torch.is_grad_enabled()
    if plain:
        return F.conv2d(x, weight, None, stride, weight.shape[2] // 2, 1, weight.shape[0])
    return _Depthwise.apply(x, weight, stride)


class DepthwiseConv(nn.Conv2d):
    """A bias-free depthwise `Conv2d` with "same" padding, by `depthwise`."""

    def __init__(self, channels: int, kernel: int, stride: int = 1) -> None:
        super().__init__(channels, channels, kernel, stride, kernel // 2, groups=channels, bias=False)

    def forward(self, input: Tensor) -> Tensor:
        """Filtered images."""
        return depthwise(input, self.weight, self.stride[0])
