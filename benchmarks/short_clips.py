"""Clips shorter than a model's window: zero-padded, processed without padding, or repeated.

    python benchmarks/short_clips.py BUNDLE TEACHER LIST.csv [--seconds 0.3 0.6 1.0]

LIST.csv names labelled clips (path, label, and fold where the data set has folds); the loudest excerpt of each is
embedded with every policy. Measured are the 10-NN overlap with the teacher on the same excerpts, and probe
accuracy. Writes results/short_clips.csv.
"""

import argparse
import csv
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from provenance import provenance, write_results
from sondino import audio, load, load_teacher
from sondino.encoder.encoder import embed_clips
from sondino.metrics.agreement import neighbour_overlap
from sondino.probing.probe import probe_labels


def loudest(file: Path, rate: int, seconds: float, centre: float | None = None) -> tuple[NDArray[np.float32], float]:
    """The loudest stretch of a file, or the one around a moment; and its moment in seconds."""
    sound, samples = audio.read(file, rate), round(seconds * rate)
    if centre is None:
        energy = np.convolve(sound**2, np.ones(rate // 20), "same")
        centre = float(np.argmax(energy)) / rate
    first = min(max(round((centre - seconds / 2) * rate), 0), max(0, len(sound) - samples))
    return sound[first : first + samples], centre


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("teacher")
    parser.add_argument("list", type=Path)
    parser.add_argument("--seconds", type=float, nargs="+", default=[0.3, 0.6, 1.0])
    given = parser.parse_args()
    model, teacher = load(given.bundle), load_teacher(given.teacher)
    with given.list.open(newline="") as lines:
        rows = list(csv.DictReader(lines))
    labels = [row["label"] for row in rows]
    folds = [row["fold"] for row in rows] if "fold" in rows[0] else None
    results = []
    for seconds in given.seconds:
        cut = [loudest(given.list.parent / row["path"], model.sample_rate, seconds) for row in rows]
        teacher_clips = [
            loudest(given.list.parent / row["path"], teacher.sample_rate, seconds, centre)[0]
            for row, (_, centre) in zip(rows, cut, strict=True)
        ]
        target = embed_clips(teacher, teacher_clips)
        for policy in ("pad", "native", "repeat"):
            vectors = model.embed([(sound, model.sample_rate) for sound, _ in cut], short=policy)
            probe = probe_labels(vectors, labels, folds)
            results.append(
                {
                    "seconds": seconds,
                    "short": policy,
                    "clips": len(rows),
                    "window": model.window,
                    "trained_with": model.short,
                    "neighbour_overlap": round(neighbour_overlap(vectors, target), 4),
                    "probe_accuracy": round(probe.value, 4),
                    "interval_low": round(probe.interval95[0], 4),
                    "interval_high": round(probe.interval95[1], 4),
                    **provenance("onnxruntime", "scikit-learn"),
                }
            )
    write_results("short_clips", results)


if __name__ == "__main__":
    main()
