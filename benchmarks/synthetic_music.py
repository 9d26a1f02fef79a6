"""Generators of synthetic_sound.py: instruments, voices and tones."""

import numpy as np
from scipy.signal import lfilter

from synthetic_parts import (
    RATE,
    SCALES,
    Rng,
    Sound,
    add,
    around,
    buzz,
    chance,
    coloured,
    curve,
    decay,
    formants,
    hump,
    level,
    melody,
    modes,
    moving,
    random_body,
    repeated,
    swell,
    turns,
    voice,
    white,
    wide,
)


def fm_notes(rng: Rng, n: int) -> Sound:
    """Notes of frequency-modulated timbres."""
    ratio = float(rng.choice([1, 2, 3, 0.5, 1.41, wide(rng, 0.2, 12)]))
    index, time, attack = wide(rng, 0.2, 20), wide(rng, 0.1, 4), wide(rng, 0.001, 0.2)

    def note(size: int, frequency: float) -> Sound:
        t = 2 * np.pi * frequency * np.arange(size) / RATE
        fall = decay(size, time, attack)
        return np.sin(t + index * fall * np.sin(ratio * t)) * fall * hump(size, 0.02)

    return melody(rng, n, note)


def plucked(rng: Rng, n: int) -> Sound:
    """Plucked and hammered strings."""
    count, point = 40, rng.uniform(0.05, 0.5)
    stiff, time, damping = wide(rng, 1e-5, 2e-3), wide(rng, 0.2, 6), wide(rng, 0.003, 0.4)
    k = 1.0 + np.arange(count)
    gains = np.sin(np.pi * k * point) / k ** rng.uniform(0.3, 2)

    def note(size: int, frequency: float) -> Sound:
        f = frequency * k * np.sqrt(1 + stiff * k**2)
        return modes(size, f, gains, time / (1 + damping * k)) * hump(size, 0.01)

    out = melody(rng, n, note, 40, 1500)
    return random_body(rng, out, 80, 5000, 6, 2) if chance(rng, 0.5) else out


def mallets(rng: Rng, n: int) -> Sound:
    """Melodies on bars, pans, or bells."""
    count = int(rng.integers(2, 9))
    ratios = np.concatenate([[1.0], np.sort(rng.uniform(1.5, 14, count))])
    gains, times = rng.random(count + 1), wide(rng, 0.05, 3) * rng.random(count + 1)
    return melody(rng, n, lambda size, f: modes(size, f * ratios, gains, times) * hump(size, 0.01), 80, 2500)


def drums(rng: Rng, n: int) -> Sound:
    """Patterns on drums and cymbals."""

    def hit() -> Sound:
        size = int(wide(rng, 0.04, 1) * RATE)
        t = np.arange(size) / RATE
        f, drop = wide(rng, 35, 900), wide(rng, 0.1, 4)
        skin = np.sin(2 * np.pi * (f * t + f * drop * 0.03 * (1 - np.exp(-t / 0.03))))
        noise = wide(rng, 0.01, 3) * coloured(rng, size) * decay(size, wide(rng, 0.03, 1))
        return skin * decay(size, size / RATE) + noise

    out, step = np.zeros(n), wide(rng, 0.08, 0.4) * RATE
    for _ in range(rng.integers(1, 5)):
        sound, pattern = hit(), rng.random(int(rng.integers(2, 17))) < rng.uniform(0.15, 0.8)
        for number in range(int(n / step)):
            if pattern[number % len(pattern)]:
                add(out, sound, int(number * step), wide(rng, 0.4, 1))
    return out


