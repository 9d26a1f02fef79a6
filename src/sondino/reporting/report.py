"""The HTML page of a folder: a run of distillation or pretraining, an evaluation, temporal support or a sweep."""

import warnings
from pathlib import Path

from sondino.errors import RunError
from sondino.reporting.entries import is_pretraining
from sondino.reporting.evaluation_page import write_evaluation
from sondino.reporting.pretraining_page import report_pretraining
from sondino.reporting.results import RESULTS, read_results
from sondino.reporting.run_page import report_run
from sondino.reporting.support_page import write_support
from sondino.reporting.sweep_page import write_sweep

PAGE = "report.html"


def report(path: str | Path) -> Path:
    """Write report.html again from what is on disk, and beside it the figures of support and sweeps as SVG.

    Args:
        path: the folder of a run, or of results, or results.json itself.

    Returns:
        The page.

    Raises:
        RunError: the folder holds no results, or they are damaged.
        MissingExtra: a package that a map or a run's recipe needs is not installed.

    Examples:
        >>> done = sondino.evaluate(["run/bundle"], "evaluation", tasks=["labelled"], untrained=False, quiet=True)
        >>> sondino.report("evaluation").name
        'report.html'
    """
    path = Path(path)
    if path.name == RESULTS and path.is_file():
        path = path.parent
    if not path.is_dir():
        fault = "is a file" if path.exists() else "does not exist"
        raise RunError(f"{path} {fault}: give the folder of a run, or a folder that holds {RESULTS}")
    if (path / RESULTS).exists():
        return report_results(path)
    if (path / "summary.json").exists() or (path / "metrics.jsonl").exists():
        return report_pretraining(path) if is_pretraining(path) else report_run(path)
    near = path.resolve().parent
    hint = (
        f"the run it belongs to is {near}"
        if (near / "summary.json").exists()
        else ("give what `sondino distill`, `pretrain`, `evaluate`, `support` or `sweep` wrote")
    )
    raise RunError(f"{path} holds neither {RESULTS} nor a run, so there is nothing to report on: {hint}")


def report_results(folder: Path) -> Path:
    """Write the page of an evaluation, of temporal support or of a sweep beside its results.json.

    Returns:
        The page.

    Raises:
        RunError: the results are missing or damaged.
        MissingExtra: scikit-learn, which computes the map of an evaluation, is not installed.
    """
    results = read_results(folder)
    if results.kind == "evaluation":
        sounds = write_evaluation(results)
        if sounds.lost:
            warnings.warn(sounds.message(), stacklevel=2)
    elif results.kind == "support":
        write_support(results)
    else:
        write_sweep(results)
    return folder / PAGE
