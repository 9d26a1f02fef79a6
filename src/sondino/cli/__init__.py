"""The command line: one thin function a command. Heavy modules are imported where they are used."""

import os
import signal
import sys
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from sondino.cli import (
    benching,
    comparing,
    converting,
    demo,
    distilling,
    embedding,
    evaluating,
    experiments,
    exporting,
    heads,
    lists,
    pruning,
    report,
    searching,
    tasks,
)
from sondino.cli.app import app
from sondino.errors import SondinoError

__all__ = [
    "app",
    "benching",
    "comparing",
    "converting",
    "demo",
    "distilling",
    "embedding",
    "evaluating",
    "experiments",
    "exporting",
    "heads",
    "lists",
    "main",
    "pruning",
    "report",
    "searching",
    "tasks",
]

GO_ON = (
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
"""Commands that keep what is finished when they are stopped."""


@contextmanager
def _ending_in_order() -> Iterator[None]:
    """Let SIGTERM end what runs as Ctrl-C does, so that half of a folder is removed on the way out."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before or signal.SIG_DFL)


def main(arguments: list[str] | None = None) -> None:
    """Run the command line.

    A user's mistake gets its sentence and exit code 2, Ctrl-C code 130, a closed pipe 141, SIGTERM 143.
    """
    warnings.showwarning = lambda message, *_: print(f"sondino: {message}", file=sys.stderr)  # without our source line
    try:
        try:
            with _ending_in_order():
                app(arguments)
        finally:
            sys.stdout.flush()  # here, where a closed pipe is caught
    except SondinoError as error:
        print(f"sondino: {error}", file=sys.stderr)
        sys.exit(2)
    except BrokenPipeError:
        # Whoever read our output has gone, as `head` does; Python would complain once more when it flushes.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(141)
    except OSError as error:
        # Such as a name that is too long for the system: nothing of ours went wrong.
        print(f"sondino: {error.filename or 'the system'}: {error.strerror or error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        goes_on = next(iter(sys.argv[1:] if arguments is None else arguments), "") in GO_ON
        print("sondino: stopped" + ("; the same command goes on from here" if goes_on else ""), file=sys.stderr)
        sys.exit(130)