def sustained(rng: Rng, n: int) -> Sound:
    """Bowed and blown notes with vibrato through a body."""
    vibrato, depth, attack = wide(rng, 3, 8), wide(rng, 0.0005, 0.03), wide(rng, 0.01, 0.3)
    pole, air, odd = rng.uniform(0.3, 0.98), wide(rng, 0.001, 0.3), chance(rng, 0.3)

    def note(size: int, frequency: float) -> Sound:
        t = np.arange(size) / RATE
        tone = buzz(frequency * (1 + depth * np.minimum(t / 0.4, 1) * np.sin(2 * np.pi * vibrato * t)))
        if odd:
            half = int(RATE / frequency / 2) + 1
            tone[half:] -= tone[:-half].copy()
        tone = level(lfilter([1], [1, -pole], tone)) + air * white(rng, size)
        return tone * np.minimum(t / attack, 1) * hump(size, 0.1)

    return random_body(rng, melody(rng, n, note, 40, 1500), 150, 6000, int(rng.integers(3, 12)), wide(rng, 0.5, 5))


def pad(rng: Rng, n: int) -> Sound:
    """A held chord of many detuned partials, moving slowly."""
    root, detune, fall = wide(rng, 40, 600), wide(rng, 1e-4, 0.02), rng.uniform(0.3, 2.5)
    out = np.zeros(n)
    for _ in range(rng.integers(1, 6)):
        k = np.tile(1 + np.arange(int(rng.integers(1, 24))), 3)
        f = root * 2 ** (rng.integers(0, 25) / 12) * k * (1 + detune * rng.standard_normal(len(k)))
        out += modes(n, f, k**-fall, np.full(len(k), 1e9), 6.3 * rng.random(len(k))) * curve(rng, n, 0.1, 1, 5)
    top = curve(rng, n, 200, 12000, 6).astype(np.float32)
    return moving(out, lambda at, f: 1 / (1 + (f / top[at]) ** 4)) if chance(rng, 0.5) else out * swell(rng, n)


def chip(rng: Rng, n: int) -> Sound:
    """Melodies and arpeggios of square, triangle, and saw-tooth waves, as of old games."""
    width, kind, time = rng.uniform(0.1, 0.5), rng.integers(3), wide(rng, 0.1, 3)
    arpeggio = rng.integers(0, 13, 3) if chance(rng, 0.5) else np.zeros(1)

    def note(size: int, frequency: float) -> Sound:
        t = np.arange(size) / RATE
        turn = (np.cumsum(frequency * 2 ** (arpeggio[(t * 25).astype(int) % len(arpeggio)] / 12)) / RATE) % 1
        wave = (np.where(turn < width, 1.0, -1.0), 4 * np.abs(turn - 0.5) - 1, 2 * turn - 1)[kind]
        return wave * decay(size, time) * hump(size, 0.01)

    return melody(rng, n, note)


def babble(rng: Rng, n: int) -> Sound:
    """Speech-like babble: voiced syllables, hisses, and stops, of one made-up speaker."""
    pitch, size, rate = wide(rng, 70, 400), wide(rng, 0.55, 1.2), wide(rng, 2, 7)
    contour = around(rng, n, pitch, wide(rng, 1.05, 1.6), rate * n / RATE)
    tone = voice(rng, contour, size, 2 * rate, float(rng.choice([0, 0.05, 0.2])), wide(rng, 0.02, 5))
    knots = int(3 * rate * n / RATE) + 2
    kinds = rng.choice(4, knots, p=(0.5, 0.2, 0.15, 0.15))  # vowel, weak vowel, hiss, silence
    times, at = np.sort(rng.random(knots)) * n, np.arange(n)
    hiss = formants(white(rng, n), [curve(rng, n, 1500, 9000, knots)], wide(rng, 300, 2000), 0)
    voiced, hissed = np.array([1, 0.3, 0, 0])[kinds], np.array([0, 0, 1, 0])[kinds]
    phrase = np.clip(4 * np.interp(at, np.linspace(0, n, 8), white(rng, 8)) + 4, 0, 1)
    mixed = tone * np.interp(at, times, voiced) + wide(rng, 0.03, 0.4) * level(hiss) * np.interp(at, times, hissed)
    return mixed * phrase


