"""The audio files of a folder, and what is passed over there, with the reason. No file is dropped silently."""

import errno
import os
import stat
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import sondino.raven as raven
from sondino.audio.fragment import stretch_of, why_no_stretch
from sondino.audio.mpeg import frame_header
from sondino.errors import AudioError

# fmt: off
SUFFIXES: frozenset[str] = frozenset({
    ".wav", ".wave", ".bwf", ".w64", ".rf64", ".bw64", ".flac", ".ogg", ".oga", ".ogx", ".opus", ".spx",
    ".mp3", ".mp2", ".mp1", ".mpa", ".m2a", ".aif", ".aiff", ".aifc", ".au", ".snd", ".caf", ".voc", ".sph", ".nist",
    ".m4a", ".m4b", ".m4r", ".m4p", ".mp4", ".m4v", ".aac", ".adts", ".ac3", ".eac3", ".dts", ".thd", ".mlp",
    ".webm", ".weba", ".mka", ".mkv", ".mov", ".3gp", ".3g2", ".3ga", ".f4a", ".f4v", ".flv", ".avi", ".ogv",
    ".wma", ".wmv", ".asf", ".amr", ".awb", ".ra", ".rm", ".mpg", ".mpeg", ".vob", ".mts", ".m2ts", ".mxf",
    ".wv", ".tta", ".ape", ".mpc", ".tak", ".shn", ".ofr", ".dsf", ".dff", ".aa", ".aax", ".oma", ".aa3", ".qcp",
    ".paf", ".latm",
})
"""Suffixes, lower case, of the files that a folder is searched for."""

RAW: frozenset[str] = frozenset({
    ".raw", ".pcm", ".sln", ".sln16", ".ul", ".ulaw", ".al", ".alaw", ".vox", ".adpcm", ".gsm", ".sd2",
    ".g722", ".g723", ".g726", ".g729",
})
"""Suffixes of samples without a header: what they are cannot be known from the file."""

ARCHIVES = (
    ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz", ".tar.zst", ".tzst", ".tar.lz4", ".tar.lzma", ".tar.z",
    ".zip", ".7z", ".rar",
)
"""Ends of the names of archives from which no clip can be read in place."""

COMPRESSED = (".gz", ".bz2", ".xz", ".zst", ".lz4")
"""Suffixes of single files that are compressed."""

LISTS = (".csv", ".tsv", ".parquet")
"""Suffixes of lists of sound, which are no sound themselves."""

TABLES = (".parquet", ".h5", ".hdf5")
"""Suffixes of files that may hold many sounds, one a row."""

OTHER: frozenset[str] = frozenset({
    ".txt", ".md", ".rst", ".csv", ".tsv", ".json", ".jsonl", ".yaml", ".yml", ".toml", ".xml", ".html", ".htm", ".css",
    ".js", ".py", ".pyc", ".ipynb", ".sh", ".bat", ".c", ".h", ".cpp", ".java", ".r", ".m", ".ini", ".cfg", ".log",
    ".lock", ".pdf", ".doc", ".docx", ".xls", ".xlsx", ".ods", ".odt", ".ppt", ".pptx", ".rtf", ".tex", ".bib",
    ".jpg", ".jpeg", ".png", ".gif", ".bmp", ".tif", ".tiff", ".svg", ".webp", ".ico", ".heic", ".psd",
    ".npy", ".npz", ".pt", ".pth", ".ckpt", ".safetensors", ".onnx", ".tflite", ".pkl", ".h5", ".hdf5", ".mat",
    ".parquet", ".feather", ".arrow", ".db", ".sqlite", ".lab", ".textgrid", ".jams", ".mid", ".midi", ".eaf",
    ".srt", ".vtt", ".cue", ".m3u", ".m3u8", ".pls", ".nfo", ".md5", ".sha1", ".sha256", ".url", ".lnk", ".gz", ".xz",
    ".bz2", ".zst", ".exe", ".dll", ".so", ".dylib", ".partial", ".cls",
})
"""Suffixes of files that are not opened to see what they are."""
# fmt: on

