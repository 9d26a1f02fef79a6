"""How results were made: the command, the versions, and the facts of tasks and models."""

from sondino.reporting.html import details_section, pairs_table
from sondino.reporting.results import Results

TASK = {
    "domain": "domain",
    "metric": "metric",
    "clips": "clips",
    "classes": "classes",
    "licence": "licence",
    "parting": "split by",
    "skipped": "skipped",
}
MODEL = {
    "role": "role",
    "source": "opened from",
    "dim": "embedding dimension",
    "sample_rate": "sample rate, Hz",
    "window": "window, seconds",
    "licence": "licence",
}


def details_of(results: Results, more: str = "") -> str:
    """Command, versions, recipe, tasks and models, and what else belongs there in HTML."""
    command = " ".join(map(str, results.content.get("command") or []))
    made = ({"command": command} if command else {}) | dict(results.content.get("versions") or {})
    tables = [pairs_table("Made by", made)]
    for task in results.rows("tasks"):
        known = {title: task[key] for key, title in TASK.items() if task.get(key) not in (None, "")}
        tables.append(pairs_table(results.task_title(task["name"]), known))
    for model in results.rows("models"):
        known = {title: model[key] for key, title in MODEL.items() if model.get(key) not in (None, "")}
        tables.append(pairs_table(str(model["name"]), known))
    tables.append(pairs_table("Recipe", results.content.get("recipe") or {}))
    return details_section(tables, more)
