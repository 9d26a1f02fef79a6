"""The command that writes a page again: report."""

from pathlib import Path

from sondino.console import print_line


def report(path: Path) -> int:
    """Write the page of a run, an evaluation, a support or a sweep again, from what is on disk.

    The page is one HTML file with everything in it, audio too; it loads nothing from the network. Support and sweeps
    also get their figures as SVG. Sounds are read from where the clips lie now. Needs `pip install 'sondino[report]'`,
    for a run `sondino[train]`.

    Example: `sondino report run`

    Args:
        path: the folder of a run, finished or not, or a folder with results.json.
    """
    from sondino.reporting.report import report as write_report

    print_line(f"report: {write_report(path).resolve()}")
    return 0
