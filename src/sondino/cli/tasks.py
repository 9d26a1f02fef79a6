"""The command that lists data sets to evaluate on, and fetches them."""

from pathlib import Path

from sondino.cli.app import list_skipped, show_json, show_table
from sondino.console import print_line
from sondino.errors import OptionError
from sondino.text import escape


def tasks(*, data: Path | None = None, fetch: str | None = None, json: bool = False, quiet: bool = False) -> int:
    """List the data sets to evaluate on, with size, licence, source, and whether each is here; or fetch one.

    What is fetched is checked against the published checksums and unpacked safely; if interrupted, the same
    command resumes.

    Example: `sondino tasks --fetch esc50 --data sets/`

    Args:
        data: folder of data sets, each in a folder of its usual name. Default: $SONDINO_DATA, else data.
        fetch: name of a data set to fetch into that folder.
        json: print one JSON document in place of the table.
        quiet: show no progress.
    """
    from sondino.tasks.registry import TASKS, data_folder, find_task

    root = data_folder(data)
    if fetch is not None and json:
        raise OptionError("--json is of the list: leave it out to fetch")
    if fetch is not None:
        return _fetch(fetch, root, quiet)
    found = {name: find_task(task, root) for name, task in TASKS.items()}
    if json:
        names = ("name", "title", "about", "domain", "clips", "classes", "multi_label", "hours", "licence", "homepage")
        rows = [
            {name: getattr(task, name) for name in names}
            | {"bytes": task.size if task.archives else None}
            | {"folder": None if found[task.name] is None else escape(str(found[task.name]))}
            for task in TASKS.values()
        ]
        return show_json({"root": escape(str(root)), "tasks": rows})
    code = show_table(
        [
            {
                "name": name,
                "what": task.about,
                "clips": f"{task.clips:,}",
                "classes": str(task.classes),
                "hours": f"{task.hours:.3g}",
                "to fetch": _size(task.size) if task.archives else "by hand",
                "licence": task.licence,
                "from": task.homepage.partition("//")[2],
                "here": str(found[name] or "no"),
            }
            for name, task in TASKS.items()
        ]
    )
    print_line(f"\n{sum(folder is not None for folder in found.values())} of {len(TASKS)} are under {root}; "
          "your own labelled folders and CSV lists are tasks too")  # fmt: skip
    return code


def _fetch(name: str, root: Path, quiet: bool) -> int:
    from sondino.errors import unknown_name
    from sondino.tasks.fetch import fetch_task
    from sondino.tasks.registry import TASKS

    if name not in TASKS:
        raise unknown_name("task", name, TASKS)
    task = TASKS[name]
    folder, links = fetch_task(task, root, quiet)
    labelled = task.read(folder)
    print_line(f"{task.title}: {len(labelled.clips)} clips, {len(labelled.labels)} labels, in {folder}")
    for note in (*labelled.notes, *([f"{len(links)} links in the archives were left out"] if links else [])):
        print_line(f"note: {note}", error=True)
    return list_skipped(list(labelled.skipped))


def _size(size: int) -> str:
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{size / 1e6:.0f} MB"
