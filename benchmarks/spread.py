"""Targets with Ray beside the plain pipeline: its start, processor seconds a clip, machines that leave, and kills.

    python benchmarks/spread.py SOUNDS --out FOLDER

SOUNDS is any folder with some hours of sound; clips are of 5 s, the teacher is the model that comes with the package.
Linux alone, as root: processor seconds are those of a control group in which a command runs with all that it starts.
Writes results/spread.csv.
"""

import argparse
import ctypes
import hashlib
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

import psutil

from provenance import keep_rows, provenance, write_results
from sondino.corpus.table import Corpus, build_corpus, open_corpus
from sondino.corpus.targets import prepare_targets
from sondino.encoder.encoder import resolve
from sondino.pretrained.open import open_teacher

TEACHER = "sondino-small"
SUBREAPER = 36  # prctl's PR_SET_CHILD_SUBREAPER: processes whose parent has ended become children of this one
MACHINES = """
import sys
from functools import partial
from ray.cluster_utils import Cluster as Machines
from sondino.corpus.spread_targets import spread_targets
from sondino.corpus.table import open_corpus
from sondino.pretrained.open import open_teacher
from sondino.spread import Cluster
machines = Machines(initialize_head=True, head_node_args={"num_cpus": 0})
nodes = [machines.add_node(num_cpus=1) for _ in range(2)]
machines.wait_for_nodes()
def progress(done, total):
    if done >= total // 4 and len(nodes) == 2:
        machines.remove_node(nodes.pop(), allow_graceful=False)
targets = spread_targets(open_corpus(sys.argv[1]), partial(open_teacher, sys.argv[2], "cpu"), progress=progress,
                         cluster=Cluster(machines.address))
assert targets.valid.all() and len(nodes) == 1
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sounds", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--clips", type=int, nargs=2, default=(400, 2400), help="of the short and of the long run")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--only", nargs="+", default=["costs", "leaving", "kills"])
    given = parser.parse_args()
    os.environ |= {"RAY_USAGE_STATS_ENABLED": "0", "RAY_raylet_start_wait_time_s": "120"}
    whole = build_corpus(given.sounds, given.out / "whole", clip=5.0)
    wanted = {"costs": costs, "leaving": leaving, "kills": kills}
    lines = [line for name in given.only for line in wanted[name](given, whole)]
    made_with = provenance("ray", "pyarrow", "onnxruntime")
    write_results("spread", keep_rows("spread", [line | made_with for line in lines], "what"))


def part_of(given: argparse.Namespace, whole: Corpus, clips: int, name: str, part_rows: int | None = None) -> Corpus:
    """A corpus of the first clips, without targets."""
    folder = given.out / name
    shutil.rmtree(folder, ignore_errors=True)
    listed = given.out / f"{name}.csv"
    rows = zip(
        whole.column("path")[:clips], whole.column("start")[:clips], whole.column("duration")[:clips], strict=True
    )
    lines = [f'"{Path(whole.root, path).absolute()}",{start},{duration}' for path, start, duration in rows]
    listed.write_text("\n".join(["path,start,duration", *lines]) + "\n")
    corpus = build_corpus(listed, folder, clip=5.0)
    prepare_targets(corpus, resolve(open_teacher(TEACHER, "cpu")), TEACHER, part_rows=part_rows)
    return corpus


@contextmanager
def control_group() -> Iterator[Path]:
    """A control group of its own: its processor time counts every process that was ever in it, ended ones too."""
    root = Path("/sys/fs/cgroup")
    parent = root if (root / "cgroup.controllers").exists() else root / "cpuacct"  # version 2, or version 1
    group = parent / f"sondino-{os.getpid()}"
    try:
        group.mkdir()
    except OSError as error:
        sys.exit(f"{group} cannot be made ({error}): processor seconds are measured by a control group; run as root")
    try:
        yield group
    finally:
        while (group / "cgroup.procs").read_text():
            time.sleep(0.1)
        group.rmdir()


def used(group: Path) -> float:
    """Processor seconds of all that was ever in a control group."""
    if (group / "cpuacct.usage").exists():
        return int((group / "cpuacct.usage").read_text()) / 1e9
    return int((group / "cpu.stat").read_text().split()[1]) / 1e6  # its first line is usage_usec


def spent(command: list[str]) -> tuple[float, float]:
    """Processor seconds and seconds of a command and of all that it started, also of what outlives it or has ended."""
    with control_group() as group:
        began = time.perf_counter()
        into = ["sh", "-c", 'echo $$ > "$0" && exec "$@"', str(group / "cgroup.procs"), *command]
        subprocess.run(into, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        seconds = time.perf_counter() - began
        while (group / "cgroup.procs").read_text():
            time.sleep(0.1)  # what Ray started ends some seconds later
        return used(group), seconds


def targets_command(folder: Path, *options: str) -> list[str]:
    """The command line that computes targets."""
    return [sys.executable, "-m", "sondino", "targets", str(folder), "--teacher", TEACHER, "--device", "cpu", *options]


def costs(given: argparse.Namespace, whole: Corpus) -> list[dict[str, Any]]:
    """Processor seconds, from a short and a long run of each way in turn; the start is what clips do not explain."""
    ways = {"plain": [], "Ray, 2 workers": ["--ray", "local", "--workers", "2"], "Ray, 1 worker of 2 processors": [
        "--ray", "local", "--workers", "1", "--cpus-per-worker", "2"]}  # fmt: skip
    found: dict[str, dict[int, list[tuple[float, float]]]] = {way: {n: [] for n in given.clips} for way in ways}
    for _ in range(given.rounds):
        for clips in given.clips:
            for way, options in ways.items():
                folder = part_of(given, whole, clips, "costs").folder
                found[way][clips].append(spent(targets_command(folder, *options)))
                print(way, clips, *(f"{number:.2f}" for number in found[way][clips][-1]), flush=True)
    short, long = given.clips
    lines = []
    for way, runs in found.items():
        pairs = list(zip(runs[short], runs[long], strict=True))
        a_clip = [(b[0] - a[0]) / (long - short) for a, b in pairs]
        lines.append({
            "what": way,
            "processor_ms_a_clip": round(1000 * median(a_clip), 2),
            "lowest": round(1000 * min(a_clip), 2),
            "highest": round(1000 * max(a_clip), 2),
            "start_processor_s": round(median(a[0] - short * c for (a, _), c in zip(pairs, a_clip, strict=True)), 1),
            "seconds": round(median(b[1] for _, b in pairs), 1),
            "clips": long,
            "turns": len(pairs),
        })  # fmt: skip
        print(lines[-1], flush=True)
    for line in lines:
        line["times_plain"] = round(line["processor_ms_a_clip"] / lines[0]["processor_ms_a_clip"], 3)
    return lines


def leaving(given: argparse.Namespace, whole: Corpus) -> list[dict[str, Any]]:
    """600 clips on two machines, one of which is removed."""
    plain = part_of(given, whole, 600, "stays", 10)
    subprocess.run(targets_command(plain.folder), check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    corpus = part_of(given, whole, 600, "leaves", 10)
    subprocess.run([sys.executable, "-c", MACHINES, str(corpus.folder), TEACHER], check=True, stdout=subprocess.DEVNULL)
    line = {"what": "two machines, one leaves", "clips": len(corpus), "same bits": same(plain, corpus)}
    print(line, flush=True)
    return [line]


def kills(given: argparse.Namespace, whole: Corpus) -> list[dict[str, Any]]:
    """Random kills of the driver and of workers, until all targets are there."""
    ctypes.CDLL(None).prctl(SUBREAPER, 1, 0, 0, 0)
    plain = part_of(given, whole, 2000, "unkilled", 8)
    subprocess.run(targets_command(plain.folder), check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    corpus, rng = part_of(given, whole, 2000, "killed", 8), random.Random(0)
    drivers = workers = 0
    while True:
        driver = subprocess.Popen(targets_command(corpus.folder, "--ray", "local"), stdout=subprocess.DEVNULL,
                                  stderr=subprocess.DEVNULL)  # fmt: skip
        while driver.poll() is None and drivers + workers < given.kills:
            time.sleep(rng.uniform(1, 6))
            made = workers_of(driver)
            if not made:
                continue  # Ray is starting
            if rng.random() < 0.5 and driver.poll() is None:
                driver.send_signal(signal.SIGKILL)
                drivers += 1
                break
            rng.choice(made).kill()
            workers += 1
        code = driver.wait()
        if code == 0:
            break
        for process in psutil.Process().children(recursive=True):
            if "ray" in process.name():
                process.terminate()  # what a killed driver left behind ends by itself some seconds later
    line = {"what": "kills", "drivers killed": drivers, "workers killed": workers, "clips": len(corpus),
            "same bits": same(plain, corpus)}  # fmt: skip
    print(line, flush=True)
    return [line]


def workers_of(driver: subprocess.Popen[bytes]) -> list[psutil.Process]:
    """The processes of Ray below a driver that hold a worker."""
    found = []
    for process in psutil.Process(driver.pid).children(recursive=True):
        try:
            if "MapWorker" in "".join(process.cmdline()[:1]):
                found.append(process)
        except psutil.Error:
            continue  # it has ended
    return found


def same(one: Corpus, other: Corpus) -> bool:
    """Whether two corpora's targets are the same bytes."""
    digests = [hashlib.sha256(next(open_corpus(corpus.folder).folder.rglob("targets.npy")).read_bytes()).hexdigest()
               for corpus in (one, other)]  # fmt: skip
    return digests[0] == digests[1]


if __name__ == "__main__":
    main()
