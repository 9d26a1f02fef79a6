"""Locks of files and folders that are being written, and the removal of what killed processes left half-written.

What is written has a hidden name of ours beside its own until it is whole, and is locked meanwhile. The system drops a
lock with its process, on whatever machine that ran: what has such a name and no lock was left by a killed process.
"""

import os
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from sondino.errors import RunError

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

UNFINISHED = ".sondino-unfinished"
"""How a hidden name ends of what is being written."""

_FOLDER_LOCK = "writing"
_cleared: set[Path] = set()


def unfinished_name(path: Path) -> Path:
    """The hidden name beside a file or folder under which it is written."""
    return path.with_name(f".{path.name}{UNFINISHED}")


@contextmanager
def lock_or_fail(folder: Path, name: str, doing: str, named: Path | None = None) -> Iterator[None]:
    """Hold a lock of a folder; another process that asks for it meanwhile gets RunError.

    Args:
        folder: holds the lock's file.
        name: of the lock.
        doing: what this process does, for the message, such as "filling".
        named: in the message; None: the folder.

    Raises:
        RunError: another process holds it, or the disk has no locks.
    """
    from filelock import FileLock, Timeout

    # The system drops the lock with the process, so a kill leaves nothing to clear away.
    lock = FileLock(folder / f".{name}.lock")
    try:
        lock.acquire(timeout=0)
    except Timeout as error:
        raise RunError(f"another process is {doing} {named or folder}: wait for it to end, or stop it first") from error
    except NotImplementedError as error:
        raise RunError(f"{folder} is on a disk that cannot lock files: give a folder on another disk") from error
    try:
        yield
    finally:
        lock.release()


def open_locked(file: Path, wait: bool = False) -> BinaryIO | None:
    """An empty file, open for writing and locked until it is closed; None if another process holds the lock.

    Args:
        file: is created if it does not exist, and emptied.
        wait: for a process that holds the lock, rather than give None.
    """
    while True:
        flags = os.O_WRONLY | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)
        opened = os.fdopen(os.open(file, flags, 0o666), "wb")
        try:
            locked = _lock(opened, wait)
        except OSError:
            locked = True  # the disk has no locks
        if not locked:
            opened.close()
            return None
        if _is_still(file, opened):
            if stat.S_ISREG(os.fstat(opened.fileno()).st_mode):
                opened.truncate(0)
            return opened
        opened.close()  # renamed or removed by the process that held the lock


def _lock(opened: BinaryIO, wait: bool) -> bool:
    """Lock an open file; False if another process holds its lock, OSError if the disk has none."""
    try:
        if fcntl is not None:
            fcntl.flock(opened, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        else:
            import msvcrt

            opened.seek(1 << 40)  # a byte that no file of ours has: Windows lets nobody else read a locked one
            mode = "LK_LOCK" if wait else "LK_NBLCK"
            getattr(msvcrt, "locking")(opened.fileno(), getattr(msvcrt, mode), 1)  # noqa: B009 - only Windows has them
            opened.seek(0)
    except (BlockingIOError, PermissionError):
        return False
    return True


def _is_still(file: Path, opened: BinaryIO) -> bool:
    try:
        return os.path.samestat(file.stat(), os.fstat(opened.fileno()))
    except FileNotFoundError:
        return False


@contextmanager
def locked_staging(folder: Path) -> Iterator[tuple[Path, Path]]:
    """Where a folder is written: a new and an old place for it, both absent, in a hidden folder beside it.

    Raises:
        RunError: another process is writing the folder.
    """
    staging = unfinished_name(folder)
    staging.mkdir(parents=True, exist_ok=True)
    with lock_or_fail(staging, _FOLDER_LOCK, "writing", folder):
        try:
            _put_back(folder)
            yield staging / "new", staging / "old"
        finally:
            _put_back(folder)
            _empty(staging)
    with suppress(OSError):
        staging.rmdir()  # on Windows the lock's file is there until it is released


def _put_back(folder: Path) -> None:
    """Undo a replacement that ended between its two renames; what was half-written is removed."""
    staging = unfinished_name(folder)
    if (staging / "old").exists() and not folder.exists():
        (staging / "old").replace(folder)
    for name in ("new", "old"):
        shutil.rmtree(staging / name, ignore_errors=True)


def _empty(staging: Path) -> None:
    with suppress(OSError):
        (staging / f".{_FOLDER_LOCK}.lock").unlink(missing_ok=True)
        staging.rmdir()  # by name, so that nothing else that lies here is ever removed


def restore(folder: Path) -> None:
    """Put a folder back that a killed process was replacing; does nothing if a process is replacing it now."""
    if not folder.exists() and unfinished_name(folder).is_dir():
        with suppress(RunError, OSError), locked_staging(folder):
            pass


def remove_leftovers(folder: Path) -> None:
    """Remove what killed processes left half-written in a folder, the first time that this process writes to it."""
    folder = folder.absolute()
    if folder in _cleared:
        return
    _cleared.add(folder)
    with suppress(OSError):
        for left in [entry for entry in os.scandir(folder) if entry.name.endswith(UNFINISHED)]:
            path = folder / left.name
            if left.is_dir(follow_symlinks=False):
                with suppress(RunError, OSError), locked_staging(folder / left.name[1 : -len(UNFINISHED)]):
                    pass
            elif left.is_file(follow_symlinks=False):
                with suppress(OSError), path.open("r+b") as opened:
                    if _lock(opened, wait=False) and _is_still(path, opened):
                        path.unlink()
