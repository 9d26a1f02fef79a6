"""The file of a checkpoint, before anything of it is read. Needs no torch."""

from pathlib import Path

from sondino.errors import OptionError


def first_bytes(path: Path) -> bytes:
    """The first 64 bytes of a checkpoint's file.

    Raises:
        OptionError: there is no such file, it is a folder, it is empty, or it cannot be read.
    """
    if not path.exists():
        raise OptionError(f"there is no file {path}: give a .ckpt, .pt, .pth or .safetensors file")
    if path.is_dir():
        raise OptionError(f"{path} is a folder: give the checkpoint's file in it")
    try:
        with path.open("rb") as file:
            start = file.read(64)
    except OSError as error:
        raise OptionError(f"{path} cannot be read ({error.strerror}): check its permissions") from error
    if not start:
        raise OptionError(f"{path} is empty: fetch it again")
    return start
