"""A teacher's embeddings for every clip: a float16 matrix on disk, row for row beside the corpus table.

Filled in parts, each of which counts only once it is whole on disk: a run killed at any moment goes on and ends with
the same bits. The folder's name is a hash of all that determines the embeddings (teacher, window policy, corpus), so
targets of another teacher or policy can never be taken for these.
"""

from __future__ import annotations

import hashlib
import json
import time
import zlib
from collections.abc import Generator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sondino.audio.crashes import crash_marks
from sondino.audio.windows import ShortPolicy
from sondino.corpus.parts import Parts, read_rows, write_rows
from sondino.corpus.table import Corpus
from sondino.corpus.views import view_of
from sondino.corpus.waveforms import WAVEFORMS_FORMAT, Waveforms, decoded_parts, rows_a_part
from sondino.encoder.encoder import Encoder, ResolvedEncoder, embed_clips, resolve
from sondino.errors import EncoderError, RunError, SondinoError
from sondino.files import make_folder, read_json, write_json
from sondino.locks import lock_or_fail
from sondino.progress import Report

TARGETS_FORMAT = "sondino-targets-1"
PACKED_ROWS = 32
"""Rows a part, at most, of a corpus whose sound is inside tables."""
LARGEST = float(np.finfo(np.float16).max)


@dataclass
class Targets:
    """A teacher's embeddings for a corpus, row for row; rows that could not be decoded are zeros and not valid."""

    folder: Path
    rows: int
    dim: int
    key: str
    """Hash of all that determines the embeddings."""
    part_rows: int
    timing: dict[str, float] = field(default_factory=dict)
    """Of the call that made this: rows embedded, seconds in all, teacher_seconds in the encoder alone."""

    def __len__(self) -> int:
        return self.rows

    @property
    def parts(self) -> Parts:
        """What of it is whole."""
        return Parts(self.folder, self.rows, self.part_rows)

    @cached_property
    def matrix(self) -> NDArray[np.float16]:
        """(rows, dim) float16, mapped from disk."""
        file = self.folder / "targets.npy"
        try:
            matrix: NDArray[np.float16] = np.load(file, mmap_mode="r")
        except (OSError, ValueError) as error:
            raise RunError(f"{file} is damaged ({error}): remove {self.folder} and make it again") from error
        if matrix.shape != (self.rows, self.dim):
            raise RunError(f"{file} has the shape {matrix.shape}: remove {self.folder} and make it again")
        return matrix

    # Read when first asked for, so that processes which share the parts see those of the others after a barrier.

    @cached_property
    def valid(self) -> NDArray[np.bool_]:
        """(rows,): which rows have an embedding. RunError where parts are missing."""
        valid = np.ones(self.rows, dtype=bool)
        valid[[row for row, _, _ in self._left_out]] = False
        return valid

    @cached_property
    def skipped(self) -> list[tuple[str, str]]:
        """(id, reason) of clips without an embedding. RunError where parts are missing."""
        return [(name, reason) for _, name, reason in self._left_out]

    @cached_property
    def _left_out(self) -> list[tuple[int, str, str]]:
        records = list(self.parts.records())
        if len(records) < self.parts.count:
            raise RunError(
                f"{self.folder} is not whole ({len(records)} of {self.parts.count} parts): run the same command again "
                "to go on"
            )
        return [(row, name, reason) for record in records for row, name, reason in record["skipped"]]

    def read(self, spans: Sequence[tuple[int, int]]) -> NDArray[np.float16]:
        """Stretches (first row, one after the last) of the matrix, by plain reads, for passes over all of it."""
        return read_rows(self.folder / "targets.npy", spans, self.dim, np.float16)


class _Timed:
    """An encoder that measures the seconds spent in its own code."""

    def __init__(self, encoder: ResolvedEncoder) -> None:
        self.encoder, self.seconds = encoder, 0.0

    def __getattr__(self, name: str) -> Any:
        return getattr(self.encoder, name)

    def embed(self, waveforms: NDArray[np.float32]) -> NDArray[np.float32]:
        began = time.perf_counter()
        try:
            return self.encoder.embed(waveforms)
        finally:
            self.seconds += time.perf_counter() - began


