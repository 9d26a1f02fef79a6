"""Channels of layers that are removed together: those that one filter feeds, is added to or is gated by."""

import copy
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from torch import Tensor, nn

from sondino.errors import require
from sondino.nets.channels import quaternion, sizes
from sondino.nets.dymn import DyMN, DynamicConv
from sondino.nets.eres2net import ERes2Net
from sondino.nets.quaternion import Derivatives, LearnedParts, QuaternionConv2d, QuaternionLinear, real_form
from sondino.nets.student import Student
from sondino.pruning.wiring import Member, of_dymn, of_eres2net

STAYS = -1
"""The unit of a channel that cannot be removed: of a quaternion one of whose parts another layer needs."""


@dataclass(frozen=True)
class Group:
    """Channels that several layers share.

    Attributes:
        members: the layers that lose a channel together.
        units: (channels,) the unit that each channel belongs to, or `STAYS`: channels of a unit are removed together,
            as the four parts of a quaternion are.
    """

    members: tuple[Member, ...]
    units: NDArray[np.int64]

    @property
    def count(self) -> int:
        """Units."""
        return int(self.units.max(initial=STAYS)) + 1

    @property
    def givers(self) -> list[str]:
        """The convolutions, linear layers and BatchNorms whose outputs the channels are."""
        return [member.layer for member in self.members if member.gives]


def groups_of(student: Student) -> list[Group]:
    """The groups of a student that may lose channels.

    The layer that outputs the embedding is not pruned, so that its dimension stays and heads still fit.

    Raises:
        MissingExtra: torch-pruning is not installed.
    """
    if isinstance(student, DyMN):
        found = of_dymn(student)  # its kernels are made anew for each clip, which a trace of layers does not see
    elif isinstance(student, ERes2Net):
        found = of_eres2net(student)  # torch-pruning 1.6.1 loses count where halves are split and joined again
    else:
        found = list(_traced(student))
    return _joined(found, student)


def weighted(student: Student) -> list[str]:
    """The layers with a weight between channels: convolutions and linear layers, real or not."""
    kinds = nn.Conv2d | nn.Linear | QuaternionConv2d | QuaternionLinear | DynamicConv
    return [name for name, module in student.named_modules() if isinstance(module, kinds)]


def _traced(student: Student) -> Iterator[list[Member]]:
    """By torch-pruning's dependency graph of the student's real form, whose layers have the same names."""
    pruning: Any = require("torch_pruning", "train")
    twin = real_form(copy.deepcopy(student)).float().cpu().eval()
    for name, module in list(twin.named_modules()):
        if isinstance(module, Derivatives | LearnedParts):
            twin.set_submodule(name, _Fourfold())
    frames = max(student.minimum_frames, 32)
    with warnings.catch_warnings(), torch.enable_grad():
        warnings.simplefilter("ignore")  # it takes our depthwise step for what it is: one channel at a time
        graph = pruning.DependencyGraph().build_dependency(twin, torch.zeros(1, student.logmel.n_mels, frames))
    names = {module: name for name, module in twin.named_modules()}
    for traced in graph.get_all_groups():
        if any(item.dep.target.type == pruning.ops.OPTYPE.OUTPUT for item in traced):
            continue
        members = []
        for item in traced:
            layer, handler = item.dep.target.module, item.dep.handler
            if layer in names:
                gives = graph.is_out_channel_pruning_fn(handler)  # of norms and depthwise layers both are
                members.append(Member(names[layer], gives, np.asarray(item.idxs), np.asarray(item.root_idxs)))
        yield members


class _Fourfold(nn.Module):
    """Repeats a channel four times, detached from the graph: no layer before it can lose channels."""

    def forward(self, x: Tensor) -> Tensor:
        return x.detach().repeat(1, 4, 1, 1)


def _joined(found: Sequence[Sequence[Member]], student: Student) -> list[Group]:
    """Groups that share a quaternion as one, with the units of each."""
    starts = np.cumsum([0, *(1 + max(int(m.roots.max()) for m in members) for members in found)])
    owner: dict[tuple[str, bool], NDArray[np.int64]] = {}
    modules = dict(student.named_modules())
    for start, members in zip(starts, found, strict=False):
        for member in members:
            whole = sizes(modules[member.layer])
            assert whole is not None
            places = owner.setdefault((member.layer, member.gives), np.full(whole[not member.gives], STAYS))
            places[member.channels] = start + member.roots
    # pairs of channels that are removed together, (pairs, 2) each, and channels that stay, (channels,) each
    pairs, fixed = [np.zeros((0, 2), np.int64)], [np.zeros(0, np.int64)]
    for members, start in zip(found, starts, strict=False):  # several roots may end in one channel of a member
        pairs += [np.stack([start + m.roots, owner[m.layer, m.gives][m.channels]], 1) for m in members]
    for (layer, _), places in owner.items():
        if quaternion(modules[layer]):
            parts = places.reshape(4, -1).T  # (4 * quaternions,) -> (quaternions, 4)
            whole_units = parts[(parts >= 0).all(1)]
            fixed.append(parts[(parts < 0).any(1)].ravel())
            pairs += [whole_units[:, [0, part]] for part in (1, 2, 3)]
    units = _components(np.concatenate(pairs), int(starts[-1]))
    stuck = np.concatenate(fixed)
    stays = np.isin(units, units[stuck[stuck >= 0]])
    # Groups that share a unit are one.
    group_of = np.repeat(np.arange(len(found)), np.diff(starts))
    firsts = np.zeros(units.max(initial=0) + 1, np.int64)
    firsts[units] = group_of
    together = _components(np.stack([group_of, firsts[units]], 1), len(found))
    return [
        _group([(found[i], int(starts[i])) for i in np.flatnonzero(together == one).tolist()], units, stays)
        for one in range(together.max(initial=-1) + 1)
    ]


def _group(parts: Sequence[tuple[Sequence[Member], int]], units: NDArray[np.int64], stays: NDArray[np.bool_]) -> Group:
    members, own, offset = [], [], 0
    for found, start in parts:
        channels = 1 + max(int(member.roots.max()) for member in found)
        members += [Member(m.layer, m.gives, m.channels, m.roots + offset) for m in found]
        own.append(np.where(stays, STAYS, units)[start : start + channels])
        offset += channels
    together = np.concatenate(own)
    numbered = np.unique(together[together != STAYS], return_inverse=True)[1]
    together[together != STAYS] = numbered
    return Group(tuple(members), together)


def _components(pairs: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    """For each of `count` things, the number of the set that pairs join it to."""
    graph = coo_array((np.ones(len(pairs), np.int8), (pairs[:, 0], pairs[:, 1])), (count, count))
    found: NDArray[np.int64] = connected_components(graph, directed=False)[1].astype(np.int64)
    return found
