"""A bundle on paper: a small student's weights and config, without the ONNX form that takes seconds to export."""

import json
from pathlib import Path

import torch
from safetensors.torch import save_file

from sondino.frontend_torch import FFTLogMel
from sondino.students import build_student

RATE = 32000


def write_paper_bundle(folder: Path, **config: object) -> Path:
    """A student of width 0.1 that a network can be opened from; `config` overrides what config.json says.

    It is untrained, but its batch norms have heard tones, so that tones differ in their vectors.
    """
    torch.manual_seed(0)
    student = build_student("mobilenetv3", 0.1)
    norms = [module for module in student.modules() if isinstance(module, torch.nn.BatchNorm2d)]
    for norm in norms:
        norm.momentum = None  # the plain mean of what is heard
    at, hertz = torch.arange(RATE // 4) / RATE, torch.logspace(2, 4, 16)[:, None]
    with torch.no_grad():
        student.train()(FFTLogMel(student.logmel)(0.3 * torch.sin(2 * torch.pi * hertz * at)))
    for norm in norms:
        norm.momentum = 0.01
    student.eval()
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