def compute_targets(
    corpus: Corpus,
    encoder: Encoder,
    spec: str = "",
    short: ShortPolicy | None = None,
    part_rows: int | None = None,
    progress: Report = lambda done, total: None,
    workers: int | None = None,
    rank: int = 0,
    world: int = 1,
    waveforms: Waveforms | None = None,
) -> Targets:
    """A teacher's embedding for every row of a corpus, kept in the corpus's folder and never computed twice.

    Clips of the next part are decoded in threads while the teacher works on this one. A clip that cannot be decoded
    has no embedding, and `skipped` says why. An encoder with `lookup(ids) -> (n, dim)` is called with the ids, and no
    audio is read.

    Args:
        corpus: clips, views included.
        encoder: the teacher.
        spec: how the user named it, for the record.
        short: what is done with clips under the teacher's window. None: as the teacher says, else "pad".
        part_rows: rows a part; None: 256, fewer where clips are long. What a folder was begun with stays.
        progress: called with (rows done, rows in all).
        workers: threads that decode; None: one a processor.
        rank: which of the processes that share the work this is: it takes every `world`-th part.
        world: how many processes share it; each returns when its own parts are done.
        waveforms: the corpus's audio at the teacher's rate, kept decoded (`open_waveforms`), so that a clip with views
            is not decoded again for each. The embeddings are the same without it.

    Raises:
        EncoderError: the teacher gave NaN, another shape, or values over 65504, which float16 cannot hold.
        RunError: the disk is full, another process is at it, or no clip could be decoded.

    Examples:
        >>> corpus = sondino.corpus.build_corpus("recordings", "my_corpus", clip=1.0)
        >>> teacher = sondino.load_teacher("onnx:teacher.onnx?rate=16000")
        >>> sondino.corpus.compute_targets(corpus, teacher).matrix.shape  # (clips, embedding dimension)
        (9, 3)
    """
    began = time.perf_counter()
    encoder = resolve(encoder)
    targets = prepare_targets(corpus, encoder, spec, short, part_rows)
    if waveforms is not None and not (
        has_views(corpus) and waveforms.folder and waveforms.sample_rate == encoder.sample_rate
    ):
        waveforms = None
    parts, timed, before = targets.parts, _Timed(encoder), targets.parts.rows_done()
    if before < len(corpus) or not (targets.folder / "targets.npy").exists():
        name = "fill" if world == 1 else f"fill-{rank}-of-{world}"
        with lock_or_fail(targets.folder, name, "filling the targets in"), crash_marks(targets.folder, name):
            parts.prepare(targets=((len(corpus), encoder.dim), np.float16))
            gather_parts(targets)
            before = parts.rows_done()
            chosen = range(parts.count)[rank::world]
            with closing(made_parts(corpus, timed, parts, short, chosen, workers, waveforms)) as made:
                progress(before, parts.rows)
                finished = before
                for part, embeddings, reasons in made:
                    keep_part(targets, part, embeddings, left_out(corpus, parts, part, reasons))
                    finished += len(embeddings)
                    progress(finished, parts.rows)
    if world == 1:
        check_any(corpus, targets)
    seconds, done = time.perf_counter() - began, parts.rows_done() - before
    targets.timing = {"rows": done, "seconds": seconds, "teacher_seconds": timed.seconds}
    return targets


def has_views(corpus: Corpus) -> bool:
    """Whether it has augmented views: then audio is taken in the 16 bits that it may be kept in, kept or not."""
    return bool(corpus.column("view").any())


def prepare_targets(
    corpus: Corpus, encoder: ResolvedEncoder, spec: str, short: ShortPolicy | None = None, part_rows: int | None = None
) -> Targets:
    """The folder of a teacher's embeddings of a corpus, with what is done so far; arguments as of `compute_targets`."""
    facts = describe_targets(corpus, encoder, spec, short)
    folder = make_folder(corpus.folder / "targets" / facts["key"][:16])
    described = folder / "targets.json"
    if not described.exists():
        write_json(described, facts | {"part_rows": part_rows or _rows_a_part(corpus)})
    old = read_json(described)
    if old["key"] != facts["key"]:  # the folder's name is only the beginning of the key
        raise RunError(f"{folder} holds other targets ({old.get('teacher')}): remove it")
    # A teacher's last bits depend on what shares its batch, so resuming keeps the parts as they were.
    return _described(folder, old)


