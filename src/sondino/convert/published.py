"""What was found in a published checkpoint, and fitting its tensors to a net of ours."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from sondino.audio import ShortPolicy
from sondino.errors import OptionError
from sondino.heads.head import Head
from sondino.students.common import Student

Kind = Literal["ssondo", "efficientat", "matpac", "m2d"]


@dataclass(frozen=True)
class Published:
    """A published model, ready to be written as a bundle.

    Attributes:
        kind: whose checkpoint it is.
        student: the net with its weights.
        window: seconds that the model hears at once.
        short: what becomes of a clip under a window.
        licence: of the weights.
        hop: seconds from one window to the next; None: `window`.
        head: from its vectors to labels; None where it has none.
        teachers: what it learnt from, as config.json lists them.
        dropped: a phrase for each part of the file that the bundle does without.
        url: where the file is published; empty where that is not known.
    """

    kind: Kind
    student: Student
    window: float
    short: ShortPolicy
    licence: str
    hop: float | None = None
    head: Head | None = None
    teachers: list[dict[str, Any]] = field(default_factory=list)
    dropped: list[str] = field(default_factory=list)
    url: str = ""


def fill(student: Student, tensors: Mapping[str, Tensor], path: Path) -> Student:
    """Gives a student all of its weights.

    Args:
        student: changed in place.
        tensors: by the student's own names; of any floating type.
        path: of the checkpoint, for the sentence.

    Raises:
        OptionError: tensors are missing, left over, of another shape, or hold NaN.
    """
    wanted = student.state_dict()
    # A count of batches says nothing that a net of fixed momentum needs.
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


def under(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The tensors whose names begin with a prefix, without it."""
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def counted(number: int, what: str) -> str:
    """A number with its noun: "1 tensor", "4 tensors"."""
    return f"{number} {what}" + ("" if number == 1 else "s")


def _count(verb: str, names: Iterable[str]) -> str:
    listed = list(names)
    return f"{verb} {counted(len(listed), 'tensor')}, first {listed[0]}" if listed else ""
