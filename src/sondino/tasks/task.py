"""What a task is: a labelled data set its published split, and where it comes from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from sondino.tasks.labelled import Labelled

Domain = Literal["environment", "music", "speech", "own"]
Metric = Literal["accuracy", "mAP"]


@dataclass(frozen=True)
class Archive:
    """One file to fetch.

    Attributes:
        name: of the file; the parts of one archive in several come one after another, in order.
        url: where it is published.
        size: bytes.
        checksum: "md5:..." or "sha256:...", as it is published.
        unpacked: bytes that come out of it at most; more is refused. Of an archive in parts, the last one's counts.
        strip: folders at the beginning of its members' names that are left out.
    """

    name: str
    url: str
    size: int
    checksum: str
    unpacked: int
    strip: int = 0


@dataclass(frozen=True)
class Task:
    """A data set to probe models on.

    Attributes:
        name: on the command line, such as "esc50".
        title: what its authors call it.
        about: what is classified, in a few words.
        domain: kind of sound, for averages; "own" for a user's.
        clips: how many its authors say there are in the parts that are used.
        classes: how many labels.
        multi_label: whether a clip may have several.
        hours: of sound; None where not known.
        licence: of the sounds.
        homepage: where it comes from.
        folders: names that its folder may have under ROOT; the first is the one that is fetched into.
        marks: files or folders below it, any of which shows that it is there.
        archives: what `sondino tasks --fetch` downloads; () where it cannot.
        how: what to do where nothing can be fetched, a message; "" elsewhere.
        read: its folder -> labelled clips. Files that are missing are in `Labelled.skipped`.
    """

    name: str
    title: str
    about: str
    domain: Domain
    clips: int
    classes: int
    multi_label: bool
    hours: float | None
    licence: str
    homepage: str
    folders: tuple[str, ...]
    marks: tuple[str, ...]
    archives: tuple[Archive, ...]
    how: str
    read: Callable[[Path], Labelled]

    @property
    def metric(self) -> Metric:
        """What it is scored by: mean average precision where clips have several labels, else accuracy."""
        return "mAP" if self.multi_label else "accuracy"

    @property
    def size(self) -> int:
        """Bytes to fetch; 0 where nothing can be."""
        return sum(archive.size for archive in self.archives)
