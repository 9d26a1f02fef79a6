"""Progress of long work: a bar with rate and time left in a terminal, a line every ten seconds in a log file."""

import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

from sondino.console import open_console, print_line
from sondino.text import printable

Report = Callable[[int, int], None]
"""Called with (done, total)."""

SECONDS_BETWEEN_LINES = 10.0
SECONDS_BETWEEN_LOOKS = 1.0
"""How often it is checked whether a line is due."""


@dataclass
class _Stages:
    total: int
    begun: int = 0


_stages: ContextVar[_Stages | None] = ContextVar("stages", default=None)
_within: ContextVar[str] = ContextVar("within", default="")


@contextmanager
def stages(total: int) -> Iterator[None]:
    """Number what `show` describes inside: "2 of 6: targets". Directly in other stages those outside count alone."""
    if _stages.get() is not None:
        yield
        return
    before = _stages.set(_Stages(total))
    try:
        yield
    finally:
        _stages.reset(before)


@contextmanager
def within(name: str) -> Iterator[None]:
    """Put a name before what is shown inside, whose stages have their own numbers: "recovery, 2 of 5: targets".

    In stages it counts as one of them: "3 of 4: recovery, 2 of 5: targets".
    """
    name = _numbered(name)
    reset_stages, reset_within = _stages.set(None), _within.set(name)
    try:
        yield
    finally:
        _within.reset(reset_within)
        _stages.reset(reset_stages)


def _numbered(description: str) -> str:
    """A description with the number of its stage, and what it is within."""
    number, outside = _stages.get(), _within.get()
    if number is not None:
        number.begun += 1
        description = f"{number.begun} of {max(number.begun, number.total)}: {description}"
    return f"{outside}{': ' if number is None else ', '}{description}" if outside else description


@contextmanager
def show(description: str, unit: str = "", quiet: bool = False) -> Iterator[Report]:
    """Yield a function to call with (done, total) as the work proceeds.

    Where nothing is reported, the time since the beginning is shown: at least every ten seconds a line.

    Args:
        description: what is being done, such as "targets of yamnet".
        unit: what is counted, in the plural, such as "clips"; "" for work that is not counted: the beginning of a
            numbered stage is shown then.
        quiet: show nothing.
    """
    is_stage, description = _stages.get() is not None, _numbered(description)
    description, unit = printable(description), printable(unit)
    if quiet:
        yield lambda done, total: None
    elif sys.stderr is not None and sys.stderr.isatty():
        with _bar(description, unit) as report:
            yield report
    else:
        if is_stage and not unit:
            print_line(description, error=True)
        lines = Lines(description, unit)
        ended = threading.Event()
        threading.Thread(target=_watch, args=(lines, ended), name="sondino-progress", daemon=True).start()
        try:
            yield lines.report
        finally:
            ended.set()


@contextmanager
def _bar(description: str, unit: str) -> Iterator[Report]:
    # Here, since in a log file the work is often done sooner than this is imported.
    from rich import progress
    from rich.text import Text

    class Rate(progress.ProgressColumn):
        def render(self, task: progress.Task) -> Text:
            return Text(_format_rate(task.speed or task.finished_speed or 0), style="dim")

    columns: list[progress.ProgressColumn] = [
        progress.TextColumn("{task.description}", markup=False),
        progress.BarColumn(bar_width=24),
    ]
    if unit:
        counted, left = progress.MofNCompleteColumn(), progress.TimeRemainingColumn()
        columns += [counted, progress.TextColumn(unit, markup=False), Rate(), left]
    with progress.Progress(*columns, progress.TimeElapsedColumn(), console=open_console(error=True)) as bars:
        task = bars.add_task(description, total=None)
        yield lambda done, total: bars.update(task, completed=done, total=total)


def _watch(lines: "Lines", ended: threading.Event) -> None:
    while not ended.wait(SECONDS_BETWEEN_LOOKS):
        lines.beat()


class Lines:
    """The lines of one stage in a log file."""

    def __init__(self, description: str, unit: str) -> None:
        self._description, self._unit = description, unit
        self._began = self._last = time.monotonic()
        self._first: int | None = None
        self._reported: int | None = None
        self._now: tuple[int, int] | None = None
        self._lock = threading.Lock()  # of the two threads that print

    def report(self, done: int, total: int) -> None:
        """Print a line if ten seconds have passed, or all is done."""
        with self._lock:
            self._first = done if self._first is None else self._first  # a resumed stage starts above zero
            self._now = done, total
            now = time.monotonic()
            if done == self._reported or (done < total and now - self._last < SECONDS_BETWEEN_LINES):
                return
            self._last, self._reported = now, done
            self._print(f"{self._description}: {done} of {total} {self._unit}{self._pace(done, total, now)}")

    def beat(self) -> None:
        """Print a line if nothing was printed for ten seconds."""
        with self._lock:
            now = time.monotonic()
            if now - self._last < SECONDS_BETWEEN_LINES:
                return
            self._last = now
            line, pace = f"{self._description}:", ""
            if self._now is not None:
                done, total = self._now
                line += f" {done} of {total} {self._unit},"
                pace = self._pace(done, total, now) if done < total else ""
            so_far = f" {format_time(now - self._began)} so far"
            self._print(line[:-1] + pace if pace else line + so_far)

    def _pace(self, done: int, total: int, now: float) -> str:
        """The rate and the time left, as far as they are known."""
        rate = (done - (self._first or 0)) / max(now - self._began, 1e-9)
        left = f", {format_time((total - done) / rate)} left" if done < total and rate > 0 else ""
        return f", {_format_rate(rate)}{left}" if rate > 0 else ""

    def _print(self, line: str) -> None:
        print_line(line, error=True)


def _format_rate(rate: float) -> str:
    """A rate in words: how many a second, or how long each takes; "" where there is none yet."""
    if rate <= 0:
        return ""
    return f"{1 / rate:.0f} s each" if rate < 0.5 else f"{rate:.0f}/s"


def format_time(seconds: float) -> str:
    """Seconds up to 99, then minutes, then hours."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"
