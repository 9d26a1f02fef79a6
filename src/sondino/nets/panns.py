"""CNN14 of PANNs with its published weights."""

import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from torch import Tensor

from sondino.errors import OptionError
from sondino.frontend.logmel import PANNS_LOGMEL, mel_matrix
from sondino.nets.cnn14 import CHANNELS, CNN14
from sondino.nets.weights import load_weights

CLASSIFIER = "fc_audioset."

LOGMEL = ("spectrogram_extractor.", "logmel_extractor.")
"""What stands before the names of the log-mel's matrices, which a published file holds too."""

LAST = "conv_block6.conv2.weight"

PUBLISHED = "give PANNs' Cnn14_mAP=0.431.pth"

# Tensors of the same names and shapes, but for another sample rate, or pooled after the classes and not before.
_OTHERS = re.compile(r"DecisionLevel|_(?:8|16)k", re.IGNORECASE)


def build(tensors: Mapping[str, Tensor], path: Path) -> CNN14:
    """The net of a CNN14 checkpoint, without its classes, in evaluation mode.

    Args:
        tensors: of the checkpoint; those of its classes and of its log-mel are left out.
        path: its file, for messages; forms whose tensors have the same names and shapes differ by its name.

    Raises:
        OptionError: these are no tensors of CNN14, or of a form with another front-end or pooling.
    """
    last = tensors.get(LAST)
    if last is None or last.ndim != 4:
        raise OptionError(f"{path} is no CNN14, which has twelve convolutions, the last {LAST}: {PUBLISHED}")
    if other := _OTHERS.search(path.stem):
        raise OptionError(
            f"{path} is named for another form of CNN14 ({other.group().strip('_')}), with another front-end or "
            f"pooling: {PUBLISHED}"
        )
    matrix, own = tensors.get(f"{LOGMEL[1]}melW"), mel_matrix(PANNS_LOGMEL).T
    if matrix is not None and (
        matrix.shape != own.shape or not np.allclose(matrix.float(), own, rtol=0, atol=0.01 * own.max())
    ):
        raise OptionError(f"{path} has another mel filterbank than 64 bands from 50 to 14000 Hz at 32 kHz: {PUBLISHED}")
    width = len(last) / CHANNELS[-1]
    if not 0.1 <= width <= 8:
        raise OptionError(f"{path} has {len(last)} embedding dimensions, as no CNN14 of a width from 0.1 to 8 has")
    net = CNN14(width)
    load_weights(
        net, {name: tensor for name, tensor in tensors.items() if not name.startswith((CLASSIFIER, *LOGMEL))}, path
    )
    return net
