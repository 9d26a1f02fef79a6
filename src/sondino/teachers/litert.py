"""Teachers in LiteRT (TFLite) files, their embedding an output or any inner tensor."""

import difflib
import math
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sondino.encoder.encoder import Costs
from sondino.errors import EncoderError, OptionError, require
from sondino.files import cores, sha256
from sondino.teachers import tflite
from sondino.teachers.common import fingerprint, one_vector_each, title
from sondino.teachers.graph_costs import for_10_seconds, litert_costs, one_window
from sondino.teachers.spec import TeacherSpec
from sondino.text import first_line

MOST_SAMPLES = 1 << 26  # of a window
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
    ) -> None:
        interpreter = require("ai_edge_litert.interpreter", "birdnet" if spec.kind == "birdnet" else "litert")
        content = path.read_bytes()
        chosen = _choose(content, tensor, path)
        self.path, self._tensor = path, chosen.name
        self._model = tflite.cut_after(content, chosen, str(path))
        self._new: Callable[..., Any] = interpreter.Interpreter
        self._local = threading.local()
        self.name = title(spec, path.name)
        self.sample_rate = spec.rate(rate)
        self.licence = licence
        self.notice = notice or f"weights of {self.name}: licence {licence}"
        self._threads = int(spec.options.get("threads", cores()))
        self.batch_size = int(spec.options.get("batch", 32 * self._threads))
        self._samples = 0
        first, self._shape = self._make(spec)
        self._samples = math.prod(self._shape)
        self.window, self.hop = spec.windowing(self._samples / self.sample_rate)
        if round((self.window or 0) * self.sample_rate) != self._samples:
            takes = f"{self._samples} samples, {self._samples / self.sample_rate:g} s at {self.sample_rate} Hz"
            raise OptionError(
                f"teacher {spec.text!r}: its input is {takes}, not window={self.window}: leave out the window, "
                "or correct the rate"
            )
        self._ready(first)
        self._pool = ThreadPoolExecutor(self._threads) if self._threads > 1 else None
        self.dim = self._run(np.zeros((1, self._samples), dtype=np.float32)).shape[1]
        self.fingerprint = fingerprint(
            "litert",
            sha256(path),
            tensor=chosen.name,
            rate=self.sample_rate,
            window=self.window,
            hop=self.hop,
        )

    def embed(self, waveforms: NDArray[np.float32]) -> NDArray[np.float32]:
        """(batch, samples) to (batch, dim); samples as the window has them."""
        if waveforms.ndim != 2 or waveforms.shape[1] != self._samples:
            raise EncoderError(f"{self.name} takes (batch, {self._samples}) samples, not {waveforms.shape}")
        if len(waveforms) == 0:
            return np.empty((0, self.dim), dtype=np.float32)
        if self._pool is None or len(waveforms) == 1:
            return self._run(waveforms)
        # Shares smaller than one a thread: none waits long for a thread that another program has slowed down.
        shares = [waveforms[i : i + SHARE] for i in range(0, len(waveforms), SHARE)]
        return np.concatenate(list(self._pool.map(self._run, shares)))

    def costs(self) -> Costs:
        """Parameters, and multiply-accumulates for 10 s."""
        return for_10_seconds(litert_costs(self._model, one_window(self).reshape(self._shape)), self)

    def _run(self, waveforms: NDArray[np.float32]) -> NDArray[np.float32]:
        """One window after another through this thread's interpreter."""
        if not hasattr(self._local, "interpreter"):
            self._ready(self._start())
        model, source, result = self._local.interpreter
        rows = []
        for waveform in waveforms:
            model.set_tensor(source, np.ascontiguousarray(waveform, dtype=np.float32).reshape(self._shape))
            model.invoke()
            rows.append(model.get_tensor(result))
        if rows[0].shape[-1:] == (rows[0].size,):
            return np.stack([row.reshape(-1) for row in rows]).astype(np.float32, copy=False)
        where = f"{self.path}#{self._tensor}"
        return np.concatenate([one_vector_each(row, 1, where) for row in rows])

    def _ready(self, model: Any) -> None:
        """Keep an interpreter for this thread, with the indexes of its input and output."""
        indexes = (details[0]["index"] for details in (model.get_input_details(), model.get_output_details()))
        self._local.interpreter = (model, *indexes)

    def _start(self) -> Any:
        model = self._new(model_content=self._model, num_threads=1)
        if self._samples:
            model.resize_tensor_input(model.get_input_details()[0]["index"], self._shape)
        model.allocate_tensors()
        return model

    def _make(self, spec: TeacherSpec) -> tuple[Any, list[int]]:
        """The first interpreter and the shape of one window as its input."""
        try:
            model = self._new(model_content=self._model, num_threads=1)
        except (ValueError, RuntimeError) as error:
            raise EncoderError(f"{self.path} cannot be opened by ai-edge-litert: {error}") from error
        details = model.get_input_details()
        if len(details) != 1 or details[0]["dtype"] is not np.float32:
            found = ", ".join(f"{d['name']} {d['dtype'].__name__} {d['shape'].tolist()}" for d in details)
            raise EncoderError(f"{self.path} takes {found}, not one float32 input of waveforms")
        shape = [int(n) for n in details[0]["shape"]]
        signature = [int(n) for n in details[0].get("shape_signature", shape)] or shape
        # The axis of the samples: the free one behind the batch, else the longest.
        free = [axis for axis, n in enumerate(signature) if n == -1 and (axis > 0 or len(shape) == 1)]
        axis = free[0] if free else int(np.argmax(shape))
        shape = [1 if n == -1 else n for n in signature]
        if free or signature[axis] == 1:
            if "window" not in spec.options:
                sign = "&" if "?" in spec.text else "?"
                raise OptionError(f"teacher {spec.text!r} takes any length: give one, {sign}window=1 (seconds)")
            shape[axis] = round(spec.options["window"] * self.sample_rate)
        else:
            shape[axis] = int(details[0]["shape"][axis])
        if math.prod(shape) != shape[axis] or not 0 < shape[axis] <= MOST_SAMPLES:
            raise EncoderError(f"{self.path} takes an input of shape {signature}, not waveforms of one channel")
        try:
            model.resize_tensor_input(details[0]["index"], shape)
            model.allocate_tensors()
        except (ValueError, RuntimeError) as error:
            raise EncoderError(f"{self.path} refuses an input of shape {shape}: {error}") from error
        return model, shape


def _choose(content: bytes, name: str | None, path: Path) -> tflite.InnerTensor:
    """The tensor of that name, or the only output; OptionError with the nearest names."""
    tensors = tflite.inner_tensors(content, str(path))
    if name is None:
        ends = set(tflite.outputs(content, str(path)))
        found = [t for t in tensors if t.index in ends]
        if len(found) != 1:
            names = " or ".join(f"#{t.name}" for t in found) or "a tensor, #NAME"
            raise OptionError(f"{path} has {len(found)} outputs: name the one to take, {names}")
        return found[0]
    named = [t for t in tensors if t.name == name]
    if named:
        return named[-1]
    near = difflib.get_close_matches(name, [t.name for t in tensors], n=3, cutoff=0.4)
    embeddings = [t for t in tensors if sum(n != 1 for n in t.shape) == 1][-5:]
    listing = ", ".join(f"{t.name} ({max(t.shape)})" for t in embeddings)
    hint = f"did you mean {' or '.join(near)}? " if near else ""
    raise OptionError(f"{path} has no tensor {name!r}: {hint}its last tensors of one embedding each are {listing}")


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
