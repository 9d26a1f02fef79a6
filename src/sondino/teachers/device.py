"""Reading checkpoints of torch teachers without unpickling anything; choosing the device."""

import argparse
import pickle
from pathlib import Path

import torch
from torch import Tensor

from sondino.errors import EncoderError, OptionError, require


def read_state(path: Path) -> dict[str, Tensor]:
    """The tensors of a .safetensors, .pt or .pth file by name; a dict under "model" or "state_dict" is opened.

    Nothing but tensors, containers and `argparse.Namespace` (in which published checkpoints keep their training
    options) is ever built from the file.

    Raises:
        EncoderError: it is no checkpoint, holds other Python objects, or holds no tensors.
    """
    if path.suffix == ".safetensors":
        safetensors = require("safetensors.torch", "train")
        try:
            state: dict[str, Tensor] = safetensors.load_file(path)
        except Exception as error:
            raise EncoderError(f"{path} is no safetensors file: {error}") from error
        return state
    try:
        with torch.serialization.safe_globals([argparse.Namespace]):
            content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise EncoderError(
            f"{path} is damaged, or holds Python objects besides tensors, which could run code when opened: "
            "save its state dict alone (or as .safetensors) where you trust it, and name that file"
        ) from error
    except (RuntimeError, EOFError, ValueError, KeyError) as error:
        raise EncoderError(f"{path} is no checkpoint that torch can open: {error}") from error
    for key in ("model", "state_dict"):
        if isinstance(content, dict) and isinstance(content.get(key), dict):
            content = content[key]
    tensors = {k: v for k, v in content.items() if isinstance(v, Tensor)} if isinstance(content, dict) else {}
    if not tensors:
        raise EncoderError(f"{path} holds no state dict: name a file with a model's weights")
    return tensors


def pick_device(device: str) -> torch.device:
    """The torch device of "auto", "cpu" or "cuda"; OptionError for cuda where there is none."""
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if device == "cuda" and not torch.cuda.is_available():
        raise OptionError("device cuda: torch sees no CUDA GPU here; take cpu or auto")
    return torch.device(device)
