"""Clips under a model's window: zero-padded, heard at their own length, or repeated. Which keeps most?

    python benchmarks/short_clips.py BUNDLE TEACHER LIST.csv

LIST.csv names short labelled clips (path, label), such as the sounds that ship with sondino. Neighbours are those
shared with the teacher's vectors; the probe reads the labels. Writes results/short_clips.csv.
"""

import argparse
import csv
from pathlib import Path

from provenance import provenance, write_results
from sondino import audio, load, load_teacher
from sondino.encoder import embed_clips
from sondino.evaluate.fidelity import neighbour_overlap
from sondino.evaluate.probe import probe_accuracy


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("teacher")
    parser.add_argument("list", type=Path)
    given = parser.parse_args()
    model, teacher = load(given.bundle), load_teacher(given.teacher)
    with given.list.open(newline="") as lines:
        rows = [(given.list.parent / row["path"], row["label"]) for row in csv.DictReader(lines)]
    short = [(file, label) for file, label in rows if audio.info(file).duration < model.window]
    files, labels = [file for file, _ in short], [label for _, label in short]
    wanted = embed_clips(teacher, [audio.read(file, teacher.sample_rate) for file in files])
    results = []
    for policy in ("pad", "native", "repeat"):
        vectors = model.embed(files, short=policy)
        probe = probe_accuracy(vectors, labels)
        results.append(
            {
                "short": policy,
                "clips": len(files),
                "under_seconds": model.window,
                "trained_with": model.short,
                "neighbour_overlap": round(neighbour_overlap(vectors, wanted), 4),
                "probe_accuracy": round(probe.accuracy, 4),
                "interval_low": round(probe.interval95[0], 4),
                "interval_high": round(probe.interval95[1], 4),
                **provenance("onnxruntime", "scikit-learn"),
            }
        )
    write_results("short_clips", results)


if __name__ == "__main__":
    main()
