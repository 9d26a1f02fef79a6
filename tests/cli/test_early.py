"""What is checked before PyTorch is imported lets through what the command itself opens."""

from pathlib import Path

import pytest

from sondino.cli.early import check_teacher
from sondino.errors import OptionError


@pytest.mark.parametrize("name", ["sondino-small", "birdnet", "cnn14"])
def test_a_teacher_that_comes_by_name_passes(name: str) -> None:
    check_teacher(name)


def test_a_teacher_that_there_is_not_is_refused(tmp_path: Path) -> None:
    for name in ("sondino-smal", "onnx:none.onnx?rate=16000", str(tmp_path / "none")):
        with pytest.raises(OptionError):
            check_teacher(name)
