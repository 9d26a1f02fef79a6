"""Searching folders: what is found; nothing that may be sound is passed over without its name and a reason."""

import os
import socket
import struct
from pathlib import Path

import pytest

from helpers.corpora import noise, write
from helpers.skips import needs_linux, needs_posix
from sondino import audio
from sondino.audio.walk import OTHER, RAW, SUFFIXES, is_audio, search_audio, why_unusable
from sondino.errors import AudioError

LFS = "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 64044\n"


def touch(file: Path, content: bytes = b"") -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(content)
    return file


def search(folder: Path, tars: bool = False) -> tuple[list[str], dict[str, str]]:
    """Names below a folder that are found, and name -> reason of what is skipped."""
    found = search_audio(folder, tars)
    inside = len(str(folder)) + 1
    return [str(file)[inside:] for file in found.files], {path[inside:]: reason for path, reason in found.skipped}


def test_find_audio(tmp_path: Path) -> None:
    for name in ("b/2.wav", "b/1.FLAC", "a.m4a", "notes.txt", ".hidden.wav", ".git/x.wav", "b/c/deep.opus", "b-1/0.wv"):
        touch(tmp_path / name)
    (tmp_path / "b" / "loop").symlink_to(tmp_path)
    found = [p.relative_to(tmp_path).as_posix() for p in audio.find_audio(tmp_path)]
    assert found == ["a.m4a", "b/1.FLAC", "b/2.wav", "b/c/deep.opus", "b-1/0.wv"]
    assert audio.find_audio(tmp_path / "notes.txt") == [tmp_path / "notes.txt"]
    (tmp_path / "none").mkdir()
    with pytest.raises(AudioError, match="no audio found"):
        audio.find_audio(tmp_path / "none")
    with pytest.raises(AudioError, match="no such file"):
        audio.find_audio(tmp_path / "nowhere")


def test_links_to_folders_are_followed_once_and_after_the_folders(tmp_path: Path) -> None:
    touch(tmp_path / "sounds" / "z" / "1.wav")
    touch(tmp_path / "elsewhere" / "2.wav")
    (tmp_path / "sounds" / "a").symlink_to(tmp_path / "sounds" / "z")
    (tmp_path / "sounds" / "b").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "sounds" / "c").symlink_to(tmp_path / "elsewhere")
    files, skipped = search(tmp_path / "sounds")
    assert len(files) == 2 and files[1] == "z/1.wav" and files[0] in ("b/2.wav", "c/2.wav") and not skipped


@needs_posix
def test_what_is_passed_over_is_named_with_a_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    touch(tmp_path / "a.wav", b"RIFF")
    (tmp_path / "annex.wav").symlink_to("../.git/annex/objects/aa/bb/SHA256E-s64044--1.wav")
    (tmp_path / "gone.flac").symlink_to("/nowhere/gone.flac")
    (tmp_path / "site").symlink_to("/mnt/card")
    (tmp_path / "circle.wav").symlink_to("circle.wav")
    (tmp_path / "gone.json").symlink_to("/nowhere/gone.json")  # no sound whatever it was
    touch(tmp_path / "pointer.wav", LFS.encode())
    for name in ("1.tar.gz", "2.TGZ", "3.zip", "4.tar", "5.tar.zst"):
        touch(tmp_path / name, b"x")
    touch(tmp_path / "phone.ulaw", b"x" * 2000)
    touch(tmp_path / "notes.txt", b"RIFF")
    os.mkfifo(tmp_path / "pipe.wav")
    os.mkfifo(tmp_path / "pipe")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("s.wav")
    files, skipped = search(tmp_path)
    assert files == ["a.wav"]
    assert {name: reason.partition(":")[0] for name, reason in skipped.items()} == {
        "annex.wav": "a link of git-annex, whose content was not fetched",
        "gone.flac": "a link to /nowhere/gone.flac, which is not there",
        "site": "a link to /mnt/card, which is not there",
        "circle.wav": "a link to circle.wav, which leads back to itself",
        "pointer.wav": "a Git LFS pointer, whose content was not fetched",
        **dict.fromkeys(
            ("1.tar.gz", "2.TGZ", "3.zip", "5.tar.zst"), "compressed, so that a clip cannot be found in it"
        ),
        "4.tar": "a tar file, which only `sondino embed`, `classify`, `corpus` and `distill` read",
        "phone.ulaw": "samples without a header",
        "pipe.wav": "a named pipe, not a file",
        "s.wav": "a socket, not a file",
    }
    assert skipped["annex.wav"].endswith("git annex get") and skipped["pointer.wav"].endswith("git lfs pull")
    assert [path.name for path in search_audio(tmp_path, tars=True).tars] == ["4.tar"]
    with pytest.warns(UserWarning, match=r"13 skipped in .*1\.tar\.gz: compressed.*; and 10 more"):
        assert audio.find_audio(tmp_path) == [tmp_path / "a.wav"]


