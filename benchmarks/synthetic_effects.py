"""Generators of synthetic_sound.py: weather, machines, animals, things that are struck or break, signals."""

from collections.abc import Callable

import numpy as np
from scipy.signal import fftconvolve, lfilter

from synthetic_parts import (
    RATE,
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
    modes,
    moving,
    pulses,
    random_body,
    repeated,
    resonances,
    starts,
    swell,
    tilted,
    turns,
    voice,
    white,
    wide,
)


def noise_bed(rng: Rng, n: int) -> Sound:
    """Steady or modulated noise of a random colour."""
    return coloured(rng, n) * swell(rng, n)


def wind(rng: Rng, n: int) -> Sound:
    """Noise through a few resonances that wander."""
    centre, speed = wide(rng, 150, 3000), wide(rng, 1, 12)
    tracks = [around(rng, n, centre * (1 + k), 1.8, 2 + 4 * speed) for k in range(rng.integers(1, 4))]
    return formants(white(rng, n), tracks, wide(rng, 15, 500), rng.uniform(3, 9)) * curve(rng, n, 0.1, 1, 2 + 4 * speed)


def waves(rng: Rng, n: int) -> Sound:
    """Swells of noise that brightens as it grows, as of surf or passing cars."""
    shape = (0.5 + 0.5 * np.sin(turns(around(rng, n, wide(rng, 0.15, 1.5), 1.4, 4)) + 6.3 * rng.random())) ** 2
    top = (200 + wide(rng, 1000, 12000) * shape).astype(np.float32)
    return moving(white(rng, n), lambda at, f: 1 / (1 + (f / top[at]) ** 2)) * (0.05 + shape)


def grains(rng: Rng, n: int) -> Sound:
    """Short grains at random times: rain, applause, crackle, frying, a Geiger counter."""
    length = wide(rng, 0.0005, 0.08)
    size = int(4 * length * RATE) + 8
    density = np.minimum(wide(rng, 4, 6000) * swell(rng, n) / RATE, 1)
    hits = (rng.random(n) < density) * rng.exponential(size=n) ** wide(rng, 0.5, 3) * rng.choice([-1, 1], n)
    out = np.zeros(n)
    for _ in range(rng.integers(1, 5)):  # the grains are of a few kinds
        grain = coloured(rng, size) * decay(size, 3 * length, wide(rng, 1e-4, length))
        out += fftconvolve(hits * (rng.random(n) < 0.5), grain)[:n]
    return out


def bursts(rng: Rng, n: int) -> Sound:
    """Groups of equal short noises at an even rate: machine guns, sprinklers, ratchets, helicopters."""
    rate, size = wide(rng, 3, 50), int(wide(rng, 0.01, 0.3) * RATE)
    one = coloured(rng, size) * decay(size, size / RATE, wide(rng, 0.0005, 0.02))
    train = pulses(around(rng, n, rate, wide(rng, 1.001, 1.5), 5))
    gate = np.ones(n) if chance(rng, 0.4) else (np.sin(turns(around(rng, n, wide(rng, 0.3, 2), 1.5, 5))) > -0.2)
    return fftconvolve(train * gate, one)[:n]


def engine(rng: Rng, n: int) -> Sound:
    """A pulse train of wandering rate through resonators, with noise, and now and then a change of gear."""
    rate = around(rng, n, wide(rng, 8, 300), wide(rng, 1.01, 2.5), wide(rng, 2, 12))
    if chance(rng, 0.3):
        gear = np.floor(np.arange(n) / n * rng.integers(2, 5) + rng.random())
        rate = rate * 0.7 ** (gear % 2) * (1 + (np.arange(n) / n * 4) % 1)
    cycle = np.floor(np.cumsum(rate) / RATE).astype(int)
    strength = 1 + rng.uniform(0, 0.8) * rng.standard_normal(int(rng.integers(1, 9)))
    train = pulses(rate) * strength[cycle % len(strength)]
    size = int(wide(rng, 0.001, 0.03) * RATE) + 4
    train = fftconvolve(train, white(rng, size) * decay(size, size / RATE))[:n]
    body = random_body(rng, train, 40, wide(rng, 500, 6000), int(rng.integers(2, 9)), wide(rng, 0.7, 8))
    hiss = coloured(rng, n) * (1 + rng.uniform(0, 1) * np.sin(turns(rate)))
    return level(body) + wide(rng, 0.003, 0.6) * hiss


