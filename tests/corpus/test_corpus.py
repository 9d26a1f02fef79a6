import csv
import io
import os
import shutil
import tarfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from helpers.corpora import RATE, noise, read_clips, write, write_sounds
from helpers.skips import needs_linux, needs_posix
from sondino import audio
from sondino.corpus import scan
from sondino.corpus.table import build_corpus, open_corpus
from sondino.errors import AudioError, OptionError, RunError

SOUNDS = {"a/short.wav": 0.3, "a/whole.wav": 2.0, "b/long.wav": 5.0, "b/tail.wav": 4.05}


@pytest.fixture
def sounds(tmp_path: Path) -> Path:
    return write_sounds(tmp_path / "sounds", SOUNDS)


def listed(file: Path, rows: list[dict[str, object]]) -> Path:
    with file.open("w", newline="") as out:
        writer = csv.DictWriter(out, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return file


def stretches(corpus) -> dict[str, tuple[float, float]]:
    table = corpus.table
    return {row["id"]: (row["start"], row["duration"]) for row in table.select(["id", "start", "duration"]).to_pylist()}


def test_a_folder_is_cut_into_clips(sounds, tmp_path):
    corpus = build_corpus(sounds, tmp_path / "out", clip=2.0)
    assert stretches(corpus) == {
        "a/short.wav": (0.0, 0.3),
        "a/whole.wav": (0.0, 2.0),
        "b/long.wav@0.000": (0.0, 2.0),
        "b/long.wav@2.000": (2.0, 2.0),
        "b/long.wav@3.000": (3.0, 2.0),  # moved back to end with the file
        "b/tail.wav@0.000": (0.0, 2.0),
        "b/tail.wav@2.000": (2.0, 2.0),  # 0.05 s are under 5 % of a clip
    }
    assert corpus.facts["tails_left_out"] == {"clips": 1, "seconds": 0.05}
    assert corpus.facts["files"] == 4 and corpus.facts["clips"] == len(corpus) == 7
    assert set(corpus.column("sample_rate")) == {RATE}
    assert corpus.skipped == []


def test_a_clip_is_the_stretch_of_its_row(sounds, tmp_path):
    corpus = build_corpus(sounds, tmp_path / "out", clip=2.0)
    whole = noise(5.0, 2)
    for row, first in ((2, 0), (3, 2 * RATE), (4, 3 * RATE)):
        np.testing.assert_array_equal(read_clips(corpus, [row], RATE)[0], whole[first : first + 2 * RATE])


def test_duplicates_and_broken_files_are_left_out_and_listed(sounds, tmp_path):
    shutil.copy(sounds / "a/whole.wav", sounds / "z_copy.wav")
    (sounds / "text.wav").write_text("this is not a sound")
    (sounds / "empty.wav").write_bytes(b"")
    write(sounds / "nothing.wav", np.zeros(0, np.float32))
    corpus = build_corpus(sounds, tmp_path / "out", clip=2.0)
    reasons = dict(corpus.skipped)
    assert set(reasons) == {"z_copy.wav", "text.wav", "empty.wav", "nothing.wav"}
    assert reasons["z_copy.wav"] == "duplicate of a/whole.wav"
    assert len(corpus) == 7
    with (tmp_path / "out/skipped.csv").open() as lines:
        assert [(row["path"], row["reason"]) for row in csv.DictReader(lines)] == corpus.skipped


def test_the_same_again_is_not_rewritten(sounds, tmp_path):
    first = build_corpus(sounds, tmp_path / "out", clip=2.0)
    stamps = {file.name: file.stat().st_mtime_ns for file in (tmp_path / "out").glob("[!.]*")}
    again = build_corpus(sounds, tmp_path / "out", clip=2.0, workers=1)
    assert again.hash == first.hash
    assert {file.name: file.stat().st_mtime_ns for file in (tmp_path / "out").glob("[!.]*")} == stamps


def test_a_moved_corpus_keeps_its_hash(sounds, tmp_path):
    first = build_corpus(sounds, tmp_path / "out", clip=2.0)
    clips = read_clips(first, range(7), RATE)
    (tmp_path / "elsewhere").mkdir()
    for name in ("sounds", "out"):
        shutil.move(tmp_path / name, tmp_path / "elsewhere" / name)
    moved = open_corpus(tmp_path / "elsewhere/out")  # its sound is still beside it
    for one, other in zip(clips, read_clips(moved, range(7), RATE), strict=True):
        np.testing.assert_array_equal(one, other)
    assert build_corpus(tmp_path / "elsewhere/sounds", tmp_path / "elsewhere/out", clip=2.0).hash == first.hash
    assert open_corpus(tmp_path / "elsewhere/out").root == str(tmp_path / "elsewhere/sounds")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda sounds: write(sounds / "new.wav", noise(1, 9)), r"1 clips are new \(such as new.wav\)"),
        (lambda sounds: (sounds / "a/short.wav").unlink(), r"1 clips are gone \(such as a/short.wav\)"),
        (lambda sounds: write(sounds / "a/short.wav", noise(0.3, 9)), "some files have changed"),
    ],
)
def test_other_sound_is_refused(sounds, tmp_path, change, message):
    build_corpus(sounds, tmp_path / "out", clip=2.0)
    change(sounds)
    with pytest.raises(RunError, match=message):
        build_corpus(sounds, tmp_path / "out", clip=2.0)


