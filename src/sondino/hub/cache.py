"""Local cache of models: folders of bundles, and a record of the commit that each name was first resolved to."""

import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sondino.console import print_line
from sondino.errors import SondinoError
from sondino.files import write_json
from sondino.schema import load_json


def cache_folder() -> Path:
    """Where fetched weights and models are kept: $SONDINO_CACHE, else sondino/ under the user's cache folder."""
    own = os.environ.get("SONDINO_CACHE")
    if own:
        return Path(own).expanduser()
    base = os.environ.get("XDG_CACHE_HOME") or os.environ.get("LOCALAPPDATA")
    return (Path(base) if base else Path.home() / ".cache") / "sondino"


def models_folder() -> Path:
    """Where bundles are kept that were converted or fetched."""
    return cache_folder() / "models"


def recall(name: str) -> dict[str, Any]:
    """The record of a name, by the revision that was asked for ("" for none); empty if there is none."""
    try:
        record = load_json(_record(name))
    except (OSError, ValueError):
        return {}
    return record if isinstance(record, dict) else {}


def remember(name: str, revision: str, facts: Mapping[str, Any]) -> None:
    """Record what a name and revision were resolved to, for `recall`. The caller holds the name's lock."""
    with _disk():
        _record(name).parent.mkdir(parents=True, exist_ok=True)
    write_json(_record(name), {**recall(name), revision: dict(facts)})


@contextmanager
def lock_and_wait(name: str, what: str) -> Iterator[None]:
    """Hold the lock of a record's name; waits for another process that holds it (`what` names it in the message)."""
    from filelock import FileLock, Timeout

    with _disk():
        place = _record(name).with_suffix(".lock")
        place.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(place)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            print_message(f"waiting for another process that is getting {what}")
            lock.acquire()
    try:
        yield
    finally:
        lock.release()


@contextmanager
def new_folder(folder: Path) -> Iterator[Path]:
    """A temporary path for a folder, which is moved to `folder` once it is complete; a killed process leaves none."""
    temporary = folder.with_name(f"{folder.name}.partial")  # of one process at a time, and cleared by the next
    with _disk():
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir(parents=True)
    try:
        yield temporary / "bundle"
        with _disk():
            shutil.rmtree(folder, ignore_errors=True)  # left of one that was partly deleted
            (temporary / "bundle").replace(folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def print_message(text: str) -> None:
    """Print a line on stderr."""
    print_line(f"sondino: {text}", error=True)


def _record(name: str) -> Path:
    return models_folder() / "names" / f"{name.replace('/', '--').replace(':', '--')}.json"


@contextmanager
def _disk() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise SondinoError(
            f"models cannot be kept in {models_folder()} ({error.strerror or error}): "
            "make room, or set SONDINO_CACHE to a folder that can be written"
        ) from error
