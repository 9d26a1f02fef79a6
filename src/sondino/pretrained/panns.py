"""CNN14 of PANNs (arXiv 1912.10211): a net trained on AudioSet, with its classes as a head."""

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from sondino.model.torch_model import TorchModel
from sondino.nets import panns
from sondino.nets.checkpoints import under
from sondino.nets.weights import counted
from sondino.pretrained.source import source_facts
from sondino.teachers.catalogue import CNN14_LICENCE
from sondino.teachers.cnn14 import cnn14_head

MARKS = (panns.LAST, f"{panns.CLASSIFIER}weight")
"""Tensors of which a file of PANNs has one or both, whatever its net."""


def read_panns(tensors: Mapping[str, Tensor], path: Path) -> TorchModel:
    """The net of a CNN14 checkpoint, and its classes where it has them.

    Args:
        tensors: its state dict.
        path: its file.

    Raises:
        OptionError: it is another net, its classes are not AudioSet's, or the tensors do not fit.
    """
    student = panns.build(tensors, path)
    matrices = sum(name.startswith(panns.LOGMEL) for name in tensors)
    head = cnn14_head(under(tensors, panns.CLASSIFIER), student.dim, path)
    dropped = [f"the matrices of its log-mel ({counted(matrices, 'tensor')})"] if matrices else []
    url = "https://zenodo.org/records/3987831" if path.stem.startswith("Cnn14_mAP") else ""
    facts = {"source": source_facts("panns", path, CNN14_LICENCE, dropped, url), "teachers": []}
    return TorchModel(student, path.stem, window=10.0, short="native", facts=facts, head=head)