def test_another_clip_length_is_refused(sounds, tmp_path):
    build_corpus(sounds, tmp_path / "out", clip=2.0)
    with pytest.raises(RunError, match="2 s long, not 3 s"):
        build_corpus(sounds, tmp_path / "out", clip=3.0)
    assert open_corpus(tmp_path / "out").clip == 2.0


def test_a_list_gives_stretches_labels_and_splits(sounds, tmp_path):
    rows = [
        {"path": "sounds/b/long.wav", "start": 1.0, "duration": 1.5, "label": "hum", "split": "train"},
        {"path": "sounds/b/long.wav", "start": 3.0, "duration": "", "label": "hiss", "split": "valid"},
        {"path": "sounds/a/whole.wav", "start": "", "duration": "", "label": "", "split": ""},
        {"path": "sounds/b/long.wav", "start": 1.0, "duration": 1.5, "label": "hum", "split": "train"},
        {"path": "sounds/gone.wav", "start": "", "duration": "", "label": "hum", "split": ""},
        {"path": "sounds/a/short.wav", "start": 7, "duration": "", "label": "hum", "split": ""},
    ]
    corpus = build_corpus(listed(tmp_path / "list.csv", rows), tmp_path / "out", clip=2.0)
    assert stretches(corpus) == {
        "sounds/b/long.wav@1.000": (1.0, 1.5),
        "sounds/b/long.wav@3.000": (3.0, 2.0),
        "sounds/a/whole.wav": (0.0, 2.0),
    }
    assert list(corpus.column("label")) == ["hum", "hiss", None]
    assert list(corpus.column("split")) == ["train", "valid", None]
    labels = corpus.labels()
    assert labels.names == ("hiss", "hum") and labels.classes().tolist() == [1, 0, -1] and not labels.multi_label
    assert [path for path, _ in corpus.skipped] == ["sounds/b/long.wav", "sounds/gone.wav", "sounds/a/short.wav"]
    assert [reason for _, reason in corpus.skipped] == [
        "duplicate of sounds/b/long.wav",
        "there is no such file",
        "the list asks for sound from 7 s, and the file ends at 0.3 s",
    ]


