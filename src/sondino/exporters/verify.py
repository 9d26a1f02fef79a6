"""Verify an export: compare its embeddings with the trained net's on silence, noise, a sweep and real clips."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sondino.audio.signal import fixed_noise
from sondino.errors import RunError
from sondino.exporters.asked import Precision
from sondino.metrics.agreement import cosines, neighbour_overlap
from sondino.metrics.collapse import COLLAPSED_COSINE, mean_pairwise_cosine, norm_ok
from sondino.model.onnx_file import ROUNDING
from sondino.progress import Report

Run = Callable[[NDArray[np.float32]], NDArray[np.float32]]
"""From waveforms (batch, samples) to embeddings (batch, dim)."""
Exact = Callable[[NDArray[np.float32]], NDArray[np.float64]]
"""The same in float64."""


NEIGHBOURS = 10
MINIMUM_COSINE = 0.99
"""Mean cosine on real clips that int8 should reach; if it does not, the card says so."""


@dataclass(frozen=True)
class Bound:
    """What an export may differ by on real clips.

    Attributes:
        difference: largest, relative to the largest value of a clip's embedding.
        cosine: mean.
        neighbours: mean 10-NN overlap.
        signals: cosine on each synthetic signal.
    """

    difference: float
    cosine: float
    neighbours: float
    signals: float


BOUNDS: Mapping[Precision, Bound] = {
    "f32": Bound(difference=2e-3, cosine=0.99999, neighbours=0.99, signals=0.999),
    "f16": Bound(difference=5e-2, cosine=0.9999, neighbours=0.95, signals=0.999),
    "int8": Bound(difference=float("inf"), cosine=0.95, neighbours=0.5, signals=0.8),
}


@dataclass(frozen=True)
class Verified:
    """Differences between an export's embeddings and the trained net's.

    Attributes:
        clips: real clips compared, a window each.
        seconds: of each.
        difference: largest, relative to the largest value of a clip's embedding.
        cosine: mean over the real clips.
        cosine_lowest: lowest of the real clips.
        neighbours: mean overlap of the ten nearest clips, among the real ones, that stay the same.
        signals: for silence, noise and a sweep: difference and cosine.
        norm_outliers: number of further clips, not compared: see `norm_ok`.
        rounding: number of further clips and signals, not compared: the trained net's own float32 rounding moves them
            as far.
        mean_pairwise_cosine: of the trained net's embeddings of different real clips.
    """

    clips: int
    seconds: float
    difference: float
    cosine: float
    cosine_lowest: float
    neighbours: float
    signals: dict[str, dict[str, float]]
    norm_outliers: int = 0
    rounding: int = 0
    mean_pairwise_cosine: float = 0.0

    def as_dict(self) -> dict[str, Any]:
        """For export.json and config.json."""
        facts = asdict(self)
        facts["unsteady"], facts["alike"] = facts.pop("norm_outliers"), facts.pop("mean_pairwise_cosine")
        return facts


def signals(rate: int, samples: int) -> dict[str, NDArray[np.float32]]:
    """Silence, noise, and a sine that rises through all frequencies: (samples,) each."""
    time = np.arange(samples) / rate
    rising = 2 * np.pi * (20.0 * time + (rate / 2 - 20.0) * time**2 * rate / (2 * samples))
    found: dict[str, NDArray[np.floating]] = {
        "silence": np.zeros(samples),
        "noise": fixed_noise(samples),
        "sweep": 0.5 * np.sin(rising),
    }
    return {name: signal.astype(np.float32) for name, signal in found.items()}


def verify(
    run: Run,
    reference: Run,
    clips: Sequence[NDArray[np.float32]],
    rate: int,
    batch: int | None = None,
    lengths: Sequence[int] = (),
    progress: Report = lambda done, total: None,
    exact: Exact | None = None,
    difference: float = np.inf,
) -> Verified:
    """Compare an export with the trained net.

    Args:
        run: the export.
        reference: the trained net.
        clips: real ones, (samples,) each.
        rate: hertz.
        batch: clips that the export takes at once; None: any.
        lengths: samples of other clips to try, of noise, one at a time, where the export takes any length.
        progress: called with (done, total) clips.
        exact: the trained net in float64, which is run where the export differs by more than `difference`. Such a row
            is left out if the export is no further from float64 than `ROUNDING` times the trained net is, unless most
            clips would be.
        difference: bound of the precision, relative to the largest value.
    """

    def rounds(waveforms: NDArray[np.float32], ours: NDArray[np.float32], theirs: NDArray[np.float32]) -> bool:
        if exact is None or not difference < _differences(ours, theirs)[0] < np.inf:
            return False
        truth = exact(waveforms)
        return bool(_differences(ours, truth)[0] <= ROUNDING * _differences(theirs, truth)[0])

    made = signals(rate, len(clips[0]))
    every = [*made.values(), *clips]
    size = batch or 8
    got, expected = [], []
    for first in range(0, len(every), size):
        rows = np.stack(every[first : first + size])
        got.append(run(rows))
        expected.append(reference(rows))
        progress(min(first + size, len(every)), len(every))
    ours, theirs = np.concatenate(got), np.concatenate(expected)
    if ours.shape != theirs.shape:
        raise RunError(f"the export's embeddings have shape {ours.shape} and the trained net's {theirs.shape}:  "
                       "please report this with the bundle's config.json")  # fmt: skip
    differences, cosines = _differences(ours, theirs), _cosines(ours, theirs)
    usual = len(made) + np.flatnonzero(norm_ok(theirs[len(made) :]))
    rounding = {i for i in (*range(len(made)), *usual) if rounds(every[i][None], ours[i : i + 1], theirs[i : i + 1])}
    real = np.array([i for i in usual if i not in rounding], int)
    if 2 * len(real) < len(usual):
        real, rounding = usual, set()
    left_out = len(rounding)
    found = {
        name: {"difference": float(differences[i]), "cosine": float(cosines[i])}
        for i, name in enumerate(made)
        if i not in rounding
    }
    for length in lengths:
        noise = signals(rate, length)["noise"][None]
        one, other = run(noise), reference(noise)
        if rounds(noise, one, other):
            left_out += 1
            continue
        found[f"noise of {length} samples"] = {
            "difference": float(_differences(one, other)[0]),
            "cosine": float(_cosines(one, other)[0]),
        }
    finite = bool(np.isfinite(ours).all())
    return Verified(
        clips=len(real),
        seconds=len(clips[0]) / rate,
        difference=float(differences[real].max()),
        cosine=float(cosines[real].mean()),
        cosine_lowest=float(cosines[real].min()),
        neighbours=neighbour_overlap(ours[real], theirs[real], NEIGHBOURS) if finite else 0.0,
        signals=found,
        norm_outliers=len(clips) - len(usual),
        rounding=left_out,
        mean_pairwise_cosine=mean_pairwise_cosine(theirs[real]),
    )


def check_bound(verified: Verified, precision: Precision, what: str, stated: float = 0.0) -> None:
    """Raise RunError if an export is past the bound of its precision, on real clips or on a synthetic signal.

    Args:
        verified: what was measured.
        precision: of the export.
        what: what is exported, for the message.
        stated: the difference that the bundle itself states, where its own graph is exported: weights in float16 are
            rounded a second time in it. On other clips up to three times as much is allowed.

    Raises:
        RunError: it is past it.
    """
    bound = BOUNDS[precision]
    bound = replace(bound, difference=max(bound.difference, 3 * stated))
    worst = max([verified.difference, *(signal["difference"] for signal in verified.signals.values())])
    lowest = min((signal["cosine"] for signal in verified.signals.values()), default=1.0)
    near = verified.cosine >= bound.cosine and verified.neighbours >= bound.neighbours and lowest >= bound.signals
    if worst <= bound.difference and near:
        return
    if verified.mean_pairwise_cosine > COLLAPSED_COSINE:
        raise RunError(
            f"{what} cannot be checked: the trained net itself gives nearly the same embedding for every clip (cosine "
            f"{verified.mean_pairwise_cosine:.5f} on average between different clips); it may have been pruned too "
            "far or trained too briefly: train it for longer, or let it recover with `sondino prune --corpus AUDIO "
            "--epochs N`; nothing was written"
        )
    limit = f"bound {bound.difference:g}" if np.isfinite(bound.difference) else "no bound"
    raise RunError(
        f"{what} in {precision} differs from the trained net by {worst:.1e} of the largest value "
        f"({limit}), cosine {verified.cosine:.6f} on {verified.clips} real clips (bound {bound.cosine:g}) "
        f"and {lowest:.4f} at the lowest on silence, noise and a sweep (bound {bound.signals:g}), "
        f"10-NN overlap {verified.neighbours:.1%} (bound {bound.neighbours:.0%}): nothing was written; "
        "try another --precision or --to, and report it with the bundle's config.json"
    )


def _differences(ours: NDArray[np.float32], theirs: NDArray[np.floating]) -> NDArray[np.float64]:
    """The largest difference of each row, relative to the largest value; infinite where a number is not finite."""
    scale = np.maximum(np.abs(theirs).max(axis=1), 1e-12).astype(np.float64)
    found = np.abs(ours.astype(np.float64) - theirs).max(axis=1) / scale
    return np.where(np.isfinite(ours).all(axis=1) & np.isfinite(theirs).all(axis=1), found, np.inf)


def _cosines(ours: NDArray[np.float32], theirs: NDArray[np.float32]) -> NDArray[np.float64]:
    """The cosine of each row; 0 where a number is not finite, 1 for two rows of zeros."""
    a, b = np.nan_to_num(ours).astype(np.float64), np.nan_to_num(theirs).astype(np.float64)
    return np.where(a.any(axis=1) & b.any(axis=1), cosines(a, b), (a == b).all(axis=1))
