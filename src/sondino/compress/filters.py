"""Taking filters out of a student: which score least, and the smaller net without them."""

from __future__ import annotations

import copy
import fnmatch
from collections.abc import Sequence
from dataclasses import dataclass
from typing import get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from sondino.compress.groups import STAYS, Group, groups_of, weighted
from sondino.compress.scores import ScoreName, of_weight, taylor
from sondino.errors import OptionError, unknown_name
from sondino.students import build_student
from sondino.students.channels import channels_of, depthwise, keep, sizes
from sondino.students.common import Student
from sondino.students.dymn import DynamicConv
from sondino.students.quaternion import real_form


@dataclass(frozen=True)
class Pruned:
    """A student with fewer filters.

    Attributes:
        student: the smaller net.
        filters: by layer, how many channels it gave and gives now; layers that lost none are not in it.
        whole: layers that kept all channels that they give, though their names were among those asked for.
    """

    student: Student
    filters: dict[str, tuple[int, int]]
    whole: list[str]


def prune_student(
    student: Student,
    score: ScoreName,
    ratio: float,
    *,
    layers: str | None = None,
    together: bool = False,
    logmels: Sequence[Tensor] = (),
) -> Pruned:
    """Leave out the filters that score least. The student stays as it is.

    A filter goes with everything that only it feeds: its norm, depthwise kernel and gate, and the weights of the next
    layers that hear it. Of a quaternion layer four channels are one filter. The layer that gives the vector's numbers
    stays whole.

    Args:
        student: any net of ours, on the CPU.
        score: how filters are ranked.
        ratio: share of the filters to leave out, between 0 and 1, of each layer; or of all, with `together`.
        layers: which layers lose filters, a pattern of names such as "conv_block[456].*"; None: all.
        together: rank the filters of all layers as one list. Each layer's scores are then divided by their mean.
        logmels: batches (clips, n_mels, frames) of real sound, for "taylor".

    Raises:
        OptionError: a ratio outside (0, 1) or one that would empty a layer, a pattern that no layer matches, an
            unknown score, or no sound for "taylor".
        MissingExtra: torch-pruning is not installed.
    """
    if score not in get_args(ScoreName):
        raise unknown_name("score", score, get_args(ScoreName))
    if not 0 < ratio < 1:
        raise OptionError(f"ratio {ratio:g} is out of range: give the share of filters to leave out, between 0 and 1")
    if score == "taylor" and not logmels:
        raise OptionError("score taylor needs sound: give --corpus or --labels, or choose a score of weights alone")
    groups, asked = _chosen(student, groups_of(student), layers)
    scores = _unit_scores(student, groups, score, logmels)
    if together:
        dropped = _lowest_of_all(scores, ratio)
    else:
        dropped = [_lowest(found, ratio, group) for found, group in zip(scores, groups, strict=True)]
    smaller = copy.deepcopy(student)
    filters = _take_out(smaller, groups, dropped)
    whole = build_student(student.name, student.width, **{k: v for k, v in student.build.items() if k != "channels"})
    smaller.channels = channels_of(smaller, whole)
    return Pruned(smaller, filters, [name for name in asked if name not in filters])


def _chosen(student: Student, groups: list[Group], pattern: str | None) -> tuple[list[Group], list[str]]:
    """The groups to prune, and the layers whose names were asked for."""
    names = weighted(student)
    if pattern is None:
        return groups, names
    matching = set(fnmatch.filter(names, pattern))
    chosen = [group for group in groups if matching.intersection(group.givers)]
    if not chosen:
        can = sorted({giver for group in groups for giver in group.givers} & set(names))
        listed = ", ".join([*can[:3], "...", *can[-2:]] if len(can) > 6 else can)
        what = "matches no layer" if not matching else f"matches only layers that stay whole ({sorted(matching)[0]})"
        raise OptionError(f"layers {pattern!r} {what}: {student.name} has {listed}")
    return chosen, [name for name in names if name in matching]


