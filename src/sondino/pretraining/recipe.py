"""The settings of a pretraining run. Read from YAML and options, written fully resolved."""

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from sondino.errors import OptionError
from sondino.training.entries import as_field, check_entries, field_names, given_entries

LEARNING_RATES = {"tiny": 1e-3, "small": 5e-4, "base": 3e-4}
"""The default of each size; base as published, for batches of 2,048."""


@dataclass(frozen=True)
class PretrainRecipe:
    """The settings of a run; the published ones are in recipes/.

    A field's help is that of `sondino pretrain --help` and of docs/pretraining.md; its bounds, those of `msgspec.Meta`.
    Where "option" is False the command has no option of its name: the field is for recipe files and keywords.
    """

    method: Literal["matpac", "matpac++"] = field(
        default="matpac++", metadata={"help": "one prediction of each masked patch, or several hypotheses"}
    )
    size: Literal["tiny", "small", "base"] = field(
        default="tiny",
        metadata={"help": "of the encoder: 1.5 M parameters (for processors), 21 M, or 85 M as published (for GPUs)"},
    )
    updates: int = field(
        default=10_000,
        metadata={"bounds": {"ge": 1, "le": 100_000_000}, "help": "steps of the optimizer; schedules span all of them"},
    )
    batch_size: int = field(
        default=32, metadata={"bounds": {"ge": 1, "le": 65_536}, "help": "crops a step, of each process"}
    )
    accumulate: int = field(
        default=1,
        metadata={"bounds": {"ge": 1, "le": 65_536}, "help": "batches whose gradients are summed for one update"},
    )
    lr: float | None = field(
        default=None,
        metadata={
            "bounds": {"gt": 0, "le": 1000},
            "help": "highest learning rate of AdamW; by default 1e-3 for tiny, 5e-4 for small, 3e-4 for base",
        },
    )
    warmup: int | None = field(
        default=None,
        metadata={
            "bounds": {"ge": 0, "le": 100_000_000},
            "help": "updates of linear warm-up; by default a fifteenth of all",
            "option": False,
        },
    )
    weight_decay: float = field(
        default=0.05, metadata={"bounds": {"ge": 0, "le": 10}, "help": "of everything trained", "option": False}
    )
    gradient_clip: float = field(
        default=3.0, metadata={"bounds": {"gt": 0, "le": 1e9}, "help": "largest norm of the gradient", "option": False}
    )
    crop: float = field(
        default=6.1,
        metadata={
            "bounds": {"ge": 0.2, "le": 60},
            "help": "seconds of a training crop, cut to whole patches of 0.16 s; the window of the bundle",
        },
    )
    mask_ratio: float = field(
        default=0.7, metadata={"bounds": {"gt": 0, "lt": 1}, "help": "share of the patches that are masked"}
    )
    hypotheses: int = field(
        default=5,
        metadata={"bounds": {"ge": 2, "le": 64}, "help": "of each masked patch, for matpac++", "option": False},
    )
    class_weight: float = field(
        default=0.5,
        metadata={
            "bounds": {"ge": 0, "le": 1},
            "help": "w of (1 - w) * prediction + w * classification; 0: masked prediction alone",
        },
    )
    normalize: str = field(
        default="measured",
        metadata={
            "help": "mean and deviation of log-mels: `measured` over the sound, or MEAN,STD such as -7.056,4.193"
        },
    )
    init: str | None = field(
        default=None,
        metadata={"help": "initial weights of the encoder: a published encoder file, or the folder of another run"},
    )
    teacher_init: Literal["random", "copy"] = field(
        default="random",
        metadata={"help": "the teacher begins with weights of its own, or with the student's", "option": False},
    )
    centre: Literal["logits", "probabilities"] = field(
        default="logits",
        metadata={
            "help": "what the centre of the teacher's classes averages: logits, as in DINO, or probabilities, as "
            "published",
            "option": False,
        },
    )
    published: bool = field(
        default=False,
        metadata={
            "help": "as the published code does: the teacher follows one update late, the first update has the rate 0, "
            "the centre averages probabilities, all processes draw the same masks",
            "option": False,
        },
    )
    precision: Literal["auto", "float32", "bfloat16"] = field(
        default="auto", metadata={"help": "`auto`: bfloat16 if the processor or GPU computes in it, else float32"}
    )
    seed: int = field(default=0, metadata={"bounds": {"ge": 0, "le": 4_294_967_295}, "help": "of weights and draws"})

    def __post_init__(self) -> None:
        """Check every value, and raise OptionError for the first that cannot be."""
        check_entries(self)
        if self.normalize != "measured":
            given_statistics(self.normalize)

    @property
    def peak_lr(self) -> float:
        """The highest learning rate, resolved."""
        return LEARNING_RATES[self.size] if self.lr is None else self.lr


FIELDS = field_names(PretrainRecipe)


def resolve_recipe(recipe: Path | str | Mapping[str, Any] | None = None, **options: Any) -> PretrainRecipe:
    """A recipe from a YAML file (or a mapping) and options, which win over it where they are not None.

    Raises:
        OptionError: an unknown name, a wrong type or a value out of range; the message names it.
    """
    values = given_entries(PretrainRecipe, recipe, options)
    resolved = PretrainRecipe(**{name: as_field(PretrainRecipe, name, value) for name, value in values.items()})
    if resolved.published:
        resolved = dataclasses.replace(resolved, centre="probabilities")
    return dataclasses.replace(resolved, lr=resolved.peak_lr)


def given_statistics(text: str) -> tuple[float, float]:
    """Mean and deviation from MEAN,STD; raises OptionError where they are no such numbers."""
    try:
        mean, std = (float(part) for part in text.split(","))
    except ValueError:
        mean, std = math.nan, math.nan
    if not (math.isfinite(mean) and math.isfinite(std) and std > 0):
        raise OptionError(f"normalize is {text!r}: give `measured`, or a mean and a deviation above 0 as MEAN,STD")
    return mean, std


def as_dict(recipe: PretrainRecipe) -> dict[str, Any]:
    """Plain values, as YAML and JSON hold them."""
    return dataclasses.asdict(recipe)
