"""What is given to embed or classify: every sound once, with its id.

Files and folders, lists (CSV, Parquet), tar files and folders of them, Parquet and HDF5 files with audio inside,
addresses of stores, and http(s) addresses of one sound.
"""

import os
import re
import shutil
import tempfile
import weakref
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path, PurePath, PurePosixPath
from typing import Literal
from urllib.parse import unquote, urlsplit

from sondino.audio.decoded import FilePart
from sondino.audio.fragment import path_of, stretch_of
from sondino.audio.reading import info
from sondino.audio.tars import tar_sounds, why_unread
from sondino.audio.walk import nothing_usable, search_audio
from sondino.embedding.stored import TABLES, StoredSound, holds_sounds, stored_sounds
from sondino.encoder.inputs import Sound
from sondino.errors import AudioError, OptionError, SondinoError
from sondino.hub.download import Bytes, Remote, download
from sondino.lists import SUFFIXES as LISTS
from sondino.lists import read_list
from sondino.text import first_line

Channel = int | Literal["mean", "each"]
"""Which channel of a file is taken: its number from 1, the mean of all, or each by itself."""

Given = str | Path | FilePart
"""A file, a folder, a list, a tar file, an address, or what `fetch` gives of one."""

ADDRESS = re.compile(r"https?://", re.IGNORECASE)


@dataclass(frozen=True)
class Input:
    """A sound to embed.

    Attributes:
        id: in the table.
        path: as it was found: of a member of a tar file that of the tar file and its own, or an address.
        size: bytes.
        changed: its time of change (nanoseconds).
        sound: what is read.
        channel: that is taken, from 1; None: the mean of all.
    """

    id: str
    path: str
    size: int
    changed: int
    sound: Sound
    channel: int | None = None


@dataclass(frozen=True)
class _Found:
    """A sound: what it is read from, its id, and its id where that is not the only one of its name."""

    sound: str | FilePart
    id: str
    whole: str

    @property
    def path(self) -> str:
        return self.sound.name if isinstance(self.sound, FilePart) else self.sound


class ListedInputs:
    """Inputs that several functions take, one after the other: they are listed once, when the first of them asks."""

    def __init__(self, inputs: Given | Sequence[Given], channel: Channel = "mean") -> None:
        self._inputs, self._channel = inputs, channel

    @cached_property
    def found(self) -> tuple[list[Input], list[tuple[str, str]]]:
        """What `list_inputs` gives of them."""
        return list_inputs(self._inputs, self._channel)


_Skipped = dict[tuple[str, str], None]


def list_inputs(
    inputs: Given | Sequence[Given] | ListedInputs, channel: Channel = "mean"
) -> tuple[list[Input], list[tuple[str, str]]]:
    """Every sound once, in the order given, with its id; and (path, reason) of what was passed over.

    Args:
        inputs: files, folders, lists, tar files and addresses; or a `ListedInputs`, made with the same channel.
        channel: with "each", a file is there once for each of its channels.

    Raises:
        AudioError: an input does not exist or holds no audio.
        OptionError: there are no inputs, or a list is refused.
        SondinoError: an address cannot be fetched.
    """
    if isinstance(inputs, ListedInputs):
        return inputs.found
    check_channel_option(channel)
    found: dict[str, _Found] = {}
    skipped: _Skipped = {}
    for given in [inputs] if isinstance(inputs, (str, Path, FilePart)) else inputs:
        for sound in _sounds_of(given, skipped):
            found.setdefault(sound.path, sound)
    names = [sound.id for sound in found.values()]
    # Two folders may hold files of the same name: then all ids are full paths.
    unique = len(set(names)) == len(names)
    files = []
    for path, sound in found.items():
        size, changed = _stamp_of(sound.sound)
        files.append(Input(sound.id if unique else sound.whole, path, size, changed, sound.sound))
    if not files and skipped:
        raise nothing_usable(list(skipped))
    if not files:
        raise OptionError("no input was given: name files or folders")
    return _with_channels(files, channel), list(skipped)


