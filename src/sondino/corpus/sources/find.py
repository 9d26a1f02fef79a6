"""What was given as audio: a folder, a list, tar files, tables with audio inside, one file; here or in a store."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from sondino.audio.walk import OTHER, SUFFIXES, TABLES, find_audio, nothing_usable, search_audio, why_unread_name
from sondino.corpus.sources.hdf5 import has_waveforms, list_hdf5
from sondino.corpus.sources.listing import (
    IDENTITY,
    NOT_UTF8,
    Listing,
    is_url,
    make_entries,
    not_utf8,
    strings,
)
from sondino.corpus.sources.parquet import has_audio, list_parquet
from sondino.corpus.sources.stores import Remote, describe, find_objects, name_in
from sondino.corpus.sources.tars import list_tars
from sondino.errors import AudioError, OptionError, require
from sondino.lists import SUFFIXES as LIST_SUFFIXES
from sondino.lists import read_list

if TYPE_CHECKING:
    import pyarrow as pa
else:
    pa = require("pyarrow", "train")

UNUSED = {"fold": "a corpus has none: write split (train, valid, test), or remove the column"}
"""Columns of other lists -> what to do where a list of a corpus has them."""
HDF5 = (".h5", ".hdf5")
UNKNOWN_NAME = "its name does not say whether it is audio: give it a suffix such as .wav"


def list_audio(given: str | os.PathLike[str]) -> Listing:
    """Find the sound in what was given.

    A folder, a tar file, a Parquet file with audio inside, an HDF5 file, one audio file: here, or as a URL that fsspec
    opens; or a CSV or Parquet list, here.

    Raises:
        AudioError: there is nothing there, or no sound in it; the message says what can be given.
        OptionError: a list without a column path, or with a column or value that would not be used.
    """
    if isinstance(given, str) and is_url(given):
        return _list_store(given)
    path = Path(given).absolute()
    if not os.path.lexists(path):
        raise AudioError(
            f"{given} does not exist: give a folder of audio, a CSV or Parquet list with a column path, or a tar file"
        )
    name = path.name.lower()
    if not_utf8(str(path)):
        raise OptionError(f"{given}: the name of the folder or file is not UTF-8: rename it")
    if path.is_dir():
        return _list_folder(path)
    if name.endswith(".tar") or (name.endswith(TABLES) and holds_sound(path)) or name.endswith(HDF5):
        return _list_packed(str(path.parent), make_entries([]), [(path.name, path)], [])
    if name.endswith(LIST_SUFFIXES):
        return _list_rows(path)
    return Listing(str(path.parent), make_entries([file.name for file in find_audio(path)]))


def _list_folder(folder: Path) -> Listing:
    found = search_audio(folder, tars=True, tables=True)
    inside = len(os.path.join(folder, ""))  # noqa: PTH118
    files = [str(file)[inside:].replace(os.sep, "/") for file in found.files]
    strange = {file for file in files if not_utf8(file)}
    skipped = [(path[inside:], reason) for path, reason in found.skipped]
    skipped += [(file, NOT_UTF8) for file in files if file in strange]
    loose = make_entries([file for file in files if file not in strange])
    tables = [file for file in found.tables if holds_sound(file)]
    if not found.files and not found.tars and not tables:
        if found.skipped:
            raise nothing_usable(found.skipped)
        # With every table among them, the message says why the first is none.
        tables = found.tables
    elif any(file.suffix.lower() == one.suffix.lower() for file in found.tables for one in tables):
        tables = found.tables  # beside tables of sound, one without is passed over by name
    packed = [(str(file)[inside:].replace(os.sep, "/"), file) for file in [*found.tars, *tables]]
    return _list_packed(str(folder), loose, packed, skipped)


def holds_sound(file: Path | Remote) -> bool:
    """Whether a Parquet or HDF5 file has audio inside."""
    name = _name(file)
    return has_waveforms(file) if name.endswith(HDF5) else name.endswith(".parquet") and has_audio(file)


def _name(file: Path | Remote) -> str:
    return (file.url if isinstance(file, Remote) else file.name).lower()


def _list_packed(
    root: str, loose: pa.Table, packed: Sequence[tuple[str, Path | Remote]], skipped: list[tuple[str, str]]
) -> Listing:
    """Loose files, and what is in files that hold several sounds.

    Args:
        root: that all paths start from.
        loose: entries of the loose files.
        packed: path and file of each of the others.
        skipped: what was passed over so far.
    """
    if not packed:
        return Listing(root, loose, skipped)
    if len(loose):
        loose = loose.append_column("id", loose["path"])
    tables = [loose]
    for read, suffixes in ((list_tars, (".tar",)), (list_parquet, (".parquet",)), (list_hdf5, HDF5)):
        files = [(path, file) for path, file in packed if path.lower().endswith(suffixes)]
        if files:
            entries, passed_over = read(files)
            tables.append(entries)
            skipped = [*skipped, *passed_over]
    entries = pa.concat_tables([table for table in tables if len(table)] or tables, promote_options="default")
    if len(entries) == 0:
        kinds = "tar files" if all(path.lower().endswith(".tar") for path, _ in packed) else "files"
        reason = f"{skipped[0][0]}: {skipped[0][1]}" if skipped else "names must end in .wav, .flac or the like"
        raise AudioError(f"no audio found in the {kinds} of {root}; {reason}")
    return Listing(root, entries, skipped)


# --- lists --------------------------------------------------------------------------------------------------------


def _list_rows(file: Path) -> Listing:
    rows = read_list(file, UNUSED)
    if len(rows) == 0:
        raise AudioError(f"{file} lists no files")
    root, paths = _relative(file.parent, rows.text["path"])
    more: dict[str, pa.Array] = {
        name: strings(rows.text[name]) for name in ("id", "label", "split") if name in rows.text
    }
    if "labels" in rows.text:
        more["label"] = strings(rows.text["labels"])
    more |= {name: pa.array(values, pa.float64()) for name, values in rows.seconds.items()}
    urls = list(dict.fromkeys(path for path in paths if is_url(path)))
    lengths = None
    if urls:
        known = {url: found for url, found in zip(urls, describe(urls), strict=True) if isinstance(found, Remote)}
        objects = [known.get(path) for path in paths]  # what cannot be described is opened, and its reason is listed
        lengths = [found.size if found else None for found in objects]
        more[IDENTITY] = strings([found.identity if found else None for found in objects])
    return Listing(root, make_entries(paths, None, lengths, **more), rows.skipped, rows.notes())


def _relative(folder: Path, paths: Sequence[str]) -> tuple[str, list[str]]:
    """The folder that all local paths lie in, and the paths from there; so a moved corpus keeps its identity."""
    whole = [path if is_url(path) else os.path.normpath(folder / path) for path in paths]
    homes = {os.path.dirname(path) for path in whole if not is_url(path)} | {str(folder)}  # noqa: PTH120
    try:
        root = os.path.commonpath(homes)
    except ValueError:  # two drives of Windows
        return str(folder), whole
    return root, [path if is_url(path) else Path(path).relative_to(root).as_posix() for path in whole]


# --- stores -------------------------------------------------------------------------------------------------------


def _list_store(url: str) -> Listing:
    if url.lower().endswith(LIST_SUFFIXES[:1]):
        raise OptionError(f"{url}: a list is read from this machine: download it, and write URLs in its column path")
    found = _sized(find_objects(url))
    alone = len(found) == 1 and found[0].url.rstrip("/") == url.rstrip("/")
    if alone and url.lower().endswith(".parquet") and not holds_sound(found[0]):
        raise OptionError(
            f"{url}: holds no audio inside, or cannot be read. If it is a list: a list is read from this machine; "
            "download it, and write URLs in its column path"
        )
    root = url.rstrip("/").rpartition("/")[0] if alone else url.rstrip("/")
    files: list[Remote] = []
    packed: list[tuple[str, Remote]] = []
    skipped: list[tuple[str, str]] = []
    for remote in found:
        name = name_in(root, remote.url)
        suffix = os.path.splitext(name.lower())[1]  # noqa: PTH122
        if any(part.startswith(".") for part in name.split("/")):
            continue
        reason = why_unread_name(name, take_tars=True)
        if not_utf8(name):
            skipped.append((name, NOT_UTF8))
        elif reason:
            skipped.append((name, reason))
        elif suffix == ".tar" or suffix in TABLES:
            packed.append((remote.url.removeprefix(root + "/"), remote))
        elif suffix in SUFFIXES or alone:
            files.append(remote)
        elif suffix not in OTHER:
            skipped.append((name, UNKNOWN_NAME))
    tables = [one for one in packed if one[0].lower().endswith(TABLES) and (alone or holds_sound(one[1]))]
    if files or any(path.lower().endswith(".tar") for path, _ in packed) or tables:
        kinds = {os.path.splitext(path.lower())[1] for path, _ in tables}  # noqa: PTH122
        packed = [
            one
            for one in packed
            if one[0].lower().endswith(".tar") or os.path.splitext(one[0].lower())[1] in kinds  # noqa: PTH122
        ]
    if not files and not packed:
        if skipped:
            raise nothing_usable(skipped)
        raise AudioError(f"{url}: no audio found below this address; names must end in .wav, .flac or the like")
    return _list_packed(root, _objects(root, files), packed, skipped)


def _sized(remotes: Sequence[Remote]) -> list[Remote]:
    """Objects with size and ETag; those that a listing gives without, as a web server's does, are asked for it."""
    unknown = [remote.url for remote in remotes if remote.size is None]
    known = dict(zip(unknown, describe(unknown), strict=True)) if unknown else {}
    described = [known.get(remote.url, remote) for remote in remotes]
    # What cannot be described is opened all the same, and its reason is listed then.
    return [one if isinstance(one, Remote) else remote for one, remote in zip(described, remotes, strict=True)]


def _objects(root: str, files: Sequence[Remote]) -> pa.Table:
    """Entries of objects."""
    return make_entries(
        [remote.url.removeprefix(root + "/") for remote in files],
        None,
        [remote.size for remote in files],
        **{IDENTITY: strings([remote.identity for remote in files])},
    )
