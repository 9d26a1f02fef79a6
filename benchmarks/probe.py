"""Time and memory of probes: 100,000 embeddings of dimension 960, 50 labels, the sizes of nine tasks.

    python benchmarks/probe.py [--clips 100000] [--runs 3]

Each case runs in a separate process: linear probe with C chosen on validation clips, held-out predictions,
nearest neighbours, mAP and interval, as `sondino evaluate` does from cached embeddings. For comparison, on a tenth of
the clips, scikit-learn's LogisticRegression fitted once with the chosen C. Writes results/probe.csv.
"""

import argparse
import json
import resource
import statistics
import subprocess
import sys
import time

import numpy as np

from provenance import provenance, write_results
from sondino.probing.probe import probe
from sondino.tasks.labelled import Clip, Labelled

DIM, LABELS = 960, 50
# As large as the nine tasks are beside each other, except NSynth, which would leave nothing for the others.
SHARES = {"fold": (2_000, 8_732, 1_440), "split": (930, 20_000, 16_935, 10_000), "several": (51_197, 25_860)}


def vectors_of(clips: int, several: bool, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Embeddings whose dimensions are correlated, as in real ones, and the labels that can be read out of them."""
    rng = np.random.default_rng(seed)
    turn = rng.standard_normal((DIM, DIM), np.float32) * np.exp(-np.arange(DIM, dtype=np.float32) / 160)[:, None]
    hidden = rng.standard_normal((clips, DIM), np.float32)
    centres = rng.standard_normal((LABELS, DIM), np.float32)
    has = np.zeros((clips, LABELS), bool)
    has[np.arange(clips), rng.integers(LABELS, size=clips)] = True
    if several:
        has |= rng.random((clips, LABELS)) < 0.03
    hidden[:, :40] += 0.6 * has.astype(np.float32) @ centres[:, :40]
    return hidden @ turn / DIM**0.5 + 0.5, has


def task(clips: int, kind: str, seed: int = 0) -> tuple[np.ndarray, Labelled]:
    vectors, has = vectors_of(clips, kind == "several", seed)
    names = tuple(f"{number:02d}" for number in range(LABELS))
    parts = ["train"] * 7 + ["valid"] + ["test"] * 2
    rows = [
        Clip(str(i), str(i), tuple(names[k] for k in np.flatnonzero(has[i])),
             str(i % 5) if kind == "fold" else parts[i % 10], str(i))
        for i in range(clips)
    ]  # fmt: skip
    return vectors, Labelled(tuple(rows), names, kind == "several", "fold" if kind == "fold" else "split")


def tasks_of(case: str, clips: int) -> list[tuple[np.ndarray, Labelled]]:
    if case != "nine tasks":
        return [task(clips, case)]
    whole = sum(map(sum, SHARES.values()))
    sizes = [(round(size * clips / whole), kind) for kind, of in SHARES.items() for size in of]
    return [task(max(size, 200), kind, seed) for seed, (size, kind) in enumerate(sizes)]


def run_once(case: str, clips: int) -> dict[str, float]:
    given = tasks_of(case.removesuffix(", scikit-learn"), clips)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    began = time.perf_counter()
    if case.endswith("scikit-learn"):
        from sklearn.linear_model import LogisticRegression
        from sklearn.preprocessing import StandardScaler

        ((vectors, labelled),) = given
        learn, answers = labelled.folds() != "test", labelled.targets().argmax(1)
        scaler = StandardScaler().fit(vectors[learn])
        fitted = LogisticRegression(C=0.001, max_iter=1000).fit(scaler.transform(vectors[learn]), answers[learn])
        value = float(fitted.score(scaler.transform(vectors[~learn]), answers[~learn]))
    else:
        value = float(np.mean([probe(*each).value for each in given]))
    seconds = time.perf_counter() - began
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {"seconds": seconds, "peak_mb": peak / 1024, "vectors_mb": before / 1024, "value": value}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=int, default=100_000)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--case", help="run this one case here, and print it")
    given = parser.parse_args()
    if given.case:
        print(json.dumps(run_once(given.case, given.clips)))
        return
    cases = [("nine tasks", given.clips), ("split", given.clips // 10), ("split", given.clips // 3)]
    cases += [(case, given.clips) for case in ("split", "several")]
    cases += [(case, given.clips // 10) for case in ("fold", "split, scikit-learn")]
    found: dict[tuple[str, int], list[dict[str, float]]] = {}
    for _ in range(given.runs):
        for case, clips in cases:
            command = [sys.executable, __file__, "--case", case, "--clips", str(clips)]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            found.setdefault((case, clips), []).append(json.loads(done.stdout))
            print(case, clips, found[case, clips][-1], flush=True)
    rows = []
    for (case, clips), runs in found.items():
        seconds = [run["seconds"] for run in runs]
        rows.append({
            "case": case, "clips": clips, "dim": DIM, "labels": LABELS, "runs": len(runs),
            "seconds": round(statistics.median(seconds), 1), "fastest": round(min(seconds), 1),
            "slowest": round(max(seconds), 1), "peak_mb": round(max(run["peak_mb"] for run in runs)),
            "value": round(runs[0]["value"], 4), **provenance("numpy", "scipy", "scikit-learn"),
        })  # fmt: skip
    write_results("probe", rows)


if __name__ == "__main__":
    main()
