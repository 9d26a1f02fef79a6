"""A teacher whose embeddings can be computed, from the energies of a few bands, and sounds that differ in them."""

from pathlib import Path

import numpy as np

from helpers.corpora import noise, write

RATE = 16000

SMALL_RUN = {"width": 0.1, "clip": 0.5, "batch_size": 8, "device": "cpu", "quiet": True}
"""Options of `distill` for a student and batches so small that an epoch takes a second."""


class Bands:
    """Log energies of eight bands through a fixed matrix: (batch, 6)."""

    name = "bands"
    sample_rate = RATE
    dim = 6
    window = None
    fingerprint = "bands-1"
    licence = "CC0"
    embedded = 0

    def embed(self, waveforms):
        Bands.embedded += len(waveforms)
        power = np.abs(np.fft.rfft(waveforms, axis=1)) ** 2
        bands = np.stack([b.mean(1) for b in np.array_split(power, 8, axis=1)], axis=1)
        mix = np.random.default_rng(0).standard_normal((8, 6)) / 3
        return (np.log(bands + 1e-3) @ mix).astype(np.float32)


def write_band_sounds(folder: Path, count: int = 60) -> Path:
    """Noises with a band each stressed, and loudness: what the teacher embeds differs from file to file."""
    rng = np.random.default_rng(1)
    for i in range(count):
        spectrum = np.fft.rfft(noise(0.5, i, RATE))
        shape = np.interp(np.arange(len(spectrum)), np.linspace(0, len(spectrum), 6), 10 ** rng.uniform(-3, 1, 6))
        write(folder / f"{i:02}.wav", np.fft.irfft(spectrum * shape).astype(np.float32), RATE)
    return folder
