"""What the adapters share; no torch here."""

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sondino.errors import EncoderError
from sondino.teachers.spec import TeacherSpec

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


def one_vector_each(values: NDArray[Any], rows: int, where: str) -> NDArray[np.float32]:
    """A model's answer for `rows` waveforms as (rows, dim).

    Sides of length 1 are dropped; for a single waveform an answer of (frames, dim) is averaged over its frames.

    Raises:
        EncoderError: it cannot be read as one embedding a waveform.
    """
    array = np.asarray(values, dtype=np.float32)
    sides = [n for n in array.shape[1:] if n != 1]
    if array.ndim >= 1 and array.shape[0] == rows and len(sides) <= 1:
        return array.reshape(rows, -1)
    if rows == 1:
        sides = [n for n in array.shape if n != 1]
        if len(sides) == 1:
            return array.reshape(1, -1)
        if array.ndim == 2:
            return array.mean(axis=0, dtype=np.float32, keepdims=True)
    raise EncoderError(
        f"{where} gives an array of shape {array.shape} for {rows} waveforms, not one embedding each: "
        "name an output of shape (batch, dim)"
    )
