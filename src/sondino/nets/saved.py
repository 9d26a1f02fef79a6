"""Read a bundle's student as a torch module; write and read a student's configuration and weights alone."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sondino.errors import OptionError, SondinoError, content_elsewhere, require
from sondino.files import make_folder, read_json, sha256, write_json, write_whole
from sondino.frontend.logmel import LogMel
from sondino.nets.config import NetConfig
from sondino.nets.registry import STUDENTS, build_student
from sondino.nets.student import Student
from sondino.nets.vit import ViT, ViTShape
from sondino.nets.vit_student import ViTStudent
from sondino.schema import check


def read_student(folder: Path) -> Student:
    """The net of a bundle with its weights, in evaluation mode.

    Args:
        folder: the bundle.

    Raises:
        OptionError: its net is none of `STUDENTS` (a teacher that was converted), or it is quantised.
        SondinoError: its model.safetensors is missing or damaged.
    """
    return load_student(folder, _read_net_config(folder))


def load_student(folder: Path, config: Mapping[str, Any]) -> Student:
    """`read_student` of a bundle whose config.json has been read."""
    safetensors = require("safetensors.torch", "train")
    student = _build(folder, config)
    quantized = config.get("quantized")
    if quantized:
        raise OptionError(f"{folder} is quantised and holds no trained weights: take the bundle that was given to "
                          f"sondino quantize, a bundle of {quantized.get('from')}")  # fmt: skip
    file = folder / "model.safetensors"
    if elsewhere := content_elsewhere(file):
        raise SondinoError(elsewhere)
    expected = config.get("hashes", {}).get("model.safetensors")
    if expected is not None and file.exists() and sha256(file) != expected:
        raise SondinoError(f"{file} is damaged, its hash is not the one in config.json: copy the whole bundle again")
    try:
        student.load_state_dict(safetensors.load_file(file))
    except Exception as error:  # safetensors, the system and torch each have their own
        raise SondinoError(
            f"{file} does not hold the weights of this bundle ({error}): copy the whole bundle again"
        ) from error
    return student


def new_net(folder: Path) -> Student:
    """The net of a bundle with randomly initialised weights, in evaluation mode.

    Args:
        folder: the bundle.

    Raises:
        OptionError: its net is none of `STUDENTS` (a teacher that was converted).
    """
    return _build(folder, _read_net_config(folder))


def _read_net_config(folder: Path) -> dict[str, Any]:
    config = read_json(folder / "config.json")
    check(config, NetConfig, f"{folder / 'config.json'}: is damaged", "copy the whole folder again")
    return config


def _build(folder: Path, config: Mapping[str, Any]) -> Student:
    name = config.get("student")
    sizes = (config.get("build") or {}).get("vit")
    if sizes and config.get("front_end"):
        logmel = LogMel.from_dict(config["front_end"])
        samples = sizes["samples"]
        shape = ViTShape(sizes["width"], sizes["depth"], sizes["hidden"], tuple(sizes["patch"]), tuple(sizes["grid"]))
        return ViTStudent(str(name), ViT(shape), logmel, samples / logmel.sample_rate).eval()
    if name not in STUDENTS:
        raise OptionError(f"{folder} holds {name!r}, which can be embedded with, but neither trained nor exported; "
                          f"students are {', '.join(STUDENTS)}")  # fmt: skip
    try:
        student = build_student(name, float(config["width"]), **(config.get("build") or {}))
        if config.get("front_end"):
            student.logmel = LogMel.from_dict(config["front_end"])
    except (KeyError, TypeError, ValueError) as error:
        raise SondinoError(f"{folder / 'config.json'}: is damaged ({error}); copy the whole folder again") from error
    return student.eval()


def write_weights(folder: Path, student: Student) -> None:
    """Write a net's configuration and weights, without ONNX: `read_student` and --init read them back.

    Args:
        folder: where to; config.json comes last, so that a folder that has one is complete.
        student: the net.
    """
    safetensors = require("safetensors.torch", "train")
    file = make_folder(folder) / "model.safetensors"
    tensors = {name: tensor.contiguous() for name, tensor in student.state_dict().items()}
    write_whole(file, safetensors.save(tensors))
    form = {"student": student.name, "width": student.width, "build": student.build}
    front_end = {"front_end": student.logmel.as_dict(), "hashes": {file.name: sha256(file)}}
    write_json(folder / "config.json", {**form, **front_end})
