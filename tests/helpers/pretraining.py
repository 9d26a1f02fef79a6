"""The reference implementation's outputs on tiny nets, and the nets that they are of."""

import json
import zlib
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sondino.nets.vit import ViTShape
from sondino.pretraining.model import Centre, Pass, Pretrainer, Sizes
from sondino.pretraining.schedules import Schedule

DATA = Path(__file__).parents[1] / "data" / "pretrain.npz"


@cache
def golden() -> dict[str, NDArray[Any]]:
    """Every array of the file."""
    with np.load(DATA) as arrays:
        return {name: arrays[name] for name in arrays.files}


CONFIG = json.loads(str(golden()["config"]))
KINDS = {"mp": 1, "pp": CONFIG["hypotheses"]}
"""MATPAC and MATPAC++, and their hypotheses."""


def sizes(kind: str) -> Sizes:
    """The tiny nets' sizes."""
    encoder = ViTShape(CONFIG["width"], CONFIG["depth"], 4 * CONFIG["width"], (16, 16), (5, 13))
    predictor = CONFIG["decoder_width"], CONFIG["decoder_depth"], CONFIG["decoder_width"] // CONFIG["decoder_heads"]
    head = CONFIG["head_hidden"], CONFIG["head_bottleneck"], CONFIG["classes"]
    return Sizes(encoder, predictor, head, KINDS[kind])


def by_rule(name: str, shape: tuple[int, ...]) -> Tensor:
    """The weights that the reference was filled with, from a parameter's name."""
    rng = np.random.default_rng(zlib.crc32(name.encode()))
    leaf = name.split(".")[-1]
    normal = rng.standard_normal(shape)
    if leaf in ("cls_token", "mask_token"):
        normal = 0.02 * normal
    elif leaf == "weight_g" or (leaf == "weight" and len(shape) == 1):
        normal = 1 + 0.1 * normal
    elif len(shape) >= 2:
        normal = normal / np.sqrt(np.prod(shape[1:]))
    else:
        normal = 0.05 * normal
    return torch.from_numpy(normal.astype(np.float32))


def model(kind: str, centre: Centre = "probabilities") -> Pretrainer:
    """The tiny net, filled by rule."""
    net = Pretrainer(sizes(kind), centre)
    state = net.state_dict()
    for name in state:
        if name != "center":
            state[name] = by_rule(name, tuple(state[name].shape))
    net.load_state_dict(state)
    return net


def one_pass(net: Pretrainer, kind: str, temperature: float = 0.1) -> Pass:
    """The single pass that the file holds."""
    arrays = golden()
    net.center.copy_(torch.from_numpy(arrays[f"{kind}/center"]))
    logmel, noise = (torch.from_numpy(arrays[f"{kind}/{name}"]) for name in ("logmel", "noise"))
    found: Pass = net(logmel, noise, 19, 0.04, temperature)
    return found


def schedule() -> Schedule:
    """The schedule of the traces."""
    teacher, wta = CONFIG["teacher_temperature"], CONFIG["wta"]
    return Schedule(
        updates=CONFIG["updates"],
        lr=CONFIG["lr"],
        warmup=CONFIG["warmup"],
        begins_at_zero=True,
        encoder_decay=tuple(CONFIG["encoder_decay"][:2]),
        head_decay=tuple(CONFIG["head_decay"][:2]),
        teacher_temperature=tuple(teacher[:2]),
        sharp_updates=teacher[2],
        hypothesis_temperature=wta[0],
        hypothesis_rate=wta[1],
    )


def off(found: Any, expected: Any) -> float:
    """Largest difference, relative to the largest expected value."""
    found = found.detach().numpy() if isinstance(found, Tensor) else np.asarray(found)
    expected = np.asarray(expected)
    assert found.shape == expected.shape
    return float(np.abs(found.astype(np.float64) - expected).max() / max(np.abs(expected).max(), 1e-12))
