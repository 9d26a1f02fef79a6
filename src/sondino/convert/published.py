"""What was found in a published checkpoint."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from torch import Tensor

from sondino.audio import ShortPolicy
from sondino.heads.head import Head
from sondino.students.common import Student

Kind = Literal["ssondo", "efficientat", "panns", "matpac", "m2d"]


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


def under(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The tensors whose names begin with a prefix, without it."""
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