def test_a_lists_end_is_obeyed(sounds, tmp_path):
    rows = [
        {"path": "sounds/b/long.wav", "start": start, "end": end, "labels": "a;b"}
        for start, end in ((1, 2.5), ("", 1), (3, 3))
    ]
    corpus = build_corpus(listed(tmp_path / "list.csv", rows), tmp_path / "out", clip=2.0)
    assert stretches(corpus) == {"sounds/b/long.wav@1.000": (1.0, 1.5), "sounds/b/long.wav@0.000": (0.0, 1.0)}
    assert set(corpus.column("label")) == {"a;b"}
    assert corpus.skipped == [("sounds/b/long.wav", "the list asks for 3 s to 3 s of a file of 5 s")]


def test_what_is_in_test_never_trains(sounds, tmp_path):
    shutil.copy(sounds / "a/whole.wav", sounds / "copy.wav")
    rows = [
        {"path": "sounds/a/whole.wav", "start": "", "end": "", "split": "train"},
        {"path": "sounds/copy.wav", "split": "test"},
        {"path": "sounds/b/long.wav", "start": 0, "end": 2, "split": "train"},
        {"path": "sounds/b/long.wav", "start": 1.5, "end": 3, "split": "test"},
        {"path": "sounds/b/long.wav", "start": 3, "end": 5, "split": "train"},
    ]
    corpus = build_corpus(listed(tmp_path / "list.csv", rows), tmp_path / "out", clip=2.0)
    parts = dict(zip(corpus.ids(), corpus.column("split"), strict=True))
    assert parts == {"sounds/copy.wav": "test", "sounds/b/long.wav@1.500": "test", "sounds/b/long.wav@3.000": "train"}
    assert corpus.skipped == [
        ("sounds/a/whole.wav", "the same sound as sounds/copy.wav, whose split is test and not train"),
        ("sounds/b/long.wav", "overlaps a stretch of the same sound that the list has in test"),
    ]


def test_a_stretch_of_two_labels_is_named(sounds, tmp_path):
    rows = [{"path": "sounds/a/whole.wav", "label": label} for label in ("hum", "hiss", "hum")]
    corpus = build_corpus(listed(tmp_path / "list.csv", rows), tmp_path / "out", clip=2.0)
    assert [reason for _, reason in corpus.skipped] == [
        "the same sound as sounds/a/whole.wav, whose label is hum and not hiss",
        "duplicate of sounds/a/whole.wav",
    ]


@needs_posix
def test_rows_that_are_no_files_are_listed(sounds, tmp_path):
    os.mkfifo(tmp_path / "pipe.wav")
    (tmp_path / "annex.wav").symlink_to(".git/annex/objects/x.wav")
    (tmp_path / "lfs.wav").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 64044\n")
    names = ("pipe.wav", "annex.wav", "lfs.wav", "sounds", "x" * 300, "sounds/a/whole.wav")
    corpus = build_corpus(listed(tmp_path / "list.csv", [{"path": name} for name in names]), tmp_path / "out")
    assert corpus.ids() == ["sounds/a/whole.wav"]
    assert [reason.split(":")[0].split(",")[0] for _, reason in corpus.skipped] == [
        "a named pipe",
        "a link of git-annex",
        "a Git LFS pointer",
        "a folder",
        "cannot be read (File name too long)",
    ]


def test_labels_may_change_without_a_new_corpus(sounds, tmp_path):
    def build(label: str):
        rows = [{"path": "sounds/a/whole.wav", "label": label}]
        return build_corpus(listed(tmp_path / "list.csv", rows), tmp_path / "out", clip=2.0)

    first, second = build("hum"), build("hiss")
    assert first.hash == second.hash  # targets do not depend on labels
    assert open_corpus(tmp_path / "out").column("label").tolist() == ["hiss"]


def test_a_parquet_list_with_ids_of_its_own(sounds, tmp_path):
    columns = {
        "id": ["one", "two"],
        "path": ["sounds/b/long.wav", str(sounds / "a/whole.wav")],
        "label": [["x", "y"], ["z"]],
    }
    pq.write_table(pa.table(columns), tmp_path / "list.parquet")
    corpus = build_corpus(tmp_path / "list.parquet", tmp_path / "out", clip=2.0)
    assert corpus.ids() == ["one@0.000", "one@2.000", "one@3.000", "two"]
    assert list(corpus.column("label")) == ["x;y", "x;y", "x;y", "z"]
    assert corpus.ids([3, 0]) == ["two", "one@0.000"] and corpus.ids(slice(1, 3)) == ["one@2.000", "one@3.000"]


