"""Nothing is reported: the home folder stays empty, and no command looks a name up or connects to another machine."""

import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from urllib.request import urlopen

import numpy as np
import pytest
import soundfile

from helpers.skips import needs_linux

MODULES = ["onnxruntime", "openvino", "huggingface_hub", "codecarbon"]
SETTINGS = {"ORT_DISABLE_TELEMETRY": "1", "HF_HUB_DISABLE_TELEMETRY": "1", "RAY_USAGE_STATS_ENABLED": "0"}


@pytest.fixture(scope="module")
def labelled(tmp_path_factory) -> Path:
    """A folder of two labels with four clips of half a second each."""
    folder = tmp_path_factory.mktemp("labelled")
    rng = np.random.default_rng(0)
    for label, size in (("loud", 0.5), ("soft", 0.01)):
        (folder / label).mkdir()
        for number in range(4):
            soundfile.write(folder / label / f"{number}.wav", size * rng.uniform(-1, 1, 16000), 32000)
    return folder


@pytest.fixture
def home(tmp_path) -> Path:
    """An empty folder that stands for a user's home."""
    (tmp_path / "home").mkdir()
    return tmp_path / "home"


def surroundings(home: Path, **others: str) -> dict[str, str]:
    """An environment whose home folder is `home`, with none of the settings that libraries' reports depend on."""
    dropped = {*SETTINGS, "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME", "SONDINO_CACHE", "HF_HOME", "CI"}
    kept = {name: value for name, value in os.environ.items() if name not in dropped}
    return kept | {"HOME": str(home), "USERPROFILE": str(home)} | others


def traced(log: Path) -> list[str]:
    """What a command begins with so that its connections and datagrams, and its children's, are logged."""
    strace = shutil.which("strace")
    if strace is None:
        pytest.skip("strace is not installed")
    return [
        strace,
        "-f",
        "--seccomp-bpf",
        "-qq",
        "-e",
        "trace=connect,sendto,sendmsg,sendmmsg",
        "-s",
        "100",
        "-o",
        str(log),
    ]


def contacted(log: Path) -> list[str]:
    """The lines of a trace that go to a name server or to another machine."""
    lines = log.read_text(errors="replace").splitlines()
    here = re.compile(r'inet_addr\("127\.|"::1"|"::ffff:127\.')
    return [
        line
        for line in lines
        if "resolve" in line or ("AF_INET" in line and ("htons(53)" in line or not here.search(line)))
    ]


def check(home: Path, log: Path) -> None:
    assert list(home.rglob("*")) == []
    assert contacted(log) == []


@needs_linux
@pytest.mark.full
@pytest.mark.parametrize(
    "command",
    ["embed", "embed_openvino", "embed_shipped", "classify", "classify_shipped", "probe", "similar", "evaluate"],
)
def test_a_command_leaves_the_home_folder_empty_and_asks_nobody(command, student_bundle, labelled, home, tmp_path):
    words = {
        "embed": ["embed", labelled, "--output", tmp_path / "out.npz"],
        "embed_openvino": ["embed", labelled, "--output", tmp_path / "out.npz", "--engine", "openvino"],
        "embed_shipped": ["embed", labelled, "--output", tmp_path / "out.npz"],
        "classify": ["classify", labelled],
        "classify_shipped": ["classify", labelled],
        "probe": ["probe", labelled, "--out", tmp_path / "head"],
        "similar": ["similar", labelled / "loud" / "0.wav", "--in", tmp_path / "table.npz"],
        "evaluate": ["evaluate", student_bundle, "--tasks", labelled, "--seeds", "1", "--out", tmp_path / "page"],
    }[command]
    if command == "embed_openvino":
        pytest.importorskip("openvino")
    if command == "similar":
        import sondino

        sondino.embed_files(labelled, sondino.load(student_bundle), tmp_path / "table.npz")
    if command not in ("evaluate", "embed_shipped", "classify_shipped"):
        words += ["--model", student_bundle]
    log = tmp_path / "trace.txt"
    done = subprocess.run(
        [*traced(log), sys.executable, "-m", "sondino", *map(str, words)],
        env=surroundings(home),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    check(home, log)


@needs_linux
@pytest.mark.full
def test_demo_leaves_the_home_folder_empty_and_asks_nobody(student_bundle, labelled, home, tmp_path):
    page = Path(__file__).parents[1] / "src" / "sondino" / "page" / "index.html"
    if not page.exists():
        pytest.skip("the page is not built: make web")
    log = tmp_path / "trace.txt"
    command = ["-u", "-m", "sondino", "demo", str(student_bundle), "--port", "0", "--gallery", str(labelled / "loud")]
    server = subprocess.Popen(
        [*traced(log), sys.executable, *command], env=surroundings(home), stdout=subprocess.PIPE, text=True
    )
    assert server.stdout is not None
    address = next(found[1] for line in server.stdout if (found := re.search(r"open (http\S+)", line)))
    assert urlopen(address, timeout=60).status == 200
    children = Path(f"/proc/{server.pid}/task/{server.pid}/children").read_text().split()
    os.kill(int(children[0]), signal.SIGTERM)  # Ctrl-C is ignored by what is started in the background
    assert server.wait(timeout=60) == 143
    check(home, log)


@needs_linux
@pytest.mark.parametrize("module", MODULES)
def test_a_library_is_imported_without_a_report(module, home, tmp_path):
    """By name: a session's first look-up may come later than a short command ends, what it writes does not."""
    pytest.importorskip(module)
    code = f"import importlib, sondino; importlib.import_module({module!r})"
    if module == "openvino":
        code = "import sys; from sondino.runtimes import import_openvino; import_openvino()\n"
        code += "assert 'openvino_telemetry' not in sys.modules"
    log = tmp_path / "trace.txt"
    done = subprocess.run(
        [*traced(log), sys.executable, "-c", code], env=surroundings(home), capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    check(home, log)


def test_a_users_own_settings_stay(home):
    code = f"import os, sondino; print(*(os.environ[name] for name in {[*SETTINGS]}))"
    for given, expected in ({}, [*SETTINGS.values()]), (dict.fromkeys(SETTINGS, ""), [*SETTINGS.values()]):
        done = subprocess.run(
            [sys.executable, "-c", code], env=surroundings(home, **given), capture_output=True, text=True, check=True
        )
        assert done.stdout.split() == expected
    own = {"ORT_DISABLE_TELEMETRY": "0", "HF_HUB_DISABLE_TELEMETRY": "no", "RAY_USAGE_STATS_ENABLED": "1"}
    done = subprocess.run(
        [sys.executable, "-c", code], env=surroundings(home, **own), capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == [*own.values()]
