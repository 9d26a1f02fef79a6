"""Files to embeddings in parts that any number of processes and machines make.

A share of the parts by each job of a batch queue, or all of them with Ray. The output is a table as of `embed_files`,
or a data set: a folder, here or in an object store, with a Parquet file for each part and a manifest.
"""

import io
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from sondino.audio.decoded import FilePart
from sondino.audio.signal import Scale
from sondino.audio.windows import ShortPolicy, Windowing
from sondino.embedding.files import EmbedReport, Job, Progress, embed_table, part_bounds
from sondino.embedding.inputs import Channel, Given, Input, list_inputs
from sondino.embedding.part_stores import DataSet, Partial, held
from sondino.embedding.stored import StoredSound
from sondino.embedding.tables import TablePart, is_data_set, writer_for
from sondino.encoder.encoder import Encoder, resolve
from sondino.encoder.pipeline import readers, resolve_windowing
from sondino.errors import OptionError, RunError
from sondino.files import thread_count
from sondino.processors import cores
from sondino.spread import Answer, Cluster, PartTask, Work, parts_of_range, spread

OpenModel = Callable[[], Encoder]
"""Opens the model, here and in each worker; a function of a module, perhaps in a functools.partial."""


def embed_parts(
    inputs: Given | Sequence[Given],
    open_model: OpenModel,
    output: str,
    per_window: bool = False,
    *,
    short: ShortPolicy | None = None,
    window: float | None = None,
    hop: float | None = None,
    scale: Scale = "none",
    channel: Channel = "mean",
    share: tuple[int, int] | None = None,
    cluster: Cluster | None = None,
    progress: Progress | None = None,
) -> EmbedReport:
    """Embed files and folders in parts of up to 256 files, by this process, a share of them, or with Ray.

    Stopped at any moment, the same call resumes: what is whole is not made again, whoever made it. A data set takes new
    files as new parts.

    Args:
        inputs: as of `embed_files`; every worker must see them under the same paths.
        open_model: opens the model, here and in each worker.
        output: a table as of `embed_files`; or a data set: a folder's name with / at its end, or an address such as
            s3://bucket/folder, which fsspec opens.
        per_window: a row for every window.
        short: as of `embed_files`.
        window: seconds; None: the model's.
        hop: seconds; None: the model's.
        scale: as of `embed_files`.
        channel: as of `embed_files`.
        share: (i, n): make the i-th of n shares of the parts alone; the same call without it makes what is missing and
            finishes the output.
        cluster: of Ray; None: this process makes the parts.
        progress: called after every file, with Ray after every part.

    Raises:
        AudioError, OptionError, SondinoError: as of `embed_files`.
        RunError: a store or disk cannot be written, `output` holds embeddings of another model or other options, or of
            Ray what `spread` raises.

    Examples:
        >>> from functools import partial
        >>> opened = partial(sondino.load, "run/bundle")
        >>> sondino.embedding.parts.embed_parts("recordings", opened, "vectors/").files
        8
    """
    model = resolve(open_model())
    windowing = resolve_windowing(model, window, hop, short)
    job = Job(model, windowing, per_window, readers(thread_count(model.threads)), scale, channel)
    data_set = is_data_set(output)
    if not data_set:
        writer_for(Path(output))
    files, left_out = list_inputs(inputs, channel)
    bounds = list(part_bounds(files))
    names = _names(inputs)
    store = (
        DataSet(output, job, names, files, bounds) if data_set else Partial(Path(output), job.key(files), len(bounds))
    )
    tell = progress or (lambda done, total, seconds: None)
    chosen = range(len(bounds)) if share is None else parts_of_range(share, len(bounds))
    sizes = {number: bounds[number][1] - bounds[number][0] for number in chosen}
    report = EmbedReport(Path(output))
    with held(store, "parts" if share is None else f"parts-{share[0]}-of-{share[1]}"):
        whole = store.done()
        report.resumed = done = sum(size for number, size in sizes.items() if number in whole)
        tell(done, sum(sizes.values()), 0.0)
        todo = [number for number in chosen if number not in whole]
        for number, part in _make(job, files, bounds, todo, open_model, cluster, tell, (done, sum(sizes.values()))):
            store.save(number, part)
            report.add(part)
            done += sizes[number]
            tell(done, sum(sizes.values()), report.seconds)
        if share is None and isinstance(store, DataSet):
            store.finish(report, left_out)
            return report
        store.count(report, chosen)
    if share is None and isinstance(store, Partial):  # from the parts, which are all there
        resumed = report.resumed
        report = embed_table(inputs, model, output, windowing, per_window, None, progress, scale, False, channel)
        report.resumed = resumed
        return report
    report.skipped = left_out + report.skipped
    return report


