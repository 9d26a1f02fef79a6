"""Data sets to probe models on: the published ones by name, and any labelled folder or list of your own."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from itertools import count
from pathlib import Path

from sondino.errors import OptionError, unknown_name
from sondino.tasks.esc import ESC10, ESC50
from sondino.tasks.fsd50k import FSD50K
from sondino.tasks.gtzan import GTZAN
from sondino.tasks.labelled import Labelled
from sondino.tasks.mtt import MTT
from sondino.tasks.nsynth import NSYNTH
from sondino.tasks.openmic import OPENMIC
from sondino.tasks.own import read_own
from sondino.tasks.ravdess import RAVDESS
from sondino.tasks.task import Archive, Domain, Metric, Task
from sondino.tasks.tau2020 import TAU2020
from sondino.tasks.us8k import US8K

__all__ = ["TASKS", "Archive", "Domain", "Metric", "Task", "data_folder", "find_task", "list_tasks", "read_tasks"]

TASKS: dict[str, Task] = {
    task.name: task for task in (ESC50, ESC10, US8K, FSD50K, TAU2020, GTZAN, OPENMIC, NSYNTH, MTT, RAVDESS)
}
"""The published data sets by name."""


def list_tasks() -> list[Task]:
    """The labelled data sets that `evaluate` and `compare` take by name.

    Returns:
        One record per data set: name, clips, classes, hours, licence, home page, archives to download.

    Examples:
        >>> [task.name for task in sondino.list_tasks()][:3]
        ['esc50', 'esc10', 'us8k']
    """
    return list(TASKS.values())


def data_folder(root: Path | None = None) -> Path:
    """Where data sets lie: `root`, else $SONDINO_DATA, else the folder data here."""
    return Path(os.environ.get("SONDINO_DATA") or "data") if root is None else Path(root)


def find_task(task: Task, root: Path) -> Path | None:
    """The folder of a data set: `root` itself, or a folder of one of its usual names below; None where it is not."""
    for folder in (root, *(root / name for name in task.folders)):
        if any((folder / mark).exists() for mark in task.marks):
            return folder
    return None


def read_tasks(names: Sequence[str], root: Path | None = None) -> list[tuple[Task, Labelled]]:
    """Open tasks by name.

    Args:
        names: names of `TASKS`; "all" for those found under `root`; paths of labelled folders (a subfolder a label)
            or CSV lists (path, label or labels, and if wanted fold or split, and source).
        root: where data sets lie. None: as `data_folder` says.

    Returns:
        (task, its clips) in the order of the names, each once. Two folders of one name get a number.

    Raises:
        OptionError: an unknown name, or a data set that is not there: the message says what to do.
        AudioError: a folder cannot be read.
    """
    if not names:
        raise OptionError("no task is named: give --tasks all, names such as esc50, or a labelled folder or CSV")
    root = data_folder(root)
    asked = [name for given in names for name in (_found(root) if given == "all" else [given])]
    done: list[tuple[Task, Labelled]] = []
    for name in dict.fromkeys(asked):
        task, labelled = _read_one(name, root)
        taken = {other.name for other, _ in done}
        free = (f"{task.name}-{number}" if number > 1 else task.name for number in count(1))
        done.append((replace(task, name=next(n for n in free if n not in taken)), labelled))
    return done


def _found(root: Path) -> list[str]:
    found = [name for name, task in TASKS.items() if find_task(task, root)]
    if not found:
        raise OptionError(
            f"no data set is under {root}: fetch one with sondino tasks --fetch, give --data ROOT, "
            "or name a labelled folder or CSV"
        )
    return found


def _read_one(name: str, root: Path) -> tuple[Task, Labelled]:
    if name in TASKS:
        task = TASKS[name]
        folder = find_task(task, root)
        if folder is None:
            raise OptionError(f"{task.title} is not under {root} (looked for {_places(task)}): {what_to_do(task)}")
        return task, task.read(folder)
    place = Path(name)
    if not place.exists():
        if len(place.parts) > 1 or place.suffix:
            raise OptionError(f"{name}: no such folder or list; --tasks takes {', '.join(TASKS)}, a folder or a CSV")
        raise unknown_name("task", name, TASKS)
    official = next((task for task in TASKS.values() if any((place / mark).exists() for mark in task.marks)), None)
    if official is not None:
        raise OptionError(f"{place} is {official.title} as it is published: --tasks {official.name} --data {place}")
    return read_own(place)


def _places(task: Task) -> str:
    return " or ".join(f"{folder}/{task.marks[0]}" for folder in task.folders[:2])


def what_to_do(task: Task) -> str:
    """How to get a data set, an imperative."""
    if task.archives:
        return f"sondino tasks --fetch {task.name} gets it, or give --data ROOT where it lies"
    return task.how
