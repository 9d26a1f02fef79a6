"""Teachers in LiteRT (TFLite) files, their embedding an output or any inner tensor."""

import difflib
import logging
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sondino.encoder.encoder import Costs
from sondino.encoder.head import Head
from sondino.errors import EncoderError, OptionError, require
from sondino.files import sha256
from sondino.processors import cores
from sondino.teachers import tflite, tflite_tail
from sondino.teachers.common import Pool, fingerprint, one_vector_each, other_facts, second_path, title
from sondino.teachers.graph_costs import for_10_seconds, litert_costs, one_window
from sondino.teachers.inputs import Between, Port, dequantised, states_notice, waveform_input
from sondino.teachers.label_names import from_archive, yamnet_classes
from sondino.teachers.last_layer import Tail, affine_head, likeliest
from sondino.teachers.spec import TeacherSpec
from sondino.teachers.takes_sound import check_takes_sound
from sondino.text import first_line

Names = Callable[[Path, str, int], tuple[str, ...] | None]
"""File, embedding tensor and number of labels to the labels' names; None: not known."""


def known_names(file: Path, tensor: str, count: int) -> tuple[str, ...] | None:
    """The names that a file carries, or YAMNet's; None: not known."""
    yamnet = yamnet_classes()
    return from_archive(file, count) or (yamnet if tensor.startswith("yamnet") and count == len(yamnet) else None)


SHARE = 4  # windows that a thread takes on at a time


class LiteRTEncoder:
    """A TFLite model that takes one window of sound, run on every core at once.

    Each thread has an interpreter of its own that takes one window at a time: measured on two cores against one
    interpreter with two threads, and against batches where the model allows them, this is as fast or faster
    (YAMNet 0.5 ms a window against 0.55, BirdNET 20 against 27), and a window's embedding does not depend on its
    neighbours by a single bit.

    Attributes:
        name: kind and file.
        path: of the model.
        sample_rate: hertz.
        dim: length of an embedding.
        window: seconds, as the model's input is long.
        hop: seconds from one window to the next.
        batch_size: windows a call, shared out to the threads.
        fingerprint: changes with the file, the tensor, the rate and the windows.
        licence: of the weights.
        notice: a message about them.
    """

    def __init__(
        self,
        path: Path,
        tensor: str | None,
        spec: TeacherSpec,
        rate: int | None = None,
        licence: str = "the file's",
        notice: str = "",
        names: Names = known_names,
    ) -> None:
        interpreter = require("ai_edge_litert.interpreter", "birdnet" if spec.kind == "birdnet" else "litert")
        self._new: Callable[..., Any] = interpreter.Interpreter
        self._local = threading.local()
        self._names = names
        self.name = title(spec, path.name)
        self.path = path
        self.sample_rate = spec.rate(rate)
        self.licence = licence
        self._pool: Pool | None = spec.options.get("pool")
        self._threads = int(spec.options.get("threads", cores()))
        self.batch_size = int(spec.options.get("batch", 32 * self._threads))

        two = "then" in spec.options
        self._first = _Graph(path, None if two else tensor, self._new)
        inputs, outputs = self._first.ports()
        self._input = waveform_input(inputs, outputs, spec, str(path), self.sample_rate)
        self.notice = notice or states_notice(self._input.states, path) or f"weights of {self.name}: licence {licence}"
        if self._input.samples is None and "window" not in spec.options:
            raise OptionError(f"teacher {spec.text!r} takes any length: give one, {spec.sign}window=1 (seconds)")
        self._samples = self._input.samples or round(spec.options["window"] * self.sample_rate)
        self.window, self.hop = spec.windowing(self._samples / self.sample_rate)
        if round((self.window or 0) * self.sample_rate) != self._samples:
            takes = f"{self._samples} samples, {self._samples / self.sample_rate:g} s at {self.sample_rate} Hz"
            raise OptionError(
                f"teacher {spec.text!r}: its input is {takes}, not window={self.window}: leave out the window, "
                "or correct the rate"
            )
        self._second = _Graph(second_path(spec), tensor, self._new) if two else None
        self._between = Between(self._second.ports()[0], spec, self._second.path) if self._second else None
        where = (self._second or self._first).where
        self.dim = check_takes_sound(self._run, self._samples, None, where)
        self._workers = ThreadPoolExecutor(self._threads) if self._threads > 1 else None
        self.fingerprint = fingerprint(
            "litert",
            sha256(path),
            tensor=(self._second or self._first).tensor,
            rate=self.sample_rate,
            window=self.window,
            hop=self.hop,
            **other_facts(spec),
        )

    def embed(self, waveforms: NDArray[np.float32]) -> NDArray[np.float32]:
        """(batch, samples) to (batch, dim); samples as the window has them."""
        if waveforms.ndim != 2 or waveforms.shape[1] != self._samples:
            raise EncoderError(f"{self.name} takes (batch, {self._samples}) samples, not {waveforms.shape}")
        if len(waveforms) == 0:
            return np.empty((0, self.dim), dtype=np.float32)
        if self._workers is None or len(waveforms) == 1:
            return self._run(waveforms)
        # Shares smaller than one a thread: none waits long for a thread that another program has slowed down.
        shares = [waveforms[i : i + SHARE] for i in range(0, len(waveforms), SHARE)]
        return np.concatenate(list(self._workers.map(self._run, shares)))

    def costs(self) -> Costs:
        """Parameters, and multiply-accumulates for 10 s. None for two files in a row."""
        if self._second is not None:
            return Costs(None, None)
        feeds = self._feeds(one_window(self)[0])
        return for_10_seconds(litert_costs(self._first.content, self._input.port.name, feeds), self)

    @cached_property
    def head(self) -> Head | None:
        """The classes of the file behind the embedding, with the names that it carries; None where it has none."""
        if self._second is not None or self._pool is not None:
            return None
        return self._first.head(self.dim, self._names, self.name)

    def _feeds(self, waveform: NDArray[np.float32]) -> dict[str, NDArray[Any]]:
        return {self._input.port.name: self._input.values(waveform[None]), **self._input.others}

    def _run(self, waveforms: NDArray[np.float32]) -> NDArray[np.float32]:
        """One window after another through this thread's interpreters."""
        if not hasattr(self._local, "run"):
            self._local.run = [graph.start() for graph in (self._first, self._second) if graph is not None]
        rows = []
        where = (self._second or self._first).where
        for waveform in waveforms:
            answer = self._local.run[0](self._feeds(waveform))
            if self._between is not None:
                between = self._between.values(answer, self._first.where)
                answer = self._local.run[1]({self._between.port.name: between})
            # The plain case, first since it is by far the most frequent.
            plain = answer.shape[-1:] == (answer.size,)
            rows.append(answer.reshape(1, -1) if plain else one_vector_each(answer, 1, where, self._pool))
        return np.concatenate(rows)


