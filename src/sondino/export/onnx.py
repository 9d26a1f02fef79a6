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

import numpy as np
import onnx
import onnxruntime
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from sondino import __version__
from sondino.frontend_torch import MatmulLogMel
from sondino.students.common import Student
from sondino.students.fold import folded

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


def export_onnx(student: Student, file: str | os.PathLike[str]) -> None:
    """Writes a student and its front-end as one ONNX file; the student itself is left as it is.

    The file's metadata hold `name`, `width`, `sample_rate`, `dim` and `minimum` (samples).

    Args:
        student: in any mode, of any type, on any device: a float32 copy in evaluation mode is exported.
        file: where to write; a file already there is replaced once the new one is whole.
    """
    encoder = WaveformEncoder(folded(student)).eval()
    # Neither 1 nor the minimum: the exporter takes such sizes for constants.
    example = torch.zeros(2, student.minimum_samples + 8 * student.logmel.hop + 3)
    dims = {
        0: torch.export.Dim("batch", min=1),
        1: torch.export.Dim("samples", min=student.minimum_samples),
    }
    with _quiet(), torch.no_grad():
        program = torch.onnx.export(
            encoder,
            (example,),
            dynamo=True,
            dynamic_shapes={"waveform": dims},
            input_names=["waveform"],
            output_names=["vector"],
            opset_version=OPSET,
            external_data=False,
            verbose=False,
        )
    assert program is not None
    model = program.model_proto
    _strip(model)
    metadata = {
        "name": student.name,
        "width": f"{student.width:g}",
        "sample_rate": str(student.logmel.sample_rate),
        "dim": str(student.dim),
        "minimum": str(student.minimum_samples),
    }
    onnx.helper.set_model_props(model, metadata)
    model.producer_name, model.producer_version = "sondino", __version__
    part = Path(f"{os.fspath(file)}.part")
    part.write_bytes(model.SerializeToString())
    part.replace(file)


def verify_onnx(student: Student, file: str | os.PathLike[str], waveforms: Sequence[NDArray[np.float32]] = ()) -> float:
    """How far an ONNX file is from the student that it was made of.

    Noise in batches of 1 and 3, from the shortest clip allowed to 5 s, then each clip given.

    Args:
        student: the one exported.
        file: the ONNX file.
        waveforms: clips (samples,) at the student's rate; those that are too short are padded with zeros.

    Returns:
        The largest absolute difference relative to the largest value of its vector; infinite where either gives
        NaN or infinity.
    """
    encoder = WaveformEncoder(copy.deepcopy(student)).float().cpu().eval()
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(os.fspath(file), options, providers=["CPUExecutionProvider"])
    worst = 0.0
    for batch in _trials(student, waveforms):
        with torch.inference_mode():
            expected = encoder(torch.from_numpy(batch)).numpy()
        got = session.run(["vector"], {"waveform": batch})[0]
        worst = max(worst, _difference(got, expected))
    return worst


def _trials(student: Student, waveforms: Sequence[NDArray[np.float32]]) -> Iterator[NDArray[np.float32]]:
    rng = np.random.default_rng(0)
    minimum, rate = student.minimum_samples, student.logmel.sample_rate
    for batch, samples in ((1, minimum), (3, minimum + 1), (3, rate), (1, 5 * rate + 77)):
        yield (0.1 * rng.standard_normal((batch, max(samples, minimum)))).astype(np.float32)
    for waveform in waveforms:
        short = max(0, minimum - waveform.shape[-1])
        yield np.pad(waveform.astype(np.float32), (0, short))[None]


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
