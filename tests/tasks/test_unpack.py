"""Archives from strangers: what is plain comes out whole, and what is dangerous or damaged does not."""

import io
import random
import stat
import struct
import subprocess
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from helpers.skips import not_as_root
from helpers.split_zip import split_zip
from sondino.errors import RunError, SondinoError
from sondino.tasks import unpack as room
from sondino.tasks.unpack import unpack

CONTENT = random.Random(0).randbytes(300_000)
PLAIN = {"set/a.wav": CONTENT, "set/deep/b.wav": b"b" * 5000, "set/empty.txt": b""}


def make_zip(file: Path, members: dict[str, bytes], kinds: dict[str, int] | None = None) -> Path:
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as pack:
        for number, (name, content) in enumerate(members.items()):
            entry = zipfile.ZipInfo("x")
            entry.filename = name  # as it is; ZipInfo would tidy it
            entry.external_attr = ((kinds or {}).get(name, stat.S_IFREG) | 0o644) << 16
            pack.writestr(entry, content, zipfile.ZIP_STORED if number % 2 else zipfile.ZIP_DEFLATED)
    return file


def make_tar(file: Path, members: dict[str, bytes], kinds: dict[str, int] | None = None) -> Path:
    of = {stat.S_IFLNK: tarfile.SYMTYPE, stat.S_IFCHR: tarfile.CHRTYPE, stat.S_IFIFO: tarfile.FIFOTYPE,
          stat.S_IFREG: tarfile.REGTYPE}  # fmt: skip
    with tarfile.open(file, "w:gz") as pack:
        for name, content in members.items():
            entry = tarfile.TarInfo(name)
            entry.type = of[(kinds or {}).get(name, stat.S_IFREG)]
            entry.mode = 0o4777
            if entry.isreg():
                entry.size = len(content)
            else:
                entry.linkname = content.decode()
            pack.addfile(entry, io.BytesIO(content))
    return file


MAKE: dict[str, Callable[..., Path]] = {"set.zip": make_zip, "set.tar.gz": make_tar}
both = pytest.mark.parametrize("name", MAKE)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@both
def test_plain_files_come_out_whole(name: str, tmp_path: Path) -> None:
    file, reported = MAKE[name](tmp_path / name, PLAIN), []
    assert unpack([file], tmp_path / "out", 400_000, progress=lambda at, of: reported.append((at, of))) == []
    assert contents(tmp_path / "out") == PLAIN
    assert not any(path.stat().st_mode & 0o7111 for path in (tmp_path / "out").rglob("*.wav"))
    assert len(reported) == 3 and all(0 <= at <= of for at, of in reported) and reported[-1][0] == reported[-1][1]
    assert unpack([file], tmp_path / "out", 400_000) == []  # again, over what is there
    unpack([file], tmp_path / "stripped", 400_000, strip=1)
    assert set(contents(tmp_path / "stripped")) == {"a.wav", "deep/b.wav", "empty.txt"}


def test_a_split_zip_needs_no_joining(tmp_path: Path) -> None:
    members = {f"set/{i}.wav": CONTENT[i : i + 40_000 + i] for i in range(20)} | PLAIN
    parts = split_zip(make_zip(tmp_path / "set.zip", members), 150_000)
    assert len(parts) > 5
    unpack(parts, tmp_path / "out", 2_000_000)
    assert contents(tmp_path / "out") == members
    for wrong in (parts[1:], parts[:3] + parts[4:]):
        with pytest.raises(
            SondinoError, match=r"set\.zip is damaged or no archive \(it has \d+ parts, and \d+ are here\)"
        ):
            unpack(wrong, tmp_path / "out", 2_000_000)
    with pytest.raises(SondinoError, match=r"set\.zip is damaged or no archive"):
        unpack([parts[1], parts[0], *parts[2:]], tmp_path / "out", 2_000_000)


@pytest.mark.skipif(not Path("/usr/bin/zip").exists(), reason="needs the program zip")
def test_a_zip_that_the_program_zip_has_split(tmp_path: Path) -> None:
    (tmp_path / "set").mkdir()
    for i in range(5):
        (tmp_path / "set" / f"{i}.wav").write_bytes(CONTENT[i:])
    subprocess.run(["/usr/bin/zip", "-q", "-s", "100k", "-r", "set.zip", "set"], cwd=tmp_path, check=True)
    parts = [*sorted(tmp_path.glob("set.z[0-9]*")), tmp_path / "set.zip"]
    assert len(parts) > 10
    unpack(parts, tmp_path / "out", 2_000_000)
    assert contents(tmp_path / "out") == {f"set/{i}.wav": CONTENT[i:] for i in range(5)}


@both
@pytest.mark.parametrize("member", ["../out.wav", "set/../../out.wav", "/tmp/out.wav", "C:/out.wav", "..\\out.wav"])
def test_a_name_that_leads_out_is_refused(name: str, member: str, tmp_path: Path) -> None:
    file = MAKE[name](tmp_path / name, {"set/a.wav": b"a", member: b"out"})
    with pytest.raises(SondinoError, match="which would lie outside of the folder: do not use this archive"):
        unpack([file], tmp_path / "in" / "out", 1000)
    assert {path.name for path in tmp_path.rglob("*") if path.is_file()} == {name, "a.wav"}


