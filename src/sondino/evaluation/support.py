"""Temporal support: how long a stretch of sound a model has to hear at once, and what that costs (arXiv 2312.14005)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sondino.audio.reading import info
from sondino.audio.windows import ShortPolicy
from sondino.benchmark.footprint import footprint
from sondino.encoder.encoder import Encoder, resolve
from sondino.encoder.padded import PaddedEncoder
from sondino.encoder.pipeline import resolve_windowing
from sondino.errors import OptionError, SondinoError
from sondino.evaluation.models import check_hears, model_facts
from sondino.evaluation.record import digest, results_header, task_facts, versions
from sondino.evaluation.scores import score_task
from sondino.evaluation.support_table import choose, write_table
from sondino.files import lock_or_fail, make_folder, read_json, write_json
from sondino.model.model import Model
from sondino.pretrained.open import open_model
from sondino.progress import show
from sondino.tasks.registry import read_tasks

if TYPE_CHECKING:
    from sondino.tasks.labelled import Labelled
    from sondino.tasks.task import Task

WINDOW_LENGTHS = (0.5, 1.0, 2.0, 5.0, 10.0)
MAX_WINDOW_SECONDS = 3600.0
MIN_WINDOW_SECONDS = 0.01
SHOWN = ("value", "interval95", "interval", "chance", "rounds")
SAME = 0.01
"""Seconds by which a clip may be longer than a window that is said to hold all of it."""
HOW_MEASURED = (
    "memory and time: 10 s of sound, one window at a time, in a process of its own (median of 3); memory is what it "
    "holds at its peak more than before it opened the model, so weights count, and Python and libraries do not"
)


@dataclass(frozen=True)
class WindowedModel:
    """A model at a window.

    Attributes:
        window: seconds.
        encoder: takes waveforms of the window.
        filled: whether they are filled up to the model's own window.
        short: what becomes of clips under the window.
    """

    window: float
    encoder: Encoder
    filled: bool
    short: ShortPolicy = "native"


@dataclass(frozen=True)
class Supported:
    """What `support` found.

    Attributes:
        folder: where it lies.
        results: as in results.json.
        unreadable: clips that could not be heard.
    """

    folder: Path
    results: dict[str, Any]
    unreadable: int


def support(
    models: Sequence[str],
    tasks: Sequence[str],
    window_lengths: Sequence[float] = WINDOW_LENGTHS,
    *,
    out: str | Path,
    data: Path | None = None,
    seeds: int = 5,
    threads: int | None = None,
    quiet: bool = False,
    command: Sequence[str] = (),
) -> Supported:
    """Score models with clips cut into windows of several lengths, and measure what each length costs.

    Clips are cut one window after another without overlap, tails are kept, and a clip's vector is the mean of its
    windows' by real samples. A clip under a window is heard at its own length, and by a
    model of one length filled up to it. What is finished is kept.

    Args:
        models: bundles, runs, published names or teachers.
        tasks: names, folders or CSVs.
        window_lengths: seconds.
        out: folder for results.json, support.csv and what is kept.
        data: where the tasks' data lie.
        seeds: of the probes.
        threads: processor threads; None: all.
        quiet: show no progress.
        command: the command line, for the record.

    Raises:
        SondinoError: what is wrong, in a sentence; what is done stays.
    """
    asked = check_window_lengths(window_lengths)
    if seeds < 1:
        raise OptionError(f"seeds is {seeds}: give a whole number, 1 or more")
    if repeated := [name for name, count in Counter(models).items() if count > 1]:
        raise OptionError(f"model {repeated[0]} is named twice: name each once")
    read = read_tasks(tasks, data)
    opened = {name: open_model(name, threads) for name in models}
    for name, encoder in opened.items():
        check_hears(encoder, name)
    longest = {task.name: longest_clip(labelled, task.title, quiet) for task, labelled in read}
    folder = make_folder(Path(out))
    with lock_or_fail(folder, "support", "working on"):
        return _Support(folder, opened, read, longest, seeds, threads, quiet).run(asked, command)


def check_window_lengths(window_lengths: Sequence[float]) -> list[float]:
    """The lengths from short to long; raises OptionError where one is out of range or given twice."""
    if not window_lengths:
        raise OptionError("no window is given: write --window-lengths 0.5,1,2,5,10")
    for window in window_lengths:
        if not MIN_WINDOW_SECONDS <= window <= MAX_WINDOW_SECONDS:
            raise OptionError(
                f"window is {window:g} s: give seconds from {MIN_WINDOW_SECONDS:g} to {MAX_WINDOW_SECONDS:g}"
            )
    if len(set(window_lengths)) < len(window_lengths):
        twice = Counter(window_lengths).most_common(1)[0][0]
        raise OptionError(f"--window-lengths names {twice:g} twice: give each length once")
    return sorted(window_lengths)


def longest_clip(labelled: Labelled, title: str, quiet: bool = False) -> float:
    """Seconds of a task's longest clip, from the files' headers; those that cannot be read count as none."""
    longest = 0.0
    with show(f"lengths of {title}", "clips", quiet) as progress:
        for number, clip in enumerate(labelled.clips):
            with suppress(SondinoError):  # which embedding tells of
                longest = max(longest, info(clip.path).duration)
            progress(number + 1, len(labelled.clips))
    return longest


def windows_for_model(encoder: Encoder, window_lengths: Sequence[float]) -> tuple[list[WindowedModel], list[str]]:
    """A model at each window that it can take, and sentences on those that it cannot.

    A model that takes one length alone gets shorter windows filled up; longer ones are left out, and its own is heard
    in their place.

    Args:
        encoder: any.
        window_lengths: seconds, from short to long.
    """
    own = encoder.window
    policy: ShortPolicy = "repeat" if resolve(encoder).short == "repeat" else "pad"
    short: ShortPolicy = "native" if own is None or accepts_window(encoder, own / 2) else policy
    taken: list[WindowedModel] = []
    left_out: list[float] = []
    for window in window_lengths:
        if accepts_window(encoder, window):
            taken.append(WindowedModel(window, encoder, False, short))
        elif own is not None and window < own:
            taken.append(WindowedModel(window, PaddedEncoder(encoder, window), True))
        else:
            left_out.append(window)
    notes = []
    if left_out and own is not None:
        if all(abs(each.window - own) > 1e-9 for each in taken):
            taken.append(WindowedModel(own, encoder, False, short))
        lengths = ", ".join(f"{window:g}" for window in left_out)
        notes.append(f"{encoder.name} takes {own:g} s at once: windows of {lengths} s are left out, {own:g} s is heard")
    if any(each.filled for each in taken):
        how = "repeated" if policy == "repeat" else "zero-padded"
        notes.append(f"{encoder.name} takes {own:g} s at once: shorter windows are {how} up to it")
    return sorted(taken, key=lambda each: each.window), notes


def accepts_window(encoder: Encoder, window: float) -> bool:
    """Whether a model takes windows of so many seconds as they are."""
    rate, own = encoder.sample_rate, encoder.window
    samples, least = round(window * rate), resolve(encoder).minimum
    if own is None or samples == round(own * rate):
        return True
    if least >= round(own * rate):  # it pads every waveform to its window by itself
        return False
    noise = 0.1 * np.random.default_rng(0).standard_normal((1, max(samples, least)))
    try:
        return np.asarray(encoder.embed(noise.astype(np.float32))).shape == (1, encoder.dim)
    except Exception:  # an adapter's error may be of any kind
        return False


@dataclass
class _Support:
    folder: Path
    models: dict[str, Encoder]
    tasks: Sequence[tuple[Task, Labelled]]
    longest: dict[str, float]
    seeds: int
    threads: int | None
    quiet: bool
    heard: dict[str, Labelled] = field(default_factory=dict)
    """Clips of each task that could be heard."""

    def run(self, window_lengths: Sequence[float], command: Sequence[str]) -> Supported:
        names = called(self.models)
        notes = [HOW_MEASURED]
        rows: list[dict[str, Any]] = []
        chosen = []
        for given, encoder in self.models.items():
            heard, said = windows_for_model(encoder, window_lengths)
            notes += said
            costs = self.costs(given, encoder, heard)
            for task, labelled in self.tasks:
                enough, note = self.enough(task, heard)
                notes += [note] if note and note not in notes else []
                own = [
                    {"model": names[given], "task": task.name, "window": each.window, "filled": each.filled}
                    | self.score(names[given], each, task, labelled)
                    | costs[each.window]
                    for each in enough
                ]
                rows += own
                chosen.append(choose(own, task.title))
        results = self.results(names, rows, chosen, notes, command)
        write_json(self.folder / "results.json", results)
        write_table(self.folder / "support.csv", rows)
        return Supported(self.folder, results, sum(task["skipped"] for task in results["tasks"]))

    def enough(self, task: Task, heard: Sequence[WindowedModel]) -> tuple[list[WindowedModel], str]:
        """The windows up to the first that holds every clip whole, and a sentence on those beyond."""
        whole = [each for each in heard if self.longest[task.name] <= each.window + SAME]
        if len(whole) < 2:
            return list(heard), ""
        beyond = ", ".join(f"{each.window:g}" for each in whole[1:])
        return [each for each in heard if each not in whole[1:]], (
            f"every clip of {task.title} fits into {whole[0].window:g} s, so windows of {beyond} s are the same"
        )

    def score(self, name: str, heard: WindowedModel, task: Task, labelled: Labelled) -> dict[str, Any]:
        windowing = resolve_windowing(heard.encoder, heard.window, short=heard.short)
        score, self.heard[task.name] = score_task(
            heard.encoder, f"{name}, {heard.window:g} s", task, labelled, self.folder, seeds=self.seeds,
            windowing=windowing, threads=self.threads, quiet=self.quiet,
        )  # fmt: skip
        return {part: score[part] for part in SHOWN}

    def costs(self, given: str, encoder: Encoder, heard: Sequence[WindowedModel]) -> dict[float, dict[str, Any]]:
        """Memory and time at each window, measured once."""
        file = self.folder / "costs.json"
        found = {}
        with show(f"memory and time of {encoder.name}", "windows", self.quiet) as progress:
            for number, each in enumerate(heard):
                place = digest([resolve(encoder).fingerprint, each.window, each.filled, self.threads, versions()])
                kept = read_json(file) if file.exists() else {}
                if place not in kept:
                    kept[place] = footprint(given, each.window, each.filled, self.threads).as_dict()
                    write_json(file, kept)
                found[each.window] = kept[place]
                progress(number + 1, len(heard))
        return found

    def results(
        self,
        names: dict[str, str],
        rows: Sequence[dict[str, Any]],
        chosen: Sequence[dict[str, Any]],
        notes: Sequence[str],
        command: Sequence[str],
    ) -> dict[str, Any]:
        tasks = [task_facts(task, self.heard[task.name]) for task, _ in self.tasks]
        models = [
            model_facts(encoder, names[given], "student" if isinstance(encoder, Model) else "teacher", given)
            for given, encoder in self.models.items()
        ]
        title = f"temporal support of {', '.join(names.values())}"
        return {
            **results_header("support", title, command, notes),
            "tasks": tasks,
            "models": models,
            "rows": list(rows),
            "chosen": list(chosen),
        }


def called(models: dict[str, Encoder]) -> dict[str, str]:
    """What to call each model: its own name, or as it was given where two have the same."""
    count = Counter(encoder.name for encoder in models.values())
    return {given: encoder.name if count[encoder.name] == 1 else given for given, encoder in models.items()}
