"""The sounds in uncompressed tar files, found without unpacking."""

import os
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from sondino.audio.walk import OTHER, SNIFFED, SUFFIXES, is_audio
from sondino.files import DUPLICATE


def tar_sounds(shard: Path) -> Iterator[tarfile.TarInfo]:
    """The members of a tar file that are sound by their name, or by their first bytes where the name does not say."""
    with shard.open("rb") as opened:
        for member, is_sound in tar_members(opened, shard.stat().st_size):
            if is_sound:
                yield member


def tar_members(opened: BinaryIO, whole: int) -> Iterator[tuple[tarfile.TarInfo, bool]]:
    """The members of an open tar file of `whole` bytes, and whether each is sound, as `tar_sounds` decides."""
    with tarfile.open(fileobj=opened, mode="r:") as tar:
        for member in tar:
            # The rest cannot be found where a member's size is nonsense.
            if not 0 <= member.size <= whole:
                raise tarfile.ReadError(f"{member.name!r} would be {member.size} bytes long")
            suffix = os.path.splitext(member.name)[1].lower()  # noqa: PTH122 - names, not files
            is_sound = suffix in SUFFIXES and not member.isdir()
            if not is_sound and suffix not in OTHER and member.isreg():
                is_sound = is_audio(read_member(opened, member, SNIFFED))
            yield member, is_sound


def read_member(opened: BinaryIO, member: tarfile.TarInfo, most: int) -> bytes:
    """The first bytes of a member, at most so many; the place in the file stays."""
    place = opened.tell()
    opened.seek(member.offset_data)
    content = opened.read(min(member.size, most))
    opened.seek(place)
    return content


def why_unread(member: tarfile.TarInfo) -> str:
    """Why a member of a tar file is not read; "" where it is."""
    if member.islnk():
        return f"{DUPLICATE}{member.linkname}"
    if member.issym():
        return f"a link to {member.linkname}, not a file: pack files with `tar -h`"
    if not member.isreg():
        return "not a plain file"
    return "packed as a sparse file, which is not read: pack it without `tar -S`" if member.issparse() else ""
