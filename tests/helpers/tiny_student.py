"""A small student, and its bundle on paper: weights and config, without the ONNX form that takes seconds to export."""

import json
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file

from helpers.traced_graphs import traced_once
from sondino.audio.reading import read
from sondino.encoder.head import Head
from sondino.frontend.logmel_torch import FFTLogMel
from sondino.model.torch_model import TorchModel
from sondino.model.write import write_bundle
from sondino.nets.registry import build_student
from sondino.nets.student import Student

RATE = 32000
CLIPS = Path(__file__).parents[1] / "data" / "clips"
BIRDNET = {"spec": "birdnet", "dim": 1024, "sample_rate": 48000, "licence": "CC BY-NC-SA 4.0"}


def small_student(waveforms: torch.Tensor) -> Student:
    """A randomly initialised student of width 0.1, BatchNorm calibrated on waveforms (clips, samples)."""
    torch.manual_seed(0)
    student = build_student("mobilenetv3", 0.1)
    norms = [module for module in student.modules() if isinstance(module, torch.nn.BatchNorm2d)]
    for norm in norms:
        norm.momentum = None  # the plain mean of all batches
    with torch.no_grad():
        student.train()(FFTLogMel(student.logmel)(waveforms))
    for norm in norms:
        norm.momentum = 0.01
    return student.eval()


def write_paper_bundle(folder: Path, **config: object) -> Path:
    """A bundle that a network can be opened from; `config` overrides what config.json reports."""
    at, hertz = torch.arange(RATE // 4) / RATE, torch.logspace(2, 4, 16)[:, None]
    student = small_student(0.3 * torch.sin(2 * torch.pi * hertz * at))
    folder.mkdir(parents=True, exist_ok=True)
    save_file(student.state_dict(), folder / "model.safetensors")
    facts = {
        "format": "sondino-bundle-1",
        "name": "paper",
        "student": "mobilenetv3",
        "width": 0.1,
        "sample_rate": RATE,
        "dim": student.dim,
        "window": 0.25,
        "short": "repeat",
        "hashes": {},
        "teachers": [BIRDNET],
        "scores": {"validation_cosine": 0.9},
        **config,
    }
    (folder / "config.json").write_text(json.dumps(facts))
    return folder


def write_student_bundle(folder: Path) -> Path:
    """A bundle of a narrow, randomly initialised student with a head and windows of half a second."""
    sounds = [read(file, RATE) for file in sorted(CLIPS.glob("*.ogg"))]
    cuts = [sound[at : at + RATE // 2] for sound in sounds for at in range(0, len(sound) - RATE // 2, RATE // 2)]
    student = small_student(torch.from_numpy(np.stack(cuts)))
    weights = np.random.default_rng(0).standard_normal((3, student.dim)), np.zeros(3)
    head = Head("three", ("a", "b", "c"), False, (weights,))
    with traced_once():
        return write_bundle(TorchModel(student, "small", 0.5, "repeat", {"teachers": [BIRDNET]}, head), folder)
