"""S-SONDO's students: Lightning checkpoints whose `training_config` describes the net."""

import re
from collections.abc import Mapping
from pathlib import Path
from reprlib import Repr
from typing import Any

from torch import Tensor

from sondino.errors import OptionError
from sondino.frontend.logmel import LogMel
from sondino.model.torch_model import TorchModel
from sondino.nets.checkpoints import under
from sondino.nets.registry import build_student
from sondino.nets.student import Student
from sondino.nets.weights import counted, load_weights
from sondino.pretrained.source import source_facts
from sondino.teachers.catalogue import RECORDS

BACKBONE = "student_model.model."
LICENCE = "MIT, as its authors label their students"

_RELEASED = re.compile(r"(matpac|m2d)[_-](mobilenetv3|dymn|eres2net)")

# Other options of the published code, of which our nets have one value each.
_MOBILENET: dict[str, Any] = {
    "strides": [2, 2, 2, 2],
    "reduced_tail": False,
    "dilated": False,
    "relu_only": False,
    "se_dims": "c",
    "se_r": 4,
}
_ONE_WAY: dict[str, dict[str, Any]] = {
    "mobilenetv3": _MOBILENET,
    "dymn": {"strides": [2, 2, 2, 2]},
    "eres2net": {"num_blocks": [3, 4, 6, 3, 3], "pooling_func": "TSTP", "add_layer": True, "feat_dim": 128},
}


def read_ssondo(content: Mapping[str, Any], tensors: Mapping[str, Tensor], path: Path, name: str = "") -> TorchModel:
    """The student of an S-SONDO checkpoint.

    Args:
        content: the whole checkpoint.
        tensors: its state dict.
        path: its file.
        name: of the model; the six published students are recognised by it or by the file's name.

    Raises:
        OptionError: the training_config is missing, or has a value that our nets cannot have; or the tensors do not
            fit it.
    """
    config = _Config(content.get("training_config"), path)
    student = _build(config)
    # ERes2Net's embedding dimension depends on the number of bands; the others take the mean of all bands.
    student.logmel = _front_end(config, (128, 128) if student.name == "eres2net" else (16, 1024))
    load_weights(student, under(tensors, BACKBONE), path)
    window = config.number("preprocess.slice_audio.win_len", 0.1, 3600)
    step = config.number("preprocess.slice_audio.step_size", 0.1, 3600)
    rest = [key for key in tensors if not key.startswith(BACKBONE)]
    released = _RELEASED.search(path.name) or _RELEASED.search(name)
    dropped = [f"the mapping head ({counted(len(rest), 'tensor')})"] if rest else []
    url = "https://huggingface.co/mohammedali2501/ssondo" if released else ""
    facts = {
        "source": source_facts("ssondo", path, LICENCE, dropped, url),
        "teachers": [_teacher(released.group(1) if released else "", config)],
        **({} if step == window else {"hop": step}),
    }
    # The published package refuses short clips. Processed without padding they take a fraction of the time, and a probe
    # scores as high on them as on padded ones (benchmarks/results/window_policy.csv).
    return TorchModel(student, path.stem, window, short="native", facts=facts)


class _Shown(Repr):
    """The repr of any value on one short line."""

    def __init__(self) -> None:
        super().__init__()
        self.maxlevel = 2

    def repr_instance(self, x: object, level: int) -> str:
        """Plain values as they are, of others the type."""
        return repr(x) if x is None or isinstance(x, (bool, float)) else f"a {type(x).__name__}"


