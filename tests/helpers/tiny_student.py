"""A small student, and its bundle on paper: weights and config, without the ONNX form that takes seconds to export."""

import json
from pathlib import Path

import torch
from safetensors.torch import save_file

from sondino.frontend.logmel_torch import FFTLogMel
from sondino.nets.registry import build_student
from sondino.nets.student import Student

RATE = 32000


def small_student(waveforms: torch.Tensor) -> Student:
    """A student of width 0.1, untrained, whose norms have heard some sound (clips, samples): its vectors differ."""
    torch.manual_seed(0)
    student = build_student("mobilenetv3", 0.1)
    norms = [module for module in student.modules() if isinstance(module, torch.nn.BatchNorm2d)]
    for norm in norms:
        norm.momentum = None  # the plain mean of what is heard
    with torch.no_grad():
        student.train()(FFTLogMel(student.logmel)(waveforms))
    for norm in norms:
        norm.momentum = 0.01
    return student.eval()


def write_paper_bundle(folder: Path, **config: object) -> Path:
    """A bundle that a network can be opened from; `config` overrides what config.json says."""
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
        "teachers": [{"spec": "birdnet", "dim": 1024, "sample_rate": 48000, "licence": "CC BY-NC-SA 4.0"}],
        "scores": {"validation_cosine": 0.9},
        **config,
    }
    (folder / "config.json").write_text(json.dumps(facts))
    return folder
