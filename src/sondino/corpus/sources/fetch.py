"""The bytes of many places in the order that costs least: a shard front to back, a row group in one pass."""

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from pathlib import Path
from typing import BinaryIO

from sondino.corpus.sources.hdf5 import read_clips
from sondino.corpus.sources.listing import Opener, Place, failing, in_memory, is_url, joined
from sondino.corpus.sources.parquet import GroupReader, read_group
from sondino.corpus.sources.stores import HEADER_BLOCK, SMALL, WINDOW_BLOCK, Blocks, RangeFile, Remote
from sondino.corpus.sources.tars import remote_members
from sondino.errors import AudioError, SondinoError
from sondino.text import first_line

_Numbered = list[tuple[int, Place]]


class Fetcher:
    """Opens places of one listing. Used by one thread at a time; what it gives may be opened in any.

    Between calls it keeps its place in one row group, so that rows read in their order cost one pass.
    """

    def __init__(self, root: str, scanning: bool = False) -> None:
        """Open nothing yet.

        Args:
            root: of the listing or corpus.
            scanning: whether headers are wanted, and not stretches of sound.
        """
        self.root, self.scanning = root, scanning
        self._group: GroupReader | None = None
        self._key: tuple[str, int | None, str | None] | None = None
        self._object: tuple[Place, Callable[[], Blocks]] | None = None

    def fetch(self, places: Sequence[Place]) -> Iterator[tuple[int, Opener]]:
        """Each place's number in `places`, and how to open it, one by one; in which order, each layout decides."""
        together: dict[tuple[str, int | None, str | None], _Numbered] = {}
        for number, place in enumerate(places):
            if place.row is not None or (place.offset is not None and is_url(joined(self.root, place.path))):
                together.setdefault((place.path, place.group, place.column), []).append((number, place))
            else:
                yield number, self._alone(place)
        for (path, group, _), numbered in together.items():
            where = joined(self.root, path)
            file = Remote(where) if is_url(where) else Path(where)
            if numbered[0][1].row is None:
                assert isinstance(file, Remote)
                yield from remote_members(file, numbered, self._alone)
            elif group is None:
                yield from read_clips(file, numbered)
            else:
                yield from self._rows(file, numbered)

    def close(self) -> None:
        """Close what is open."""
        if self._group is not None:
            self._group.close()
        self._group = self._key = None

    def __enter__(self) -> "Fetcher":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _alone(self, place: Place) -> Opener:
        """A file, a member of a tar on this machine, or in a store an object or a large member."""
        path = joined(self.root, place.path)
        if not is_url(path):
            return (lambda: nullcontext(path)) if place.offset is None else (lambda: _member(path, place))
        if self._object is None or self._object[0] != place:
            block = HEADER_BLOCK if self.scanning else WINDOW_BLOCK
            # A WAV says at its beginning how long it is: even a small one is not read whole for that.
            small = 0 if self.scanning and path.lower().endswith(".wav") else SMALL
            remote = Remote(path, place.length if place.offset is None else None)
            self._object = place, _once(lambda: Blocks(remote, block, place.offset or 0, place.length, small))
        shared = self._object[1]  # clips of one recording follow one another
        return lambda: nullcontext(RangeFile(shared()))  # type: ignore[arg-type]

    def _rows(self, file: Path | Remote, numbered: _Numbered) -> Iterator[tuple[int, Opener]]:
        numbered = sorted(numbered, key=lambda one: one[1].row or 0)
        first = numbered[0][1]
        key = (first.path, first.group, first.column)
        assert first.row is not None and first.group is not None and first.column is not None
        if self._group is None or self._key != key or first.row < self._group.at:
            self.close()
            try:
                self._group, self._key = GroupReader(file, first.group, first.column), key
            except Exception as error:  # pyarrow raises many kinds on damaged bytes
                known = isinstance(error, SondinoError | FileNotFoundError)
                reason = AudioError(f"cannot be read as Parquet ({first_line(error)}): write it again")
                for number, _ in numbered:
                    yield number, failing(error if known else reason)
                return
        yield from read_group(self._group, numbered)


def _once(make: Callable[[], Blocks]) -> Callable[[], Blocks]:
    """What `make` gives, made when it is first wanted, in the thread that wants it."""
    lock = threading.Lock()
    made: list[Blocks] = []

    def get() -> Blocks:
        with lock:
            if not made:
                made.append(make())
            return made[0]

    return get


def _member(path: str, place: Place) -> AbstractContextManager[BinaryIO]:
    with open(path, "rb") as shard:  # noqa: PTH123
        shard.seek(place.offset or 0)
        return in_memory(shard.read(place.length))()  # type: ignore[return-value]


_last = threading.local()


@contextmanager
def open_source(root: str, place: Place) -> Iterator[str | BinaryIO]:
    """One place as something that `sondino.audio` reads: a local path or an open file.

    Each thread keeps its place in one row group of Parquet: rows read one by one in their order cost one pass.
    """
    fetcher = getattr(_last, "fetcher", None)
    if fetcher is None or fetcher.root != root:
        if fetcher is not None:
            fetcher.close()
        fetcher = _last.fetcher = Fetcher(root)
    with ExitStack() as stack:
        for _, opener in fetcher.fetch([place]):
            yield stack.enter_context(opener())
