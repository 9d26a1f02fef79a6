"""Sounds that lie in stores, and in Parquet and HDF5 files, as what is embedded."""

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, BinaryIO

from sondino.audio.decoded import FilePart
from sondino.errors import AudioError, SondinoError
from sondino.text import format_error

TABLES = (".parquet", ".h5", ".hdf5")
"""Files that may have audio inside."""


@dataclass(frozen=True)
class StoredSound(FilePart):
    """A sound that `sondino.corpus.sources` lists.

    Attributes:
        root: that the place's path starts from.
        place: fields of the place.
        size: bytes, where they are known.
        changed: a number that is another one when the sound has changed.
    """

    root: str = ""
    place: tuple[Any, ...] = ()
    size: int = 0
    changed: int = 0

    @contextmanager
    def opened(self) -> Iterator[BinaryIO]:
        """The bytes as a file by themselves, read as they are needed."""
        from sondino.corpus.sources import Place, open_source

        try:
            with open_source(self.root, Place(*self.place)) as source:
                assert not isinstance(source, str)  # a file of this machine is given by its path
                yield source
        except SondinoError:
            raise
        except Exception as error:  # a store's own errors
            raise AudioError(f"{self.name}: cannot be read ({format_error(error)})") from error


def holds_sounds(file: Path) -> bool:
    """Whether a file has audio inside, as hubs and PANNs write it; False of a list or a table of embeddings."""
    if file.suffix.lower() not in TABLES or not file.is_file() or find_spec("pyarrow") is None:
        return False
    from sondino.corpus.sources import holds_sound

    try:
        return bool(holds_sound(file))
    except SondinoError:
        return False  # what reads it as a list says what is wrong with it


def stored_sounds(given: str) -> tuple[list[tuple[str, StoredSound]], list[tuple[str, str]]]:
    """The sounds of an address or of a file with audio inside, each with its id; and (path, reason) of others.

    Raises:
        AudioError: there is nothing there.
        MissingExtra: what opens it is not installed.
    """
    from sondino.corpus.sources import IDENTITY, list_audio, places_of

    listing = list_audio(given)
    entries = listing.entries
    places = places_of(entries)
    paths = [place.path for place in places]
    ids = entries["id"].to_pylist() if "id" in entries.column_names else paths
    identities = entries[IDENTITY].to_pylist() if IDENTITY in entries.column_names else [None] * len(paths)
    stamps: dict[str, tuple[int, int]] = {}
    found = []
    for place, name, identity in zip(places, ids, identities, strict=True):
        path = f"{listing.root.rstrip('/')}/{name or place.path}"
        if identity is not None:
            stamp = place.length or 0, int.from_bytes(hashlib.sha256(identity.encode()).digest()[:6])
        else:
            stamp = stamps.setdefault(place.path, _stamp(os.path.join(listing.root, place.path)))  # noqa: PTH118
        fields = (place.path, place.offset, place.length, place.group, place.row, place.column)
        sound = StoredSound(path, "", root=listing.root, place=fields, size=stamp[0], changed=stamp[1])
        found.append((name or place.path, sound))
    return found, listing.skipped


def _stamp(file: str) -> tuple[int, int]:
    try:
        facts = os.stat(file)  # noqa: PTH116
    except OSError:
        return 0, 0
    return facts.st_size, facts.st_mtime_ns
