"""What is given to embed or classify: every file once, with its id."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath

from sondino.audio.fragment import stretch_of
from sondino.audio.walk import nothing_usable, search_audio
from sondino.errors import OptionError


@dataclass(frozen=True)
class Input:
    """A file to embed: its id in the table, its path, its size (bytes) and its time of change (nanoseconds)."""

    id: str
    path: str
    size: int
    changed: int


def list_inputs(inputs: str | Path | Sequence[str | Path]) -> tuple[list[Input], list[tuple[str, str]]]:
    """Every file once, in the order given, with its id; and (path, reason) of what was passed over.

    Raises:
        AudioError: an input does not exist or holds no audio.
        OptionError: there are no inputs.
    """
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
    return files, list(skipped)


def reason_of(file: Input, error: BaseException) -> str:
    """Why a file failed, without its path: that stands beside the reason."""
    return str(error).removeprefix(f"{file.path}: ")
