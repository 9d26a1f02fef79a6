"""The commands that vary settings: sweep over recipes, and support over window lengths."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from sondino.cli.app import Device, write_report
from sondino.cli.early import check_teacher, loading
from sondino.console import open_console, print_line


def sweep(
    recipe: Path,
    *,
    audio: Path,
    vary: Annotated[list[str], Parameter(negative=())],
    out: Path,
    tasks: Annotated[list[str] | None, Parameter(negative=())] = None,
    data: Path | None = None,
    seeds: int = 5,
    teacher: Annotated[list[str] | None, Parameter(negative=())] = None,
    device: Device = "auto",
    quiet: bool = False,
) -> int:
    """Distil once for every combination of some recipe entries, and compare the students.

    Corpus, targets, clusters and decoded audio are made once for all runs. If interrupted, the same command resumes;
    further values or entries add runs to the table.

    Example: `sondino sweep recipe.yaml --audio my_sounds --vary loss=cosine,kl,mse --vary seed=0,1 --out losses`

    Args:
        recipe: a YAML file of a recipe's entries (see recipes/).
        audio: a folder of audio, a list of paths, tar shards, or a corpus made by `sondino corpus`.
        vary: ENTRY=VALUE,VALUE such as clusters=0,30,50 (0: uniform sampling). Several times: their product.
            Where seed is varied, the table has means over seeds, and Student's t for their interval.
        out: the sweep's folder: runs/, results.json, runs.csv, table.md, table.csv.
        tasks: what each student is probed on: names that `sondino tasks` lists, all, a folder whose subfolders are the
            labels, or a CSV; several with commas. Default: agreement with the teacher alone.
        data: the folder that the tasks' data lie in.
        seeds: how many times a probe draws its folds, where a task has none of its own.
        teacher: wins over the recipe's; `sondino teachers` lists what can be one.
        device: where teacher and student run.
        quiet: show no progress.
    """
    from sondino.errors import OptionError
    from sondino.training.entries import read_yaml

    read_yaml(recipe)
    if not audio.exists():
        raise OptionError(f"{audio} does not exist: give a folder of sound, a list, tar shards or a corpus")
    for name in teacher or ():
        check_teacher(name)
    with loading(quiet):
        from sondino.evaluation.grid import read_vary
        from sondino.evaluation.sweep import sweep as run_sweep
    from sondino.evaluation.sweep_table import rich_table

    swept = run_sweep(recipe, audio, read_vary(vary), out, teacher=tuple(teacher or ()), tasks=listed(tasks or ()),
                      data=data, seeds=seeds, device=device, quiet=quiet, command=sys.argv)  # fmt: skip
    table, under = rich_table(swept.results)
    open_console().print(table)
    for line in ("", *under):
        print_line(line)
    for name, reason in swept.failed:
        print_line(f"failed: {name}: {reason}", error=True)
    if swept.unreadable:
        print_line(f"{swept.unreadable} files could not be read: see skipped.csv in each run's folder", error=True)
    print_line(f"results: {out / 'table.md'}, {out / 'runs.csv'}, {out / 'results.json'}")
    if swept.results["runs"]:
        print_line(f"report: {write_report(out, quiet)}")
    return 1 if swept.failed or swept.unreadable else 0


def support(
    models: list[str],
    *,
    tasks: Annotated[list[str], Parameter(negative=())],
    data: Path | None = None,
    window_lengths: str = "0.5,1,2,5,10",
    seeds: int = 5,
    out: Path = Path("support"),
    threads: int | None = None,
    quiet: bool = False,
) -> int:
    """Find the window length that models need: score, memory and time against the window's length.

    Names the shortest window that is within one interval of the best. If interrupted, the same command resumes.

    Example: `sondino support run/bundle birdnet --tasks my_labelled_sounds --window-lengths 0.5,1,3,5 --out support`

    Args:
        models: bundles, runs' folders, published names, or teachers.
        tasks: what they are probed on: names that `sondino tasks` lists, all, a folder whose subfolders are the labels,
            or a CSV; several with commas.
        data: the folder that the tasks' data lie in.
        window_lengths: seconds, with commas between. A model of one length gets shorter windows padded, and no
            longer ones.
        seeds: how many times a probe draws its folds, where a task has none of its own.
        out: folder for results.json, support.csv and what is kept.
        threads: processor threads. Default: all.
        quiet: show no progress.
    """
    from sondino.errors import OptionError
    from sondino.evaluation.support import support as run_support
    from sondino.evaluation.support_table import rich_table

    try:
        lengths = [float(window) for window in window_lengths.split(",")]
    except ValueError:
        raise OptionError(
            f"--window-lengths is {window_lengths!r}: give seconds with commas between, such as 0.5,1,2,5,10"
        ) from None
    found = run_support(models, listed(tasks), lengths, out=out, data=data, seeds=seeds, threads=threads, quiet=quiet,
                        command=sys.argv)  # fmt: skip
    open_console().print(rich_table(found.results))
    notes = [f"note: {note}" for note in found.results["notes"]]
    for line in ("", *(chosen["sentence"] for chosen in found.results["chosen"]), "", *notes):
        print_line(line)
    if found.unreadable:
        print_line(f"{found.unreadable} clips could not be decoded: results.json has them by task", error=True)
    print_line(f"results: {out / 'support.csv'}, {out / 'results.json'}\nreport: {write_report(out, quiet)}")
    return 1 if found.unreadable else 0


def listed(tasks: Sequence[str]) -> list[str]:
    """Task names, given one by one or with commas between; what exists as a path is taken whole."""
    return [
        name
        for given in tasks
        for name in ([given] if Path(given).exists() else map(str.strip, given.split(",")))
        if name
    ]
