"""Sweeps: one recipe with some entries varied, a run for every combination, and the score of each student."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sondino.console import print_line
from sondino.corpus.table import build_corpus, open_corpus
from sondino.distillation.distill import distill
from sondino.distillation.recipe import Recipe, as_dict
from sondino.errors import OptionError, RunError, SondinoError
from sondino.evaluation.grid import Planned, folder_name, format_settings, plain, plan_runs
from sondino.evaluation.record import digest, results_header, task_facts
from sondino.evaluation.scores import STAGES, score_task
from sondino.evaluation.sweep_table import averages, tabulate, verdict_of, write_tables
from sondino.files import read_json, write_json
from sondino.metrics.verdicts import overlap_by_chance
from sondino.pretrained.load import load
from sondino.pretrained.open import open_teacher
from sondino.progress import format_time, show, stages, within
from sondino.tasks.registry import read_tasks
from sondino.training.accelerator import make_accelerator
from sondino.training.run import STARTED_WITH, check_same_config, open_run

if TYPE_CHECKING:
    from sondino.tasks.labelled import Labelled
    from sondino.tasks.task import Task

SHOWN = ("value", "interval95", "interval", "chance", "rounds", "clips")
"""The entries of a score that results.json has for a run and task."""


@dataclass
class Swept:
    """The outcome of a sweep.

    Attributes:
        folder: of the sweep.
        results: as in results.json.
        failed: (run, reason) of runs that could not be finished.
        unreadable: the most files that could not be read in any one run.
    """

    folder: Path
    results: dict[str, Any]
    failed: list[tuple[str, str]] = field(default_factory=list)
    unreadable: int = 0


def sweep(
    recipe: str | Path | Mapping[str, Any],
    audio: str | Path,
    varied: Mapping[str, Sequence[Any]],
    out: str | Path,
    *,
    teacher: Sequence[str] = (),
    tasks: Sequence[str] = (),
    data: Path | None = None,
    seeds: int = 5,
    device: str = "auto",
    quiet: bool = False,
    command: Sequence[str] = (),
) -> Swept:
    """Distil once for every combination of some recipe entries' values, and score each student.

    The corpus, the teacher's targets, the clusters and the decoded audio are made once and shared. Finished runs are
    kept and stopped ones resumed, so the same call resumes where it was stopped, and one with further values or
    entries adds runs to the table. After each run `results.json`, `runs.csv`, `table.csv` and
    `table.md` are rewritten.

    Args:
        recipe: a YAML file or a mapping of `Recipe` entries.
        audio: a folder of audio, a list, tar shards, or a corpus already built.
        varied: recipe entry -> its values.
        out: the sweep's folder; each run is a folder in `runs/`.
        teacher: overrides the recipe's.
        tasks: names, folders or CSVs that each student is probed on; none: agreement with the teacher alone.
        data: where the tasks' data lie.
        seeds: of the probes.
        device: "auto", "cpu" or "cuda".
        quiet: show no progress.
        command: the command line, for the record.

    Returns:
        The content of `results.json`, and which runs failed. A failed run does not stop the others.

    Raises:
        SondinoError: an invalid entry, value, task or audio, before any run starts.
    """
    planned = plan_runs(recipe, varied, teacher)
    if not Path(audio).exists():
        raise OptionError(f"{audio} does not exist: give a folder of sound, a list, tar shards or a corpus")
    if seeds < 1:
        raise OptionError(f"seeds is {seeds}: give a whole number, 1 or more")
    make_accelerator(device, "float32", Path(out))  # raises where there is no such device
    probed = read_tasks(tasks, data) if tasks else []
    clips = dict.fromkeys(one.recipe.clip for one in planned)
    _check_clips(Path(audio), clips)
    under_way = _Sweep(Path(out), planned, probed, seeds, device, quiet, command)
    under_way.check_teachers()
    with open_run(Path(out)) as folder:
        kept = {name: value for name, value in as_dict(planned[0].recipe).items() if name not in varied}
        check_same_config(folder, {"audio": str(Path(audio).resolve()), "recipe": kept})
        return under_way.run({clip: _shared_corpus(Path(audio), folder, clip, quiet) for clip in clips})


def _check_clips(audio: Path, clips: Iterable[float]) -> None:
    """Raise RunError for a corpus that was cut into clips of another length."""
    if not _is_corpus(audio):
        return
    found = open_corpus(audio).clip
    for clip in clips:
        if clip != found:
            raise RunError(
                f"{audio} was cut into clips of {found:g} s and a run asks for {clip:g} s: "
                f"write `clip: {found:g}` in the recipe, or give the sound itself"
            )


def _is_corpus(folder: Path) -> bool:
    return (folder / "corpus.json").exists()


def _shared_corpus(audio: Path, folder: Path, clip: float, quiet: bool) -> Path:
    """The corpus that all runs of one clip length read: `audio` where it is one, else built in the sweep's folder."""
    if _is_corpus(audio):
        return audio
    corpus = folder / "corpus"
    if _is_corpus(corpus) and open_corpus(corpus).clip != clip:
        corpus = folder / f"corpus-{clip:g}s"
    with show("headers", "files", quiet) as progress:
        build_corpus(audio, corpus, clip, progress=progress)
    return corpus


