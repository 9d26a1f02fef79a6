"""ExecuTorch: a .pte file whose operators run in XNNPACK, in float32 or with int8 weights and activations."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, fx, nn

from sondino.errors import OptionError, SondinoError
from sondino.exporters.asked import Precision
from sondino.exporters.edge import (
    Converted,
    assemble,
    edge_form,
    example,
    exported,
    fixed_samples,
    require_edge,
    suppress_native_output,
    trace,
    versions,
)
from sondino.exporters.verify import Run
from sondino.files import thread_count, write_whole
from sondino.model.onnx_graph import suppress_logs
from sondino.model.torch_model import TorchModel
from sondino.text import first_line

ENVIRONMENT = "executorch"

_WEIGHTED = torch.ops.aten.conv2d.default
_LINEAR = torch.ops.aten.linear.default
_RELUS = (torch.ops.aten.relu.default, torch.ops.aten.relu_.default)


def write_executorch(
    source: TorchModel,
    file: Path,
    precision: Precision,
    samples: int | None,
    body_only: bool = False,
) -> Converted:
    """Write a student as an ExecuTorch file for XNNPACK.

    Args:
        source: what to convert.
        file: where to.
        precision: "f32", "f16" (the net computes in float16, the front-end in float32) or "int8".
        samples: of each clip; None: any length, which is refused.
        body_only: the file takes log-mels (1, n_mels, frames).

    Raises:
        MissingExtra: this environment has no ExecuTorch.
        OptionError: no fixed length, or a DyMN in int8.
        SondinoError: ExecuTorch cannot convert it.
    """
    length = fixed_samples(source, samples, "ExecuTorch")
    if precision == "int8" and source.backbone.name == "dymn":
        raise OptionError(
            "dymn in int8: where it was tried, ExecuTorch did not end in a quarter of an hour with its 282 "
            "convolutions; take precision f32 or f16, or `sondino quantize`, which stores its kernels in int8"
        )
    exir = require_edge("executorch.exir", ENVIRONMENT)
    partitioner = require_edge("executorch.backends.xnnpack.partition.xnnpack_partitioner", ENVIRONMENT)
    kept: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    with suppress_logs(), suppress_native_output():
        net: nn.Module
        if precision == "int8":
            net = _quantised(edge_form(source.backbone, pointwise=True), example(source, length, body_only=True))
            kept = ("the front-end", "depthwise convolutions", "sums, means and gates")
            notes = ("Weights are int8 per channel; activation ranges are computed for each clip at run time.",)
        elif precision == "f16":
            net = _Half(edge_form(source.backbone))
            notes = ("The net computes in float16; its front-end and its embedding are float32.",)
        else:
            net = edge_form(source.backbone)
        try:
            lowered = exir.to_edge_transform_and_lower(
                exported(assemble(source, net, body_only), example(source, length, body_only)),
                partitioner=[partitioner.XnnpackPartitioner()],
                # The front-end's products with constants are no core ATen operators before they are lowered.
                compile_config=exir.EdgeCompileConfig(_check_ir_validity=False),
            )
            content = lowered.to_executorch().buffer
        except Exception as error:  # the exporter's errors have no common base
            raise SondinoError(f"ExecuTorch cannot convert {source.name}: {first_line(error)}") from error
    write_whole(file, content)
    return Converted(1, length, kept, versions("executorch", "torch", "torchao"), notes)


class _Half(nn.Module):
    """A net in float16 between a float32 log-mel and a float32 embedding."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = copy.deepcopy(net).half()

    def forward(self, logmel: Tensor) -> Tensor:
        return self.net(logmel.half()).float()


def _quantised(net: nn.Module, given: Tensor) -> fx.GraphModule:
    """The net with int8 weights and dynamically quantised activations.

    Static ranges lost more in every student (lowest cosine of a MobileNetV3: 0.93, here 0.9987) and were a tenth
    faster.

    Args:
        net: in the form of `edge_form`.
        given: any log-mel (1, n_mels, frames).
    """
    pt2e = require_edge("torchao.quantization.pt2e.quantize_pt2e", ENVIRONMENT)
    xnnpack = require_edge("executorch.backends.xnnpack.quantizer.xnnpack_quantizer", ENVIRONMENT)
    traced = trace(net, given)
    graph = traced.graph
    for node in list(graph.nodes):
        # The quantizer passes over a layer behind which a relu stands by that name.
        if node.target in _RELUS and node.args[0].target is _WEIGHTED:
            with graph.inserting_before(node):
                clamped = graph.call_function(torch.ops.aten.clamp.default, (node.args[0], 0.0))
            clamped.meta = dict(node.meta)
            node.replace_all_uses_with(clamped)
            graph.erase_node(node)
    traced.recompile()
    floats = {node.name for node in graph.nodes if node.op == "call_function" and not _whole_images(node)}
    quantizer = xnnpack.XNNPACKQuantizer()
    quantizer.set_global(xnnpack.get_symmetric_quantization_config(is_per_channel=True, is_dynamic=True))
    quantizer.set_filter_function(lambda node: node.name not in floats)
    prepared = pt2e.prepare_pt2e(traced, quantizer)
    with torch.no_grad():
        prepared(given)
    made: fx.GraphModule = pt2e.convert_pt2e(prepared)
    made.training = False
    return made


def _whole_images(node: fx.Node) -> bool:
    """Whether XNNPACK can quantise a layer dynamically: not a depthwise convolution."""
    groups = node.args[6] if len(node.args) > 6 else 1
    return bool(node.target is _LINEAR or (node.target is _WEIGHTED and groups == 1))


def open_executorch(file: Path, threads: int | None = None) -> Run:
    """Open a .pte file of ours.

    Args:
        file: the file.
        threads: to run on; None: as many as this process may use. The count is one for all files of a process.

    Returns:
        from waveforms (batch, samples), or log-mels (batch, n_mels, frames), to embeddings (batch, dim), row by row.

    Raises:
        MissingExtra: this environment has no ExecuTorch.
        SondinoError: it cannot be opened.
    """
    runtime = require_edge("executorch.extension.pybindings.portable_lib", ENVIRONMENT)
    try:
        with suppress_native_output():
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
