"""Shared by the two runtimes for phones: the net in the form that they need, and the choice of int8 layers.

Both take one clip of a fixed length at a time. Both need a graph of ATen operators in which a mean keeps its
dimensions and kernels are constants: their fast kernels support nothing else.
"""

from __future__ import annotations

import contextlib
import importlib
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import reduce
from importlib import metadata
from types import ModuleType
from typing import NamedTuple, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, fx, nn

from sondino.errors import MissingExtra, OptionError
from sondino.frontend.logmel import n_frames
from sondino.frontend.logmel_numpy import log_mel
from sondino.metrics.agreement import cosines
from sondino.metrics.collapse import norm_ok
from sondino.model.onnx_graph import WaveformNet
from sondino.model.torch_model import TorchModel
from sondino.nets.dymn import KERNELS, DynamicConv
from sondino.nets.fold import folded
from sondino.nets.student import Student

_T = TypeVar("_T")

CALIBRATION_CLIPS, MEASURED_CLIPS = 64, 32
"""Most clips that int8 ranges are calibrated on, and others that its error is measured on."""

MAX_SECONDS = 240.0
"""Most seconds of both together, but at least 24 clips: calibrating a DyMN on one of 10 s takes seconds."""

LITERT_INT8_COSINE = 0.992
"""Mean cosine to the float net at which no more layers are kept in float, above `verify.MINIMUM_COSINE`."""
LITERT_INT8_LOWEST_COSINE = 0.95
"""The same for the lowest cosine of any clip."""