def sounds_of(given: Path | None) -> Path | list[str | FilePart] | None:
    """What a list or a tar file holds; any other file, and a folder, as it is.

    Raises:
        AudioError: it holds no audio.
        OptionError: a list is refused.
    """
    if given is None or not given.is_file() or given.suffix.lower() not in (*LISTS, ".tar"):
        return given
    return [file.sound for file in list_inputs(given)[0] if isinstance(file.sound, str | FilePart)]


def _stamp_of(sound: str | FilePart) -> tuple[int, int]:
    """Size and time of change; of an address its size alone."""
    try:
        facts = Path(sound.file if isinstance(sound, FilePart) else stretch_of(sound).file).stat()
    except OSError:
        return 0, 0  # removed since it was listed: reading it reports that
    if isinstance(sound, StoredSound):
        return sound.size, sound.changed
    if isinstance(sound, FilePart):
        fetched = ADDRESS.match(sound.name)
        return facts.st_size if sound.length is None else sound.length, 0 if fetched else facts.st_mtime_ns
    return facts.st_size, facts.st_mtime_ns


def _sounds_of(given: Given, skipped: _Skipped) -> Iterator[_Found]:
    """The sounds that one input stands for."""
    if isinstance(given, str) and is_one_sound(given):
        given = fetch(given)
    if isinstance(given, FilePart):
        yield _Found(given, given.name, given.name)
        return
    path = Path(given)
    if "://" in str(given) or holds_sounds(path):
        yield from _of_source(str(given), skipped, "")
    elif path.suffix.lower() in LISTS and path.is_file():
        yield from _of_list(path, skipped)
    elif path.suffix.lower() == ".tar" and path.is_file():
        before = len(skipped)
        sounds = list(_of_tar(path, "", skipped))
        if not sounds and len(skipped) == before:
            raise AudioError(
                f"{path}: no audio found in this tar file; names must end in .wav, .flac, .mp3 or the like"
            )
        yield from sounds
    else:
        searched = search_audio(given, tars=True, tables=True)
        skipped |= dict.fromkeys(searched.skipped)
        inside = path.is_dir()
        tables = [file for file in searched.tables if holds_sounds(file)]
        if searched.tables and not (searched.files or searched.tars or searched.skipped or tables):
            raise AudioError(f"{given}: no audio found in this folder; files must end in .wav, .flac, .mp3 or the like")
        for file in searched.files:
            whole = PurePath(file).as_posix()
            yield _Found(str(file), PurePath(file).relative_to(given).as_posix() if inside else whole, whole)
        for shard in searched.tars:
            yield from _of_tar(shard, f"{shard.relative_to(given).as_posix()}/", skipped)
        for table in tables:
            folder = table.relative_to(given).parent.as_posix()
            yield from _of_source(str(table), skipped, "" if folder == "." else f"{folder}/")


def is_one_sound(address: str) -> bool:
    """Whether an address is of a file to fetch, and not of a folder or of a file with several sounds."""
    ends = urlsplit(address).path.lower()
    return bool(ADDRESS.match(address)) and not ends.endswith(("/", ".tar", *TABLES))


def _of_source(given: str, skipped: _Skipped, before: str) -> Iterator[_Found]:
    """The sounds of a store's address, or of a file with audio inside; `before` stands in front of their ids."""
    found, passed_over = stored_sounds(given)
    skipped |= dict.fromkeys(passed_over)
    for name, sound in found:
        yield _Found(sound, f"{before}{name}", sound.name)


def _of_tar(shard: Path, before: str, skipped: _Skipped) -> Iterator[_Found]:
    """The sounds in a tar file; `before` stands in front of their names in ids."""
    whole = shard.as_posix()
    try:
        for member in tar_sounds(shard):
            name = member.name.removeprefix("./")
            if reason := why_unread(member):
                skipped[f"{whole}/{name}", reason] = None
            else:
                part = FilePart(f"{whole}/{name}", str(shard), member.offset_data, member.size)
                yield _Found(part, f"{before}{name}", part.name)
    except Exception as error:  # tarfile's own errors, and what a damaged header makes of numbers and names
        reason = f"not a whole, uncompressed tar file ({first_line(error)}): what came before is used"
        skipped[str(shard), reason] = None