_BEGINNINGS = (
    *(b"fLaC", b"OggS", b"ID3", b"caff", b".snd", b"wvpk", b"TTA1", b"TTA2", b"MAC ", b"MPCK", b"MP+", b"DSD "),
    *(b"tBaK", b"ajkg", b"OFR ", b".RMF", b".ra\xfd", b"#!AMR", b"NIST_1A", b"Creative Voice File", b"FLV\x01"),
    *(b"\x1a\x45\xdf\xa3", b"\x30\x26\xb2\x75\x8e\x66\xcf\x11", b"\0\0\1\xba", b"\x7f\xfe\x80\x01"),
    b"riff\x2e\x91\xcf\x11",  # the GUID of a Wave64
)
_KINDS = {  # of a container whose kind stands eight bytes in
    b"RIFF": (b"WAVE", b"AVI "),
    b"RIFX": (b"WAVE",),
    b"RF64": (b"WAVE",),
    b"BW64": (b"WAVE",),
    b"FORM": (b"AIFF", b"AIFC", b"8SVX", b"16SV"),
}
_PICTURES = (b"heic", b"heix", b"heif", b"mif1", b"msf1", b"avif", b"crx ")
_TS_PACKETS = ((0, 188), (4, 192))
"""First byte and length of an MPEG transport stream's packets, which begin with the letter G (a camera's: a time)."""
SNIFFED = 1500  # a frame of MPEG audio and the header behind it
"""Bytes that `is_audio` looks at."""
_POINTER = b"version https://git-lfs.github.com/spec/"
_POINTER_BYTES = 1024
GONE = "there is no such file"
_NAMED = 3
"""Files that the warning of `find_audio` names."""


@dataclass(frozen=True)
class Found:
    """What a folder holds.

    Attributes:
        files: audio, sorted.
        tars: uncompressed tar files, sorted; empty unless they were asked for.
        tables: files of TABLES, sorted; empty unless they were asked for.
        skipped: (path, reason) of what may be audio and is not among them, sorted.
    """

    files: list[Path]
    tars: list[Path] = field(default_factory=list)
    skipped: list[tuple[str, str]] = field(default_factory=list)
    tables: list[Path] = field(default_factory=list)


def find_audio(path: str | os.PathLike[str]) -> list[Path]:
    """The audio files of a folder and its subfolders, sorted; or the one file that `path` is.

    A file named directly is taken whatever its suffix; in a folder `SUFFIXES` decides and, where the suffix is an
    unknown one, the file's first bytes. Names that start with a dot are left out. Links to folders are followed, each
    folder once. A warning names what could not be looked at: broken links, folders without permission, archives.

    Raises:
        AudioError: there is no such path, the folder cannot be read, or it holds no audio file.
    """
    found = search_audio(path)
    if not found.files:
        raise nothing_usable(found.skipped)
    if found.skipped:
        named = "; ".join(f"{name}: {reason}" for name, reason in found.skipped[:_NAMED])
        more = len(found.skipped) - _NAMED
        rest = f"; and {more} more" if more > 0 else ""
        warnings.warn(f"{len(found.skipped)} skipped in {path}: {named}{rest}", stacklevel=2)
    return found.files


