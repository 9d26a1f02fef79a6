"""Teachers in ONNX files, on ONNX Runtime: waveforms in, the embedding an output or an inner value."""

import math
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sondino.encoder.encoder import Costs
from sondino.errors import EncoderError, OptionError, SondinoError, require, unknown_name
from sondino.files import sha256
from sondino.runtimes import onnx_session
from sondino.teachers.common import fingerprint, one_vector_each, title
from sondino.teachers.graph_costs import for_10_seconds, load_graph, one_window, onnx_costs
from sondino.teachers.spec import TeacherSpec
from sondino.text import first_line


class OnnxEncoder:
    """An ONNX model from waveforms to embeddings.

    The input may be (batch, samples), (batch, 1, samples) or (samples,), with the batch fixed to 1 or free, and the
    samples fixed (then they are the window) or free.

    Attributes:
        name: kind and file.
        sample_rate: hertz.
        dim: length of an embedding.
        window: seconds; None for any length.
        hop: seconds from one window to the next.
        batch_size: waveforms a call.
        minimum: fewest samples it takes, from `?minimum=`.
        fingerprint: changes with the file, the output, the rate and the windows.
        licence: of the weights.
    """

    def __init__(self, path: Path, spec: TeacherSpec, device: str) -> None:
        import onnxruntime as ort  # here, since it takes its time

        self.name = title(spec)
        self.licence = "the file's"
        self.path = path
        model: str | bytes = str(path)
        session = _session(ort, path, model, spec, device)
        names = [o.name for o in session.get_outputs()]
        if spec.tensor is not None and spec.tensor not in names:
            session = _session(ort, path, _with_output(path, spec.tensor, names), spec, device)
        self._session = session
        self._output = spec.tensor or _only_output(session, path)
        self._input, self._shape = _input(session, path)

        facts = session.get_modelmeta().custom_metadata_map  # our own exports write these
        self.sample_rate = spec.rate(_number(facts.get("sample_rate")))
        samples = self._shape[-1]
        fixed = samples / self.sample_rate if samples else _number(facts.get("window"))
        self.window, self.hop = spec.windowing(fixed)
        if samples and round((self.window or 0) * self.sample_rate) != samples:
            raise OptionError(
                f"teacher {spec.text!r}: its input is {samples} samples, {samples / self.sample_rate:g} s at "
                f"{self.sample_rate} Hz, not window={self.window}: leave out the window, or correct the rate"
            )
        self.minimum = int(spec.options.get("minimum", _number(facts.get("minimum")) or 0))
        self.batch_size = int(spec.options.get("batch", 16))
        length = samples or round((self.window or 1.0) * self.sample_rate)
        self.dim = self._call(np.zeros((1, max(length, self.minimum)), dtype=np.float32)).shape[1]
        self.fingerprint = fingerprint(
            "onnx",
            _content_hash(path),
            output=self._output,
            rate=self.sample_rate,
            window=self.window,
            hop=self.hop,
        )

    def embed(self, waveforms: NDArray[np.float32]) -> NDArray[np.float32]:
        """(batch, samples) to (batch, dim)."""
        if len(waveforms) == 0:
            return np.empty((0, self.dim), dtype=np.float32)
        size = self._shape[0] if len(self._shape) > 1 else 1
        if size is None or size == len(waveforms):
            return self._call(waveforms)
        # A fixed batch: the last one is filled up with copies of its last waveform.
        parts = []
        for start in range(0, len(waveforms), size):
            part = waveforms[start : start + size]
            full = np.concatenate([part, np.repeat(part[-1:], size - len(part), axis=0)])
            parts.append(self._call(full)[: len(part)])
        return np.concatenate(parts)

    def costs(self) -> Costs:
        """Parameters, and multiply-accumulates for 10 s; MissingExtra without onnx."""
        waveform = one_window(self)
        shape = [side or 1 for side in self._shape[:-1]]
        costs = onnx_costs(self.path, self._output, np.broadcast_to(waveform[0], (*shape, waveform.size)).copy())
        macs = None if costs.macs is None else costs.macs // math.prod(shape)
        return for_10_seconds(Costs(macs, costs.parameters), self)

    def _call(self, waveforms: NDArray[np.float32]) -> NDArray[np.float32]:
        rows, samples = waveforms.shape
        shapes = {1: (samples,), 2: (rows, samples), 3: (rows, 1, samples)}
        size = self._shape[0] if len(self._shape) > 1 else 1
        if size is not None and rows < size:  # only the first call, which asks for the dimension
            waveforms, rows = np.repeat(waveforms, size, axis=0), size
            shapes = {2: (rows, samples), 3: (rows, 1, samples)}
        batch = np.ascontiguousarray(waveforms, dtype=np.float32).reshape(shapes[len(self._shape)])
        try:
            answer = self._session.run([self._output], {self._input: batch})[0]
        except Exception as error:
            raise EncoderError(f"{self.path} fails on waveforms of {batch.shape}: {first_line(error)}") from error
        return one_vector_each(answer, rows, f"{self.path}#{self._output}")