def motor(rng: Rng, n: int) -> Sound:
    """The whine of an electric motor or a drill: harmonics that follow a speed, and noise."""
    speed = around(rng, n, wide(rng, 30, 1200), wide(rng, 1.002, 3), wide(rng, 2, 10))
    out = np.zeros(n)
    for _ in range(rng.integers(2, 9)):
        ratio = float(rng.integers(1, 16)) * (1 if chance(rng, 0.7) else wide(rng, 0.9, 1.2))
        out += wide(rng, 0.05, 1) * np.sin(turns(np.minimum(ratio * speed, 0.47 * RATE)))
    return level(out * (1 + rng.uniform(0, 0.8) * np.sin(turns(speed / 2)))) + wide(rng, 0.003, 0.5) * coloured(rng, n)


def whistle(rng: Rng, n: int) -> Sound:
    """A pure tone of moving pitch with breath, in phrases."""
    pitch = around(rng, n, wide(rng, 300, 5000), wide(rng, 1.02, 2), wide(rng, 2, 16))
    pitch *= 1 + wide(rng, 0.001, 0.04) * np.sin(turns(np.full(n, wide(rng, 3, 35))))
    gate = np.interp(np.arange(n), np.linspace(0, n, 41), np.clip(white(rng, 41) + 0.7, 0, 1))
    air = formants(white(rng, n), [pitch], wide(rng, 30, 400), 0)
    return (np.sin(turns(pitch)) + wide(rng, 0.003, 0.3) * level(air)) * gate


def bird(rng: Rng, n: int) -> Sound:
    """Syllables of sweeping tones with weak harmonics, in repeated phrases and trills."""
    high = wide(rng, 600, 8000)
    harmonics = [1.0] + [wide(rng, 0.003, 0.6) for _ in range(rng.integers(0, 4))]

    def syllable() -> Sound:
        size = int(wide(rng, 0.015, 0.5) * RATE)
        pitch = around(rng, size, high * wide(rng, 0.6, 1.6), wide(rng, 1.01, 2.2), int(rng.integers(2, 6)))
        pitch = pitch * (1 + wide(rng, 0.001, 0.2) * np.sin(turns(np.full(size, wide(rng, 10, 250)))))
        phase = turns(np.minimum(pitch, 0.45 * RATE))
        tone = sum(g * np.sin((k + 1) * phase) * ((k + 1) * pitch < 0.48 * RATE) for k, g in enumerate(harmonics))
        return tone * hump(size, wide(rng, 0.05, 0.5)) * curve(rng, size, 0.3, 1, 4)

    if chance(rng, 0.4):  # a trill
        return repeated(rng, n, wide(rng, 3, 40), 0.02, syllable) * swell(rng, n)
    return repeated(rng, n, wide(rng, 0.8, 10), wide(rng, 0.05, 0.9), syllable)


def cry(rng: Rng, n: int) -> Sound:
    """Barks, meows, howls, cries, and laughs: short voice-like calls of one creature."""
    pitch, size = wide(rng, 50, 1200), wide(rng, 0.4, 1.5)
    rough, breath = rng.choice([0, wide(rng, 0.02, 0.6)]), wide(rng, 0.02, 3)
    length = wide(rng, 0.06, 1.5)

    def call() -> Sound:
        samples = int(length * wide(rng, 0.7, 1.4) * RATE)
        contour = around(rng, samples, pitch, wide(rng, 1.05, 1.8), int(rng.integers(2, 6)))
        fall = decay(samples, 1.5 * length, wide(rng, 0.003, 0.1))
        return voice(rng, contour, size, wide(rng, 1, 8), rough, breath) * fall

    return repeated(rng, n, wide(rng, 0.5, 3) / max(length, 0.2) ** 0.6, wide(rng, 0.05, 1), call)


