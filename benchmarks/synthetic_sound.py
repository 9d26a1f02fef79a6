"""Make unlabelled sound from random numbers: clips of 4 s at 32 kHz, as unlike each other as possible.

Some 40 generators, each with wide random parameters, make noise beds, rain, wind, waves, bursts, engines, whistles,
bird-like and insect-like calls, voice-like cries, babble and crowds, sirens, bells, knocks, footsteps, creaks, drops,
explosions, zaps, shots, hum, dialling tones, FM timbres, plucked and bowed notes, drums, pads, and melodies. A clip is
one of them, a mixture, or a sequence, now and then warped, distorted, or echoed, with a random room, background noise,
band limit, gain, and silence before and after. The same seed gives the same clips.

    python benchmarks/synthetic_sound.py OUT --clips 4000 --seed 0

OUT gets ``audio/00000.flac`` and so on, and ``manifest.csv`` (path, generators, seconds). Clips that are there already
are not made again.
"""

import argparse
import csv
from collections.abc import Callable
from pathlib import Path

import numpy as np
import soundfile as sf
from scipy.signal import fftconvolve, lfilter

from synthetic_effects import (
    bells,
    bird,
    breakage,
    bursts,
    clock,
    creak,
    cry,
    data,
    dial,
    drops,
    engine,
    explosion,
    footsteps,
    frog,
    grains,
    hum,
    insect,
    jingle,
    knocks,
    motor,
    noise_bed,
    shots,
    siren,
    waves,
    whistle,
    wind,
    zap,
)
from synthetic_music import (
    babble,
    beats,
    breath,
    chip,
    crowd,
    drums,
    fm_notes,
    mallets,
    pad,
    partials,
    plucked,
    scrape,
    singing,
    sustained,
)
from synthetic_parts import (
    RATE,
    SECONDS,
    Rng,
    Sound,
    add,
    around,
    chance,
    coloured,
    decay,
    hump,
    level,
    shaped,
    swell,
    white,
    wide,
)

GENERATORS: list[Callable[[Rng, int], Sound]] = [
    noise_bed,
    wind,
    waves,
    grains,
    grains,
    bursts,
    engine,
    motor,
    whistle,
    bird,
    bird,
    cry,
    cry,
    insect,
    frog,
    siren,
    bells,
    jingle,
    breakage,
    knocks,
    footsteps,
    clock,
    creak,
    drops,
    explosion,
    zap,
    shots,
    hum,
    dial,
    data,
    fm_notes,
    plucked,
    mallets,
    drums,
    sustained,
    pad,
    chip,
    babble,
    babble,
    crowd,
    singing,
    breath,
    scrape,
    beats,
    partials,
]


