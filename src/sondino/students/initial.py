"""First weights from a published checkpoint: EfficientAT's releases, S-SONDO's students, our own bundles."""

import os
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from sondino.errors import OptionError, require
from sondino.students.common import Student

PREFIXES = ("student_model.model.", "model.", "student.", "module.", "")
"""What may stand before a backbone's names: S-SONDO's Lightning checkpoints, wrappers, nothing."""


def load_initial(student: Student, checkpoint: str | os.PathLike[str]) -> list[str]:
    """Gives a student the backbone weights of a checkpoint; what belongs to other parts is dropped.

    No code of the file is run: a checkpoint that holds more than tensors and plain values is refused.

    Args:
        student: of the checkpoint's architecture and width; changed in place.
        checkpoint: an EfficientAT release (`mn10_im.pt`, `dymn10_im.pt`), a published S-SONDO student (`.ckpt`),
            a `.safetensors` of ours, or the folder of a bundle.

    Returns:
        A sentence for each group of parameters that was dropped or that the checkpoint lacks.

    Raises:
        OptionError: when the file cannot be read or does not fit the student.
    """
    path = Path(checkpoint)
    published = _backbone(_read(path), student)
    ours = student.state_dict()
    fitting = {name: value for name, value in published.items() if name in ours}
    if not any(name.endswith("weight") for name in fitting):
        raise OptionError(f"{path} holds no weights of a {student.name}: choose its own kind of checkpoint for --init")
    for name, value in fitting.items():
        if value.shape != ours[name].shape:
            raise OptionError(
                f"{path} does not fit {student.name} at width {student.width:g}: {name} is {tuple(value.shape)}, "
                f"not {tuple(ours[name].shape)}; choose the checkpoint's own --width"
            )
    student.load_state_dict(fitting, strict=False)
    notes = [f"dropped {group}" for group in _groups(published.keys() - ours.keys())]
    # A count of batches says nothing that a net of fixed momentum needs.
    missing = {name for name in ours.keys() - published.keys() if not name.endswith("num_batches_tracked")}
    return notes + [f"missing {group}, left at its first values" for group in _groups(missing)]


def _read(path: Path) -> Mapping[str, Any]:
    if path.is_dir():
        path = path / "model.safetensors"
    if not path.is_file():
        raise OptionError(f"there is no checkpoint {path}: --init takes a .pt, .ckpt or .safetensors file")
    try:
        if path.suffix == ".safetensors":
            return require("safetensors.torch", "train").load_file(path)
        content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise OptionError(
            f"{path} is no PyTorch checkpoint or holds code beside its tensors, which is not run: "
            "save its state dict alone and give that"
        ) from error
    except Exception as error:  # zip, OS and safetensors errors: each reader has its own
        raise OptionError(f"{path} cannot be read as a checkpoint ({error}): fetch it again") from error
    for key in ("state_dict", "model"):
        if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
            content = content[key]
    if not isinstance(content, Mapping):
        raise OptionError(f"{path} holds no state dict: save the model's state_dict() and give that")
    return content


def _backbone(state: Mapping[str, Any], student: Student) -> dict[str, Tensor]:
    """The tensors under whichever prefix fits most of the student's names; others keep their whole name."""
    names = student.state_dict().keys()
    prefix = max(PREFIXES, key=lambda p: sum(k.startswith(p) and k[len(p) :] in names for k in state))
    return {k.removeprefix(prefix): v for k, v in state.items() if isinstance(v, Tensor)}


def _groups(names: set[str]) -> list[str]:
    """Parameters by the module they stand in, two names deep: "classifier.5 (2 tensors)"."""
    counts: dict[str, int] = {}
    for name in names:
        group = ".".join(name.split(".")[:-1][:2]) or name
        counts[group] = counts.get(group, 0) + 1
    return [f"{group} ({n} tensor{'s' if n > 1 else ''})" for group, n in sorted(counts.items())]
