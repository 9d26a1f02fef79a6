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
from sondino.errors import SondinoError
from sondino.files import cores

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


@contextmanager
def _ending_in_order() -> Iterator[None]:
    """Let SIGTERM end a command as Ctrl-C does, so that partial folders are removed."""
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

    A user's mistake gets its message and exit code 2, Ctrl-C code 130, a closed pipe 141, SIGTERM 143.
    """
    if cores() < (os.cpu_count() or 1):
        # NumPy's and torch's libraries count processors by themselves, and a container's quota not at all.
        os.environ.setdefault("OMP_NUM_THREADS", str(cores()))
    warnings.showwarning = lambda message, *_: print(f"sondino: {message}", file=sys.stderr)  # without the source line
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
        resumes = next(iter(sys.argv[1:] if arguments is None else arguments), "") in RESUMABLE
        print("sondino: stopped" + ("; the same command resumes from here" if resumes else ""), file=sys.stderr)
        sys.exit(130)
