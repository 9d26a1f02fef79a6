"""EfficientAT's taggers (arXiv 2211.04772, 2310.15648): state dicts of MobileNetV3 and DyMN trained on AudioSet."""

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from sondino.encoder.audioset import audioset_classes
from sondino.encoder.head import Head, Layer
from sondino.errors import OptionError
from sondino.frontend.logmel import EFFICIENTAT_LOGMEL, LogMel
from sondino.model.torch_model import TorchModel
from sondino.nets.registry import STUDENTS, build_student
from sondino.nets.student import mobilenet_blocks
from sondino.nets.weights import check_finite, load_weights
from sondino.pretrained.source import source_facts

LICENCE = "MIT"
MARKS = {"mobilenetv3": "features.0.0.weight", "dymn": "in_c.0.weight"}
"""A tensor by which the net in a file is recognised."""

LAST = {"mobilenetv3": "features.16.0.weight", "dymn": "out_c.0.weight"}
"""The last layer's weights; their number is the embedding dimension."""

CLASSIFIER = "classifier."
NOTE = (
    "527 classes of AudioSet (ontology CC BY 4.0, Google), in the order of its class_labels_indices.csv; "
    "weights of EfficientAT, MIT, trained on AudioSet's labels and on the answers of PaSST"
)
_CONVOLUTION = ("0.weight", "1.weight", "1.bias", "1.running_mean", "1.running_var")
_RELEASED = re.compile(r"(dy)?mn\d\d_(replace_se_)?as\w*")


def read_efficientat(tensors: Mapping[str, Tensor], path: Path) -> TorchModel:
    """The tagger of an EfficientAT release.

    Args:
        tensors: its state dict.
        path: its file; a front-end other than the usual one is part of the file's name.

    Raises:
        OptionError: it was trained on ImageNet alone, its classes are not AudioSet's, or the tensors do not fit.
    """
    backbone = {name: tensor for name, tensor in tensors.items() if not name.startswith(CLASSIFIER)}
    classifier = {name: tensor for name, tensor in tensors.items() if name.startswith(CLASSIFIER)}
    architecture = next((name for name, mark in MARKS.items() if mark in tensors), None)
    if architecture is None:
        raise OptionError(f"{path} is no EfficientAT: it has none of {', '.join(MARKS.values())}; leave the kind out")
    logmel = _front_end(path)
    _check_classes(classifier, path)
    width = _width(backbone, architecture, path)
    student = build_student(architecture, width, temperature=1.0)  # where their training on AudioSet ends
    student.logmel = logmel
    load_weights(student, backbone, path)
    check_finite(classifier, path)
    released = _RELEASED.fullmatch(path.stem)
    url = f"https://github.com/fschmid56/EfficientAT/releases/download/v0.0.1/{path.name}" if released else ""
    facts = {"source": source_facts("efficientat", path, LICENCE, url=url), "teachers": []}
    return TorchModel(student, path.stem, window=10.0, short="native", facts=facts, head=_head(classifier, path))


def _front_end(path: Path) -> LogMel:
    """The log-mel, whose hop and number of mels, if they are not the usual ones, are in the file's name alone."""
    name = path.stem
    if stride := re.search(r"_s(\d{4})(?!\d)", name):
        raise OptionError(
            f"{path} is named for strides {stride.group(1)}, which sondino does not build: take a release without"
        )
    hop, mels = re.search(r"_hop_(\d+)", name), re.search(r"_mels_(\d+)", name)
    logmel = EFFICIENTAT_LOGMEL
    if hop:  # in milliseconds
        logmel = replace(logmel, hop=int(hop.group(1)) * logmel.sample_rate // 1000)
    if mels:
        logmel = replace(logmel, n_mels=int(mels.group(1)))
    if not (32 <= logmel.hop <= 3200 and 16 <= logmel.n_mels <= 1024):
        raise OptionError(f"{path} is named for a hop or a number of mels that is out of range: give it its own name")
    return logmel


def _check_classes(classifier: Mapping[str, Tensor], path: Path) -> None:
    biases = [classifier[name] for name in sorted(classifier) if name.endswith(".bias")]
    classes = biases[-1].numel() if biases else 0
    if classes == 1000 or re.search(r"_im(_|\b)", path.stem):
        raise OptionError(
            f"{path} was trained on ImageNet's images and not on audio: give it to `sondino distill --init`, "
            "or convert an AudioSet release such as mn10_as"
        )
    if classes != len(audioset_classes()):
        raise OptionError(
            f"{path} has {classes} classes where AudioSet has {len(audioset_classes())}: give an AudioSet "
            "release such as mn10_as; a net with other classes can be the --init of a student"
        )


def _width(tensors: Mapping[str, Tensor], architecture: str, path: Path) -> float:
    """The width whose net has tensors of the most nearly the same shapes; published widths come first."""
    last = tensors.get(LAST[architecture])
    dim = 0 if last is None or last.ndim == 0 else len(last)
    widths = [*STUDENTS[architecture].widths, *(n / 100 for n in range(10, 801))]
    likely = [width for width in widths if 6 * mobilenet_blocks(width)[-1].outputs == dim]
    if not likely:
        raise OptionError(
            f"{path} has {dim} embedding dimensions, as no {architecture} of a width from 0.1 to 8 has: give a "
            "release of EfficientAT as it was published"
        )

    def differing(width: float) -> int:
        with torch.device("meta"):  # shapes alone
            wanted = build_student(architecture, width).state_dict()
        return sum(name in tensors and tensors[name].shape != tensor.shape for name, tensor in wanted.items())

    return min(likely, key=differing)


def _head(classifier: Mapping[str, Tensor], path: Path) -> Head:
    """The classifier as a head: two linear layers, or a 1x1 convolution and a norm, which are one."""
    values = {name.removeprefix(CLASSIFIER): tensor.float() for name, tensor in classifier.items()}
    layers: tuple[Layer, ...]
    if values.keys() == {"2.weight", "2.bias", "5.weight", "5.bias"}:
        layers = tuple((values[f"{n}.weight"].numpy(), values[f"{n}.bias"].numpy()) for n in (2, 5))
    elif [values[name].ndim for name in _CONVOLUTION if name in values] == [4, 1, 1, 1, 1]:
        scale = values["1.weight"] / torch.sqrt(values["1.running_var"] + 1e-5)
        weight = values["0.weight"].flatten(1) * scale[:, None]
        layers = ((weight.numpy(), (values["1.bias"] - values["1.running_mean"] * scale).numpy()),)
    else:
        raise OptionError(f"{path} has a classifier of another kind ({', '.join(sorted(values)[:4])}): convert mn10_as")
    return Head("audioset", audioset_classes(), True, layers, "hardswish", NOTE)
