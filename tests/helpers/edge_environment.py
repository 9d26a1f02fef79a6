"""Runs edge_runs.py in a runtime's environment: those of `make edge`, or of the folder that SONDINO_EDGE names."""

import functools
import json
import os
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from helpers.edge_runs import VARIANTS, trained

OTHERS = ("f32", "int8")
"""The variants of students other than MobileNetV3. ExecuTorch refuses DyMN's in int8."""


def run_in(folder: Path, runtime: str, name: str, variant: str) -> dict[str, Any]:
    """What edge_runs.py wrote in a folder of a variant of a student; skips where `make edge` has not been run."""
    python = Path(os.environ.get("SONDINO_EDGE", ".edge")).absolute() / runtime / "bin" / "python"
    if not python.exists():
        pytest.skip(f"{python} is not there: make edge")
    made, errors = _converted(folder, python, runtime, name)
    fault = made / f"{variant}.txt"
    assert not fault.exists(), fault.read_text()
    assert (made / f"{variant}.npz").exists(), errors
    with np.load(made / f"{variant}.npz") as found:
        return {**{name: found[name] for name in found}, "facts": json.loads(str(found["facts"]))}


@functools.cache
def _converted(folder: Path, python: Path, runtime: str, name: str) -> tuple[Path, str]:
    """A folder with all variants of a student that are tested, made by one process, and how that process ended."""
    made = folder / f"{runtime}-{name}"
    made.mkdir()
    variants = VARIANTS if name == "mobilenetv3" else OTHERS
    script = Path(__file__).with_name("edge_runs.py")
    command = [python, "-W", "ignore", script, runtime, name, _weights(folder, name), made, *variants]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, cwd=script.parent, check=False)
    return made, f"exit status {done.returncode}: {done.stderr[-2000:]}"


@functools.cache
def _weights(folder: Path, name: str) -> Path:
    """The weights of a student, which is trained once for all runtimes."""
    file = folder / f"{name}.pt"
    torch.save(trained(name).state_dict(), file)
    return file


def cosines(ours: np.ndarray, theirs: np.ndarray) -> np.ndarray:
    return (ours * theirs).sum(1) / np.linalg.norm(ours, axis=1) / np.linalg.norm(theirs, axis=1)


def error(ours: np.ndarray, theirs: np.ndarray) -> float:
    return float(np.abs(ours - theirs).max() / np.abs(theirs).max())
