"""Peak memory of clustering targets of 3840 dimensions, at 100,000 and at 1,000,000 rows (7.7 GB on disk).

Each size is clustered in a separate process; its peak resident memory includes
Python and the libraries (measured too, as "before"). The matrix is written to a temporary folder and removed.

    OMP_NUM_THREADS=1 python benchmarks/clusters_memory.py [--rows 100000 1000000] [--epochs 1] [--folder /tmp]
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from provenance import provenance, write_results

DIM, K = 3840, 50


def make_targets(folder: Path, rows: int) -> None:
    """Write noisy blobs around 200 centres as targets, 10,000 rows at a time."""
    from sondino.corpus.parts import Parts, write_rows

    rng = np.random.default_rng(0)
    centres = rng.standard_normal((200, DIM), dtype=np.float32)
    parts = Parts(folder, rows, 10_000)
    parts.prepare(targets=((rows, DIM), np.float16))
    for part in range(parts.count):
        first, stop = parts.span(part)
        chunk = rng.standard_normal((stop - first, DIM), dtype=np.float32)
        chunk += centres[rng.integers(200, size=stop - first)]
        write_rows(folder / "targets.npy", first, chunk.astype(np.float16))
        parts.mark(part, {"rows": [first, stop], "skipped": []})


def peak_mb() -> float:
    """Peak resident memory of this process so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1024 if sys.platform != "darwin" else 1024**2)


def cluster(folder: Path, rows: int, epochs: int) -> None:
    """Cluster in this process, and print its figures as JSON."""
    import sklearn.cluster
    import sklearn.metrics  # noqa: F401 - so that "before" has the libraries in it

    from sondino.corpus import clusters
    from sondino.corpus.targets import Targets

    clusters.MOST_EPOCHS = epochs
    targets = Targets(folder, rows, DIM, "benchmark", 10_000)
    before, began = peak_mb(), time.perf_counter()
    found = clusters.fit_clusters(targets, k=K, seed=0)
    figures = {
        "peak_mb": round(peak_mb()),
        "before_mb": round(before),
        "seconds": round(time.perf_counter() - began, 1),
    }
    print(json.dumps(figures | {name: round(value, 4) for name, value in found.quality.items()}))


def main() -> None:
    """Measure each size and write results/clusters_memory.csv."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, nargs="+", default=[100_000, 1_000_000])
    parser.add_argument("--epochs", type=int, default=1, help="passes over the rows at most; memory is the same")
    parser.add_argument("--folder", type=Path, default=None, help="where the matrix is made")
    parser.add_argument("--one", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        cluster(options.one, options.rows[0], options.epochs)
        return
    results = []
    for rows in options.rows:
        with tempfile.TemporaryDirectory(dir=options.folder) as name:
            # In a process of its own too: a child's peak begins at its parent's size.
            making = f"from clusters_memory import *; make_targets(Path({name!r}), {rows})"
            subprocess.run([sys.executable, "-c", making], check=True, cwd=Path(__file__).parent)
            command = [sys.executable, __file__, "--one", name, "--rows", str(rows), "--epochs", str(options.epochs)]
            printed = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
        figures = json.loads(printed.splitlines()[-1])
        size = {"rows": rows, "dim": DIM, "k": K, "matrix_mb": round(rows * DIM * 2 / 1e6), "epochs": options.epochs}
        results.append(size | figures | provenance("numpy", "scikit-learn"))
    write_results("clusters_memory", results)


if __name__ == "__main__":
    main()
