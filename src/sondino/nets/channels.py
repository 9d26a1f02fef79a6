"""Output and input channels of a student's layers, and how to keep a subset of them."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from sondino.nets.dymn import KERNELS, DynamicConv
from sondino.nets.quaternion import QuaternionConv2d, QuaternionLinear
from sondino.nets.student import Student

Sizes = tuple[int, int]
"""Output and input channels of a layer."""


def sizes(layer: nn.Module) -> Sizes | None:
    """Output and input channels of a layer; None for a module that has no weights for each channel."""
    if isinstance(layer, nn.Conv2d):
        return layer.out_channels, layer.in_channels
    if isinstance(layer, nn.Linear):
        return layer.out_features, layer.in_features
    if isinstance(layer, nn.BatchNorm2d):
        return layer.num_features, layer.num_features
    if isinstance(layer, QuaternionConv2d | QuaternionLinear):
        return layer.outputs, layer.inputs
    if isinstance(layer, DynamicConv):
        return layer.outputs, layer.inputs
    return None


def quaternion(layer: nn.Module) -> bool:
    """Whether a layer's channels are the four parts of quaternions."""
    dynamic = isinstance(layer, DynamicConv) and layer.quaternion
    return dynamic or isinstance(layer, QuaternionConv2d | QuaternionLinear)


def depthwise(layer: nn.Module) -> bool:
    """Whether a layer filters each channel by itself."""
    if isinstance(layer, DynamicConv):
        return layer.kernel > 1
    return isinstance(layer, nn.BatchNorm2d) or (isinstance(layer, nn.Conv2d) and layer.groups > 1)


def keep(layer: nn.Module, outputs: Tensor | None, inputs: Tensor | None) -> None:
    """Keep a subset of a layer's channels; changed in place.

    Args:
        layer: one that `sizes` knows.
        outputs: indices of the output channels to keep; None: all. Of quaternions, of all four components.
        inputs: indices of the input channels to keep; None: all. Of a depthwise layer, `outputs` is used.
    """
    whole = sizes(layer)
    assert whole is not None
    outputs = torch.arange(whole[0]) if outputs is None else outputs
    inputs = torch.arange(whole[1]) if inputs is None else inputs
    alone = depthwise(layer)
    if isinstance(layer, nn.BatchNorm2d):
        for name in ("running_mean", "running_var"):
            setattr(layer, name, getattr(layer, name)[outputs].clone())
        layer.num_features = len(outputs)
        layer.weight = nn.Parameter(layer.weight.detach()[outputs].clone())
    elif isinstance(layer, nn.Conv2d | nn.Linear):
        weight = layer.weight.detach()[outputs]
        layer.weight = nn.Parameter((weight if alone else weight[:, inputs]).clone())
        if isinstance(layer, nn.Linear):
            layer.out_features, layer.in_features = len(outputs), len(inputs)
        else:
            layer.out_channels, layer.in_channels = len(outputs), len(outputs if alone else inputs)
            layer.groups = len(outputs) if alone else layer.groups
    elif isinstance(layer, QuaternionConv2d | QuaternionLinear):
        layer.weight = nn.Parameter(layer.weight.detach()[outputs][:, inputs[inputs < whole[1] // 4]].clone())
        layer.outputs, layer.inputs = len(outputs), len(inputs)
    elif isinstance(layer, DynamicConv):
        _keep_dynamic(layer, outputs, inputs)
        return
    if layer.bias is not None:
        layer.bias = nn.Parameter(layer.bias.detach()[outputs].clone())  # type: ignore[operator]


def _keep_dynamic(layer: DynamicConv, outputs: Tensor, inputs: Tensor) -> None:
    kernels = layer.weight.detach()[0, 0]
    if layer.kernel > 1:
        kernels = kernels.unflatten(1, (layer.outputs, -1))[:, outputs]
        inputs = outputs
    elif layer.quaternion:
        kernels = kernels.unflatten(1, (4, layer.outputs // 4, layer.inputs // 4))
        kernels = kernels[:, :, outputs[outputs < layer.outputs // 4]][..., inputs[inputs < layer.inputs // 4]]
    else:
        kernels = kernels.unflatten(1, (layer.outputs, layer.inputs))[:, outputs][..., inputs]
    layer.weight = nn.Parameter(kernels.reshape(1, 1, KERNELS, -1).clone())
    layer.outputs, layer.inputs = len(outputs), len(inputs)


def shrink(student: Student, channels: Mapping[str, Sequence[int]]) -> None:
    """Shrink layers to the channels of a pruned net, in place; weights must be loaded afterwards.

    Args:
        student: the unpruned net.
        channels: of each such layer, its output and input channels.

    Raises:
        ValueError: a layer is not there, or would grow.
    """
    layers = dict(student.named_modules())
    for name, asked in channels.items():
        whole = sizes(layers[name]) if name in layers else None
        if whole is None or len(asked) != 2 or not all(0 < few <= all_ for few, all_ in zip(asked, whole, strict=True)):
            raise ValueError(f"{student.name} has no layer {name!r} that could be left {list(asked)} channels")
        parts = 4 if quaternion(layers[name]) else 1
        keep(layers[name], *(_first(all_, few, parts) for all_, few in zip(whole, asked, strict=True)))
    student.channels = {name: list(asked) for name, asked in channels.items()}


def _first(count: int, few: int, parts: int) -> Tensor:
    """Indices of the first channels of each part."""
    return (torch.arange(parts)[:, None] * (count // parts) + torch.arange(few // parts)).flatten()


def channels_of(student: Student, whole: Student) -> dict[str, list[int]]:
    """Output and input channels of each layer that has fewer of them than in the unpruned net."""
    of_whole = {name: sizes(layer) for name, layer in whole.named_modules()}
    of_student = {name: sizes(layer) for name, layer in student.named_modules()}
    return {name: list(found) for name, found in of_student.items() if found and found != of_whole[name]}
