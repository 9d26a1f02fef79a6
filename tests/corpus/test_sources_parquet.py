"""Parquet with audio inside, in the hub's layout, written by pyarrow."""

import io
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import soundfile

from helpers.corpora import RATE, Moments, noise, read_clips, write_sounds
from sondino.corpus.sources import Fetcher, parquet
from sondino.corpus.sources.listing import places_of
from sondino.corpus.table import build_corpus, open_corpus
from sondino.corpus.targets import compute_targets
from sondino.errors import AudioError, OptionError, RunError

AUDIO = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


def sound(seed: int, seconds: float = 0.5) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, noise(seconds, seed), RATE, format="WAV", subtype="FLOAT")
    return file.getvalue()


def hub(
    file: Path, cells: list[Any], features: dict[str, Any] | None = None, group: int = 100, **columns: pa.Array
) -> Path:
    """A file as `datasets` writes it."""
    known = {"audio": {"_type": "Audio"}} if features is None else features
    table = pa.table({"audio": pa.array(cells, AUDIO), **columns})
    if known:
        table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": known}})})
    file.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, file, row_group_size=group)
    return file


def cells(seeds: range) -> list[dict[str, Any]]:
    return [{"bytes": sound(seed), "path": f"{seed}.wav"} for seed in seeds]


def test_vectors_are_those_of_the_files_to_the_bit(tmp_path):
    local = write_sounds(tmp_path / "local", {f"{seed:02d}.wav": 0.5 for seed in range(11)})
    rows = [{"bytes": file.read_bytes(), "path": file.name} for file in sorted(local.iterdir())]
    ids = pa.array([file.name for file in sorted(local.iterdir())])
    hub(tmp_path / "hub/data/train-0.parquet", rows[:7], group=3, id=ids[:7])
    hub(tmp_path / "hub/data/train-1.parquet", rows[7:], group=3, id=ids[7:])
    (tmp_path / "hub/README.md").write_text("# A data set")
    inside, plain = build_corpus(tmp_path / "hub", tmp_path / "inside"), build_corpus(local, tmp_path / "plain")
    assert inside.ids() == plain.ids() and inside.skipped == []
    assert inside.hash == plain.hash  # the same ids and the same bytes
    # A part ends in the middle of a row group, and the next goes on there.
    found, expected = (np.array(compute_targets(one, Moments(), part_rows=4).matrix) for one in (inside, plain))
    np.testing.assert_array_equal(found, expected)
    assert found[:, 1].min() > 0.09


def test_the_table_says_where_each_row_lies(tmp_path):
    file = hub(tmp_path / "x.parquet", cells(range(5)), group=2)
    corpus = build_corpus(file, tmp_path / "out")
    assert corpus.ids() == [f"x.parquet:{row}" for row in range(5)]
    assert list(corpus.column("group")) == [0, 0, 1, 1, 2] and list(corpus.column("row")) == [0, 1, 0, 1, 0]
    assert set(corpus.column("column")) == {"audio"} and set(corpus.column("path")) == {"x.parquet"}
    again = open_corpus(tmp_path / "out")
    np.testing.assert_array_equal(read_clips(again, [3], RATE)[0], noise(0.5, 3))
    assert build_corpus(file, tmp_path / "out").hash == corpus.hash


def test_a_row_group_is_read_once_and_in_order(tmp_path, monkeypatch):
    corpus = build_corpus(hub(tmp_path / "x.parquet", cells(range(12)), group=6), tmp_path / "out")
    opened, asked = [], []
    make, read = parquet.GroupReader.__init__, parquet.GroupReader.read

    def counted(self, file, group, column):
        opened.append(group)
        make(self, file, group, column)

    def noted(self, row):
        asked.append(row)
        return read(self, row)

    monkeypatch.setattr(parquet.GroupReader, "__init__", counted)
    monkeypatch.setattr(parquet.GroupReader, "read", noted)
    compute_targets(corpus, Moments(), part_rows=5)
    assert opened == [0, 1] and asked == [*range(6), *range(6)]
    # Rows in any order are asked for in theirs.
    opened.clear(), asked.clear()
    with Fetcher(corpus.root) as fetcher:
        given = [number for number, _ in fetcher.fetch(places_of(corpus.table, [4, 1, 9, 2]))]
    assert opened == [0, 1] and asked == [1, 2, 4, 3] and given == [1, 3, 0, 2]


def test_labels_come_along(tmp_path):
    names = {"audio": {"_type": "Audio"}, "label": {"_type": "ClassLabel", "names": ["cat", "dog"]}}
    numbers = hub(tmp_path / "1.parquet", cells(range(3)), names, label=pa.array([1, 0, -1]))
    assert list(build_corpus(numbers, tmp_path / "a").column("label")) == ["dog", "cat", None]
    several = {"audio": {"_type": "Audio"}, "labels": {"_type": "List", "feature": names["label"]}}
    lists = hub(tmp_path / "2.parquet", cells(range(3)), several, labels=pa.array([[1, 0], [], [0]]))
    assert list(build_corpus(lists, tmp_path / "b").column("label")) == ["dog;cat", None, "cat"]
    older = {"audio": {"_type": "Audio"}, "labels": [names["label"]]}
    lists = hub(tmp_path / "3.parquet", cells(range(2)), older, labels=pa.array([[1, 0], [1]]))
    assert list(build_corpus(lists, tmp_path / "c").column("label")) == ["dog;cat", "dog"]
    text = hub(tmp_path / "4.parquet", cells(range(2)), labels=pa.array([["/m/1", "/t/2"], ["/m/1"]]))
    assert list(build_corpus(text, tmp_path / "d").column("label")) == ["/m/1;/t/2", "/m/1"]


