"""Progress of long work: a bar with rate and time left in a terminal, a line every ten seconds in a log file."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from sondino.console import open_console
from sondino.text import printable

Report = Callable[[int, int], None]
"""Called with (done, total)."""

SECONDS_BETWEEN_LINES = 10.0


class _Rate(ProgressColumn):
    def render(self, task: Task) -> Text:
        return Text(_format_rate(task.speed or task.finished_speed or 0), style="dim")


@contextmanager
def show(description: str, unit: str, quiet: bool = False) -> Iterator[Report]:
    """Yield a function to call with (done, total) as the work proceeds.

    Args:
        description: what is being done, such as "targets of yamnet".
        unit: what is counted, in the plural, such as "clips".
        quiet: show nothing.
    """
    console = open_console(error=True)
    description, unit = printable(description), printable(unit)
    if quiet:
        yield lambda done, total: None
    elif console.is_terminal:
        columns = (
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TextColumn(unit, markup=False),
            _Rate(),
            TimeRemainingColumn(),
        )
        with Progress(*columns, console=console) as bars:
            task = bars.add_task(description, total=None)
            yield lambda done, total: bars.update(task, completed=done, total=total)
    else:
        yield _lines(console, description, unit)


def _lines(console: Console, description: str, unit: str) -> Report:
    began = last = time.monotonic()
    first: int | None = None
    reported: int | None = None

    def report(done: int, total: int) -> None:
        nonlocal last, first, reported
        first = done if first is None else first  # a resumed stage starts above zero
        now = time.monotonic()
        if done == reported or (done < total and now - last < SECONDS_BETWEEN_LINES):
            return
        last, reported = now, done
        rate = (done - first) / max(now - began, 1e-9)
        left = f", {(total - done) / rate:.0f} s left" if rate > 0 and done < total else ""
        console.print(
            f"{description}: {done} of {total} {unit}, {_format_rate(rate)}{left}", highlight=False, soft_wrap=True
        )

    return report


def _format_rate(rate: float) -> str:
    """A rate in words: how many a second, or how long each takes."""
    return f"{1 / rate:.0f} s each" if 0 < rate < 0.5 else f"{rate:.0f}/s"
