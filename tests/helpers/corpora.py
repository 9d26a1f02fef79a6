"""Small collections of sound that the corpus tests make, and a teacher whose embeddings can be computed by hand."""

import zlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray

from sondino.corpus.table import Corpus
from sondino.corpus.targets import Targets
from sondino.corpus.waveforms import try_clips
from sondino.errors import AudioError
from sondino.files import read_json

RATE = 8000


def noise(seconds: float, seed: int, rate: int = RATE) -> NDArray[np.float32]:
    rng = np.random.default_rng(seed)
    return (0.1 * rng.standard_normal(round(seconds * rate))).astype(np.float32)


def write(file: Path, waveform: NDArray[np.float32], rate: int = RATE) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(file, waveform, rate, subtype="FLOAT" if file.suffix == ".wav" else None)
    return file


def write_sounds(folder: Path, seconds: dict[str, float], rate: int = RATE) -> Path:
    """A folder of noises: name -> seconds."""
    for seed, (name, length) in enumerate(seconds.items()):
        write(folder / name, noise(length, seed, rate), rate)
    return folder


def read_clips(corpus: Corpus, rows: Sequence[int], sample_rate: int) -> list[NDArray[np.float32]]:
    """Rows of a corpus, views included; the first that cannot be decoded is an AudioError."""
    with ThreadPoolExecutor(2) as pool:
        found = try_clips(corpus, rows, sample_rate, pool)
    for row, waveform in zip(rows, found, strict=True):
        if isinstance(waveform, str):
            raise AudioError(f"{corpus.ids([int(row)])[0]}: {waveform}")
    return found


def open_targets(folder: Path) -> Targets:
    """Targets as they are on disk."""
    facts = read_json(folder / "targets.json")
    return Targets(folder, facts["rows"], facts["dim"], facts["key"], facts["part_rows"])


def changed_rows(targets: Targets) -> list[list[int]]:
    """The parts, as [first, stop], whose bytes are not those of their checksum."""
    records = targets.parts.records()
    return [one["rows"] for one in records if zlib.crc32(targets.read([tuple(one["rows"])]).data) != one["crc32"]]


class Moments:
    """A teacher that gives the mean, the root mean square, and the first and last sample of what it embeds."""

    name = "moments"
    sample_rate = RATE
    dim = 4
    window: float | None = None
    fingerprint = "moments-1"

    def __init__(self) -> None:
        self.embedded = 0

    def embed(self, waveforms: NDArray[np.float32]) -> NDArray[np.float32]:
        self.embedded += len(waveforms)
        x = waveforms
        return np.stack([x.mean(1), np.sqrt((x**2).mean(1)), x[:, 0], x[:, -1]], 1).astype(np.float32)
