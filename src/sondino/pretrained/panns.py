"""CNN14 of PANNs (arXiv 1912.10211): a net trained on AudioSet, with its classes as a head."""

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from sondino.errors import OptionError
from sondino.model.head import Head
from sondino.model.torch_model import TorchModel
from sondino.nets import panns
from sondino.nets.checkpoints import under
from sondino.nets.weights import check_finite, counted
from sondino.pretrained.efficientat import audioset_classes
from sondino.pretrained.source import source_facts
from sondino.teachers.catalogue import CNN14_LICENCE

MARKS = (panns.LAST, f"{panns.CLASSIFIER}weight")
"""Tensors of which a file of PANNs has one or both, whatever its net."""

NOTE = (
    "527 classes of AudioSet (ontology CC BY 4.0, Google), in the order of its class_labels_indices.csv; "
    "weights of PANNs, CC BY 4.0, trained on AudioSet's labels"
)


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
    head = _head(under(tensors, panns.CLASSIFIER), student.dim, path)
    dropped = [f"the matrices of its log-mel ({counted(matrices, 'tensor')})"] if matrices else []
    url = "https://zenodo.org/records/3987831" if path.stem.startswith("Cnn14_mAP") else ""
    facts = {"source": source_facts("panns", path, CNN14_LICENCE, dropped, url), "teachers": []}
    return TorchModel(student, path.stem, window=10.0, short="native", facts=facts, head=head)


def _head(classifier: Mapping[str, Tensor], dim: int, path: Path) -> Head | None:
    if not classifier:
        return None
    classes = audioset_classes()
    if {name: tuple(t.shape) for name, t in classifier.items()} != {
        "weight": (len(classes), dim),
        "bias": (len(classes),),
    }:
        shapes = ", ".join(f"{panns.CLASSIFIER}{name} {tuple(tensor.shape)}" for name, tensor in classifier.items())
        raise OptionError(
            f"{path} has {shapes[:200]} where AudioSet has {len(classes)} classes: {panns.PUBLISHED}; a net with other "
            "classes can be the --init of a student"
        )
    check_finite({f"{panns.CLASSIFIER}{name}": tensor for name, tensor in classifier.items()}, path)
    layer = classifier["weight"].float().numpy(), classifier["bias"].float().numpy()
    return Head("audioset", classes, True, (layer,), note=NOTE)
