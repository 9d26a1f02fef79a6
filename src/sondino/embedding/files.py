"""Files and folders to a table of embeddings, in bounded memory; resumes where it was stopped.

Embeddings of finished parts (up to 256 files) are kept in OUTPUT.partial/; the output itself is written at the end.
"""

import hashlib
import json
import logging
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sondino.arrow import AsTable
from sondino.audio.crashes import crash_marks
from sondino.audio.signal import Scale
from sondino.audio.windows import ShortPolicy, Windowing
from sondino.embedding.append import Plan, check_settings, finish_append, forget, kept_parts, plan_append, settings_of
from sondino.embedding.inputs import Channel, Given, Input, ListedInputs, list_inputs, reason_of
from sondino.embedding.table_readers import read_arrow
from sondino.embedding.tables import TableForm, TablePart, Writer, writer_for
from sondino.encoder.encoder import Encoder, ResolvedEncoder, resolve
from sondino.encoder.pipeline import Sound, embed_sounds, readers, resolve_windowing
from sondino.errors import RunError, SondinoError
from sondino.files import thread_count, write_json
from sondino.locks import lock_or_fail
from sondino.text import printable

if TYPE_CHECKING:
    import pyarrow

PART_FILES = 256
PART_BYTES = 1 << 30  # so that a part of long recordings does not take a day

log = logging.getLogger(__name__)

Progress = Callable[[int, int, float], None]
"""Called with (files done, files in all, seconds of sound so far)."""


@dataclass
class EmbedReport(AsTable):
    """What `embed_files` did; `to_arrow` and `to_pandas` read the table that it wrote.

    Attributes:
        output: the file written.
        files: files that were embedded.
        embeddings: rows of these: one a file, or one a window.
        seconds: of sound.
        skipped: (path, reason) of every file that was given and not embedded.
        resumed: files whose embeddings are from an earlier, interrupted call.
        kept: files that were in the output before and stay, of `append`; those are not in `files`.
        replaced: files among `files` whose rows took the place of older ones.
        gone: files among `kept` that are no longer there.
    """

    output: Path
    files: int = 0
    embeddings: int = 0
    seconds: float = 0.0
    skipped: list[tuple[str, str]] = field(default_factory=list)
    resumed: int = 0
    kept: int = 0
    replaced: int = 0
    gone: int = 0

    def to_arrow(self) -> "pyarrow.Table":
        """The table for pyarrow, with the columns of one in Parquet: `id`, perhaps `channel` and `start`, and `vector`.

        Raises:
            OptionError, SondinoError: the output is no longer there, or damaged.
            MissingExtra: pyarrow is not installed.
        """
        return read_arrow(self.output)

    def add(self, part: TablePart) -> None:
        """Count a finished part."""
        self.files += part.files
        self.embeddings += len(part.embeddings)
        self.seconds += part.seconds
        self.skipped += part.skipped


def embed_files(
    inputs: Given | Sequence[Given] | ListedInputs,
    model: Encoder,
    output: str | Path,
    per_window: bool = False,
    threads: int | None = None,
    *,
    short: ShortPolicy | None = None,
    window: float | None = None,
    hop: float | None = None,
    scale: Scale = "none",
    channel: Channel = "mean",
    append: bool = False,
    progress: Progress | None = None,
) -> EmbedReport:
    """Embed files and folders into one table.

    Files that cannot be decoded are left out and listed in the report. Stopped at any moment, the same call resumes
    from the last finished part; with another model, other options or other files it starts over.

    Args:
        inputs: files and folders; lists (.csv, .parquet, with a column path), tar files, and http(s) addresses of one
            sound. A file's id is its path below its folder, or its path as given.
        model: any encoder, such as `sondino.load("bundle")`.
        output: .npz (`ids`, `vectors`; with `per_window` also `clip` and `start`), .npy (and ids in a CSV beside it),
            .csv, .parquet or .lance (LanceDB).
        per_window: a row for every window; otherwise a file has one row, the mean of its windows.
        threads: processor threads in all; None: the model's. From three on, a third of them decode ahead.
        short: what is done with a clip shorter than a window: "pad", "native" or "repeat"; None: the model's.
        window: seconds; None: the model's.
        hop: seconds from one window to the next; None: the model's.
        scale: "auto" divides floats whose peak in the file is over 8, whole numbers or not, by 2^15, 2^23 or 2^31.
        channel: "mean" of all; the number of one, from 1, which a file without it lacks as an error; or "each", whose
            rows have the channel in a column.
        append: keep what is in the output: only files that are new, or whose size or time of change is another, are
            embedded; files that are gone stay. The first call makes the output, and NAME.inputs.json beside it.
        progress: called after every file.

    Raises:
        AudioError: an input does not exist or holds no audio.
        OptionError: an option is out of range, the output's suffix is none of the above, or it cannot be added to.
        RunError: another process is writing this output, or the disk is full; what is done stays.
        SondinoError: no file could be decoded.

    Examples:
        >>> model = sondino.load("run/bundle")
        >>> sondino.embed_files("recordings", model, "embeddings.npz").files
        8
    """
    windowing = resolve_windowing(model, window, hop, short)
    return embed_table(inputs, model, output, windowing, per_window, threads, progress, scale, append, channel)