class _Graph:
    """A TFLite file cut after one tensor.

    Attributes:
        path: of the file.
        tensor: the name of its only output.
        content: of the cut model.
        where: path and tensor, for errors.
    """

    def __init__(self, path: Path, tensor: str | None, new: Callable[..., Any]) -> None:
        whole = path.read_bytes()
        chosen = _choose(whole, tensor, path)
        self.path, self.tensor, self._new = path, chosen.name, new
        self._whole, self._chosen = whole, chosen
        self.content = tflite.cut_after(whole, chosen, str(path))
        self.where = f"{path}#{chosen.name}"
        self._whole_outputs = tflite.outputs(whole, str(path))

    def ports(self) -> tuple[list[Port], list[Port]]:
        """Its inputs, and the outputs of the whole file as far as they are still made."""
        model = self._interpreter()
        tensors = {d["index"]: d for d in model.get_tensor_details()}
        kept = [_port(tensors[index]) for index in self._whole_outputs if index in tensors]
        inputs = model.get_input_details()
        return [_port(d, resizable=len(inputs) == 1) for d in inputs], kept

    def start(self) -> Callable[[Mapping[str, NDArray[Any]]], NDArray[np.float32]]:
        """A function from the inputs to the output, with an interpreter of its own."""
        model = self._interpreter()
        inputs = {d["name"]: d["index"] for d in model.get_input_details()}
        found = model.get_output_details()[0]
        output, index = _port(found), found["index"]
        shapes: dict[str, tuple[int, ...]] = {}

        def run(feeds: Mapping[str, NDArray[Any]]) -> NDArray[np.float32]:
            try:
                if any(shapes.get(name) != values.shape for name, values in feeds.items()):
                    for name, values in feeds.items():
                        model.resize_tensor_input(inputs[name], list(values.shape))
                        shapes[name] = values.shape
                    model.allocate_tensors()
                for name, values in feeds.items():
                    model.set_tensor(inputs[name], values)
                model.invoke()
            except (ValueError, RuntimeError) as error:
                given = ", ".join(f"{name} {values.shape}" for name, values in feeds.items())
                raise EncoderError(f"{self.path} refuses {given}: {first_line(error)}") from error
            return dequantised(model.get_tensor(index), output, self.where)

        return run

    def head(self, dim: int, names: Names, name: str) -> Head | None:
        """Its classes as a head on its embedding."""
        if self._chosen.dtype != "float32":
            return None
        heads = []
        for tail, content in tflite_tail.tails(self._whole, self._chosen, str(self.path)):
            try:
                heads.append(self._tail_head(tail, content, dim, names, name))
            except (EncoderError, ValueError, RuntimeError) as error:
                logging.getLogger(__name__).warning("the classes of %s cannot be read: %s", name, first_line(error))
        return likeliest(heads)

    def _tail_head(self, tail: Tail, content: bytes, dim: int, names: Names, name: str) -> Head | None:
        model = self._interpreter(content)
        model.allocate_tensors()
        taken, given = model.get_input_details()[0], model.get_output_details()[0]
        if given["dtype"] != np.float32 or np.prod(taken["shape"]) != dim:
            return None

        def run(embedding: NDArray[np.float32]) -> NDArray[np.float32]:
            model.set_tensor(taken["index"], embedding.reshape(taken["shape"]))
            model.invoke()
            logits: NDArray[np.float32] = model.get_tensor(given["index"]).ravel()
            return logits

        return affine_head(run, dim, tail, names(self.path, self.tensor, int(np.prod(given["shape"]))), name)

    def _interpreter(self, content: bytes | None = None) -> Any:
        try:
            model = self._new(model_content=content or self.content, num_threads=1)
            model.get_input_details(), model.get_output_details()
            return model
        except UnicodeDecodeError as error:  # a name in it
            raise EncoderError(f"{self.path} cannot be opened: it is damaged ({first_line(error)})") from error
        except (ValueError, RuntimeError) as error:
            raise EncoderError(f"{self.path} cannot be opened by ai-edge-litert: {error}") from error