def _rows_a_part(corpus: Corpus) -> int:
    """Fewer where the sound is inside tables, whose pages take memory beside the clips of two parts."""
    usual = rows_a_part(corpus.clip)
    packed = "group" in corpus.table.column_names and corpus.table["group"].null_count < len(corpus)
    return min(usual, PACKED_ROWS) if packed else usual


def check_any(corpus: Corpus, targets: Targets) -> None:
    """Raises RunError if no clip could be decoded."""
    if not targets.valid.any():
        raise RunError(f"no clip of {corpus.folder} could be decoded; the first, {': '.join(targets.skipped[0])}")


def describe_targets(
    corpus: Corpus, encoder: ResolvedEncoder, spec: str, short: ShortPolicy | None = None
) -> dict[str, Any]:
    """What determines the embeddings, its hash as `key`, and further facts for the reader."""
    rounded = has_views(corpus) and encoder.lookup is None
    decides = {
        "format": TARGETS_FORMAT,
        "fingerprint": encoder.fingerprint,
        "sample_rate": encoder.sample_rate,
        "window": encoder.window,
        "hop": encoder.hop,
        "minimum": encoder.minimum,
        "short": short or encoder.short,
        "corpus": corpus.hash,
    } | ({"waveforms": WAVEFORMS_FORMAT} if rounded else {})
    key = hashlib.sha256(json.dumps(decides, sort_keys=True).encode()).hexdigest()
    return decides | {"key": key, "rows": len(corpus), "dim": encoder.dim, "teacher": encoder.name, "spec": spec}


Clips = Generator[tuple[int, list[NDArray[np.float32] | str]]]
"""Part, and for each of its rows the waveform or the reason why there is none."""

Made = Generator[tuple[int, NDArray[np.float16], dict[int, str]]]
"""Part, its embeddings (rows, dim) with zeros where there is none, and {place in the part: why there is none}."""


def made_parts(
    corpus: Corpus,
    encoder: ResolvedEncoder | _Timed,
    parts: Parts,
    short: ShortPolicy | None,
    chosen: Sequence[int],
    workers: int | None = None,
    waveforms: Waveforms | None = None,
) -> Made:
    """The embeddings of each chosen part that is not whole yet; arguments as of `compute_targets`."""
    if encoder.lookup is not None:
        yield from _looked_up(corpus, encoder, parts, chosen)
        return
    rows = np.arange(len(corpus))
    clips = (
        _kept_parts(waveforms, parts, chosen)
        if waveforms is not None
        else decoded_parts(corpus, encoder.sample_rate, parts, rows, workers, chosen, rounded=has_views(corpus))
    )
    with closing(clips):
        for part, waves in clips:
            yield part, *embed_part(encoder, waves, short)


def _kept_parts(waveforms: Waveforms, parts: Parts, chosen: Sequence[int]) -> Clips:
    """The clips of each part that is not whole yet, from those kept decoded."""
    done, reasons = parts.done(), dict(waveforms.skipped)

    def read(row: int) -> NDArray[np.float32] | str:
        try:
            return waveforms.read(row)
        except SondinoError as error:
            view = view_of(waveforms.corpus, row)
            bases = [row] if view is None else [base for base in (view.base, view.mix) if base >= 0]
            found = (reasons.get(name) for name in waveforms.corpus.ids(bases))
            return next((reason for reason in found if reason), str(error))

    for part in chosen:
        if part not in done:
            yield part, [read(row) for row in range(*parts.span(part))]


