"""The folder of one run: its lock, its recipe, and the list of what was skipped."""

import csv
import io
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from sondino.distill.recipe import Recipe, refuse_changes, write_yaml
from sondino.errors import RunError


@contextmanager
def open_run(folder: Path, recipe: Recipe, is_main: bool = True) -> Iterator[Path]:
    """Hold a run's folder for as long as it is worked on, and see that it is the same run.

    Args:
        folder: made where it does not exist.
        recipe: written as `recipe.yaml` the first time; a folder of another recipe is refused.
        is_main: the other processes of `accelerate launch` share the first one's hold.

    Raises:
        RunError: another process works on it, it was started with another recipe, or it cannot be written.
    """
    if not is_main:
        yield folder
        return
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / ".lock")
        with lock.acquire(timeout=0):
            recipe_file = folder / "recipe.yaml"
            if recipe_file.exists():
                refuse_changes(recipe_file, recipe)
            else:
                partial = folder / ".recipe.partial"
                write_yaml(recipe, partial)
                partial.replace(recipe_file)
            yield folder
    except Timeout as error:
        raise RunError(
            f"{folder} is being worked on by another process: wait for it, or name another folder"
        ) from error
    except OSError as error:
        if error.filename is None or not str(error.filename).startswith(str(folder)):
            raise
        raise RunError(
            f"{error.filename} cannot be written ({os.strerror(error.errno or 0)}): what is done stays, "
            "mend that and run the same command again"
        ) from error


def write_skipped(file: Path, skipped: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    """Write (path, reason) rows, each once, and return them."""
    rows = list(dict.fromkeys(skipped))
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("path", "reason"))
    writer.writerows(rows)
    file.write_text(text.getvalue())
    return rows