class _Config:
    """The training_config of a checkpoint: values by dotted path, each checked."""

    def __init__(self, values: object, path: Path) -> None:
        if not isinstance(values, Mapping):
            raise OptionError(
                f"{path} has no training_config, which describes its net: give the .ckpt as it was published"
            )
        self.values, self.path = values, path

    def get(self, key: str, default: Any = ...) -> Any:
        """The value at "a.b.c"; OptionError where it is missing and has no default."""
        value: Any = self.values
        for part in key.split("."):
            if not isinstance(value, Mapping) or part not in value:
                if default is not ...:
                    return default
                raise OptionError(f"{self.path}: its training_config has no {key}: give the .ckpt as it was published")
            value = value[part]
        return value

    def number(self, key: str, least: float, most: float, default: Any = ...) -> float:
        """A number in a range."""
        value = self.get(key, default)
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not least <= value <= most:
            raise self.error(key, value, f"a number from {least:g} to {most:g}")
        return float(value)

    def integer(self, key: str, least: int, most: int) -> int:
        """A whole number in a range."""
        value = self.number(key, least, most)
        if value != int(value):
            raise self.error(key, value, "a whole number")
        return int(value)

    def error(self, key: str, value: object, wanted: str) -> OptionError:
        """The error for a value that our nets cannot have."""
        return OptionError(
            f"{self.path} cannot be converted: {key} of its training_config is {_Shown().repr(value)}, and "
            f"sondino's net needs {wanted}"
        )


def _build(config: _Config) -> Student:
    model = config.get("student_model.model_name")
    name = model if isinstance(model, str) else ""
    if name.startswith("mn"):
        architecture = "mobilenetv3"
    elif name.startswith("dymn"):
        architecture = "dymn"
    elif name == "ERes2Net":
        architecture = "eres2net"
    else:
        raise config.error("student_model.model_name", model, "mn10_im, dymn10_im, ERes2Net or the like")
    for entry, only in _ONE_WAY[architecture].items():
        value = config.get(f"student_model.{entry}")
        if not _is(value, only):
            raise config.error(f"student_model.{entry}", value, str(only))
    if architecture == "eres2net":
        channels = config.integer("student_model.m_channels", 8, 128)
        if channels % 8:
            raise config.error("student_model.m_channels", channels, "a multiple of 8")
        return build_student(architecture, channels / 16)
    width = config.number("student_model.width_mult", 0.1, 8)
    if architecture == "mobilenetv3":
        return build_student(architecture, width)
    # The published code, too, takes 1 where the entry is missing.
    temperature = config.number("student_model.pretrain_final_temp", 1e-3, 1e6, default=1.0)
    return build_student(architecture, width, temperature=temperature)


def _is(value: object, only: object) -> bool:
    """Whether a value is the one that our net has; the value may be anything, such as a tensor."""
    if isinstance(only, list):
        return isinstance(value, (list, tuple)) and len(value) == len(only) and all(map(_is, value, only))
    return isinstance(value, (int, float, str)) and value == only


def _front_end(config: _Config, mels: tuple[int, int]) -> LogMel:
    """The log-mel, whose lengths the training_config gives in seconds; `mels` are the fewest and the most."""
    mel = "preprocess.logmelspec"
    rate = config.integer("student_model.sr", 1000, 384000)
    window = round(rate * config.number(f"{mel}.win_len", 16 / rate, 16384 / rate))
    hop = round(rate * config.number(f"{mel}.hop_len", 1 / rate, 16384 / rate))
    low = config.number(f"{mel}.f_min", 0, rate / 2 - 1)
    high = config.get(f"{mel}.f_max")
    return LogMel(
        sample_rate=rate,
        n_fft=window,
        window_length=window,
        hop=hop,
        n_mels=config.integer(f"{mel}.n_mels", *mels),
        f_min=low,
        f_max=float(rate // 2) if high is None else config.number(f"{mel}.f_max", low + 1, rate / 2),
    )


def _teacher(kind: str, config: _Config) -> dict[str, Any]:
    """What is known of the teacher: its name, from the file's, and its embedding dimension, from the mapping head."""
    if not kind:
        dim = config.get("classification_head.n_classes", 0)
        return {"spec": "unknown", "dim": dim if isinstance(dim, int) else 0, "sample_rate": None, "licence": None}
    record = RECORDS[kind]
    return {"spec": kind, "dim": record.dim, "sample_rate": record.sample_rate, "licence": record.licence}
