"""Temporal support: the window length that a model needs, and what each length costs (arXiv 2312.14005)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sondino.audio.reading import info
from sondino.audio.signal import fixed_noise
from sondino.audio.windows import ShortPolicy
from sondino.benchmark.footprint import footprint
from sondino.encoder.encoder import Encoder, resolve
from sondino.encoder.padded import PaddedEncoder
from sondino.encoder.pipeline import resolve_windowing
from sondino.errors import OptionError, SondinoError
from sondino.evaluation.models import Role, check_embeds_audio, model_facts
from sondino.evaluation.record import digest, results_header, task_facts, versions
from sondino.evaluation.scores import STAGES, score_task
from sondino.evaluation.support_table import choose, write_table
from sondino.files import make_folder, read_json, write_json
from sondino.locks import lock_or_fail
from sondino.model.model import Model
from sondino.pretrained.open import open_model
from sondino.progress import show, stages
from sondino.tasks.registry import read_tasks

if TYPE_CHECKING:
    from sondino.tasks.labelled import Labelled
    from sondino.tasks.task import Task

WINDOW_LENGTHS = (0.5, 1.0, 2.0, 5.0, 10.0)
MAX_WINDOW_SECONDS = 3600.0
MIN_WINDOW_SECONDS = 0.01
SHOWN = ("value", "interval95", "interval", "chance", "rounds", "clips")
SAME = 0.01
"""Seconds by which a clip may exceed a window that counts as holding all of it."""
HOW_MEASURED = (
    "memory and time: 10 s of sound, one window at a time, in a process of its own (median of 3); memory is the "
    "increase of its peak over the time before the model was opened: weights count, Python and libraries do not"
)


@dataclass(frozen=True)
class WindowedModel:
    """A model at a window length.

    Attributes:
        window: seconds.
        encoder: takes waveforms of the window.
        filled: whether they are padded to the model's own window.
        short: how clips shorter than the window are processed.
    """

    window: float
    encoder: Encoder
    filled: bool
    short: ShortPolicy = "native"


@dataclass(frozen=True)
class Supported:
    """The outcome of `support`.

    Attributes:
        folder: of the results.
        results: as in results.json.
        unreadable: clips that could not be decoded.
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

    Clips are cut into windows without overlap, tails are kept, and a clip's embedding is the mean of its windows'
    embeddings, weighted by samples without padding. A clip shorter than a window is processed without padding
    (variable length), or padded for a model of one length. Finished windows are cached.

    Args:
        models: bundles, runs, published names or teachers.
        tasks: names, folders or CSVs.
        window_lengths: seconds.
        out: folder for results.json, support.csv and the cache.
        data: where the tasks' data lie.
        seeds: of the probes.
        threads: processor threads; None: all.
        quiet: show no progress.
        command: the command line, for the record.

    Raises:
        SondinoError: the fault and what to do; finished work stays.
    """
    asked = check_window_lengths(window_lengths)
    if seeds < 1:
        raise OptionError(f"seeds is {seeds}: give a whole number, 1 or more")
    if repeated := [name for name, count in Counter(models).items() if count > 1]:
        raise OptionError(f"model {repeated[0]} is named twice: name each once")
    read = read_tasks(tasks, data)
    opened = {name: open_model(name, threads) for name in models}
    for name, encoder in opened.items():
        check_embeds_audio(encoder, name)
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
            with suppress(SondinoError):  # embedding reports it
                longest = max(longest, info(clip.path).duration)
            progress(number + 1, len(labelled.clips))
    return longest


def windows_for_model(encoder: Encoder, window_lengths: Sequence[float]) -> tuple[list[WindowedModel], list[str]]:
    """A model at each window that it accepts, and notes on those that it does not.

    For a model of one length shorter windows are padded; longer ones are left out, and its own is used instead.

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
        notes.append(f"{encoder.name} takes {own:g} s at once: windows of {lengths} s are left out, {own:g} s is used")
    if any(each.filled for each in taken):
        how = "repeated" if policy == "repeat" else "zero-padded"
        notes.append(f"{encoder.name} takes {own:g} s at once: shorter windows are {how} up to it")
    return sorted(taken, key=lambda each: each.window), notes


def accepts_window(encoder: Encoder, window: float) -> bool:
    """Whether a model accepts windows of so many seconds without padding."""
    rate, own = encoder.sample_rate, encoder.window
    samples, least = round(window * rate), resolve(encoder).minimum
    if own is None or samples == round(own * rate):
        return True
    if least >= round(own * rate):  # it pads every waveform to its window itself
        return False
    try:
        return np.asarray(encoder.embed(fixed_noise(1, max(samples, least)))).shape == (1, encoder.dim)
    except Exception:  # an adapter's error may be of any kind
        return False


