"""Uncompressed tar files, WebDataset's shards among them: members are read where they lie, here or in a store.

WebDataset joins the members of a sample up to the first dot of their names, so that `ID_30.000_40.000.wav` would lose
its end. Here a member's whole name is the id, and labels beside it (`.json`, `.cls`, `.txt`) are found by the last dot.
"""

import json
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from sondino.audio.tars import read_member, tar_members, why_unread
from sondino.corpus.sources.listing import (
    IDENTITY,
    NOT_UTF8,
    Opener,
    Place,
    failing,
    in_memory,
    make_entries,
    not_utf8,
    strings,
)
from sondino.corpus.sources.stores import (
    INDEX_BLOCK,
    SMALL,
    Blocks,
    RangeFile,
    Remote,
    read_span,
    sized,
)
from sondino.errors import SondinoError
from sondino.lists import BETWEEN_LABELS
from sondino.text import first_line

if TYPE_CHECKING:
    import pyarrow as pa

LABELS = (".json", ".cls", ".txt")
"""Suffixes of members with a sound's label, the first that there is."""
LARGEST_LABEL = 1 << 16
MERGED = 1 << 23
"""Bytes of neighbouring members that one request reads, at most."""
GAP = 1 << 16
"""Bytes between two members that are read along rather than asked around."""
AT_ONCE = 8
"""Tar files of a store that are looked through at once."""


@dataclass
class _Index:
    """What a tar file holds: its sounds, with their labels, and what was passed over."""

    members: list[tuple[str, int, int]] = field(default_factory=list)  # name, offset, length
    labels: dict[str, str] = field(default_factory=dict)
    skipped: list[tuple[str, str]] = field(default_factory=list)


def list_tars(shards: Sequence[tuple[str, Path | Remote]]) -> "tuple[pa.Table, list[tuple[str, str]]]":
    """The sounds of tar files.

    Args:
        shards: each one's path below the listing's root, and where it is.

    Returns:
        entries with id, and label where there are any; and what was passed over.
    """
    with ThreadPoolExecutor(AT_ONCE) as pool:
        found = list(pool.map(lambda shard: _index(*shard), shards))
    paths = [path for (path, _), index in zip(shards, found, strict=True) for _ in index.members]
    names = [f"{path}/{name}" for (path, _), index in zip(shards, found, strict=True) for name, _, _ in index.members]
    offsets = [offset for index in found for _, offset, _ in index.members]
    lengths = [length for index in found for _, _, length in index.members]
    more = {"id": strings(names)}
    if any(index.labels for index in found):
        more["label"] = strings([index.labels.get(name) for index in found for name, _, _ in index.members])
    if any(isinstance(place, Remote) for _, place in shards):
        marks = [place.identity if isinstance(place, Remote) else None for _, place in shards]
        more[IDENTITY] = strings([mark for mark, index in zip(marks, found, strict=True) for _ in index.members])
    return make_entries(paths, offsets, lengths, **more), [row for index in found for row in index.skipped]


def _index(path: str, place: Path | Remote) -> _Index:
    index = _Index()
    if not_utf8(path):
        index.skipped.append((path, NOT_UTF8))
        return index
    try:
        if isinstance(place, Remote):
            place = sized(place)
            shard: BinaryIO = RangeFile(Blocks(place, INDEX_BLOCK))  # type: ignore[assignment]
            whole = place.size or 0
        else:
            shard, whole = place.open("rb"), place.stat().st_size
        with shard:
            _look_through(path, shard, whole, index)
    except (FileNotFoundError, SondinoError) as error:
        reason = str(error) if isinstance(error, SondinoError) else "there is no such file"
        index.skipped.append((path, reason))
    except Exception as error:  # tarfile's own errors, and what a damaged header makes of numbers and names
        reason = first_line(error)
        index.skipped.append((path, f"not a whole, uncompressed tar file ({reason}): what came before was used"))
    return index


