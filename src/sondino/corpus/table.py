"""The clip table: which stretches of which files are clips for teacher and student. Audio stays where it is."""

import csv
import hashlib
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from sondino.audio.crashes import crash_marks
from sondino.audio.signal import Scale
from sondino.corpus.labels import RowLabels, row_labels
from sondino.corpus.relabel import LabelsOf, relabel
from sondino.corpus.scan import scan, write_table
from sondino.corpus.sources import PLACE_COLUMNS, Listing, is_url, list_audio, not_utf8
from sondino.corpus.track_labels import track_labels
from sondino.errors import AudioError, OptionError, RunError, require
from sondino.files import DUPLICATE, make_folder, read_json, write_json, write_skipped
from sondino.lists import SPLITS
from sondino.locks import lock_or_fail
from sondino.progress import Report
from sondino.text import read_csv

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.compute as pc
else:
    pa = require("pyarrow", "train")
    pc = require("pyarrow.compute", "train")

CORPUS_FORMAT = "sondino-corpus-1"
SHORTEST_TAIL = 0.05
"""A tail under this share of a clip, past the last whole clip, is left out (and counted)."""
HASHED = ("id", "content", "start", "duration")
HASHED_VIEWS = ("view", "base_row", "crop", "gain", "mix_row", "mix_crop", "mix_gain", "speed", "backwards")


@dataclass(frozen=True)
class Corpus:
    """A table of clips on disk, one row a clip.

    Columns: id (str), path (str, from `root`, or a URL), start and duration (s), sample_rate (Hz), content (hash of
    the file), offset and length (bytes of a tar's member; length alone of an object of a store; else null), label and
    split (str, where the source gave them; several labels with `;` between). Where sounds lie in Parquet or HDF5 files
    also group (row group, null for HDF5), row and column.
    Augmented views have rows of their own, with the columns that `sondino.corpus.views` explains.
    """

    folder: Path
    table: pa.Table
    clip: float
    """Longest clip in seconds."""
    hash: str
    """Of ids, contents and stretches; not of where the files lie, so a moved corpus keeps its targets."""
    root: str
    skipped: list[tuple[str, str]] = field(default_factory=list)
    """(path, reason) of what was left out."""
    facts: dict[str, Any] = field(default_factory=dict)
    """corpus.json: counts, tails left out, views and their seed."""

    def __len__(self) -> int:
        return len(self.table)

    @property
    def scale(self) -> Scale:
        """Whether floats that are whole numbers are divided by their full scale."""
        return "auto" if self.facts.get("scale") == "auto" else "none"

    @property
    def views(self) -> int:
        """Augmented views of each clip."""
        return int(self.facts.get("views", 0))

    def column(self, name: str) -> NDArray[Any]:
        """A column as an array (rows,).

        A corpus without views gives their columns as of clips as they are; one without labels or splits gives None.
        """
        if name in self.table.column_names:
            return self.table[name].to_numpy()
        if name == "base_row":
            return np.arange(len(self))
        return np.full(len(self), ABSENT[name])

    def labels(self) -> RowLabels:
        """The labels of each row: none, one, or several, which a cell joins by `;`."""
        return row_labels(self.column("label"))

    def label_hash(self) -> str:
        """Of labels and splits, which `hash` leaves out so that targets outlive a new label."""
        joined = ["\0".join(map(str, self.column(name))) for name in ("label", "split")]
        return hashlib.sha256("\1".join(joined).encode()).hexdigest()

    def ids(self, rows: Sequence[int] | NDArray[np.integer] | slice = slice(None)) -> list[str]:
        """Ids of some rows, or of all."""
        column = self.table["id"]
        if isinstance(rows, slice):
            first, stop, _ = rows.indices(len(self))
            return column.slice(first, max(0, stop - first)).to_pylist()
        return column.take(pa.array(np.asarray(rows, dtype=np.int64))).to_pylist()


ABSENT: dict[str, Any] = {
    "label": None,
    "split": None,
    "view": np.int32(0),
    "crop": 0.0,
    "gain": 0.0,
    "mix_row": np.int64(-1),
    "mix_crop": 0.0,
    "mix_gain": 0.0,
    "speed": 1.0,
    "backwards": False,
}
"""What a column that a corpus does not have holds in every row."""


