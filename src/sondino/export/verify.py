"""The check that every export passes: run against the trained net on silence, noise, a sweep and real clips."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from sondino.audio import ShortPolicy, find_audio, read, windows
from sondino.errors import AudioError, OptionError, RunError
from sondino.evaluate.fidelity import neighbour_overlap
from sondino.progress import Report

Precision = Literal["f32", "f16", "int8"]
Run = Callable[[NDArray[np.float32]], NDArray[np.float32]]
"""From waveforms (batch, samples) to vectors (batch, dim)."""

CLIPS = 200
MOST_SECONDS = 2400.0
"""Of all the real clips together."""

NEIGHBOURS = 10
PROMISED = 0.99
"""Mean cosine on real clips that int8 should keep; where it does not, the card says so."""


ALIKE = 0.999
"""Mean cosine between vectors of different clips from which rounding decides which of them are near."""

UNSTEADY = 30.0
"""Times the usual length from which a vector is one that the net itself has no hold of."""


@dataclass(frozen=True)
class Bound:
    """What an export may differ by on real clips.

    Attributes:
        difference: largest, relative to the largest value of a clip's vector.
        cosine: mean.
        neighbours: mean share of the ten nearest clips that stay the same.
        signals: cosine on each made signal.
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
    """How far an export's vectors are from the trained net's.

    Attributes:
        clips: real clips compared, a window each.
        seconds: of each.
        difference: largest, relative to the largest value of a clip's vector.
        cosine: mean over the real clips.
        cosine_lowest: of any real clip.
        neighbours: mean share of the ten nearest clips, among the real ones, that stay the same.
        signals: for silence, noise and a sweep: difference and cosine.
        unsteady: further clips, which say nothing of an export: see `steady`.
        alike: mean cosine between the trained net's vectors of different real clips.
    """

    clips: int
    seconds: float
    difference: float
    cosine: float
    cosine_lowest: float
    neighbours: float
    signals: dict[str, dict[str, float]]
    unsteady: int = 0
    alike: float = 0.0

    def as_dict(self) -> dict[str, Any]:
        """For export.json and config.json."""
        return asdict(self)