def test_paths_of_a_list_may_lie_anywhere(sounds, tmp_path):
    rows = [{"path": "../sounds/a/whole.wav"}, {"path": str(sounds / "b/long.wav")}]
    (tmp_path / "lists").mkdir()
    corpus = build_corpus(listed(tmp_path / "lists/list.csv", rows), tmp_path / "out", clip=5.0)
    assert corpus.ids() == ["sounds/a/whole.wav", "sounds/b/long.wav"]
    assert corpus.root == str(tmp_path)


@pytest.mark.parametrize(
    ("rows", "error", "message"),
    [
        ([{"file": "a.wav"}], OptionError, "has no column path"),
        ([{"path": "sounds/a/whole.wav", "start": "soon"}], OptionError, "column start"),
        ([{"path": ""}], OptionError, r"has no rows below the names of its columns \(path\)"),
        ([{"path": "", "id": "x"}], AudioError, "lists no files"),
        ([{"path": "sounds/none.wav"}], AudioError, "none of the 1 files"),
        (
            [{"path": "sounds/a/whole.wav", "id": "x"}, {"path": "sounds/a/short.wav", "id": "x"}],
            OptionError,
            "two files",
        ),
    ],
)
def test_bad_lists_get_messages(sounds, tmp_path, rows, error, message):
    with pytest.raises(error, match=message):
        build_corpus(listed(tmp_path / "list.csv", rows), tmp_path / "out")


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(AudioError, match="does not exist"):
        build_corpus(tmp_path / "nowhere", tmp_path / "out")
    (tmp_path / "empty").mkdir()
    with pytest.raises(AudioError, match="no audio found"):
        build_corpus(tmp_path / "empty", tmp_path / "out")
    with pytest.raises(OptionError, match="clip is 0"):
        build_corpus(tmp_path, tmp_path / "out", clip=0)


def shard(file: Path, sounds: Path, names: list[str]) -> Path:
    with tarfile.open(file, "w") as out:
        for name in names:
            out.add(sounds / name, name)
        note = b"not a sound"
        entry = tarfile.TarInfo("note.json")
        entry.size = len(note)
        out.addfile(entry, io.BytesIO(note))
    return file


def test_tar_shards_hold_the_same_clips_as_files(sounds, tmp_path):
    shards = tmp_path / "shards"
    shards.mkdir()
    shard(shards / "0.tar", sounds, ["a/short.wav", "a/whole.wav"])
    shard(shards / "1.tar", sounds, ["b/long.wav", "b/tail.wav"])
    files = build_corpus(sounds, tmp_path / "files", clip=2.0)
    packed = build_corpus(shards, tmp_path / "packed", clip=2.0)
    assert packed.ids()[0] == "0.tar/a/short.wav" and packed.ids()[4] == "1.tar/b/long.wav@3.000"
    assert list(packed.column("content")) == list(files.column("content"))
    for one, other in zip(read_clips(packed, range(7), 16000), read_clips(files, range(7), 16000), strict=True):
        np.testing.assert_array_equal(one, other)
    alone = build_corpus(shards / "1.tar", tmp_path / "alone", clip=2.0)
    assert alone.ids() == packed.ids(slice(2, 7))
    write(shards / "loose.wav", noise(1, 20))
    assert build_corpus(shards, tmp_path / "both", clip=2.0).ids() == ["loose.wav", *packed.ids()]


