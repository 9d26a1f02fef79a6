"""Removing filters of a student: the lowest scores, and the smaller net without them."""

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

from sondino.errors import OptionError, unknown_name
from sondino.nets.channels import channels_of, depthwise, keep, sizes
from sondino.nets.dymn import DynamicConv
from sondino.nets.quaternion import real_form
from sondino.nets.registry import build_student
from sondino.nets.student import Student
from sondino.pruning.groups import STAYS, Group, groups_of, weighted
from sondino.pruning.scores import ScoreName, of_weight, taylor


@dataclass(frozen=True)
class Pruned:
    """A student with fewer filters.

    Attributes:
        student: the smaller net.
        filters: by layer, its output channels before and after; layers that lost none are left out.
        whole: layers whose names were asked for, but that kept all their output channels.
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
    whole: Student | None = None,
) -> Pruned:
    """Remove the filters that score lowest. The student is not changed.

    A filter is removed with everything that depends on it alone: its BatchNorm, depthwise kernel and gate, and its
    input weights in the next layers. Of a quaternion layer four channels are one filter. The layer that outputs the
    embedding is not pruned.

    Args:
        student: any net of ours, on the CPU.
        score: how filters are ranked.
        ratio: share of the filters to remove, between 0 and 1, of each layer; or of all, with `together`.
        layers: which layers lose filters, a pattern of names such as "conv_block[456].*"; None: all.
        together: rank the filters of all layers as one list. Each layer's scores are then divided by their mean.
        logmels: batches (clips, n_mels, frames) of real audio, for "taylor".
        whole: the net before earlier steps, which `ratio` is then a share of; None: `student` was not pruned before.

    Raises:
        OptionError: a ratio outside (0, 1), one that would empty a layer or removes nothing, a pattern that no layer
            matches, an unknown score, or no audio for "taylor".
        MissingExtra: torch-pruning is not installed.
    """
    if score not in get_args(ScoreName):
        raise unknown_name("score", score, get_args(ScoreName))
    if not 0 < ratio < 1:
        raise OptionError(f"ratio {ratio:g} is out of range: give the share of filters to leave out, between 0 and 1")
    if score == "taylor" and not logmels:
        raise OptionError("score taylor needs audio: give --corpus or --labels, or choose a score of weights alone")
    groups, asked = _chosen(student, groups_of(student), layers)
    counts = {tuple(group.givers): group.count for group in groups_of(whole or student)}
    wholes = [counts[tuple(group.givers)] for group in groups]
    if not together:
        _check_none_is_emptied(groups, wholes, ratio)
    scores = _unit_scores(student, groups, score, logmels)
    if together:
        dropped = _lowest_of_all(scores, _to_remove(sum(map(len, scores)), sum(wholes), ratio))
    else:
        going = [
            _to_remove(len(found), count, ratio) if count > 1 else 0
            for found, count in zip(scores, wholes, strict=True)
        ]
        dropped = [np.argsort(found, kind="stable")[:count] for found, count in zip(scores, going, strict=True)]
    if whole is None and not any(map(len, dropped)):  # one of several steps may remove none
        raise OptionError(f"ratio {ratio:g} leaves out no filter, as few as the layers have: give a larger one")
    smaller = copy.deepcopy(student)
    filters = _take_out(smaller, groups, dropped)
    fresh = build_student(student.name, student.width, **{k: v for k, v in student.build.items() if k != "channels"})
    smaller.channels = channels_of(smaller, fresh)
    before, after = dict((whole or student).named_modules()), dict(smaller.named_modules())
    return Pruned(smaller, filters, [name for name in asked if sizes(before[name])[0] == sizes(after[name])[0]])  # type: ignore[index]


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
        what = (
            "matches no layer" if not matching else f"matches only layers that are not pruned ({sorted(matching)[0]})"
        )
        raise OptionError(f"layers {pattern!r} {what}: {student.name} has {listed}")
    return chosen, [name for name in names if name in matching]


def _unit_scores(
    student: Student, groups: Sequence[Group], score: ScoreName, logmels: Sequence[Tensor]
) -> list[NDArray[np.float64]]:
    """A score for each unit of each group; their mean is 1. Units of one channel that must stay have none."""
    twin = real_form(copy.deepcopy(student)).float().cpu().eval()
    modules = dict(twin.named_modules())
    scoring = [_scoring_layers(group, modules, score) for group in groups]
    names = sorted({layer for found in scoring for layer in found})
    if score == "taylor":
        of_layer = {name: found.numpy() for name, found in taylor(twin, logmels, names).items()}
    else:
        of_layer = {name: of_weight(score, _real_weight(modules[name])).numpy() for name in names}
    found = []
    for group, layers in zip(groups, scoring, strict=True):
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


def _scoring_layers(group: Group, modules: dict[str, nn.Module], score: ScoreName) -> list[str]:
    """The layers that a group's channels are ranked by: for weights those over all inputs, for Taylor BatchNorm."""
    givers = [(name, modules[name]) for name in group.givers]
    norms = [name for name, layer in givers if isinstance(layer, nn.BatchNorm2d)]
    if score == "taylor" and norms:
        return norms
    layers = [(name, layer) for name, layer in givers if not isinstance(layer, nn.BatchNorm2d)]
    convolutions = [name for name, layer in layers if isinstance(layer, nn.Conv2d | DynamicConv)]
    full = [name for name in convolutions if not depthwise(modules[name])]
    return full or convolutions or [name for name, _ in layers]


