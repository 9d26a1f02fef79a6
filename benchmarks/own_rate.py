"""Embeddings of sound at its own rate against those of resampled sound, by rate and codec.

    python benchmarks/own_rate.py AUDIO [--model sondino-small] [--clips 500]

AUDIO is a folder of real audio. As many clips of at most 10 s are written at each rate and in each codec, and embedded
with `resample="auto"` and with `resample="always"`. Writes results/own_rate.csv: the cosine of both, and the share of a
clip's ten nearest among the clips that are the same. A model's front-end decides which rates are taken at all.
"""

import argparse
import tempfile
from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray

import sondino
from provenance import provenance, write_results
from sondino.audio import find_audio, read
from sondino.audio.signal import resample
from sondino.metrics.agreement import cosines

NEAREST = 10
RATES = (8000, 11025, 16000, 22050, 24000, 44100, 48000, 96000)
CODECS = (("flac", "PCM_24", 44100), ("ogg", "VORBIS", 44100), ("mp3", None, 44100), ("ogg", "OPUS", 48000))


def nearest(embeddings: NDArray[np.float64]) -> list[set[int]]:
    """The ten nearest of each row, by cosine, itself left out."""
    unit = embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True)
    similarity = unit @ unit.T
    np.fill_diagonal(similarity, -2.0)
    return [set(row) for row in np.argsort(-similarity, axis=1)[:, :NEAREST].tolist()]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("audio", type=Path)
    parser.add_argument("--model", default="sondino-small")
    parser.add_argument("--clips", type=int, default=500)
    given = parser.parse_args()
    found = find_audio(given.audio)
    files = found[:: max(1, len(found) // given.clips)][: given.clips]
    auto, always = sondino.load(given.model), sondino.load(given.model, resample="always")
    clips = [read(file, 96000, duration=10.0) for file in files]
    rows = []
    kinds = [("wav", "PCM_24", rate) for rate in RATES] + list(CODECS)
    for suffix, subtype, rate in kinds:
        with tempfile.TemporaryDirectory() as folder:
            written = []
            for number, clip in enumerate(clips):
                name = Path(folder) / f"{number:04d}.{suffix}"
                soundfile.write(name, np.clip(resample(clip, 96000, rate), -1, 1), rate, subtype)
                written.append(name)
            own = auto.embed(written).astype(np.float64)
            resampled = always.embed(written).astype(np.float64)
        same = [len(a & b) / NEAREST for a, b in zip(nearest(own), nearest(resampled), strict=True)]
        cosine = cosines(own, resampled)
        row = {
            "model": auto.name,
            "codec": f"{suffix} {subtype or ''}".strip(),
            "rate": rate,
            "taken": "at its own rate" if auto.takes_rate(rate) else "resampled",
            "clips": len(written),
            "mean_cosine": f"{cosine.mean():.7f}",
            "lowest_cosine": f"{cosine.min():.6f}",
            "ten_nearest_same": f"{np.mean(same):.4f}",
        }
        print(row, flush=True)
        rows.append(row | provenance("numpy", "soxr", "onnxruntime", "soundfile", "sondino"))
    write_results("own_rate", rows)


if __name__ == "__main__":
    main()