def crowd(rng: Rng, n: int) -> Sound:
    """Many babbles at once, near and far."""
    out, voices = np.zeros(n), [babble(rng, n) for _ in range(3)]
    at = np.arange(n)
    for _ in range(rng.integers(4, 25)):
        speed = wide(rng, 0.6, 1.7)
        warped = np.interp((at * speed + rng.integers(n)) % n, at, voices[rng.integers(3)])
        out += wide(rng, 0.1, 1) * warped * curve(rng, n, 0.3, 1, 6)
    return out


def singing(rng: Rng, n: int) -> Sound:
    """A voice, or a choir, that sings notes of a scale."""
    scale, root, size = SCALES[rng.integers(len(SCALES))], wide(rng, 80, 600), wide(rng, 0.6, 1.1)
    count = int(rng.integers(2, 9))
    steps = np.repeat(rng.integers(0, len(scale), count), -(-n // count))[:n]
    glide = lfilter([0.001], [1, -0.999], np.array(scale)[steps] - scale[steps[0]]) + scale[steps[0]]
    out = np.zeros(n)
    for _ in range(rng.choice([1, 1, 2, 3])):
        wobble = wide(rng, 0.003, 0.5) * np.sin(turns(around(rng, n, wide(rng, 4, 7), 1.1, 4)))
        tone = voice(rng, root * 2 ** ((glide + wobble) / 12), size, wide(rng, 0.5, 4), 0, wide(rng, 0.02, 1))
        out += np.roll(tone, int(rng.integers(-1500, 1500)))
    return out


def breath(rng: Rng, n: int) -> Sound:
    """Breaths, snores, coughs, sniffs: bursts of noise through formants, with some voice."""
    size, length, rough = wide(rng, 0.6, 1.3), wide(rng, 0.1, 1.4), wide(rng, 0.05, 1)

    def puff() -> Sound:
        samples = int(length * wide(rng, 0.6, 1.4) * RATE)
        contour = around(rng, samples, wide(rng, 30, 200), 1.3, 4)
        return voice(rng, contour, size, 3, rough, wide(rng, 1, 60)) * hump(samples, wide(rng, 0.05, 0.5))

    return repeated(rng, n, wide(rng, 0.4, 3), wide(rng, 0.05, 0.8), puff)


def scrape(rng: Rng, n: int) -> Sound:
    """Scraping, tearing, sawing, zips: strokes of rough noise."""
    rate = around(rng, n, wide(rng, 20, 400), wide(rng, 1.2, 4), wide(rng, 2, 20))
    rough = 1 + rng.uniform(0.2, 1) * np.sin(turns(rate))
    stroke = np.abs(np.sin(turns(around(rng, n, wide(rng, 0.3, 5), 1.4, 6)))) ** wide(rng, 0.3, 4)
    top = wide(rng, 800, 9000) * (0.4 + stroke).astype(np.float32)
    noise = white(rng, n) * rough * (rng.random(n) < wide(rng, 0.02, 1))
    return moving(noise, lambda at, f: 1 / (1 + ((f - top[at]) / (0.6 * top[at])) ** 2)) * stroke


def beats(rng: Rng, n: int) -> Sound:
    """Low double thumps, as of a heart or a slow machine."""
    size = int(wide(rng, 0.08, 0.4) * RATE)
    f = wide(rng, 25, 120)
    one = np.sin(2 * np.pi * f * np.arange(size) / RATE) * hump(size, 0.4)
    pair = np.zeros(2 * size + 8000)
    add(pair, one, 0)
    add(pair, one, size + int(rng.integers(500, 7000)), rng.uniform(0.2, 1))
    return repeated(rng, n, wide(rng, 0.7, 3), 0.03, lambda: pair) + wide(rng, 0.003, 0.3) * coloured(rng, n)


def partials(rng: Rng, n: int) -> Sound:
    """Tones that glide about independently: whales, theremins, strange drones."""
    out = np.zeros(n)
    for _ in range(rng.integers(1, 10)):
        f = around(rng, n, wide(rng, 60, 6000), wide(rng, 1.001, 3), wide(rng, 2, 15))
        out += wide(rng, 0.1, 1) * np.sin(turns(f)) * curve(rng, n, 0.01, 1, wide(rng, 2, 20))
    return out
