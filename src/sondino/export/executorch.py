"""ExecuTorch: a .pte file whose operators run in XNNPACK, in float32 or with static int8 weights and activations."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, fx, nn

from sondino.errors import OptionError, SondinoError
from sondino.export.edge import (
    Converted,
    Rung,
    edge_form,
    example,
    exported,
    fixed_samples,
    hushed,
    kept_in_float,
    least_float,
    log_mels,
    real_sounds,
    require_edge,
    trace,
    versions,
    whole,
)
from sondino.export.graph import quiet
from sondino.export.source import Source
from sondino.export.verify import Precision, Run
from sondino.files import thread_count, write_whole
from sondino.sessions import first_line

ENVIRONMENT = "executorch"

_WEIGHTED = torch.ops.aten.conv2d.default
_SUMS = (torch.ops.aten.add.Tensor, torch.ops.aten.add_.Tensor)


def write_executorch(
    source: Source,
    file: Path,
    precision: Precision,
    samples: int | None,
    calibration: Sequence[NDArray[np.float32]] = (),
    body_only: bool = False,
) -> Converted:
    """Write a student as an ExecuTorch file for XNNPACK.

    Args:
        source: what to convert.
        file: where to.
        precision: "f32", "f16" (the net computes in float16, the front-end in float32) or "int8".
        samples: of each clip; None: any length, which is refused.
        calibration: real waveforms (samples,) for int8.
        body_only: the file takes log-mels (1, n_mels, frames).

    Raises:
        MissingExtra: this environment has no ExecuTorch.
        OptionError: no fixed length, or too few clips to calibrate on.
        SondinoError: ExecuTorch cannot convert it.
    """
    length = fixed_samples(source, samples, "ExecuTorch")
    exir = require_edge("executorch.exir", ENVIRONMENT)
    partitioner = require_edge("executorch.backends.xnnpack.partition.xnnpack_partitioner", ENVIRONMENT)
    kept: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    with quiet(), hushed():
        net: nn.Module
        if precision == "int8":
            net, rung = _quantised(source, length, calibration)
            kept = kept_in_float(rung, "products of images with gates")
        elif precision == "f16":
            net = _Half(edge_form(source.student))
            notes = ("The net computes in float16; its front-end and its vector are float32.",)
        else:
            net = edge_form(source.student)
        try:
            lowered = exir.to_edge_transform_and_lower(
                exported(whole(source, net, body_only), example(source, length, body_only)),
                partitioner=[partitioner.XnnpackPartitioner()],
                # The front-end's products with constants are no core ATen operators before they are lowered.
                compile_config=exir.EdgeCompileConfig(_check_ir_validity=False),
            )
            content = lowered.to_executorch().buffer
        except Exception as error:  # the exporter's errors have no common base
            raise SondinoError(f"ExecuTorch cannot convert {source.config['name']}: {first_line(error)}") from error
    write_whole(file, content)
    return Converted(1, length, kept, versions("executorch", "torch", "torchao"), notes)


class _Half(nn.Module):
    """A net in float16 between a float32 log-mel and a float32 vector."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = copy.deepcopy(net).half()

    def forward(self, logmel: Tensor) -> Tensor:
        return self.net(logmel.half()).float()


class _Convolution(nn.Module):
    """A linear layer as a 1x1 convolution: ExecuTorch fuses int8 weights into these alone without fail."""

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        self.conv = nn.Conv2d(linear.in_features, linear.out_features, 1)
        self.conv.weight = nn.Parameter(linear.weight.detach()[:, :, None, None].clone())
        self.conv.bias = linear.bias

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x[:, :, None, None]).flatten(1)


def _convolutions(net: nn.Module) -> nn.Module:
    for name, module in list(net.named_modules()):
        if isinstance(module, nn.Linear):
            net.set_submodule(name, _Convolution(module))
    return net


def _quantised(source: Source, samples: int, calibration: Sequence[NDArray[np.float32]]) -> tuple[fx.GraphModule, Rung]:
    """The net in static int8, and which of its layers stay in float."""
    sounds = real_sounds(calibration, samples)
    ranging, measured = (torch.from_numpy(log_mels(source, part)) for part in sounds)
    net = _convolutions(edge_form(source.student, pointwise=True))
    layers = sum(isinstance(module, nn.Conv2d) for module in net.modules())

    def vectors(form: nn.Module) -> NDArray[np.float32]:
        with torch.no_grad():
            return np.concatenate([form(logmel[None]).numpy() for logmel in measured])

    expected = source.vectors(sounds.measured)
    form, rung, _ = least_float(lambda rung: _with_ranges(net, rung, ranging), vectors, expected, layers)
    return form, rung


def _with_ranges(net: nn.Module, rung: Rung, ranging: Tensor) -> fx.GraphModule:
    """The net in int8 but for a rung's layers, its ranges seen on log-mels (clips, n_mels, frames)."""
    pt2e = require_edge("torchao.quantization.pt2e.quantize_pt2e", ENVIRONMENT)
    xnnpack = require_edge("executorch.backends.xnnpack.quantizer.xnnpack_quantizer", ENVIRONMENT)
    traced = trace(net, ranging[:1])
    calls = [node for node in traced.graph.nodes if node.op == "call_function"]
    weighted = [i for i, node in enumerate(calls) if node.target is _WEIGHTED]
    begin = weighted[rung.first] if rung.first else 0
    end = weighted[-rung.last] if rung.last else len(calls)
    # Gates multiply whole images by small numbers: int8 hurts there most, and saves next to nothing.
    others = (torch.ops.aten.mul.Tensor, *(() if rung.sums else _SUMS))
    floats = {node.name for i, node in enumerate(calls) if not begin <= i < end or node.target in others}
    quantizer = xnnpack.XNNPACKQuantizer()
    quantizer.set_global(xnnpack.get_symmetric_quantization_config(is_per_channel=True))
    quantizer.set_filter_function(lambda node: node.name not in floats)
    prepared = pt2e.prepare_pt2e(traced, quantizer)
    with torch.no_grad():
        for logmel in ranging:
            prepared(logmel[None])
    made: fx.GraphModule = pt2e.convert_pt2e(prepared)
    made.training = False
    return made


def open_executorch(file: Path, threads: int | None = None) -> Run:
    """Open a .pte file of ours.

    Args:
        file: the file.
        threads: to run on; None: as many as this process may use. The count is one for all files of a process.

    Returns:
        from waveforms (batch, samples), or log-mels (batch, n_mels, frames), to vectors (batch, dim), row by row.

    Raises:
        MissingExtra: this environment has no ExecuTorch.
        SondinoError: it cannot be opened.
    """
    runtime = require_edge("executorch.extension.pybindings.portable_lib", ENVIRONMENT)
    try:
        with hushed():
            runtime._unsafe_reset_threadpool(thread_count(threads))
            module: Any = runtime._load_for_executorch(str(file))
        shape = tuple(module.method_meta("forward").input_tensor_meta(0).sizes())
    except (OSError, RuntimeError, ValueError) as error:
        raise SondinoError(f"{file}: ExecuTorch cannot open it ({first_line(error)})") from error

    def run(given: NDArray[np.float32]) -> NDArray[np.float32]:
        if given.shape[1:] != shape[1:]:
            raise OptionError(f"{file} takes clips of shape {shape[1:]}, not {given.shape[1:]}")
        rows = (torch.from_numpy(np.ascontiguousarray(row[None], np.float32)) for row in given)
        return np.concatenate([module.forward([row])[0].numpy().copy() for row in rows])

    return run
