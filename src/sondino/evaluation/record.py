"""Entries that results of evaluations, sweeps and temporal support share: the header of results.json, and its tasks."""

from __future__ import annotations

import hashlib
import json
import platform
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

from sondino.reporting.results import RESULTS_FORMAT
from sondino.version import __version__

if TYPE_CHECKING:
    from sondino.tasks.labelled import Labelled
    from sondino.tasks.task import Task

NAMED = ("numpy", "scikit-learn", "onnxruntime", "torch")


def digest(values: Any) -> str:
    """A short hash of plain values."""
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:8]


def results_header(kind: str, title: str, command: Sequence[str], notes: Sequence[str]) -> dict[str, Any]:
    """The first entries of results.json."""
    return {
        "format": RESULTS_FORMAT,
        "kind": kind,
        "title": title,
        "command": list(command),
        "versions": versions(),
        "notes": list(notes),
    }


def versions() -> dict[str, str]:
    """Versions of sondino, Python, and the packages that results may depend on."""
    found = {"sondino": __version__, "python": platform.python_version()}
    for name in NAMED:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found | {"machine": f"{platform.system()} {platform.machine()}"}


def task_facts(task: Task, labelled: Labelled) -> dict[str, Any]:
    """A task as results.json has it.

    Args:
        task: the task.
        labelled: its clips that could be decoded.
    """
    return {
        "name": task.name,
        "title": task.title,
        "domain": task.domain,
        "metric": task.metric,
        "clips": len(labelled.clips),
        "classes": len(labelled.labels),
        "labels": list(labelled.labels),
        "multi_label": labelled.multi_label,
        "licence": task.licence,
        "parting": labelled.parting,
        "notes": list(labelled.notes),
        "skipped": len(labelled.skipped),
    }
