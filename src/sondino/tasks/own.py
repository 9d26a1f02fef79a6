"""A user's own labelled sound as a task: a folder with a subfolder a label, or a CSV list."""

from collections.abc import Callable
from pathlib import Path

from sondino.audio.walk import nothing_usable, search_audio
from sondino.tasks.labelled import Clip, Labelled, read_labelled
from sondino.tasks.task import Task

PLAIN = {"labels.csv", "meta.csv", "metadata.csv"}
"""Names of lists that are no title: the folder's name is used."""


def read_own(place: Path) -> tuple[Task, Labelled]:
    """Read a user's folder or CSV as `heads.labelled.read_labelled` does, and describe it as a task.

    The task is named by the folder, or by the CSV without its suffix.

    Raises:
        OptionError: it has no labels, or is no list.
        AudioError: it does not exist.
    """
    labelled = read_labelled(place)
    return _task(place, labelled, lambda _: read_labelled(place)), labelled


def read_unlabelled(place: Path) -> tuple[Task, Labelled]:
    """A folder of sound, or one file, as a task without labels: models can be compared on it, not probed.

    Raises:
        AudioError: it does not exist, or holds no audio.
    """
    found = search_audio(place)
    if not found.files:
        raise nothing_usable(found.skipped)
    clips = tuple(Clip(str(path), str(path), ()) for path in found.files)
    labelled = Labelled(clips, (), False, skipped=tuple(found.skipped))
    return _task(place, labelled, lambda _: labelled), labelled


def _task(place: Path, labelled: Labelled, read: Callable[[Path], Labelled]) -> Task:
    named = place if place.is_dir() else place.parent if place.name.lower() in PLAIN else place.with_suffix("")
    name = named.resolve().name or "own"
    return Task(
        name=name,
        title=name,
        about="your own",
        domain="own",
        clips=len(labelled.clips),
        classes=len(labelled.labels) - bool(labelled.background),
        multi_label=labelled.multi_label,
        hours=None,
        licence="",
        homepage="",
        folders=(),
        marks=(),
        archives=(),
        how="",
        read=read,
    )
