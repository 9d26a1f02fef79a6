"""MATPAC and M2D as bundles."""

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from torch import Tensor

from sondino.model.torch_model import TorchModel
from sondino.nets import m2d, matpac
from sondino.nets.vit_student import ViTStudent
from sondino.nets.weights import check_finite, counted
from sondino.pretrained.source import source_facts
from sondino.teachers.catalogue import RECORDS

WINDOW = 10.0
"""Seconds: as long as the clips that both were published with."""


def read_vit(
    kind: Literal["matpac", "m2d"], tensors: Mapping[str, Tensor], path: Path, window: float | None = None
) -> TorchModel:
    """The encoder of a MATPAC or M2D checkpoint.

    Args:
        kind: which of the two.
        tensors: its state dict.
        path: its file; the name of M2D's folder carries the rate.
        window: seconds of the model's input window; None: 10.

    Raises:
        EncoderError: these are not the tensors of such a model.
        OptionError: a tensor holds NaN.
    """
    vit, logmel = matpac.build(tensors, path) if kind == "matpac" else m2d.build(tensors, path)
    window = window or WINDOW
    student = ViTStudent(kind, vit, logmel, window)
    check_finite(student.state_dict(), path)
    rest = len(tensors) - len(vit.state_dict()) - ("norm_stats" in tensors)
    dropped = [f"{counted(rest, 'tensor')} not used for embeddings"] if rest else []
    facts = {"source": source_facts(kind, path, RECORDS[kind].licence, dropped), "teachers": []}
    return TorchModel(student.eval(), path.stem, window, short="repeat", facts=facts)
