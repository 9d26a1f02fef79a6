"""Search by index beside exact search: building, size, seconds a query and recall, on clustered random embeddings.

The embeddings are 1,000 normal clusters in 32 dimensions, mapped to DIM by two random layers with ReLU, plus a little
noise: like a model's, they fill few of their dimensions. Queries are drawn alike, and are no rows of the table.

    python benchmarks/search.py --rows 20000 200000 --work /tmp/search
"""

import argparse
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from provenance import keep_rows, provenance, write_results
from sondino.embedding.search_index import build_index, open_index
from sondino.embedding.similar import find_similar
from sondino.embedding.tables import WRITERS, TableForm, TablePart

LATENT, WIDE, CLUSTERS = 32, 128, 1000
PIECE = 4096


def maker(dim: int) -> Callable[[int, int], NDArray[np.float32]]:
    """A function of (how many, which piece) that draws embeddings (n, dim)."""
    rng = np.random.default_rng(0)
    centres = rng.standard_normal((CLUSTERS, LATENT), np.float32)
    first = rng.standard_normal((LATENT, WIDE), np.float32) / np.float32(LATENT**0.5)
    second = rng.standard_normal((WIDE, dim), np.float32) / np.float32(WIDE**0.5)

    def draw(count: int, piece: int) -> NDArray[np.float32]:
        rng = np.random.default_rng([1, piece])
        points = centres[rng.integers(CLUSTERS, size=count)] + 0.5 * rng.standard_normal((count, LATENT), np.float32)
        clean = np.maximum(np.maximum(points @ first, 0) @ second, 0)
        return clean + np.float32(0.02) * rng.standard_normal((count, dim), np.float32)

    return draw


def measure(rows: int, dim: int, work: Path, queries: int, suffix: str) -> dict[str, object]:
    draw = maker(dim)
    table = work / f"t{rows}x{dim}{suffix}"

    def parts() -> Iterator[TablePart]:
        for first in range(0, rows, PIECE):
            count = min(PIECE, rows - first)
            ids = [f"clip {row}.wav" for row in range(first, first + count)]
            yield TablePart(ids, [1] * count, draw(count, first), np.zeros(count), 0.0, [])

    if not table.exists():
        WRITERS[suffix](table, parts(), TableForm(rows, rows, dim))
    began, used = time.perf_counter(), time.process_time()
    made = build_index(table, recall_queries=0)
    built, used = time.perf_counter() - began, time.process_time() - used
    began = time.perf_counter()
    index = open_index(made.folder, table)
    opened = time.perf_counter() - began
    by_index, exact, right = [], [], 0
    for query in draw(queries, 1_000_000_007):
        began = time.perf_counter()
        found = find_similar(query, table, 10, index=index)
        by_index.append(time.perf_counter() - began)
        began = time.perf_counter()
        nearest = find_similar(query, table, 10)
        exact.append(time.perf_counter() - began)
        right += len({near.id for near in found} & {near.id for near in nearest})
    return {
        "rows": rows,
        "dim": dim,
        "table": suffix,
        "table_mb": round(table.stat().st_size / 1e6, 1),
        "index_mb": round(made.bytes / 1e6, 1),
        "build_seconds": round(built, 1),
        "build_cpu_seconds": round(used, 1),
        "open_seconds": round(opened, 3),
        "index_query_ms": round(1000 * statistics.median(by_index), 2),
        "exact_query_ms": round(1000 * statistics.median(exact), 1),
        "recall_at_10": round(right / (10 * queries), 4),
        "queries": queries,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="+", default=[20_000, 200_000])
    parser.add_argument("--dim", type=int, default=960)
    parser.add_argument("--queries", type=int, default=50)
    parser.add_argument("--table", default=".npz", choices=[".npz", ".npy", ".parquet"])
    parser.add_argument("--work", type=Path, required=True, help="a folder for the tables, 4 bytes a dimension and row")
    given = parser.parse_args()
    given.work.mkdir(parents=True, exist_ok=True)
    facts = provenance("numpy", "usearch")
    made = [measure(rows, given.dim, given.work, given.queries, given.table) | facts for rows in given.rows]
    write_results("search", keep_rows("search", made, "rows", "dim", "table"))


if __name__ == "__main__":
    main()
