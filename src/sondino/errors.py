"""The errors that users get: each message names the file or option at fault and what to do."""

import difflib
import errno
import importlib
from collections.abc import Iterable
from pathlib import Path
from types import ModuleType


class SondinoError(Exception):
    """Anything wrong with what the user gave; the command line prints its message and nothing else.

    Examples:
        >>> try:
        ...     sondino.load("nowhere")
        ... except sondino.SondinoError as error:
        ...     print(type(error).__name__)
        OptionError
    """


class AudioError(SondinoError):
    """A file or array that cannot be decoded."""


class OptionError(SondinoError):
    """An unknown name or a value out of range."""


class MissingExtra(SondinoError):
    """An optional dependency is not installed; the message is the pip line."""


class EncoderError(SondinoError):
    """A teacher or student that breaks the encoder contract (NaN, wrong shape, changed dimension)."""


class RunError(SondinoError):
    """A folder of ours that is in use, incomplete, or was made with other settings."""


class Note(UserWarning):
    """What a user may want to know and need not mend; the command line prints it as it does the notes of results."""


def unknown_name(what: str, name: str, valid: Iterable[str]) -> OptionError:
    """An OptionError that names the nearest valid names, and all of them."""
    names, name = sorted(valid), name[:200]
    near = difflib.get_close_matches(name, names, n=3, cutoff=0.4)
    hint = f"did you mean {' or '.join(near)}? " if near else ""
    return OptionError(f"unknown {what} {name!r}: {hint}valid names are {', '.join(names)}")


def require(module: str, extra: str) -> ModuleType:
    """Import a module of an optional extra, or raise MissingExtra with the pip line.

    Args:
        module: dotted module name, such as "torch".
        extra: the extra of ours that installs it, such as "train".
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        root = module.partition(".")[0]
        if error.name is not None and error.name.partition(".")[0] != root:
            raise  # the module is there, but broken inside: its own message says more
        raise MissingExtra(f"{root} is not installed: pip install 'sondino[{extra}]'") from error


def require_extra(extra: str) -> None:
    """Raise MissingExtra, with the pip line, if a package of an optional extra is not installed.

    Args:
        extra: one of the extras that this package's metadata list, such as "train".
    """
    import re
    from importlib import metadata  # slow to import, and most commands need no extra

    for requirement in metadata.requires("sondino") or ():
        package, _, marker = requirement.partition(";")
        if re.search(rf"extra == ['\"]{extra}['\"]", marker):
            name = re.split(r"[^\w.-]", package.strip())[0]
            try:
                metadata.version(name)
            except metadata.PackageNotFoundError as error:
                raise MissingExtra(f"{name} is not installed: pip install 'sondino[{extra}]'") from error


def check_regular(file: Path) -> None:
    """Raises OSError for a folder, a pipe or a device: to open a pipe may wait for ever."""
    if file.exists() and not file.is_file():
        raise OSError(errno.EINVAL, "it is not a file")


def content_elsewhere(file: Path) -> str | None:
    """What to do where the content of a file is not on this machine; None where it is, or where there is no such file.

    git-annex, DVC, Git LFS and the hub's cache have links in the place of large files, or small files with their names.
    """
    if file.is_symlink() and not file.exists():
        return (
            f"{file} is a link to {file.readlink()}, which is not there: fetch its content first (git-annex: "
            f"`git annex get`, DVC: `dvc pull`), or copy the folder from its machine with `cp -rL`"
        )
    if not file.exists() and file.with_name(f"{file.name}.dvc").exists():
        return f"{file} is not there, only {file.name}.dvc: fetch it first with `dvc pull`"
    try:
        check_regular(file)
        with file.open("rb") as opened:
            head = opened.read(40)
    except OSError:
        return None
    for begins, command in ((b"/annex/objects/", "git annex get"), (b"version https://git-lfs.github", "git lfs pull")):
        if head.startswith(begins):
            return f"{file} has only a pointer to its content: fetch that first with `{command}`"
    return None
