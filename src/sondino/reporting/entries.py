"""What the files of results hold that pages are made of: the entries that must have a type, checked when they are read.

Numbers that a page only shows are not among them: one that is missing, or none, is shown as a dash.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from msgspec import Meta, Struct, field

from sondino.errors import RunError, SondinoError
from sondino.files import read_json
from sondino.schema import check, load_yaml, parse_json

Name = str | int | float
Scalar = str | int | float | bool | None
Count = Annotated[int, Meta(ge=0, le=1 << 53)]
Texts = list[str | int | float]


class TaskEntry(Struct):
    """A task."""

    name: Name
    title: str | None = None
    domain: str | None = None
    metric: str | None = None
    root: str | None = None
    labels: Texts | None = None
    multi_label: bool | None = None
    classes: Annotated[int, Meta(ge=0, le=1_000_000)] | None = None
    notes: Texts | None = None


class ModelEntry(Struct):
    """A model."""

    name: Name
    role: str | None = None
    joules_how: str | None = None


class ScoreEntry(Struct):
    """The score of a model on a task."""

    model: Name
    task: Name
    interval: str | None = None
    per_label: dict[str, Any] | None = None
    predictions: str | None = None
    vectors: str | None = None
    notes: Texts | None = None


class RetentionEntry(Struct):
    """A model's row of the retention table."""

    model: Name
    role: str | None = None
    scores: dict[str, Any] | None = None


class OfTask(Struct):
    """An entry of a model on a task."""

    model: Name
    task: Name


class WindowEntry(Struct):
    """The score of a model on a task with a window."""

    model: Name
    task: Name
    window: float


class ChosenEntry(Struct):
    """The window that is enough for a model on a task."""

    model: Name
    task: Name
    window: float | None = None
    message: str | None = field(name="sentence", default=None)


class RunEntry(Struct):
    """A run of a sweep."""

    settings: dict[str, Scalar]
    run: str | None = None
    scores: dict[str, Any] | None = None


class TableEntry(Struct):
    """A row of a sweep's table: means over seeds."""

    settings: dict[str, Scalar] | None = None
    domains: dict[str, Any] | None = None
    tasks: dict[str, Any] | None = None
    interval: str | None = None


class ResultsHeader(Struct):
    """What results of every kind have."""

    title: str | None = None
    notes: Texts | None = None
    command: Texts | None = None
    versions: dict[str, Scalar] | None = None
    recipe: dict[str, Any] | None = None
    tasks: list[TaskEntry] | None = None


class EvaluationEntries(ResultsHeader):
    """results.json of `evaluate`."""

    models: list[ModelEntry] | None = None
    scores: list[ScoreEntry] | None = None
    retention: list[RetentionEntry] | None = None
    agreement: list[OfTask] | None = None


class SupportEntries(ResultsHeader):
    """results.json of `support`."""

    models: list[ModelEntry] | None = None
    rows: list[WindowEntry] | None = None
    chosen: list[ChosenEntry] | None = None


class SweepEntries(ResultsHeader):
    """results.json of `sweep`."""

    varied: dict[str, list[Scalar]] | list[str] | None = None
    runs: list[RunEntry] | None = None
    table: list[TableEntry] | None = None


class ClusterGroup(Struct):
    """A cluster."""

    cluster: Count
    clips: Count
    mostly: Name | None = None


class ClustersEntry(Struct):
    """The clusters of a run: clusters.json, groups.json or their place in summary.json."""

    sizes: list[Count] = field(default_factory=list)
    quality: dict[str, float | None] | None = None
    groups: list[ClusterGroup] | None = None


class SummaryRow(Struct):
    """A model's row of a run's table."""

    model: str
    role: str | None = None
    parameters: float | None = None
    file_bytes: float | None = None
    macs_per_10s: float | None = None
    milliseconds_per_10s: float | None = None
    cosine: float | None = None
    neighbour_overlap: float | None = None
    probe_accuracy: float | None = None


class OtherSound(Struct):
    """Embeddings of sound that a run was not trained on."""

    clips: Count = 0
    norm_outliers: Count = 0


class RunSummary(Struct):
    """summary.json of a run."""

    table: list[SummaryRow] = field(default_factory=list)
    clips: Count = 0
    hours: float = 0.0
    held_out: Count = 0
    compared: Count = 0
    epochs: Count = 0
    best_epoch: float = 0
    training_seconds: float = 0.0
    skipped: Count = 0
    unreadable: Count = 0
    norm_outliers: Count = 0
    other_sound: OtherSound | None = None
    versions: dict[str, Scalar] = field(default_factory=dict)
    clusters: ClustersEntry | None = None


class PretrainingSummary(Struct):
    """summary.json of a pretraining run."""

    method: str
    size: str
    updates: Count
    parameters: Count
    recordings: Count = 0
    hours: float = 0.0
    crop: float | None = None
    normalisation: list[float] = field(default_factory=list)
    training_seconds: float = 0.0
    versions: dict[str, Scalar] = field(default_factory=dict)


def is_pretraining(run: Path) -> bool:
    """Whether a folder holds a pretraining run, finished or not."""
    if (run / "summary.json").exists():
        return bool(read_json(run / "summary.json").get("kind") == "pretraining")
    return any("update" in row for row in read_metrics(run)[:1])


def read_summary(run: Path) -> tuple[dict[str, Any], RunSummary]:
    """The summary.json of a run, all of it, and its entries that have a type.

    Raises:
        RunError: it cannot be read, or an entry cannot be.
    """
    file = run / "summary.json"
    summary = read_json(file)
    return summary, check(
        summary, RunSummary, f"{file} is damaged", "remove it, and run the same command again", RunError
    )


def read_pretraining(run: Path) -> PretrainingSummary | None:
    """The summary.json of a pretraining run; None where the run has not finished.

    Raises:
        RunError: it cannot be read, or an entry cannot be.
    """
    file = run / "summary.json"
    if not file.exists():
        return None
    advice = "remove it, and run the same command again"
    return check(read_json(file), PretrainingSummary, f"{file} is damaged", advice, RunError)


def read_metrics(run: Path) -> list[dict[str, Any]]:
    """The lines of a run's metrics.jsonl so far; an incomplete last line, which is being written, is ignored.

    Raises:
        RunError: a line is damaged.
    """
    file = run / "metrics.jsonl"
    if not file.exists():
        return []
    lines = file.read_bytes().splitlines()
    metrics = []
    for place, line in enumerate(lines, 1):
        try:
            metrics.append(check(parse_json(line), dict[str, float | str | None], f"{file}, line {place}"))
        except (ValueError, SondinoError) as error:
            if place < len(lines) or isinstance(error, SondinoError):
                raise RunError(f"{file}, line {place}: not metrics ({error}); remove that line") from error
    return metrics


def read_settings(run: Path) -> dict[str, Any]:
    """The entries of a run's recipe.yaml; none where there is no such file.

    Raises:
        RunError: it cannot be read.
    """
    file = run / "recipe.yaml"
    if not file.exists():
        return {}
    try:
        recipe = load_yaml(file)
    except (OSError, ValueError) as error:
        raise RunError(
            f"{file} is not valid YAML ({error}): put it right, or remove it and the page is made without"
        ) from error
    return recipe if isinstance(recipe, dict) else {}
