"""Load a student's weights from tensors by name; an error message names those that do not fit."""

from collections.abc import Iterable, Mapping
from pathlib import Path

import torch
from torch import Tensor

from sondino.errors import OptionError
from sondino.nets.student import Student


def load_weights(student: Student, tensors: Mapping[str, Tensor], path: Path) -> Student:
    """Load all of a student's weights.

    Args:
        student: changed in place.
        tensors: by the student's own names; of any floating type.
        path: of the checkpoint, for the message.

    Raises:
        OptionError: tensors are missing, left over, of another shape, or hold NaN.
    """
    wanted = student.state_dict()
    # num_batches_tracked is not used by a BatchNorm of fixed momentum.
    lacking = [name for name in wanted if name not in tensors and not name.endswith("num_batches_tracked")]
    extra = [name for name in tensors if name not in wanted]
    wrong = [name for name in wanted if name in tensors and tensors[name].shape != wanted[name].shape]
    faults = [_count("lacks", lacking), _count("has beside them", extra), _count("has in another shape", wrong)]
    if wrong:
        faults[2] += f" is {tuple(tensors[wrong[0]].shape)} and not {tuple(wanted[wrong[0]].shape)}"
    if any(faults):
        raise OptionError(
            f"{path} is no {student.name} of width {student.width:g} with {len(wanted)} tensors: of those it "
            f"{'; it '.join(filter(None, faults))}: give the checkpoint as it was published"
        )
    check_finite(tensors, path)
    student.load_state_dict({name: tensor.to(wanted[name].dtype) for name, tensor in tensors.items()}, strict=False)
    return student.eval()


def check_finite(tensors: Mapping[str, Tensor], path: Path) -> None:
    """Raises OptionError where a tensor holds NaN or infinity."""
    broken = [name for name, tensor in tensors.items() if not torch.isfinite(tensor).all()]
    if broken:
        raise OptionError(
            f"{path} holds {counted(len(broken), 'tensor')} with NaN or infinity, first {broken[0]}: its training "
            "failed, or the file is damaged: fetch it again"
        )


def counted(number: int, what: str) -> str:
    """A number with its noun: "1 tensor", "4 tensors"."""
    return f"{number} {what}" + ("" if number == 1 else "s")


def _count(verb: str, names: Iterable[str]) -> str:
    listed = list(names)
    return f"{verb} {counted(len(listed), 'tensor')}, first {listed[0]}" if listed else ""