def build_corpus(
    audio: str | os.PathLike[str],
    out: str | os.PathLike[str],
    clip: float = 10.0,
    workers: int | None = None,
    progress: Report = lambda done, total: None,
    scale: Scale = "none",
    labels_of: LabelsOf | None = None,
) -> Corpus:
    """Make the table of clips of a collection of sound, in `out`: corpus.parquet, corpus.json, skipped.csv.

    Headers are read and files hashed in threads; nothing is decoded. A file longer than a clip gives clips back to
    back, the last one moved back to end with the file, so that every clip of a long file is whole; a tail under 5 %
    of a clip is left out and counted. A file with the same bytes as an earlier one is left out. One that cannot be
    read never stops the rest: skipped.csv gives the reason, as of what a folder's search passed over. Made again from
    the same sound, the table stays as it is.

    Args:
        audio: folder, tar file, Parquet file with audio inside, HDF5 file of PANNs' layout, one audio file, or a folder
            of such files; also as a URL (`s3://`, `gs://`, `hf://`, `https://`), which fsspec opens. Or a CSV or
            Parquet list (path; optional id, start, end or duration, label, split), whose paths start from its folder.
            Where it gives no labels, those of label tracks (Audacity) and selection tables (Raven) beside recordings
            are the labels of the clips that share half of the shorter of both.
        out: folder for the table.
        clip: seconds of the longest clip.
        workers: threads that read headers; None: four a processor, at most 32.
        progress: called with (files looked at, files in all).
        scale: "auto" divides floats whose peak in the file is over 8, whole numbers or not, by 2^15, 2^23 or 2^31.
        labels_of: takes names of sounds, and gives for each (key, labels joined by `;`, split), or None where it is not
            known: that sound is left out. `sondino.tasks.audioset.labels.labels_by_id` makes one.

    Raises:
        AudioError: there is nothing there, or nothing that can be decoded.
        OptionError: a bad list or clip length.
        RunError: `out` holds a corpus of other sound or of another clip length, or cannot be written.

    Examples:
        >>> corpus = sondino.corpus.build_corpus("recordings", "my_corpus", clip=1.0)
        >>> len(corpus)
        9
    """
    if not clip > 0:
        raise OptionError(f"clip is {clip}: give seconds above 0")
    began = time.perf_counter()
    out = Path(out)
    if not_utf8(str(out)):
        raise OptionError(f"{out}: the folder's name is not UTF-8: give another one")
    listing = list_audio(audio) if labels_of is None else relabel(list_audio(audio), labels_of)
    make_folder(out)
    with lock_or_fail(out, "corpus", "building the corpus in"), crash_marks(out):
        files, row_of = scan(listing, out, workers, progress)
        table, skipped, tails = _clip_rows(listing, files, row_of, clip)
        table, notes = _with_track_labels(table, listing.root)
        if len(table) == 0:
            raise AudioError(
                f"none of the {len(listing.entries)} files of {audio} can be used; the first, {skipped[0][0]}: "
                f"{skipped[0][1]}"
            )
        facts = {
            "format": CORPUS_FORMAT,
            "hash": content_hash(table, clip, scale),
            "clip": clip,
            **({} if scale == "none" else {"scale": scale}),
            "root": listing.root,
            "root_from_here": _from_here(listing.root, out),
            "clips": len(table),
            "files": len(pc.unique(table["content"])),
            "seconds": round(float(pc.sum(table["duration"]).as_py()), 3),
            "skipped": len(skipped),
            "tails_left_out": tails,
            **({"notes": [*listing.notes, *notes]} if listing.notes or notes else {}),
        }
        return save_corpus(out, table, facts, skipped, round(time.perf_counter() - began, 3))


def _with_track_labels(table: pa.Table, root: str) -> tuple[pa.Table, list[str]]:
    """The table with the labels that lie beside its recordings, where it has none of its own; and notes."""
    if is_url(root) or "label" in table.column_names or not len(table):
        return table, []
    spans = [table[name].to_numpy() for name in ("start", "duration")]
    labels, notes = track_labels(Path(root), table["path"].to_pylist(), *spans)
    return (table.append_column("label", pa.array(labels, pa.string())) if any(labels) else table), notes


