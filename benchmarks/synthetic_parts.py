"""Parts that the generators of synthetic_sound.py are made of: curves, envelopes, filters, voices, repetitions."""

from collections.abc import Callable

import numpy as np
from scipy.fft import irfft, next_fast_len, rfft, rfftfreq

RATE = 32000
SECONDS = 4.0
Rng = np.random.Generator
Sound = np.ndarray
SCALES = ((0, 2, 4, 5, 7, 9, 11), (0, 2, 3, 5, 7, 8, 10), (0, 2, 4, 7, 9), (0, 3, 5, 6, 7, 10), (0, 1, 4, 5, 7, 8, 11))


def wide(rng: Rng, low: float, high: float) -> float:
    """A number spread evenly over the logarithm of a range."""
    return float(low * (high / low) ** rng.random())


def chance(rng: Rng, probability: float) -> bool:
    """Whether something with this probability happens."""
    return bool(rng.random() < probability)


def curve(rng: Rng, n: int, low: float, high: float, knots: float) -> Sound:
    """A curve through random points, spread evenly over the logarithm of a range; about ``knots`` of them."""
    count = max(2, int(knots))
    times = np.sort(rng.random(count)) * n
    return np.exp(np.interp(np.arange(n), times, np.log(low) + np.log(high / low) * rng.random(count)))


def around(rng: Rng, n: int, centre: float, spread: float, knots: float) -> Sound:
    """A curve around a centre, within a factor of it."""
    return curve(rng, n, centre / spread, centre * spread, knots)


def turns(frequency: Sound) -> Sound:
    """The phase of an oscillation whose frequency changes, in radians."""
    return 2 * np.pi * np.cumsum(frequency) / RATE


def white(rng: Rng, n: int) -> Sound:
    """White noise."""
    return rng.standard_normal(n)


def decay(n: int, seconds: float, attack: float = 0.001) -> Sound:
    """A rise over the attack, then a fall by 60 dB in so many seconds."""
    t = np.arange(n) / RATE
    return np.minimum(t / max(attack, 1e-4), 1) * np.exp(-6.9 * t / seconds)


def hump(n: int, edge: float) -> Sound:
    """1 with a raised-cosine edge at each end, of a fraction of the length."""
    t = (np.arange(n) + 0.5) / n
    return np.sin(np.pi / 2 * np.clip(np.minimum(t, 1 - t) / max(edge, 1e-3), 0, 1)) ** 2


def level(sound: Sound) -> Sound:
    """The sound at a peak of 1."""
    return sound / max(float(np.abs(sound).max(initial=0)), 1e-9)


def add(out: Sound, sound: Sound, start: int, gain: float = 1.0) -> None:
    """Add a sound into another from a sample on, as far as it goes."""
    if start < len(out):
        part = sound[: len(out) - start]
        out[start : start + len(part)] += gain * part


