"""A teacher's embeddings by many machines: with Ray, or a range of the parts for each job of any batch queue."""

import time
import zlib
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np

from sondino.audio.crashes import crash_marks
from sondino.audio.windows import ShortPolicy
from sondino.corpus.parts import Parts
from sondino.corpus.sources import is_url
from sondino.corpus.table import Corpus, open_corpus
from sondino.corpus.targets import (
    Skipped,
    Targets,
    check_any,
    describe_targets,
    embed_part,
    gather_parts,
    has_views,
    keep_part,
    left_out,
    made_file,
    made_parts,
    prepare_targets,
)
from sondino.corpus.waveforms import try_clips
from sondino.encoder.encoder import Encoder, resolve
from sondino.errors import RunError
from sondino.files import make_folder, new_file, write_json
from sondino.locks import lock_or_fail
from sondino.processors import cores
from sondino.progress import Report
from sondino.spread import Answer, Cluster, PartTask, Work, parts_of_range, spread

OpenEncoder = Callable[[], Encoder]
"""Opens the teacher, in each worker; a function of a module, perhaps in a functools.partial, so that it can be sent."""


@dataclass
class PartRange:
    """What `compute_part_range` made.

    Attributes:
        folder: of the targets.
        parts: of this range, and of all.
        rows: of this range.
        skipped: (id, reason) of clips without an embedding, of the parts made by this call.
    """

    folder: Path
    parts: tuple[int, int]
    rows: int
    skipped: list[tuple[str, str]] = field(default_factory=list)


def compute_part_range(
    corpus: Corpus,
    encoder: Encoder,
    spec: str,
    part_range: tuple[int, int],
    short: ShortPolicy | None = None,
    progress: Report = lambda done, total: None,
    workers: int | None = None,
) -> PartRange:
    """A teacher's embeddings for one share of a corpus, as files that `compute_targets` gathers later.

    Each part is a file of its own, so several machines may share the folder, or each have a copy of the corpus: then
    the folders `made` are copied together. Stopped at any moment, the same call resumes.

    Args:
        corpus: clips, views included.
        encoder: the teacher.
        spec: how the user named it, for the record.
        part_range: (i, n): the i-th of n shares, from 1.
        short: as of `compute_targets`.
        progress: called with (rows done, rows of the share).
        workers: threads that decode; None: one a processor.

    Raises:
        EncoderError: as of `compute_targets`.
        RunError: the disk is full, or another process is at the same share.
    """
    encoder = resolve(encoder)
    targets = prepare_targets(corpus, encoder, spec, short)
    parts = targets.parts
    chosen = parts_of_range(part_range, parts.count)
    folder, name = make_folder(targets.folder / "made"), f"range-{part_range[0]}-of-{part_range[1]}"
    skipped: Skipped = []
    with lock_or_fail(targets.folder, name, "filling the targets in"), crash_marks(targets.folder, name):
        whole = {int(file.stem) for file in folder.glob("*.json")} | parts.done()
        sizes = {part: parts.span(part)[1] - parts.span(part)[0] for part in chosen}
        done = sum(size for part, size in sizes.items() if part in whole)
        progress(done, sum(sizes.values()))
        todo = [part for part in chosen if part not in whole]
        with closing(made_parts(corpus, encoder, parts, short, todo, workers)) as made:
            for part, embeddings, reasons in made:
                found = left_out(corpus, parts, part, reasons)
                with new_file(made_file(targets, part)) as opened:
                    np.save(opened, embeddings)
                check = zlib.crc32(np.ascontiguousarray(embeddings).data)
                write_json(made_file(targets, part).with_suffix(".json"), {"crc32": check, "skipped": found})
                skipped += found
                done += len(embeddings)
                progress(done, sum(sizes.values()))
    left = [(name, reason) for _, name, reason in skipped]
    return PartRange(targets.folder, (len(chosen), parts.count), sum(sizes.values()), left)


