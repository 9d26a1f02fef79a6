"""Reading results.json, as `evaluate`, `support` and `sweep` write it."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sondino.errors import RunError
from sondino.reporting.entries import EvaluationEntries, ResultsHeader, SupportEntries, SweepEntries
from sondino.reporting.html import number
from sondino.schema import check, load_json

RESULTS = "results.json"
RESULTS_FORMAT = "sondino-results-1"
KINDS: dict[str, type[ResultsHeader]] = {
    "evaluation": EvaluationEntries,
    "support": SupportEntries,
    "sweep": SweepEntries,
}


@dataclass(frozen=True)
class Results:
    """The content of results.json.

    Attributes:
        folder: that it lies in.
        kind: "evaluation", "support" or "sweep".
        content: the JSON object; its entries are as its class of KINDS has them.
    """

    folder: Path
    kind: str
    content: Mapping[str, Any]

    def rows(self, name: str) -> list[dict[str, Any]]:
        """One of the lists of objects; empty where it is not there."""
        return list(self.content.get(name) or [])

    @property
    def title(self) -> str:
        """The heading."""
        return str(self.content.get("title") or self.folder.resolve().name)

    @property
    def notes(self) -> list[str]:
        """Notes on the whole, then on each task."""
        own = [str(note) for note in self.content.get("notes") or []]
        of_tasks = [
            f"{task.get('title') or task['name']}: {note}"
            for task in self.rows("tasks")
            for note in task.get("notes") or []
        ]
        return list(dict.fromkeys(own + of_tasks))

    def task(self, name: str) -> dict[str, Any]:
        """A task's entry; its name alone where it has none."""
        return next((task for task in self.rows("tasks") if task["name"] == name), {"name": name})

    def task_title(self, name: str) -> str:
        """A task's title."""
        return str(self.task(name).get("title") or name)

    def role(self, model: str) -> str:
        """A model's role: "teacher", "student", ...; "" where it is unknown."""
        return str(next((one.get("role") or "" for one in self.rows("models") if one["name"] == model), ""))

    def file(self, name: str) -> Path:
        """A file that is named in the results."""
        return self.folder / name

    def clip(self, name: str, task: str) -> Path:
        """Where a clip of a task lies: as it is named, from the results' folder, or from the task's root."""
        root = self.task(task).get("root")
        places = [Path(name), self.folder / name, *([Path(str(root)) / name] if root else [])]
        return next((place for place in places if place.is_file()), places[0])


def read_results(folder: Path) -> Results:
    """Open the results in a folder.

    Raises:
        RunError: there are none, or they are not as they should be.
    """
    file = folder / RESULTS
    again = "run the command that wrote it again"
    try:
        content = load_json(file)
    except (OSError, ValueError) as error:
        raise RunError(f"{file} cannot be read ({error}): {again}") from error
    if not isinstance(content, dict) or content.get("format") != RESULTS_FORMAT:
        found = repr(content.get("format") if isinstance(content, dict) else None)[:60]
        raise RunError(f"{file} is not in the format {RESULTS_FORMAT} (it says {found}): {again} with this sondino")
    kind = content.get("kind")
    if kind not in list(KINDS):
        found = repr(kind)[:60]
        raise RunError(f"{file} holds results of the kind {found}, not {', '.join(KINDS)}: {again} with this sondino")
    check(content, KINDS[kind], str(file), again, RunError)
    main = {"evaluation": ("scores", "agreement"), "support": ("rows",), "sweep": ("runs",)}[kind]
    if not any(content.get(name) for name in main):
        raise RunError(f"{file} holds no {' and no '.join(main)}, so there is nothing to report on: {again}")
    return Results(folder, kind, content)


def interval(value: object) -> tuple[float, float] | None:
    """An interval (low, high), or None where there is none."""
    if isinstance(value, (list, tuple)) and len(value) == 2:
        low, high = number(value[0]), number(value[1])
        if low is not None and high is not None:
            return low, high
    return None
