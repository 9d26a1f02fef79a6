"""Printing: every line and table of the command line goes through here, so that no name can control the terminal."""

import sys
from typing import TYPE_CHECKING

from sondino.text import printable

# The command line reads this file for every `--help`: rich is imported where it is used.
if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table


def print_line(text: object = "", error: bool = False, flush: bool = False) -> None:
    """Print text with its control codes escaped.

    Args:
        text: one line or several.
        error: on standard error.
        flush: at once, though standard output is a pipe.
    """
    print(printable(text), file=sys.stderr if error else sys.stdout, flush=flush)


def open_console(error: bool = False) -> "Console":
    """A console that prints text as it is: no markup, no emoji codes; what is piped is not folded."""
    from rich.console import Console

    class OwnConsole(Console):
        def on_broken_pipe(self) -> None:
            raise BrokenPipeError  # for `main`, where rich would end the process with code 1

    console = OwnConsole(stderr=error, markup=False, emoji=False, highlight=False)
    if not console.is_terminal:
        console.width = max(console.width, 200)
    return console


def new_table() -> "Table":
    """An empty table for `open_console`; its cells must be `printable`."""
    from rich.table import Table

    return Table(box=None, pad_edge=False, header_style="bold")