def search_audio(path: str | os.PathLike[str], tars: bool = False, tables: bool = False) -> Found:
    """`find_audio` with what was passed over.

    Args:
        path: folder, or one file. One that cannot be used is among the skipped.
        tars: whether the caller reads uncompressed tar files; else they are among the skipped.
        tables: whether the caller looks into files of TABLES for sound.

    Raises:
        AudioError: there is no such path, or the folder holds no audio and nothing was skipped.
    """
    root = Path(path)
    whole = stretch_of(str(root)).file
    if whole != str(root):  # a stretch of a file
        found = search_audio(whole, tars)
        return Found([root], skipped=found.skipped) if found.files == [Path(whole)] else found
    try:
        state = os.stat(root)  # noqa: PTH116
    except (OSError, ValueError) as error:
        reason = why_unusable(root)
        if backwards := why_no_stretch(str(root)):
            raise AudioError(f"{root}: {backwards}") from error
        if reason == GONE:
            raise AudioError(f"{root}: no such file or folder; check the path") from error
        return Found([], skipped=[(str(root), reason)])
    if not stat.S_ISDIR(state.st_mode):
        reason = why_unusable(root, state) or _why_unread(str(root), tars)
        if not reason and root.suffix.lower() in LISTS:
            reason = (
                "a list, not audio: give the folder or the files; `sondino embed`, `classify`, `corpus` and `distill` "
                "read .csv and .parquet lists"
            )
        elif not reason and _is_selection_table(root):
            reason = (
                "a selection table of Raven, not audio: `probe`, `finetune` and `label` take it by --labels, `corpus` "
                "and `distill` read it beside its recording; with a column Begin File and a name that ends in .csv "
                "`embed` and `classify` read it as a list of sound"
            )
        return Found([], skipped=[(str(root), reason)]) if reason else Found([root])
    walk = _Walk(tars, tables)
    walk.run(str(root))
    found = Found(
        [Path(file) for file in sorted(walk.files, key=_parts)],
        [Path(file) for file in sorted(walk.tars, key=_parts)],
        sorted(walk.skipped, key=lambda row: _parts(row[0])),
        [Path(file) for file in sorted(walk.tables, key=_parts)],
    )
    if not (found.files or found.tars or found.tables or found.skipped):
        raise AudioError(f"{root}: no audio found in this folder; files must end in .wav, .flac, .mp3 or the like")
    return found


def nothing_usable(skipped: Sequence[tuple[str, str]]) -> AudioError:
    """The error where something was skipped and no audio found."""
    path, reason = skipped[0]
    more = f" ({len(skipped) - 1} more are skipped)" if len(skipped) > 1 else ""
    return AudioError(f"no audio found that can be used: {path}: {reason}{more}")


def why_unusable(path: str | os.PathLike[str], state: os.stat_result | None = None) -> str:
    """Why a path is no file with content of its own; "" where it is one.

    A link whose target is gone, a pointer of Git LFS, a folder, or a pipe or device, which is never opened: that may
    wait for ever.

    Args:
        path: of a file or link.
        state: what `os.stat` gives of it, where that is known already.
    """
    try:
        state = os.stat(path) if state is None else state  # noqa: PTH116
        if not stat.S_ISREG(state.st_mode):
            return f"{_kind(state.st_mode)}, not a file"
        if len(_POINTER) < state.st_size < _POINTER_BYTES:
            with open(path, "rb") as opened:  # noqa: PTH123
                if opened.read(len(_POINTER)) == _POINTER:
                    return "a Git LFS pointer, whose content was not fetched: git lfs pull"
    except OSError as error:
        if error.errno not in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
            return f"cannot be read ({error.strerror})"
        if not Path(path).is_symlink():
            return GONE
        target = os.readlink(path)  # noqa: PTH115
        if "annex/objects" in target.replace("\\", "/"):
            return "a link of git-annex, whose content was not fetched: git annex get"
        if error.errno == errno.ELOOP:
            return f"a link to {target}, which leads back to itself: mend or remove it"
        return f"a link to {target}, which is not there: mend or remove it"
    except ValueError:  # a NUL in the name
        return GONE
    return ""


def _kind(mode: int) -> str:
    kinds = ((stat.S_ISFIFO, "a named pipe"), (stat.S_ISSOCK, "a socket"), (stat.S_ISDIR, "a folder"))
    return next((name for fits, name in kinds if fits(mode)), "a device")


def is_audio(beginning: bytes) -> bool:
    """Whether a file's first bytes (so many as `SNIFFED`) are those of a container of sound."""
    if beginning.startswith(_BEGINNINGS) or beginning[8:12] in _KINDS.get(beginning[:4], ()):
        return True
    if beginning[4:8] == b"ftyp":
        return beginning[8:12] not in _PICTURES
    if beginning.startswith(b"FRM8"):
        return beginning[12:16] == b"DSD "
    length, _, _ = frame_header(beginning[:3])
    if length and frame_header(beginning[length : length + 3])[0]:
        return True
    return any(beginning[first : first + 2 * packet + 1 : packet] == b"GGG" for first, packet in _TS_PACKETS)


def _parts(path: str) -> list[str]:
    return os.path.normcase(path).split(os.sep)  # noqa: PTH206 - of millions


