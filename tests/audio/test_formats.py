"""One sound in every container and codec is decoded within the bounds of scripts/format_matrix.py."""

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.full


def test_every_format_is_decoded_within_its_bounds() -> None:
    pytest.importorskip("av")
    script = Path(__file__).parents[2] / "scripts" / "format_matrix.py"
    done = subprocess.run([sys.executable, str(script), "--check"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("\n| ") > 60
