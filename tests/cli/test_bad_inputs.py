"""Every mistake of bad_inputs.py gets the message in bad_inputs.md, and leaves nothing half-written."""

import importlib.util
import re
from pathlib import Path

import pytest

from helpers.bad_inputs import MISTAKES, Mistake, message_of
from helpers.bad_inputs_page import PAGE


def page() -> dict[tuple[str, str], str]:
    """(group, mistake) -> message."""
    found, group = {}, ""
    for line in PAGE.read_text(encoding="utf-8").splitlines():
        if line.startswith("## "):
            group = line[3:]
        elif line.startswith("| ") and not line.startswith(("| mistake", "| ---")):
            what, message = re.split(r"(?<!\\) \| ", line[2:-2], maxsplit=1)
            found[group, what] = message.replace("\\|", "|")
    return found


def by_ourselves(message: str) -> str:
    """A message without what a library message, which its next version may say otherwise."""
    return re.sub(r"\(.*\)", "(...)", message)


@pytest.mark.parametrize("made", MISTAKES, ids=lambda made: f"{made.group}: {made.what}")
def test_a_mistake_gets_its_message(made: Mistake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in made.needs:
        if importlib.util.find_spec(module) is None:
            pytest.skip(f"needs {module}")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SONDINO_CACHE", str(tmp_path / "cache"))
    message = message_of(made, tmp_path)
    assert by_ourselves(message) == by_ourselves(page()[made.group, made.what])
    assert "\n" not in message and "Traceback" not in message
    assert not (tmp_path / "ran").exists(), "code inside the file was run"
    assert not list(tmp_path.rglob("*.partial")) and not list(tmp_path.rglob("*.part"))


def test_the_page_holds_all_of_them_and_no_other() -> None:
    assert list(page()) == [(made.group, made.what) for made in MISTAKES]
    assert len(MISTAKES) >= 60
