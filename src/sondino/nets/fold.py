"""A student ready to export: BatchNorms folded into the convolutions before them, nothing in place."""

import copy
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_weights

from sondino.nets.quaternion import real_form
from sondino.nets.student import Student

_S = TypeVar("_S", bound=Student)


def folded(student: _S) -> _S:
    """A float32 copy on the CPU, in evaluation mode, that computes the same with fewer operations.

    Which norm follows which convolution is seen from one pass, so it holds for any student. Tracing the copy
    takes less than half the time of tracing the student.
    """
    copied = real_form(copy.deepcopy(student)).float().cpu().eval()
    names = {module: name for name, module in copied.named_modules()}
    for conv, norm in _pairs(copied):
        plain = nn.Conv2d(
            conv.in_channels,
            conv.out_channels,
            conv.kernel_size,  # type: ignore[arg-type]
            conv.stride,  # type: ignore[arg-type]
            conv.padding,  # type: ignore[arg-type]
            groups=conv.groups,
        )
        assert norm.running_mean is not None and norm.running_var is not None
        plain.weight, plain.bias = fuse_conv_bn_weights(
            conv.weight, conv.bias, norm.running_mean, norm.running_var, norm.eps, norm.weight, norm.bias
        )
        # The layout that training chose would otherwise be traced as copies between layouts.
        plain.weight.data = _plain(plain.weight.data)
        copied.set_submodule(names[conv], plain)
        copied.set_submodule(names[norm], nn.Identity())
    for module in copied.modules():
        if hasattr(module, "inplace"):
            setattr(module, "inplace", False)  # noqa: B010 - no module declares it
    for parameter in copied.parameters():
        parameter.data = _plain(parameter.data)
    return copied.eval()


def _plain(tensor: Tensor) -> Tensor:
    """A copy in row-major order: `contiguous` lets a 1x1 kernel pass whose strides still say channels-last."""
    return torch.empty(tensor.shape, dtype=tensor.dtype).copy_(tensor)


def _pairs(student: Student) -> list[tuple[nn.Conv2d, nn.BatchNorm2d]]:
    """Each norm with the convolution whose output it alone is given."""
    made: dict[int, tuple[nn.Conv2d, Tensor]] = {}  # the tensors are kept, so that no id is given twice
    pairs: list[tuple[nn.Conv2d, nn.BatchNorm2d]] = []

    def after_conv(module: nn.Conv2d, _: Any, output: Tensor) -> None:
        made[id(output)] = (module, output)

    def before_norm(module: nn.BatchNorm2d, inputs: tuple[Tensor]) -> None:
        if id(inputs[0]) in made:
            pairs.append((made[id(inputs[0])][0], module))

    handles = []
    for module in student.modules():
        if isinstance(module, nn.Conv2d):
            handles.append(module.register_forward_hook(after_conv))
        elif isinstance(module, nn.BatchNorm2d):
            handles.append(module.register_forward_pre_hook(before_norm))
    with torch.inference_mode():
        student(torch.zeros(1, student.logmel.n_mels, student.minimum_frames))
    for handle in handles:
        handle.remove()
    return pairs
