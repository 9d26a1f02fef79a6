"""The command that sets models side by side: compare."""

import sys
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from sondino.cli.app import list_skipped, report_skipped, show_table
from sondino.console import print_line


def compare(
    bundles: list[str] | None = None,
    *,
    tasks: Annotated[list[str] | None, Parameter(negative=())] = None,
    data: Path | None = None,
    seeds: int = 5,
    grid: float = 475.0,
    out: Path | None = None,
    threads: int | None = None,
    quiet: bool = False,
) -> int:
    """Set bundles side by side: parameters, MACs, size, speed, energy, scores, and what is left of the first one's.

    Nothing else should run meanwhile. Scores need `pip install 'sondino[report]'`, energy `'sondino[energy]'`.

    Example: `sondino compare whole/bundle pruned/bundle --tasks my_labelled_sounds --out comparison`

    Args:
        bundles: the first is the whole, 100 %. Also runs' folders, published names, teachers.
        tasks: names that `sondino tasks` lists, all (those found), a folder whose subfolders are the labels, or a CSV;
            several with commas. Default: no scores.
        data: the folder that the tasks' data lie in. Default: $SONDINO_DATA, else data.
        seeds: how many times a probe draws folds, where a task has none of its own.
        grid: grams of CO2e that a kilowatt-hour costs where the model is to run. Default: the world's average.
        out: a folder for compare.csv, compare.json and compare.md; scores are kept there. Default: none, the table is
            printed alone.
        threads: processor threads. Default: all.
        quiet: show no progress.
    """
    from sondino.cli.experiments import listed
    from sondino.evaluation.compare import compare as run_compare
    from sondino.evaluation.compare import format_results, shown_rows

    done = run_compare(bundles or [], out, tasks=listed(tasks or ()), data=data, seeds=seeds, grid=grid,
                       threads=threads, quiet=quiet, command=sys.argv)  # fmt: skip
    show_table(shown_rows(done.results))
    print_line()
    for line in format_results(done.results):
        print_line(line)
    if out is None:
        return list_skipped(done.skipped)
    print_line(f"results: {out / 'compare.csv'}, {out / 'compare.json'}, {out / 'compare.md'}")
    return report_skipped(done.skipped, out / "compare.json")
