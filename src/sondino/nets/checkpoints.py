"""Reading the checkpoints of others: tensors and plain values, never code.

A .ckpt, .pt or .pth file is a pickle, and a pickle can run anything. Here PyTorch's restricted reader builds tensors,
containers, numbers and text, and beside those only what `ALLOWED` lists. A file that needs more raises OptionError.
"""

import argparse
import io
import operator
import os
import pickletools
import re
import warnings
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any

import torch
from torch import Tensor

from sondino.errors import OptionError, SondinoError, require
from sondino.nets.checkpoint_file import first_bytes
from sondino.text import first_line

ALLOWED: tuple[type, ...] = (argparse.Namespace,)
"""M2D's checkpoints keep their training options in one. Unpickling it only sets attributes."""

_KNOWN = re.compile(
    r"argparse\.Namespace|collections\.(OrderedDict|Counter)|_codecs\.encode|builtins\.(set|bytearray|complex)"
    r"|torch\.\w+|torch\._utils\._rebuild\w+|torch\._tensor\._rebuild\w+|torch\.nn\.parameter\.Parameter"
    r"|torch\.serialization\._get_layout|torch\.storage\.\w+"
)
"""What the restricted reader builds anyway; this only keeps such names out of the error message."""

_OTHERS = (
    (b"version https://git-lfs", "is only a pointer to a file in Git LFS: run `git lfs pull` where it came from"),
    (b"<", "is a web page and not the file itself: download it again, by its direct link"),
)


def read_state(path: str | os.PathLike[str]) -> dict[str, Tensor]:
    """The tensors of a checkpoint by name; a dict of them under "state_dict" or "model" is opened.

    Raises:
        OptionError: as `read_checkpoint`, or the file holds no tensors by name.
    """
    return state_dict(read_checkpoint(path), path)


def state_dict(content: Any, path: str | os.PathLike[str]) -> dict[str, Tensor]:
    """The tensors by name in what `read_checkpoint` gave.

    Args:
        content: what a checkpoint holds.
        path: its file, for the message.

    Raises:
        OptionError: there are none.
    """
    for key in ("state_dict", "model"):
        if isinstance(content, dict) and isinstance(content.get(key), dict):
            content = content[key]
    found = content.items() if isinstance(content, dict) else ()
    tensors = {name: value for name, value in found if isinstance(name, str) and isinstance(value, Tensor)}
    if not tensors:
        raise OptionError(f"{os.fspath(path)} holds no state dict: save the model's state_dict() and give that")
    for name, tensor in tensors.items():
        if tensor.layout is not torch.strided or tensor.device.type != "cpu" or tensor.is_quantized:
            raise OptionError(f"{os.fspath(path)}: {name} is no plain tensor of numbers: save the weights as float32")
    return tensors


def read_checkpoint(path: str | os.PathLike[str]) -> Any:
    """All of a .ckpt, .pt, .pth or .safetensors file; what it is, its content decides and not its name.

    Args:
        path: the file.

    Returns:
        what was saved: most often a dict. Of a safetensors file, the tensors by name.

    Raises:
        OptionError: there is no such file, it is no checkpoint, it is damaged, or it asks for more than tensors and
            plain values.
        MissingExtra: safetensors is not installed.
    """
    path = Path(path)
    start = first_bytes(path)
    for beginning, what in _OTHERS:
        if start.lstrip().startswith(beginning):
            raise OptionError(f"{path} {what}")
    try:
        if path.suffix == ".safetensors" or start[8:9] == b"{":
            return require("safetensors.torch", "train").load_file(path)
        if start.startswith(b"PK"):
            _check_archive(path)
        with torch.serialization.safe_globals([*ALLOWED]), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of pickle protocols; what cannot be read is refused below
            return torch.load(path, map_location="cpu", weights_only=True)
    except SondinoError:
        raise
    except (OSError, RuntimeError, MemoryError) as error:
        reason = first_line(error)[:160].rstrip(".")
        raise OptionError(f"{path} cannot be read as a checkpoint ({reason}): fetch it again") from error
    except Exception as error:  # a reader that meets nonsense fails in any way, and safetensors has its own
        raise OptionError(_refusal(path, start)) from error


def _check_archive(path: Path) -> None:
    """Refuse a zip that is damaged, is no checkpoint, or would unpack to more than it holds."""
    damaged = OptionError(f"{path} is cut short or damaged: fetch it again")
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
            claimed = sum(entry.file_size for entry in entries)
            # PyTorch does not check the checksums, and would load wrong weights.
            if claimed <= path.stat().st_size and archive.testzip() is not None:
                raise damaged
    # What zipfile raises for archives that are cut, altered, encrypted or packed in a way it does not know.
    except (zipfile.BadZipFile, zlib.error, NotImplementedError, ValueError, RuntimeError, EOFError) as error:
        raise damaged from error
    names = {entry.filename.rpartition("/")[2] for entry in entries}
    if "constants.pkl" in names:
        raise OptionError(f"{path} is a TorchScript program and not a checkpoint: save its state_dict() and give that")
    if "data.pkl" not in names:
        raise OptionError(f"{path} is a zip archive and not a checkpoint: unpack it, and give the file inside")
    if claimed > path.stat().st_size:
        raise OptionError(f"{path} claims to unpack to more than it holds, as no checkpoint does: fetch it again")
    sizes = {entry.filename: entry.file_size for entry in entries}
    if len({name.lower() for name in sizes}) < len(entries):  # PyTorch's reader of zips looks at no case
        raise damaged
    for name in sizes:
        if name.endswith("data.pkl"):
            _check_storages(path, name, sizes)


