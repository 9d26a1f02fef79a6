"""The name of a teacher: `KIND:FILE#TENSOR?rate=16000&window=0.975&hop=0.48`, read and checked."""

import difflib
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sondino.errors import OptionError, unknown_name
from sondino.files import sha256
from sondino.teachers.catalogue import RECORDS, TeacherRecord

SUFFIX_KINDS = {
    ".onnx": "onnx",
    ".tflite": "litert",
    ".ts": "torchscript",
    ".py": "module",
    ".npz": "precomputed",
    ".parquet": "precomputed",
}


MODEL_KINDS = ("onnx", "litert", "torchscript")
"""Kinds that need not be named where the file is there: its suffix says which it is."""

KNOWN: dict[str, tuple[str, int]] = {
    "469be6a3421cbc52cf97e9f2f966cba984198e8e7af9854d68b3e3ebb1e04194": (
        "yamnet_frames/global_average_pooling2d/Mean",
        16000,
    ),  # YAMNet for LiteRT, as TensorFlow Hub had it
}
"""SHA-256 of published files -> the tensor of their embedding and their sample rate, taken where none is given."""


@dataclass(frozen=True)
class TeacherSpec:
    """A teacher's name in its parts.

    Attributes:
        kind: which adapter, a key of the catalogue.
        file: path, package or factory; None where the kind finds its own.
        tensor: name of the output or inner value; None for the only output.
        options: what stood after `?`, converted (rate: int in hertz, window and hop: float in seconds, ...).
        text: the name as it was given.
        inputs: numbers for further inputs of the model, by the inputs' names; for kinds that take them.
    """

    kind: str
    file: str | None = None
    tensor: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    text: str = ""
    inputs: Mapping[str, float] = field(default_factory=dict)

    @property
    def path(self) -> Path:
        """`file` as a file that exists.

        Raises:
            OptionError: no file was named, or there is none at that path.
        """
        if self.file is None:
            raise OptionError(f"teacher {self.text!r} names no file: write {RECORDS[self.kind].example}")
        path = Path(self.file).expanduser()
        if not path.is_file():
            what = "is a folder, not a file" if path.is_dir() else "does not exist"
            raise OptionError(f"teacher {self.text!r}: {path} {what}; give the path of {RECORDS[self.kind].what}")
        return path

    def rate(self, known: int | None = None) -> int:
        """Hertz from the options, else `known`; OptionError where neither gives it."""
        rate = self.options.get("rate", known)
        if rate is None:
            raise OptionError(
                f"teacher {self.text!r} has no sample rate: add {self.sign}rate=16000 (the rate it was trained on)"
            )
        return int(rate)

    @property
    def sign(self) -> str:
        """What joins one more option to the name."""
        return "&" if "?" in self.text else "?"

    def windowing(self, window: float | None = None) -> tuple[float | None, float | None]:
        """Window and hop in seconds from the options, the window else as given; OptionError where they clash."""
        window = self.options.get("window", window)
        hop = self.options.get("hop", window)
        if hop is not None and window is None:
            raise OptionError(f"teacher {self.text!r}: hop={hop} needs a window, and it takes any length: add window=")
        if hop is not None and window is not None and hop > window:
            raise OptionError(
                f"teacher {self.text!r}: hop={hop} is longer than the window of {window} s: sound is lost"
            )
        return window, hop


def kind_of(name: str) -> str:
    """The kind that a teacher's name begins with, or that its file's suffix stands for; empty where there is none."""
    file = name.partition("?")[0].partition("#")[0]
    kind = file.partition(":")[0]
    return kind if kind in RECORDS else SUFFIX_KINDS.get(Path(file).suffix.lower(), "")


def parse_teacher(text: str) -> TeacherSpec:
    """Read a teacher's name.

    Args:
        text: `KIND:FILE#TENSOR?option=value&...`, the parts after the kind only where the kind takes them.

    Raises:
        OptionError: unknown kind or option (with the nearest names), a value out of range, a part that is
            missing or that the kind does not take.
    """
    rest, options = _split_options(text)
    kind, colon, target = rest.partition(":")
    if kind not in RECORDS and (found := _kind_of_model(rest)):
        kind, colon, target = found, ":", rest
    if kind not in RECORDS:
        _check_unnamed_kind(text, rest)
        raise unknown_name("kind of teacher", kind, RECORDS)
    record = RECORDS[kind]
    file, tensor = _split_tensor(target, record)
    if colon and not file:
        raise OptionError(f"teacher {text!r} names nothing after {kind}: — write {record.example}")
    if file and record.file == "none":
        raise OptionError(f"teacher {text!r}: {kind} takes no file: write {record.example}")
    if not file and record.file == "required":
        raise OptionError(f"teacher {text!r} names no file: write {record.example}")
    if tensor and not record.tensor:
        raise OptionError(f"teacher {text!r}: {kind} has no tensor to name: write {record.example}")
    values, inputs = _convert(kind, record, options)
    if file and not tensor and "rate" not in values and kind in MODEL_KINDS and _is_file(file):
        known = KNOWN.get(sha256(Path(file).expanduser()))
        if known is not None:
            tensor, values["rate"] = known
    return TeacherSpec(kind, file or None, tensor or None, values, text, inputs)