def test_a_packed_tar_is_refused_and_a_cut_one_used(sounds, tmp_path):
    with tarfile.open(tmp_path / "x.tar.gz", "w:gz") as out:
        out.add(sounds / "a/whole.wav", "whole.wav")
    with pytest.raises(AudioError, match=r"compressed.*unpack it"):
        build_corpus(tmp_path / "x.tar.gz", tmp_path / "out")
    (tmp_path / "folder").mkdir()
    shutil.copy(tmp_path / "x.tar.gz", tmp_path / "folder/x.tar.gz")
    with pytest.raises(AudioError, match=r"compressed.*unpack it"):
        build_corpus(tmp_path / "folder", tmp_path / "out")
    shutil.copy(tmp_path / "x.tar.gz", tmp_path / "lies.tar")
    with pytest.raises(AudioError, match="uncompressed tar"):
        build_corpus(tmp_path / "lies.tar", tmp_path / "out")
    cut = shard(tmp_path / "cut.tar", sounds, ["a/whole.wav", "b/long.wav"])
    cut.write_bytes(cut.read_bytes()[:90_000])
    corpus = build_corpus(cut, tmp_path / "cut", clip=2.0)
    assert corpus.ids()[0] == "cut.tar/a/whole.wav"
    assert any("tar" in reason for _, reason in corpus.skipped)


@needs_posix
def test_a_folder_names_what_it_passes_over(sounds, tmp_path):
    shard(sounds / "0.tar", sounds, ["a/short.wav"])
    with tarfile.open(sounds / "1.tar.gz", "w:gz") as out:
        out.add(sounds / "a/short.wav", "short.wav")
    shutil.move(sounds / "a/whole.wav", sounds / "a/whole")
    (sounds / "gone.wav").symlink_to("nowhere.wav")
    corpus = build_corpus(sounds, tmp_path / "out", clip=2.0)
    assert "a/whole" in corpus.ids() and len(corpus) == 7
    assert corpus.skipped == [
        ("1.tar.gz", "compressed, so that a clip cannot be found in it: unpack it, or pack with `tar -cf`"),
        ("gone.wav", "a link to nowhere.wav, which is not there: mend or remove it"),
        ("0.tar/a/short.wav", "duplicate of a/short.wav"),
    ]


def test_odd_members_of_a_tar_are_listed(sounds, tmp_path):
    data = (sounds / "a/whole.wav").read_bytes()
    members = [
        ("whole.wav", tarfile.REGTYPE, ""),
        ("\udcff.wav", tarfile.REGTYPE, ""),
        ("hard.wav", tarfile.LNKTYPE, "whole.wav"),
        ("soft.wav", tarfile.SYMTYPE, "gone.wav"),
        ("pipe.wav", tarfile.FIFOTYPE, ""),
        ("x.txt", tarfile.REGTYPE, ""),
        ("other", tarfile.REGTYPE, ""),
    ]
    with tarfile.open(tmp_path / "x.tar", "w", format=tarfile.GNU_FORMAT, errors="surrogateescape") as out:
        for name, kind, target in members:
            entry = tarfile.TarInfo(name)
            entry.type, entry.linkname = kind, target
            content = data if name != "other" else (sounds / "b/long.wav").read_bytes()
            entry.size = len(content) if kind == tarfile.REGTYPE else 0
            out.addfile(entry, io.BytesIO(content))
    corpus = build_corpus(tmp_path / "x.tar", tmp_path / "out", clip=5.0)
    assert corpus.ids() == ["x.tar/whole.wav", "x.tar/other"]
    assert dict(corpus.skipped) == {
        "x.tar/\udcff.wav": "its name is not UTF-8: rename it",
        "x.tar/hard.wav": "duplicate of whole.wav",
        "x.tar/soft.wav": "a link to gone.wav, not a file: pack files with `tar -h`",
        "x.tar/pipe.wav": "not a plain file",
    }


