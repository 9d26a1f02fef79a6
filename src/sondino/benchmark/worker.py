"""One model in one runtime, measured in its own process: `python -m sondino.benchmark.worker JSON`.

Two kinds: "time" measures from the start of the process to the first embedding, and clips after that; "memory" embeds
a stream, reads the peak of the process, and then measures what takes memory itself (joules, counts).
"""

from __future__ import annotations

import importlib
import json
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from sondino.benchmark.timing import peak_memory, time_in_turn
from sondino.runtimes import import_openvino

if TYPE_CHECKING:
    from sondino.benchmark.opening import Opened, Parts, Run

Array = NDArray[np.float32]

BATCHES = (1, 8)
"""Clips embedded at once: latency, and what a folder of files takes."""

MIN_REPEATS, MAX_SECONDS = 20, 2.0
"""Timed calls, at least, unless they take more than so many seconds."""

STREAM = 60.0
"""Seconds of audio that memory is measured over."""


def main() -> None:
    """Measure the job of the argument, and print it as JSON; a failure is an error message on stderr, exit code 1."""
    begun = time.time()
    job = json.loads(sys.argv[1])
    from sondino.errors import SondinoError

    try:
        found = (_measure_times if job["kind"] == "time" else _measure_memory)(job, begun)
    except (SondinoError, ImportError, MemoryError) as error:
        sys.exit(str(error) or "this machine has too little memory")
    except Exception as error:  # a runtime's own, of which there are many
        from sondino.text import format_error

        sys.exit(format_error(error))
    print(json.dumps(found))  # noqa: T201 - its result


def _open(job: dict[str, Any]) -> Opened:
    from sondino.benchmark import opening

    source, threads = job["source"], job["threads"]
    if job["model"] == "teacher":
        return opening.open_teacher(source, threads)
    if job["model"] == "export":
        return opening.open_export(Path(source), threads)
    return opening.open_bundle(Path(source), job["runtime"], job["precision"], threads)


def clips(opened: Opened, seconds: float, batch: int) -> tuple[Array, float]:
    """A batch of clips of noise as a model takes them, and the factor from its cost to that of one clip.

    A model of a fixed window gets as many windows as cover a clip, scaled to exactly its seconds; a full window where
    the clip is shorter.
    """
    rows, share, length = 1, 1.0, seconds
    if opened.window is not None:
        step, length = opened.hop or opened.window, opened.window
        rows = max(1, round(seconds / step))
        share = seconds / (rows * step) if opened.window <= seconds else 1.0
    # Noise, not zeros: some kernels are slower or faster on zeros and denormals.
    shape = (batch * rows, round(length * opened.sample_rate))
    return (np.random.default_rng(0).random(shape, np.float32) - 0.5) * 0.2, share / batch


def repeated(calls: Sequence[Callable[[], Any]], least: float) -> tuple[list[list[float]], float]:
    """Time calls in turn for `least` seconds and `MIN_REPEATS` rounds, or for `MAX_SECONDS` where calls are slow.

    Returns:
        the seconds of each call, a list a call; how many processors they kept busy.
    """
    return time_in_turn(
        calls, lambda rounds, gone: (rounds >= MIN_REPEATS and gone >= least) or gone >= max(least, MAX_SECONDS)
    )


def _measure_times(job: dict[str, Any], begun: float) -> dict[str, Any]:
    """Times from the start of this process (given by the parent) to the first embedding, then clip after clip."""
    from sondino.benchmark.opening import check_embeddings

    if job["module"] == "openvino":
        import_openvino()
    elif job["module"]:
        importlib.import_module(job["module"])
    imported = time.time()
    opened = _open(job)
    loaded = time.time()
    sound, _ = clips(opened, max(job["seconds"]), 1)
    made = time.time()
    embeddings = opened.embed(sound)
    first = time.time()
    check_embeddings(embeddings, len(sound))
    cold = {
        "start_ms": begun - job["started"],
        "import_ms": imported - begun,
        "load_ms": loaded - imported,
        "first_ms": first - made,
        "cold_start_ms": first - job["started"] - (made - loaded),
    }
    return {
        **{name: 1000 * seconds for name, seconds in cold.items()},
        "dim": int(embeddings.shape[1]),
        "clips": _clip_times(opened, job["seconds"], job["least"]),
        "file_bytes": sum(file.stat().st_size for file in opened.files) or None,
        "parameters": opened.parameters,
        "macs_per_10s": opened.macs_per_10s,
        "version": _version(job["package"]),
    }


def _clip_times(opened: Opened, lengths: Sequence[float], least: float) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for seconds in lengths:
        for batch in BATCHES:
            sound, share = clips(opened, seconds, batch)
            (times,), busy = repeated([partial(opened.embed, sound)], least)
            milliseconds = [1000 * share * each for each in times]
            found.append({"seconds": seconds, "batch": batch, "busy_threads": busy, "milliseconds": milliseconds})
    if opened.parts is not None:  # opened only now, so that it takes no memory from the full model
        parts = opened.parts()
        for row in found:
            if row["batch"] == 1:
                sound, share = clips(opened, row["seconds"], 1)
                row |= _halves(opened.embed, parts, sound, 1000 * share, least)
    return found


def _halves(whole: Run, parts: Parts, sound: Array, scale: float, least: float) -> dict[str, float | None]:
    """Milliseconds of the net, and of the front-end before it, for one clip; None where noise hides the front-end."""
    before = whole if parts.front_end is None else parts.front_end
    calls = [partial(before, sound), partial(parts.net, parts.log_mels(sound))]
    (first, net), _ = repeated(calls, least)
    front = median(first) if parts.front_end is not None else median(a - b for a, b in zip(first, net, strict=True))
    return {"net_ms": scale * median(net), "front_end_ms": scale * front if front > 0 else None}


def _measure_memory(job: dict[str, Any], _: float) -> dict[str, Any]:
    opened = _open(job)
    peaks = {}
    for seconds in sorted(job["seconds"]):  # short windows first: a peak never falls
        sound, _share = clips(opened, seconds, 1)
        for at in range(max(1, round(STREAM / (sound.shape[1] / opened.sample_rate)))):
            opened.embed(sound[at % len(sound)][None])
        peaks[f"{seconds:g}"] = peak_memory()
    found: dict[str, Any] = {"peak_memory_bytes": peaks}
    if job["energy"]:
        from sondino.benchmark.measure import energy_per_10s

        energy = energy_per_10s(opened.embed, opened.sample_rate, opened.window, opened.hop)
        if energy is not None:
            found |= {"joules_per_10s": energy.joules, "joules_how": energy.how}
    if opened.encoder is not None:
        from sondino.benchmark.measure import costs_of

        costs = costs_of(opened.encoder)
        found |= {"parameters": costs.parameters, "macs_per_10s": costs.macs}
    return found


def _version(package: str) -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version(package) if package else ""
    except PackageNotFoundError:
        return ""


if __name__ == "__main__":
    main()
