"""Open any encoder: a model or a teacher."""

from __future__ import annotations

from pathlib import Path

from sondino.encoder.encoder import Encoder
from sondino.hub.catalogue import PUBLISHED
from sondino.teachers import load_teacher
from sondino.teachers.spec import kind_of


def open_model(name: str, threads: int | None = None, device: str = "auto") -> Encoder:
    """Open any encoder: a model or a teacher.

    Args:
        name: a bundle, a run's folder, a published name or a published checkpoint, as for `sondino.load`; or a teacher
            as `sondino teachers` lists them, such as "birdnet" or "onnx:model.onnx?rate=16000".
        threads: processor threads of a bundle; None: all.
        device: where a teacher runs: "auto", "cpu" or "cuda".

    Raises:
        SondinoError: there is no such model, or it cannot be opened.
    """
    from sondino.pretrained.load import load

    if not Path(name).is_dir() and kind_of(name):
        return load_teacher(name, device)
    return load(name, threads)


def open_teacher(name: str, device: str = "auto") -> Encoder:
    """Open what can be distilled: a teacher by its kind, or a model as `sondino.load` does.

    Args:
        name: as `load_teacher` takes it; or a bundle, a run's folder, a checkpoint's file, or a published name.
        device: where a teacher runs: "auto", "cpu" or "cuda"; a model runs on the CPU.

    Raises:
        SondinoError: there is no such teacher or model, or it cannot be opened.
    """
    if kind_of(name) or names_model(name):
        return open_model(name, device=device)
    return load_teacher(name, device)  # whose message lists the kinds


def names_model(name: str) -> bool:
    """Whether a teacher's name is one for `sondino.load`, where no kind of teacher has it."""
    published = name in PUBLISHED or name.startswith("hf:") or ("/" in name and ":" not in name)
    return published or Path(name).exists()
