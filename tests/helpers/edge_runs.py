"""Converts a small student in a runtime's own environment, runs the file, and writes what came out as .npz.

python edge_runs.py RUNTIME STUDENT PRECISION OUT.npz [--body-only] [--head]
"""

import importlib
import json
import sys
from pathlib import Path

import numpy as np
import torch

from sondino.audio.reading import read
from sondino.exporters.edge import log_mels
from sondino.frontend.logmel_torch import FFTLogMel
from sondino.model.head import Head
from sondino.model.torch_model import TorchModel
from sondino.nets.registry import build_student
from sondino.nets.student import Student

SAMPLES = 32000
FILES = {"executorch": "model.pte", "litert": "model.tflite"}


def real_clips() -> np.ndarray:
    """Seconds of the four bundled sounds, (clips, samples)."""
    sounds = [read(file, 32000) for file in sorted((Path(__file__).parents[1] / "data" / "clips").glob("*.ogg"))]
    cuts = [sound[at : at + SAMPLES] for sound in sounds for at in range(0, len(sound) - SAMPLES, SAMPLES // 2)]
    return np.stack(cuts)


def trained(name: str, steps: int = 20) -> Student:
    """A small student, trained for a few steps: randomly initialised ones amplify rounding errors."""
    torch.manual_seed(0)
    student = build_student(name, 0.2).train()
    logmels = FFTLogMel(student.logmel)(torch.from_numpy(real_clips()))
    targets = torch.tanh((logmels.mean(2) - logmels.mean((0, 2))) @ torch.randn(logmels.shape[1], student.dim) / 4)
    optimizer = torch.optim.Adam(student.parameters(), lr=3e-3)
    for _ in range(steps):
        optimizer.zero_grad()
        (1 - torch.cosine_similarity(student(logmels), targets).mean()).backward()
        optimizer.step()
    for module in student.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = None  # the mean of all batches, of which there is one
            module.reset_running_stats()
    with torch.no_grad():
        student(logmels)
    return student.eval()


def main(runtime: str, name: str, precision: str, out: str, *options: str) -> None:
    module = importlib.import_module(f"sondino.exporters.{runtime}")
    clips = real_clips()
    student = trained(name)
    head = None
    if "--head" in options:
        weight = np.random.default_rng(0).standard_normal((3, student.dim)).astype(np.float32)
        head = Head("three", ("a", "b", "c"), False, ((weight, np.zeros(3, np.float32)),))
    source = TorchModel(student, name, 1.0, head=head)
    body = "--body-only" in options
    file = Path(out).with_name(FILES[runtime])
    calibration = {"calibration": list(clips)} if runtime == "litert" else {}
    done = getattr(module, f"write_{runtime}")(source, file, precision, SAMPLES, body_only=body, **calibration)
    given = log_mels(source, clips) if body else clips
    found = {f"threads{n}": getattr(module, f"open_{runtime}")(file, n)(given) for n in (1, 2)}
    facts = {"batch": done.batch, "samples": done.samples, "kept": done.kept_float, "versions": done.versions}
    np.savez(out, expected=source.embed_array(clips), bytes=file.stat().st_size, facts=json.dumps(facts), **found)


if __name__ == "__main__":
    main(*sys.argv[1:])
