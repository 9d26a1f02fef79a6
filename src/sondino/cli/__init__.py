"""The command line: one thin function a command. Heavy modules are imported where they are used."""

import _thread
import io
import os
import signal
import sys
import threading
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any

from sondino.cli.app import app
from sondino.console import print_line
from sondino.errors import Note, SondinoError
from sondino.processors import cores

__all__ = ["app", "main"]

COMMANDS = (
    "embedding:embed",
    "classifying:classify",
    "probing:probe",
    "labelling:label",
    "searching:similar",
    "demo:demo",
    "distilling:distill",
    "evaluating:evaluate",
    "exporting:export",
    "listening:listen",
    "finetuning:finetune",
    "pretraining:pretrain",
    "pruning:prune",
    "exporting:quantize",
    "distilling:quickstart",
    "distilling:corpus",
    "distilling:targets",
    "distilling:cluster",
    "experiments:sweep",
    "experiments:support",
    "searching:index",
    "benching:bench",
    "comparing:compare",
    "converting:convert",
    "report:report",
    "publishing:push",
    "publishing:card",
    "audioset:audioset",
    "tasks:tasks",
    "lists:models",
    "lists:teachers",
    "lists:students",
    "lists:check",
    "setup:info",
    "setup:completion",
)
"""MODULE:FUNCTION of each command. A module is imported when one of its commands is used, or where help lists all."""

for _command in COMMANDS:
    app.command(f"sondino.cli.{_command}")

RESUMABLE = (
    "quickstart",
    "pretrain",
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
    "audioset",
    "label",
)
"""Commands that resume when they are run again after an interruption."""


_OUTPUT = "standard output"
AGAIN = 0.02
"""Seconds after which a signal comes again that a library's callback has dropped."""


class _Interrupted:
    """Which signal came to end the command, if any: a library that is being imported may make its own error of it."""

    by: int | None = None


def _send(number: int) -> None:
    """Send this process a signal; the main thread is woken by it where the system can do that."""
    main = threading.main_thread().ident
    if sys.platform == "win32" or main is None:
        signal.raise_signal(number)
    else:
        signal.pthread_kill(main, number)