def _port(details: Mapping[str, Any], resizable: bool = False) -> Port:
    """An input or output as the interpreter describes it; an only input of one number is one of any length."""
    shape = [int(n) for n in details["shape"]]
    signature = [int(n) for n in details.get("shape_signature", shape)] or shape
    sides: list[int | str] = ["?" if n == -1 else n for n in signature]
    if resizable and sides and all(side == 1 for side in sides):
        sides[-1] = "?"
    scale, zero = details["quantization"]
    return Port(details["name"], np.dtype(details["dtype"]).name, tuple(sides), float(scale), int(zero))


def _choose(content: bytes, name: str | None, path: Path) -> tflite.InnerTensor:
    """The tensor of that name, or the only output; OptionError with the nearest names."""
    tensors = tflite.inner_tensors(content, str(path))
    ends = set(tflite.outputs(content, str(path)))
    found = [t for t in tensors if t.index in ends]
    if name is None:
        if len(found) != 1:
            names = " or ".join(f"#{t}" for t in found) or "a tensor, #NAME"
            raise OptionError(f"{path} has {len(found)} outputs: name the one to take, {names}")
        return found[0]
    named = [t for t in tensors if t.name == name]
    if named:
        return named[-1]
    near = difflib.get_close_matches(name, [t.name for t in tensors], n=3, cutoff=0.4)
    embeddings = [t for t in tensors if sum(n != 1 for n in t.shape) == 1][-5:]
    hint = f"did you mean {' or '.join(near)}? " if near else ""
    raise OptionError(
        f"{path} has no tensor {name!r}: {hint}its outputs are {', '.join(map(str, found)) or 'none'}; its last "
        f"tensors of one embedding each are {', '.join(f'{t.name} ({max(t.shape)})' for t in embeddings)}"
    )


def load_litert(spec: TeacherSpec, device: str = "auto") -> LiteRTEncoder:
    """Open a TFLite file; it runs on the CPU whatever the device.

    Raises:
        OptionError: no such tensor or file, no rate, or a window that its input does not have.
        EncoderError: no TFLite file, or not one waveform in and one embedding out.
    """
    try:
        return LiteRTEncoder(spec.path, spec.tensor, spec)
    except (ValueError, RuntimeError, MemoryError) as error:  # such as names of tensors that are not UTF-8
        raise EncoderError(f"{spec.path} cannot be opened: it is damaged ({first_line(error)})") from error
