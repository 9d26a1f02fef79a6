"""Size and speed of a model, for the table: parameters, multiply-accumulates, milliseconds."""

import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import OptionError, require

SECONDS = 10.0  # the stretch of sound that costs are told for, as in the papers


def parameters(module: Any) -> int:
    """Trainable and frozen parameters of a torch module, shared ones counted once; buffers are not parameters."""
    return sum(int(p.numel()) for p in module.parameters())


def milliseconds_per_10s(
    embed: Callable[[NDArray[np.float32]], Any], sample_rate: int, repeats: int = 7, window: float | None = None
) -> float:
    """Median wall-clock milliseconds to embed 10 s of sound, one clip at a time.

    Args:
        embed: takes (batch, samples) float32 waveforms, such as `model.embed`.
        sample_rate: of the waveforms, in Hz.
        repeats: timed calls, after one that is not timed.
        window: seconds that the model takes at once; 10 s are then given as a batch of as many windows as cover
            them. None gives all 10 s in one row.

    Raises:
        OptionError: no repeats, or a window that is not above 0.
    """
    if repeats < 1 or (window is not None and window <= 0):
        raise OptionError(f"timing needs repeats of 1 or more and a window above 0 s, not {repeats} and {window}")
    rows = 1 if window is None else max(1, round(SECONDS / window))
    samples = round((SECONDS if window is None else window) * sample_rate)
    # Noise, not zeros: some kernels are slower or faster on zeros and denormals.
    sound = (0.1 * np.random.default_rng(0).standard_normal((rows, samples))).astype(np.float32)
    # What was timed is a whole number of windows; the answer is told for exactly 10 s.
    share = SECONDS / (rows * samples / sample_rate)
    embed(sound)
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        embed(sound)
        times.append(time.perf_counter() - start)
    return 1000.0 * share * statistics.median(times)


def macs(module: Any, seconds: float = SECONDS, example: Any = None) -> int:
    """Multiply-accumulates of one forward pass over `seconds` of sound (batch 1), as the papers count them.

    Counts matrix products, convolutions and attention (torch's flop counter, halved); not activations, norms or
    pooling. A student is fed its log-mel, so its front-end is not counted; give `example` to count anything else.

    Args:
        module: a torch module; a student (with a `logmel` attribute) or any that takes `example`.
        seconds: of sound.
        example: the input tensor; None makes a log-mel (1, n_mels, frames) from the module's own `logmel`.

    Raises:
        OptionError: no example for a module that has no `logmel`.
    """
    torch = require("torch", "train")
    counter = require("torch.utils.flop_counter", "train").FlopCounterMode(display=False)
    if example is None:
        spec = getattr(module, "logmel", None)
        if spec is None:
            raise OptionError("counting MACs needs a student (with a logmel) or an example input tensor")
        from ..frontend import n_frames

        example = torch.zeros(1, spec.n_mels, n_frames(spec, round(seconds * spec.sample_rate)))
    was_training = module.training
    module.eval()
    try:
        with torch.no_grad(), counter:
            module(example)
    finally:
        module.train(was_training)
    return int(counter.get_total_flops()) // 2
