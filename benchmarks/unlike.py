"""How well scores of an embedding find sound of classes that a classifier was not trained on.

    python benchmarks/unlike.py LIST.csv OTHER [--splits 25]

LIST.csv has labelled clips with folds (path, label, fold); OTHER is a folder of other sound. In each split half of the
labels are known. The scores are fitted on clips of known labels outside one fold (the mean embedding of each clip);
windows of that fold's known clips stand against windows of its other clips, and against those of OTHER. Measured is the
area under the ROC curve (AUROC), the mean over splits and its standard error. Writes results/unlike.csv.
"""

import argparse
import csv
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score

from provenance import provenance, write_results
from sondino import load
from sondino.encoder.unlike import distances
from sondino.probing.linear import fit_linear
from sondino.probing.unlike import fit_distance

Array = NDArray[np.floating]
NEAREST = 300


def unit(x: Array) -> Array:
    return x / np.linalg.norm(x, axis=1, keepdims=True)


def candidates(x: Array, targets: NDArray[np.bool_]) -> dict[str, Callable[[Array], Array]]:
    """Scores of embeddings, higher for what is unlike x (clips, dim) with targets (clips, labels)."""
    some = np.random.default_rng(0).permutation(len(x))[:NEAREST]
    kept = unit(x[some])
    fitted = fit_distance(x, targets, np.ones(len(x), bool))
    *_, linear = fit_linear(x, targets, [0.0001, 0.001, 0.01], False)
    means = np.stack([x[rows].mean(0) for rows in targets.T])

    def highest(y: Array) -> Array:
        logits = linear.logits(y)
        return -(logits.max(1) - np.logaddexp.reduce(logits, axis=1))

    assert fitted is not None
    return {
        "1 - highest probability": highest,
        "minus log-sum-exp of the logits": lambda y: -np.logaddexp.reduce(linear.logits(y), axis=1),
        "cosine to the nearest": lambda y: 1 - np.sort(unit(y) @ kept.T, 1)[:, -1],
        "cosine to the 5th nearest": lambda y: 1 - np.sort(unit(y) @ kept.T, 1)[:, -5],
        "Euclidean to the nearest class mean": lambda y: np.stack([((y - m) ** 2).sum(1) for m in means]).min(0),
        "Mahalanobis to the nearest class mean, 16 directions": lambda y: distances(y, *fitted),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("list", type=Path)
    parser.add_argument("other", type=Path)
    parser.add_argument("--splits", type=int, default=25)
    given = parser.parse_args()
    with given.list.open(newline="") as lines:
        rows = list(csv.DictReader(lines))
    labels, folds = np.array([r["label"] for r in rows]), np.array([r["fold"] for r in rows])
    model = load()
    files = [given.list.parent / row["path"] for row in rows]
    clips = model.embed(files)
    windows = [model.embed_windows(file)[0] for file in files]
    owner, windows_ = np.repeat(np.arange(len(files)), [len(w) for w in windows]), np.concatenate(windows)
    other = np.concatenate([model.embed_windows(f)[0] for f in sorted(given.other.iterdir()) if f.is_file()])
    names = np.unique(labels)
    found: dict[tuple[str, str], list[float]] = {}
    for seed in range(given.splits):
        known = np.random.default_rng(seed).permutation(names)[: len(names) // 2]
        mine, fold = np.isin(labels, known), folds == np.unique(folds)[seed % len(np.unique(folds))]
        learnt = mine & ~fold
        for name, score in candidates(clips[learnt], labels[learnt, None] == known).items():
            inside = score(windows_[(mine & fold)[owner]])
            for against, outside in (("classes", windows_[(~mine & fold)[owner]]), ("other", other)):
                values = np.concatenate([inside, score(outside)])
                truth = np.arange(len(values)) >= len(inside)
                found.setdefault((name, against), []).append(roc_auc_score(truth, values))
    results = [
        {
            "score": name,
            "other classes": round(float(np.mean(found[name, "classes"])), 3),
            "standard error": round(float(np.std(found[name, "classes"], ddof=1) / given.splits**0.5), 3),
            "other sound": round(float(np.mean(found[name, "other"])), 3),
            "standard error ": round(float(np.std(found[name, "other"], ddof=1) / given.splits**0.5), 3),
        }
        for name in dict.fromkeys(name for name, _ in found)
    ]
    write_results("unlike", [row | provenance() for row in results])


if __name__ == "__main__":
    main()
