"""Runs edge_runs.py in a runtime's environment, where SONDINO_EDGE names the folder of `make edge`'s environments."""

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest


def run_in(runtime: str, folder: Path, *arguments: str) -> dict[str, Any]:
    """What edge_runs.py wrote; skips where the environment is not there."""
    edge = os.environ.get("SONDINO_EDGE")
    if not edge:
        pytest.skip("needs the environments of `make edge`: make edge-test")
    python = Path(edge).absolute() / runtime / "bin" / "python"
    if not python.exists():
        pytest.skip(f"{python} is not there: make edge")
    out = folder / "out.npz"
    script = Path(__file__).with_name("edge_runs.py")
    command = [str(python), "-W", "ignore", str(script), runtime, *arguments[:2], str(out), *arguments[2:]]
    done = subprocess.run(command, capture_output=True, text=True, cwd=script.parent)
    assert done.returncode == 0, done.stderr[-2000:]
    with np.load(out) as found:
        return {**{name: found[name] for name in found}, "facts": json.loads(str(found["facts"]))}


def cosines(ours: np.ndarray, theirs: np.ndarray) -> np.ndarray:
    return (ours * theirs).sum(1) / np.linalg.norm(ours, axis=1) / np.linalg.norm(theirs, axis=1)


def error(ours: np.ndarray, theirs: np.ndarray) -> float:
    return float(np.abs(ours - theirs).max() / np.abs(theirs).max())
