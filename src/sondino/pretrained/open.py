"""Open any encoder: a model or a teacher."""

from __future__ import annotations

from pathlib import Path

from sondino.encoder.encoder import Encoder
from sondino.teachers import load_teacher
from sondino.teachers.catalogue import RECORDS
from sondino.teachers.spec import SUFFIX_KINDS


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

    file = name.partition("?")[0].partition("#")[0]
    if not Path(name).is_dir() and (file.partition(":")[0] in RECORDS or Path(file).suffix in SUFFIX_KINDS):
        return load_teacher(name, device)
    return load(name, threads)
