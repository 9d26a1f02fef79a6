"""How the published window policy (full windows only) and the default (no audio dropped) differ on real clips.

    python benchmarks/window_policy.py BUNDLE LIST.csv

LIST.csv names labelled clips (path, label, fold). Recordings of every length are made by concatenating clips of one
label; the cosine compares a recording's two embeddings. The clips themselves, shorter than the window, are rejected
by the published policy, so the probe compares the three short-clip policies. Writes results/window_policy.csv.
"""

import argparse
import csv
from pathlib import Path

import numpy as np

from provenance import provenance, write_results
from sondino import audio, load
from sondino.probing.probe import probe_labels

LENGTHS = (10.5, 12.0, 15.0, 19.9, 25.0, 29.5)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("list", type=Path)
    given = parser.parse_args()
    model = load(given.bundle)
    assert model.window is not None
    with given.list.open(newline="") as lines:
        rows = list(csv.DictReader(lines))
    about = {"model": model.name, "window_s": model.window, **provenance("numpy", "onnxruntime", "scikit-learn")}
    rate = model.sample_rate
    by_label: dict[str, list[np.ndarray]] = {}
    for row in rows:
        by_label.setdefault(row["label"], []).append(audio.read(given.list.parent / row["path"], rate))
    joined = {label: np.concatenate(clips) for label, clips in by_label.items()}
    results = []
    for seconds in LENGTHS:
        size = round(seconds * rate)
        recordings = [(x[at : at + size], rate) for x in joined.values() for at in range(0, len(x) - size + 1, size)]
        kept, cut = (model.embed(recordings, window_policy=policy) for policy in ("all", "published"))
        lengths = np.linalg.norm(kept, axis=1) * np.linalg.norm(cut, axis=1)
        cosines = np.einsum("nd,nd->n", kept, cut) / lengths
        dropped = 100 * (1 - seconds // model.window * model.window / seconds)
        results.append(
            {
                "what": f"{seconds:g} s, published against all",
                "clips": len(recordings),
                "sound_not_heard_percent": f"{dropped:.0f}",
                "cosine_median": f"{np.median(cosines):.4f}",
                "cosine_lowest": f"{cosines.min():.4f}",
                "probe_percent": "",
            }
        )
    labels, folds = [row["label"] for row in rows], [row["fold"] for row in rows]
    files = [given.list.parent / row["path"] for row in rows]
    for short in ("pad", "native", "repeat"):
        accuracy = probe_labels(model.embed(files, short=short), labels, folds=folds).value
        results.append(
            {
                "what": f"clips as they are, {short}",
                "clips": len(files),
                "sound_not_heard_percent": "0",
                "cosine_median": "",
                "cosine_lowest": "",
                "probe_percent": f"{100 * accuracy:.1f}",
            }
        )
    write_results("window_policy", [{**result, **about} for result in results])


if __name__ == "__main__":
    main()