def _session(ort: Any, path: Path, model: str | bytes, spec: TeacherSpec, device: str) -> Any:
    there = ort.get_available_providers()
    providers = ["CPUExecutionProvider"]
    if device != "cpu" and "CUDAExecutionProvider" in there:
        providers.insert(0, "CUDAExecutionProvider")
    elif device == "cuda":
        warnings.warn("this onnxruntime has no CUDA: the ONNX teacher runs on the CPU", stacklevel=2)
    try:
        return onnx_session(model, spec.options.get("threads"), providers=providers)
    except SondinoError:
        raise
    except Exception as error:
        raise EncoderError(f"{path} cannot be opened by ONNX Runtime ({first_line(error)})") from error


def _only_output(session: Any, path: Path) -> str:
    """The only output, or the only one of two dimensions."""
    found = session.get_outputs()
    if len(found) == 1:
        return str(found[0].name)
    flat = [o for o in found if len(o.shape or ()) == 2]
    if len(flat) == 1:
        return str(flat[0].name)
    listing = ", ".join(f"#{o.name} {tuple(o.shape)}" for o in found)
    raise OptionError(f"{path} has {len(found)} outputs: name the one to take, {listing}")


def _input(session: Any, path: Path) -> tuple[str, list[int | None]]:
    """Name and shape of the waveform input, None for a free side."""
    found = session.get_inputs()
    shape = [n if isinstance(n, int) and n > 0 else None for n in found[0].shape] if found else []
    right = len(found) == 1 and found[0].type == "tensor(float)" and 1 <= len(shape) <= 3
    if not right or (len(shape) == 3 and shape[1] not in (1, None)):
        listing = ", ".join(f"{i.name} {i.type} {i.shape}" for i in found)
        raise EncoderError(f"{path} takes {listing or 'nothing'}, not one float32 input of waveforms (batch, samples)")
    return str(found[0].name), shape


def _with_output(path: Path, name: str, outputs: list[str]) -> bytes:
    """The model with an inner value as its only output; OptionError with the nearest names."""
    onnx = require("onnx", "train")
    model = load_graph(path)
    inner = [value for node in model.graph.node for value in node.output if value]
    if name not in inner:
        known = {i.name for i in model.graph.value_info} & set(inner)  # exporters name the useful ones
        if len(inner) > 40:
            inner = [v for v in inner if v in known][-40:] or inner[-40:]
        raise unknown_name(f"output of {path}", name, [*outputs, *inner])
    # Nodes stand in the order of execution: keep those that the value needs.
    needed, kept = {name}, []
    for node in reversed(model.graph.node):
        if needed.intersection(node.output):
            kept.append(node)
            needed.update(node.input)
    del model.graph.node[:]
    model.graph.node.extend(reversed(kept))
    del model.graph.output[:]
    model.graph.output.append(onnx.ValueInfoProto(name=name))
    content: bytes = model.SerializeToString()
    return content


def _content_hash(path: Path) -> str:
    """The file's hash, and that of its weights where they lie in a file beside it."""
    beside = [p for p in (path.with_name(path.name + ".data"),) if p.is_file()]
    return "+".join(sha256(p) for p in (path, *beside))


def _number(text: str | None) -> Any:
    """A number from the model's metadata; None where there is none."""
    try:
        number = float(text) if text else None
    except ValueError:
        return None
    return int(number) if number is not None and number.is_integer() else number


def load_onnx(spec: TeacherSpec, device: str = "auto") -> OnnxEncoder:
    """Open an ONNX file.

    Raises:
        OptionError: no such file or output, no rate, or a window that its input does not have.
        EncoderError: no ONNX file, or not one waveform in and one embedding out.
    """
    return OnnxEncoder(spec.path, spec, device)
