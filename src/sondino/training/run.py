"""The folder of one run: its lock, and the options that it was started with."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

from sondino.errors import OptionError, RunError
from sondino.files import disk_error, make_folder, read_json, write_json
from sondino.locks import lock_or_fail

STARTED_WITH = "run.json"


@contextmanager
def open_run(folder: Path, is_main: bool = True) -> Iterator[Path]:
    """Lock a run's folder while it is worked on; it is made if it does not exist.

    Args:
        folder: of the run.
        is_main: only the main process of `accelerate launch` locks.

    Raises:
        RunError: another process works on it, or it cannot be written (the disk is full, say).
    """
    try:
        with lock_or_fail(make_folder(folder), "run", "working on") if is_main else nullcontext():
            yield folder
    except OSError as error:
        # Python does not name the file of a write that failed; nothing else in here fails with an OSError.
        raise disk_error(Path(error.filename or folder), error) from error


def training_folder(out: Path) -> Path:
    """The folder of an output's training until it is complete: OUT.training.

    Raises:
        OptionError: there is such a folder, and it is not one of a training.
    """
    folder = out.with_name(out.name + ".training")
    if folder.exists() and not (folder / STARTED_WITH).exists() and (folder.is_file() or any(folder.iterdir())):
        raise OptionError(
            f"{folder} is where the training would be kept, and holds something else: name another output"
        )
    return folder


def check_same_config(folder: Path, facts: Mapping[str, Any]) -> None:
    """Record what a run was started with, and check that it is resumed with the same.

    Args:
        folder: of the run.
        facts: by name, nested at most once; those that the run does not have yet are added.

    Raises:
        RunError: some are recorded with another value; the message names each.
    """
    file = folder / STARTED_WITH
    before = read_json(file) if file.exists() else {}
    old, new = _flat(before), _flat(facts)
    changed = [f"{name} was {old[name]}, now {new.get(name)}" for name in old if name in new and old[name] != new[name]]
    if changed:
        raise RunError(
            f"{folder} was started with something else ({'; '.join(changed)}): "
            "name another folder, or give the same options to go on"
        )
    if before.keys() != (merged := before | dict(facts)).keys():
        write_json(file, merged)


def _flat(facts: Mapping[str, Any]) -> dict[str, Any]:
    """Nested entries under their own names, as JSON gives them back."""
    flat: dict[str, Any] = {}
    for name, value in facts.items():
        flat |= value if isinstance(value, Mapping) else {name: value}
    return flat
