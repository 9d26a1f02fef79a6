"""First weights from a published checkpoint: EfficientAT's releases, PANNs' CNN14, S-SONDO's students."""

import os
from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from sondino.errors import OptionError
from sondino.nets.checkpoints import read_state
from sondino.nets.student import Student

PREFIXES = ("student_model.model.", "model.", "student.", "module.", "")
"""What may stand before a backbone's names: S-SONDO's Lightning checkpoints, wrappers, nothing."""


def load_initial(student: Student, checkpoint: str | os.PathLike[str]) -> list[str]:
    """Gives a student the backbone weights of a checkpoint; what belongs to other parts is dropped.

    No code of the file is run: a checkpoint that holds more than tensors and plain values is refused.

    Args:
        student: of the checkpoint's architecture and width; changed in place.
        checkpoint: an EfficientAT release (`mn10_im.pt`, `dymn10_im.pt`), PANNs' `Cnn14_mAP=0.431.pth`, a published
            S-SONDO student (`.ckpt`), or a `.safetensors` of ours.

    Returns:
        A message for each group of parameters that was dropped or that the checkpoint lacks.

    Raises:
        OptionError: when the file cannot be read or does not fit the student.
    """
    path = Path(checkpoint)
    published = _backbone(read_state(path), student)
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
    # num_batches_tracked is not used by a BatchNorm of fixed momentum.
    missing = {name for name in ours.keys() - published.keys() if not name.endswith("num_batches_tracked")}
    return notes + [f"missing {group}, left at its first values" for group in _groups(missing)]


def _backbone(state: Mapping[str, Tensor], student: Student) -> dict[str, Tensor]:
    """The tensors under whichever prefix fits most of the student's names; others keep their full name."""
    names = student.state_dict().keys()
    prefix = max(PREFIXES, key=lambda p: sum(k.startswith(p) and k[len(p) :] in names for k in state))
    return {k.removeprefix(prefix): v for k, v in state.items()}


def _groups(names: set[str]) -> list[str]:
    """Parameters by the module they stand in, two names deep: "classifier.5 (2 tensors)"."""
    counts: dict[str, int] = {}
    for name in names:
        group = ".".join(name.split(".")[:-1][:2]) or name
        counts[group] = counts.get(group, 0) + 1
    return [f"{group} ({n} tensor{'s' if n > 1 else ''})" for group, n in sorted(counts.items())]