def _too_many_clusters(planned: Sequence[Planned], corpora: Mapping[float, Path]) -> list[str]:
    """A note where the corpus is too small for the clusters asked for: those runs are all the same."""
    if "clusters" not in planned[0].settings:
        return []
    most = min(len(open_corpus(corpora[p.recipe.clip])) * (1 + p.recipe.views) // 5 for p in planned)
    above = sorted({one.recipe.clusters for one in planned if one.recipe.clusters > most})
    if not above:
        return []
    return [f"the corpus has clips for {most} clusters at most: clusters={','.join(map(str, above))} means {most}"]


@dataclass
class _Sweep:
    """A sweep in progress."""

    folder: Path
    planned: Sequence[Planned]
    tasks: Sequence[tuple[Task, Labelled]]
    seeds: int
    device: str
    quiet: bool
    command: Sequence[str]
    scores: dict[Path, dict[str, dict[str, Any]]] = field(default_factory=dict)
    """Run -> task -> score."""
    usable: dict[str, Labelled] = field(default_factory=dict)
    """Clips of each task that could be decoded."""

    def run(self, corpora: Mapping[float, Path]) -> Swept:
        swept = Swept(self.folder, {})
        notes = _too_many_clusters(self.planned, corpora)
        for note in notes:
            self.log(f"note: {note}")
        before = self.finished()  # of earlier calls too, so that the whole table is scored alike
        for number, folder in enumerate(before, 1):
            with within(f"earlier run {number} of {len(before)}"):
                self.attempt(swept, folder)
        took: list[float] = []
        for number, one in enumerate(self.planned):
            folder, done = self.folder_of(one), self.is_finished(one)
            self.report_run(number, one, done, took)
            if not done:
                began = time.monotonic()
                with within(f"run {number + 1} of {len(self.planned)}"):
                    self.attempt(swept, folder, corpora[one.recipe.clip], one.recipe)
                took.append(time.monotonic() - began)
            swept.results = self.write([*notes, *_failures(swept)])
        for run in swept.results["runs"]:
            swept.unreadable = max(swept.unreadable, read_json(self.folder / run["run"] / "summary.json")["unreadable"])
        return swept

    def attempt(self, swept: Swept, folder: Path, corpus: Path | None = None, recipe: Recipe | None = None) -> None:
        """Distil, where a recipe is given, and score; a failure does not stop other runs."""
        try:
            if corpus is not None and recipe is not None:
                distill(corpus, out=folder, recipe=as_dict(recipe), device=self.device, quiet=self.quiet, page=False)
            self.score(folder)
        except SondinoError as error:
            swept.failed.append((folder.name, str(error)))
            self.log(f"{folder.name} failed: {error}")

    def is_finished(self, one: Planned) -> bool:
        return (self.folder_of(one) / "summary.json").exists()

    def check_teachers(self) -> None:
        """Open each teacher that runs will need, so that a wrong name or file is reported before the first run."""
        needed = dict.fromkeys(name for one in self.planned if not self.is_finished(one) for name in one.recipe.teacher)
        for name in needed:
            open_teacher(name, self.device)

    def report_run(self, number: int, one: Planned, done: bool, took: Sequence[float]) -> None:
        todo = sum(not self.is_finished(other) for other in self.planned[number:])
        left = f", about {format_time(sum(took) / len(took) * todo)} left" if took and todo else ""
        what = "finished before" if done else "runs"
        self.log(f"run {number + 1} of {len(self.planned)} ({format_settings(one.settings)}) {what}{left}")

    def log(self, message: str) -> None:
        if not self.quiet:
            print_line(message, error=True, flush=True)

    def folder_of(self, one: Planned) -> Path:
        """The folder of a run: one that was started with this very recipe, whatever was varied then, else its own."""
        for begun in sorted((self.folder / "runs").glob(f"*/{STARTED_WITH}")):
            if _same(read_json(begun).get("recipe", {}), as_dict(one.recipe)):
                return begun.parent
        own = self.folder / "runs" / folder_name(one.settings)
        if (own / STARTED_WITH).exists():  # of another recipe, whose varied entries are not varied now
            return own.with_name(f"{own.name}-{digest(as_dict(one.recipe))}")
        return own

    def score(self, folder: Path) -> None:
        """Probe a run's student on the tasks."""
        if not self.tasks:
            return
        model = load(folder / "bundle")
        with stages(STAGES * len(self.tasks)):
            for task, labelled in self.tasks:
                score, self.usable[task.name] = score_task(
                    model, folder.name, task, labelled, self.folder, seeds=self.seeds, quiet=self.quiet
                )
                self.scores.setdefault(folder, {})[task.name] = score

    def finished(self) -> list[Path]:
        """Folders of finished runs: those of this call in its order, then earlier ones of the same recipe."""
        names, facts = self.planned[0].settings, as_dict(self.planned[0].recipe)
        folders = dict.fromkeys(self.folder_of(one) for one in self.planned)
        for begun in sorted((self.folder / "runs").glob(f"*/{STARTED_WITH}")):
            recipe = read_json(begun).get("recipe", {})
            if _same({name: value for name, value in recipe.items() if name not in names}, facts):
                folders[begun.parent] = None
        return [folder for folder in folders if (folder / "summary.json").exists()]

    def row(self, folder: Path) -> dict[str, Any]:
        recipe = read_json(folder / STARTED_WITH)["recipe"]
        summary = read_json(folder / "summary.json")
        student = next(row for row in summary["table"] if row["role"] == "student")
        scores = {task: {part: score[part] for part in SHOWN} for task, score in self.scores.get(folder, {}).items()}
        domains = {task.name: task.domain for task, _ in self.tasks}
        return {
            "settings": {name: plain(recipe[name]) for name in self.planned[0].settings},
            "run": f"runs/{folder.name}",
            "scores": scores,
            **averages({name: score["value"] for name, score in scores.items()}, domains),
            "cosine": student.get("cosine"),
            "neighbour_overlap": student.get("neighbour_overlap"),
            "overlap_by_chance": overlap_by_chance(int(summary.get("compared") or 0)),
            "held_out": int(summary.get("held_out") or 0),
            "parameters": student.get("parameters"),
            "training_seconds": summary["training_seconds"],
        }

    def write(self, notes: Sequence[str]) -> dict[str, Any]:
        """results.json and the tables of what is finished."""
        runs = [self.row(folder) for folder in self.finished()]
        names = list(self.planned[0].settings)
        values = {name: [one.settings[name] for one in self.planned] for name in names}
        base = {name: value for name, value in as_dict(self.planned[0].recipe).items() if name not in names}
        results = {
            **results_header("sweep", " × ".join(names), self.command, notes),
            "tasks": [task_facts(task, self.usable.get(task.name, labelled)) for task, labelled in self.tasks],
            "models": [],
            "varied": {n: list(dict.fromkeys([*values[n], *(run["settings"][n] for run in runs)])) for n in names},
            "recipe": base,
            "runs": runs,
            "table": tabulate(runs),
        }
        results["verdict"] = verdict_of(results)
        write_json(self.folder / "results.json", results)
        write_tables(self.folder, results)
        return results


def _failures(swept: Swept) -> list[str]:
    return [f"run {name} failed: {reason}" for name, reason in swept.failed]


def _same(old: Mapping[str, Any], new: Mapping[str, Any]) -> bool:
    """Whether a saved recipe equals another; entries added since count as their defaults."""
    return bool(old) and all(name in new and new[name] == value for name, value in old.items())
