"""Teachers made by a Python function: an encoder, a torch module, or a plain function from arrays to arrays."""

import hashlib
import importlib
import importlib.util
import sys
from collections.abc import Callable, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sondino.encoder.check import check_encoder
from sondino.encoder.encoder import Encoder, response_fingerprint
from sondino.encoder.head import Head
from sondino.errors import EncoderError, OptionError, SondinoError, unknown_name
from sondino.teachers.common import fingerprint, one_vector_each, other_facts
from sondino.teachers.inputs import FULL_SCALE
from sondino.teachers.spec import TeacherSpec

Embed = Callable[[NDArray[np.float32]], Any]


class FunctionEncoder:
    """A function from (batch, samples) to (batch, dim) with the rate and window that the teacher's name gives.

    Attributes:
        name: the teacher's name without its options.
        sample_rate: hertz.
        dim: length of an embedding, found by one call.
        window: seconds; None for any length.
        hop: seconds from one window to the next.
        batch_size: waveforms a call.
        minimum: fewest samples it takes.
        fingerprint: changes with the content given, the response to a fixed noise, the rate and the windows.
        licence: of the weights.
        find_head: finds its classes.
    """

    def __init__(
        self,
        function: Embed,
        spec: TeacherSpec,
        content: str,
        rate: int | None = None,
        window: float | None = None,
        dim: int | None = None,
    ) -> None:
        self._function = function
        self.find_head: Callable[[], Head | None] = lambda: None
        self._pool = spec.options.get("pool")
        self.name = spec.text.partition("?")[0]
        self.licence = "the file's"
        self.sample_rate = spec.rate(rate)
        self.window, self.hop = spec.windowing(window)
        self.minimum = int(spec.options.get("minimum", 0))
        self.batch_size = int(spec.options.get("batch", 16))
        length = max(round((self.window or 1.0) * self.sample_rate), self.minimum)
        self.dim = dim or self._first(length)
        self.fingerprint = fingerprint(
            spec.kind,
            content,
            # Code is part of such a teacher; a hash of weights does not see it, its answer does.
            heard=response_fingerprint(self),
            rate=self.sample_rate,
            window=self.window,
            hop=self.hop,
            **other_facts(spec),
        )

    def embed(self, waveforms: NDArray[np.float32]) -> NDArray[np.float32]:
        """(batch, samples) to (batch, dim)."""
        return one_vector_each(self._function(waveforms), len(waveforms), self.name, self._pool)

    @cached_property
    def head(self) -> Head | None:
        """The model's classes as a head on its embedding; None where there are none, or they are not known."""
        return self.find_head()

    def _first(self, length: int) -> int:
        try:
            return self.embed(np.zeros((1, length), dtype=np.float32)).shape[1]
        except SondinoError:
            raise
        except Exception as error:
            raise EncoderError(f"{self.name} fails on a waveform of {length} samples of silence: {error}") from error


def torch_function(model: Any, device: str, output: str | None = None, spec: TeacherSpec | None = None) -> Embed:
    """A torch module as a function of NumPy arrays, in inference mode on a device.

    Args:
        model: any module from (batch, samples) to a tensor, or to a tuple or dict of them.
        device: "auto", "cpu" or "cuda".
        output: the key in a dict, or index in a tuple, of the embedding.
        spec: a name whose layout, range and inputs say what the module takes. None: waveforms alone, as they are.
    """
    import torch

    from sondino.teachers.device import pick_device

    target = pick_device(device)
    model = model.to(target).eval()
    options = spec.options if spec else {}
    further = {n: int(v) if v.is_integer() else v for n, v in spec.inputs.items()} if spec else {}
    axis = {"first": 1, "last": 2}.get(options.get("layout", ""))

    @torch.inference_mode()
    def embed(waveforms: NDArray[np.float32]) -> NDArray[np.float32]:
        batch = torch.from_numpy(np.ascontiguousarray(waveforms, dtype=np.float32)).to(target)
        if options.get("range") == "int16":
            batch = batch * FULL_SCALE
        if axis is not None:
            batch = batch.unsqueeze(axis)
        answer = _pick(model(batch, **further), output)
        array: NDArray[np.float32] = answer.float().cpu().numpy()
        return array

    return embed


