"""A file whose disk fails never stops a folder: it is listed at the end, and the exit code says so."""

from pathlib import Path

import numpy as np
import pytest
import soundfile

from helpers.failing_disk import REASON, fail_to_read
from sondino import cli


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    sounds = tmp_path / "sounds"
    sounds.mkdir()
    for name in "abc":
        soundfile.write(sounds / f"{name}.wav", np.random.default_rng(0).uniform(-0.1, 0.1, 16000), 16000)
    return sounds


@pytest.mark.parametrize(
    "command",
    [
        ["embed", "--output", "x.npz"],
        ["embed", "--output", "x.npz", "--channel", "each", "--threads", "1"],
        ["embed", "--output", "x.npz", "--precision", "auto", "--threads", "3"],
        ["classify", "--output", "x.csv"],
    ],
)
def test_it_is_listed(
    folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    command: list[str],
) -> None:
    fail_to_read(monkeypatch, "a.wav")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as ended:
        cli.main([command[0], str(folder), *command[1:], "--quiet"])
    assert ended.value.code == 1
    said = capsys.readouterr()
    assert f"{folder / 'a.wav'}: cannot be read ({REASON})" in said.out + said.err
    assert (tmp_path / command[2]).exists()