def _split_options(text: str) -> tuple[str, list[str]]:
    """What stands before the last `?` and the options after it; a `?` inside a path is not one."""
    head, mark, tail = text.rpartition("?")
    if not mark or _is_file(text.partition(":")[2]):  # a `?` may be part of a file's name
        return text, []
    return head, [part for part in tail.split("&") if part]


def _split_tensor(target: str, record: TeacherRecord) -> tuple[str, str]:
    if "#" not in target or _is_file(target):  # so may a `#`
        return target, ""
    file, _, tensor = target.partition("#") if record.tensor else target.rpartition("#")
    return file, tensor


def _kind_of_model(rest: str) -> str | None:
    """The kind of a model file that is there, by its suffix; None where a name without its kind is none."""
    file = rest if _is_file(rest) else rest.partition("#")[0]
    kind = SUFFIX_KINDS.get(Path(file).suffix.lower())
    return kind if kind in MODEL_KINDS and _is_file(file) else None


def _is_file(text: str) -> bool:
    try:
        return Path(text).expanduser().is_file()
    except (OSError, ValueError, RuntimeError):  # no path at all: too long, or of an unknown user
        return False


def _check_unnamed_kind(text: str, rest: str) -> None:
    """A path without its kind is the likeliest mistake: name the kind it needs."""
    kind = SUFFIX_KINDS.get(Path(rest.partition("#")[0]).suffix.lower())
    before, colon, _ = rest.partition(":")
    if kind and (not colon or len(before) == 1):  # one letter: a Windows drive
        factory = ":FUNCTION" if kind == "module" else ""
        raise OptionError(f"teacher {text!r} has no kind: write {kind}:{text}{factory}")


def _convert(kind: str, record: TeacherRecord, options: list[str]) -> tuple[dict[str, Any], dict[str, float]]:
    """The options, and the numbers for inputs of the model, whose names only its file knows."""
    values: dict[str, Any] = {}
    inputs: dict[str, float] = {}
    for option in options:
        name, equals, value = option.partition("=")
        if name not in record.options:
            # A name close to an option's is a slip of the pen, not an input.
            if not record.inputs or not equals or difflib.get_close_matches(name, record.options, cutoff=0.75):
                raise unknown_name(f"option of {kind}", name, record.options)
            try:
                inputs[name] = _number(value)
            except ValueError:
                raise OptionError(f"input {name} of {kind} is {value!r}: give a number, such as 16000") from None
            continue
        convert, expected = OPTIONS[name]
        try:
            if not equals:
                raise ValueError
            values[name] = convert(value)
        except ValueError:
            raise OptionError(f"option {name} of {kind} is {value!r}: give {expected}") from None
    return values, inputs


def _integer(low: int, high: int) -> Callable[[str], int]:
    def convert(value: str) -> int:
        number = float(value)  # 16e3 and 16000.0 are fine
        if not number.is_integer() or not low <= number <= high:
            raise ValueError
        return int(number)

    return convert


def _number(value: str) -> float:
    number = float(value)
    if not math.isfinite(number):
        raise ValueError
    return number


def _seconds(value: str) -> float:
    number = float(value)
    if not math.isfinite(number) or not 0 < number <= 86400:
        raise ValueError
    return number


def _text(value: str) -> str:
    if not value:
        raise ValueError
    return value


def _one_of(*names: str) -> Callable[[str], str]:
    def convert(value: str) -> str:
        if value not in names:
            raise ValueError
        return value

    return convert


OPTIONS: dict[str, tuple[Callable[[str], Any], str]] = {
    "rate": (_integer(100, 1_000_000), "hertz, a whole number such as 16000"),
    "window": (_seconds, "seconds above 0, such as 0.975"),
    "hop": (_seconds, "seconds above 0, such as 0.48"),
    "minimum": (_integer(1, 10**9), "the fewest samples it takes, such as 400"),
    "batch": (_integer(1, 65536), "how many windows go in at once, such as 16"),
    "threads": (_integer(1, 1024), "how many processor threads, such as 2"),
    "mode": (_one_of("precise", "fast"), "precise or fast"),
    "precision": (_one_of("float32", "bfloat16"), "float32 or bfloat16"),
    "weights": (_text, "the path of the model's weights"),
    "pool": (_one_of("mean", "max", "last"), "mean, max or last, over the frames of an output (batch, frames, dim)"),
    "layout": (_one_of("first", "last"), "first for an input (batch, 1, samples), last for (batch, samples, 1)"),
    "range": (_one_of("int16"), "int16, for samples of -32768 to 32767"),
    "then": (_text, "the path of a second file, which takes what the first one gives"),
    "times": (_number, "a number that the first file's values are multiplied by, such as 0.1"),
    "plus": (_number, "a number that is then added to them, such as 2"),
}
"""Every option: how its text is read, and the hint when it cannot be."""
