"""Time to set up balanced sampling of 2,000,000 rows in 50 clusters, and to draw an epoch of 100,000 from it.

python benchmarks/balanced_sampling.py
"""

import statistics
import time

import numpy as np

from provenance import provenance, write_results
from sondino.distillation.sampling import balanced_weights, draw

ROWS, CLUSTERS, DRAWS, REPEATS = 2_000_000, 50, 100_000, 5


def main() -> None:
    """Measure, print and write results/balanced_sampling.csv."""
    rng = np.random.default_rng(0)
    shares = rng.dirichlet(np.full(CLUSTERS, 0.5))  # sizes as uneven as those of a real corpus
    assignment = rng.choice(CLUSTERS, ROWS, p=shares).astype(np.int32)
    setup, drawing = [], []
    for _ in range(REPEATS):
        began = time.perf_counter()
        weights = balanced_weights(assignment)
        middle = time.perf_counter()
        rows = draw(weights, DRAWS, rng)
        setup.append(middle - began)
        drawing.append(time.perf_counter() - middle)
    drawn = np.bincount(assignment[rows], minlength=CLUSTERS)
    facts = {
        "rows": ROWS,
        "clusters": CLUSTERS,
        "draws": DRAWS,
        "repeats": REPEATS,
        "setup_s_median": round(statistics.median(setup), 4),
        "draw_s_median": round(statistics.median(drawing), 4),
        "largest_cluster_rows": int(np.bincount(assignment).max()),
        "smallest_cluster_rows": int(np.bincount(assignment).min()),
        "least_drawn_cluster": int(drawn.min()),
        "most_drawn_cluster": int(drawn.max()),
    }
    write_results("balanced_sampling", [facts | provenance("numpy")])


if __name__ == "__main__":
    main()