def _check_storages(path: Path, name: str, sizes: Mapping[str, int]) -> None:
    """Refuse a pickle of an archive whose tensors claim more bytes than their entries hold.

    Until torch 2.8 such a tensor is made, and whoever reads it reads what lies behind in memory.
    """
    folder = name.removesuffix("data.pkl")
    try:
        with zipfile.ZipFile(path) as archive, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of typed storages, which every checkpoint names
            ids = [value for kind, value in _references(io.BytesIO(archive.read(name))) if kind == "storage"]
            claims = [(f"{folder}data/{key}", key.isascii(), _bytes_of(of, count)) for _, of, key, _, count in ids]
    except Exception as error:  # opcodes that make no sense, or an id that PyTorch does not write
        raise OptionError(_refusal(path, b"PK")) from error
    if not all(plain and 0 <= claimed <= sizes.get(entry, 0) for entry, plain, claimed in claims):
        raise OptionError(f"{path} claims larger tensors than it holds, as no checkpoint does: fetch it again")


def _bytes_of(storage: str, count: int) -> int:
    """Bytes of `count` numbers of a storage, such as "torch.FloatStorage"; an untyped one has bytes."""
    kind = getattr(torch, storage.rpartition(".")[2])
    return operator.index(count) * getattr(kind, "dtype", torch.uint8).itemsize


def _refusal(path: Path, start: bytes) -> str:
    """The error message for a file that the restricted reader refused."""
    wanted = list(dict.fromkeys(name for name in _global_names(path, start) if not _KNOWN.fullmatch(name)))[:3]
    if not wanted:
        return f"{path} is no checkpoint, or a damaged one: fetch it again, or give a .ckpt, .pt, .pth or .safetensors"
    return (
        f"{path} asks to use {', '.join(wanted)} when it is opened, which could run code, and was not opened: if you "
        "trust it, save its state dict alone where those are installed, and give that file"
    )


def _global_names(path: Path, start: bytes) -> Iterator[str]:
    """The names that a checkpoint's pickles refer to, as `module.name`; nothing is built or called."""
    try:
        for file in _pickles(path, start):
            for kind, name in _references(file):
                if kind == "global":
                    name = name.replace("__builtin__.", "builtins.")  # as Python 2 called it, and protocol 2 still does
                    yield re.sub(r"[^\w.<>]", "?", name)[:80]  # no control characters of a stranger's file
    except Exception:  # a damaged pickle: what was found until there counts
        return


def _pickles(path: Path, start: bytes) -> Iterator[IO[bytes]]:
    """Files that stand at the start of each pickle of a checkpoint."""
    if start.startswith(b"PK"):
        with zipfile.ZipFile(path) as archive:
            for name in archive.namelist():
                if name.endswith("data.pkl"):
                    yield io.BytesIO(archive.read(name))
    else:
        with path.open("rb") as file:
            for _ in range(5):  # the old format: a magic number, a version, the system, the content, its keys
                yield file


def _references(file: IO[bytes]) -> Iterator[tuple[str, Any]]:
    """What a pickle refers to, by its opcodes: nothing is built or called.

    Yields:
        ("global", `module.name`), and ("storage", the persistent id) for a tensor's numbers outside of the pickle. An
        id is a tuple in which only constants and names are known; everything else is None.
    """
    stack: list[Any] = []
    below: list[list[Any]] = []  # what lies below each mark
    memo: dict[int, Any] = {}
    for operation, argument, _ in pickletools.genops(file):
        code = operation.name
        if code == "MARK":
            below.append(stack)
            stack = []
            continue
        before = [kind.name for kind in operation.stack_before]
        if "mark" in before:
            taken, stack, more = stack, below.pop(), before.index("mark")
        else:
            taken, more = [], len(before)
        taken = [stack.pop() for _ in range(more)][::-1] + taken
        at: Any = len(memo) if code == "MEMOIZE" else argument  # in the memo
        value: Any = None
        if code in ("GLOBAL", "INST", "STACK_GLOBAL"):
            value = ".".join(map(str, taken)) if code == "STACK_GLOBAL" else str(argument).replace(" ", ".")
            yield "global", value
        elif code in ("PERSID", "BINPERSID"):
            yield "storage", taken[0] if taken else argument
        elif code.startswith("TUPLE"):
            value = tuple(taken)
        elif code.endswith("GET"):
            value = memo[at]
        elif code in ("DUP", "MEMOIZE"):
            value = taken[0]
        elif not before and not code.startswith("EXT"):
            value = argument
        stack += [value] * len(operation.stack_after)
        if code.endswith("PUT") or code == "MEMOIZE":
            memo[at] = stack[-1]


def under(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The tensors whose names begin with a prefix, without it."""
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
