"""Size, speed and energy of a model: parameters, multiply-accumulates, milliseconds, joules."""

import logging
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sondino.audio.signal import fixed_noise
from sondino.benchmark.timing import time_in_turn
from sondino.encoder.encoder import Costs, Encoder, resolve
from sondino.errors import MissingExtra, OptionError, require
from sondino.nets.size import SECONDS
from sondino.teachers.graph_costs import encoder_costs


def milliseconds_per_10s(
    embed: Callable[[NDArray[np.float32]], Any],
    sample_rate: int,
    repeats: int = 7,
    window: float | None = None,
    hop: float | None = None,
) -> float:
    """Median wall-clock milliseconds to embed 10 s of audio, one clip at a time.

    Args:
        embed: takes (batch, samples) float32 waveforms, such as `model.embed`.
        sample_rate: of the waveforms, in Hz.
        repeats: timed calls, after one that is not timed.
        window: seconds; 10 s are then a batch of as many windows as cover them. None: all 10 s in one waveform.
        hop: seconds from one window to the next; None: as long as a window.

    Raises:
        OptionError: no repeats, or a window or hop that is not above 0.
    """
    if repeats < 1:
        raise OptionError(f"timing needs repeats of 1 or more, not {repeats}")
    sound, share = _ten_seconds(sample_rate, window, hop)
    return 1000.0 * share * _medians([lambda: embed(sound)], repeats)[0]


def milliseconds_side_by_side(encoders: Sequence[Encoder], rounds: int) -> list[float]:
    """`milliseconds_per_10s` of several encoders, timed in turn, so that a busy machine is busy for all.

    Args:
        encoders: open models.
        rounds: how often each is timed, after one call that is not.
    """
    given = [_ten_seconds(one.sample_rate, one.window, resolve(one).hop) for one in encoders]
    calls = [partial(one.embed, sound) for one, (sound, _) in zip(encoders, given, strict=True)]
    return [1000.0 * share * took for (_, share), took in zip(given, _medians(calls, rounds), strict=True)]


def _medians(calls: Sequence[Callable[[], Any]], rounds: int) -> list[float]:
    """Median seconds of each call, timed in turn."""
    times, _ = time_in_turn(calls, lambda done, _: done >= rounds)
    return [statistics.median(each) for each in times]


def _ten_seconds(sample_rate: int, window: float | None, hop: float | None) -> tuple[NDArray[np.float32], float]:
    """A batch of windows (rows, samples) for about 10 s, and the factor from its cost to that of exactly 10 s."""
    step = window if hop is None else hop
    if (window is not None and window <= 0) or (step is not None and step <= 0):
        raise OptionError(f"costs are measured for windows and hops above 0 s, not {window} and {hop}")
    rows = 1 if window is None or step is None else max(1, round(SECONDS / step))
    samples = round((SECONDS if window is None else window) * sample_rate)
    # Noise, not zeros: some kernels are slower or faster on zeros and denormals.
    return fixed_noise(rows, samples), 1.0 if window is None or step is None else SECONDS / (rows * step)


@dataclass(frozen=True)
class Energy:
    """Energy of the processor for 10 s of audio, without memory and the rest of the machine.

    Attributes:
        joules: for 10 s of audio.
        how: read from a power meter, which includes other programs, or estimated from this process's share of
            processor time.
    """

    joules: float
    how: str


def energy_per_10s(
    embed: Callable[[NDArray[np.float32]], Any],
    sample_rate: int,
    window: float | None = None,
    hop: float | None = None,
    seconds: float = 3.0,
) -> Energy | None:
    """Joules that the processor takes to embed 10 s of audio, by codecarbon; nothing is sent or written.

    Args:
        embed: takes (batch, samples) float32 waveforms, such as `model.embed`.
        sample_rate: of the waveforms, in Hz.
        window: seconds; None: any length.
        hop: seconds from one window to the next; None: as long as a window.
        seconds: that it is repeated for, at least.

    Returns:
        None where codecarbon is not installed (pip install 'sondino[energy]').

    Raises:
        OptionError: a window or hop that is not above 0.
    """
    sound, share = _ten_seconds(sample_rate, window, hop)
    try:
        codecarbon = require("codecarbon", "energy")
    except MissingExtra:
        return None
    logging.getLogger("codecarbon").setLevel(logging.ERROR)  # it logs before its own option is read
    # What a user's codecarbon settings might add is switched off: files, servers, and a look-up of the grid online.
    tracker = codecarbon.OfflineEmissionsTracker(
        tracking_mode="process",
        measure_power_secs=1.0,
        log_level="error",
        allow_multiple_runs=True,
        output_methods=[],
        output_handlers=[],
        emissions_endpoint=None,
        force_carbon_intensity_g_co2e_kwh=0.0,
        pue=1.0,
    )
    embed(sound)
    tracker.start()
    calls, end = 0, time.perf_counter() + seconds
    while calls == 0 or time.perf_counter() < end:
        embed(sound)
        calls += 1
    tracker.stop()
    found = tracker.final_emissions_data
    return Energy(3.6e6 * found.cpu_energy / calls * share, _how(tracker))


def _how(tracker: Any) -> str:
    """The source of codecarbon's figure, as text."""
    for part in tracker._hardware:
        kind, mode = type(part).__name__, getattr(part, "_mode", "")
        if kind == "CPU" and mode in ("cpu_load", "constant"):
            return f"codecarbon's estimate from {part._tdp:g} W for {part.get_model()} at full load, no meter here"
        if kind == "CPU":
            return {"intel_rapl": "power meter (RAPL)", "windows_emi": "power meter (Windows EMI)"}.get(
                mode, "power meter (Intel Power Gadget)"
            )
        if getattr(part, "chip_part", None) == "CPU":
            return f"power meter ({kind})"
    return "codecarbon's estimate, no meter here"


def costs_of(encoder: Encoder) -> Costs:
    """Parameters of any teacher or bundle, and its multiply-accumulates for 10 s of audio; its front-end not counted.

    A bundle's are in its config; an ONNX or LiteRT graph counts its own over one window, and of any other encoder the
    torch modules that it calls are counted. Graphs have their norms folded into their weights, which makes them a
    little smaller than the nets that they were exported from.

    Args:
        encoder: an open teacher or model.

    Returns:
        None for what cannot be known: of embeddings by id, of an operator that is not counted, of a model that is
        neither a graph nor torch, or of an ONNX graph without onnx to read it.
    """
    encoder = resolve(encoder)
    if encoder.lookup is not None:
        return Costs()
    try:
        if encoder.costs is not None:
            return encoder.costs()
        return encoder_costs(encoder) if "torch" in sys.modules else Costs()
    except Exception:  # what can be embedded is worth measuring, even where a graph cannot be taken apart
        return Costs()
