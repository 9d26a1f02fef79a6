"""Teachers: any model that turns sound into an embedding, behind one contract (see `sondino.encoder`).

A teacher is named `KIND:FILE#TENSOR?rate=16000&window=0.975&hop=0.48`; each kind is one adapter in a file of its
own, imported only when it is asked for.
"""

import importlib

from sondino.encoder.encoder import Encoder
from sondino.errors import require, unknown_name
from sondino.teachers.catalogue import RECORDS, TeacherRecord
from sondino.teachers.spec import TeacherSpec, parse_teacher

__all__ = ["TeacherRecord", "TeacherSpec", "list_teachers", "load_teacher", "parse_teacher"]


def list_teachers() -> list[TeacherRecord]:
    """The kinds of teachers that `load_teacher` opens, the ready-made ones first.

    Returns:
        One record per kind: name, options, example, and where known parameters, sample rate, embedding dimension,
        window, licence.

    Examples:
        >>> [record.kind for record in sondino.list_teachers()][:3]
        ['birdnet', 'matpac', 'm2d']
    """
    return list(RECORDS.values())


def load_teacher(spec: str | TeacherSpec, device: str = "auto") -> Encoder:
    """Open a teacher by its name.

    Args:
        spec: `KIND:FILE#TENSOR?option=value`, as `parse_teacher` reads it.
        device: "auto" (a GPU where there is one), "cpu" or "cuda"; LiteRT runs on the CPU whatever this says.

    Returns:
        An encoder with `fingerprint`, `licence` and, where there is something to know, `notice`.

    Raises:
        OptionError: an unknown kind, option or tensor (with the nearest names), or a file that is not there or
            cannot be read safely.
        MissingExtra: the kind needs packages that are not installed; the message is the pip line.
        EncoderError: the file does not hold such a model, or it does not give one finite embedding a waveform.

    Examples:
        >>> teacher = sondino.load_teacher("onnx:teacher.onnx?rate=16000")
        >>> teacher.dim
        3
    """
    if device not in ("auto", "cpu", "cuda"):
        raise unknown_name("device", device, ("auto", "cpu", "cuda"))
    parsed = parse_teacher(spec) if isinstance(spec, str) else spec
    record = RECORDS[parsed.kind]
    if record.extra == "train":
        require("torch", "train")  # before the adapter's own import of it, for the sake of the message
    adapter = importlib.import_module(f"sondino.teachers.{record.module}")
    encoder: Encoder = getattr(adapter, f"load_{record.module}")(parsed, device)
    return encoder