@contextmanager
def _ending_in_order(interrupted: _Interrupted) -> Iterator[None]:
    """Let SIGTERM end a command as Ctrl-C does, so that partial folders are removed.

    What is raised in a callback that a C library calls (as libsndfile does, which writes MP3 to memory), or in a
    destructor, is dropped by Python. The signal then comes again, until it meets other code.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    ended = False
    hook = sys.unraisablehook

    def end(number: int, frame: FrameType | None) -> None:
        interrupted.by = interrupted.by or number
        within = frame
        while within is not None:
            if within.f_code is dropped.__code__:  # an error in a hook is dropped for good
                again(number)
                return
            within = within.f_back
        if number == signal.SIGTERM:
            sys.exit(128 + number)
        signal.default_int_handler(number, frame)

    def again(number: int) -> None:
        _thread.start_new_thread(send, (number,))  # which, unlike `Thread.start`, does not wait for it

    def send(number: int) -> None:
        time.sleep(AGAIN)
        if not ended:
            _send(number)

    def dropped(lost: Any) -> None:
        number = {KeyboardInterrupt: signal.SIGINT, SystemExit: signal.SIGTERM}.get(lost.exc_type)
        if number in before:
            again(number)
        else:
            hook(lost)

    before = {signal.SIGTERM: signal.signal(signal.SIGTERM, end)}
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # else whoever started us has Ctrl-C ignored
        before[signal.SIGINT] = signal.signal(signal.SIGINT, end)
    sys.unraisablehook = dropped
    try:
        yield
    finally:
        ended = True
        sys.unraisablehook = hook
        for number, handler in before.items():
            signal.signal(number, handler or signal.SIG_DFL)


class _Output(io.FileIO):
    """Standard output, whose errors name it."""

    def write(self, data: Any) -> int:
        try:
            return super().write(data)
        except OSError as error:
            error.filename = _OUTPUT
            raise


class _Messages(io.FileIO):
    """Standard error: progress and messages that it cannot take, as on a full disk, are dropped, and work goes on."""

    def write(self, data: Any) -> int:
        try:
            written = super().write(data)
        except OSError:
            written = None
        return len(data) if written is None else written  # None: a pipe that does not wait is full


def _open_streams() -> None:
    """Make standard output and error fit to be printed to, whatever they are.

    One that was closed becomes the null device, so that no file of ours takes its number. Output that is closed is
    opened for reading only: what is written there is an error, as on a full disk. A character that the encoding lacks
    is printed as its code. Standard error that cannot be written stops no work.
    """
    for number, name, mode in ((1, "stdout", os.O_RDONLY), (2, "stderr", os.O_WRONLY)):
        if getattr(sys, name) is None:
            null = os.open(os.devnull, mode)
            if null != number:
                os.dup2(null, number)
            setattr(sys, name, os.fdopen(number, "w", encoding="utf-8", closefd=False))
        if isinstance(getattr(sys, name), io.TextIOWrapper):
            getattr(sys, name).reconfigure(errors="backslashreplace")
    for number, name, kind in ((1, "stdout", _Output), (2, "stderr", _Messages)):
        stream = getattr(sys, name)
        if not isinstance(stream, io.TextIOWrapper):
            continue
        plain = isinstance(getattr(stream.buffer, "raw", stream.buffer), io.FileIO)
        if plain and stream.fileno() == number:  # not one that a test or another program has put in its place
            opened = io.TextIOWrapper(
                io.BufferedWriter(kind(number, "w", closefd=False)),
                encoding=stream.encoding,
                errors=stream.errors,
                line_buffering=stream.line_buffering or stream.write_through,
            )
            setattr(sys, name, opened)


def _flush_output() -> OSError | None:
    """The error of standard output where it cannot be written; what it holds is dropped then.

    Python would try again when it ends, and complain.
    """
    try:
        sys.stdout.flush()
    except OSError as error:
        with suppress(OSError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return error
    return None


def _show_warning(message: Warning | str, category: type[Warning], *_: object, **__: object) -> None:
    """Print a warning without the line of source that it comes from."""
    print_line(f"{'note' if issubclass(category, Note) else 'sondino'}: {message}", error=True)


def main(arguments: list[str] | None = None) -> None:
    """Run the command line.

    A user's mistake gets its message and exit code 2, Ctrl-C code 130, a closed pipe 141, SIGTERM 143.
    """
    _open_streams()
    if cores() < (os.cpu_count() or 1):
        # NumPy's and torch's libraries count processors by themselves, and a container's quota not at all.
        os.environ.setdefault("OMP_NUM_THREADS", str(cores()))
    warnings.showwarning = _show_warning
    command = next(iter(sys.argv[1:] if arguments is None else arguments), "")
    interrupted = _Interrupted()
    failed: BaseException | None = None
    code: str | int | None = 0
    try:
        with _ending_in_order(interrupted):
            if command.startswith("-") or command not in app:
                for name in app:
                    app[name]  # imported: help describes only commands that are
            app(arguments)
    except SystemExit as ended:
        code = ended.code
    except (Exception, KeyboardInterrupt) as error:
        failed = error
    unwritten = _flush_output()
    # A command that Ctrl-C ends in order, as it does `demo`, has nothing that failed.
    if isinstance(failed, KeyboardInterrupt) or (interrupted.by and (failed is not None or code)):
        resumes = "; the same command resumes from here" if command in RESUMABLE else ""
        print_line(f"sondino: stopped{resumes}", error=True)
        sys.exit(128 + (interrupted.by or signal.SIGINT))
    if isinstance(failed, SondinoError):
        print_line(f"sondino: {failed}", error=True)
        sys.exit(2)
    if isinstance(failed, BrokenPipeError) or isinstance(unwritten, BrokenPipeError):
        sys.exit(141)  # whoever read it has gone, as `head` does
    failed = failed or unwritten
    if isinstance(failed, OSError):
        # Of another file, such as a name that is too long for the system: nothing of ours went wrong.
        place = f"{_OUTPUT} cannot be written" if failed.filename == _OUTPUT else failed.filename or "the system"
        print_line(f"sondino: {place}: {failed.strerror or failed}", error=True)
        sys.exit(2)
    if isinstance(failed, RuntimeError) and str(failed).startswith("Symlink loop"):  # `Path.resolve` before Python 3.13
        print_line(f"sondino: {failed}: mend or remove the link, which leads back to itself", error=True)
        sys.exit(2)
    if failed is not None:
        raise failed
    sys.exit(code)
