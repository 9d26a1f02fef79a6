"""Files on disk: written atomically, locked by one process at a time, identified by their hash."""

import errno
import hashlib
import io
import json
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from numbers import Integral
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sondino.errors import OptionError, RunError
from sondino.processors import usable_processors
from sondino.text import csv_text, to_bytes

# The command line reads this file for every `--help`: NumPy and filelock are imported where they are used.
if TYPE_CHECKING:
    from numpy.typing import NDArray


def sha256(file: Path) -> str:
    """Hash of a file, read in blocks, as hexadecimal."""
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def cores() -> int:
    """Processors that this process may use, by its affinity and its container's quota."""
    return usable_processors()


def thread_count(threads: int | None) -> int:
    """How many threads to use: as many as asked, or as this process may.

    Raises:
        OptionError: not a whole number above 0.
    """
    if threads is None:
        return cores()
    if isinstance(threads, bool) or not isinstance(threads, Integral) or threads < 1:
        raise OptionError(f"threads is {threads!r}: give a whole number, 1 or more")
    return int(threads)


def write_whole(file: Path, content: bytes) -> None:
    """Write a file atomically: a reader, or a kill at any moment, finds the old content or the new one."""
    partial = file.with_name(f".{file.name}.{os.getpid()}.partial")
    try:
        with partial.open("wb") as opened:
            opened.write(content)
            opened.flush()
            os.fsync(opened.fileno())
        partial.replace(file)
        sync_folder(file.parent)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise disk_error(file, error) from error


def write_json(file: Path, values: Mapping[str, Any]) -> None:
    """`write_whole` of a JSON object."""
    write_whole(file, (json.dumps(values, indent=1) + "\n").encode())


def write_array(file: Path, array: "NDArray[Any]") -> None:
    """`write_whole` of an array, as .npy."""
    import numpy as np

    content = io.BytesIO()
    np.save(content, array)
    write_whole(file, content.getvalue())


def read_json(file: Path) -> dict[str, Any]:
    """The JSON object in a file of ours, or RunError where it is not one."""
    try:
        values = json.loads(file.read_text())
    except (OSError, ValueError) as error:
        raise RunError(f"{file} cannot be read ({error}): remove {file.parent} and make it again") from error
    if not isinstance(values, dict):
        raise RunError(f"{file} is not one of ours: remove {file.parent} and make it again")
    return values


def sync_folder(folder: Path) -> None:
    """Put a rename on disk; some systems cannot open a folder, and those rename durably anyway."""
    try:
        handle = os.open(folder, os.O_RDONLY)
    except OSError:
        return
    try:
        os.fsync(handle)
    except OSError:
        pass
    finally:
        os.close(handle)


def disk_error(file: Path, error: OSError) -> RunError:
    """The error of a failed write."""
    full = error.errno in (errno.ENOSPC, errno.EDQUOT, None)
    advice = "make room or give another folder" if full else "give a folder that can be written to"
    return RunError(
        f"{file} could not be written ({error.strerror or error}): what is whole stays; {advice}, "
        "then run the same command again"
    )


def free_folder(folder: Path, ours: Callable[[Path], bool], what: str) -> Path:
    """A folder that may be written to, as a whole path: not there yet, empty, or an older one of ours.

    Args:
        folder: where to.
        ours: whether a folder with something in it may be replaced.
        what: is written, for the message, such as "bundle".

    Raises:
        OptionError: it holds something else, or is a file, or the folder that this process is in.
    """
    folder = folder.resolve()
    if folder == Path.cwd():
        raise OptionError(f"{folder} is the folder that you are in: name a new one")
    if folder.exists() and not folder.is_dir():
        raise OptionError(f"{folder} is a file: name a folder that does not exist yet")
    if folder.is_dir() and any(folder.iterdir()) and not ours(folder):
        raise OptionError(f"{folder} exists and is no {what}: name a folder that does not exist yet")
    return folder


@contextmanager
def replacing(folder: Path, ours: Callable[[Path], bool], what: str) -> Iterator[Path]:
    """Give an empty folder to write in: it becomes `folder` when the block ends well, and is gone when it does not.

    Args:
        folder: as `free_folder` takes it; an older one of ours stays as it is until the new one is whole.
        ours: whether a folder with something in it may be replaced.
        what: is written, for the message, such as "bundle".

    Raises:
        OptionError: as of `free_folder`.
        RunError: it cannot be written.
    """
    folder = free_folder(folder, ours, what)
    # Hidden, and of this process: a folder beside it that somebody calls so is never theirs.
    partial = folder.with_name(f".{folder.name}.{os.getpid()}.partial")
    try:
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        yield partial
        _swap(partial, folder)
    except OSError as error:
        raise disk_error(folder, error) from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _swap(new: Path, folder: Path) -> None:
    """Put a folder where another may be."""
    old = new.with_suffix(".old")
    if folder.exists():
        folder.replace(old)
    try:
        new.replace(folder)
    except BaseException:
        if old.exists():
            old.replace(folder)
        raise
    shutil.rmtree(old, ignore_errors=True)


def make_folder(folder: Path) -> Path:
    """Create a folder and those above it, or raise RunError."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise disk_error(folder, error) from error
    return folder


@contextmanager
def lock_or_fail(folder: Path, name: str, doing: str) -> Iterator[None]:
    """Hold a lock of a folder; another process that asks for it meanwhile gets RunError."""
    from filelock import FileLock, Timeout

    # The system drops the lock with the process, so a kill leaves nothing to clear away.
    lock = FileLock(folder / f".{name}.lock")
    try:
        lock.acquire(timeout=0)
    except Timeout as error:
        raise RunError(f"another process is {doing} {folder}: wait for it to end, or stop it first") from error
    try:
        yield
    finally:
        lock.release()


DUPLICATE = "duplicate of "
"""How the reason of a file begins that was left out because another holds the same bytes."""


def unreadable(skipped: Iterable[tuple[str, str]]) -> int:
    """How many were left out for another reason than that they are duplicates."""
    return sum(not reason.startswith(DUPLICATE) for _, reason in skipped)


def write_skipped(file: Path, skipped: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    """Write (path, reason) rows, each once, and return them."""
    rows = list(dict.fromkeys(skipped))
    write_whole(file, to_bytes(csv_text(("path", "reason"), rows)))
    return rows