@both
def test_links_and_devices_are_never_made(name: str, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    members = {"set/a.wav": b"a", "set/link": str(outside).encode(), "set/link/b.wav": b"b", "set/pipe": b""}
    kinds = {"set/link": stat.S_IFLNK, "set/pipe": stat.S_IFIFO}
    file = MAKE[name](tmp_path / name, members, kinds)
    assert unpack([file], tmp_path / "out", 1000) == ["set/link", "set/pipe"]
    assert contents(tmp_path / "out") == {"set/a.wav": b"a", "set/link/b.wav": b"b"}
    assert not list(outside.iterdir())


def test_a_hard_link_of_a_tar_is_never_made(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("secret")
    with tarfile.open(tmp_path / "set.tar", "w") as pack:
        entry = tarfile.TarInfo("set/hard")
        entry.type, entry.linkname = tarfile.LNKTYPE, str(tmp_path / "secret")
        pack.addfile(entry)
    assert unpack([tmp_path / "set.tar"], tmp_path / "out", 1000) == ["set/hard"]
    assert not (tmp_path / "out").exists()


@both
def test_more_than_is_expected_is_refused(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = MAKE[name](tmp_path / name, {"a.wav": bytes(50_000), "b.wav": bytes(50_001)})
    assert file.stat().st_size < 60_000
    with pytest.raises(SondinoError, match=r"more than the 0 MB that are expected of it.* not the archive that was"):
        unpack([file], tmp_path / "out", 100_000)
    # a zip reports at once how much it holds; of a tar it is known file by file
    assert sorted(contents(tmp_path / "out")) == ([] if name == "set.zip" else ["a.wav"])
    unpack([file], tmp_path / "out", 100_001)
    monkeypatch.setattr(room, "MEMBERS", 1)
    with pytest.raises(SondinoError, match="far too many files"):
        unpack([file], tmp_path / "many", 100_001)


def test_a_zip_that_lies_about_its_size_is_stopped(tmp_path: Path) -> None:
    file = make_zip(tmp_path / "set.zip", {"bomb.wav": bytes(50_000_000)})
    content = bytearray(file.read_bytes())
    struct.pack_into("<L", content, content.rindex(b"PK\1\2") + 24, 10)
    file.write_bytes(content)
    with pytest.raises(SondinoError, match="more than the"):
        unpack([file], tmp_path / "out", 3_000_000)
    assert sum(len(c) for c in contents(tmp_path / "out").values()) <= 3_000_000


def test_a_member_whose_content_changed_is_reported(tmp_path: Path) -> None:
    file = make_zip(tmp_path / "set.zip", {"skip": b"", "a.wav": CONTENT})  # the second is stored as it is
    content = bytearray(file.read_bytes())
    content[content.index(CONTENT) + 7] ^= 1
    file.write_bytes(content)
    with pytest.raises(SondinoError, match=r"the checksum of a\.wav is wrong"):
        unpack([file], tmp_path / "out", 400_000)


@both
@pytest.mark.parametrize("part", [0.0, 0.5, 0.95])
def test_an_archive_that_breaks_off_is_reported(name: str, part: float, tmp_path: Path) -> None:
    file = MAKE[name](tmp_path / name, PLAIN)
    file.write_bytes(file.read_bytes()[: int(part * file.stat().st_size)])
    with pytest.raises(SondinoError, match=rf"{name} is damaged or no archive .*: delete {file} and fetch it again"):
        unpack([file], tmp_path / "out", 400_000)


@both
def test_what_is_no_archive_is_reported(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(CONTENT)
    with pytest.raises(SondinoError, match="is damaged or no archive"):
        unpack([tmp_path / name], tmp_path / "out", 400_000)


def test_a_locked_zip_is_reported(tmp_path: Path) -> None:
    file = make_zip(tmp_path / "set.zip", {"a.wav": b"a"})
    content = bytearray(file.read_bytes())
    content[content.rindex(b"PK\1\2") + 8] |= 1
    file.write_bytes(content)
    with pytest.raises(SondinoError, match=r"a\.wav is locked, or packed by a method that is not known"):
        unpack([file], tmp_path / "out", 400_000)


@both
def test_the_litter_of_desktops_is_left_out(name: str, tmp_path: Path) -> None:
    litter = {"__MACOSX/set/._a.wav": b"x", "set/._a.wav": b"x", "._set": b"x", "set/.DS_Store": b"x"}
    unpack([MAKE[name](tmp_path / name, {"set/a.wav": b"a"} | litter)], tmp_path / "out", 1000, strip=1)
    assert contents(tmp_path / "out") == {"a.wav": b"a"}


@not_as_root
def test_a_folder_that_cannot_be_written_is_reported(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir(mode=0o500)
    with pytest.raises(RunError, match="could not be written"):
        unpack([make_zip(tmp_path / "set.zip", PLAIN)], tmp_path / "out", 400_000)


def test_a_file_where_a_folder_should_be_is_reported(tmp_path: Path) -> None:
    file = make_zip(tmp_path / "set.zip", {"a": b"a", "a/b.wav": b"b"})
    with pytest.raises(RunError, match="could not be written"):
        unpack([file], tmp_path / "out", 1000)