def save_corpus(
    out: Path, table: pa.Table, facts: dict[str, Any], skipped: list[tuple[str, str]], seconds: float
) -> Corpus:
    """Write a corpus, or keep the same one that is there; corpus.json comes last and makes it count."""
    if (out / "corpus.json").exists():
        old = open_corpus(out)
        if old.hash != facts["hash"]:
            raise RunError(_differences(old, table, facts))
        if old.table.equals(table) and old.root == facts["root"] and old.skipped == skipped:
            return old
    write_table(out / "corpus.parquet", table)
    write_skipped(out / "skipped.csv", skipped)
    write_json(out / "corpus.json", facts | {"seconds_to_build": seconds})
    return open_corpus(out)


def open_corpus(folder: str | os.PathLike[str]) -> Corpus:
    """Open the corpus that `build_corpus` or `add_views` wrote into a folder.

    Args:
        folder: of the corpus.

    Raises:
        RunError: there is none, or a file of it is damaged.

    Examples:
        >>> built = sondino.corpus.build_corpus("recordings", "my_corpus", clip=1.0)
        >>> sondino.corpus.open_corpus("my_corpus").ids(slice(0, 1))
        ['bass_dnb_f.ogg']
    """
    folder = Path(folder)
    if not (folder / "corpus.json").exists():
        raise RunError(f"{folder} holds no corpus: make one with `sondino corpus AUDIO --out {folder}`")
    facts = read_json(folder / "corpus.json")
    if facts.get("format") != CORPUS_FORMAT:
        raise RunError(f"{folder} holds a corpus of another format ({facts.get('format')}): build it again")
    try:
        # One chunk a column: rows are looked up one by one.
        with (folder / "corpus.parquet").open("rb") as opened:  # pyarrow takes no name that is not UTF-8
            # Threads of pyarrow that hold a Python file may abort the process at its end ("terminate called ...").
            parquet = require("pyarrow.parquet", "train")
            table = parquet.read_table(opened, use_threads=False, pre_buffer=False).combine_chunks()
        with (folder / "skipped.csv").open(newline="", encoding="utf-8", errors="surrogateescape") as lines:
            skipped = [(row["path"], row["reason"]) for row in read_csv(lines)]
    except (OSError, ValueError, pa.ArrowException, KeyError, csv.Error) as error:
        raise RunError(f"{folder} holds a damaged corpus ({error}): remove it and build it again") from error
    root = facts["root"]
    if not is_url(root) and not Path(root).exists() and facts.get("root_from_here") is not None:
        root = os.path.normpath(folder / facts["root_from_here"])  # sound and corpus were moved together
    return Corpus(folder, table, float(facts["clip"]), facts["hash"], root, skipped, facts)


def content_hash(table: pa.Table, clip: float, scale: Scale = "none") -> str:
    """What a table's clips are: their ids, contents, stretches and views, the clip length and the scale."""
    digest = hashlib.sha256(f"{CORPUS_FORMAT} {clip!r}{'' if scale == 'none' else f' {scale}'}".encode())
    for name in (*HASHED, *HASHED_VIEWS):
        if name not in table.column_names:
            continue
        digest.update(name.encode())
        column = table[name]
        if pa.types.is_string(column.type):
            for begin in range(0, len(column), 65_536):
                digest.update("".join(f"{v}\0" for v in column.slice(begin, 65_536).to_pylist()).encode())
        else:
            digest.update(np.ascontiguousarray(column.to_numpy()).tobytes())
    return digest.hexdigest()