def _unit_scores(
    student: Student, groups: Sequence[Group], score: ScoreName, logmels: Sequence[Tensor]
) -> list[NDArray[np.float64]]:
    """A score for each unit of each group; their mean is 1. Units of one channel that must stay have none."""
    twin = real_form(copy.deepcopy(student)).float().cpu().eval()
    modules = dict(twin.named_modules())
    judges = [_judges(group, modules, score) for group in groups]
    names = sorted({layer for found in judges for layer in found})
    if score == "taylor":
        of_layer = {name: found.numpy() for name, found in taylor(twin, logmels, names).items()}
    else:
        of_layer = {name: of_weight(score, _real_weight(modules[name])).numpy() for name in names}
    found = []
    for group, layers in zip(groups, judges, strict=True):
        units = np.zeros(group.count)
        for member in group.members:
            if not member.gives or member.layer not in layers:
                continue
            of_channel = of_layer[member.layer]
            place = group.units[member.roots]
            here = np.bincount(place[place != STAYS], of_channel[member.channels][place != STAYS], group.count)
            units += here / max(here.mean(), np.finfo(float).tiny)
        found.append(units / len(layers))
    return found


def _judges(group: Group, modules: dict[str, nn.Module], score: ScoreName) -> list[str]:
    """The layers by which a group's channels are ranked: for weights those over all inputs, for Taylor the norms."""
    givers = [(name, modules[name]) for name in group.givers]
    norms = [name for name, layer in givers if isinstance(layer, nn.BatchNorm2d)]
    if score == "taylor" and norms:
        return norms
    layers = [(name, layer) for name, layer in givers if not isinstance(layer, nn.BatchNorm2d)]
    convolutions = [name for name, layer in layers if isinstance(layer, nn.Conv2d | DynamicConv)]
    full = [name for name in convolutions if not depthwise(modules[name])]
    return full or convolutions or [name for name, _ in layers]


def _real_weight(layer: nn.Module) -> Tensor:
    """(filters, inputs, taps); of a dynamic convolution its kernels one behind the other, since all are mixed."""
    if isinstance(layer, DynamicConv):
        kernels = layer.weight.detach()[0, 0].unflatten(1, (layer.outputs, -1))
        return kernels.permute(1, 2, 0)
    assert isinstance(layer.weight, Tensor)
    return layer.weight.detach().flatten(2) if layer.weight.ndim > 2 else layer.weight.detach()[:, :, None]


def _lowest(scores: NDArray[np.float64], ratio: float, group: Group) -> NDArray[np.int64]:
    """The units of one group that score least."""
    count = int(ratio * len(scores) + 0.5)
    if len(scores) < 2:
        return np.zeros(0, np.int64)
    if count >= len(scores):
        most = (len(scores) - 1) / len(scores)
        raise OptionError(
            f"ratio {ratio:g} would empty {group.givers[0]}, which has {len(scores)} filters: give {most:.2f} or less"
        )
    return np.argsort(scores, kind="stable")[:count]


def _lowest_of_all(scores: Sequence[NDArray[np.float64]], ratio: float) -> list[NDArray[np.int64]]:
    """The units of all groups that score least; each group keeps at least its best."""
    owners = np.concatenate([np.full(len(found), i) for i, found in enumerate(scores)])
    units = np.concatenate([np.arange(len(found)) for found in scores])
    values = np.concatenate(list(scores))
    best = np.array([found.argmax() if len(found) else STAYS for found in scores])
    order = np.argsort(values, kind="stable")
    order = order[units[order] != best[owners[order]]][: int(ratio * len(values) + 0.5)]
    return [np.sort(units[order[owners[order] == i]]) for i in range(len(scores))]


def _take_out(
    student: Student, groups: Sequence[Group], dropped: Sequence[NDArray[np.int64]]
) -> dict[str, tuple[int, int]]:
    """Leave units out of a student, in place; of each convolution and linear layer what it gave and gives now."""
    going: dict[tuple[str, bool], list[NDArray[np.int64]]] = {}
    for group, units in zip(groups, dropped, strict=True):
        for member in group.members:
            goes = np.isin(group.units[member.roots], units)
            going.setdefault((member.layer, member.gives), []).append(member.channels[goes])
    modules, filters = dict(student.named_modules()), {}
    for name in {layer for layer, _ in going}:
        before = sizes(modules[name])
        assert before is not None
        sides = [_left(before[not gives], going.get((name, gives), [])) for gives in (True, False)]
        keep(modules[name], *sides)
        if sides[0] is not None and len(sides[0]) < before[0] and not isinstance(modules[name], nn.BatchNorm2d):
            filters[name] = (before[0], len(sides[0]))
    return filters


def _left(count: int, going: Sequence[NDArray[np.int64]]) -> Tensor | None:
    """Indices that stay of `count`; None: all."""
    if not going:
        return None
    return torch.from_numpy(np.setdiff1d(np.arange(count), np.concatenate(going)))
