"""A recipe: everything that decides what a distillation gives. Read from YAML and options, written fully resolved."""

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from sondino.errors import OptionError, unknown_name
from sondino.files import read_json
from sondino.frontend.logmel import LogMel
from sondino.pretrained.locate import SHIPPED
from sondino.training.entries import as_field, check_entries, field_names, given_entries, write_yaml

LossName = Literal["cosine", "clap", "kl", "l1", "mse"]
Sampling = Literal["balanced", "uniform"]


MOST_DRAWS = 100_000
"""Clips drawn an epoch, as published, where a corpus has more."""


@dataclass(frozen=True)
class Recipe:
    """The settings of a run; the defaults follow S-SONDO's.

    Two differ. By default the schedule ends with the run, where the published one's rate is still high. And embeddings
    are compared after standardisation, which gave better probes in the same time (benchmarks/LOG.md). The published
    settings are in recipes/.

    A field's help is that of `sondino distill --help` and of the manual's table; its bounds, those of `msgspec.Meta`.
    Where "option" is False the command has no option of its name: the field is for recipe files and keywords.
    """

    teacher: tuple[str, ...] = field(
        default=(),
        metadata={
            "help": "what to distil, KIND:FILE#TENSOR?rate=16000&window=0.975&hop=0.48; `sondino teachers` lists the "
            "kinds. Several: one mapping head each, their losses are averaged, by `teacher_weight`",
        },
    )
    teacher_weight: tuple[float, ...] = field(
        default=(),
        metadata={
            "help": "weight of each teacher's loss in the average, above 0, in the order of `teacher`, such as `2,1`; "
            "by default all are equal"
        },
    )
    student: str = field(
        default="mobilenetv3", metadata={"help": "`mobilenetv3`, `dymn`, `eres2net`, `cnn14` or `qcnn14`"}
    )
    width: float = field(
        default=1.0,
        metadata={
            "bounds": {"ge": 0.1, "le": 8},
            "help": "multiplies the student's channels, 0.1 to 8; parameters grow with its square",
        },
    )
    rate: int | None = field(
        default=None,
        metadata={
            "help": "sample rate of the student's audio in Hz: 16000, 32000, 48000, 96000 or 256000. Sounds up to half "
            "of it are processed. By default 32000, or the rate of the bundle that `init` names",
        },
    )
    hop: float | None = field(
        default=None,
        metadata={
            "bounds": {"ge": 0.004, "le": 0.032},
            "help": "seconds from one frame of the student's log-mel to the next, at most its window of 0.032. Twice "
            "as long halves the time of training and of embedding. By default as published (0.016; cnn14 0.01), or "
            "that of the bundle that `init` names",
        },
    )
    quaternion: Literal["derivatives", "learned"] | None = field(
        default=None,
        metadata={
            "help": "the student's quaternion form, with the imaginary parts of the log-mel as derivatives in time or "
            "from a learned convolution; by default the real net, for qcnn14 `derivatives`",
        },
    )
    init: str | None = field(
        default=None,
        metadata={
            "help": "initial weights: a checkpoint (EfficientAT's mn10_im.pt, Cnn14_mAP=0.431.pth, a published .ckpt), "
            "or a bundle (a folder, or `sondino-small`), whose architecture is then kept, pruned or not",
        },
    )
    clip: float = field(
        default=10.0,
        metadata={
            "bounds": {"gt": 0, "le": 600},
            "help": "seconds of audio per target, for teacher and student; a longer file gives several clips. The "
            "bundle's window",
        },
    )
    scale: Literal["none", "auto"] = field(
        default="none",
        metadata={
            "help": "auto: floats whose peak in the file is over 8 are divided by 2^15, 2^23 or 2^31, as whole numbers "
            "that were not scaled"
        },
    )
    views: int = field(
        default=0,
        metadata={
            "bounds": {"ge": 0, "le": 1000},
            "help": "augmented views of every clip (crop, speed, direction, gain, a mix of two), as rows of their own",
        },
    )
    mapping: Literal["mlp", "none"] = field(
        default="mlp",
        metadata={
            "help": "mapping head from the student's embedding to each teacher's, in training only: an MLP, or none, "
            "for teachers of the student's embedding dimension",
            "option": False,
        },
    )
    loss: LossName = field(
        default="cosine", metadata={"help": "distance between projected student and teacher embeddings"}
    )
    standardise: bool = field(
        default=True,
        metadata={
            "help": "compare embeddings of mean 0 and deviation 1 in each dimension, over the clips that train; "
            "otherwise as the teacher gives them, as published and with `mapping: none`"
        },
    )
    label_weight: float = field(
        default=0.0,
        metadata={
            "bounds": {"ge": 0, "le": 1},
            "help": "lambda of lambda * supervised + (1 - lambda) * distillation, if the corpus has labels; 1 needs no "
            "teacher",
        },
    )
    keep_labels: Literal["auto", "no"] = field(
        default="auto",
        metadata={
            "help": "auto: if a teacher ends in labels (classes of its last layer), the bundle has a head with them, "
            "fitted to its probabilities; of several teachers the first that has any"
        },
    )
    label_names: str | None = field(
        default=None,
        metadata={
            "help": "text file with the names of the teacher's labels, one in each line (CSV: the last column); by "
            "default those that its file carries"
        },
    )
    sampling: Sampling = field(
        default="balanced", metadata={"help": "balanced draws every cluster of the teacher's embeddings equally often"}
    )
    clusters: int = field(
        default=50,
        metadata={
            "bounds": {"ge": 0, "le": 1_000_000},
            "help": "k of the k-means for balanced sampling, at most a fifth of the clips; 0: every clip is drawn "
            "equally often",
        },
    )
    cluster_on: str = field(
        default="1",
        metadata={
            "help": "teacher whose embeddings are clustered, by its place (1 is the first); `all`: on those of all "
            "side by side, each standardised"
        },
    )
    epochs: int = field(
        default=100,
        metadata={
            "bounds": {"ge": 1, "le": 1_000_000},
            "help": "passes of `draws` clips",
        },
    )
    draws: int | None = field(
        default=None,
        metadata={
            "bounds": {"ge": 1, "le": 1_000_000_000},
            "help": "clips drawn per epoch, with replacement, rounded up to whole batches; by default as many as are "
            "trained on, at most 100,000",
        },
    )
    batch_size: int = field(
        default=32,
        metadata={
            "bounds": {"ge": 1, "le": 65_536},
            "help": "clips per batch, of each process",
        },
    )
    lr: float = field(
        default=8e-4,
        metadata={
            "bounds": {"gt": 0, "le": 1000},
            "help": "highest learning rate of Adam",
        },
    )
    warmup: float | None = field(
        default=None,
        metadata={
            "bounds": {"ge": 0, "le": 1_000_000},
            "help": "epochs of exponential warm-up; by default 8 % of the epochs",
            "option": False,
        },
    )
    rampdown_start: float | None = field(
        default=None,
        metadata={
            "bounds": {"ge": 0, "le": 1_000_000},
            "help": "epoch at which the learning rate begins to fall; by default 30 % of the epochs",
            "option": False,
        },
    )
    rampdown: float | None = field(
        default=None,
        metadata={
            "bounds": {"ge": 0, "le": 1_000_000},
            "help": "epochs over which it falls linearly to `final_lr`; by default to the end",
            "option": False,
        },
    )
    final_lr: float = field(
        default=0.01,
        metadata={
            "bounds": {"ge": 0, "le": 1},
            "help": "learning rate at the end of the fall, as a share of `lr`",
            "option": False,
        },
    )
    gradient_clip: float = field(
        default=5.0, metadata={"bounds": {"gt": 0, "le": 1e9}, "help": "largest norm of the gradient", "option": False}
    )
    mixup: float = field(
        default=0.0,
        metadata={
            "bounds": {"ge": 0, "le": 1000},
            "help": "alpha of mixup (ratio max(l, 1 - l), also of the loss); 0 is off, 0.3 the published option",
        },
    )
    spec_augment: bool = field(
        default=False,
        metadata={"help": "SpecAugment: mask up to 16 mel bands and up to a tenth of the time of every clip"},
    )
    short: Literal["pad", "native", "repeat"] = field(
        default="repeat",
        metadata={
            "help": "how the bundle treats clips under its window; training batches are filled by repeating, with "
            "`pad` by zeros",
        },
    )
    precision: Literal["auto", "float32", "bfloat16"] = field(
        default="auto", metadata={"help": "`auto`: bfloat16 if the processor or GPU computes in it, else float32"}
    )
    validation: float = field(
        default=0.1,
        metadata={
            "bounds": {"ge": 0, "le": 1},
            "help": "share of the source files held out, if the corpus has no split",
        },
    )
    seed: int = field(
        default=0,
        metadata={
            "bounds": {"ge": 0, "le": 4_294_967_295},
            "help": "of weights, draws, views, clusters and the split",
        },
    )

    def __post_init__(self) -> None:
        """Check every value, and raise OptionError for the first that cannot be."""
        from sondino.nets.registry import STUDENTS, check_student_rate

        if self.student not in list(STUDENTS):
            raise unknown_name("student", str(self.student), STUDENTS)
        check_entries(self)
        check_student_rate(self.rate)
        if not self.teacher and self.label_weight < 1:
            raise OptionError("no teacher named: give --teacher, `sondino teachers` lists what can be one")
        _check_teachers(self)

    @property
    def warmup_epochs(self) -> float:
        """Epochs of warm-up, resolved."""
        return 0.08 * self.epochs if self.warmup is None else self.warmup

    @property
    def rampdown_begin(self) -> float:
        """Epoch at which the rate begins to fall, resolved."""
        return 0.3 * self.epochs if self.rampdown_start is None else self.rampdown_start

    @property
    def rampdown_epochs(self) -> float:
        """Epochs over which it falls, resolved."""
        return self.epochs - self.rampdown_begin if self.rampdown is None else self.rampdown

    def learning_rate(self, epoch: float) -> float:
        """Learning rate at a moment of training, as in the published schedule.

        Args:
            epoch: epochs since the start, fractions included.
        """
        phase = 1 - min(max(epoch, 0.5), self.warmup_epochs) / self.warmup_epochs if self.warmup_epochs else 0
        length = self.rampdown_epochs
        fallen = min(max((epoch - self.rampdown_begin) / length, 0), 1) if length > 0 else 0
        return self.lr * math.exp(-5 * max(phase, 0) ** 2) * (1 - fallen * (1 - self.final_lr))