def spread_targets(
    corpus: Corpus,
    open_encoder: OpenEncoder,
    spec: str = "",
    cluster: Cluster | None = None,
    short: ShortPolicy | None = None,
    progress: Report = lambda done, total: None,
) -> Targets:
    """A teacher's embeddings for every row of a corpus, computed by the machines of a Ray cluster.

    The same parts, folder and bits as of `compute_targets`, which resumes what this was stopped at, and the other way
    round. Embeddings come back to the process that calls, which alone writes; workers only read the corpus, the sound
    and the teacher's file, which every machine must see under the same paths. A clip that ends its worker each time is
    left out by name.

    Args:
        corpus: clips, views included.
        open_encoder: opens the teacher, in each worker and here; sent to them by its name.
        spec: how the user named it, for the record.
        cluster: where; None: the cluster of this machine, or this machine alone.
        short: as of `compute_targets`.
        progress: called with (rows done, rows in all).

    Raises:
        MissingExtra: Ray is not installed.
        EncoderError: as of `compute_targets`.
        RunError: no cluster or no room in it, a machine that sees another corpus or teacher, or a full disk.

    Examples:
        >>> from functools import partial
        >>> corpus = sondino.corpus.build_corpus("recordings", "my_corpus", clip=1.0)
        >>> opened = partial(sondino.load_teacher, "onnx:teacher.onnx?rate=16000")
        >>> sondino.corpus.spread_targets(corpus, opened).matrix.shape  # doctest: +SKIP
        (9, 3)
    """
    began, cluster = time.perf_counter(), cluster or Cluster()
    encoder = resolve(open_encoder())
    targets = prepare_targets(corpus, encoder, spec, short)
    parts = targets.parts
    with lock_or_fail(targets.folder, "fill", "filling the targets in"):
        parts.prepare(targets=((len(corpus), encoder.dim), np.float16))
        gather_parts(targets)
        before = finished = parts.rows_done()
        progress(finished, parts.rows)
        whole = parts.done()
        spans = {part: parts.span(part) for part in range(parts.count) if part not in whole}
        todo = {part: PartTask(stop - first) for part, (first, stop) in spans.items()}
        opened = partial(
            _open_work, str(corpus.folder.absolute()), corpus.hash, open_encoder, short, targets.key, parts
        )

        def name(part: int, place: int) -> str:
            return corpus.ids([parts.span(part)[0] + place])[0]

        if todo:
            with closing(spread(opened, todo, cluster, name)) as made:
                for part, (facts, content) in made:
                    rows = todo[part].units
                    embeddings = np.frombuffer(content, np.float16).reshape(rows, targets.dim)
                    reasons = {int(place): str(reason) for place, reason in facts["left_out"].items()}
                    keep_part(targets, part, embeddings, left_out(corpus, parts, part, reasons))
                    finished += rows
                    progress(finished, parts.rows)
    check_any(corpus, targets)
    targets.timing = {"rows": finished - before, "seconds": time.perf_counter() - began}
    return targets


def _open_work(
    folder: str,
    hash: str,
    open_encoder: OpenEncoder,
    short: ShortPolicy | None,
    key: str,
    parts: Parts,
) -> tuple[Work, Callable[[int, str, int], None]]:
    """What a worker does first: open the corpus and the teacher, and check that they are those of the caller."""
    corpus = open_corpus(folder)
    if corpus.hash != hash:
        raise RunError(f"{folder} holds another corpus here: give every machine the same one")
    if not Path(corpus.root).exists() and not all(map(is_url, corpus.column("path"))):
        raise RunError(f"there is no folder {corpus.root} with the corpus's sound here: mount it under the same path")
    encoder = resolve(open_encoder())
    if describe_targets(corpus, encoder, "", short)["key"] != key:
        raise RunError(f"teacher {encoder.name} is another one here: give every machine the same file and packages")
    views = has_views(corpus)

    def clips(part: int, places: list[int]) -> list[np.ndarray | str]:
        first, _ = parts.span(part)
        with ThreadPoolExecutor(cores()) as pool:
            return try_clips(corpus, [first + place for place in places], encoder.sample_rate, pool, rounded=views)

    def work(part: int, _: str, without: Mapping[int, str]) -> Answer:
        first, stop = parts.span(part)
        if encoder.lookup is not None:
            return {"left_out": {}}, next(made_parts(corpus, encoder, parts, short, [part]))[1].tobytes()
        found = iter(clips(part, [place for place in range(stop - first) if place not in without]))
        waves = [without[place] if place in without else next(found) for place in range(stop - first)]
        embeddings, reasons = embed_part(encoder, waves, short)
        return {"left_out": {str(place): reason for place, reason in reasons.items()}}, embeddings.tobytes()

    def attempt(part: int, _: str, place: int) -> None:
        embed_part(encoder, clips(part, [place]), short)

    return work, attempt