class _Walk:
    """One search. A loop and no recursion: folders may lie deeper than Python's stack."""

    def __init__(self, take_tars: bool, take_tables: bool) -> None:
        self.files: list[str] = []
        self.tars: list[str] = []
        self.tables: list[str] = []
        self.skipped: list[tuple[str, str]] = []
        self._take_tars, self._take_tables = take_tars, take_tables
        self._folders: list[str] = []
        self._links: list[str] = []  # to folders: last, so that a folder inside has its own name

    def run(self, root: str) -> None:
        seen: set[tuple[int, int]] = set()
        self._folders.append(root)
        while self._folders or self._links:
            folder = (self._folders or self._links).pop()
            try:
                state = os.stat(folder)  # noqa: PTH116
                if (state.st_dev, state.st_ino) in seen:
                    continue
                seen.add((state.st_dev, state.st_ino))
                with os.scandir(folder) as entries:
                    for entry in entries:
                        if not entry.name.startswith("."):
                            self._add(entry)
            except OSError as error:
                self.skipped.append((folder, f"this folder cannot be read ({error.strerror})"))

    def _add(self, entry: "os.DirEntry[str]") -> None:
        try:
            is_folder = entry.is_dir()
        except OSError:  # a link in a circle
            is_folder = False
        if is_folder:
            (self._links if entry.is_symlink() else self._folders).append(entry.path)
            return
        name = entry.name.lower()
        suffix = os.path.splitext(name)[1]  # noqa: PTH122
        packed = suffix == ".tar" or name.endswith(ARCHIVES) or _is_compressed_sound(name)
        known = suffix in SUFFIXES or suffix in RAW or packed
        if not known and suffix in OTHER:
            if self._take_tables and suffix in TABLES:
                self.tables.append(entry.path)
            return
        try:
            state = entry.stat()
        except OSError:
            # A link without a suffix may have been one to a folder of sound.
            if known or not suffix:
                self.skipped.append((entry.path, why_unusable(entry.path)))
            return
        if not known:
            if not stat.S_ISREG(state.st_mode):
                return
            if _begins_as_audio(entry.path):
                self.files.append(entry.path)
            elif reason := why_unusable(entry.path, state):  # a pointer of Git LFS: to what, nobody knows
                self.skipped.append((entry.path, reason))
            return
        reason = why_unusable(entry.path, state) or _why_unread(entry.path, self._take_tars)
        if reason:
            self.skipped.append((entry.path, reason))
        else:
            (self.tars if suffix == ".tar" else self.files).append(entry.path)


def _why_unread(path: str, take_tars: bool) -> str:
    """Why a file is not taken, by its name, and by its first bytes where a name says too little; "" where it is."""
    reason = why_unread_name(path, take_tars)
    return "" if reason == RAW_SAMPLES and _begins_as_audio(path) else reason


RAW_SAMPLES = "samples without a header: convert it to WAV"


def why_unread_name(path: str, take_tars: bool) -> str:
    """Why a file of this name is not taken; "" where it is."""
    name = path.lower()
    if name.endswith(".tar"):
        return (
            ""
            if take_tars
            else "a tar file, which only `sondino embed`, `classify`, `corpus` and `distill` read: unpack it"
        )
    if _is_compressed_sound(name):
        return "a compressed file of sound: unpack it"
    if name.endswith(ARCHIVES):
        return "compressed, so that a clip cannot be found in it: unpack it, or pack with `tar -cf`"
    return RAW_SAMPLES if os.path.splitext(name)[1] in RAW else ""  # noqa: PTH122


def _is_compressed_sound(name: str) -> bool:
    inner, suffix = os.path.splitext(name)  # noqa: PTH122
    return suffix in COMPRESSED and os.path.splitext(inner)[1] in SUFFIXES  # noqa: PTH122


def _is_selection_table(file: Path) -> bool:
    if file.suffix.lower() != ".txt":
        return False
    try:
        with file.open("rb") as opened:
            return raven.is_table(opened.read(SNIFFED))
    except OSError:
        return False


def _begins_as_audio(path: str) -> bool:
    try:
        with open(path, "rb") as opened:  # noqa: PTH123
            return is_audio(opened.read(SNIFFED))
    except OSError:
        return False
