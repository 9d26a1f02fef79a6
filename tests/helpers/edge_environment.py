"""Runs edge_runs.py in a runtime's environment: those of `make edge`, or of the folder that SONDINO_EDGE names."""

import functools
import json
import os
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from helpers.edge_runs import VARIANTS, trained

DYMN_INT8 = ("executorch", "dymn", "int8")
"""Refused: its conversion does not end."""


def run_in(runtime: str, name: str, variant: str) -> dict[str, Any]:
    """What edge_runs.py wrote of a variant of a student; skips where the environment is not there."""
    python = Path(os.environ.get("SONDINO_EDGE", ".edge")).absolute() / runtime / "bin" / "python"
    if not python.exists():
        pytest.skip(f"{python} is not there: make edge")
    folder, errors = _converted(python, runtime, name)
    fault = folder / f"{variant}.txt"
    assert not fault.exists(), fault.read_text()
    assert (folder / f"{variant}.npz").exists(), errors
    with np.load(folder / f"{variant}.npz") as found:
        return {**{name: found[name] for name in found}, "facts": json.loads(str(found["facts"]))}


@functools.cache
def _converted(python: Path, runtime: str, name: str) -> tuple[Path, str]:
    """A folder with all variants of a student that are tested, made by one process, and what that process printed.

    Only of MobileNetV3 are there variants other than f32 and int8.
    """
    folder = Path(tempfile.mkdtemp(prefix=f"{runtime}-{name}-", dir=_root().name))
    variants = [v for v in (VARIANTS if name == "mobilenetv3" else ("f32", "int8")) if (runtime, name, v) != DYMN_INT8]
    script = Path(__file__).with_name("edge_runs.py")
    command = [python, "-W", "ignore", script, runtime, name, _weights(name), folder, *variants]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, cwd=script.parent, check=False)
    return folder, f"exit status {done.returncode}: {done.stderr[-2000:]}"


@functools.cache
def _weights(name: str) -> Path:
    """The weights of a student, which is trained once for all runtimes of this process."""
    file = Path(_root().name) / f"{name}.pt"
    torch.save(trained(name).state_dict(), file)
    return file


@functools.cache
def _root() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="sondino-edge-")


def cosines(ours: np.ndarray, theirs: np.ndarray) -> np.ndarray:
    return (ours * theirs).sum(1) / np.linalg.norm(ours, axis=1) / np.linalg.norm(theirs, axis=1)


def error(ours: np.ndarray, theirs: np.ndarray) -> float:
    return float(np.abs(ours - theirs).max() / np.abs(theirs).max())
