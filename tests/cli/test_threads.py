"""Commands compute on the processors that they may use: on one, no other thread takes a share of the work.

`bench` is not among them: it reports the threads that were busy, and OpenVINO computes in one of its own there.
"""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from helpers.skips import needs_linux
from sondino.sample_sounds import sample_folder

pytestmark = [needs_linux, pytest.mark.full]

TICK = os.sysconf("SC_CLK_TCK") if hasattr(os, "sysconf") else 100
SHARE = 0.2
"""Of the main thread's processor time, the most that another may take: readers decode audio in threads of their own."""

COMMANDS = {
    "embed": "embed {sounds} --model {bundle} --output {out}/e.npz",
    "probe": "probe {labels} --model {bundle} --out {out}/head",
    "classify": "classify {sounds} --model {bundle} --output {out}/c.csv",
    "quantize": "quantize {bundle} --calibrate {sounds} --out {out}/int8",
    "export": "export {bundle} --to onnx --out {out}/onnx",
    "export-openvino": "export {bundle} --to openvino --precision f16 --out {out}/openvino",
    "evaluate": "evaluate {bundle} --tasks {labels} --seeds 1 --out {out}/page",
    "distill": "distill {sounds} --teacher {teacher} --width 0.1 --clip 1 --epochs 1 --draws 64 --out {out}/run",
}


def processes(root: int) -> list[int]:
    """A process and its descendants."""
    found = [root]
    for process in found:
        try:
            for task in Path(f"/proc/{process}/task").iterdir():
                found += [int(child) for child in (task / "children").read_text().split()]
        except OSError:  # it has ended
            continue
    return found


def seconds_of_threads(command: list[str], processor: int) -> dict[tuple[int, int], float]:
    """The processor time of each thread, by process and thread, of a command that may run on one processor only."""
    ran = subprocess.Popen(
        command,
        preexec_fn=lambda: os.sched_setaffinity(0, {processor}),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    found: dict[tuple[int, int], float] = {}
    while ran.poll() is None:
        for process in processes(ran.pid):
            try:
                for thread in Path(f"/proc/{process}/task").iterdir():
                    fields = (thread / "stat").read_text().rpartition(")")[2].split()
                    found[process, int(thread.name)] = (int(fields[11]) + int(fields[12])) / TICK
            except OSError:
                continue
        time.sleep(0.02)
    assert ran.stderr is not None
    said = ran.stderr.read()
    # An untrained net is too inexact in int8, which is found at the end.
    assert ran.returncode == 0 or "in int8 differs from the trained net" in said, said
    return found


def idle_beside_main(found: dict[tuple[int, int], float]) -> bool:
    """Whether in each process the main thread, whose number is the process's, did the work."""
    return all(
        seconds <= max(0.5, SHARE * found[process, process])
        for (process, thread), seconds in found.items()
        if thread != process
    )


@pytest.fixture(scope="module")
def labels(tmp_path_factory) -> Path:
    """A folder of two labels with twelve of the shipped sounds each."""
    folder = tmp_path_factory.mktemp("labels")
    for number, clip in enumerate(sorted((sample_folder() / "audio").glob("*.ogg"))[:24]):
        file = folder / "ab"[number % 2] / clip.name
        file.parent.mkdir(exist_ok=True)
        file.write_bytes(clip.read_bytes())
    return folder


@pytest.mark.parametrize("name", COMMANDS)
def test_on_one_processor_the_main_thread_does_the_work(name, student_bundle, labels, tmp_path):
    if name == "export-openvino":
        pytest.importorskip("openvino")
    words = (
        COMMANDS[name]
        .format(
            bundle=student_bundle,
            sounds=sample_folder() / "audio",
            labels=labels,
            teacher=f"onnx:{student_bundle / 'model.onnx'}?rate=32000",
            out=tmp_path,
        )
        .split()
    )
    found = seconds_of_threads([sys.executable, "-m", "sondino", *words], min(os.sched_getaffinity(0)))
    assert idle_beside_main(found), found


def test_a_thread_that_computes_is_seen():
    code = """
import threading, time
def work():
    end = time.thread_time() + 1
    while time.thread_time() < end: pass
beside = threading.Thread(target=work)
beside.start()
work()
beside.join()
"""
    assert not idle_beside_main(seconds_of_threads([sys.executable, "-c", code], min(os.sched_getaffinity(0))))