@pytest.mark.parametrize("size", [2**63, 2**87, -1, 10**9])
def test_a_tar_of_an_impossible_size_is_listed(sounds, tmp_path, size):
    shard(tmp_path / "x.tar", sounds, ["a/whole.wav", "b/long.wav"])
    content = bytearray((tmp_path / "x.tar").read_bytes())
    second = content.index(b"b/long.wav")
    number = size.to_bytes(12, "big", signed=True)
    content[second + 124 : second + 136] = number if size < 0 else b"\x80" + number[1:]
    content[second + 148 : second + 156] = b" " * 8
    content[second + 148 : second + 156] = b"%06o\0 " % sum(content[second : second + 512])
    (tmp_path / "x.tar").write_bytes(content)
    corpus = build_corpus(tmp_path / "x.tar", tmp_path / "out", clip=5.0)
    assert corpus.ids() == ["x.tar/a/whole.wav"]
    assert [name for name, _ in corpus.skipped] == ["x.tar"] and "what came before was used" in corpus.skipped[0][1]


@needs_linux
def test_names_that_are_not_utf8_are_listed(sounds, tmp_path):
    odd = os.fsdecode(b"odd\xff")
    shutil.copytree(sounds / "b", sounds / odd)
    shard(sounds / f"{odd}.tar", sounds, ["a/short.wav"])
    corpus = build_corpus(sounds, tmp_path / "out", clip=5.0)
    assert {name for name, reason in corpus.skipped if "not UTF-8" in reason} == {
        f"{odd}/long.wav", f"{odd}/tail.wav", f"{odd}.tar"
    }  # fmt: skip
    with pytest.raises(OptionError, match="not UTF-8"):
        build_corpus(sounds / odd, tmp_path / "other")
    with pytest.raises(OptionError, match="not UTF-8"):
        build_corpus(sounds, tmp_path / odd)


def test_urls_are_opened_by_fsspec(sounds, tmp_path):
    fsspec = pytest.importorskip("fsspec")
    with fsspec.open("memory://bucket/x.wav", "wb") as out:
        out.write((sounds / "a/whole.wav").read_bytes())
    rows = [{"path": "memory://bucket/x.wav"}, {"path": "memory://bucket/none.wav"}]
    corpus = build_corpus(listed(tmp_path / "list.csv", rows), tmp_path / "out")
    assert corpus.ids() == ["memory://bucket/x.wav"] and len(corpus.skipped) == 1
    np.testing.assert_array_equal(read_clips(corpus, [0], RATE)[0], noise(2.0, 1))


def test_an_interrupted_scan_goes_on(sounds, tmp_path, monkeypatch):
    monkeypatch.setattr(scan, "BATCH", 2)
    look, looked = audio.info, []

    def info(source):
        looked.append(Path(source).name)
        if len(looked) == 3:
            raise KeyboardInterrupt
        return look(source)

    monkeypatch.setattr(scan, "info", info)
    with pytest.raises(KeyboardInterrupt):
        build_corpus(sounds, tmp_path / "out", clip=2.0, workers=1)
    looked.clear()
    looked.extend(["before"] * 10)
    build_corpus(sounds, tmp_path / "out", clip=2.0, workers=1)
    assert looked[10:] == ["long.wav", "tail.wav"]
    build_corpus(sounds, tmp_path / "out", clip=2.0)
    assert len(looked) == 12  # nothing has changed: nothing is opened


def test_large_files_are_hashed_in_pieces(tmp_path, monkeypatch):
    monkeypatch.setattr(scan, "PIECE", 100)
    monkeypatch.setattr(scan, "WHOLE", 1000)
    content = bytes(range(256)) * 8
    same = scan._content(io.BytesIO(content))
    assert scan._content(io.BytesIO(content)) == same
    for changed in (b"x" + content[1:], content[:-1] + b"x", content[:1050] + b"x" + content[1051:], content + b"x"):
        assert scan._content(io.BytesIO(changed)) != same
    assert scan._content(io.BytesIO(content[:1000])) != scan._content(io.BytesIO(content[:500] + b"x" * 500))


def test_a_folder_without_a_corpus(tmp_path):
    with pytest.raises(RunError, match="sondino corpus"):
        open_corpus(tmp_path)
