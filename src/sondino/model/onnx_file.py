"""ONNX: one graph from the raw waveform to the embedding, checked against PyTorch.

The graph's input is `waveform` (batch, samples) at the student's rate and its output `vector` (batch, dim); both
batch and samples vary.
"""

import copy
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import onnx
import torch
from numpy.typing import NDArray

from sondino.frontend.logmel_numpy import log_mel
from sondino.frontend.logmel_torch import FFTLogMel
from sondino.model.onnx_graph import finished, front_end_graph, joined, net_graph
from sondino.nets.student import Student
from sondino.runtimes import onnx_session

ROUNDING = 4.0
"""Times torch's own difference from float64 that ONNX Runtime's may be: over 2 minutes, ERes2Net's is 2."""
STILL_ROUNDING = 3.0
"""Times the bound that ONNX Runtime's difference from float64 may be: in digital silence a fine-tuned sondino-small's
was 0.9 times it, and torch's 0.13."""

SMALL = 1024
"""Bytes under which a tensor of the body is stored in the body itself."""


def export_onnx(student: Student, file: str | os.PathLike[str], body: str | os.PathLike[str] | None = None) -> None:
    """Writes a student and its front-end as one ONNX file; the student itself is left as it is.

    The file's metadata hold `name`, `width`, `sample_rate`, `dim` and `minimum` (samples).

    Args:
        student: in any mode, of any type, on any device: a float32 copy in evaluation mode is exported.
        file: where to write; a file already there is replaced once the new one is whole.
        body: where to write the net without its front-end, in the same folder: `logmel` (batch, n_mels, frames) in,
            `vector` out. Its weights stay in `file`, so that it is small.
    """
    front_end, net = front_end_graph(student), net_graph(student)
    write_graphs(front_end, net, metadata_of(student), Path(file), None if body is None else Path(body))


def metadata_of(student: Student) -> dict[str, str]:
    """The metadata of a student's ONNX files."""
    return {
        "name": student.name,
        "width": f"{student.width:g}",
        "sample_rate": str(student.logmel.sample_rate),
        "dim": str(student.dim),
        "minimum": str(student.minimum_samples),
    }


def write_graphs(
    front_end: onnx.ModelProto, net: onnx.ModelProto, metadata: Mapping[str, str], file: Path, body: Path | None = None
) -> None:
    """Write a front-end and a net as one ONNX file, and the net by itself beside it.

    Args:
        front_end: waveform to log-mel.
        net: log-mel to embedding; changed where `body` is given.
        metadata: of the files.
        file: of both; a file already there is replaced once the new one is whole.
        body: of the net by itself; its large weights stay in `file`, in the same folder.
    """
    data = finished(joined(front_end, net), metadata)
    _write(file, data)
    if body is not None:
        _point_into(net, data, file.name)
        _write(body, finished(net, metadata))


def _write(file: Path, data: bytes) -> None:
    part = file.with_name(file.name + ".part")
    part.write_bytes(data)
    part.replace(file)


def _point_into(model: onnx.ModelProto, data: bytes, file: str) -> None:
    """Make a graph read its large tensors from their copies inside another ONNX file."""
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
    """Compare an ONNX file, and the net without its front-end, with the student that they were exported from.

    Noise in batches of 1 and 3, from the shortest clip allowed to 5 s, then each clip given.

    Args:
        student: the one exported.
        file: the ONNX file.
        body: the ONNX file of the net without its front-end, run behind the numpy log-mel.
        waveforms: clips (samples,) at the student's rate; those that are too short are padded with zeros.

    Returns:
        The largest absolute difference relative to the largest value of its embedding; infinite if either has
        NaN or infinity.
    """
    reference = copy.deepcopy(student).float().cpu().eval()
    front_end = FFTLogMel(student.logmel)
    sessions = {given: onnx_session(path) for given, path in (("waveform", file), ("logmel", body)) if path is not None}
    worst = 0.0
    for batch in _trials(student, waveforms):
        with torch.inference_mode():
            expected = reference(front_end(torch.from_numpy(batch))).numpy()
        for given, session in sessions.items():
            x = batch if given == "waveform" else np.stack([log_mel(student.logmel, wave) for wave in batch])
            worst = max(worst, _difference(session.run(["vector"], {given: x})[0], expected))
    return worst


def only_rounding(
    student: Student,
    file: str | os.PathLike[str],
    body: str | os.PathLike[str],
    waveforms: Sequence[NDArray[np.float32]],
    bound: float,
) -> bool:
    """Whether what differs from torch by more than a bound is a rounding error of float32.

    It is no further from float64 than `ROUNDING` times torch, or than `STILL_ROUNDING` times the bound: over minutes of
    audio, and in digital silence, the sums of either may be off by more than the bound. A wrong operator is off by
    hundreds of times it.

    Args:
        student: as of `verify_onnx`.
        file: as of `verify_onnx`.
        body: as of `verify_onnx`.
        waveforms: as of `verify_onnx`.
        bound: as of the difference that `verify_onnx` returns.
    """
    reference = copy.deepcopy(student).float().cpu().eval()
    exact, front_end = copy.deepcopy(reference).double(), FFTLogMel(student.logmel)
    exact_front_end = copy.deepcopy(front_end).double()
    sessions = {"waveform": onnx_session(file), "logmel": onnx_session(body)}
    for batch in _trials(student, waveforms):
        with torch.inference_mode():
            ours = reference(front_end(torch.from_numpy(batch))).numpy()
        truth = None
        for given, session in sessions.items():
            x = batch if given == "waveform" else np.stack([log_mel(student.logmel, wave) for wave in batch])
            found = session.run(["vector"], {given: x})[0]
            if _difference(found, ours) <= bound:
                continue
            if truth is None:
                with torch.inference_mode():
                    truth = exact(exact_front_end(torch.from_numpy(batch).double())).numpy()
            allowed = max(ROUNDING * _difference(ours, truth), STILL_ROUNDING * bound)
            if not (math.isfinite(allowed) and _difference(found, truth) <= allowed):
                return False
    return True


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
