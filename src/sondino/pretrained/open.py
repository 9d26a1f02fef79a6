"""Open any encoder: a model or a teacher."""

from __future__ import annotations

from pathlib import Path

from sondino.encoder.encoder import Encoder
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