FIELDS = field_names(Recipe)


def _check_teachers(recipe: Recipe) -> None:
    """Raise OptionError where what is said of teachers one by one does not fit their number."""
    weights, count = recipe.teacher_weight, len(recipe.teacher)
    if weights and len(weights) != count:
        raise OptionError(
            f"teacher_weight has {len(weights)} weights for {count} teachers: give one for each, as in 2,1"
        )
    if bad := [weight for weight in weights if not (weight > 0 and math.isfinite(weight))]:
        raise OptionError(f"teacher_weight holds {bad[0]:g}: each weight must be above 0")
    places = [str(place) for place in range(1, max(1, count) + 1)]
    if recipe.cluster_on not in ("all", *places):
        raise OptionError(
            f"cluster_on is {recipe.cluster_on!r}: give the place of a teacher ({', '.join(places)}), or all"
        )


def resolve_recipe(recipe: Path | str | Mapping[str, Any] | None = None, **options: Any) -> Recipe:
    """A Recipe from a YAML file (or a mapping) and options, which win over it where they are not None.

    Of a bundle that `init` names, student and width are taken where they are not given.

    Raises:
        OptionError: an unknown name, a wrong type or a value out of range; the message names it.
    """
    values = given_entries(Recipe, recipe, options)
    if isinstance(values.get("init"), str) and (bundle := initial_bundle(values["init"])):
        facts = read_json(bundle / "config.json")
        values = {name: facts[name] for name in ("student", "width") if name in facts} | values
    return Recipe(**{name: _as_field(name, value) for name, value in values.items()})


