"""The sounds in uncompressed tar files, found without unpacking."""

import os
import tarfile
from collections.abc import Iterator
from pathlib import Path

from sondino.audio.walk import OTHER, SNIFFED, SUFFIXES, is_audio
from sondino.files import DUPLICATE


def tar_sounds(shard: Path) -> Iterator[tarfile.TarInfo]:
    """The members of a tar file that are sound by their name, or by their first bytes where the name does not say."""
    whole = shard.stat().st_size
    with shard.open("rb") as opened, tarfile.open(fileobj=opened, mode="r:") as tar:
        for member in tar:
            # The rest cannot be found where a member's size is nonsense.
            if not 0 <= member.size <= whole:
                raise tarfile.ReadError(f"{member.name!r} would be {member.size} bytes long")
            suffix = os.path.splitext(member.name)[1].lower()  # noqa: PTH122 - names, not files
            if suffix in SUFFIXES and not member.isdir():
                yield member
            elif suffix not in OTHER and member.isreg():
                place = opened.tell()
                opened.seek(member.offset_data)
                sound = is_audio(opened.read(min(member.size, SNIFFED)))
                opened.seek(place)
                if sound:
                    yield member


def why_unread(member: tarfile.TarInfo) -> str:
    """Why a member of a tar file is not read; "" where it is."""
    if member.islnk():
        return f"{DUPLICATE}{member.linkname}"
    if member.issym():
        return f"a link to {member.linkname}, not a file: pack files with `tar -h`"
    if not member.isreg():
        return "not a plain file"
    return "packed as a sparse file, which is not read: pack it without `tar -S`" if member.issparse() else ""
