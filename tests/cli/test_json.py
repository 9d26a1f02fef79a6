"""Listing commands print one JSON document with --json; its keys are a contract."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sondino import cli

KEYS = {
    "students": "name title widths dim parameters macs sample_rate paper licence init",
    "teachers": "kind what file example tensor options inputs parameters sample_rate dim window licence extra paper",
    "tasks": "name title about domain clips classes multi_label hours licence homepage bytes folder",
    "models": "name architecture width parameters dim sample_rate teacher licence here",
}


@pytest.fixture
def document(capsys: pytest.CaptureFixture[str]) -> Any:
    """Runs a command with --json and gives its document."""

    def run(*arguments: object, code: int = 0) -> Any:
        with pytest.raises(SystemExit) as left:
            cli.main([*map(str, arguments), "--json"])
        assert int(left.value.code or 0) == code
        text = capsys.readouterr().out
        assert text.isascii()
        return json.loads(text)

    return run


@pytest.mark.parametrize("command", KEYS)
def test_the_keys_are_a_contract(command: str, document: Any, tmp_path: Path) -> None:
    rows = document(*([command, tmp_path] if command == "models" else [command]))[command]
    assert len(rows) > 2 and all(set(row) == set(KEYS[command].split()) for row in rows)


def test_values_are_numbers_and_flags(document: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (student,) = [row for row in document("students")["students"] if row["name"] == "mobilenetv3"]
    assert (student["parameters"], student["dim"], student["widths"][0]) == (2971664, 960, 0.4)
    shipped = document("models", tmp_path)["models"][0]
    assert (shipped["name"], shipped["dim"], shipped["here"]) == ("sondino-small", 480, True)
    monkeypatch.setenv("SONDINO_DATA", str(tmp_path))
    listed = document("tasks")
    assert listed["root"] == str(tmp_path) and not any(row["folder"] for row in listed["tasks"])


def test_bundles_and_damaged_ones(document: Any, tiny_bundle: Path, tmp_path: Path) -> None:
    folder = tmp_path / "bundles"
    (folder / "tiny").mkdir(parents=True)
    for file in tiny_bundle.iterdir():
        (folder / "tiny" / file.name).write_bytes(file.read_bytes())
    found = document("models", folder)
    assert found["damaged"] == []
    assert found["bundles"] == [
        {
            "name": "tiny",
            "folder": str(folder / "tiny"),
            "parameters": None,
            "sample_rate": 16000,
            "window": 1.0,
            "dim": 3,
            "teachers_licences": [],
        }
    ]
    (folder / "tiny" / "config.json").write_text("[")
    found = document("models", folder, code=1)
    assert found["bundles"] == [] and found["damaged"][0]["folder"] == str(folder / "tiny")


def test_the_answers_of_a_search_and_of_a_check(document: Any, tiny_bundle: Path, tmp_path: Path) -> None:
    vectors = np.array([[1, 0], [1, 1], [0, 1]], np.float32)
    np.savez(tmp_path / "t.npz", ids=np.array(["a\u00e9", "b", "c"]), vectors=vectors)
    assert document("similar", "a\u00e9", "--in", tmp_path / "t.npz", "-k", 1)["neighbours"] == [
        {"rank": 1, "id": "b", "channel": None, "start": None, "cosine": pytest.approx(2**-0.5, abs=1e-6)}
    ]
    np.savez(tmp_path / "one.npz", ids=np.array(["a"]), vectors=vectors[:1])
    assert document("similar", "a", "--in", tmp_path / "one.npz")["neighbours"] == []
    checked = document("check", tiny_bundle)
    assert (checked["name"], checked["dim"], checked["window"], checked["faults"]) == ("tiny", 3, 1.0, [])