@needs_posix
@pytest.mark.parametrize("name", ["annex.wav", "pointer.wav", "pipe.wav", "1.tar.gz", "shard.tar", "l.csv", "no/a.wav"])
def test_a_path_that_is_named_directly_gets_the_same_reasons(tmp_path: Path, name: str) -> None:
    (tmp_path / "annex.wav").symlink_to("../.git/annex/objects/aa/bb/SHA256E-s64044--1.wav")
    touch(tmp_path / "pointer.wav", LFS.encode())
    os.mkfifo(tmp_path / "pipe.wav")
    for other in ("1.tar.gz", "shard.tar", "l.csv"):
        touch(tmp_path / other, b"x" * 2000)
    reason = {
        "annex.wav": "git annex get",
        "pointer.wav": "git lfs pull",
        "pipe.wav": "a named pipe, not a file",
        "1.tar.gz": "compressed",
        "shard.tar": "a tar file",
        "l.csv": "a list, not audio",
        "no/a.wav": "no such file",
    }[name]
    with pytest.raises(AudioError, match=reason):
        audio.find_audio(tmp_path / name)


def test_a_folder_that_cannot_be_read_stops_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scan = os.scandir

    def refused(folder: str) -> "os.ScandirIterator[str]":
        if Path(folder).name == "lost+found":
            raise PermissionError(13, "Permission denied", folder)
        return scan(folder)

    monkeypatch.setattr(os, "scandir", refused)
    touch(tmp_path / "card" / "DATA" / "1.WAV")
    (tmp_path / "card" / "lost+found").mkdir()
    files, skipped = search(tmp_path / "card")
    assert files == ["DATA/1.WAV"] and skipped == {"lost+found": "this folder cannot be read (Permission denied)"}
    with pytest.raises(AudioError, match=r"lost\+found: this folder cannot be read"):
        audio.find_audio(tmp_path / "card" / "lost+found")