def _of_list(file: Path, skipped: _Skipped) -> Iterator[_Found]:
    """The sounds of a list: paths relative to its folder, or addresses; with start, end and duration stretches."""
    rows = read_list(file, {})
    rows.warn()
    skipped |= dict.fromkeys(rows.skipped)
    ids = rows.text.get("id", [""] * len(rows))
    twice = next((name for name, count in Counter(ids).items() if name and count > 1), None)
    if twice is not None:
        raise OptionError(f"{file} has the id {twice} twice: give each row its own, or remove the column")
    nothing: list[float | None] = [None] * len(rows)
    starts, durations = rows.seconds.get("start", nothing), rows.seconds.get("duration", nothing)
    fetched: dict[str, FilePart] = {}
    for row, (path, name, start, duration) in enumerate(zip(rows.text["path"], ids, starts, durations, strict=True)):
        first = start or 0.0
        if first < 0 or (duration is not None and duration <= 0):
            reason = "its end is not after its start" if first >= 0 else f"its start is {first:g} s, before the file's"
            skipped[f"{rows.place(row)} of {file.name}", reason] = None
            continue
        named = path_of(path, first, duration)
        if not ADDRESS.match(path):
            whole = path_of(os.path.normpath(file.parent / path), first, duration)
            yield _Found(whole, name or PurePath(named).as_posix(), PurePath(whole).as_posix())
            continue
        try:
            if path not in fetched:
                fetched[path] = fetch(path)
        except SondinoError as error:
            skipped[path, str(error)] = None
            continue
        part = replace(fetched[path], name=named, start=first, duration=duration)
        yield _Found(part, name or named, named)


def fetch(address: str, progress: Bytes | None = None) -> FilePart:
    """A sound at an http(s) address, in a temporary file that is removed once nothing refers to the result.

    Args:
        address: of one file of sound.
        progress: called with (bytes so far, bytes in all or None).

    Raises:
        SondinoError: it cannot be fetched, or the server does not state its size.
    """
    folder = _TemporaryFolder()
    name = PurePosixPath(unquote(urlsplit(address).path)).name or "sound"
    file = folder.path / re.sub(r"[^\w.-]", "_", name)[-100:]
    by_hand = "save it to a file first, or give a live stream to `sondino listen`"
    download(Remote(address, address, by_hand, bounded=True), file, progress)
    return FilePart(address, str(file), owner=folder)


class _TemporaryFolder:
    """A folder that is removed with this object, or at the end of the process."""

    def __init__(self) -> None:
        self.path = Path(tempfile.mkdtemp(prefix="sondino-"))
        weakref.finalize(self, shutil.rmtree, self.path, True)


def _with_channels(files: list[Input], channel: Channel) -> list[Input]:
    if channel == "mean":
        return files
    if channel != "each":
        return [replace(file, channel=channel) for file in files]
    return [replace(file, channel=number) for file in files for number in range(1, _channels_of(file) + 1)]


def _channels_of(file: Input) -> int:
    try:
        return max(1, info(file.sound).channels)  # type: ignore[arg-type]
    except SondinoError:
        return 1  # reading it reports why


def check_channel_option(channel: object) -> None:
    """Raises OptionError where a channel is neither "mean", "each" nor a number from 1."""
    if channel not in ("mean", "each") and (isinstance(channel, bool) or not isinstance(channel, int) or channel < 1):
        raise OptionError(f"channel is {channel}: give mean, each or a number from 1")


def reason_of(file: Input, error: BaseException) -> str:
    """Why a file failed, without its path: that stands beside the reason. Of a stretch an error names the file."""
    return str(error).removeprefix(f"{file.path}: ").removeprefix(f"{stretch_of(file.path).file}: ")
