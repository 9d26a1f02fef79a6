"""Channels that are removed together in nets that cannot be traced: DyMN's blocks and ERes2Net's halves."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sondino.nets.dymn import DyMN, DynamicBlock
from sondino.nets.eres2net import FUSIONS, ERes2Net

Index = NDArray[np.int64]


@dataclass(frozen=True)
class Member:
    """The channels of a layer in a group of channels that are removed together.

    Attributes:
        layer: its name.
        gives: whether these are output channels of the layer; otherwise input channels.
        channels: (n,) indices in the layer.
        roots: (n,) the group's channel that each goes with.
    """

    layer: str
    gives: bool
    channels: Index
    roots: Index


def _row(layer: str, gives: bool, count: int, start: int = 0, root: int = 0) -> Member:
    """Neighbouring channels of a layer with as many of the group."""
    return Member(layer, gives, start + np.arange(count), root + np.arange(count))


def of_dymn(student: DyMN) -> list[list[Member]]:
    """The widened channels of each block.

    The channels between blocks are not pruned, nor are the contexts, which are small.
    """
    groups = []
    for number, block in enumerate(student.layers):
        assert isinstance(block, DynamicBlock)
        if block.exp_conv is None:
            continue
        name, wide = f"layers.{number}", block.exp_conv.outputs
        lines = np.arange(4 * wide)  # two slopes and two heights of the activation for each channel
        groups.append(
            [
                _row(f"{name}.exp_conv", True, wide),
                _row(f"{name}.exp_norm", True, wide),
                _row(f"{name}.depth_conv", True, wide),
                _row(f"{name}.depth_norm", True, wide),
                Member(f"{name}.depth_act.coef_net.0", True, lines, lines // 4),
                _row(f"{name}.context_gen.conv_f", True, wide),
                _row(f"{name}.context_gen.conv_t", True, wide),
                _row(f"{name}.proj_conv", False, wide),
            ]
        )
    return groups


def of_eres2net(student: ERes2Net) -> list[list[Member]]:
    """Inside each block and each fusion, and along each stage but the last, whose channels are in the embedding."""
    groups: list[list[Member]] = []
    stages: list[Any] = [student.get_submodule(f"layer{stage}") for stage in range(1, 6)]
    for stage, blocks in enumerate(stages, start=1):
        for number, block in enumerate(blocks):
            groups += _inside(f"layer{stage}.{number}", block)
    groups += [_within(f"{name}.local_att", student.get_submodule(name)) for name in FUSIONS]
    first = student.bn1.num_features
    groups.append([_row(_first(student), True, first), _row("bn1", True, first), *_enters(student, 1, first)])
    groups += [_along(student, stage) for stage in range(1, 5)]
    return groups


def _inside(name: str, block: Any) -> list[list[Member]]:
    """The halves of a block: the first, what joins the second, and what comes of that."""
    first, second = (conv.in_channels for conv in block.convs)
    made = block.bns[1].num_features
    joined = [
        _row(f"{name}.conv1", True, second, first),
        _row(f"{name}.bn1", True, second, first),
        _row(f"{name}.convs.0", True, second),
        _row(f"{name}.bns.0", True, second),
        _row(f"{name}.convs.1", False, second),
        _row(f"{name}.conv3", False, second),
    ]
    groups = [
        [_row(f"{name}.conv1", True, first), _row(f"{name}.bn1", True, first), _row(f"{name}.convs.0", False, first)],
        joined,
        [
            _row(f"{name}.convs.1", True, made),
            _row(f"{name}.bns.1", True, made),
            _row(f"{name}.conv3", False, made, second),
        ],
    ]
    if block.fused:
        joined += _fused(f"{name}.fuse_models.0", second)
        groups.append(_within(f"{name}.fuse_models.0.local_att", block.fuse_models[0]))
    return groups


def _fused(name: str, count: int) -> list[Member]:
    """A fusion's part in the channels that it adds up: it looks at both images, one behind the other."""
    return [
        _row(f"{name}.local_att.0", False, count),
        _row(f"{name}.local_att.0", False, count, count),
        _row(f"{name}.local_att.3", True, count),
        _row(f"{name}.local_att.4", True, count),
    ]


def _within(name: str, fusion: Any) -> list[Member]:
    """The channels between a fusion's two convolutions."""
    inner = fusion.local_att[1].num_features
    return [_row(f"{name}.0", True, inner), _row(f"{name}.1", True, inner), _row(f"{name}.3", False, inner)]


def _first(student: ERes2Net) -> str:
    """The first convolution; a quaternion form has what makes its input before it."""
    return "conv1.1" if student.quaternion else "conv1"


def _enters(student: ERes2Net, stage: int, count: int) -> list[Member]:
    """What a stage's first block takes."""
    block: Any = student.get_submodule(f"layer{stage}.0")
    taken = [_row(f"layer{stage}.0.conv1", False, count)]
    return taken + ([_row(f"layer{stage}.0.shortcut.0", False, count)] if len(block.shortcut) else [])


def _along(student: ERes2Net, stage: int) -> list[Member]:
    """The channels that run along a stage, on into the next one, and into the fusions of stages."""
    blocks: Any = student.get_submodule(f"layer{stage}")
    count = blocks[0].bn3.num_features
    members = []
    for number, block in enumerate(blocks):
        name = f"layer{stage}.{number}"
        members += [_row(f"{name}.conv3", True, count), _row(f"{name}.bn3", True, count)]
        if len(block.shortcut):
            members += [_row(f"{name}.shortcut.0", True, count), _row(f"{name}.shortcut.1", True, count)]
        if number:
            members.append(_row(f"{name}.conv1", False, count))
    members += [*_enters(student, stage + 1, count), _row(f"layer{stage}_downsample", False, count)]
    if stage > 1:
        members += [_row(f"layer{stage - 1}_downsample", True, count), *_fused(FUSIONS[stage - 2], count)]
    return members
