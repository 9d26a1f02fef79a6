"""ONNX: one graph from the raw waveform to the vector, checked against PyTorch.

The graph's input is `waveform` (batch, samples) at the student's rate and its output `vector` (batch, dim); both
batch and samples vary.
"""

import contextlib
import copy
import io
import logging
import os
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.compose
import onnxruntime
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from sondino import __version__
from sondino.frontend import log_mel, n_frames
from sondino.frontend_torch import MatmulLogMel
from sondino.students.common import Student
from sondino.students.fold import folded

SMALL = 1024
"""Bytes under which a tensor of the body stands in the body itself."""

OPSET = 18
"""New enough for LayerNorm and ReduceMean with axes as input, old enough for ONNX Runtime 1.14 and the web."""


class WaveformEncoder(nn.Module):
    """A student with its front-end: waveforms (batch, samples) to vectors (batch, dim)."""

    def __init__(self, student: Student) -> None:
        super().__init__()
        self.frontend = MatmulLogMel(student.logmel)
        self.student = student

    def forward(self, waveform: Tensor) -> Tensor:
        """Vectors of waveforms at the student's rate."""
        return self.student(self.frontend(waveform))


def export_onnx(student: Student, file: str | os.PathLike[str], body: str | os.PathLike[str] | None = None) -> None:
    """Writes a student and its front-end as one ONNX file; the student itself is left as it is.

    The file's metadata hold `name`, `width`, `sample_rate`, `dim` and `minimum` (samples).

    Args:
        student: in any mode, of any type, on any device: a float32 copy in evaluation mode is exported.
        file: where to write; a file already there is replaced once the new one is whole.
        body: where to write the net without its front-end, in the same folder: `logmel` (batch, n_mels, frames) in,
            `vector` out. Its weights stay in `file`, so that it is small.
    """
    logmel, fixed = student.logmel, student.fixed_samples
    # Neither 1 nor the minimum: the exporter takes such sizes for constants.
    samples = fixed or student.minimum_samples + 8 * logmel.hop + 3
    frames = n_frames(logmel, samples)
    lengths: tuple[torch.export.Dim | None, torch.export.Dim | None] = (None, None)
    if fixed is None:
        lengths = (
            torch.export.Dim("samples", min=student.minimum_samples),
            torch.export.Dim("frames", min=student.minimum_frames),
        )
    frontend = _trace(MatmulLogMel(logmel), torch.zeros(2, samples), lengths[0], "waveform", "logmel")
    net = _trace(folded(student), torch.zeros(2, logmel.n_mels, frames), lengths[1], "logmel", "vector")
    metadata = {
        "name": student.name,
        "width": f"{student.width:g}",
        "sample_rate": str(logmel.sample_rate),
        "dim": str(student.dim),
        "minimum": str(student.minimum_samples),
    }
    frontend = onnx.compose.add_prefix(frontend, "frontend/", rename_inputs=False, rename_outputs=False)
    data = _bytes(onnx.compose.merge_models(frontend, net, [("logmel", "logmel")]), metadata)
    _write(Path(file), data)
    if body is not None:
        _point_into(net, data, Path(file).name)
        _write(Path(body), _bytes(net, metadata))


def _trace(
    module: nn.Module, example: Tensor, length: torch.export.Dim | None, given: str, result: str
) -> onnx.ModelProto:
    """A module as ONNX, with any batch and, where named, any length of its last side."""
    dims: dict[int, Any] = {0: torch.export.Dim("batch", min=1)}
    if length is not None:
        dims[example.ndim - 1] = length
    with _quiet(), torch.no_grad():
        program = torch.onnx.export(
            module.eval(),
            (example,),
            dynamo=True,
            dynamic_shapes=(dims,),
            input_names=[given],
            output_names=[result],
            opset_version=OPSET,
            external_data=False,
            verbose=False,
        )
    assert program is not None
    model: onnx.ModelProto = program.model_proto
    return model


def _bytes(model: onnx.ModelProto, metadata: dict[str, str]) -> bytes:
    _strip(model)
    onnx.helper.set_model_props(model, metadata)
    model.producer_name, model.producer_version = "sondino", __version__
    return model.SerializeToString()


def _write(file: Path, data: bytes) -> None:
    part = file.with_name(file.name + ".part")
    part.write_bytes(data)
    part.replace(file)


def _point_into(model: onnx.ModelProto, data: bytes, file: str) -> None:
    """Let the large tensors of a graph be read from where the same ones lie inside another ONNX file."""
    for tensor in model.graph.initializer:
        size = len(tensor.raw_data)
        if size < SMALL:
            continue
        at = data.index(tensor.raw_data)
        tensor.ClearField("raw_data")
        tensor.data_location = onnx.TensorProto.EXTERNAL
        for key, value in (("location", file), ("offset", str(at)), ("length", str(size))):
            tensor.external_data.add(key=key, value=value)


def verify_onnx(
    student: Student,
    file: str | os.PathLike[str],
    body: str | os.PathLike[str] | None = None,
    waveforms: Sequence[NDArray[np.float32]] = (),
) -> float:
    """How far an ONNX file, and the net without its front-end, are from the student that they were made of.

    Noise in batches of 1 and 3, from the shortest clip allowed to 5 s, then each clip given.

    Args:
        student: the one exported.
        file: the ONNX file.
        body: the ONNX file of the net without its front-end, run behind the numpy log-mel.
        waveforms: clips (samples,) at the student's rate; those that are too short are padded with zeros.

    Returns:
        The largest absolute difference relative to the largest value of its vector; infinite where either gives
        NaN or infinity.
    """
    encoder = WaveformEncoder(copy.deepcopy(student)).float().cpu().eval()
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = torch.get_num_threads()
    sessions = {
        given: onnxruntime.InferenceSession(os.fspath(path), options, providers=["CPUExecutionProvider"])
        for given, path in (("waveform", file), ("logmel", body))
        if path is not None
    }
    worst = 0.0
    for batch in _trials(student, waveforms):
        with torch.inference_mode():
            expected = encoder(torch.from_numpy(batch)).numpy()
        for given, session in sessions.items():
            x = batch if given == "waveform" else np.stack([log_mel(student.logmel, wave) for wave in batch])
            worst = max(worst, _difference(session.run(["vector"], {given: x})[0], expected))
    return worst


def _trials(student: Student, waveforms: Sequence[NDArray[np.float32]]) -> Iterator[NDArray[np.float32]]:
    rng = np.random.default_rng(0)
    minimum, rate, fixed = student.minimum_samples, student.logmel.sample_rate, student.fixed_samples
    for batch, samples in ((1, minimum), (3, minimum + 1), (3, rate), (1, 5 * rate + 77)):
        yield (0.1 * rng.standard_normal((batch, fixed or max(samples, minimum)))).astype(np.float32)
    for waveform in waveforms:
        short = max(0, minimum - waveform.shape[-1])
        yield np.pad(waveform.astype(np.float32), (0, short))[None, :fixed]


def _difference(got: NDArray[np.float32], expected: NDArray[np.float32]) -> float:
    if got.shape != expected.shape or not (np.isfinite(got).all() and np.isfinite(expected).all()):
        return float("inf")
    scale = np.abs(expected).max(axis=1, keepdims=True)
    return float((np.abs(got - expected) / np.maximum(scale, 1e-12)).max())


def _strip(model: onnx.ModelProto) -> None:
    """Drops stack traces and source paths: of no use to a runtime, and no business of who receives the file."""
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
def _quiet() -> Iterator[None]:
    """Keeps the exporter's progress, warnings and logs off the user's terminal; errors still rise."""
    level = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(level)
