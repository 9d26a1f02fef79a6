"""CNN14 of PANNs (arXiv 1912.10211): a convolutional net over 64 mels in decibels, one embedding of 2048 a clip."""

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from sondino.encoder.audioset import audioset_classes
from sondino.encoder.head import Head
from sondino.errors import OptionError
from sondino.nets import panns
from sondino.nets.checkpoints import read_state, under
from sondino.nets.weights import check_finite
from sondino.teachers.catalogue import CNN14_LICENCE
from sondino.teachers.device import pick_device
from sondino.teachers.net_encoder import NetEncoder, checkpoint
from sondino.teachers.spec import TeacherSpec

NOTE = (
    "527 classes of AudioSet (ontology CC BY 4.0, Google), in the order of its class_labels_indices.csv; "
    "weights of PANNs, CC BY 4.0, trained on AudioSet's labels"
)


def load_cnn14(spec: TeacherSpec, device: str = "auto") -> NetEncoder:
    """Open a CNN14 checkpoint; without a file the published one is fetched.

    Raises:
        OptionError: the file cannot be read as a checkpoint, or is no CNN14.
    """
    target = pick_device(device)
    path = checkpoint(spec)
    tensors = read_state(path)
    net = panns.build(tensors, path)
    classifier = under(tensors, panns.CLASSIFIER)
    audioset = len(classifier.get("bias", ())) == len(audioset_classes())
    head = cnn14_head(classifier, net.dim, path) if audioset else None
    return NetEncoder(spec, path, net, net, net.logmel, net.minimum_samples, target, CNN14_LICENCE, head)


def cnn14_head(classifier: Mapping[str, Tensor], dim: int, path: Path) -> Head | None:
    """The classes of a CNN14 checkpoint as a head; None where it has none.

    Args:
        classifier: its tensors "weight" and "bias".
        dim: of the net's embedding.
        path: the file, for messages.

    Raises:
        OptionError: they are not AudioSet's classes.
    """
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