def real_clips(
    rate: int, samples: int, short: ShortPolicy, sounds: Path | None = None, count: int = CLIPS
) -> list[NDArray[np.float32]]:
    """Real sound to verify on: the first window of each file, then the next of each, until there are enough.

    Args:
        rate: hertz.
        samples: of each clip.
        short: what becomes of files under a window; "native" gives them zeros, since all clips are of one length.
        sounds: a file or folder; None: the sounds that sondino ships. Files that cannot be read are passed over.
        count: clips at most.

    Returns:
        clips (samples,) float32.

    Raises:
        OptionError: fewer than two files of it can be heard.
    """
    folder = Path(__file__).parents[1] / "data" / "sonic_pi" / "audio" if sounds is None else sounds
    files = find_audio(folder)
    heard = []
    filled: ShortPolicy = "pad" if short == "native" else short
    for file in _spread(files, count):
        try:
            sound = read(file, rate, duration=60.0)
        except AudioError:
            continue
        pieces, _, weights = windows(sound, rate, samples / rate, short=filled)
        cut = [piece for piece, weight in zip(pieces, weights, strict=True) if weight >= min(weights[0], rate / 4)]
        # Last, where there are few: the second half of a sound by itself is another sound.
        heard.append([*cut, windows(sound[len(sound) // 2 :], rate, samples / rate, short=filled)[0][0]])
    if len(heard) < 2:
        raise OptionError(f"{folder}: of its files {len(heard)} can be heard, where comparing needs 2 or more: "
                          "name a folder of audio")  # fmt: skip
    clips = []
    for turn in range(max(map(len, heard))):
        clips += [clips_of[turn] for clips_of in heard if turn < len(clips_of)]
    # Of long windows fewer are heard: 200 of a minute each would be gigabytes.
    most = max(20, min(count, round(MOST_SECONDS * rate / samples)))
    return [np.ascontiguousarray(clip[:samples]) for clip in clips[:most]]


def _spread(files: Sequence[Path], count: int) -> list[Path]:
    """At most `count` of the files, evenly over the list: folders are often sorted by what is heard."""
    step = max(1.0, len(files) / count)
    return [files[int(i * step)] for i in range(min(len(files), count))]


def signals(rate: int, samples: int) -> dict[str, NDArray[np.float32]]:
    """Silence, noise, and a sine that rises through all frequencies: (samples,) each."""
    time = np.arange(samples) / rate
    rising = 2 * np.pi * (20.0 * time + (rate / 2 - 20.0) * time**2 * rate / (2 * samples))
    found = {
        "silence": np.zeros(samples),
        "noise": 0.1 * np.random.default_rng(0).standard_normal(samples),
        "sweep": 0.5 * np.sin(rising),
    }
    return {name: signal.astype(np.float32) for name, signal in found.items()}


def steady(vectors: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Which of a net's vectors (n, dim) are of a usual length.

    Nets of dynamic kernels that were trained for minutes give some real sounds vectors a million times as long as
    others, which rounding to float32 alone turns by degrees: neither int8 nor an export can be judged by them. What is
    not a number stays, so that it is judged and refused.
    """
    lengths = np.linalg.norm(vectors.astype(np.float64), axis=1)
    said = lengths[np.isfinite(lengths) & (lengths > 0)]
    usual = np.median(said) if len(said) else np.inf
    return np.asarray(~np.isfinite(lengths) | (lengths <= UNSTEADY * usual))


def alike(vectors: NDArray[np.float32]) -> float:
    """Mean cosine between different ones of a net's vectors (n, dim): near 1, it gives one vector for every sound.

    0 where there is one vector alone, or numbers that are not finite.
    """
    lengths = np.linalg.norm(vectors.astype(np.float64), axis=1, keepdims=True)
    cosines = (vectors / np.maximum(lengths, 1e-30)) @ (vectors / np.maximum(lengths, 1e-30)).T
    n = len(vectors)
    return float(np.nan_to_num((cosines.sum() - np.trace(cosines)) / max(1, n * (n - 1))))


def verify(
    run: Run,
    reference: Run,
    clips: Sequence[NDArray[np.float32]],
    rate: int,
    batch: int | None = None,
    lengths: Sequence[int] = (),
    progress: Report = lambda done, total: None,
) -> Verified:
    """Compare an export with the net that it was made of.

    Args:
        run: the export.
        reference: the trained net.
        clips: real ones, (samples,) each.
        rate: hertz.
        batch: clips that the export takes at once; None: any.
        lengths: samples of other clips to try, of noise, one at a time, where the export takes any length.
        progress: told (done, total) clips.
    """
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
        raise RunError(f"the export gives vectors of shape {ours.shape} where the trained net gives {theirs.shape}: "
                       "please report this with the bundle's config.json")  # fmt: skip
    differences, cosines = _differences(ours, theirs), _cosines(ours, theirs)
    real = len(made) + np.flatnonzero(steady(theirs[len(made) :]))
    told = {name: {"difference": float(differences[i]), "cosine": float(cosines[i])} for i, name in enumerate(made)}
    for length in lengths:
        noise = signals(rate, length)["noise"][None]
        one, other = run(noise), reference(noise)
        told[f"noise of {length} samples"] = {
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
        signals=told,
        unsteady=len(clips) - len(real),
        alike=alike(theirs[real]),
    )


def refuse(verified: Verified, precision: Precision, what: str) -> None:
    """Stop an export that is past the bound of its precision, on real clips or on a made signal.

    Args:
        verified: what was measured.
        precision: of the export.
        what: is exported, for the message.

    Raises:
        RunError: it is past it.
    """
    bound = BOUNDS[precision]
    worst = max([verified.difference, *(signal["difference"] for signal in verified.signals.values())])
    heard = min((signal["cosine"] for signal in verified.signals.values()), default=1.0)
    near = verified.cosine >= bound.cosine and verified.neighbours >= bound.neighbours and heard >= bound.signals
    if worst <= bound.difference and near:
        return
    if verified.alike > ALIKE:
        raise RunError(
            f"{what} cannot be checked: the trained net itself gives nearly the same vector for every sound (cosine "
            f"{verified.alike:.5f} on average between different clips), as one does that was pruned too far or trained "
            "too briefly: train it for longer, or let it recover with `sondino prune --corpus SOUND --epochs N`; "
            "nothing was written"
        )
    limit = f"bound {bound.difference:g}" if np.isfinite(bound.difference) else "no bound"
    raise RunError(
        f"{what} in {precision} differs from the trained net by {worst:.1e} of the largest value "
        f"({limit}), cosine {verified.cosine:.6f} on {verified.clips} real clips (bound {bound.cosine:g}) "
        f"and {heard:.4f} at the lowest on silence, noise and a sweep (bound {bound.signals:g}), "
        f"{verified.neighbours:.1%} of the nearest clips the same (bound {bound.neighbours:.0%}): nothing was written; "
        "try another --precision or --to, and report it with the bundle's config.json"
    )


def _differences(ours: NDArray[np.float32], theirs: NDArray[np.float32]) -> NDArray[np.float64]:
    """The largest difference of each row, relative to the largest value; infinite where a number is not finite."""
    scale = np.maximum(np.abs(theirs).max(axis=1), 1e-12).astype(np.float64)
    found = np.abs(ours.astype(np.float64) - theirs).max(axis=1) / scale
    return np.where(np.isfinite(ours).all(axis=1) & np.isfinite(theirs).all(axis=1), found, np.inf)


def _cosines(ours: NDArray[np.float32], theirs: NDArray[np.float32]) -> NDArray[np.float64]:
    """The cosine of each row; 0 where a number is not finite."""
    a, b = np.nan_to_num(ours).astype(np.float64), np.nan_to_num(theirs).astype(np.float64)
    lengths = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    return np.where(lengths > 0, np.einsum("nd,nd->n", a, b) / np.maximum(lengths, 1e-30), (a == b).all(axis=1))
