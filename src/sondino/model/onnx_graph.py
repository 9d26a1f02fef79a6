"""Torch modules as ONNX graphs: traced, joined and made ready to be written."""

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import onnx
import onnx.compose
import torch
from torch import Tensor, nn

from sondino.encoder.head import Head
from sondino.encoder.unlike import Unlike
from sondino.frontend.logmel import n_frames
from sondino.frontend.logmel_torch import MatmulLogMel
from sondino.model.head_layers import layers_of
from sondino.nets.fold import folded
from sondino.nets.student import Student
from sondino.version import __version__

OPSET = 18
"""New enough for LayerNorm and ReduceMean with axes as input, old enough for ONNX Runtime 1.14 and the web."""


def front_end_graph(student: Student, samples: int | None = None) -> onnx.ModelProto:
    """The front-end: `waveform` (batch, samples) in, `logmel` (batch, n_mels, frames) out.

    Args:
        student: whose front-end.
        samples: that every waveform has; None: any number that the student takes.
    """
    given, length = _example(student, samples, "samples", student.minimum_samples)
    return trace(MatmulLogMel(student.logmel), torch.zeros(2, given), length, "waveform", ["logmel"])


def net_graph(student: Student, samples: int | None = None, head: Head | None = None) -> onnx.ModelProto:
    """The net without its front-end: `logmel` in, `vector` (batch, dim) out, and `probabilities` where it has a head.

    Args:
        student: the net.
        samples: that every waveform has; None: any number that the student takes.
        head: from its embeddings to labels.
    """
    given, length = _example(student, samples, "frames", student.minimum_frames)
    example = torch.zeros(2, student.logmel.n_mels, n_frames(student.logmel, given))
    results = ["vector"] if head is None else ["vector", "probabilities"]
    return trace(WaveformNet(student, head, body_only=True), example, length, "logmel", results)


def with_unlike(net: onnx.ModelProto, unlike: Unlike) -> onnx.ModelProto:
    """A net with one more output, `unlike` (batch,): `Unlike.scores` of its `vector`, in float32."""
    score = trace(UnlikeScore(unlike), torch.zeros(2, unlike.dim), None, "vector", ["unlike"])
    score = onnx.compose.add_prefix(score, "unlike/", rename_inputs=False, rename_outputs=False)
    outputs = [*(value.name for value in net.graph.output), "unlike"]
    return onnx.compose.merge_models(net, score, [("vector", "vector")], outputs=outputs)


def _example(student: Student, samples: int | None, name: str, least: int) -> tuple[int, torch.export.Dim | None]:
    """Samples to trace with, and the name of the side that varies."""
    samples = samples or student.fixed_samples
    if samples is not None:
        return samples, None
    # Neither 1 nor the minimum: the exporter takes such sizes for constants.
    return student.minimum_samples + 8 * student.logmel.hop + 3, torch.export.Dim(name, min=least)


def joined(front_end: onnx.ModelProto, net: onnx.ModelProto) -> onnx.ModelProto:
    """One graph from the waveform to the net's outputs."""
    front_end = onnx.compose.add_prefix(front_end, "frontend/", rename_inputs=False, rename_outputs=False)
    return onnx.compose.merge_models(front_end, net, [("logmel", "logmel")])


def trace(
    module: nn.Module, example: Tensor, length: torch.export.Dim | None, given: str, results: Sequence[str]
) -> onnx.ModelProto:
    """A module of one input as ONNX, with any batch and, where named, any length of its last side."""
    dims: dict[int, Any] = {0: torch.export.Dim("batch", min=1)}
    if length is not None:
        dims[example.ndim - 1] = length
    with suppress_logs(), torch.no_grad():
        program = torch.onnx.export(
            module.eval(),
            (example,),
            dynamo=True,
            dynamic_shapes=(dims,),
            input_names=[given],
            output_names=list(results),
            opset_version=OPSET,
            external_data=False,
            verbose=False,
        )
    assert program is not None
    model: onnx.ModelProto = program.model_proto
    return model


def finished(model: onnx.ModelProto, metadata: Mapping[str, str]) -> bytes:
    """A graph as the bytes of a file, with its metadata and without traces of where it was made."""
    _strip(model)
    onnx.helper.set_model_props(model, dict(metadata))
    model.producer_name, model.producer_version = "sondino", __version__
    return model.SerializeToString()


def _strip(model: onnx.ModelProto) -> None:
    """Remove stack traces and source paths: no runtime needs them, and they describe this machine."""
    for node in model.graph.node:
        node.doc_string = ""
        del node.metadata_props[:]
    for value in (*model.graph.value_info, *model.graph.input, *model.graph.output, *model.graph.initializer):
        value.doc_string = ""
        del value.metadata_props[:]
    del model.graph.metadata_props[:]
    for function in model.functions:
        del function.metadata_props[:]


@contextlib.contextmanager
def suppress_logs() -> Iterator[None]:
    """Suppress the exporter's progress, warnings and logs; errors are still raised."""
    level = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(level)


class WaveformNet(nn.Module):
    """A student with its front-end, and its head if it has one, ready to be exported.

    Takes waveforms (batch, samples), or log-mels (batch, n_mels, frames) where `body_only`; gives embeddings
    (batch, dim), or embeddings and probabilities (batch, labels).
    """

    def __init__(self, student: Student, head: Head | None = None, body_only: bool = False) -> None:
        super().__init__()
        self.frontend: nn.Module = nn.Identity() if body_only else MatmulLogMel(student.logmel)
        self.student = folded(student)
        self.head = layers_of(head) if head is not None else None
        self.multi_label = head is not None and head.multi_label

    def forward(self, given: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        """Embeddings, or embeddings and probabilities."""
        embedding = self.student(self.frontend(given))
        if self.head is None:
            return embedding
        logits = self.head(embedding)
        return embedding, torch.sigmoid(logits) if self.multi_label else torch.softmax(logits, dim=-1)


class UnlikeScore(nn.Module):
    """`Unlike.scores` of embeddings (batch, dim), in torch."""

    def __init__(self, unlike: Unlike) -> None:
        super().__init__()
        parts = {name: torch.from_numpy(array) for name, array in unlike.as_arrays().items()}
        self.means, self.directions = nn.Buffer(parts["means"]), nn.Buffer(parts["directions"].T.contiguous())
        self.along, self.rest = nn.Buffer(parts["variances"][:-1]), float(parts["variances"][-1])
        self.lower = nn.Buffer(parts["quantiles"][:-1])
        self.widths = nn.Buffer(parts["quantiles"].diff().clamp(min=torch.finfo(torch.float32).tiny))

    def forward(self, vector: Tensor) -> Tensor:
        """The score (batch,), 0 to 1."""
        away = vector[:, None] - self.means  # (batch, classes, dim)
        along = (away @ self.directions) ** 2  # (batch, classes, rank)
        rest = ((away**2).sum(-1) - along.sum(-1)).clamp(min=0)
        nearest = ((along / self.along).sum(-1) + rest / self.rest).amin(-1)
        # Linear between quantiles: each step from one to the next counts by the share of it that is passed.
        return ((nearest[:, None] - self.lower) / self.widths).clamp(0, 1).mean(-1)