def initial_bundle(init: str | None) -> Path | None:
    """The bundle that `init` names: a folder, a run's folder, or the name of a model that comes with the package.

    None where it names none: a checkpoint, or nothing.
    """
    folders = [] if init is None else [SHIPPED / init, Path(init), Path(init) / "bundle"]
    return next((folder for folder in folders if (folder / "config.json").exists()), None)


def write_recipe(recipe: Recipe, file: Path) -> None:
    """Write every entry of a recipe, defaults included."""
    write_yaml(as_dict(recipe), file)


def as_dict(recipe: Recipe) -> dict[str, Any]:
    """Plain values, as YAML and JSON hold them."""
    return dataclasses.asdict(recipe) | {"teacher": list(recipe.teacher), "teacher_weight": list(recipe.teacher_weight)}


def fully_resolved(recipe: Recipe, training_clips: int, precision: str, logmel: LogMel) -> Recipe:
    """The recipe with every entry that was left open filled in.

    Args:
        training_clips: rows that train.
        precision: what the device computes in.
        logmel: the student's front-end.
    """
    return dataclasses.replace(
        recipe,
        rate=recipe.rate or (None if recipe.init else logmel.sample_rate),  # a bundle has its own
        hop=recipe.hop or (None if recipe.init else logmel.hop / logmel.sample_rate),
        draws=recipe.draws or min(MOST_DRAWS, training_clips),
        warmup=recipe.warmup_epochs,
        rampdown_start=recipe.rampdown_begin,
        rampdown=recipe.rampdown_epochs,
        precision=precision,  # type: ignore[arg-type]
    )


def _as_weights(value: Any) -> Any:
    """Weights as numbers: of `2,1`, a list or one number."""
    parts = value.split(",") if isinstance(value, str) else value if isinstance(value, list | tuple) else [value]
    try:
        return tuple(float(part) for part in parts)
    except (TypeError, ValueError):
        raise OptionError(f"teacher_weight is {value!r}: give a number for each teacher, such as 2,1") from None


def _as_field(name: str, value: Any) -> Any:
    """A value as the field's type; one teacher is a tuple of one."""
    if name == "teacher":
        return (value,) if isinstance(value, str) else tuple(value) if isinstance(value, list) else value
    if name == "teacher_weight":
        return _as_weights(value)
    if name == "cluster_on" and isinstance(value, int):
        return str(value)
    return as_field(Recipe, name, value)
