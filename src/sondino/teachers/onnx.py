"""Teachers in ONNX files, on ONNX Runtime: waveforms in, the embedding an output or an inner value."""

import difflib
import warnings
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sondino.encoder.encoder import Costs
from sondino.encoder.head import Head
from sondino.errors import EncoderError, MissingExtra, OptionError, SondinoError, require
from sondino.files import sha256
from sondino.runtimes import onnx_session
from sondino.teachers.common import Pool, fingerprint, one_vector_each, other_facts, second_path, title, write_module
from sondino.teachers.graph_costs import for_10_seconds, load_graph, one_window, onnx_costs
from sondino.teachers.inputs import Between, Port, frames_first, listed, states_notice, waveform_input
from sondino.teachers.onnx_tail import onnx_head
from sondino.teachers.spec import TeacherSpec
from sondino.teachers.takes_sound import check_takes_sound
from sondino.text import first_line


class OnnxEncoder:
    """An ONNX model from waveforms to embeddings.

    The input may be (batch, samples), (batch, 1, samples), (batch, samples, 1) or (samples,), with the batch fixed or
    free, and the samples fixed (then they are the window) or free. Further inputs are filled as `waveform_input` says;
    such models take one waveform a call.

    Attributes:
        name: kind and file.
        sample_rate: hertz.
        dim: length of an embedding.
        window: seconds; None for any length.
        hop: seconds from one window to the next.
        batch_size: waveforms a call.
        minimum: fewest samples it takes, from `?minimum=`.
        fingerprint: changes with the file, the output, the rate and the windows, and with what else is in the name.
        licence: of the weights.
        notice: which inputs start at zero in every window; empty where none do.
    """

    def __init__(self, path: Path, spec: TeacherSpec, device: str) -> None:
        import onnxruntime as ort  # here, since it takes its time

        self.name = title(spec)
        self.licence = "the file's"
        self.path = path
        model: str | bytes = str(path)
        self._pool: Pool | None = spec.options.get("pool")
        self._next: _Second | None = None
        session = _session(ort, path, model, spec, device)
        outputs = _ports(session.get_outputs())
        last = spec.tensor if "then" not in spec.options else None  # which names a value of the last file
        if last is not None and last not in [o.name for o in outputs]:
            session = _session(ort, path, _with_output(path, last, outputs), spec, device)
        self._session = session
        self._output = _output(last, _ports(session.get_outputs()), path)

        facts = session.get_modelmeta().custom_metadata_map  # our own exports write these
        self.sample_rate = spec.rate(_number(facts.get("sample_rate")))
        self._input = waveform_input(_ports(session.get_inputs()), outputs, spec, str(path), self.sample_rate)
        self.notice = states_notice(self._input.states, path)
        samples = self._input.samples
        fixed = samples / self.sample_rate if samples else _number(facts.get("window"))
        self.window, self.hop = spec.windowing(fixed)
        if samples and round((self.window or 0) * self.sample_rate) != samples:
            raise OptionError(
                f"teacher {spec.text!r}: its input is {samples} samples, {samples / self.sample_rate:g} s at "
                f"{self.sample_rate} Hz, not window={self.window}: leave out the window, or correct the rate"
            )
        if "then" in spec.options:
            self._next = _Second(ort, second_path(spec), spec, device)
        self.minimum = int(spec.options.get("minimum", _number(facts.get("minimum")) or 0))
        self.batch_size = int(spec.options.get("batch", 16))
        length = max(samples or round((self.window or 1.0) * self.sample_rate), self.minimum)
        longer = None if self.window else 2 * length
        self.dim = check_takes_sound(self.embed, length, longer, f"{path}#{self._output.name}")
        self.fingerprint = fingerprint(
            "onnx",
            _content_hash(path),
            output=(self._next.output if self._next else self._output).name,
            rate=self.sample_rate,
            window=self.window,
            hop=self.hop,
            **other_facts(spec),
        )

    def embed(self, waveforms: NDArray[np.float32]) -> NDArray[np.float32]:
        """(batch, samples) to (batch, dim)."""
        if len(waveforms) == 0:
            return np.empty((0, self.dim), dtype=np.float32)
        size = 1 if self._next else self._input.batch
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
        """Parameters, and multiply-accumulates for 10 s; MissingExtra without onnx. None for two files in a row."""
        if self._next is not None:
            return Costs(None, None)
        rows = self._input.batch or 1
        feeds = self._feeds(np.repeat(one_window(self), rows, axis=0))
        costs = onnx_costs(self.path, self._output.name, self._input.port.name, feeds)
        macs = None if costs.macs is None else costs.macs // rows
        return for_10_seconds(Costs(macs, costs.parameters), self)

    @cached_property
    def head(self) -> Head | None:
        """The classes of the file behind the embedding, with the names in its metadata; None where it has none.

        Raises:
            MissingExtra: without onnx.
        """
        if self._next is not None or self._pool is not None or not self._output.dtype.startswith("float"):
            return None
        rows = self._input.batch or 1
        waveforms = np.repeat(one_window(self), rows, axis=0)
        shape = self._session.run([self._output.name], self._feeds(waveforms))[0].shape
        return (
            None
            if np.prod(shape) != self.dim
            else onnx_head(self.path, self._output.name, self._output.dtype, shape, self.name)
        )

    def _feeds(self, waveforms: NDArray[np.float32]) -> dict[str, NDArray[Any]]:
        return {self._input.port.name: self._input.values(waveforms), **self._input.others}

    def _call(self, waveforms: NDArray[np.float32]) -> NDArray[np.float32]:
        try:
            answer = self._session.run([self._output.name], self._feeds(waveforms))[0]
        except Exception as error:
            shape = tuple(self._input.shape(*waveforms.shape))
            raise EncoderError(f"{self.path} fails on waveforms of {shape}: {first_line(error)}") from error
        where, output = f"{self.path}#{self._output.name}", self._output
        if self._next is not None:
            answer, where, output = self._next.run(answer, where), self._next.where, self._next.output
        return one_vector_each(frames_first(answer, output), len(waveforms), where, self._pool)