@needs_linux
def test_a_folder_1500_deep(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    folders = ["d/" * depth for depth in range(1, 1501)]
    for folder in folders:
        Path(folder).mkdir()
    file = touch(Path(folders[-1]) / "a.wav")
    try:
        assert search_audio("d").files == [file]
    finally:  # shutil.rmtree, with which pytest tidies up, is recursive up to Python 3.12
        file.unlink()
        for folder in reversed(folders):
            Path(folder).rmdir()


BEGINNINGS = {
    "wav": b"RIFF\0\0\0\0WAVE",
    "avi": b"RIFF\0\0\0\0AVI ",
    "aiff": b"FORM\0\0\0\0AIFC",
    "flac": b"fLaC",
    "ogg": b"OggS",
    "mp3": b"ID3\4",
    "caf": b"caff",
    "wavpack": b"wvpk",
    "tta": b"TTA1",
    "ape": b"MAC \xd0",
    "mp4": b"\0\0\0\x18ftypM4A ",
    "matroska": b"\x1a\x45\xdf\xa3",
    "ts": (b"G" + bytes(187)) * 3,
    "m2ts": (bytes(4) + b"G" + bytes(187)) * 3,
}
OTHERS = {"text": b"Good morning " * 40, "web": b"RIFF\0\0\0\0WEBP", "heic": b"\0\0\0\x18ftypheic", "none": b"",
          "zeros": bytes(400), "pdf": b"%PDF-1.7"}  # fmt: skip


@pytest.mark.parametrize("kind", [*BEGINNINGS, *OTHERS])
def test_an_unknown_suffix_is_decided_by_the_first_bytes(tmp_path: Path, kind: str) -> None:
    assert is_audio((BEGINNINGS | OTHERS)[kind].ljust(12, b"\0")) == (kind in BEGINNINGS)
    touch(tmp_path / "a.wav")
    touch(tmp_path / "b.w4v", (BEGINNINGS | OTHERS)[kind])
    touch(tmp_path / "c", (BEGINNINGS | OTHERS)[kind])
    touch(tmp_path / "d.txt", (BEGINNINGS | OTHERS)[kind])
    assert search(tmp_path) == (["a.wav", "b.w4v", "c"] if kind in BEGINNINGS else ["a.wav"], {})


def test_suffixes_are_of_one_kind() -> None:
    assert not SUFFIXES & RAW and not SUFFIXES & OTHER and not RAW & OTHER
    assert all(suffix == suffix.lower() and suffix.startswith(".") for suffix in SUFFIXES | RAW | OTHER)


@pytest.mark.parametrize(
    ("suffix", "codec"),
    [(".wv", "wavpack"), (".tta", "tta"), (".avi", "pcm_s16le"), (".flv", "mp3"), (".ts", "mp2"), (".mpg", "mp2")],
)
def test_what_only_pyav_reads_is_found_and_read(tmp_path: Path, suffix: str, codec: str) -> None:
    av = pytest.importorskip("av")
    rate = 44100
    file = tmp_path / f"x{suffix}"
    with av.open(str(file), "w") as out:
        track = out.add_stream(codec, rate=rate, layout="mono")
        frame = av.AudioFrame.from_ndarray(noise(2.0, 1, rate)[None], format="fltp", layout="mono")
        frame.sample_rate, frame.pts = rate, 0
        fit = av.AudioResampler(track.codec_context.format.name, "mono", rate, track.codec_context.frame_size or 1024)
        for piece in [*fit.resample(frame), *fit.resample(None), None]:
            out.mux(track.encode(piece))
    assert search_audio(tmp_path).files == [file]
    assert len(audio.read(file, rate)) == pytest.approx(2 * rate, rel=0.1)


@needs_posix
def test_why_a_path_is_unusable(tmp_path: Path) -> None:
    assert why_unusable(write(tmp_path / "a.wav", noise(0.1, 1))) == ""
    assert why_unusable(touch(tmp_path / "empty.wav")) == ""  # the decoder says so
    assert why_unusable(tmp_path) == "a folder, not a file"
    assert why_unusable("/dev/null") == "a device, not a file"
    assert why_unusable(tmp_path / "none.wav") == why_unusable("a\0.wav") == "there is no such file"
    assert why_unusable("x" * 300) == "cannot be read (File name too long)"
    assert why_unusable(touch(tmp_path / "b.wav", struct.pack("<40x") + LFS.encode())) == ""


def test_compressed_sound_and_pointers_of_any_name_are_named(tmp_path: Path) -> None:
    for name in ("a.wav.gz", "b.flac.zst", "notes.txt.gz"):
        (tmp_path / name).write_bytes(b"compressed")
    for name in ("clip", "clip.xyz"):
        (tmp_path / name).write_text("version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 64044\n")
    reasons = {Path(path).name: reason for path, reason in search_audio(tmp_path).skipped}
    assert sorted(reasons) == ["a.wav.gz", "b.flac.zst", "clip", "clip.xyz"]
    assert "unpack it" in reasons["a.wav.gz"] and "git lfs pull" in reasons["clip"]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_a_selection_table_gets_a_hint_how_it_is_given(tmp_path: Path, encoding: str) -> None:
    table = tmp_path / "a.Table.1.selections.txt"
    table.write_text("Selection\tView\tBegin Time (s)\tEnd Time (s)\n1\tSpectrogram 1\t0\t1\n", encoding)
    with pytest.raises(AudioError, match=r"selections\.txt: a selection table of Raven, .* --labels, .* ends in \.csv"):
        audio.find_audio(table)
    (tmp_path / "b.txt").write_text("Begin Time (s) is in this text")
    assert search_audio(tmp_path / "b.txt").files == [tmp_path / "b.txt"]  # whatever it is, decoding says
