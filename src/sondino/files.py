"""Files on disk: written atomically, locked by one process at a time, identified by their hash."""

import errno
import hashlib
import io
import json
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from numbers import Integral
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from sondino.errors import OptionError, RunError, check_regular
from sondino.locks import locked_staging, open_locked, remove_leftovers, unfinished_name
from sondino.processors import cores
from sondino.schema import load_json
from sondino.text import csv_text, format_error

# The command line reads this file for every `--help`: NumPy and filelock are imported where they are used.
if TYPE_CHECKING:
    from zipfile import ZipFile

    from numpy.typing import NDArray


MOST_UNPACKED, MOST_RATIO = 1 << 30, 100
"""Bytes that an array of an .npz may unpack to, or times its packed bytes."""


def sha256(file: Path) -> str:
    """Hash of a file, read in blocks, as hexadecimal."""
    check_regular(file)
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def is_there(audio: str | Path) -> bool:
    """Whether sound is there to be listed; what an address holds is found out then."""
    return "://" in str(audio) or Path(audio).exists()


def no_such_sound(audio: str | Path) -> str:
    """What is said where it is not."""
    return f"{audio} does not exist: give a folder of audio, a list, tar shards or a corpus"


def check_training_sound(audio: str | Path, out: str | Path) -> None:
    """Raises OptionError where what a run is to be trained on is not there, or is the folder of the run itself."""
    if not is_there(audio):
        raise OptionError(no_such_sound(audio))
    if "://" not in str(audio) and Path(audio).resolve() == Path(out).resolve():
        raise OptionError(f"{out} is the folder of the sound: give the run a folder of its own")


def whole_name(audio: str | Path) -> str:
    """A path from the root of the disk, links resolved; an address as it is."""
    return str(audio) if "://" in str(audio) else str(Path(audio).resolve())


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
    with new_file(file) as opened:
        opened.write(content)


@contextmanager
def new_file(file: Path, alone: bool = False) -> Iterator[BinaryIO]:
    """A file to write in: it becomes `file`, and is on disk, when the block ends well, and is gone when it does not.

    Until then it has a hidden name and a lock, which the system drops with the process: the next process that writes
    to this folder removes what a killed one left.

    Args:
        file: where to; its folder must exist.
        alone: an error if another process is writing this file; otherwise it is waited for.

    Raises:
        RunError: it cannot be written, or another process is writing it.
    """
    unfinished = unfinished_name(file)
    try:
        remove_leftovers(file.parent)
        opened = open_locked(unfinished, wait=not alone)
        if opened is None:
            raise RunError(f"another process is writing {file}: wait for it to end, or name another output")
        with opened:
            try:
                yield opened
                opened.flush()
                os.fsync(opened.fileno())
                if os.name == "nt":
                    opened.close()  # Windows renames no open file
                unfinished.replace(file)
            except BaseException:
                if os.name == "nt":
                    opened.close()
                unfinished.unlink(missing_ok=True)
                raise
        sync_folder(file.parent)
    except OSError as error:
        raise disk_error(file, error) from error


@contextmanager
def text_file(output: Path) -> Iterator[io.TextIOWrapper]:
    """A text file that gets the output's name once it is complete."""
    make_folder(output.parent)
    with new_file(output, alone=True) as file:
        text = io.TextIOWrapper(file, encoding="utf-8", newline="")
        try:
            yield text
            text.flush()
        finally:
            text.detach()


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
        values = load_json(file)
    except (OSError, ValueError) as error:
        raise RunError(f"{file} cannot be read ({error}): remove {file.parent} and make it again") from error
    if not isinstance(values, dict):
        raise RunError(f"{file} is not one of ours: remove {file.parent} and make it again")
    return values


def read_arrays(file: Path) -> dict[str, "NDArray[Any]"]:
    """The arrays of an .npz; nothing is unpickled.

    Raises:
        OSError: it cannot be read.
        ValueError: it is damaged, or its arrays unpack to far more than it holds.
    """
    import zipfile

    import numpy as np

    try:
        with zipfile.ZipFile(file) as archive:
            check_unpacked(archive)
        with np.load(file, allow_pickle=False) as arrays:
            return {name: arrays[name] for name in arrays.files}
    except OSError:
        raise
    except Exception as error:  # zipfile and NumPy raise many kinds on damaged bytes
        raise ValueError(format_error(error)) from error


def check_unpacked(archive: "ZipFile") -> None:
    """Raise ValueError where a member unpacks to more than any array of ours: compressed numbers shrink little."""
    for member in archive.infolist():
        if member.file_size > max(MOST_UNPACKED, MOST_RATIO * member.compress_size):
            raise ValueError(f"{member.filename} unpacks {member.compress_size} bytes to {member.file_size}")


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
        RunError: it cannot be written, or another process is writing it.
    """
    folder = free_folder(folder, ours, what)
    try:
        remove_leftovers(folder.parent)
        with locked_staging(folder) as (new, old):
            free_folder(folder, ours, what)  # an older one may have been put back
            new.mkdir()
            yield new
            _swap(new, folder, old)
    except OSError as error:
        raise disk_error(folder, error) from error


def _swap(new: Path, folder: Path, old: Path) -> None:
    """Put a folder where another may be. A kill on the way leaves one of the two there, or `old` for `restore`."""
    if not folder.exists():
        new.replace(folder)
    elif not _exchange(new, folder):
        folder.replace(old)
        new.replace(folder)


def _exchange(one: Path, other: Path) -> bool:
    """Exchange the names of two folders in one step; False where the system cannot."""
    if not sys.platform.startswith("linux"):
        return False
    import ctypes

    current, exchange = -100, 2  # AT_FDCWD, RENAME_EXCHANGE
    rename = getattr(ctypes.CDLL(None), "renameat2", None)
    return rename is not None and rename(current, os.fsencode(one), current, os.fsencode(other), exchange) == 0


def make_folder(folder: Path) -> Path:
    """Create a folder and those above it, or raise RunError."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise disk_error(folder, error) from error
    return folder


DUPLICATE = "duplicate of "
"""How the reason of a file begins that was left out because another holds the same bytes."""
NOT_LISTED = "not in the lists: "
"""How the reason of sound begins that was left out because no list that was given names it."""


def unreadable(skipped: Iterable[tuple[str, str]]) -> int:
    """How many were left out for another reason than that they are duplicates, or not wanted."""
    return sum(not reason.startswith((DUPLICATE, NOT_LISTED)) for _, reason in skipped)


def write_skipped(file: Path, skipped: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    """Write (path, reason) rows, each once, and return them."""
    rows = list(dict.fromkeys(skipped))
    write_whole(file, csv_text(("path", "reason"), rows).encode())
    return rows