def test_ids_that_are_not_of_their_own_give_way_to_the_row(tmp_path):
    hub(tmp_path / "set/a.parquet", cells(range(3)), video_id=pa.array(["x", "y", "x"]))
    hub(tmp_path / "set/b.parquet", cells(range(3, 5)), video_id=pa.array(["z", None]))
    assert build_corpus(tmp_path / "set", tmp_path / "out").ids() == [
        "a.parquet:0", "y", "a.parquet:2", "z", "b.parquet:1"
    ]  # fmt: skip


def test_what_is_passed_over_is_named(tmp_path):
    rows = [*cells(range(2)), {"bytes": b"no sound", "path": "x.wav"}, None, {"bytes": None, "path": None}]
    rows += [{"bytes": None, "path": "/home/me/7.wav"}, {"bytes": sound(0), "path": "copy.wav"}]
    hub(tmp_path / "set/a.parquet", rows)
    pq.write_table(pa.table({"text": ["a"]}), tmp_path / "set/b.parquet")
    (tmp_path / "set/c.parquet").write_bytes(b"PAR1 and no more")
    corpus = build_corpus(tmp_path / "set", tmp_path / "out")
    assert corpus.ids() == ["a.parquet:0", "a.parquet:1"]
    reasons = dict(corpus.skipped)
    assert set(reasons) == {"b.parquet", "c.parquet", *(f"a.parquet:{row}" for row in range(2, 7))}
    assert reasons["b.parquet"] == parquet.NO_AUDIO and "cannot be read as Parquet" in reasons["c.parquet"]
    assert "cell is empty" in reasons["a.parquet:3"] and "cell is empty" in reasons["a.parquet:4"]
    assert "/home/me/7.wav" in reasons["a.parquet:5"] and "does not embed audio" in reasons["a.parquet:5"]
    assert reasons["a.parquet:6"] == "duplicate of a.parquet:0"


def test_paths_without_bytes_are_one_clear_error(tmp_path):
    file = hub(tmp_path / "x.parquet", [{"bytes": None, "path": r"C:\sounds\1.wav"}] * 2)
    with pytest.raises(AudioError, match=r"C:\\sounds\\1.wav and no bytes, since `Dataset.to_parquet`"):
        build_corpus(file, tmp_path / "out")


def test_a_picture_is_no_sound_and_a_list_stays_a_list(tmp_path):
    image = {"audio": {"_type": "Image"}}
    with pytest.raises(OptionError, match="no column path"):
        build_corpus(hub(tmp_path / "x.parquet", cells(range(1)), image), tmp_path / "out")
    write_sounds(tmp_path, {"a.wav": 0.5})
    pq.write_table(pa.table({"path": ["a.wav"]}), tmp_path / "list.parquet")
    assert build_corpus(tmp_path / "list.parquet", tmp_path / "listed").ids() == ["a.wav"]
    assert build_corpus(tmp_path, tmp_path / "folder").skipped == []  # beside sound, a list is no sound
    bare = hub(tmp_path / "bare/x.parquet", cells(range(2)), {})  # no metadata: found by its fields
    assert len(build_corpus(bare, tmp_path / "found")) == 2


def test_a_file_that_shrank_is_a_reason_for_each_row(tmp_path):
    file = hub(tmp_path / "x.parquet", cells(range(4)), group=2)
    corpus = build_corpus(file, tmp_path / "out")
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(RunError, match=r"no clip of .* could be decoded.*cannot be read as Parquet"):
        compute_targets(corpus, Moments())


MEASURE = """
import resource, sys
from sondino.corpus.table import build_corpus
from sondino.corpus.waveforms import decoded_parts
from sondino.corpus.parts import Parts
from pathlib import Path
import numpy as np
def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
before = peak()
corpus = build_corpus(sys.argv[1], sys.argv[2], clip=120.0, workers=2)
parts = Parts(Path(sys.argv[2]) / "parts", len(corpus), 8)
for part, clips in decoded_parts(corpus, 8000, parts, np.arange(len(corpus)), 2):
    assert not any(isinstance(clip, str) for clip in clips)
print(len(corpus), peak() - before)
"""


@pytest.mark.full
@pytest.mark.skipif(sys.platform == "win32", reason="another operating system: needs POSIX resource limits")
def test_a_row_group_is_never_in_memory_whole(tmp_path):
    # 96 rows of 1.9 MB in one row group, in pages as `datasets` writes them; 2 min of silence but for the row's number.
    rows = 96
    content = io.BytesIO()
    soundfile.write(content, np.zeros(960_000, np.int16), RATE, format="WAV", subtype="PCM_16")
    plain = bytearray(content.getvalue())
    schema = pa.schema([("audio", AUDIO)], metadata={"huggingface": '{"info": {"features": {}}}'})
    options = {"use_content_defined_chunking": True} if int(pa.__version__.split(".")[0]) >= 21 else {}
    with pq.ParquetWriter(tmp_path / "x.parquet", schema, compression="none", use_dictionary=False, **options) as out:
        made = []
        for row in range(rows):
            plain[1000:1004] = row.to_bytes(4, "little")
            made.append({"bytes": bytes(plain), "path": None})
        out.write_table(pa.table({"audio": pa.array(made, AUDIO)}, schema), row_group_size=rows)
    size = (tmp_path / "x.parquet").stat().st_size
    assert size > 180_000_000
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", MEASURE, str(tmp_path / "x.parquet"), str(tmp_path / "out")],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    clips, grown = map(int, done.stdout.split())
    assert clips == rows
    if options:
        assert grown < 100, f"{grown} MB more than before"
