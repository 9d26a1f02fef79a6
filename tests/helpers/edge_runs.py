"""Converts a small student in a runtime's own environment, runs the files, and writes what came out as .npz.

python edge_runs.py RUNTIME STUDENT WEIGHTS.pt FOLDER VARIANT...     a variant is one of VARIANTS
"""

import importlib
import json
import sys
import traceback
from pathlib import Path

import numpy as np
import torch

from sondino.audio.reading import read
from sondino.encoder.head import Head
from sondino.exporters.edge import log_mels
from sondino.frontend.logmel_torch import FFTLogMel
from sondino.model.torch_model import TorchModel
from sondino.nets.registry import build_student
from sondino.nets.student import Student

SAMPLES = 32000
WIDTH = 0.2
FILES = {"executorch": "model.pte", "litert": "model.tflite"}
VARIANTS = ("f32", "f16", "int8", "f32-body-head", "int8-body-head")
"""A precision; "-body-head": the file takes log-mels, and has a head as its second output."""


def real_clips() -> np.ndarray:
    """Seconds of the four bundled sounds, (clips, samples)."""
    sounds = [read(file, 32000) for file in sorted((Path(__file__).parents[1] / "data" / "clips").glob("*.ogg"))]
    cuts = [sound[at : at + SAMPLES] for sound in sounds for at in range(0, len(sound) - SAMPLES, SAMPLES // 2)]
    return np.stack(cuts)


def trained(name: str, steps: int = 20) -> Student:
    """A small student, trained for a few steps: randomly initialised ones amplify rounding errors."""
    torch.manual_seed(0)
    student = build_student(name, WIDTH).train()
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


def convert(runtime: str, student: Student, variant: str, folder: Path) -> None:
    """Write FOLDER/VARIANT.npz: embeddings by torch and by the file on one and two threads, its size and facts."""
    module = importlib.import_module(f"sondino.exporters.{runtime}")
    precision, *body = variant.split("-", 1)
    clips = real_clips()
    head = None
    if body:
        weight = np.random.default_rng(0).standard_normal((3, student.dim)).astype(np.float32)
        head = Head("three", ("a", "b", "c"), False, ((weight, np.zeros(3, np.float32)),))
    source = TorchModel(student, student.name, 1.0, head=head)
    file = folder / variant / FILES[runtime]
    file.parent.mkdir()
    calibration = {"calibration": list(clips)} if runtime == "litert" else {}
    done = getattr(module, f"write_{runtime}")(source, file, precision, SAMPLES, body_only=bool(body), **calibration)
    given = log_mels(source, clips) if body else clips
    found = {f"threads{n}": getattr(module, f"open_{runtime}")(file, n)(given) for n in (1, 2)}
    facts = {"batch": done.batch, "samples": done.samples, "kept": done.kept_float, "versions": done.versions}
    expected = source.embed_array(clips)
    np.savez(folder / f"{variant}.npz", expected=expected, bytes=file.stat().st_size, facts=json.dumps(facts), **found)


def main(runtime: str, name: str, weights: str, folder: str, *variants: str) -> None:
    torch.set_num_threads(1)  # the tests of two runtimes may run side by side
    student = build_student(name, WIDTH)
    student.load_state_dict(torch.load(weights, weights_only=True))
    for variant in variants:
        try:
            convert(runtime, student.eval(), variant, Path(folder))
        except Exception:  # the other variants are tests of their own
            (Path(folder) / f"{variant}.txt").write_text(traceback.format_exc())


if __name__ == "__main__":
    main(*sys.argv[1:])