def embed_table(
    inputs: Given | Sequence[Given] | ListedInputs,
    model: Encoder,
    output: str | Path,
    windowing: Windowing,
    per_window: bool = False,
    threads: int | None = None,
    progress: Progress | None = None,
    scale: Scale = "none",
    append: bool = False,
    channel: Channel = "mean",
) -> EmbedReport:
    """`embed_files` with a resolved windowing."""
    model, output = resolve(model), Path(output)
    write = writer_for(output)
    files, skipped = list_inputs(inputs, channel)
    ahead = readers(thread_count(model.threads if threads is None else threads))
    job = Job(model, windowing, per_window, ahead, scale, channel)
    if append:
        check_settings(output, job.settings())
    partial = output.with_name(output.name + ".partial")
    with writing_to(output):
        output.parent.mkdir(parents=True, exist_ok=True)
        partial.mkdir(exist_ok=True)
    with lock_or_fail(partial, "embed", "filling"), crash_marks(partial):
        plan = plan_append(output, job.settings(), files) if append else None
        todo = files if plan is None else plan.todo
        with writing_to(output):
            match_key(partial, job.key(todo))
        report = _embed_parts(job, todo, output, partial, progress or (lambda done, total, seconds: None))
        if report.files:
            parts = [partial / _part_name(number) for number, _ in enumerate(part_bounds(todo))]
            with writing_to(output):
                _write(write, plan, report, parts, job)
        shutil.rmtree(partial, ignore_errors=True)
    if plan is not None:
        finish_append(plan, report)
    if not report.files and not report.kept:
        path, reason = report.skipped[0]
        raise SondinoError(
            f"none of the {len(files)} files could be decoded, and {output} was not written; {path}: {reason}"
        )
    report.skipped = skipped + report.skipped
    return report


def _write(write: Writer, plan: Plan | None, report: EmbedReport, parts: Sequence[Path], job: "Job") -> None:
    """Write the table: what it keeps of an older one, and the parts."""
    output, rows = report.output, report.embeddings
    done = [name for part in parts for name in _read_facts(part)["ids"]]
    clips = len(done)
    kept: Iterator[TablePart] = iter(())
    if plan is None:
        forget(output)
    elif plan.exists:
        for part in kept_parts(output, set(done), job.model.dim):
            clips, rows = clips + len(part.ids), rows + len(part.embeddings)
        kept = kept_parts(output, set(done), job.model.dim)
    new = (_read_part(part) for part in parts)
    form = TableForm(clips, rows, job.model.dim, job.per_window, job.channel == "each")
    write(output, chain(kept, new), form)


def _embed_parts(job: "Job", files: Sequence[Input], output: Path, partial: Path, progress: Progress) -> EmbedReport:
    """Embed the parts that an earlier call did not finish, each kept on disk as soon as it is done."""
    report = EmbedReport(output)
    for number, (first, last) in enumerate(part_bounds(files)):
        part = load_part(partial, number)
        if part is None:
            before = report.seconds

            def of_part(done: int, seconds: float, first: int = first, before: float = before) -> None:
                progress(first + done, len(files), before + seconds)

            part = job.embed(files[first:last], of_part)
            with writing_to(output):
                save_part(partial, number, part)
        else:
            report.resumed += last - first
        report.add(part)
        progress(last, len(files), report.seconds)
    return report


def part_bounds(files: Sequence[Input]) -> Iterator[tuple[int, int]]:
    """The parts that files are embedded in: first of each, and the one after its last."""
    if not files:
        return
    first = size = 0
    for at, file in enumerate(files):
        full = at - first >= PART_FILES or size + file.size > PART_BYTES
        if at > first and full and file.path != files[at - 1].path:  # the channels of a file stay together
            yield first, at
            first, size = at, 0
        size += file.size
    yield first, len(files)