class _Second:
    """The second of two files in a row, which takes what the first one gives for one waveform."""

    def __init__(self, ort: Any, path: Path, spec: TeacherSpec, device: str) -> None:
        session = _session(ort, path, str(path), spec, device)
        outputs = _ports(session.get_outputs())
        if spec.tensor is not None and spec.tensor not in [o.name for o in outputs]:
            session = _session(ort, path, _with_output(path, spec.tensor, outputs), spec, device)
        self._session = session
        self.output = _output(spec.tensor, _ports(session.get_outputs()), path)
        self._between = Between(_ports(session.get_inputs()), spec, path)
        self.where = f"{path}#{self.output.name}"

    def run(self, values: NDArray[Any], first: str) -> NDArray[Any]:
        """What the first file gave for one waveform, to what this one gives."""
        batch = self._between.values(values, first)
        try:
            answer: NDArray[Any] = self._session.run([self.output.name], {self._between.port.name: batch})[0]
        except Exception as error:
            raise EncoderError(f"{self.where} fails on values of {batch.shape}: {first_line(error)}") from error
        return answer


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


def _ports(found: Any) -> list[Port]:
    """Inputs or outputs of a session."""
    return [Port(p.name, _DTYPES.get(p.type, p.type), _sides(p.shape)) for p in found]


def _sides(shape: Any) -> tuple[int | str, ...]:
    """Numbers, and names of free sides."""
    return tuple(n if isinstance(n, int) and n > 0 else str(n or "?") for n in shape or ())


_DTYPES = {f"tensor({name})": name for name in ("int8", "uint8", "int16", "int32", "int64", "bool", "float16")} | {
    "tensor(float)": "float32",
    "tensor(double)": "float64",
}


def _output(name: str | None, outputs: list[Port], path: Path) -> Port:
    """The output of that name, the only one, or the only one of two dimensions; of floats."""
    flat = [o for o in outputs if len(o.sides) == 2]
    named = [o for o in outputs if o.name == name]
    found = named or (outputs if len(outputs) == 1 else flat if name is None and len(flat) == 1 else [])
    if not found:
        listing = ", ".join(f"#{o}" for o in outputs)
        raise OptionError(f"{path} has {len(outputs)} outputs: name the one to take, {listing}")
    if found[0].dtype in ("float16", "float32", "float64"):
        return found[0]
    reason = f"{path}#{found[0].name} gives {found[0].dtype} values, not an embedding: name a value of floats"
    raise EncoderError(write_module(reason))


def _with_output(path: Path, name: str, outputs: list[Port]) -> bytes:
    """The model with an inner value as its only output; OptionError with the nearest names and their shapes."""
    try:
        onnx = require("onnx", "train")
    except MissingExtra as error:
        listing = ", ".join(f"#{o}" for o in outputs)
        raise MissingExtra(f"{path} has no output {name!r}, only {listing}; for its inner values {error}") from error
    model = load_graph(path)
    inner = [value for node in model.graph.node for value in node.output if value]
    if name not in inner:
        raise _no_value(onnx, model, path, name, outputs)
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


def _no_value(onnx: Any, model: Any, path: Path, name: str, outputs: list[Port]) -> OptionError:
    """The outputs and the last inner values of one embedding each, with shapes as far as they can be inferred."""
    try:
        values = onnx.shape_inference.infer_shapes(model).graph.value_info
    except Exception:  # operators of another maker, or more than protobuf holds
        values = model.graph.value_info
    shapes = {
        v.name: _sides([d.dim_value or d.dim_param for d in v.type.tensor_type.shape.dim])
        for v in values
        if v.type.tensor_type.HasField("shape")
    }
    names = [o.name for o in outputs]
    inner = [value for node in model.graph.node for value in node.output if value and value not in names]
    flat = [n for n in inner if sum(side != 1 for side in shapes.get(n, ())[1:]) == 1 and len(shapes[n]) > 1]
    near = difflib.get_close_matches(name, [*names, *inner], n=3, cutoff=0.4)
    hint = f"did you mean {' or '.join(near)}? " if near else ""
    shown = [f"{n} ({', '.join(map(str, shapes[n]))})" if n in shapes else n for n in (flat or inner)[-10:]]
    return OptionError(
        f"{path} has no output {name!r}: {hint}its outputs are {listed(outputs)}; inner values are {', '.join(shown)}"
    )


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
