"""Shards of WebDataset: whole names as ids, labels beside the sound."""

import io
import json
import tarfile
from pathlib import Path

import pytest

from helpers.corpora import noise, write
from sondino.corpus.sources.tars import read_label
from sondino.corpus.table import build_corpus


def shard(file: Path, members: dict[str, bytes]) -> Path:
    with tarfile.open(file, "w") as out:
        for name, content in members.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            out.addfile(entry, io.BytesIO(content))
    return file


@pytest.fixture
def sound(tmp_path):
    return lambda seed: write(tmp_path / f"{seed}.wav", noise(0.5, seed)).read_bytes()


def test_names_are_whole_and_labels_beside_them_are_paired(sound, tmp_path):
    file = shard(
        tmp_path / "w-000.tar",
        {
            "-AbCdEfGhIj_30.000_40.000.wav": sound(0),
            "-AbCdEfGhIj_30.000_40.000.json": json.dumps({"labels": ["/m/09x0r", "/t/dd00088"]}).encode(),
            "-AbCdEfGhIj_130.000_140.000.wav": sound(1),  # WebDataset would take the two for one
            "-AbCdEfGhIj_130.000_140.000.cls": b"7\n",
            "deep/a.b.wav": sound(2),
            "deep/a.b.txt": b"dog\ncat\n",
            "both.cls": b"1",  # before its sound, and the JSON wins
            "both.json": b'{"label": "rain", "other": 1}',
            "both.wav": sound(3),
            "none.wav": sound(4),
            "none.json": b'{"text": "no label"}',
        },
    )
    corpus = build_corpus(file, tmp_path / "out")
    assert dict(zip(corpus.ids(), corpus.column("label"), strict=True)) == {
        "w-000.tar/-AbCdEfGhIj_30.000_40.000.wav": "/m/09x0r;/t/dd00088",
        "w-000.tar/-AbCdEfGhIj_130.000_140.000.wav": "7",
        "w-000.tar/deep/a.b.wav": "dog;cat",
        "w-000.tar/both.wav": "rain",
        "w-000.tar/none.wav": None,
    }
    assert corpus.skipped == []


def test_labels_that_cannot_be_used_are_named(sound, tmp_path):
    file = shard(
        tmp_path / "x.tar",
        {
            "a.wav": sound(0),
            "a.json": b"{not JSON",
            "b.wav": sound(1),
            "b.txt": b"\xff\xfe",
            "c.wav": sound(2),
            "c.cls": b"3",
            "gone.cls": b"3",
        },
    )
    corpus = build_corpus(file, tmp_path / "out")
    assert list(corpus.column("label")) == [None, None, "3"]
    reasons = dict(corpus.skipped)
    assert set(reasons) == {"x.tar/a.json", "x.tar/b.txt", "x.tar/gone.cls"}
    assert all("its label cannot be read" in reasons[f"x.tar/{name}"] for name in ("a.json", "b.txt"))
    assert reasons["x.tar/gone.cls"] == "a label without a sound of its name"


def test_notes_in_a_tar_without_labels_are_no_matter(sound, tmp_path):
    file = shard(tmp_path / "x.tar", {"README.txt": b"A tar", "meta.json": b"[1]", "a.wav": sound(0)})
    corpus = build_corpus(file, tmp_path / "out")
    assert corpus.skipped == [] and "label" not in corpus.table.column_names


@pytest.mark.parametrize(
    ("suffix", "content", "label"),
    [
        (".json", b'{"label": 3}', "3"),
        (".json", b'{"labels": ["a", " b "]}', "a;b"),
        (".json", b'{"label": null}', ""),
        (".json", b"[1, 2]", ""),
        (".cls", b" 12 ", "12"),
        (".txt", b"\xef\xbb\xbfdog\r\n\r\ncat", "dog;cat"),
    ],
)
def test_what_a_label_file_says(suffix, content, label):
    assert read_label(suffix, content) == label
