"""What the adapters share; no torch here."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from sondino.errors import EncoderError, OptionError
from sondino.files import sha256
from sondino.teachers.spec import TeacherSpec

Pool = Literal["mean", "max", "last"]

VERSION = 1
"""Part of every fingerprint: raised when an adapter's own computation changes, so that old targets are not reused."""


def fingerprint(kind: str, content: str, **facts: Any) -> str:
    """A fingerprint: sha256 (hex) of the kind, the content's hash and whatever else determines the embeddings."""
    about = {"version": VERSION, "kind": kind, "content": content, **facts}
    return hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()


def title(spec: TeacherSpec, fallback: str = "") -> str:
    """A short name for reports: the kind and the file's own name."""
    file = Path(spec.file).name if spec.file else fallback
    return f"{spec.kind}:{file}" if file else spec.kind


def other_facts(spec: TeacherSpec) -> dict[str, Any]:
    """What else in a name changes the embeddings; nothing in a plain name, so that its fingerprint stays."""
    facts: dict[str, Any] = {
        n: spec.options[n] for n in ("pool", "layout", "range", "times", "plus") if n in spec.options
    }
    if "then" in spec.options:
        facts["then"] = sha256(second_path(spec))
    if spec.inputs:
        facts["inputs"] = dict(spec.inputs)
    return facts


def second_path(spec: TeacherSpec) -> Path:
    """The file of `then=`, beside the first one or from the working folder; OptionError where there is none."""
    name = Path(spec.options["then"]).expanduser()
    found = next((p for p in (name, spec.path.parent / name) if p.is_file()), None)
    if found is None:
        raise OptionError(f"teacher {spec.text!r}: then={name} does not exist: give the path of the second file")
    return found


def write_module(reason: str) -> str:
    """A reason why a file is no teacher by itself, and the module that makes one of it."""
    return f"{reason}; where no option fits, write these six lines to teacher.py, and name {MODULE}"


MODULE = """module:teacher.py:make?rate=16000&window=1:

import onnxruntime
session = onnxruntime.InferenceSession("model.onnx")
def make():
    def embed(waveforms):  # (batch, samples) float32, -1 to 1: compute here what the model takes
        return session.run(["embedding"], {"input": waveforms})[0]  # (batch, dim) float32
    return embed"""


def one_vector_each(values: NDArray[Any], rows: int, where: str, pool: Pool | None = None) -> NDArray[np.float32]:
    """A model's answer for `rows` waveforms as (rows, dim).

    Sides of length 1 are dropped; for a single waveform an answer of (frames, dim) is averaged over its frames.

    Args:
        values: the answer.
        rows: how many waveforms went in.
        where: file and output, for the error.
        pool: what is done over the frames of an answer (rows, frames, dim), or (frames, dim) for one waveform.
            None: an answer of three sides is an error.

    Raises:
        EncoderError: it cannot be read as one embedding a waveform.
    """
    array = np.asarray(values, dtype=np.float32)
    sides = [n for n in array.shape[1:] if n != 1]
    first = array.ndim >= 1 and array.shape[0] == rows
    if first and len(sides) <= 1:
        return array.reshape(rows, -1)
    if first and len(sides) == 2 and pool is not None:
        return _POOLS[pool](array.reshape(rows, *sides))
    if rows == 1:
        sides = [n for n in array.shape if n != 1]
        if len(sides) == 1:
            return array.reshape(1, -1)
        if len(sides) == 2 and pool is not None:
            return _POOLS[pool](array.reshape(1, *sides))
        if array.ndim == 2:
            return array.mean(axis=0, dtype=np.float32, keepdims=True)
    sequence = pool is None and (len(sides) == 2 if first or rows == 1 else False)
    remedy = "add pool=mean, pool=max or pool=last" if sequence else "name an output of shape (batch, dim)"
    waveforms = "1 waveform" if rows == 1 else f"{rows} waveforms"
    raise EncoderError(
        f"{where} gives an array of shape {array.shape} for {waveforms}, not one embedding each: {remedy}"
    )


_POOLS: dict[Pool, Callable[[NDArray[np.float32]], NDArray[np.float32]]] = {
    "mean": lambda frames: frames.mean(axis=1, dtype=np.float32),
    "max": lambda frames: frames.max(axis=1),
    "last": lambda frames: frames[:, -1],
}