def insect(rng: Rng, n: int) -> Sound:
    """Pulses of a high tone at an even rate, in groups: crickets, cicadas."""
    tone = np.sin(turns(around(rng, n, wide(rng, 1500, 12000), 1.03, 5))) + wide(rng, 0.01, 1) * coloured(rng, n)
    fast = np.clip(np.sin(turns(around(rng, n, wide(rng, 15, 200), 1.02, 4))) + rng.uniform(-0.5, 0.8), 0, 1)
    slow = np.clip(5 * np.sin(turns(around(rng, n, wide(rng, 0.5, 8), 1.1, 4))) + rng.uniform(-2, 5), 0, 1)
    return tone * fast * slow


def frog(rng: Rng, n: int) -> Sound:
    """Croaks: trains of resonant pulses in calls."""
    centres = wide(rng, 200, 2500) * np.array([1, wide(rng, 1.3, 3), wide(rng, 3, 5)])

    def croak() -> Sound:
        size = int(wide(rng, 0.1, 0.9) * RATE)
        train = pulses(around(rng, size, wide(rng, 15, 150), 1.5, 3)) * hump(size, 0.4)
        return level(resonances(train, centres, centres / wide(rng, 4, 30), np.array([1, 0.5, 0.2])))

    return repeated(rng, n, wide(rng, 0.5, 5), wide(rng, 0.05, 1), croak)


def siren(rng: Rng, n: int) -> Sound:
    """Sirens, alarms, and horns: a tone whose pitch goes up and down, in steps or smoothly."""
    wave = np.sin(turns(np.full(n, wide(rng, 0.15, 12))) + 6.3 * rng.random())
    shape = rng.choice([np.sign(wave), wave, 2 / np.pi * np.arcsin(wave), np.zeros(n)], axis=0)
    pitch = wide(rng, 150, 3000) * wide(rng, 1.05, 2.5) ** shape
    tone = np.sin(turns(pitch)) if chance(rng, 0.3) else lfilter([1], [1, -rng.uniform(0, 0.97)], buzz(pitch))
    if chance(rng, 0.4):
        tone = tone + np.sin(turns(pitch * wide(rng, 1.01, 1.6)))
    gate = 1 if chance(rng, 0.5) else np.clip(20 * np.sin(turns(np.full(n, wide(rng, 0.5, 12)))), 0, 1)
    return random_body(rng, level(tone) * gate, 200, 6000, 4, wide(rng, 0.5, 5))


def struck(rng: Rng, n: int, low: float, high: float, seconds: tuple[float, float], count: int) -> Callable[[], Sound]:
    """A maker of blows on one object with inharmonic modes."""
    base, stretch = wide(rng, low, high), wide(rng, 0.8, 2.2)
    ratios = (1 + np.arange(count)) ** stretch * np.exp(0.2 * rng.standard_normal(count) * (rng.random() < 0.8))
    time = wide(rng, *seconds) * (1 + np.arange(count)) ** -rng.uniform(0, 1.3)
    size = int(np.clip(1.2 * time.max(), 0.05, 4) * RATE)

    def blow() -> Sound:
        gains = rng.random(count) * np.exp(-wide(rng, 0.01, 1) * np.arange(count))
        ring = level(modes(min(size, n), base * ratios, gains, time, 6.3 * rng.random(count)))
        click = coloured(rng, 400) * decay(400, 0.01)
        ring[:400] += wide(rng, 0.01, 1) * click[: len(ring)]
        return ring * np.minimum(np.arange(len(ring)) / 16, 1)

    return blow


def bells(rng: Rng, n: int) -> Sound:
    """Bells, bowls, struck metal, and glass, one object or several."""
    out = np.zeros(n)
    for _ in range(rng.integers(1, 4)):
        blow = struck(rng, n, 80, 5000, (0.2, 8), int(rng.integers(3, 25)))
        out += repeated(rng, n, wide(rng, 0.4, 8), wide(rng, 0.02, 1), blow)
    return out


def jingle(rng: Rng, n: int) -> Sound:
    """Many small high rings: keys, coins, chains, falling glass."""
    out, rate = np.zeros(n), wide(rng, 3, 60)
    for _ in range(rng.integers(3, 8)):
        blow = struck(rng, n, 1500, 8000, (0.03, 0.6), int(rng.integers(2, 8)))
        out += repeated(rng, n, rate / 3, 1, blow)
    return out * swell(rng, n)


