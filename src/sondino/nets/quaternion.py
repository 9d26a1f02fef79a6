"""Quaternion layers, and the quaternion form of any student: a quarter of the weights for as many channels.

Channels are quaternions in four blocks: all real parts, then all i, all j, all k. A layer multiplies each by a
quaternion of weights (Hamilton's product), so that four real kernels serve sixteen pairs of components. Trabelsi and
others 2018 for complex numbers; Parcollet and others 2019 (ICLR, arXiv 1806.04418) for quaternions.
"""

from typing import Literal, Self, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sondino.nets.dymn import DynamicConv
from sondino.nets.hamilton import first_quaternions, hamilton
from sondino.nets.student import Student

QuaternionInput = Literal["derivatives", "learned"]
"""Where the three imaginary parts of a log-mel come from: its derivatives in time, or a convolution of it."""

_S = TypeVar("_S", bound=Student)


class _Quaternion(nn.Module):
    """What both layers share: the kernels, and the real kernel that they make, assembled once outside of training."""

    weight: nn.Parameter
    bias: nn.Parameter | None

    def __init__(self, inputs: int, outputs: int, taps: tuple[int, ...], bias: bool) -> None:
        super().__init__()
        if inputs % 4 or outputs % 4:
            raise ValueError(f"quaternions are four channels each: {inputs} in and {outputs} out are no multiples of 4")
        self.inputs, self.outputs = inputs, outputs
        # The four parts lie one behind the other, so that a convolution's weight has the four axes of any other.
        self.weight = nn.Parameter(first_quaternions((outputs // 4, inputs // 4, *taps)).flatten(0, 1))
        self.bias = nn.Parameter(torch.zeros(outputs)) if bias else None
        self._kept: tuple[tuple[int, int], Tensor] | None = None

    def real_weight(self) -> Tensor:
        """(outputs, inputs, ...): the weight of the real layer that computes the same."""
        if torch.is_grad_enabled() or self.training or self.weight.is_inference():
            self._kept = None
            return self._assembled(self.weight)
        version = (self.weight.data_ptr(), self.weight._version)
        if self._kept is None or self._kept[0] != version:
            self._kept = (version, self._assembled(self.weight))
        return self._kept[1]

    def _assembled(self, weight: Tensor) -> Tensor:
        return hamilton(weight.unflatten(0, (4, self.outputs // 4)))

    def train(self, mode: bool = True) -> Self:
        """Switch to training or evaluation; either way the real kernel is made anew."""
        self._kept = None  # a fused optimiser's step leaves no mark on the weight
        return super().train(mode)

    def __getstate__(self) -> dict[str, object]:
        return {**self.__dict__, "_kept": None}  # a copy assembles its own


class QuaternionConv2d(_Quaternion):
    """A convolution by quaternions: `nn.Conv2d` with a quarter of its weights.

    Args:
        inputs: channels in, a multiple of 4.
        outputs: channels out, a multiple of 4.
        kernel: its sides.
        stride: of both axes.
        padding: of both axes.
        bias: whether to add a number to each channel.

    Raises:
        ValueError: the channels are no multiples of 4.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel: tuple[int, int] = (1, 1),
        stride: tuple[int, int] = (1, 1),
        padding: tuple[int, int] = (0, 0),
        bias: bool = True,
    ) -> None:
        super().__init__(inputs, outputs, kernel, bias)
        self.stride, self.padding = stride, padding

    @property
    def in_channels(self) -> int:
        """Channels in, as `nn.Conv2d` calls them."""
        return self.inputs

    def forward(self, x: Tensor) -> Tensor:
        """Images (batch, inputs, height, width) to (batch, outputs, ...)."""
        return F.conv2d(x, self.real_weight(), self.bias, self.stride, self.padding)

    def real(self) -> nn.Conv2d:
        """The real layer that computes the same."""
        weight = self._assembled(self.weight.detach())
        kernel = (weight.shape[2], weight.shape[3])
        conv = nn.Conv2d(weight.shape[1], weight.shape[0], kernel, self.stride, self.padding)
        conv.weight, conv.bias = nn.Parameter(weight), self.bias
        return conv


class QuaternionLinear(_Quaternion):
    """A linear layer of quaternions: `nn.Linear` with a quarter of its weights.

    Args:
        inputs: input features, a multiple of 4.
        outputs: output features, a multiple of 4.
        bias: whether to add a number to each.

    Raises:
        ValueError: they are no multiples of 4.
    """

    def __init__(self, inputs: int, outputs: int, bias: bool = True) -> None:
        super().__init__(inputs, outputs, (), bias)

    def forward(self, x: Tensor) -> Tensor:
        """Features (..., inputs) to (..., outputs)."""
        return F.linear(x, self.real_weight(), self.bias)

    def real(self) -> nn.Linear:
        """The real layer that computes the same."""
        weight = self._assembled(self.weight.detach())
        linear = nn.Linear(weight.shape[1], weight.shape[0], bias=self.bias is not None)
        linear.weight = nn.Parameter(weight)
        linear.register_parameter("bias", self.bias)
        return linear


class Derivatives(nn.Module):
    """A log-mel and its first three derivatives in time, as one quaternion (Parcollet and others, Interspeech 2018).

    Each is the slope of a line through five frames of the one before; the first and the last frame are repeated.

    Args:
        time: the axis of the frames, 2 or 3.
    """

    def __init__(self, time: int) -> None:
        super().__init__()
        self.time = time

    def forward(self, x: Tensor) -> Tensor:
        """Images (batch, 1, ...) to (batch, 4, ...)."""
        time, frames, parts = self.time, x.shape[self.time], [x]
        for _ in range(3):
            x = parts[-1]
            first, last = x.narrow(time, 0, 1), x.narrow(time, frames - 1, 1)
            padded = torch.cat([first, first, x, last, last], dim=time)
            before2, before, after, after2 = (padded.narrow(time, start, frames) for start in (0, 1, 3, 4))
            parts.append(0.2 * (after2 - before2) + 0.1 * (after - before))
        return torch.cat(parts, dim=1)


class LearnedParts(nn.Module):
    """A log-mel as the real part of one quaternion, and three 3x3 convolutions of it as the others."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 3, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """Images (batch, 1, height, width) to (batch, 4, height, width)."""
        return torch.cat([x, self.conv(x)], dim=1)


def quaternion_form(student: _S, parts: QuaternionInput = "derivatives") -> _S:
    """The student with quaternion layers in place of its real ones, drawn anew but for biases; changed in place.

    Convolutions over all channels, 1x1 kernels that are mixed for each clip, and linear layers become quaternion
    layers where their channels are multiples of 4. Depthwise convolutions and norms stay: they weigh each component
    by itself, and as quaternions would have as many weights.

    Args:
        student: from `build_student`.
        parts: where the imaginary parts of the log-mel come from.
    """
    for name, module in list(student.named_modules()):
        if isinstance(module, nn.Conv2d) and module.in_channels == 1 and module.groups == 1:
            first = Derivatives(student.time_axis) if parts == "derivatives" else LearnedParts()
            student.set_submodule(name, nn.Sequential(first, _of_conv(module, inputs=4)))
        elif isinstance(module, nn.Conv2d):
            if module.groups == 1 and not (module.in_channels % 4 or module.out_channels % 4):
                student.set_submodule(name, _of_conv(module, module.in_channels))
        elif isinstance(module, nn.Linear):
            if not (module.in_features % 4 or module.out_features % 4):
                layer = QuaternionLinear(module.in_features, module.out_features, module.bias is not None)
                layer.bias = module.bias
                student.set_submodule(name, layer)
        elif isinstance(module, DynamicConv):
            module.make_quaternion()
    student.quaternion = parts
    return student


def _of_conv(conv: nn.Conv2d, inputs: int) -> QuaternionConv2d:
    kernel, stride, padding = (tuple(map(int, sides)) for sides in (conv.kernel_size, conv.stride, conv.padding))
    layer = QuaternionConv2d(inputs, conv.out_channels, kernel, stride, padding, conv.bias is not None)  # type: ignore[arg-type]
    layer.bias = conv.bias  # type: ignore[assignment]
    return layer


def real_form(student: _S) -> _S:
    """The student with each quaternion layer as the real layer that computes the same; changed in place."""
    for name, module in list(student.named_modules()):
        if isinstance(module, QuaternionConv2d | QuaternionLinear):
            student.set_submodule(name, module.real())
        elif isinstance(module, DynamicConv):
            module.make_real()
    student.quaternion = None
    return student
