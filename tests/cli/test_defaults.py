"""Defaults of options: the command line wins over the environment, the environment over a file."""

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from helpers.skips import needs_posix
from sondino import cli
from sondino.errors import OptionError


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory, two folders below `tmp_path`, and no variable of ours."""
    for name in ("SONDINO_MODEL", "SONDINO_THREADS"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "a" / "b").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "a" / "b")
    return tmp_path / "a" / "b"


def given(*words: str) -> dict[str, Any]:
    """The arguments that a command would be called with."""
    _, bound, _ = cli.app.parse_args(list(words), print_error=False, exit_on_error=False)
    return dict(bound.arguments)


def test_command_line_over_environment_over_file(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert given("embed", "x") == {"inputs": [Path("x")]}
    text = 'model = "all"\nthreads = 1\n[embed]\nmodel = "mine"\nper-window = true\nhop = 0.5\nquiet = false\n'
    (folder / "sondino.toml").write_text(text + '[classify]\nmin_confidence = 0.5\n[evaluate]\ntasks = ["a", "b"]\n')
    assert given("embed", "x") == {
        "inputs": [Path("x")],
        "model": "mine",
        "per_window": True,
        "threads": 1,
        "hop": 0.5,
        "quiet": False,
    }
    assert given("classify", "x") == {"inputs": [Path("x")], "min_confidence": 0.5, "model": "all", "threads": 1}
    assert given("evaluate", "m")["tasks"] == ["a", "b"] and given("evaluate", "m")["threads"] == 1
    assert given("demo") == {"bundle": "all"} and given("demo", "x") == {"bundle": "x"}
    # There a model that is left out has a meaning of its own, and threads are compared.
    assert "model" not in given("similar", "x", "--in", "t.npz") and "threads" not in given("bench")
    monkeypatch.setenv("SONDINO_MODEL", "env")
    monkeypatch.setenv("SONDINO_THREADS", "3")
    found = given("embed", "x", "--hop", "2")
    assert (found["model"], found["threads"], found["hop"]) == ("env", 3, 2.0)
    found = given("embed", "x", "--model", "given", "--threads", "4")
    assert (found["model"], found["threads"]) == ("given", 4)
    assert "model" not in given("similar", "x", "--in", "t.npz") and "threads" not in given("bench")


def test_a_group_has_a_table_for_each_of_its_commands(folder: Path) -> None:
    file = folder / "sondino.toml"
    file.write_text("[audioset.subset]\nper-label = 3\n")
    assert given("audioset", "subset", "m", "--out", "o.csv")["per_label"] == 3
    assert given("audioset", "find", "m", "--audio", "a") == {"metadata": Path("m"), "audio": Path("a")}
    for text, message in (
        ("[audioset]\nper-label = 3\n", r"\[audioset\] holds 'per-label'.*\[audioset.subset\]"),
        ("[audioset.fnd]\nout = 'x'\n", r"did you mean 'find'"),
        ("[audioset.find]\nper-label = 3\n", r"\[audioset.find\] has no option 'per-label'"),
    ):
        file.write_text(text)
        with pytest.raises(OptionError, match=message):
            given("audioset", "find", "m", "--audio", "a")


def test_a_flag_of_a_file_can_be_undone(folder: Path) -> None:
    (folder / "sondino.toml").write_text("[embed]\nquiet = true\nper-window = true\n[prune]\ntogether = true\n")
    found = given("embed", "x", "--no-per-window")
    assert found["quiet"] is True and found["per_window"] is False
    words = ["prune", "run", "--score", "l1", "--ratio", "0.5", "--out", "o"]
    assert given(*words)["together"] is True and given(*words, "--no-together")["together"] is False


def test_the_nearest_file_holds(folder: Path) -> None:
    (folder.parents[1] / "sondino.toml").write_text("threads = 1")
    (folder.parent / "pyproject.toml").write_text("[tool.other]\nthreads = 9\n")
    assert given("embed", "x")["threads"] == 1
    (folder.parent / "pyproject.toml").write_text("[tool.sondino]\nthreads = 2\n[tool.sondino.embed]\nhop = 1\n")
    assert given("embed", "x") == {"inputs": [Path("x")], "hop": 1.0, "threads": 2}
    (folder.parent / "sondino.toml").write_text("threads = 3")
    assert given("embed", "x") == {"inputs": [Path("x")], "threads": 3}


@pytest.mark.parametrize("kind", ["folder", "link to nothing"])
def test_a_file_of_defaults_that_is_none_is_reported(
    kind: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = folder / "sondino.toml"
    if kind == "folder":
        file.mkdir()
    else:
        file.symlink_to(folder / "nowhere.toml")
    with pytest.raises(SystemExit, match=r"^2$"):
        cli.main(["embed", "x.wav", "--output", "o.npz"])
    assert f"{file} cannot be read (" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[embed]\nper-windw = true", "sondino.toml: [embed] has no option 'per-windw' (did you mean 'per-window'?)"),
        ("[embed]\ninputs = ['a']", "sondino.toml: [embed] has no option 'inputs'"),
        ("[embd]\ntop = 1", "sondino.toml: [embd] is no command (did you mean 'embed'?)"),
        ("mode = 'x'", "'mode' stands outside of a table (did you mean 'model'?): only model and threads may"),
        ("quiet = true", "'quiet' stands outside of a table: only model and threads may"),
        ("[students]\nthreads = 'many'", "[students] has no option 'threads'"),
        ("[embed]\nthreads = 'many'", 'for --threads from FOLDER/sondino.toml, [embed]: unable to convert "many"'),
        ("[embed]\nshort = 'cut'", 'Invalid value "cut" for --short from FOLDER/sondino.toml, [embed]. Choose from'),
        ("[embed]\nthreads = 2000-01-01", "sondino.toml, [embed]: threads is a date: give text, a number"),
        ("[embed]\nthreads = [1]", "sondino.toml, [embed]: threads is a list, and the option takes one value"),
        ("threads = [1]", "sondino.toml: threads is a list, and the option takes one value: write it without brackets"),
        ("[embed", "sondino.toml is no TOML ("),
    ],
)
def test_a_mistake_in_a_file_gets_one_message(
    text: str, message: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "sondino.toml").write_text(text)
    with pytest.raises(SystemExit) as left:
        cli.main(["embed", "x.wav", "--output", "o.npz"])
    error = capsys.readouterr().err
    assert left.value.code == 2 and error.count("\n") == 1 and error.startswith("sondino: ")
    assert message.replace("FOLDER", str(folder)) in error


def test_a_variable_that_is_no_number_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SONDINO_THREADS", "many")
    with pytest.raises(SystemExit) as left:
        cli.main(["embed", "x.wav", "--output", "o.npz"])
    assert left.value.code == 2 and "--threads from SONDINO_THREADS: unable to convert" in capsys.readouterr().err


def test_info_states_which_file_is_used(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def shown(*options: str) -> str:
        with pytest.raises(SystemExit) as left:
            cli.main(["info", *options])
        assert not left.value.code
        return capsys.readouterr().out

    assert "no sondino.toml or [tool.sondino] here or above" in shown()
    assert json.loads(shown("--json"))["defaults_file"] is None
    (folder.parent / "sondino.toml").write_text("threads = 2\n[embed]\nhop = 0.5\n")
    monkeypatch.setenv("SONDINO_MODEL", "mine")
    facts = json.loads(shown("--json"))
    assert facts["defaults_file"] == str(folder.parent / "sondino.toml")
    assert facts["defaults"] == {"": {"threads": 2}, "embed": {"hop": 0.5}}
    assert facts["environment"] == {"SONDINO_MODEL": "mine"}
    assert set(facts) == {"version", "python", "packages", "extras", "cache", "threads", "defaults_file", "defaults",
                          "environment"}  # fmt: skip
    text = shown()
    assert (
        str(folder.parent / "sondino.toml") in text and "[embed] hop = 0.5" in text and "SONDINO_MODEL = mine" in text
    )


# ---- completion -----------------------------------------------------------------------------------------------


@needs_posix
def test_bash_completes_commands_options_and_values(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bash = shutil.which("bash")
    if bash is None:
        pytest.skip("bash is not installed")
    with pytest.raises(SystemExit):
        cli.main(["completion", "bash"])
    (folder / "script").write_text(capsys.readouterr().out)
    (folder / "recordings").mkdir()

    def completed(*words: str) -> list[str]:
        code = f"source ./script; COMP_WORDS=({' '.join(words)}); COMP_CWORD={len(words) - 1}"
        code += '; _sondino; printf "%s\\n" "${COMPREPLY[@]}"'
        return subprocess.run([bash, "-c", code], capture_output=True, text=True, check=True).stdout.split()

    commands = {name for name in cli.app if not name.startswith("-")}
    assert commands <= set(completed("sondino", "''"))
    assert completed("sondino", "class") == ["classify"]
    assert completed("sondino", "embed", "--per") == ["--per-window"]
    assert completed("sondino", "embed", "x", "--short", "n") == ["native"]
    assert completed("sondino", "embed", "rec") == ["recordings"]
    registered = subprocess.run([bash, "-c", "source ./script; complete -p sondino"], capture_output=True, text=True)
    assert registered.stdout == "complete -F _sondino sondino\n"


@pytest.mark.parametrize("shell", ["zsh", "fish", "powershell"])
def test_the_other_scripts_name_our_commands(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        cli.main(["completion", shell])
    script = capsys.readouterr().out
    assert all(name in script for name in cli.app if not name.startswith("-"))