def _real_weight(layer: nn.Module) -> Tensor:
    """Weights (filters, inputs, taps); of a dynamic convolution all its kernels concatenated, since they are mixed."""
    if isinstance(layer, DynamicConv):
        kernels = layer.weight.detach()[0, 0].unflatten(1, (layer.outputs, -1))
        return kernels.permute(1, 2, 0)
    assert isinstance(layer.weight, Tensor)
    return layer.weight.detach().flatten(2) if layer.weight.ndim > 2 else layer.weight.detach()[:, :, None]


def _check_none_is_emptied(groups: Sequence[Group], wholes: Sequence[int], ratio: float) -> None:
    """Raises OptionError where a layer of two filters or more would lose all, with the largest ratio that none does."""
    emptied = [
        (count, group)
        for group, count in zip(groups, wholes, strict=True)
        if count > 1 and _gone(count, ratio) >= count
    ]
    if emptied:
        count, group = min(emptied, key=lambda found: found[0])
        most = int(100 * (count - 0.5) / count - 1e-9) / 100
        raise OptionError(
            f"ratio {ratio:g} would empty {group.givers[0]}, which has {count} filters: give {most:.2f} or less"
        )


def _gone(whole: int, ratio: float) -> int:
    return int(ratio * whole + 0.5)


def _to_remove(now: int, whole: int, ratio: float) -> int:
    """How many of the remaining units to remove, so that the removed share of the unpruned net is `ratio`."""
    return max(0, now - (whole - _gone(whole, ratio)))


def _lowest_of_all(scores: Sequence[NDArray[np.float64]], going: int) -> list[NDArray[np.int64]]:
    """The units of all groups that score lowest; each group keeps at least its best."""
    owners = np.concatenate([np.full(len(found), i) for i, found in enumerate(scores)])
    units = np.concatenate([np.arange(len(found)) for found in scores])
    best = np.array([found.argmax() if len(found) else STAYS for found in scores])
    order = np.argsort(np.concatenate(list(scores)), kind="stable")
    order = order[units[order] != best[owners[order]]][:going]
    return [np.sort(units[order[owners[order] == i]]) for i in range(len(scores))]


def _take_out(
    student: Student, groups: Sequence[Group], dropped: Sequence[NDArray[np.int64]]
) -> dict[str, tuple[int, int]]:
    """Remove units of a student, in place; returns the output channels of each layer before and after."""
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