def embed_part(
    encoder: ResolvedEncoder | _Timed, clips: Sequence[NDArray[np.float32] | str], short: ShortPolicy | None
) -> tuple[NDArray[np.float16], dict[int, str]]:
    """Embeddings (clips, dim) of a part, zeros where a clip is the reason why there is none; and {place: reason}."""
    reasons = {place: clip for place, clip in enumerate(clips) if isinstance(clip, str)}
    good = [place for place in range(len(clips)) if place not in reasons]
    embeddings = np.zeros((len(clips), encoder.dim), np.float32)
    if good:
        found = embed_clips(encoder, [clips[place] for place in good], short or encoder.short)  # type: ignore[misc]
        if found.shape != (len(good), encoder.dim):
            raise EncoderError(f"teacher {encoder.name} changed its dimension midway, to {found.shape[1]}")
        embeddings[good] = found
    return _halved(embeddings, encoder.name), reasons


def _looked_up(corpus: Corpus, encoder: ResolvedEncoder | _Timed, parts: Parts, chosen: Sequence[int]) -> Made:
    done = parts.done()
    for part in chosen:
        if part in done:
            continue
        first, stop = parts.span(part)
        embeddings = np.asarray(encoder.lookup(corpus.ids(slice(first, stop))), dtype=np.float32)  # type: ignore[misc]
        if embeddings.shape != (stop - first, encoder.dim) or not np.isfinite(embeddings).all():
            raise EncoderError(
                f"teacher {encoder.name} gave embeddings of shape {embeddings.shape}, or not finite, for "
                f"{stop - first} ids; its dimension is {encoder.dim}: look into the file they come from"
            )
        yield part, _halved(embeddings, encoder.name), {}


Skipped = list[tuple[int, str, str]]
"""Row, id and reason of each clip without an embedding."""


def left_out(corpus: Corpus, parts: Parts, part: int, reasons: Mapping[int, str]) -> Skipped:
    """What a part lacks, from {place in the part: reason}."""
    first, _ = parts.span(part)
    return [(first + place, corpus.ids([first + place])[0], reason) for place, reason in reasons.items()]


def keep_part(targets: Targets, part: int, embeddings: NDArray[np.float16], skipped: Skipped) -> None:
    """Write a part into the matrix; it counts once that is on disk."""
    first, stop = targets.parts.span(part)
    check = write_rows(targets.folder / "targets.npy", first, embeddings)
    targets.parts.mark(part, {"part": part, "rows": [first, stop], "crc32": check, "skipped": skipped})


def _halved(embeddings: NDArray[np.float32], name: str) -> NDArray[np.float16]:
    largest = float(np.max(np.abs(embeddings), initial=0.0))
    if largest > LARGEST:
        raise EncoderError(
            f"teacher {name} gave a value of {largest:.3g}, and targets hold at most {LARGEST:.0f} (float16): "
            "take another of its outputs, or scale it"
        )
    return embeddings.astype(np.float16)


def _described(folder: Path, facts: dict[str, Any]) -> Targets:
    try:
        return Targets(folder, int(facts["rows"]), int(facts["dim"]), facts["key"], int(facts["part_rows"]))
    except (KeyError, TypeError, ValueError) as error:
        raise RunError(f"{folder / 'targets.json'} is damaged ({error}): remove {folder}, make it again") from error


# --- parts that other machines made -----------------------------------------------------------------------------


def made_file(targets: Targets, part: int) -> Path:
    """The matrix of a part that `compute_part_range` made; it counts with the JSON beside it, which is written last."""
    return targets.folder / "made" / f"{part:06d}.npy"


def gather_parts(targets: Targets) -> None:
    """Take the parts that `compute_part_range` made into the matrix, and remove their files."""
    done = targets.parts.done()
    for described in sorted((targets.folder / "made").glob("*.json")):
        part, file = int(described.stem), described.with_suffix(".npy")
        if part < targets.parts.count and part not in done:
            first, stop = targets.parts.span(part)
            try:
                embeddings = np.load(file)
                facts = read_json(described)
                skipped = [(int(row), str(name), str(reason)) for row, name, reason in facts["skipped"]]
                whole = facts["crc32"] == zlib.crc32(np.ascontiguousarray(embeddings).data)
            except (OSError, ValueError, KeyError, TypeError, RunError):
                continue  # being written, or copied in part: made here
            if whole and embeddings.shape == (stop - first, targets.dim) and embeddings.dtype == np.float16:
                keep_part(targets, part, embeddings, skipped)
        described.unlink()
        file.unlink(missing_ok=True)