@dataclass(frozen=True)
class Job:
    """How files are embedded."""

    model: ResolvedEncoder
    windowing: Windowing
    per_window: bool
    readers: int
    scale: Scale
    channel: Channel

    def settings(self) -> dict[str, Any]:
        """All that decides the rows of a file."""
        options = {"per_window": self.per_window, "channel": self.channel}
        return settings_of(self.model, self.windowing, self.scale, **options)

    def key(self, files: Sequence[Input]) -> str:
        """A hash of all that decides the table: parts of another key are not reused."""
        digest = hashlib.sha256(json.dumps([2, self.settings()]).encode())
        for file in files:
            digest.update(json.dumps([file.id, file.path, file.size, file.changed]).encode())
        return digest.hexdigest()

    def embed(self, files: Sequence[Input], progress: Callable[[int, float], None]) -> TablePart:
        """Embed some files; `progress` is called with files done and seconds of sound."""
        ids: list[str] = []
        taken: list[int] = []
        rows, starts = [], []
        skipped: list[tuple[str, str]] = []
        seconds = 0.0
        sounds: list[Sound] = [file.sound for file in files]
        channels = [file.channel for file in files]
        with closing(
            embed_sounds(self.model, sounds, self.windowing, self.per_window, self.readers, self.scale, channels)
        ) as embedded:
            for found in embedded:
                file = files[found.index]
                if found.error is not None:
                    skipped.append((file.path, reason_of(file, found.error)))
                else:
                    ids.append(file.id)
                    rows.append(found.embeddings)
                    starts.append(found.starts)
                    taken += [file.channel] if self.channel == "each" and file.channel else []
                    seconds += found.seconds if len(ids) == 1 or ids[-2] != file.id else 0.0
                progress(found.index + 1, seconds)
        embeddings = np.concatenate(rows) if rows else np.zeros((0, self.model.dim), np.float32)
        start = np.concatenate(starts) if starts else np.zeros(0)
        return TablePart(ids, [len(each) for each in rows], embeddings, start, seconds, skipped, taken)


# ---- parts on disk ----------------------------------------------------------------------------------------------


def _part_name(number: int) -> str:
    return f"{number:06d}"


def save_part(partial: Path, number: int, part: TablePart) -> None:
    """Write a part; it is valid once its JSON, written last, exists."""
    at = partial / _part_name(number)
    for suffix, array in ((".embeddings.npy", part.embeddings), (".starts.npy", part.starts)):
        with at.with_suffix(suffix).open("wb") as file:
            np.save(file, array)
            file.flush()
            os.fsync(file.fileno())
    facts: dict[str, Any] = {"ids": part.ids, "counts": part.counts, "seconds": part.seconds, "skipped": part.skipped}
    facts["channels"] = part.channels
    write_json(at.with_suffix(".json"), facts)


def load_part(partial: Path, number: int) -> TablePart | None:
    """A part that an earlier call finished, else None."""
    at = partial / _part_name(number)
    try:
        return _read_part(at)
    except (OSError, ValueError, KeyError):
        return None


def _read_facts(at: Path) -> dict[str, Any]:
    facts: dict[str, Any] = json.loads(at.with_suffix(".json").read_text(encoding="utf-8"))
    return facts


def _read_part(at: Path) -> TablePart:
    facts = _read_facts(at)
    embeddings = np.load(at.with_suffix(".embeddings.npy"))
    starts = np.load(at.with_suffix(".starts.npy"))
    skipped = [(path, reason) for path, reason in facts["skipped"]]
    return TablePart(facts["ids"], facts["counts"], embeddings, starts, facts["seconds"], skipped, facts["channels"])


def match_key(partial: Path, key: str) -> None:
    """Empty a partial folder that was made with another model, other options or other files."""
    file = partial / "key.json"
    if file.exists():
        try:
            if json.loads(file.read_text(encoding="utf-8"))["key"] == key:
                return
        except (ValueError, KeyError, TypeError):
            pass
        log.warning("%s: made with another model, other options or other files; starting over", printable(partial))
    for old in [*partial.glob("*.npy"), *partial.glob("*.json")]:
        old.unlink()
    write_json(file, {"key": key})


@contextmanager
def writing_to(output: Path) -> Iterator[None]:
    """Turn a full or unwritable disk into a RunError; finished parts stay."""
    try:
        yield
    except OSError as error:
        raise RunError(
            f"{output}: could not be written ({error.strerror or error}); make room or name another output, "
            "then run the same command: it resumes from the last finished part"
        ) from error
