"""Checkpoints in the published file formats, with weights by rule."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from helpers.golden import DATA, keys, weight
from sondino.frontend.logmel import PANNS_LOGMEL, mel_matrix
from sondino.nets.registry import build_student

BACKBONE, HEAD = "student_model.model.", "student_model.classification_head.mlp."
MODEL = {"mobilenetv3": "width_mult", "dymn": "width_mult", "eres2net": "m_channels"}


def training_config(student: str) -> dict[str, Any]:
    """The published training_config of a student."""
    config: dict[str, Any] = json.loads((DATA / "training_configs.json").read_text())[f"student_{student}"]
    return config


def by_rule(names: Mapping[str, Any]) -> dict[str, torch.Tensor]:
    """Weights by rule for names and shapes."""
    return {name: torch.from_numpy(weight(name, shape)) for name, shape in names.items()}


def shapes(student: str, width: float, prefix: str = "") -> dict[str, torch.Size]:
    """Names and shapes of a backbone of ours at a width, under a prefix."""
    with torch.device("meta"):
        return {prefix + name: tensor.shape for name, tensor in build_student(student, width).state_dict().items()}


def lightning(config: Mapping[str, Any], state: Mapping[str, torch.Tensor]) -> dict[str, Any]:
    """All that such a .ckpt holds: what Lightning keeps to go on training stands beside the weights."""
    return {
        "epoch": 99,
        "global_step": 312500,
        "pytorch-lightning_version": "2.5.0",
        "state_dict": dict(state),
        "loops": {"fit_loop": {"state_dict": {}, "epoch_progress": {"total": {"ready": 100}}}},
        "callbacks": {"ModelCheckpoint{'monitor': 'epoch'}": {"best_model_score": torch.tensor(99.0), "dirpath": "x/"}},
        "optimizer_states": [
            {
                "state": {0: {"step": torch.tensor(9.0), "exp_avg": torch.zeros(3)}},
                "param_groups": [{"betas": (0.9, 1.0)}],
            }
        ],
        "lr_schedulers": [{"base_lrs": [8e-4], "lr_lambdas": [None], "_last_lr": [8e-6]}],
        "MixedPrecision": {"scale": 65536.0, "growth_factor": 2.0},
        "hyper_parameters": {"lr": 8e-4},
        "training_config": dict(config),
    }


def write_ssondo(file: Path, student: str, width: float | None = None) -> Path:
    """A student's .ckpt; at its published names and shapes where no width is given."""
    config = training_config(student)
    if width is None:
        names: Mapping[str, Any] = dict(keys(f"student_{student}"))
    else:
        entry = MODEL[student]
        config["student_model"][entry] = round(16 * width) if entry == "m_channels" else width
        names = shapes(student, width, BACKBONE) | {HEAD + "0.weight": (8, 4), HEAD + "0.bias": (8,)}
    torch.save(lightning(config, by_rule(names)), file)
    return file


def write_efficientat(file: Path, student: str, width: float | None = None, classes: int = 527) -> Path:
    """An EfficientAT release; at its published names and shapes where no width is given."""
    if width is None:
        names: Mapping[str, Any] = dict(keys(f"efficientat_{'mn10' if student == 'mobilenetv3' else 'dymn10'}_as"))
    else:
        backbone = shapes(student, width)
        dim = list(backbone.values())[-2][0]  # the last norm's
        names = backbone | {"classifier.2.weight": (16, dim), "classifier.2.bias": (16,)}
        names |= {"classifier.5.weight": (classes, 16), "classifier.5.bias": (classes,)}
    torch.save(by_rule(names), file)
    return file


def write_panns(
    file: Path, width: float | None = None, classes: int = 527, change: Mapping[str, torch.Tensor | None] | None = None
) -> Path:
    """CNN14 of PANNs, with its log-mel's matrices beside; at its published names and shapes where no width is given.

    Args:
        file: to write.
        width: of a narrower one.
        classes: number of its classes.
        change: tensors to put in or, None, to leave out.
    """
    if width is None:
        names: Mapping[str, Any] = dict(keys("panns_cnn14"))
    else:
        names = shapes("cnn14", width)
        dim = names["fc1.bias"][0]
        names = names | {"fc_audioset.weight": (classes, dim), "fc_audioset.bias": (classes,)}
    state: dict[str, torch.Tensor | None] = dict(by_rule(names))
    mel = torch.from_numpy(mel_matrix(PANNS_LOGMEL).T.astype(np.float32))
    waves = {
        f"spectrogram_extractor.stft.conv_{part}.weight": torch.zeros(len(mel), 1, 1024) for part in ("real", "imag")
    }
    state |= {**waves, "logmel_extractor.melW": mel, **(change or {})}
    torch.save({"iteration": 600000, "model": {name: each for name, each in state.items() if each is not None}}, file)
    return file
