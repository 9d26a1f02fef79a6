"""Traces each form of net once: ONNX graphs are kept without their weights, which are filled in for each export.

To trace a net of a hundred layers takes seconds, whatever its width; tests of distillation, pruning or finetuning
export many nets of the same form. A graph is kept in `.cache/tests`, under a hash of all that it depends on, so that it
serves both workers, and the next run. Every bundle is still compared with torch when it is written. Tests of the
exporter itself trace as users do.
"""

import copy
import functools
import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from filelock import FileLock
from onnx import numpy_helper
from torch import Tensor, nn

from sondino.frontend.logmel_torch import MatmulLogMel
from sondino.model import onnx_graph

ROOT = Path(__file__).parents[2]
CACHE = ROOT / ".cache" / "tests"
SOURCES = ("nets", "frontend", "model/onnx_graph.py", "model/onnx_file.py", "model/write.py")
LARGEST_CONSTANT = 64
"""Values of a constant that a graph may hold beside the weights; a longer one may be computed from weights."""

trace = onnx_graph.trace


@functools.cache
def code_hash() -> str:
    """Of the code that graphs depend on, and of the versions of what traces them."""
    found = hashlib.sha256()
    for source in SOURCES:
        path = ROOT / "src" / "sondino" / source
        for file in sorted(path.rglob("*.py")) if path.is_dir() else [path]:
            found.update(file.read_bytes())
    found.update(Path(__file__).read_bytes())
    for package in ("torch", "onnx", "onnxscript"):
        found.update(version(package).encode())
    return found.hexdigest()


def weights_of(module: nn.Module) -> dict[str, Tensor]:
    return {**dict(module.named_buffers()), **dict(module.named_parameters())}


def form_of(module: nn.Module) -> str:
    """All of a module but its weights: its layers, their settings, and the shapes of its tensors."""
    lines = []
    for name, part in module.named_modules():
        settings = {
            key: value
            for key, value in sorted(vars(part).items())
            if not key.startswith("_") and not isinstance(value, (nn.Module, Tensor))
        }
        lines.append(f"{name} {type(part).__module__}.{type(part).__qualname__} {part.extra_repr()} {settings}")
    lines += [f"{name} {tuple(tensor.shape)} {tensor.dtype}" for name, tensor in weights_of(module).items()]
    return "\n".join(lines)


def with_any_weights(module: nn.Module) -> nn.Module:
    """A copy whose weights are all different, so that the exporter takes no two for one and folds none away."""
    copied, draw = copy.deepcopy(module), torch.Generator().manual_seed(0)
    for tensor in weights_of(copied).values():
        if tensor.is_floating_point():
            tensor.data.copy_(0.1 + torch.rand(tensor.shape, generator=draw))
    return copied


def without_weights(model: onnx.ModelProto, module: nn.Module) -> onnx.ModelProto | None:
    """The graph with its weights named only; None where it holds more than weights as they are."""
    weights = weights_of(module)
    for tensor in model.graph.initializer:
        values = numpy_helper.to_array(tensor)
        if tensor.name in weights:
            if not np.array_equal(values, weights[tensor.name].detach().numpy()):
                return None
            tensor.raw_data = b""
        elif values.dtype == np.float32 and values.size > LARGEST_CONSTANT:
            return None
    return model


def with_weights(model: onnx.ModelProto, module: nn.Module) -> onnx.ModelProto:
    weights = weights_of(module)
    for tensor in model.graph.initializer:
        if tensor.name in weights:
            tensor.CopyFrom(numpy_helper.from_array(weights[tensor.name].detach().numpy(), tensor.name))
    return model


def trace_once(module: nn.Module, example: Tensor, length: Any, given: str, results: Sequence[str]) -> onnx.ModelProto:
    """`onnx_graph.trace`, which traces each form once."""
    net = getattr(module, "student", module)
    if not (isinstance(net, MatmulLogMel) or type(net).__module__.startswith("sondino.nets.")):
        return trace(module, example, length, given, results)  # a net of a test, whose code the hash does not know
    asked = f"{form_of(module)} {tuple(example.shape)} {length and (length.__name__, length.min)} {given} {results}"
    file = CACHE / f"{hashlib.sha256((code_hash() + asked).encode()).hexdigest()[:32]}.onnx"
    file.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(file.with_suffix(".lock")):
        if not file.exists():
            drawn = with_any_weights(module)
            found = without_weights(trace(drawn, example, length, given, results), drawn)
            part = file.with_suffix(".part")
            part.write_bytes(b"" if found is None else found.SerializeToString())
            part.replace(file)
    kept = file.read_bytes()
    if not kept:
        return trace(module, example, length, given, results)
    return with_weights(onnx.load_from_string(kept), module)


@contextmanager
def traced_once() -> Iterator[None]:
    """Within it, nets whose form was traced before are not traced again."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(onnx_graph, "trace", trace_once)
        yield
