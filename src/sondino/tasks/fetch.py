"""Fetch a data set: its archives are downloaded, checked and unpacked; the same command resumes after a stop."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

from sondino.errors import OptionError, RunError, SondinoError
from sondino.files import disk_error, make_folder, read_json, write_json
from sondino.hub.download import Remote, download, verify
from sondino.locks import lock_or_fail
from sondino.progress import show
from sondino.tasks.registry import find_task
from sondino.tasks.task import Archive, Task
from sondino.tasks.unpack import unpack

MEGA = 10**6


def fetch_task(task: Task, root: Path, quiet: bool = False) -> tuple[Path, list[str]]:
    """Fetch a data set into a folder of `root`; where it is there already, nothing is done.

    Until all of it is there it lies in a folder whose name ends in .partial: `archives` holds what is fetched, `data`
    what is unpacked. An archive is deleted once it is unpacked.

    Args:
        task: the data set.
        root: folder of data sets; made if needed.
        quiet: show no progress.

    Returns:
        Its folder, and the names of links in its archives, which are never made.

    Raises:
        OptionError: it cannot be fetched: the message says what to do by hand.
        SondinoError: an archive cannot be fetched, is not the one that was published, or is dangerous.
        RunError: no room, or another process is fetching it.
    """
    if not task.archives:
        raise OptionError(f"{task.title} cannot be fetched: {task.how}")
    found = find_task(task, root)
    if found is not None:
        return found, []
    target = root / task.folders[0]
    if target.exists():
        raise RunError(
            f"{target} exists and is not {task.title} as it is published: move it away, or give another --data"
        )
    make_folder(root)
    staging = make_folder(target.with_name(f"{target.name}.partial"))
    with lock_or_fail(root, f"{target.name}.fetching", f"fetching {task.title} into"):
        links = _fill(task, staging, quiet)
        if find_task(task, staging / "data") != staging / "data":
            raise SondinoError(
                f"the archives of {task.title} hold no {task.marks[0]}, so they are not what was published: "
                f"look at {staging / 'data'}"
            )
        try:
            (staging / "data").replace(target)
            shutil.rmtree(staging)
        except OSError as error:
            raise disk_error(target, error) from error
    return target, links


def _fill(task: Task, staging: Path, quiet: bool) -> list[str]:
    """Fetch and unpack all archives that are not unpacked yet; the names of links that they hold."""
    archives = make_folder(staging / "archives")
    record = staging / "unpacked.json"
    links: dict[str, list[str]] = read_json(record) if record.exists() else {}
    groups = [group for group in _groups(task.archives) if group[-1].name not in links]
    _need_room(task, groups, archives)
    for group in groups:
        for archive in group:
            _fetch(task, archive, archives / archive.name, quiet)
        last = group[-1]
        files = [archives / archive.name for archive in group]
        with show(f"unpacking {last.name}", "MB", quiet) as report:
            links[last.name] = unpack(
                files, staging / "data", last.unpacked, last.strip, lambda at, of: report(at // MEGA, of // MEGA)
            )
        write_json(record, links)
        for file in files:
            file.unlink()
    return [name for names in links.values() for name in names]


def _fetch(task: Task, archive: Archive, target: Path, quiet: bool) -> None:
    place = f"{task.archives.index(archive) + 1} of {len(task.archives)}"
    by_hand = f"download {archive.url} by hand to {target}, and run the same command again"
    remote = Remote(archive.name, archive.url, by_hand, archive.checksum, archive.size)
    size = archive.size // MEGA
    try:
        with show(f"{archive.name} ({place})", "MB", quiet or target.exists()) as report:
            download(remote, target, lambda have, _: report(have // MEGA, size))
        with show(f"checking {archive.name}", "MB", quiet) as report:
            verify(remote, target, lambda done, _: report(done // MEGA, size))
    except OSError as error:
        raise disk_error(target, error) from error


def _groups(archives: tuple[Archive, ...]) -> Iterator[list[Archive]]:
    """Archives, the parts of a split zip together: .z01, .z02 and so on up to .zip."""
    group: list[Archive] = []
    for archive in archives:
        group.append(archive)
        if not archive.name[-2:].isdigit():
            yield group
            group = []


def _need_room(task: Task, groups: list[list[Archive]], archives: Path) -> None:
    """Refuse where not even the archives that are still to be fetched fit on the disk."""
    wanted = sum(archive.size for group in groups for archive in group)
    have = sum(file.stat().st_size for file in archives.iterdir())
    free = shutil.disk_usage(archives).free
    if wanted - have > free:
        raise RunError(
            f"{task.title} takes {(wanted - have) / 1e9:.1f} GB to fetch and about as much again to unpack, and "
            f"{archives.parent.parent} has {free / 1e9:.1f} GB left: make room, or give another --data"
        )