def shaped(sound: Sound, response: Callable[[Sound], Sound]) -> Sound:
    """A sound through a fixed filter, given as a function of the frequency."""
    size = next_fast_len(len(sound) + RATE // 4, real=True)
    return irfft(rfft(sound, size) * response(np.maximum(rfftfreq(size, 1 / RATE), 1.0)), size)[: len(sound)]


def resonances(sound: Sound, centres: Sound, widths: Sound, gains: Sound) -> Sound:
    """A sound through parallel resonators."""

    def response(f: Sound) -> Sound:
        return sum(g / (1 + 2j * (f - c) / w) for c, w, g in zip(centres, widths, gains, strict=True))

    return shaped(sound, response)


def random_body(rng: Rng, sound: Sound, low: float, high: float, count: int, sharpness: float) -> Sound:
    """A sound through random resonators, as of a box or a pipe."""
    centres = low * (high / low) ** rng.random(count)
    return resonances(sound, centres, centres / (sharpness * (0.5 + rng.random(count))), rng.random(count) + 0.1)


def tilted(rng: Rng, n: int, slope: float) -> Sound:
    """Noise whose spectrum falls by so many dB an octave."""
    return level(shaped(white(rng, n), lambda f: (np.maximum(f, 30) / 1000) ** (-slope / 6.02)))


def coloured(rng: Rng, n: int) -> Sound:
    """Noise of a random tilt, band, comb, or set of resonances."""
    slope, delay, depth = rng.uniform(-3, 12), wide(rng, 1e-4, 0.02), rng.uniform(0.3, 0.95)
    low, high = wide(rng, 30, 4000), wide(rng, 300, 15000)
    kind = rng.integers(4)

    def response(f: Sound) -> Sound:
        gain = (np.maximum(f, 30) / 1000) ** (-slope / 6.02)
        if kind == 1:
            gain = gain / (1 + (low / f) ** 4) / (1 + (f / max(high, 1.3 * low)) ** 6)
        elif kind == 2:
            gain = gain * np.abs(1 / (1 - depth * np.exp(-2j * np.pi * f * delay)))
        elif kind == 3:
            gain = gain * sum(1 / (1 + (2 * sharp * (f / c - 1)) ** 2) for c, sharp in peaks)
        return gain

    peaks = [(wide(rng, 100, 12000), wide(rng, 1, 60)) for _ in range(rng.integers(1, 7))]
    return level(shaped(white(rng, n), response))


def modes(n: int, frequencies: Sound, gains: Sound, seconds: Sound, phases: Sound | float = 0.0) -> Sound:
    """Decaying sine waves, one a frequency, each falling by 60 dB in its time."""
    keep = (frequencies > 15) & (frequencies < 0.48 * RATE)
    z = (-6.9 / np.maximum(seconds, 1e-3) + 2j * np.pi * frequencies)[keep] / RATE
    first = np.exp(np.outer(256 * np.arange(-(-n // 256)), z)) * (gains * np.exp(1j * np.asarray(phases)))[keep]
    return np.imag(first @ np.exp(np.outer(z, np.arange(256)))).reshape(-1)[:n]


def buzz(frequency: Sound) -> Sound:
    """A tone that holds all its harmonics at one strength."""
    half = turns(frequency) / 2
    count = max(1, int(0.47 * RATE / frequency.max()))
    below = np.sin(half)
    safe = np.where(np.abs(below) < 1e-6, 1e-6, below)
    return (np.sin((2 * count + 1) * half) / safe - 1) / (2 * count)


def pulses(frequency: Sound) -> Sound:
    """One sample of 1 for each turn of an oscillation whose frequency changes."""
    return np.diff(np.floor(np.cumsum(frequency) / RATE), prepend=0.0)


def moving(sound: Sound, gains: Callable[[Sound, Sound], Sound]) -> Sound:
    """A sound through a filter that moves: ``gains(frames, f)`` for sample numbers (a column) and frequencies."""
    size, hop = 1024, 512
    padded = np.concatenate([np.zeros(size), sound, np.zeros(size)])
    window = np.sqrt(np.hanning(size + 1)[:size]).astype(np.float32)
    frames = np.lib.stride_tricks.sliding_window_view(padded.astype(np.float32), size)[::hop] * window
    at = np.clip(np.arange(len(frames)) * hop - hop, 0, len(sound) - 1)
    spectra = rfft(frames, axis=1) * gains(at[:, None], rfftfreq(size, 1 / RATE)[None].astype(np.float32))
    frames = irfft(spectra, size, axis=1) * window
    out = np.zeros((len(frames) + 1, hop))
    out[:-1] += frames[:, :hop]
    out[1:] += frames[:, hop:]
    return out.reshape(-1)[size : size + len(sound)]


def formants(sound: Sound, tracks: list[Sound], width: float, tilt: float) -> Sound:
    """A sound through formants that move, with a tilt in dB an octave."""

    def gains(at: Sound, f: Sound) -> Sound:
        total = np.float32(0.02) + np.zeros((len(at), f.size), np.float32)
        for number, track in enumerate(tracks):
            centre = track[at].astype(np.float32)
            total += np.float32(0.8**number) / (1 + ((f - centre) / np.float32(width * (1 + 0.5 * number))) ** 2)
        return total * (1 + f / 300) ** np.float32(-tilt / 6.02)

    return moving(sound, gains)


def voice(rng: Rng, pitch: Sound, size: float, speed: float, rough: float, breath: float) -> Sound:
    """A voice-like tone: pulses at a pitch through moving formants; ``size`` 1 is a man's vocal tract."""
    n = len(pitch)
    knots = 2 + speed * n / RATE
    if rough:
        shake = np.interp(np.arange(n) / 400, np.arange(n // 400 + 2), white(rng, n // 400 + 2))
        pitch = pitch * np.exp(0.5 * rough * shake)
    source = buzz(np.clip(pitch, 20, 5000))
    if rough:
        source *= 1 + rough * np.sin(turns(pitch) * rng.choice([0.5, 0.25, 1 / 3]))
    source = source + breath * 0.1 * white(rng, n)
    bounds = ((250, 900), (700, 2400), (2000, 3100), (3000, 4200), (4200, 5500))
    tracks = [curve(rng, n, low / size, high / size, knots) for low, high in bounds]
    return level(formants(source, tracks, wide(rng, 50, 200), rng.uniform(2, 9)))


def starts(rng: Rng, n: int, rate: float, jitter: float) -> Sound:
    """When events happen, in samples: evenly at a rate, or less evenly as the jitter goes to 1 (a Poisson process)."""
    count = int(n / RATE * rate * 1.5) + 4
    gaps = (1 - jitter) + jitter * rng.exponential(size=count)
    times = np.cumsum(gaps) / rate * RATE - rng.random() * RATE / rate
    return times[(times >= 0) & (times < n)].astype(int)


def repeated(rng: Rng, n: int, rate: float, jitter: float, make: Callable[[], Sound]) -> Sound:
    """Events of one kind: a few variants of it, placed in time at random gains."""
    out = np.zeros(n)
    variants = [make() for _ in range(rng.integers(1, 5))]
    spread = rng.uniform(0, 20)
    for start in starts(rng, n, rate, jitter):
        add(out, variants[rng.integers(len(variants))], int(start), 10 ** (-spread * rng.random() / 20))
    return out


def swell(rng: Rng, n: int) -> Sound:
    """An amplitude that changes, slowly or fast, or not at all."""
    kind = rng.integers(5)
    if kind == 0:
        return np.ones(n)
    if kind == 1:
        return curve(rng, n, wide(rng, 0.005, 0.5), 1, wide(rng, 2, 60))
    wave = np.sin(turns(around(rng, n, wide(rng, 0.3, 60), wide(rng, 1.001, 2), 6)) + 6.3 * rng.random())
    if kind == 2:
        return 1 + rng.uniform(0.2, 1) * wave
    if kind == 3:
        return np.clip(0.5 + wide(rng, 1, 40) * (wave - rng.uniform(-0.9, 0.9)), 0, 1)
    return np.exp(wide(rng, 0.5, 4) * wave)


def melody(rng: Rng, n: int, note: Callable[[int, float], Sound], low: float = 50, high: float = 2000) -> Sound:
    """Notes of a random scale and rhythm; ``note(samples, frequency)`` makes one."""
    out = np.zeros(n)
    scale, root, step = SCALES[rng.integers(len(SCALES))], wide(rng, low, high / 2), wide(rng, 0.07, 0.8)
    degree, at, straight, legato = int(rng.integers(-3, 8)), 0.0, chance(rng, 0.4), wide(rng, 0.3, 3)
    chord = int(rng.choice([1, 1, 1, 2, 3]))
    kept: dict[tuple[int, int], Sound] = {}
    while at < n:
        length = step * (1 if straight else float(rng.choice([0.5, 1, 1, 1.5, 2, 3])))
        if not chance(rng, 0.15):
            for voice_number in range(chord):
                octave, index = divmod(degree + 2 * voice_number, len(scale))
                frequency = min(root * 2 ** (octave + scale[index] / 12), 7000)
                samples = int(min(length * legato + 0.03, 3) * RATE)
                key = (degree + 2 * voice_number, samples)
                if key not in kept:
                    kept[key] = note(samples, frequency)
                add(out, kept[key], int(at), wide(rng, 0.3, 1) / chord)
        degree = int(np.clip(degree + rng.integers(-3, 4), -7, 14))
        at += length * RATE
    return out
