"""The command that evaluates models: evaluate."""

import sys
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from sondino.cli.app import Device, report_skipped, show_table, write_report
from sondino.console import print_line


def evaluate(
    models: list[str] | None = None,
    *,
    teacher: str | None = None,
    supervised: str | None = None,
    tasks: Annotated[list[str] | None, Parameter(negative=())] = None,
    sounds: Path | None = None,
    data: Path | None = None,
    seeds: int = 5,
    out: Path = Path("evaluation"),
    untrained: bool = True,
    threads: int | None = None,
    device: Device = "auto",
    quiet: bool = False,
) -> int:
    """Probe models on labelled tasks, beside their teacher, a randomly initialised net, and chance level; write a page.

    Embeddings and scores are kept: if interrupted, the same command resumes, and one with further models or tasks
    computes those alone. Needs `pip install 'sondino[report]'`.

    Example: `sondino evaluate run/bundle --teacher birdnet --tasks esc50,us8k --data datasets --out evaluation`

    Args:
        models: bundles, runs' folders, published names, or teachers as `sondino teachers` lists them.
        teacher: what the models are compared with.
        supervised: a model of the same kind that was trained on labels, for comparison.
        tasks: names that `sondino tasks` lists, all (those found), a folder whose subfolders are the labels, or a CSV
            (path, label or labels, and optionally fold or split, and source); several with commas.
        sounds: a folder without labels, to compare embeddings with the teacher's on.
        data: the folder that the tasks' data lie in. Default: $SONDINO_DATA, else data.
        seeds: how many times a probe draws folds, where a task has none of its own.
        out: the folder of the results: report.html, retention.md, .csv, results.json, and held-out predictions.
        untrained: also probe the first student's net, randomly initialised (needs `sondino[train]`).
        threads: processor threads. Default: all.
        device: where teachers run.
        quiet: show no progress.
    """
    from sondino.cli.experiments import listed
    from sondino.evaluation.evaluate import evaluate as run_evaluate
    from sondino.evaluation.retention import explained, shown_rows

    done = run_evaluate(models or [], out, teacher=teacher, supervised=supervised, tasks=listed(tasks or ()),
                        sounds=sounds, data=data, untrained=untrained, seeds=seeds, threads=threads, device=device,
                        quiet=quiet, command=sys.argv)  # fmt: skip
    results = done.results
    for task in results["tasks"]:
        for note in task["notes"]:
            print_line(f"note: {task['name']}: {note}", error=True)
    if results["scores"]:
        show_table(shown_rows(results))
        print_line()
    if results["agreement"]:
        show_table([_agreement(row) for row in results["agreement"]])
        print_line("cosine: after a linear map fitted on other clips (of the mean: chance level); CKA: unbiased")
        print_line("found: a clip's embedding by the student, searched among the teacher's embeddings")
        print_line()
    lines = [*explained(results), *results["notes"]] if results["scores"] else results["notes"]
    for line in lines:
        print_line(line)
    print_line(f"results: {out}\nreport: {write_report(out, quiet)}")
    return report_skipped(done.skipped, out / "results.json")


def _agreement(row: dict[str, object]) -> dict[str, str]:
    from sondino.metrics.verdicts import overlap_by_chance

    def percent(name: str) -> str:
        value = row[name]
        return f"{100 * value:.1f} %" if isinstance(value, float) else ""

    def plain(name: str) -> str:
        value = row[name]
        return f"{value:.3f}" if isinstance(value, float) else ""

    return {
        "model": str(row["model"]),
        "task": str(row["task"]),
        "cosine": plain("cosine"),
        "of the mean": plain("cosine_of_mean"),
        "10-NN overlap": percent("neighbour_overlap"),
        "by chance": f"{100 * overlap_by_chance(row['clips']):.1f} %" if isinstance(row["clips"], int) else "",
        "CKA": plain("cka_unbiased"),
        "found first": percent("retrieval_at_1"),
        "in the first 10": percent("retrieval_at_10"),
        "of": str(row["searched"]),
    }
