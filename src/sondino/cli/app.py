"""The command line's app, and what its commands share."""

import sys
from pathlib import Path
from typing import Literal

from cyclopts import App, Parameter

from sondino.files import unreadable
from sondino.version import __version__

app = App(
    name="sondino",
    help="Small audio models out of big ones: distil, measure, embed.",
    version=__version__,
    help_format="markdown",
    default_parameter=Parameter(negative=()),
    suppress_keyboard_interrupt=False,
)

Device = Literal["auto", "cpu", "cuda"]


def show_table(rows: list[dict[str, str]]) -> int:
    """Print rows as a table; 0, the exit code."""
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in rows[0]:
        table.add_column(name, overflow="fold")
    for row in rows:
        table.add_row(*row.values())
    console = Console()
    (console if console.is_terminal else Console(width=200)).print(table)  # what is piped is not folded
    return 0


def report_skipped(skipped: list[tuple[str, str]], output: Path) -> int:
    """List what was skipped beside an output, in NAME.skipped.csv, and print it; the exit code."""
    from sondino.files import write_skipped

    file = output.with_name(output.stem + ".skipped.csv")
    if skipped:
        write_skipped(file, skipped)
    else:
        file.unlink(missing_ok=True)  # of an earlier call
    return list_skipped(skipped, file)


def list_skipped(skipped: list[tuple[str, str]], where: Path | None = None) -> int:
    """Print what was skipped (all of it is in a file where there are many); 1 if anything could not be read."""
    for path, reason in skipped[:20]:
        print(f"skipped {path}: {reason}", file=sys.stderr)
    if len(skipped) > 20:
        print(f"... and {len(skipped) - 20} more" + (f", listed in {where}" if where else ""), file=sys.stderr)
    return 1 if unreadable(skipped) else 0
