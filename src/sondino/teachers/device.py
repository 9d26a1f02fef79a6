"""Choosing the device of torch teachers."""

import torch

from sondino.errors import OptionError


def pick_device(device: str) -> torch.device:
    """The torch device of "auto", "cpu" or "cuda"; OptionError for cuda where there is none."""
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if device == "cuda" and not torch.cuda.is_available():
        raise OptionError("device cuda: torch sees no CUDA GPU here; take cpu or auto")
    return torch.device(device)