@dataclass
class _Support:
    folder: Path
    models: dict[str, Encoder]
    tasks: Sequence[tuple[Task, Labelled]]
    longest_clips: dict[str, float]
    seeds: int
    threads: int | None
    quiet: bool
    usable: dict[str, Labelled] = field(default_factory=dict)
    """Clips of each task that could be decoded."""

    def run(self, window_lengths: Sequence[float], command: Sequence[str]) -> Supported:
        names = names_of(self.models)
        notes = [HOW_MEASURED]
        rows: list[dict[str, Any]] = []
        chosen = []
        with show("window lengths that the models take", quiet=self.quiet):
            windows = {given: windows_for_model(encoder, window_lengths) for given, encoder in self.models.items()}
        enough = {
            (given, task.name): self.windows_up_to_longest_clip(task, windowed)
            for given, (windowed, _) in windows.items()
            for task, _ in self.tasks
        }
        with stages(len(windows) + STAGES * sum(len(windowed) for windowed, _ in enough.values()) + 1):
            for given, encoder in self.models.items():
                windowed, more = windows[given]
                notes += more
                costs = self.costs(given, encoder, windowed)
                for task, labelled in self.tasks:
                    taken, note = enough[given, task.name]
                    notes += [note] if note and note not in notes else []
                    own = [
                        {"model": names[given], "task": task.name, "window": each.window, "filled": each.filled}
                        | self.score(names[given], each, task, labelled)
                        | costs[each.window]
                        for each in taken
                    ]
                    rows += own
                    chosen.append(choose(own, task.title))
            results = self.results(names, rows, chosen, notes, command)
        write_json(self.folder / "results.json", results)
        write_table(self.folder / "support.csv", rows)
        return Supported(self.folder, results, sum(task["skipped"] for task in results["tasks"]))

    def windows_up_to_longest_clip(
        self, task: Task, windowed: Sequence[WindowedModel]
    ) -> tuple[list[WindowedModel], str]:
        """The windows up to the first that holds every clip whole, and a note on those beyond."""
        whole = [each for each in windowed if self.longest_clips[task.name] <= each.window + SAME]
        if len(whole) < 2:
            return list(windowed), ""
        beyond = ", ".join(f"{each.window:g}" for each in whole[1:])
        return [each for each in windowed if each not in whole[1:]], (
            f"every clip of {task.title} fits into {whole[0].window:g} s, so windows of {beyond} s are the same"
        )

    def score(self, name: str, windowed: WindowedModel, task: Task, labelled: Labelled) -> dict[str, Any]:
        windowing = resolve_windowing(windowed.encoder, windowed.window, short=windowed.short)
        score, self.usable[task.name] = score_task(
            windowed.encoder, f"{name}, {windowed.window:g} s", task, labelled, self.folder, seeds=self.seeds,
            windowing=windowing, threads=self.threads, quiet=self.quiet,
        )  # fmt: skip
        return {part: score[part] for part in SHOWN}

    def costs(self, given: str, encoder: Encoder, windowed: Sequence[WindowedModel]) -> dict[float, dict[str, Any]]:
        """Memory and time at each window, measured once."""
        file = self.folder / "costs.json"
        found = {}
        with show(f"memory and time of {encoder.name}", "windows", self.quiet) as progress:
            for number, each in enumerate(windowed):
                place = digest([resolve(encoder).fingerprint, each.window, each.filled, self.threads, versions()])
                kept = read_json(file) if file.exists() else {}
                if place not in kept:
                    kept[place] = footprint(given, each.window, each.filled, self.threads).as_dict()
                    write_json(file, kept)
                found[each.window] = kept[place]
                progress(number + 1, len(windowed))
        return found

    def results(
        self,
        names: dict[str, str],
        rows: Sequence[dict[str, Any]],
        chosen: Sequence[dict[str, Any]],
        notes: Sequence[str],
        command: Sequence[str],
    ) -> dict[str, Any]:
        tasks = [task_facts(task, self.usable[task.name]) for task, _ in self.tasks]
        models = []
        with show("size, speed and energy", "models", self.quiet) as progress:
            for given, encoder in self.models.items():
                role: Role = "student" if isinstance(encoder, Model) else "teacher"
                models.append(model_facts(encoder, names[given], role, given))
                progress(len(models), len(self.models))
        title = f"temporal support of {', '.join(names.values())}"
        return {
            **results_header("support", title, command, notes),
            "tasks": tasks,
            "models": models,
            "rows": list(rows),
            "chosen": list(chosen),
        }


def names_of(models: dict[str, Encoder]) -> dict[str, str]:
    """The name of each model in the results: its own, or as it was given where two have the same."""
    count = Counter(encoder.name for encoder in models.values())
    return {given: encoder.name if count[encoder.name] == 1 else given for given, encoder in models.items()}
