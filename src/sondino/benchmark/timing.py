"""The timer and the memory reader of every measurement; standard library only, to add nothing to what is measured."""

import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any


def time_in_turn(
    calls: Sequence[Callable[[], Any]], enough: Callable[[int, float], bool]
) -> tuple[list[list[float]], float]:
    """Time calls in turn, round after round, so that a busy machine is busy for all of them.

    Args:
        calls: what to time, after one call of each that is not timed: the first of a shape may plan and take memory.
        enough: called after each round with (rounds, seconds since the first of them began); True ends the timing.

    Returns:
        the seconds of each call, a list a call; how many processors they kept busy.
    """
    for call in calls:
        call()
    times: list[list[float]] = [[] for _ in calls]
    processor, began, ended = time.process_time(), None, 0.0
    while True:
        for call, kept in zip(calls, times, strict=True):
            start = time.perf_counter()
            call()
            ended = time.perf_counter()
            kept.append(ended - start)
            began = start if began is None else began
        seconds = ended - (began or 0.0)
        if enough(len(times[0]), seconds):
            return times, (time.process_time() - processor) / seconds if seconds > 0 else 0.0


def memory() -> int | None:
    """Bytes that this process holds now; None where the system does not report it (Linux does)."""
    return _status("VmRSS")


def peak_memory() -> int | None:
    """Bytes that this process has held at the most, since it began or `reset_peak`; None where it is not reported."""
    # Not getrusage: what a process held before it became another program counts there.
    return _status("VmHWM")


def reset_peak() -> None:
    """Let the peak begin anew, where the system can (Linux)."""
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def _status(name: str) -> int | None:
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return None
    return next((1024 * int(line.split()[1]) for line in lines if line.startswith(f"{name}:")), None)