def _clip_rows(
    listing: Listing, files: pa.Table, row_of: NDArray[np.int64], clip: float
) -> tuple[pa.Table, list[tuple[str, str]], dict[str, float]]:
    """The table of clips, what was left out, and how many tails were."""
    entries = listing.entries
    names = entries["id"] if "id" in entries.column_names else entries["path"]
    names = pc.coalesce(names, entries["path"]).combine_chunks()
    found = files.take(pa.array(row_of))
    seconds = found["seconds"].to_numpy()
    start = _numbers(entries, "start", 0.0)
    end = np.minimum(start + _numbers(entries, "duration", np.inf), seconds)
    faults: dict[int, str] = {}
    bad = pc.is_valid(found["reason"]).to_numpy()
    for row in np.flatnonzero(bad):
        faults[int(row)] = found["reason"][int(row)].as_py()
    for row in np.flatnonzero(~bad & ~((start >= 0) & (end > start))):
        faults[int(row)] = (
            f"the list asks for {start[row]:g} s to {end[row]:g} s of a file of {seconds[row]:g} s"
            if start[row] < seconds[row]
            else f"the list asks for sound from {start[row]:g} s, and the file ends at {seconds[row]:g} s"
        )
    good = np.ones(len(entries), dtype=bool)
    good[list(faults)] = False
    # The same bytes and the same stretch of them: one clip, whatever the files are called.
    contents = found["content"].combine_chunks().dictionary_encode().indices.to_numpy(zero_copy_only=False)
    edges = [np.rint(np.where(good, edge, 0) * 1e6) for edge in (start, end)]
    stretch = np.stack([contents.astype(np.int64), *edges], 1)
    kept = np.flatnonzero(good)
    # What a list has in two parts is in the one that trains least: test clips never train.
    order = kept[np.argsort(_part_ranks(entries)[kept], kind="stable")]
    _, first, inverse = np.unique(stretch[order].astype(np.int64), axis=0, return_index=True, return_inverse=True)
    original = order[first[inverse.reshape(-1)]]
    for row, same in zip(order.tolist(), original.tolist(), strict=True):
        if row != same:
            faults[row] = _duplicate(entries, names, row, same)
    kept = np.sort(order[order == original])
    tested = _parts_of_test(entries, kept, stretch)
    for row in kept[tested].tolist():
        faults[row] = "overlaps a stretch of the same sound that the list has in test"
    kept = kept[~tested]
    skipped = listing.skipped + [(names[row].as_py(), faults[row]) for row in sorted(faults)]

    entry, starts, durations, tails = _clip_spans(kept, start[kept], end[kept], clip)
    rows = pa.array(entry)
    columns = {
        "id": pa.array(_clip_ids(names, entry, starts, row_of, listing), pa.string()),
        "path": entries["path"].take(rows),
        "start": pa.array(starts),
        "duration": pa.array(durations),
        "sample_rate": found["sample_rate"].take(rows),
        "content": found["content"].take(rows),
    }
    further = (*PLACE_COLUMNS[1:], "label", "split")
    columns |= {name: entries[name].take(rows) for name in further if name in entries.column_names}
    return pa.table(columns).combine_chunks(), skipped, tails


def _part_ranks(entries: pa.Table) -> NDArray[np.int64]:
    """A number (rows,) for each row's part: 0 for test, 1 for validation, 2 for training."""
    if "split" not in entries.column_names:
        return np.zeros(len(entries), dtype=np.int64)
    ranks = {"test": 0, "valid": 1, "train": 2}
    return np.array([ranks[SPLITS[split or ""]] for split in entries["split"].to_pylist()], dtype=np.int64)


