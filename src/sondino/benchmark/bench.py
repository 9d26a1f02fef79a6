"""Models side by side: every combination is timed in turn, round after round, each time in its own process."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from sondino.benchmark.given import OF_BUNDLES, RUNTIMES, Combination, combinations, find
from sondino.benchmark.record import Bench, Measured, machine
from sondino.errors import OptionError, RunError
from sondino.files import make_folder
from sondino.processors import cores
from sondino.progress import Report, show, stages

ROUNDS = 3
LEAST = 0.3
"""Seconds that each length of clip is timed for, at least, in each round."""

PATIENCE = 600.0
"""Seconds after which a process is stopped."""

MAX_CLIP_SECONDS = 600.0
"""Seconds of a clip."""


Kind = Literal["time", "memory"]
"""What a process measures."""


def bench(
    models: Sequence[str],
    out: str | Path,
    *,
    against: Sequence[str] = (),
    runtimes: Sequence[str] = ("all",),
    threads: Sequence[int] | None = None,
    seconds: Sequence[float] = (10.0, 1.0),
    rounds: int = ROUNDS,
    least: float = LEAST,
    energy: bool = True,
    quiet: bool = False,
) -> Bench:
    """Measure models, and write bench.csv and bench.json.

    Times are taken in rounds over all combinations, so that a slower or busier machine affects all of them.
    Ctrl-C keeps what was measured.

    Args:
        models: bundles, runs' folders, published names, exports' folders, ONNX or TFLite files, teachers.
        out: the folder of the results.
        against: as `models`, marked as the ones to compare with.
        runtimes: of `OF_BUNDLES`, or only "all": those that are installed.
        threads: counts of processor threads; None: one, and all of this process's.
        seconds: lengths of clips.
        rounds: how often each combination is timed.
        least: seconds that each length of clip is timed for, at least, in each round.
        energy: also estimate joules, where codecarbon is installed.
        quiet: show no progress.

    Raises:
        OptionError: an unknown model or runtime, more threads than processors, or a number out of range.
        SondinoError: a model cannot be fetched, or the folder cannot be written.

    Examples:
        >>> options = {"runtimes": ["onnxruntime"], "threads": [1], "seconds": [1.0], "rounds": 1, "energy": False}
        >>> done = sondino.bench(["run/bundle"], "bench", quiet=True, **options)
        >>> [each.error for each in done.measured]
        [None]
    """
    counts = _thread_counts(threads)
    lengths = _lengths(seconds)
    if rounds < 1:
        raise OptionError(f"rounds is {rounds}: give 1 or more")
    if not models and not against:
        raise OptionError("nothing to measure: name a bundle, an export's folder or a model's file")
    named = list(dict.fromkeys([*(find(name) for name in models), *(find(name, peer=True) for name in against)]))
    from sondino.benchmark.results import write_results

    with show("models and runtimes", quiet=quiet):
        found, missing, not_run = combinations(named, list(runtimes) or list(OF_BUNDLES), counts)
    folder = make_folder(Path(out))
    done = Bench([Measured(each) for each in found], missing, not_run, lengths, machine())
    try:
        with stages(2):
            with show("times", "processes", quiet) as progress:
                _measure(done, "time", rounds, least, energy, progress, folder)
            with show("memory and energy", "processes", quiet) as progress:
                _measure(done, "memory", 1, least, energy, progress, folder)
    except KeyboardInterrupt:
        done.stopped = True
    write_results(done, folder)
    return done


def _measure(done: Bench, kind: Kind, rounds: int, least: float, energy: bool, progress: Report, out: Path) -> None:
    from sondino.benchmark.results import write_results

    total = len(done.measured) * rounds
    progress(0, total)
    for number in range(rounds):
        for at, each in enumerate(done.measured):
            if each.error is None:
                _run_worker(each, kind, done.seconds, least, energy)
            progress(number * len(done.measured) + at + 1, total)
        write_results(done, out)


def _run_worker(each: Measured, kind: Kind, seconds: Sequence[float], least: float, energy: bool) -> None:
    """Start a worker, and keep its result or its error message."""
    try:
        found = _worker_result(each.combination, kind, seconds, least, energy)
    except RunError as error:
        if kind == "time":
            each.error = str(error)
        else:
            each.unweighed = str(error)
        return
    if kind == "time":
        each.rounds.append(found)
    else:
        each.weighed = found


def _worker_result(how: Combination, kind: str, seconds: Sequence[float], least: float, energy: bool) -> dict[str, Any]:
    """The result of a worker; RunError with its error message."""
    runtime = RUNTIMES[how.runtime]
    job = {
        "kind": kind,
        "model": how.model.kind,
        "source": how.model.source,
        "runtime": how.runtime,
        "module": runtime.module,
        "package": runtime.package,
        "precision": how.precision,
        "threads": how.threads,
        "seconds": list(seconds),
        "least": least,
        "energy": energy,
        "started": time.time(),
    }
    try:
        process = subprocess.run(
            [how.python, "-m", "sondino.benchmark.worker", json.dumps(job)],
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
            timeout=PATIENCE,
            env=os.environ | limits(how.threads),
        )
    except subprocess.TimeoutExpired as error:
        raise RunError(f"it had not ended after {PATIENCE:g} s, and was stopped") from error
    if process.returncode:
        raise RunError(_reason(process.returncode, process.stderr))
    found: dict[str, Any] = json.loads(process.stdout.strip().splitlines()[-1])
    return found


def limits(threads: int) -> dict[str, str]:
    """Environment variables that limit every library of a process to so many threads."""
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")
    # Waiting threads of torch would take cores from the working ones.
    return {**dict.fromkeys(names, str(threads)), "OMP_WAIT_POLICY": "PASSIVE", "TF_CPP_MIN_LOG_LEVEL": "3"}


def _reason(code: int, stderr: str) -> str:
    if code < 0:
        killed = " (the system ends a process that takes too much memory)" if code == -9 else ""
        return f"its process was ended by signal {-code}{killed}"
    return (stderr.strip().splitlines() or [f"its process ended with code {code}"])[-1]


def _thread_counts(threads: Sequence[int] | None) -> list[int]:
    here = cores()
    if threads is None:
        return sorted({1, here})
    for count in threads:
        if not 1 <= count <= here:
            raise OptionError(f"threads is {count}: give whole numbers from 1 to {here}, the processors here")
    return list(dict.fromkeys(threads))


def _lengths(seconds: Sequence[float]) -> list[float]:
    for length in seconds:
        if not 0.1 <= length <= MAX_CLIP_SECONDS:
            raise OptionError(f"seconds is {length:g}: give lengths of clips from 0.1 to {MAX_CLIP_SECONDS:g}")
    return list(dict.fromkeys(map(float, seconds)))
