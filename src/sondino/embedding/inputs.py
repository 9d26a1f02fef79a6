"""What is given to embed or classify: every file once, with its id."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePath
from typing import Literal

from sondino.audio.fragment import stretch_of
from sondino.audio.reading import info
from sondino.audio.walk import nothing_usable, search_audio
from sondino.errors import OptionError, SondinoError

Channel = int | Literal["mean", "each"]
"""Which channel of a file is taken: its number from 1, the mean of all, or each by itself."""


@dataclass(frozen=True)
class Input:
    """A file to embed.

    Attributes:
        id: in the table.
        path: as it was found.
        size: bytes.
        changed: its time of change (nanoseconds).
        channel: that is taken, from 1; None: the mean of all.
    """

    id: str
    path: str
    size: int
    changed: int
    channel: int | None = None


def list_inputs(
    inputs: str | Path | Sequence[str | Path], channel: Channel = "mean"
) -> tuple[list[Input], list[tuple[str, str]]]:
    """Every file once, in the order given, with its id; and (path, reason) of what was passed over.

    Args:
        inputs: files and folders.
        channel: with "each", a file is there once for each of its channels.

    Raises:
        AudioError: an input does not exist or holds no audio.
        OptionError: there are no inputs.
    """
    check_channel_option(channel)
    found: dict[str, tuple[str, str]] = {}  # path -> (id, id when that is not enough)
    skipped: dict[tuple[str, str], None] = {}
    for given in [inputs] if isinstance(inputs, (str, Path)) else inputs:
        searched = search_audio(given)
        skipped |= dict.fromkeys(searched.skipped)
        inside = Path(given).is_dir()
        for path in searched.files:
            whole = PurePath(path).as_posix()
            name = PurePath(path).relative_to(given).as_posix() if inside else whole
            found.setdefault(str(path), (name, whole))
    names = [name for name, _ in found.values()]
    # Two folders may hold files of the same name: then all ids are full paths.
    unique = len(set(names)) == len(names)
    files = []
    for file, (name, whole) in found.items():
        try:
            facts = Path(stretch_of(file).file).stat()
            size, changed = facts.st_size, facts.st_mtime_ns
        except OSError:
            size = changed = 0  # removed since it was listed: reading it reports that
        files.append(Input(name if unique else whole, file, size, changed))
    if not files and skipped:
        raise nothing_usable(list(skipped))
    if not files:
        raise OptionError("no input was given: name files or folders")
    return _with_channels(files, channel), list(skipped)


def _with_channels(files: list[Input], channel: Channel) -> list[Input]:
    if channel == "mean":
        return files
    if channel != "each":
        return [replace(file, channel=channel) for file in files]
    return [replace(file, channel=number) for file in files for number in range(1, _channels_of(file) + 1)]


def _channels_of(file: Input) -> int:
    try:
        return max(1, info(file.path).channels)
    except (SondinoError, OSError):
        return 1  # reading it reports why


def check_channel_option(channel: object) -> None:
    """Raises OptionError where a channel is neither "mean", "each" nor a number from 1."""
    if channel not in ("mean", "each") and (isinstance(channel, bool) or not isinstance(channel, int) or channel < 1):
        raise OptionError(f"channel is {channel}: give mean, each or a number from 1")


def reason_of(file: Input, error: BaseException) -> str:
    """Why a file failed, without its path: that stands beside the reason."""
    return str(error).removeprefix(f"{file.path}: ")