def _parts_of_test(entries: pa.Table, kept: NDArray[np.int64], stretch: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Which kept rows (kept,) are not in test and share sound with one that is.

    Args:
        entries: of the listing.
        kept: rows.
        stretch: content, start and end (rows, 3) of each row, in microseconds.
    """
    tested = np.zeros(len(kept), dtype=bool)
    ranks = _part_ranks(entries)[kept]
    if ranks.all() or not ranks.any():
        return tested
    spans: dict[int, list[tuple[float, float]]] = {}
    for content, start, end in stretch[kept[ranks == 0]].tolist():
        spans.setdefault(content, []).append((start, end))
    for place in np.flatnonzero(ranks):
        content, start, end = stretch[kept[place]].tolist()
        tested[place] = any(start < last and first < end for first, last in spans.get(content, ()))
    return tested


def _duplicate(entries: pa.Table, names: pa.Array, row: int, same: int) -> str:
    """Why a row is left out that holds the sound of another: an error where the list contradicts itself."""
    name = names[same].as_py()
    for column in ("split", "label"):
        if column in entries.column_names:
            own, other = entries[column][row].as_py(), entries[column][same].as_py()
            if own != other:
                return f"the same sound as {name}, whose {column} is {other or 'empty'} and not {own or 'empty'}"
    return f"{DUPLICATE}{name}"


def _numbers(entries: pa.Table, name: str, default: float) -> NDArray[np.float64]:
    if name not in entries.column_names:
        return np.full(len(entries), default)
    values = pc.fill_null(entries[name], default).to_numpy()
    return np.where(np.isnan(values), default, values)


def _clip_spans(
    entry: NDArray[np.int64], start: NDArray[np.float64], end: NDArray[np.float64], clip: float
) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.float64], dict[str, float]]:
    """Clips of each stretch: its entry, start and duration; and the tails that were left out."""
    length = end - start
    full = np.floor(length / clip + 1e-9).astype(np.int64)
    rest = np.maximum(length - full * clip, 0)
    extra = (full == 0) | (rest >= SHORTEST_TAIL * clip)
    count = full + extra
    which = np.repeat(np.arange(len(entry)), count)
    number = np.arange(len(which)) - np.repeat(np.cumsum(count) - count, count)
    last = (number == count[which] - 1) & extra[which]
    starts: NDArray[np.float64] = np.where(
        last, np.maximum(end[which] - clip, start[which]), start[which] + number * clip
    )
    lost = ~extra & (rest > 1e-3)  # under a millisecond is how durations round
    tails = {"clips": int(lost.sum()), "seconds": round(float(rest[lost].sum()), 3)}
    # To the microsecond: below a sample at any rate, and the same number on every machine.
    starts = starts.round(6)
    durations: NDArray[np.float64] = np.minimum(length[which], clip).round(6)
    return entry[which], starts, durations, tails


def _clip_ids(
    names: pa.Array,
    entry: NDArray[np.int64],
    starts: NDArray[np.float64],
    row_of: NDArray[np.int64],
    listing: Listing,
) -> list[str]:
    """The name of each clip's file; with its start where several clips share the name."""
    chosen = names.take(pa.array(entry))
    code = chosen.dictionary_encode().indices.to_numpy(zero_copy_only=False)
    shared = np.bincount(code)[code] > 1 if len(code) else np.zeros(0, dtype=bool)
    ids = chosen.to_pylist()
    for row in np.flatnonzero(shared).tolist():
        ids[row] = f"{ids[row]}@{starts[row]:.3f}"
    if len(set(ids)) < len(ids):
        _check_repeats(ids, row_of[entry])
        seen: dict[str, int] = {}
        for row, name in enumerate(ids):  # stretches of one file that begin within a millisecond
            seen[name] = seen.get(name, 0) + 1
            if seen[name] > 1:
                ids[row] = f"{name}~{seen[name]}"
    return ids


def _check_repeats(ids: Sequence[str], file: NDArray[np.int64]) -> None:
    owner: dict[str, int] = {}
    for name, own in zip(ids, file.tolist(), strict=True):
        if owner.setdefault(name, own) != own:
            raise OptionError(f"the list gives the id {name} to two files: give every clip an id of its own")


def _from_here(root: str, out: Path) -> str | None:
    if is_url(root):
        return None
    try:
        return os.path.relpath(root, out.absolute())
    except ValueError:  # another drive of Windows
        return None


def _differences(old: Corpus, table: pa.Table, facts: dict[str, Any]) -> str:
    """The error for a folder that holds a corpus of other sound."""
    found = []
    if old.clip != facts["clip"]:
        found.append(f"its clips are {old.clip:g} s long, not {facts['clip']:g} s")
    for name in ("views", "seed", "scale"):
        if old.facts.get(name) != facts.get(name):
            found.append(f"{name} was {old.facts.get(name)}, now {facts.get(name)}")
    if not found:
        before, now = old.table["id"].combine_chunks(), table["id"].combine_chunks()
        for text, one, other in (("new", now, before), ("gone", before, now)):
            only = one.filter(pc.invert(pc.is_in(one, value_set=other)))
            if len(only):
                found.append(f"{len(only)} clips are {text} (such as {only[0].as_py()})")
    reason = "; ".join(found) or "some files have changed"
    return f"{old.folder} holds a corpus of other sound: {reason}; give another folder, or remove that one"
