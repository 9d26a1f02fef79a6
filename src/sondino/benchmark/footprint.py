"""Memory and time to embed 10 s of audio at a window length, each measured in its own process.

A fresh process imports the model's libraries, opens the model, and embeds 10 s of noise, one window after another, as
a device that embeds a stream would. Memory is the peak while it embeds minus what the process held before it opened
the model: weights and everything that a window needs, without Python and its libraries.
"""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from statistics import median

from sondino.audio.signal import fixed_noise
from sondino.audio.windows import Windowing, stack_windows
from sondino.benchmark.timing import memory, peak_memory, reset_peak, time_in_turn
from sondino.encoder.encoder import Encoder, resolve
from sondino.errors import EncoderError
from sondino.teachers.catalogue import RECORDS

SECONDS = 10.0
PROCESSES = 3
PASSES = 3
"""Of the 10 s in each process, after the one that memory is taken from."""


@dataclass(frozen=True)
class Footprint:
    """Costs of 10 s of audio, cut into windows of one length and embedded one at a time.

    Attributes:
        milliseconds_per_10s: median over passes and processes.
        memory_bytes: the peak minus what the process held before it opened the model, median over processes; None
            where the system does not report it.
    """

    milliseconds_per_10s: float
    memory_bytes: int | None

    def as_dict(self) -> dict[str, float | int | None]:
        """For JSON."""
        return asdict(self)


def footprint(name: str, window: float, padded: bool, threads: int | None) -> Footprint:
    """Measure a model at a window.

    Args:
        name: anything that `open_model` opens.
        window: seconds.
        padded: whether windows are padded to the model's own.
        threads: processor threads; None: all.

    Raises:
        EncoderError: it failed; the message has the reason.
    """
    job = json.dumps({"name": name, "window": window, "padded": padded, "threads": threads})
    found = [_in_a_process(job, name) for _ in range(PROCESSES)]
    memory = [each.memory_bytes for each in found if each.memory_bytes is not None]
    return Footprint(
        round(median(each.milliseconds_per_10s for each in found), 3),
        round(median(memory)) if len(memory) == len(found) else None,
    )


def _in_a_process(job: str, name: str) -> Footprint:
    done = subprocess.run(
        [sys.executable, "-m", "sondino.benchmark.footprint", job], capture_output=True, text=True, check=False
    )
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
        raise EncoderError(f"{name} could not be measured in a process of its own: {reason}")
    return Footprint(**json.loads(done.stdout.strip().splitlines()[-1]))


def measure(open_encoder: Callable[[], Encoder], window: float) -> Footprint:
    """Measure an encoder in this process, which should have done nothing but import its libraries.

    Args:
        open_encoder: opens it.
        window: seconds, which it takes.
    """
    before = memory()
    encoder = resolve(open_encoder())
    noise = fixed_noise(round(SECONDS * encoder.sample_rate))
    windowing = Windowing(window, short="native")
    windows, _, _ = stack_windows(noise, encoder.sample_rate, windowing, encoder.minimum)

    def embed() -> None:
        for each in windows:
            encoder.embed(each[None])

    reset_peak()
    embed()
    peak = peak_memory()
    (times,), _ = time_in_turn([embed], lambda passes, _: passes >= PASSES)
    return Footprint(1000 * median(times), None if before is None or peak is None else max(0, peak - before))


def import_libraries(name: str) -> None:
    """Import the libraries of a model, so that their memory does not count as the model's."""
    record = RECORDS.get(name.partition(":")[0])
    needed = [] if record is None else [f"sondino.teachers.{record.module}"]
    if record is not None and record.extra in ("litert", "birdnet"):
        needed.append("ai_edge_litert.interpreter")
    for module in ("onnxruntime", *needed):
        with suppress(ImportError):  # opening the model has the better message
            importlib.import_module(module)


def main() -> None:
    """Measure the job of the argument, and print it as JSON."""
    from sondino.encoder.padded import PaddedEncoder
    from sondino.errors import SondinoError
    from sondino.pretrained.open import open_model

    job = json.loads(sys.argv[1])
    import_libraries(job["name"])

    def open_encoder() -> Encoder:
        encoder = open_model(job["name"], job["threads"])
        return PaddedEncoder(encoder, job["window"]) if job["padded"] else encoder

    try:
        found = measure(open_encoder, job["window"])
    except SondinoError as error:
        sys.exit(str(error))
    print(json.dumps(found.as_dict()))  # noqa: T201 - its result


if __name__ == "__main__":
    main()
