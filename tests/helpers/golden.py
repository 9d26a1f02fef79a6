"""Weights and waveforms by rule: what the golden embeddings in tests/data were computed from."""

import json
import math
import zlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

DATA = Path(__file__).parents[1] / "data"

Entry = tuple[str, tuple[int, ...]]


def wave(seconds: float, sr: int, seed: int = 7) -> NDArray[np.float32]:
    """A chirp that fades every second, in noise: (samples,) float32."""
    n = int(seconds * sr)
    t = np.arange(n) / sr
    f0, f1 = 200, 0.45 * sr
    chirp = np.sin(2 * np.pi * (f0 * t + (f1 - f0) * t**2 / (2 * seconds)))
    noise = np.random.default_rng(seed).standard_normal(n)
    return (0.3 * chirp * np.exp(-3 * (t % 1)) + 0.05 * noise).astype(np.float32)


def weight(name: str, shape: Iterable[int]) -> NDArray[Any]:
    """The value of a parameter, from its full published name and its shape."""
    shape = tuple(shape)
    rng = np.random.default_rng(zlib.crc32(name.encode()))
    leaf = name.rpartition(".")[2]
    if leaf == "num_batches_tracked":
        return np.zeros(shape, dtype=np.int64)
    if leaf == "running_var":
        value = rng.uniform(0.5, 1.5, shape)
    elif leaf == "running_mean":
        value = 0.05 * rng.standard_normal(shape)
    elif leaf in ("cls_token", "pos_embed"):
        value = 0.02 * rng.standard_normal(shape)
    elif leaf == "norm_stats":
        value = np.array([-7.1, 4.2])
    elif leaf == "lambdas":
        value = np.array([1.0] * (shape[0] // 2) + [0.5] * (shape[0] // 2))
    elif leaf == "init_v":
        value = np.array([1.0] + [0.0] * (shape[0] - 1))
    elif len(shape) >= 2:
        fan = shape[-1] if len(shape) == 4 and shape[0] == 1 else math.prod(shape[1:])
        value = rng.standard_normal(shape) / math.sqrt(fan)
    elif leaf == "weight":
        value = 1 + 0.1 * rng.standard_normal(shape)
    else:
        value = 0.05 * rng.standard_normal(shape)
    return np.asarray(value, dtype=np.float32)


def keys(model: str) -> list[Entry]:
    """Names and shapes of a published checkpoint's parameters, in order."""
    listing: dict[str, list[tuple[str, list[int]]]] = json.loads((DATA / "keys.json").read_text())
    return [(name, tuple(shape)) for name, shape in listing[model]]


def state_dict(model: str) -> dict[str, torch.Tensor]:
    """A published checkpoint's state dict with weights by rule."""
    return {name: torch.from_numpy(weight(name, shape)) for name, shape in keys(model)}


def strip(state: Mapping[str, torch.Tensor], prefix: str) -> dict[str, torch.Tensor]:
    """The entries under a prefix, without it."""
    return {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}


def error(got: Any, golden: Any) -> float:
    """Largest absolute difference relative to the largest golden value."""
    got, golden = np.asarray(got, dtype=np.float64), np.asarray(golden, dtype=np.float64)
    assert got.shape == golden.shape, (got.shape, golden.shape)
    return float(np.abs(got - golden).max() / np.abs(golden).max())
