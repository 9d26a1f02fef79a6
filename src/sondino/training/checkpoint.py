"""Checkpoints of a run: safetensors files replaced in one step, so that kill -9 leaves the old one or the new one."""

import json
import os
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from sondino.errors import RunError


def save_checkpoint(
    file: Path, model: nn.Module, optimizer: torch.optim.Optimizer | None, state: dict[str, Any]
) -> None:
    """Write a model, its optimizer's moments where given, and plain JSON state.

    Raises:
        RunError: the disk is full or cannot be written; the checkpoint that was there stays.
    """
    tensors = {f"model.{name}": tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()}
    if optimizer is not None:
        for index, moments in optimizer.state_dict()["state"].items():
            for name, value in moments.items():
                tensors[f"optimizer.{index}.{name}"] = torch.as_tensor(value).detach().cpu().contiguous()
    file.parent.mkdir(parents=True, exist_ok=True)
    partial = file.with_suffix(".partial")
    try:
        save_file(tensors, partial, metadata={"state": json.dumps(state)})
        with partial.open("rb+") as written:
            os.fsync(written.fileno())
        partial.replace(file)
    except (OSError, SafetensorError) as error:
        partial.unlink(missing_ok=True)
        raise RunError(f"{file} could not be written ({error}): free some space; the same command resumes") from error


def load_checkpoint(file: Path, model: nn.Module, optimizer: torch.optim.Optimizer | None = None) -> dict[str, Any]:
    """Load what `save_checkpoint` wrote into a model (and optimizer), and return the state.

    Raises:
        RunError: the file is not one of ours, or of another model.
    """
    try:
        with safe_open(file, "pt") as checkpoint:
            state = json.loads(checkpoint.metadata()["state"])
            tensors = {name: checkpoint.get_tensor(name) for name in checkpoint.keys()}  # noqa: SIM118 - no mapping
        model.load_state_dict({n.removeprefix("model."): t for n, t in tensors.items() if n.startswith("model.")})
    except (OSError, SafetensorError, KeyError, TypeError, RuntimeError) as error:
        raise RunError(f"{file} is not a checkpoint of this run: delete it to train again ({error})") from error
    if optimizer is not None:
        _load_optimizer(optimizer, {n: t for n, t in tensors.items() if n.startswith("optimizer.")})
    return state


def _load_optimizer(optimizer: torch.optim.Optimizer, tensors: dict[str, Tensor]) -> None:
    moments: dict[int, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        _, index, moment = name.split(".")
        moments.setdefault(int(index), {})[moment] = tensor
    parameters: list[Tensor] = [p for group in optimizer.param_groups for p in group["params"]]
    for place, own in moments.items():
        for name, tensor in own.items():
            if tensor.shape == parameters[place].shape:
                # The fused optimizer walks raw memory: moments must lie as their parameter does (channels-last).
                own[name] = torch.empty_like(parameters[place], device="cpu").copy_(tensor)
    optimizer.load_state_dict({"state": moments, "param_groups": optimizer.state_dict()["param_groups"]})
