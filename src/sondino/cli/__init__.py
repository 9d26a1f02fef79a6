"""The command line: one thin function a command. Heavy modules are imported where they are used."""

import io
import os
import signal
import sys
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType

from sondino.cli import (
    benching,
    classifying,
    comparing,
    converting,
    demo,
    distilling,
    embedding,
    evaluating,
    experiments,
    exporting,
    finetuning,
    lists,
    probing,
    pruning,
    report,
    searching,
    tasks,
)
from sondino.cli.app import app
from sondino.console import print_line
from sondino.errors import SondinoError
from sondino.processors import cores

__all__ = [
    "app",
    "benching",
    "classifying",
    "comparing",
    "converting",
    "demo",
    "distilling",
    "embedding",
    "evaluating",
    "experiments",
    "exporting",
    "finetuning",
    "lists",
    "main",
    "probing",
    "pruning",
    "report",
    "searching",
    "tasks",
]

RESUMABLE = (
    "quickstart",
    "distill",
    "corpus",
    "targets",
    "cluster",
    "embed",
    "finetune",
    "prune",
    "sweep",
    "support",
    "evaluate",
    "tasks",
)
"""Commands that resume when they are run again after an interruption."""


class _Interrupted:
    """Whether Ctrl-C was pressed: a library that is being imported may turn it into an error of its own."""

    seen = False


@contextmanager
def _ending_in_order(interrupted: _Interrupted) -> Iterator[None]:
    """Let SIGTERM end a command as Ctrl-C does, so that partial folders are removed."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def interrupt(number: int, frame: FrameType | None) -> None:
        interrupted.seen = True
        signal.default_int_handler(number, frame)

    before = {signal.SIGTERM: signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))}
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # else whoever started us has Ctrl-C ignored
        before[signal.SIGINT] = signal.signal(signal.SIGINT, interrupt)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler or signal.SIG_DFL)


def _open_streams() -> None:
    """Make standard output and error fit to be printed to, whatever they are.

    One that was closed becomes the null device, so that no file of ours takes its number; a character that the
    encoding lacks is printed as its code.
    """
    for number, name in ((1, "stdout"), (2, "stderr")):
        if getattr(sys, name) is None:
            null = os.open(os.devnull, os.O_WRONLY)
            if null != number:
                os.dup2(null, number)
            setattr(sys, name, os.fdopen(number, "w", encoding="utf-8", closefd=False))
        if isinstance(getattr(sys, name), io.TextIOWrapper):
            getattr(sys, name).reconfigure(errors="backslashreplace")


def _drop_output() -> None:
    """Let what could not be printed go: Python would try again when it ends, and complain."""
    with suppress(OSError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def main(arguments: list[str] | None = None) -> None:
    """Run the command line.

    A user's mistake gets its message and exit code 2, Ctrl-C code 130, a closed pipe 141, SIGTERM 143.
    """
    _open_streams()
    if cores() < (os.cpu_count() or 1):
        # NumPy's and torch's libraries count processors by themselves, and a container's quota not at all.
        os.environ.setdefault("OMP_NUM_THREADS", str(cores()))
    warnings.showwarning = lambda message, *_: print_line(f"sondino: {message}", error=True)  # no line of source
    interrupted = _Interrupted()
    try:
        try:
            with _ending_in_order(interrupted):
                app(arguments)
        finally:
            sys.stdout.flush()  # here, where a closed pipe is caught
    except BrokenPipeError:
        _drop_output()  # whoever read it has gone, as `head` does
        sys.exit(141)
    except (Exception, KeyboardInterrupt) as error:
        if interrupted.seen or isinstance(error, KeyboardInterrupt):
            resumes = next(iter(sys.argv[1:] if arguments is None else arguments), "") in RESUMABLE
            print_line("sondino: stopped" + ("; the same command resumes from here" if resumes else ""), error=True)
            sys.exit(130)
        if isinstance(error, SondinoError):
            print_line(f"sondino: {error}", error=True)
            sys.exit(2)
        if isinstance(error, OSError):
            # Such as a name that is too long for the system: nothing of ours went wrong.
            print_line(f"sondino: {error.filename or 'the system'}: {error.strerror or error}", error=True)
            _drop_output()
            sys.exit(2)
        raise