@dataclass(frozen=True)
class Converted:
    """The result of a conversion, for the card.

    Attributes:
        batch: clips that one call takes.
        samples: that each clip has.
        kept_float: parts of an int8 file that are computed in float.
        versions: of the packages that made it.
        notes: further remarks for the card.
    """

    batch: int
    samples: int
    kept_float: tuple[str, ...] = ()
    versions: dict[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


class FloatLayers(NamedTuple):
    """Which layers of an int8 file stay in float.

    Attributes:
        first: number of weighted layers from the input on, whose activations are the largest and most uneven.
        last: number of weighted layers before the embedding.
        sums: residual sums are int8 too.
    """

    first: int
    last: int
    sums: bool


FLOAT_LAYERS = (
    FloatLayers(0, 0, True),
    FloatLayers(2, 0, True),
    FloatLayers(6, 0, True),
    FloatLayers(6, 12, False),
    FloatLayers(12, 24, False),
    FloatLayers(24, 24, False),
    FloatLayers(24, 48, False),
)
"""From all layers in int8 to few: the first that is close enough to the float net on real audio is taken."""


def require_edge(module: str, environment: str) -> ModuleType:
    """Import a module of a runtime that has an environment of its own, or raise MissingExtra with the commands."""
    root = module.partition(".")[0]
    try:
        return importlib.import_module(module)
    except ImportError as error:
        if error.name is not None and error.name.partition(".")[0] != root:
            raise  # the module is there, but broken inside: its own message says more
        raise MissingExtra(
            f"{root} is not installed and needs an environment of its own: run `make edge` in sondino's repository, "
            f"then the same command as .edge/{environment}/bin/sondino"
        ) from error


def fixed_samples(source: TorchModel, samples: int | None, runtime: str) -> int:
    """The samples of each clip, or OptionError where they are left open."""
    if samples is not None:
        return samples
    raise OptionError(
        f"{runtime} files are made for clips of one length: leave out dynamic, or give --window {source.window:g}"
    )


def versions(*packages: str) -> dict[str, str]:
    """Versions of installed packages."""
    return {package: metadata.version(package) for package in packages}


class _ConstantKernels(nn.Module):
    """A DynamicConv as the same mix of its kernels' outputs: the kernels are constants, as the runtimes want them."""

    def __init__(self, dynamic: DynamicConv) -> None:
        super().__init__()
        self.residuals, self.temperature = dynamic.residuals, dynamic.temperature
        side, outputs = dynamic.kernel, dynamic.outputs
        groups = 1 if side == 1 else outputs
        self.parts = nn.ModuleList()
        for kernel in dynamic.weight.detach().view(KERNELS, outputs, dynamic.inputs // groups, side, side):
            part = nn.Conv2d(dynamic.inputs, outputs, side, dynamic.stride, side // 2, groups=groups, bias=False)
            part.weight = nn.Parameter(kernel.clone())
            self.parts.append(part)

    def forward(self, x: Tensor, clip: Tensor) -> Tensor:
        mix = torch.softmax(self.residuals(clip) / self.temperature, dim=-1)
        shares = mix[:, :, None, None].split(1, dim=1)
        return reduce(torch.add, (part(x) * share for part, share in zip(self.parts, shares, strict=True)))


def edge_form(student: Student, pointwise: bool = False) -> Student:
    """A folded copy that computes the same by constant kernels.

    Args:
        student: any.
        pointwise: also make the 1x1 kernels of dynamic convolutions constant, which int8 needs; it takes four times
            the products of mixing the kernels first.
    """
    net = folded(student)
    for name, module in list(net.named_modules()):
        if isinstance(module, DynamicConv) and (module.kernel > 1 or pointwise):
            net.set_submodule(name, _ConstantKernels(module))
    return net


def assemble(source: TorchModel, net: nn.Module, body_only: bool) -> WaveformNet:
    """A net, which may be quantised, with the front-end before it and the head behind it."""
    module = WaveformNet(source.backbone, source.as_head(), body_only)
    module.set_submodule("student", net)
    return module


def example(source: TorchModel, samples: int, body_only: bool) -> Tensor:
    """Zeros of the shape that a file takes: (1, samples), or (1, n_mels, frames) where `body_only`."""
    logmel = source.backbone.logmel
    return torch.zeros(1, logmel.n_mels, n_frames(logmel, samples)) if body_only else torch.zeros(1, samples)


def trace(module: nn.Module, given: Tensor) -> fx.GraphModule:
    """A module as a graph of ATen operators whose means keep their dimensions and name no type."""
    with torch.no_grad():
        traced = torch.export.export(module, (given,), strict=False).module()
    assert isinstance(traced, fx.GraphModule)
    graph = traced.graph
    for node in list(graph.nodes):
        if node.target is not torch.ops.aten.mean.dim:
            continue
        image, sides, *kept = node.args
        with graph.inserting_before(node):
            new = graph.call_function(torch.ops.aten.mean.dim, (image, sides, True))
            if node.meta["val"].dtype != image.meta["val"].dtype:
                new = graph.call_function(torch.ops.aten.to.dtype, (new, node.meta["val"].dtype))
            if kept != [True]:
                new = graph.call_function(torch.ops.aten.reshape.default, (new, list(node.meta["val"].shape)))
        node.replace_all_uses_with(new)
        graph.erase_node(node)
    traced.recompile()
    traced.training = False  # it has no eval(), and the converters ask for one
    return traced


def exported(module: nn.Module, given: Tensor) -> torch.export.ExportedProgram:
    """A module as a program for a converter, in the form of `trace`."""
    for part in module.modules():
        part.training = False  # an exported graph inside refuses eval()
    with torch.no_grad():
        return torch.export.export(trace(module, given), (given,), strict=False)


class ExampleClips(NamedTuple):
    """Real audio for int8.

    Attributes:
        waveforms: (clips, samples) float32 that ranges are calibrated on.
        measured: (clips, samples) float32, others, that the error is measured on.
    """

    waveforms: NDArray[np.float32]
    measured: NDArray[np.float32]


def clips_without_norm_outliers(
    source: TorchModel, calibration: Sequence[NDArray[np.float32]], samples: int
) -> ExampleClips:
    """`example_clips` without those whose embedding norm is an outlier: one range cannot hold both."""
    clips = example_clips(calibration, samples, source.sample_rate)
    return ExampleClips(
        *(part[norm_ok(np.concatenate([source.embed_array(clip[None]) for clip in part]))] for part in clips)
    )


def example_clips(calibration: Sequence[NDArray[np.float32]], samples: int, rate: int) -> ExampleClips:
    """Calibration clips split in two, every third to measure on; shorter ones are zero-padded.

    Args:
        calibration: waveforms of any length.
        samples: of each clip returned.
        rate: hertz.

    Raises:
        OptionError: fewer than three clips.
    """
    if len(calibration) < 3:
        raise OptionError(f"calibrate: int8 needs three clips of real audio or more, not {len(calibration)}")
    most = max(24, round(MAX_SECONDS * rate / samples))
    chosen = [calibration[int(i * max(1.0, len(calibration) / most))] for i in range(min(most, len(calibration)))]
    clips = np.stack([np.pad(clip[:samples], (0, max(0, samples - len(clip)))) for clip in chosen])
    measured = np.arange(len(clips)) % 3 == 2
    return ExampleClips(
        clips[~measured][:CALIBRATION_CLIPS].astype(np.float32), clips[measured][:MEASURED_CLIPS].astype(np.float32)
    )


def log_mels(source: TorchModel, waveforms: NDArray[np.float32]) -> NDArray[np.float32]:
    """Log-mels (clips, n_mels, frames) of waveforms (clips, samples)."""
    return np.stack([log_mel(source.backbone.logmel, waveform) for waveform in waveforms])


def least_float(
    make: Callable[[FloatLayers], _T],
    run: Callable[[_T], NDArray[np.float32]],
    expected: NDArray[np.float32],
    layers: int,
) -> tuple[_T, FloatLayers, float]:
    """The int8 net with the fewest layers in float that is close to the float net, else the closest; and its cosine.

    Args:
        make: the int8 net with some layers in float.
        run: its embeddings (clips, dim) of the clips to measure on.
        expected: the float net's embeddings.
        layers: number of weighted layers.
    """
    best: tuple[float, _T, FloatLayers] | None = None
    for choice in FLOAT_LAYERS:
        if best is not None and choice.first + choice.last >= layers:
            break
        form = make(choice)
        reached = cosines(run(form), expected)
        if best is None or reached.mean() > best[0]:
            best = (float(reached.mean()), form, choice)
        if reached.mean() >= LITERT_INT8_COSINE and reached.min() >= LITERT_INT8_LOWEST_COSINE:
            break
    assert best is not None
    return best[1], best[2], best[0]


def kept_in_float(choice: FloatLayers, others: str) -> tuple[str, ...]:
    """The parts that an int8 file computes in float, as phrases."""
    kept = ["the front-end"]
    if choice.first:
        kept.append(f"the first {choice.first} layers with weights")
    if choice.last:
        kept.append(f"the last {choice.last} layers with weights")
    if not choice.sums:
        kept.append("sums")
    return (*kept, others)


@contextlib.contextmanager
def suppress_native_output() -> Iterator[None]:
    """Suppress what native code prints on stdout and stderr."""
    saved = [(stream, os.dup(stream)) for stream in (1, 2)]
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        for stream, _ in saved:
            os.dup2(nowhere, stream)
        yield
    finally:
        for stream, copy in saved:
            os.dup2(copy, stream)
            os.close(copy)
        os.close(nowhere)