def _pick(answer: Any, output: str | None) -> Any:
    """The tensor among what a model returned."""
    if isinstance(answer, Mapping):
        if output in answer:
            return answer[output]
        if output is None and len(answer) == 1:
            return next(iter(answer.values()))
        raise unknown_name("output of the model", output or "", map(str, answer))
    if isinstance(answer, tuple | list):
        index = output if output is not None else ("0" if len(answer) == 1 else "")
        if index.isdigit() and int(index) < len(answer):
            return answer[int(index)]
        raise unknown_name("output of the model", index, map(str, range(len(answer))))
    if output is not None:
        raise OptionError(f"the model gives one tensor, none called {output!r}: leave out #{output}")
    return answer


def _import(name: str, spec: TeacherSpec) -> Any:
    """A module by its dotted name or its .py file; the working folder counts as on the path."""
    if name.endswith(".py"):
        path = Path(name).expanduser()
        if not path.is_file():
            raise OptionError(f"teacher {spec.text!r}: {path} does not exist")
        found = importlib.util.spec_from_file_location(path.stem, path)
        if found is None or found.loader is None:
            raise OptionError(f"teacher {spec.text!r}: {path} is no Python file")
        module = importlib.util.module_from_spec(found)
        sys.modules.setdefault(path.stem, module)  # where its own classes look themselves up
        try:
            # Compiled here: Python's cache takes a file that was edited within a second for the old one.
            exec(compile(path.read_bytes(), str(path), "exec"), module.__dict__)
        except Exception as error:
            sys.modules.pop(path.stem, None)
            raise _broken(spec, name, error) from error
        return module
    here = str(Path.cwd())
    added = here not in sys.path
    if added:
        sys.path.insert(0, here)
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is not None and (name == error.name or name.startswith(f"{error.name}.")):
            raise OptionError(
                f"teacher {spec.text!r}: there is no module {error.name!r}: install it, or run in its folder"
            ) from error
        raise EncoderError(f"teacher {spec.text!r}: {name} needs {error.name}, which is not installed") from error
    except Exception as error:
        raise _broken(spec, name, error) from error
    finally:
        if added:
            sys.path.remove(here)


def _broken(spec: TeacherSpec, name: str, error: Exception) -> EncoderError:
    return EncoderError(f"teacher {spec.text!r}: {name} cannot be imported: {type(error).__name__}: {error}")


def load_module(spec: TeacherSpec, device: str = "auto") -> Encoder:
    """Call the factory: `module:package.module:factory` or `module:file.py:factory`.

    Raises:
        OptionError: no such module or factory, or no rate for what is not an encoder by itself.
        EncoderError: the factory fails, or returns something that is none of the three.
    """
    name, colon, attribute = (spec.file or "").rpartition(":")
    if not colon or not name or not attribute:
        raise OptionError(f"teacher {spec.text!r} names no function: write module:package.module:factory")
    module = _import(name, spec)
    factory = getattr(module, attribute, None)
    if not callable(factory):
        names = [n for n in vars(module) if not n.startswith("_") and callable(getattr(module, n))]
        raise unknown_name(f"function of {name}", attribute, names)
    try:
        made = factory()
    except Exception as error:
        raise EncoderError(f"teacher {spec.text!r}: {attribute}() failed: {type(error).__name__}: {error}") from error
    if isinstance(made, Encoder):
        if spec.options:
            raise OptionError(
                f"teacher {spec.text!r}: {attribute}() gives an encoder with a rate and window of its own: "
                f"leave out ?{'&'.join(spec.options)}"
            )
        return made
    if hasattr(made, "embed"):
        raise EncoderError(f"teacher {spec.text!r}: {attribute}() gives no encoder: {'; '.join(check_encoder(made))}")
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(made, torch.nn.Module):
        digest = hashlib.sha256()
        for key, tensor in made.state_dict().items():
            digest.update(
                key.encode() + tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes()
            )
        return FunctionEncoder(torch_function(made, device), spec, digest.hexdigest())
    if callable(made):
        return FunctionEncoder(made, spec, "function")
    raise EncoderError(
        f"teacher {spec.text!r}: {attribute}() gives an object of type {type(made).__name__}, not an encoder "
        "(name, sample_rate, dim, window, embed), a torch module or a function from (batch, samples) to (batch, dim)"
    )
