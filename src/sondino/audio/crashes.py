"""Files that end the process which decodes them: marked while they are open, so that the next run skips them by name.

Decoders are native code, and a damaged file may end the whole process. The file would do so again each time that the
run is started. So a run marks each file as long as it is decoded. A run that finds marks of one that was ended decodes
those files in a process of their own: they may only have been open when it was stopped.
"""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from sondino.errors import AudioError
from sondino.files import write_json

MARKS = ".decoding"
CRASHED = ".crashed.json"
SLOTS, SLOT_BYTES = 64, 4096  # files open at once, and bytes of a path, at most
CHECK_SECONDS = 600.0
CHECK = """
import sys, warnings
warnings.simplefilter("ignore")
from sondino.audio.decoders import open_sound
from sondino.errors import SondinoError
try:
    with open_sound(sys.argv[1]) as sound:
        for block in sound.blocks(0, None):
            pass
except SondinoError:
    pass
"""


class _Marks:
    """A file of slots, each with the path of a file that is open. What is written there outlives the process.

    It is written, not mapped: where the disk is full, writing to a map ends the process.
    """

    def __init__(self, file: Path, crashed: set[str]) -> None:
        self.crashed = crashed
        self._file = file.open("wb", buffering=0)
        self._free = list(range(SLOTS))
        self._lock = threading.Lock()

    def take(self, path: str) -> int | None:
        name = os.fsencode(path)
        with self._lock:
            if not self._free or len(name) > SLOT_BYTES:
                return None
            slot = self._free.pop()
            self._write(slot, name.ljust(SLOT_BYTES, b"\0"))
            return slot

    def give_back(self, slot: int) -> None:
        with self._lock:
            self._write(slot, b"\0")
            self._free.append(slot)

    def close(self) -> None:
        with self._lock:
            self._file.close()

    def _write(self, slot: int, content: bytes) -> None:
        with suppress(OSError, ValueError):  # a full disk, or closed meanwhile: it is not marked
            self._file.seek(slot * SLOT_BYTES)
            self._file.write(content)


_current: _Marks | None = None


@contextmanager
def crash_marks(folder: Path, name: str = "") -> Iterator[None]:
    """Mark the files that are decoded meanwhile, and skip those that ended an earlier run.

    Args:
        folder: keeps the marks of a run that was ended, and in `.crashed.json` the paths that are skipped.
        name: of the output, where the folder is not that of one run alone.
    """
    global _current
    prefix = f".{name}" if name else ""
    file, known = folder / f"{prefix}{MARKS}", folder / f"{prefix}{CRASHED}"
    crashed = _read_crashed(known)
    found = {path for path in _read_marks(file) - crashed if ends_process(path)}
    if found:
        crashed |= found
        write_json(known, {"crashed": sorted(crashed)})
    outer, marks = _current, None
    with suppress(OSError):  # a folder that cannot be written: nothing is marked
        _current = marks = _Marks(file, crashed)
    try:
        yield
    finally:
        _current = outer
        if marks is not None:
            marks.close()
        with suppress(OSError):
            file.unlink(missing_ok=True)


@contextmanager
def marked(path: str | None) -> Iterator[None]:
    """Mark a file as long as it is open.

    Raises:
        AudioError: it ended an earlier run.
    """
    marks = _current
    if marks is None or path is None:
        yield
        return
    path = os.path.abspath(path)  # noqa: PTH100 - as it is, links not resolved
    if path in marks.crashed:
        raise AudioError(f"{path}: is skipped, since decoding it ended the process; it is damaged")
    slot = marks.take(path)
    try:
        yield
    finally:
        if slot is not None:
            marks.give_back(slot)


def ends_process(path: str) -> bool:
    """Whether decoding a file ends the process that does it, or takes more than ten minutes."""
    try:
        done = subprocess.run([sys.executable, "-c", CHECK, path], capture_output=True, timeout=CHECK_SECONDS)
    except subprocess.TimeoutExpired:
        return True
    return done.returncode < 0 or done.returncode > 2  # a signal, or what Windows gives in its place


def _read_marks(file: Path) -> set[str]:
    try:
        data = file.read_bytes()
    except OSError:
        return set()
    slots = [data[at : at + SLOT_BYTES].partition(b"\0")[0] for at in range(0, len(data), SLOT_BYTES)]
    return {os.fsdecode(name) for name in slots if name}


def _read_crashed(file: Path) -> set[str]:
    try:
        return {str(path) for path in json.loads(file.read_text())["crashed"]}
    except (OSError, ValueError, KeyError, TypeError):
        return set()
