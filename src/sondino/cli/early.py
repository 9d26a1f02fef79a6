"""What is given on the command line, checked before PyTorch is imported: an error then comes at once."""

import os
import re
import signal
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType


@contextmanager
def loading(quiet: bool = False) -> Iterator[None]:
    """Show that PyTorch is being imported, where that takes over ten seconds; Ctrl-C and SIGTERM end the process."""
    from sondino.progress import show

    with show("loading PyTorch", quiet=quiet), _ending_at_once():
        yield


@contextmanager
def _ending_at_once() -> Iterator[None]:
    """Let Ctrl-C and SIGTERM end the process here, where nothing is half-written, and not by an exception.

    Some modules turn one that comes while they are imported into another, or drop it.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def end(number: int, frame: FrameType | None) -> None:
        # A progress bar hides the cursor.
        os.write(2, (b"\x1b[?25h\n" if os.isatty(2) else b"") + b"sondino: stopped\n")
        os._exit(128 + number)

    numbers = [number for number in (signal.SIGINT, signal.SIGTERM) if signal.getsignal(number) != signal.SIG_IGN]
    before = {number: signal.signal(number, end) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler or signal.SIG_DFL)


def check_model(name: str) -> None:
    """Raise OptionError where `sondino.load` finds no model of a name."""
    from sondino.pretrained.locate import locate

    if not Path(name).is_file():  # a checkpoint is converted once, by whoever opens it
        locate(name)


def check_teacher(name: str) -> None:
    """Raise OptionError where there is no teacher of a name, or its file is not there."""
    from sondino.pretrained.open import names_model
    from sondino.teachers.spec import kind_of, parse_teacher

    kind = "" if Path(name).is_dir() else kind_of(name)
    if not kind and names_model(name):
        check_model(name)
        return
    spec = parse_teacher(name if not kind or re.split("[:?#]", name)[0] == kind else f"{kind}:{name}")
    if spec.kind in ("onnx", "litert", "torchscript"):
        _ = spec.path  # raises where there is no such file


def check_audio(paths: Iterable[Path | None]) -> None:
    """Raise AudioError for a file or folder of audio that does not exist."""
    from sondino.audio.walk import find_audio

    for path in paths:
        if path is not None and not path.exists():
            find_audio(path)


def check_labelled(audio: Path, labels: Path | None = None) -> None:
    """Raise an error for labelled audio, or a list of it, that does not exist."""
    from sondino.tasks.labelled import read_labelled

    if not audio.exists() or (labels is not None and not labels.exists()):
        read_labelled(audio, labels)