def _names(inputs: Given | Sequence[Given]) -> list[str]:
    """What was given: whole paths, and addresses as they are."""
    listed = [inputs] if isinstance(inputs, (str, Path, FilePart)) else inputs
    names = [given.name if isinstance(given, FilePart) else str(given) for given in listed]
    return [name if "://" in name else str(Path(name).absolute()) for name in names]


def _make(
    job: Job,
    files: Sequence[Input],
    bounds: Sequence[tuple[int, int]],
    todo: Sequence[int],
    open_model: OpenModel,
    cluster: Cluster | None,
    tell: Progress,
    counts: tuple[int, int],
) -> Iterator[tuple[int, TablePart]]:
    """The parts that are to be made, as they are."""
    if cluster is None:
        before, total = counts
        for number in todo:
            first, last = bounds[number]

            def of_part(count: int, seconds: float, before: int = before) -> None:
                tell(before + count, total, seconds)

            yield number, job.embed(files[first:last], of_part)
            before += last - first
        return
    fetched = next((file for file in files if isinstance(file.sound, FilePart) and file.sound.owner), None)
    if fetched is not None:
        raise OptionError(f"{fetched.path} was fetched to this machine, and workers of Ray do not see it: save it to a "
                          "folder that they see")  # fmt: skip
    options = {"per_window": job.per_window, "scale": job.scale, "channel": job.channel}
    opened = partial(_open_work, open_model, job.windowing, options, json.dumps(job.settings()))
    parts = {number: PartTask(last - first, _as_task(files[first:last])) for number in todo
             for first, last in [bounds[number]]}  # fmt: skip
    if parts:
        with closing(spread(opened, parts, cluster, lambda part, unit: files[bounds[part][0] + unit].path)) as made:
            for number, (_, content) in made:
                yield number, from_bytes(content)


def _open_work(
    open_model: OpenModel, windowing: Windowing, options: dict[str, Any], settings: str
) -> tuple[Work, Callable[[int, str, int], None]]:
    """What a worker does first: open the model, and check that it is that of the caller."""
    model = resolve(open_model())
    job = Job(model, windowing, options["per_window"], readers(cores()), options["scale"], options["channel"])
    if json.dumps(job.settings()) != settings:
        raise RunError(f"model {model.name} is another one here: give every machine the same file and packages")

    def work(_: int, task: str, without: Mapping[int, str]) -> Answer:
        files = _from_task(task)
        part = job.embed([file for at, file in enumerate(files) if at not in without], lambda done, seconds: None)
        part.skipped += [(files[at].path, reason) for at, reason in without.items()]
        return {}, to_bytes(part)

    def attempt(_: int, task: str, unit: int) -> None:
        job.embed([_from_task(task)[unit]], lambda done, seconds: None)

    return work, attempt


def _as_task(files: Sequence[Input]) -> str:
    """Files as JSON."""
    rows = []
    for file in files:
        sound: Any = str(file.sound)
        if isinstance(file.sound, StoredSound):
            sound = {"name": file.sound.name, "root": file.sound.root, "place": file.sound.place}
        elif isinstance(file.sound, FilePart):
            part = file.sound
            sound = [part.name, part.file, part.offset, part.length, part.start, part.duration]
        rows.append([file.id, file.path, file.size, file.changed, sound, file.channel])
    return json.dumps(rows)


def _from_task(task: str) -> list[Input]:
    files = []
    for id, path, size, changed, sound, channel in json.loads(task):
        if isinstance(sound, dict):
            sound = StoredSound(sound["name"], "", root=sound["root"], place=tuple(sound["place"]))
        elif isinstance(sound, list):
            sound = FilePart(*sound)
        files.append(Input(id, path, size, changed, sound, channel))
    return files


def to_bytes(part: TablePart) -> bytes:
    """A part as the content of an .npz, with what else belongs to it in JSON."""
    facts = {"ids": part.ids, "counts": part.counts, "seconds": part.seconds, "skipped": part.skipped}
    facts["channels"] = part.channels
    file = io.BytesIO()
    np.savez(file, embeddings=part.embeddings, starts=part.starts, facts=np.array(json.dumps(facts)))
    return file.getvalue()


def from_bytes(content: bytes) -> TablePart:
    """A part from what `to_bytes` made of it."""
    with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
        facts = json.loads(str(arrays["facts"]))
        skipped = [(path, reason) for path, reason in facts["skipped"]]
        return TablePart(facts["ids"], facts["counts"], arrays["embeddings"], arrays["starts"], facts["seconds"],
                         skipped, facts["channels"])  # fmt: skip