def scene(rng: Rng, n: int) -> tuple[Sound, list[str]]:
    """One generator, a mixture of some, or one after another; and their names."""
    count = int(rng.choice([1, 2, 3, 4], p=(0.5, 0.28, 0.14, 0.08)))
    chosen = [GENERATORS[index] for index in rng.integers(len(GENERATORS), size=count)]
    out = np.zeros(n)
    if count > 1 and chance(rng, 0.45):
        edges = np.concatenate([[0], np.sort(rng.uniform(0.1, 0.9, count - 1)), [1]])
        for generator, begin, end in zip(chosen, edges[:-1], edges[1:], strict=True):
            size = max(int((end - begin) * n * wide(rng, 0.7, 1.2)), RATE // 4)
            part = level(generator(rng, size)) * hump(size, wide(rng, 0.003, 0.3))
            add(out, part, int(begin * n), wide(rng, 0.15, 1))
    else:
        for generator in chosen:
            out += level(generator(rng, n)) * wide(rng, 0.1, 1)
    return level(out), [generator.__name__ for generator in chosen]


def warp(rng: Rng, sound: Sound) -> Sound:
    """A sound changed by one random effect."""
    n, at = len(sound), np.arange(len(sound))
    kind = rng.integers(9)
    if kind == 0:
        return sound[::-1]
    if kind == 1:  # speed that changes
        speed = around(rng, n, 1, wide(rng, 1.05, 2), wide(rng, 2, 8))
        return np.interp(np.cumsum(speed) * (n / speed.sum()), at, sound)
    if kind == 2:  # something that passes
        distance = np.hypot(wide(rng, 1, 30), wide(rng, 5, 40) * (at / RATE - rng.uniform(0, 4)))
        return np.interp(at - (distance - distance.min()) / 343 * RATE, at, sound) / distance
    if kind == 3:
        return np.tanh(wide(rng, 2, 60) * sound)
    if kind == 4:  # fewer bits or a lower rate without a filter
        steps, hold = wide(rng, 2, 60), int(rng.integers(1, 12))
        return np.round(np.repeat(sound[::hold], hold)[:n] * steps) / steps
    if kind == 5:  # echo
        lag, gain = int(wide(rng, 0.01, 0.7) * RATE), rng.uniform(0.2, 0.85)
        taps = np.zeros(5 * lag + 1)
        taps[::lag] = gain ** np.arange(6)
        return fftconvolve(sound, taps)[:n]
    if kind == 6:
        return sound * np.sin(2 * np.pi * wide(rng, 20, 3000) * at / RATE)
    if kind == 7:  # flanger or chorus
        delay = wide(rng, 10, 800) * (1 + 0.9 * np.sin(2 * np.pi * wide(rng, 0.1, 6) * at / RATE))
        return sound + rng.uniform(-0.9, 0.9) * np.interp(at - delay, at, sound)
    return sound * swell(rng, n)


def room(rng: Rng, sound: Sound) -> Sound:
    """A sound in a random room, near or far."""
    time = wide(rng, 0.1, 3)
    size = int(min(time, 2.0) * RATE)
    tail = white(rng, size) * decay(size, time, 0.0)
    dark = lfilter([0.25], [1, -0.75], white(rng, size)) * decay(size, 1.7 * time, 0.0)
    wet = fftconvolve(sound, tail * rng.random() + 2 * dark)[: len(sound)]
    return sound + wide(rng, 0.05, 3) * level(wet)


def band_limited(rng: Rng, sound: Sound) -> Sound:
    """A sound through a telephone, or a recorder of a low rate."""
    low, high = ((300, 3400), (20, 4000), (20, 8000), (20, 11000), (150, 7000))[rng.integers(5)]
    return shaped(sound, lambda f: 1 / (1 + (low / f) ** 8) / (1 + (f / high) ** 24))


def clip(rng: Rng) -> tuple[Sound, list[str]]:
    """A whole clip, and the names of the generators in it."""
    n = int(SECONDS * RATE)
    out, names = scene(rng, n)
    if chance(rng, 0.3):
        out = level(warp(rng, out))
    if chance(rng, 0.25):  # silence before and after
        length = int(n * wide(rng, 0.15, 0.9))
        edges = hump(length, wide(rng, 0.002, 0.3))
        padded = np.zeros(n)
        begin = int(rng.integers(0, n - length))
        padded[begin : begin + length] = out[(n - length) // 2 :][:length] * edges
        out = level(padded)
    if chance(rng, 0.5):
        out = level(room(rng, out))
    if chance(rng, 0.6):
        out = out + 10 ** (rng.uniform(-40, -10) / 20) * np.sqrt(np.mean(out**2)) / 0.2 * coloured(rng, n)
    if chance(rng, 0.25):
        out = band_limited(rng, out)
    return level(out) * 10 ** (rng.uniform(-20, -0.3) / 20), names


def main() -> None:
    """Make the clips."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, help="the folder to fill")
    parser.add_argument("--clips", type=int, default=4000, help="how many (default: 4000)")
    parser.add_argument("--seed", type=int, default=0, help="another seed gives other clips (default: 0)")
    args = parser.parse_args()
    (args.out / "audio").mkdir(parents=True, exist_ok=True)
    rows = args.out / "manifest.csv"
    there = len(rows.read_text().splitlines()) - 1 if rows.exists() else 0
    with rows.open("a", newline="") as opened:
        table = csv.writer(opened, lineterminator="\n")
        if not rows.stat().st_size:
            table.writerow(["path", "generators", "seconds"])
        for number in range(max(there, 0), args.clips):
            rng = np.random.default_rng([args.seed, number])
            sound, names = clip(rng)
            while not np.isfinite(sound).all() or np.sqrt(np.mean(sound**2)) < 1e-3:  # silent
                sound, names = clip(rng)
            path = f"audio/{number:05d}.flac"
            sf.write(args.out / path, sound, RATE, "PCM_16")
            table.writerow([path, " ".join(names), SECONDS])
            opened.flush()
    print(f"{args.clips} clips, {args.clips * SECONDS / 3600:.2f} h")


if __name__ == "__main__":
    main()