def breakage(rng: Rng, n: int) -> Sound:
    """A crash that scatters: a burst, then ever fewer pieces."""
    out, size = np.zeros(n), int(wide(rng, 0.05, 0.5) * RATE)
    begin = int(rng.random() * n / 2)
    add(out, coloured(rng, size) * decay(size, size / RATE), begin, wide(rng, 0.3, 3))
    low, length = wide(rng, 200, 3000), wide(rng, 0.1, 1)
    blows = [struck(rng, n, low, 3 * low, (0.02, 0.5), 5) for _ in range(6)]
    for start in rng.exponential(length, rng.integers(10, 80)):
        add(out, blows[rng.integers(6)](), begin + int(start * RATE), wide(rng, 0.03, 0.6))
    return out


def knocks(rng: Rng, n: int) -> Sound:
    """Dull short blows: knocks on wood, thuds, typing."""
    blow = struck(rng, n, 50, 1500, (0.02, 0.25), int(rng.integers(3, 14)))
    groups = 1 if chance(rng, 0.5) else np.clip(20 * np.sin(turns(np.full(n, wide(rng, 0.3, 1.5)))), 0, 1)
    return repeated(rng, n, wide(rng, 1, 15), wide(rng, 0.02, 1), blow) * groups


def footsteps(rng: Rng, n: int) -> Sound:
    """Steps: a thump and a scrape, at a walking or running pace, on a random ground."""
    thump, ground = struck(rng, n, 40, 300, (0.03, 0.2), 5), int(wide(rng, 0.02, 0.3) * RATE)
    crunch, edge = wide(rng, 0.02, 2), wide(rng, 0.05, 0.5)

    def step() -> Sound:
        noise = coloured(rng, ground) * hump(ground, edge) * (rng.random(ground) < wide(rng, 0.03, 1))
        out = np.zeros(ground + RATE // 4)
        add(out, thump(), 0)
        add(out, level(noise), int(rng.integers(0, 2000)), crunch)
        return out

    return repeated(rng, n, wide(rng, 1, 4.5), wide(rng, 0.02, 0.3), step)


def clock(rng: Rng, n: int) -> Sound:
    """Ticks and tocks."""
    rate, out = wide(rng, 0.8, 10), np.zeros(n)
    makers = [struck(rng, n, 800, 6000, (0.005, 0.06), 6) for _ in range(2)]
    for number, start in enumerate(starts(rng, n, rate, 0)):
        add(out, makers[number % 2](), int(start), 1 - 0.4 * (number % 2))
    return out


def creak(rng: Rng, n: int) -> Sound:
    """Doors, ropes, brakes, squeaks: a stick-slip pulse train of wandering rate through a body."""
    rate = around(rng, n, wide(rng, 15, 900), wide(rng, 1.2, 4), wide(rng, 4, 40))
    train = pulses(rate) * (1 + 0.5 * white(rng, n)) * np.clip(np.log(curve(rng, n, 0.3, 4, 12)), 0, 1)
    return random_body(rng, train, 150, wide(rng, 1500, 9000), int(rng.integers(3, 12)), wide(rng, 2, 40))


def drops(rng: Rng, n: int) -> Sound:
    """Drops, bubbles, and streams: decaying tones that rise."""
    centre, out = wide(rng, 250, 4000), np.zeros(n)
    rate, spread = wide(rng, 1, 150), wide(rng, 1.1, 4)
    for start in starts(rng, n, rate, wide(rng, 0.1, 1))[:400]:
        length = wide(rng, 0.01, 0.15)
        size = int(length * RATE)
        t = np.arange(size) / RATE
        f = centre * spread ** rng.uniform(-1, 1)
        tone = np.sin(2 * np.pi * f * (t + wide(rng, 0.1, 8) * t**2)) * decay(size, length)
        add(out, tone, int(start), wide(rng, 0.05, 1))
    return out


def explosion(rng: Rng, n: int) -> Sound:
    """Blasts and thunder: noise that darkens and decays, with rumble."""

    def blast() -> Sound:
        size = int(wide(rng, 0.3, 4) * RATE)
        t = np.arange(size) / size
        top = (60 + wide(rng, 800, 14000) * np.exp(-wide(rng, 2, 20) * t)).astype(np.float32)
        noise = moving(white(rng, size), lambda at, f: 1 / (1 + (f / top[at]) ** 3))
        rumble = tilted(rng, size, 9) * curve(rng, size, 0.1, 1, wide(rng, 4, 60))
        return (level(noise) + wide(rng, 0.1, 2) * rumble) * decay(size, size / RATE, wide(rng, 0.001, 0.3))

    return np.tanh(wide(rng, 0.5, 5) * repeated(rng, n, wide(rng, 0.3, 2.5), 1, blast))


def zap(rng: Rng, n: int) -> Sound:
    """Lasers and game effects: fast sweeps of a bright tone."""

    def shot() -> Sound:
        size = int(wide(rng, 0.04, 1.2) * RATE)
        t = np.arange(size) / size
        pitch = wide(rng, 200, 6000) * wide(rng, 0.02, 20) ** (t ** wide(rng, 0.2, 2))
        pitch = np.clip(pitch * 2 ** (wide(rng, 0.01, 1) * np.sign(np.sin(t * wide(rng, 10, 400)))), 30, 14000)
        phase = turns(pitch)
        wave = [np.sin(phase), np.sign(np.sin(phase)), np.sin(phase + 4 * np.sin(phase * wide(rng, 0.2, 4)))]
        return wave[rng.integers(3)] * decay(size, wide(rng, 0.5, 4) * size / RATE)

    return repeated(rng, n, wide(rng, 0.5, 8), wide(rng, 0.02, 1), shot)


def shots(rng: Rng, n: int) -> Sound:
    """Gunshot-like and whip-like transients with echoes."""
    size = int(wide(rng, 0.03, 0.5) * RATE)
    out = repeated(rng, n, wide(rng, 0.5, 8), wide(rng, 0.1, 1), lambda: coloured(rng, size) * decay(size, size / RATE))
    for _ in range(rng.integers(0, 6)):
        delay = int(wide(rng, 0.02, 0.8) * RATE)
        out[delay:] += wide(rng, 0.05, 0.6) * lfilter([0.3], [1, -0.7], out[:-delay])
    return out


def hum(rng: Rng, n: int) -> Sound:
    """Mains hum, transformers, buzzing, and drones."""
    base, count = float(rng.choice([50, 60, 100, 120, wide(rng, 30, 400)])), int(rng.integers(2, 60))
    gains = np.exp(-wide(rng, 0.01, 1.5) * np.arange(count)) * rng.random(count)
    frequencies = base * (1 + np.arange(count)) * (1 + wide(rng, 1e-5, 0.02) * rng.standard_normal(count))
    return level(modes(n, frequencies, gains, np.full(count, 1e9), 6.3 * rng.random(count))) * swell(rng, n)


def dial(rng: Rng, n: int) -> Sound:
    """Dialling and ringing tones, beeps, Morse code."""
    out, unit = np.zeros(n), wide(rng, 0.03, 0.6)
    single, base = chance(rng, 0.5), wide(rng, 350, 3500)
    low, high = (697, 770, 852, 941), (1209, 1336, 1477, 1633)
    at = 0
    while at < n:
        size = int(unit * rng.choice([1, 1, 1, 3]) * RATE)
        t = np.arange(size) / RATE
        pair = (base, base * 1.0001) if single else (float(rng.choice(low)), float(rng.choice(high)))
        add(out, sum(np.sin(2 * np.pi * f * t) for f in pair) * hump(size, 0.03), at)
        at += size + int(unit * rng.choice([0.3, 1, 1, 3]) * RATE)
    return out


def data(rng: Rng, n: int) -> Sound:
    """Modems and random logic: a tone or level that jumps at a fixed rate."""
    step = int(wide(rng, 8, 6000))
    steps = rng.integers(0, int(rng.choice([2, 4, 8, 64])), n // step + 1)
    values = np.repeat(steps, step)[:n] / max(steps.max(), 1)
    if chance(rng, 0.3):
        return (values - 0.5) * swell(rng, n)
    low = wide(rng, 100, 3000)
    phase = turns(low * wide(rng, 1.1, 5) ** values)
    return (np.sin(phase) if chance(rng, 0.6) else np.sign(np.sin(phase))) * swell(rng, n)