def _look_through(path: str, shard: BinaryIO, whole: int, index: _Index) -> None:
    notes: dict[str, dict[str, str]] = {}  # name without its suffix -> suffix -> label
    faults: dict[str, list[tuple[str, str]]] = {}  # the same -> (path, reason) of labels that cannot be read
    try:
        for member, is_sound in tar_members(shard, whole):
            name = member.name.removeprefix("./")
            stem, _, suffix = name.rpartition(".")
            if is_sound:
                reason = NOT_UTF8 if not_utf8(f"{path}/{name}") else why_unread(member)
                if reason:
                    index.skipped.append((f"{path}/{name}", reason))
                else:
                    index.members.append((name, member.offset_data, member.size))
            elif member.isreg() and stem and f".{suffix}" in LABELS and member.size <= LARGEST_LABEL:
                try:
                    label = read_label(f".{suffix}", read_member(shard, member, LARGEST_LABEL))
                except (ValueError, RecursionError) as error:
                    reason = f"its label cannot be read ({first_line(error)})"
                    faults.setdefault(stem, []).append((f"{path}/{name}", reason))
                else:
                    notes.setdefault(stem, {}).update({f".{suffix}": label} if label else {})
    finally:  # what came before the damage is used
        stems = {name.rpartition(".")[0] for name, _, _ in index.members}
        for name, _, _ in index.members:
            beside = notes.get(name.rpartition(".")[0])
            if beside:
                index.labels[name] = next(beside[suffix] for suffix in LABELS if suffix in beside)
        index.skipped += [fault for stem, found in faults.items() if stem in stems for fault in found]
        if index.labels:  # a shard of WebDataset; another tar may hold a note about anything
            index.skipped += [
                (f"{path}/{stem}{suffix}", "a label without a sound of its name")
                for stem, beside in notes.items()
                if stem not in stems
                for suffix in beside
            ]


def read_label(suffix: str, content: bytes) -> str:
    """The label in a file beside a sound; several with `;` between, "" where it holds none.

    Args:
        suffix: `.json`: `label` or `labels` of an object; `.cls`: a class; `.txt`: a label a line.
        content: of the file.

    Raises:
        ValueError: it is not what its name says.
    """
    text = content.decode("utf-8-sig")
    if suffix != ".json":
        return BETWEEN_LABELS.join(line.strip() for line in text.splitlines() if line.strip())
    value = json.loads(text)
    if not isinstance(value, dict):
        return ""
    found = value.get("label", value.get("labels"))
    cells = found if isinstance(found, list) else [found]
    return BETWEEN_LABELS.join(str(cell).strip() for cell in cells if isinstance(cell, str | int | float))


def remote_members(
    remote: Remote, places: Sequence[tuple[int, Place]], alone: Callable[[Place], Opener]
) -> Iterator[tuple[int, Opener]]:
    """Open members of a tar file in a store, front to back, small neighbours by one request.

    Args:
        remote: the tar file.
        places: number and place of each.
        alone: how to open a large one, which is read in blocks.

    Yields:
        number, and how to open it.
    """
    spans: list[list[tuple[int, Place]]] = []
    for number, place in sorted(places, key=lambda one: one[1].offset or 0):
        last = spans[-1] if spans else []
        near = last and _start(place) - _stop(last[-1][1]) <= GAP and _stop(place) - _start(last[0][1]) <= MERGED
        if near and max(place.length or 0, last[-1][1].length or 0) <= SMALL:
            last.append((number, place))
        else:
            spans.append([(number, place)])
    for span in spans:
        first, end = _start(span[0][1]), _stop(span[-1][1])
        if len(span) == 1 and end - first > SMALL:
            yield span[0][0], alone(span[0][1])
            continue
        try:
            data = read_span(remote, first, end)
        except (FileNotFoundError, SondinoError) as error:
            for number, _ in span:
                yield number, failing(error)
            continue
        for number, place in span:
            yield number, in_memory(data[_start(place) - first : _stop(place) - first])


def _start(place: Place) -> int:
    return place.offset or 0


def _stop(place: Place) -> int:
    return (place.offset or 0) + (place.length or 0)
