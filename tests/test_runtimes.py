"""ONNX Runtime is opened in one place, on the processors that the process may use."""

import ast
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from helpers.skips import needs_linux
from sondino import files, processors, runtimes
from sondino.processors import cores, cpu_quota

SOURCE = Path(files.__file__).parent

WORKERS = """
import os, sys
before = set(os.listdir("/proc/self/task"))
from sondino.runtimes import onnx_session
session = onnx_session(sys.argv[1], int(sys.argv[2]) if sys.argv[2:] else None)
threads = set(os.listdir("/proc/self/task")) - before
print(len(threads), *sorted({tuple(sorted(os.sched_getaffinity(int(thread)))) for thread in threads}))
"""


@needs_linux
@pytest.mark.parametrize("threads", [(), ("3",)])
def test_a_session_stays_on_the_processors_of_its_process(threads, tiny_bundle):
    """What `taskset` sets: a child inherits it."""
    allowed = os.sched_getaffinity(0)
    one = min(allowed)
    done = subprocess.run(
        [sys.executable, "-c", WORKERS, str(tiny_bundle / "model.onnx"), *threads],
        preexec_fn=lambda: os.sched_setaffinity(0, {one}),
        capture_output=True,
        text=True,
        check=True,
    )
    number, *masks = done.stdout.split(maxsplit=1)
    assert [mask.strip() for mask in masks] == ([f"({one},)"] if int(number) else [])
    assert int(number) == (2 if threads else 0)  # beside the thread that calls


def test_sessions_are_opened_in_one_place():
    """Everywhere else ONNX Runtime would take a thread for every core of the machine."""
    opened = []
    for file in SOURCE.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Attribute) and node.attr == "InferenceSession":
                opened.append(file.relative_to(SOURCE).as_posix())
    assert set(opened) == {"runtimes.py"}


def cgroups(root: Path, lines: str, **limits: str) -> Path:
    """A tree as Linux has it: /proc/self/cgroup, and files of /sys/fs/cgroup (`__` stands for /)."""
    (root / "proc/self").mkdir(parents=True)
    (root / "proc/self/cgroup").write_text(lines)
    for name, content in limits.items():
        file = root / "sys/fs/cgroup" / name.replace("__", "/")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content + "\n")
    return root


V1 = "12:pids:/docker/abc\n4:cpu,cpuacct:/docker/abc\n3:cpuset:/docker/abc\n1:name=systemd:/docker/abc\n"


@pytest.mark.parametrize(
    ("lines", "limits", "expected"),
    [
        ("0::/\n", {"cpu.max": "100000 100000"}, 1.0),
        ("0::/\n", {"cpu.max": "50000 100000"}, 0.5),
        ("0::/\n", {"cpu.max": "max 100000"}, None),
        ("0::/\n", {"cpu.max": "nonsense"}, None),
        ("0::/\n", {"cpu.max": "0 0"}, None),
        ("0::/\n", {}, None),
        # a group above has the limit, as under systemd and Kubernetes; the least of all counts
        ("0::/pod/app\n", {"pod__cpu.max": "150000 100000", "pod__app__cpu.max": "max 100000"}, 1.5),
        ("0::/pod/app\n", {"pod__cpu.max": "400000 100000", "pod__app__cpu.max": "250000 100000"}, 2.5),
        # the path of the host, in a container that shows its own group as the root
        ("0::/../../docker/abc\n", {"cpu.max": "100000 100000"}, 1.0),
        (V1, {"cpu,cpuacct__cpu.cfs_quota_us": "150000", "cpu,cpuacct__cpu.cfs_period_us": "100000"}, 1.5),
        (V1, {"cpu__docker__abc__cpu.cfs_quota_us": "20000", "cpu__docker__abc__cpu.cfs_period_us": "10000"}, 2.0),
        (V1, {"cpu__cpu.cfs_quota_us": "-1", "cpu__cpu.cfs_period_us": "100000"}, None),
        (V1, {"cpuset__cpu.max": "100000 100000"}, None),
        # both versions mounted
        ("4:cpu:/a\n0::/\n", {"cpu__a__cpu.cfs_quota_us": "100000", "cpu__a__cpu.cfs_period_us": "50000"}, 2.0),
    ],
)
def test_the_quota_is_that_of_the_control_groups(tmp_path, lines, limits, expected):
    assert cpu_quota(cgroups(tmp_path, lines, **limits)) == expected


def test_without_control_groups_there_is_no_quota(tmp_path):
    assert cpu_quota(tmp_path) is None


@pytest.mark.parametrize(("quota", "expected"), [(None, 4), (0.1, 1), (1.0, 1), (1.2, 2), (3.999, 4), (9.0, 4)])
def test_a_quota_is_rounded_up_and_the_affinity_is_the_most(monkeypatch, quota, expected):
    monkeypatch.setattr(processors, "cpu_quota", lambda: quota)
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {0, 2, 5, 7}, raising=False)
    assert cores() == files.thread_count(None) == expected


def test_openvino_meets_its_first_array_before_a_model_is_opened(monkeypatch: pytest.MonkeyPatch) -> None:
    """Threads that meet it together may wait for each other for ever: 3 of 40 processes did."""
    done: list[str] = []

    class Tensor:
        def __init__(self, array: np.ndarray) -> None:
            self.array = array

        @property
        def data(self) -> np.ndarray:
            done.append("array")
            return self.array

    class Core:
        def compile_model(self, file: str, device: str, settings: dict[str, str]) -> str:
            done.append(file)
            return "compiled"

    monkeypatch.setattr(runtimes, "import_openvino", lambda: SimpleNamespace(Tensor=Tensor, Core=Core))
    assert runtimes.openvino_model(Path("model.onnx"), {}) == "compiled"
    assert done == ["array", "model.onnx"]
