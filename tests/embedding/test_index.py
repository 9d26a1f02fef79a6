"""Search by an index, against exact search; tables in parts; indexes that are stale, damaged or of another table."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from sondino import cli
from sondino.embedding import row_readers, table_readers
from sondino.embedding.row_readers import open_rows
from sondino.embedding.similar import find_similar, query_of_id
from sondino.embedding.table_readers import read_rows
from sondino.embedding.tables import WRITERS, TableForm, TablePart
from sondino.errors import MissingExtra, OptionError, RunError, SondinoError

DIM = 16
BY_ROW = [".npz", ".npy", ".parquet", ".lance", "parts"]


def clustered(count: int, seed: int = 0) -> NDArray[np.float32]:
    """Embeddings (count, DIM) about 20 centres."""
    rng = np.random.default_rng(seed)
    centres = np.random.default_rng(99).normal(size=(20, DIM))
    return (centres[rng.integers(20, size=count)] + 0.5 * rng.normal(size=(count, DIM))).astype(np.float32)


def write(table: Path, rows: NDArray[np.float32], counts: list[int] | None = None, channels: int = 1) -> Path:
    """A table of clips `é 0.wav`, ..., with so many windows each; "parts" makes a folder of three files."""
    if table.suffix == ".parquet" or table.name == "parts":
        pytest.importorskip("pyarrow")
    if table.suffix == ".lance":
        pytest.importorskip("lance", reason="the lance extra is not installed")
    windows = counts is not None
    counts = counts or [1] * len(rows)
    firsts = np.cumsum([0, *counts])
    parts = []
    for first in range(0, len(counts), 100):
        own = counts[first : first + 100]
        last = first + len(own)
        starts = np.concatenate([np.arange(count) / 2 for count in own])
        numbers = [clip % channels + 1 for clip in range(first, last)] if channels > 1 else []
        ids = [f"é {clip // channels}.wav" for clip in range(first, last)]
        parts.append(TablePart(ids, own, rows[firsts[first] : firsts[last]], starts, 0.0, [], numbers))

    def form(of: list[TablePart]) -> TableForm:
        return TableForm(
            sum(len(part.ids) for part in of),
            sum(map(len, (part.embeddings for part in of))),
            DIM,
            windows,
            channels > 1,
        )

    if table.name != "parts":
        WRITERS[table.suffix](table, iter(parts), form(parts))
        return table
    table.mkdir()
    listed = []
    for number, at in enumerate(range(0, len(parts), -(-len(parts) // 3))):
        some = parts[at : at + -(-len(parts) // 3)]
        WRITERS[".parquet"](table / f"part-{number:06d}.parquet", iter(some), form(some))
        listed.append({"file": f"part-{number:06d}.parquet", "rows": form(some).rows})
    facts = {"format": "sondino-parts-1", "dim": DIM, "rows": len(rows), "per_window": windows, "parts": listed}
    (table / "manifest.json").write_text(json.dumps(facts))
    return table


def call(*arguments: object) -> int:
    with pytest.raises(SystemExit) as left:
        cli.main([str(argument) for argument in arguments])
    return int(left.value.code or 0)


class TestParts:
    def test_rows_are_those_of_one_table(self, tmp_path: Path) -> None:
        rows = clustered(500)
        one = list(read_rows(write(tmp_path / "t.parquet", rows)))
        many = list(read_rows(write(tmp_path / "parts", rows)))
        assert [name for block in many for name in block.ids] == [name for block in one for name in block.ids]
        np.testing.assert_array_equal(np.concatenate([block.embeddings for block in many]), rows)
        (tmp_path / "parts" / "manifest.json").unlink()  # then all files by name
        np.testing.assert_array_equal(np.concatenate([b.embeddings for b in read_rows(tmp_path / "parts")]), rows)

    def test_a_clip_may_go_on_in_the_next_part(self, tmp_path: Path) -> None:
        pytest.importorskip("pyarrow")
        for number, angle in enumerate((0, 90)):
            vector = np.zeros((1, DIM), np.float32)
            vector[0, angle // 90] = 1
            part = TablePart(["a.wav"], [1], vector, np.array([float(number)]), 0.0, [])
            WRITERS[".parquet"](tmp_path / f"{number}.parquet", iter([part]), TableForm(1, 1, DIM, per_window=True))
        (near,) = find_similar(np.eye(DIM)[1], tmp_path)
        assert (near.id, near.start, near.cosine) == ("a.wav", 1.0, 1.0)

    @pytest.mark.parametrize(
        ("what", "message"),
        [
            ("lacks", "lacks 1 of its 3 parts, such as part-000001.parquet"),
            ("rows", "part-000000.parquet has 200 rows, and the table's manifest says 100"),
            ("total", "says 501 rows, and its parts have 500"),
            ("format", "its format is 'sondino-parts-9', not 'sondino-parts-1'"),
            ("key", "it has no 'parts'"),
            ("outside", "it names parts outside its folder"),
            ("dim", "another dimension or other columns"),
            ("windows", "another dimension or other columns"),
            ("text", "manifest.json cannot be read"),
            ("empty", "without manifest.json or .parquet files"),
        ],
    )
    def test_what_is_not_whole_is_named(self, what: str, message: str, tmp_path: Path) -> None:
        table = write(tmp_path / "parts", clustered(500))
        file = table / "manifest.json"
        facts = json.loads(file.read_text())
        if what == "lacks":
            (table / "part-000001.parquet").unlink()
        elif what == "outside":
            facts["parts"][0]["file"] = "../part-000000.parquet"
        elif what == "key":
            del facts["parts"]
        elif what == "empty":
            for part in table.iterdir():
                part.unlink()
        facts |= {"total": {"rows": 501}, "dim": {"dim": 8}, "windows": {"per_window": True}}.get(what, {})
        facts |= {"format": "sondino-parts-9"} if what == "format" else {}
        if what == "rows":
            facts["parts"][0]["rows"], facts["parts"][2]["rows"] = 100, 200
        if what != "empty":
            file.write_text("{" if what == "text" else json.dumps(facts))
        with pytest.raises(SondinoError, match=message.replace("(", r"\(")):
            find_similar(np.ones(DIM), table)


@pytest.mark.parametrize("name", BY_ROW)
def test_rows_are_read_by_number(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = clustered(750)
    table = write(tmp_path / ("t" + name if name[0] == "." else name), rows)
    spans = [(0, 1), (1, 3), (99, 101), (150, 420), (749, 750)]
    with open_rows(table) as reader:
        assert reader.rows == 750
        np.testing.assert_array_equal(reader.read(spans), np.concatenate([rows[a:b] for a, b in spans]))


def test_a_large_row_group_is_read_in_batches(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    rows = clustered(5000)
    vectors = pyarrow.FixedSizeListArray.from_arrays(pyarrow.array(rows.ravel()), DIM)
    table = pyarrow.table({"id": [str(i) for i in range(5000)], "vector": vectors})
    parquet.write_table(table, tmp_path / "t.parquet")
    spans = [(5, 6), (1020, 3000), (4090, 4100)]
    with open_rows(tmp_path / "t.parquet") as reader:
        np.testing.assert_array_equal(reader.read(spans), np.concatenate([rows[a:b] for a, b in spans]))


@pytest.mark.parametrize("name", [".csv", "compressed"])
def test_a_table_that_is_read_from_its_beginning_gets_no_index(name: str, tmp_path: Path) -> None:
    if name == ".csv":
        table = write(tmp_path / "t.csv", clustered(3))
    else:
        table = tmp_path / "t.npz"
        np.savez_compressed(table, ids=["a"], vectors=np.ones((1, 4), np.float32))
    with pytest.raises(OptionError, match="only be read from its beginning"), open_rows(table):
        pass


def test_without_the_extra_the_message_has_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from sondino.embedding.search_index import build_index

    monkeypatch.setitem(sys.modules, "usearch.index", None)
    with pytest.raises(MissingExtra, match=r"pip install 'sondino\[search\]'"):
        build_index(write(tmp_path / "t.npz", clustered(3)))
    assert [file.name for file in tmp_path.iterdir()] == ["t.npz"]


# One thread makes the same graph each time.


class TestWithUsearch:
    @pytest.fixture(autouse=True)
    def _installed(self) -> None:
        pytest.importorskip("usearch", reason="the search extra is not installed")

    @pytest.mark.parametrize("name", BY_ROW)
    def test_the_answer_is_that_of_exact_search(self, name: str, tmp_path: Path) -> None:
        from sondino.embedding.search_index import build_index, index_beside, open_index

        table = write(tmp_path / ("t" + name if name[0] == "." else name), clustered(1500))
        told: list[tuple[int, int]] = []
        made = build_index(table, threads=1, progress=lambda done, total: told.append((done, total)))
        assert made.folder == index_beside(table) and (made.rows, made.clips, made.dim, made.empty) == (
            1500,
            1500,
            DIM,
            0,
        )
        assert made.recall is not None and made.recall > 0.95 and made.queries == 100
        assert told[0] == (0, 1500) and told[-1] == (1500, 1500)
        index = open_index(made.folder, table)
        same = 0
        one = clustered(1, seed=1)
        assert set(find_similar(one, table, index=index)) <= set(find_similar(one, table, k=1500))  # cosines too
        for query in clustered(10, seed=1):
            found, exact = find_similar(query, table, index=index), find_similar(query, table)
            assert found.by_index and not exact.by_index and exact.compared == 1500 > found.compared >= 40
            same += len(set(found) & set(exact))
        assert same >= 95
        assert query_of_id("é 7.wav", table, index).tolist() == query_of_id("é 7.wav", table).tolist()
        near = find_similar(query_of_id("é 7.wav", table), table, 5, leave_out="é 7.wav", index=index)
        assert near == find_similar(query_of_id("é 7.wav", table), table, 5, leave_out="é 7.wav")

    @pytest.mark.parametrize("queries", [1, 3])
    def test_windows_of_a_clip_count_together(
        self, queries: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        from sondino.embedding.search_index import build_index

        counts = np.random.default_rng(5).integers(1, 12, size=400).tolist()
        table = write(tmp_path / "t.npz", clustered(sum(counts)), counts)
        made = build_index(table, recall_queries=0, threads=1)
        assert made.recall is None and (made.rows, made.clips) == (sum(counts), 400)
        monkeypatch.setattr(table_readers, "BLOCK_BYTES", 7 * DIM * 4)  # clips are cut at 7 rows
        for seed in range(5):
            query = clustered(queries, seed=10 + seed)
            found = find_similar(query, table, 3, index=made.folder)
            assert found.by_index and found[0] == find_similar(query, table, 3)[0]

    def test_each_channel_is_a_clip(self, tmp_path: Path) -> None:
        from sondino.embedding.search_index import build_index, open_index

        rows = clustered(600)
        table = write(tmp_path / "t.npz", rows, channels=2)
        index = open_index(build_index(table, threads=1).folder, table)
        assert index.clips_named("é 4.wav") == [8, 9]
        found = find_similar(rows[9], table, 1, index=index)
        assert found.by_index and (found[0].id, found[0].channel) == ("é 4.wav", 2)
        assert {near.id for near in find_similar(rows[9], table, 5, "é 4.wav", index)} & {"é 4.wav"} == set()

    def test_rows_of_zeros_have_no_place_in_it(self, tmp_path: Path) -> None:
        from sondino.embedding.search_index import build_index

        rows = clustered(400)
        rows[::4] = 0
        table = write(tmp_path / "t.npz", rows)
        made = build_index(table, threads=1)
        assert (made.rows, made.empty) == (400, 100) and made.recall is not None and made.recall > 0.95
        found = find_similar(rows[1], table, index=made.folder)
        assert found.by_index and found == find_similar(rows[1], table)

    def test_what_needs_half_of_the_table_reads_it(self, tmp_path: Path) -> None:
        from sondino.embedding.search_index import build_index

        rows = clustered(300)
        table = write(tmp_path / "t.npz", rows)
        found = find_similar(rows[0], table, 50, index=build_index(table, threads=1).folder)
        assert not found.by_index and found.compared == 300

    def test_nan_and_no_rows_are_refused(self, tmp_path: Path) -> None:
        from sondino.embedding.search_index import build_index

        rows = clustered(30)
        rows[3, 2] = np.nan
        with pytest.raises(SondinoError, match=r"the embedding of é 3\.wav holds NaN"):
            build_index(write(tmp_path / "t.npz", rows))
        with pytest.raises(OptionError, match="has no rows"):
            build_index(write(tmp_path / "none.npz", rows[:0]))
        assert sorted(file.name for file in tmp_path.iterdir()) == ["none.npz", "t.npz"]

    def test_what_is_there_and_no_index_stays(self, tmp_path: Path) -> None:
        from sondino.embedding.search_index import build_index

        table = write(tmp_path / "t.npz", clustered(30))
        (tmp_path / "t.npz.index").mkdir()
        (tmp_path / "t.npz.index" / "mine.txt").write_text("mine")
        with pytest.raises(OptionError, match="is no index"):
            build_index(table, threads=1)
        assert (tmp_path / "t.npz.index" / "mine.txt").read_text() == "mine"
        assert build_index(table, tmp_path / "other", threads=1).folder == tmp_path / "other"
        build_index(table, tmp_path / "other", threads=1)  # an older index is replaced

    @pytest.mark.parametrize("name", BY_ROW)
    def test_a_changed_table_is_refused(self, name: str, tmp_path: Path) -> None:
        from sondino.embedding.search_index import build_index, open_index

        table = write(tmp_path / ("t" + name if name[0] == "." else name), clustered(300))
        index = build_index(table, threads=1).folder
        file = max((table.rglob("*") if table.is_dir() else [table]), key=lambda file: file.stat().st_size)
        os.utime(file, (1, 1))
        open_index(index, table)  # another time, the same bytes
        content = bytearray(file.read_bytes())
        content[len(content) // 2] ^= 1
        file.write_bytes(content)
        with pytest.raises(OptionError, match="was made of another table"):
            open_index(index, table)
        file.write_bytes(content + b"x")
        with pytest.raises(SondinoError):
            open_index(index, table)

    def test_rows_in_another_order_are_noticed_though_size_and_time_are_the_same(self, tmp_path: Path) -> None:
        from sondino.embedding.search_index import build_index

        rows = clustered(300)
        table = write(tmp_path / "t.npz", rows)
        index, state = build_index(table, threads=1).folder, table.stat()
        write(table, np.roll(rows, 1, axis=0))
        os.utime(table, ns=(state.st_atime_ns, state.st_mtime_ns))
        with pytest.raises(OptionError, match="was made of another table"):
            find_similar(rows[0], table, index=index)

    def test_a_table_that_changes_meanwhile_gives_no_index(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        from sondino.embedding.search_index import build_index

        table = write(tmp_path / "t.npz", clustered(300))

        def progress(done: int, total: int) -> None:
            os.utime(table, (1, 1))

        with pytest.raises(RunError, match="changed while its index was made"):
            build_index(table, progress=progress, threads=1)
        assert [file.name for file in tmp_path.iterdir()] == ["t.npz"]

    def test_an_index_of_another_table_is_refused(self, tmp_path: Path) -> None:
        from sondino.embedding.search_index import build_index, open_index

        index = build_index(write(tmp_path / "t.npz", clustered(300))).folder
        with pytest.raises(OptionError, match="was made of another table"):
            open_index(index, write(tmp_path / "u.npz", clustered(300, seed=2)))
        with pytest.raises(OptionError, match="was made of another table"):
            open_index(index, write(tmp_path / "parts", clustered(300)))
        with pytest.raises(OptionError, match="no such index; `sondino index"):
            open_index(tmp_path / "nowhere", tmp_path / "t.npz")

    @pytest.mark.parametrize("file", ["graph.usearch", "ids.bin", "firsts.npy", "ends.npy"])
    @pytest.mark.parametrize("how", ["a bit", "shorter", "gone", "another's"])
    def test_damage_is_found_before_the_file_is_opened(self, file: str, how: str, tmp_path: Path) -> None:
        from sondino.embedding.search_index import build_index, open_index

        table = write(tmp_path / "t.npz", clustered(300))
        damaged = build_index(table, recall_queries=0, threads=1).folder / file
        content = bytearray(damaged.read_bytes())
        content[len(content) // 2] ^= 4
        if how == "gone":
            damaged.unlink()
        else:
            damaged.write_bytes({"a bit": content, "shorter": content[:-9], "another's": b"id,start\n" * 999}[how])
        with pytest.raises(RunError, match=r"cannot be used \(.*make it again with `sondino index"):
            open_index(damaged.parent, table)

    @pytest.mark.parametrize("facts", ["{", "[]", "{}", '{"format": "sondino-index-9"}'])
    def test_facts_of_another_kind_are_refused(self, facts: str, tmp_path: Path) -> None:
        from sondino.embedding.search_index import build_index, open_index

        table = write(tmp_path / "t.npz", clustered(300))
        index = build_index(table, recall_queries=0, threads=1).folder
        (index / "index.json").write_text(facts)
        with pytest.raises(RunError):
            open_index(index, table)

    def test_a_killed_build_leaves_none_and_the_next_one_is_whole(self, tmp_path: Path) -> None:
        from sondino.embedding.search_index import build_index, open_index

        table = write(tmp_path / "t.npz", clustered(300))
        code = (
            "import os, sys\nfrom sondino.embedding.search_index import build_index\n"
            "build_index(sys.argv[1], progress=lambda done, total: done and os._exit(9))"
        )
        assert subprocess.run([sys.executable, "-c", code, str(table)], check=False).returncode == 9
        assert not (tmp_path / "t.npz.index").exists()
        open_index(build_index(table, threads=1).folder, table)
        assert sorted(file.name for file in tmp_path.iterdir()) == ["t.npz", "t.npz.index"]

    def test_on_the_command_line(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        table = write(tmp_path / "t.npz", clustered(300))
        question = ("similar", "é 5.wav", "--in", table, "-k", 3)
        assert call(*question) == 0
        exact = capsys.readouterr()
        assert exact.err == "compared all 300 rows\n"
        assert call("index", table, "--recall-queries", 20, "--threads", 1, "--quiet") == 0
        told = capsys.readouterr().out
        assert told.startswith("300 rows, 16 dimensions, ") and "on 20 rows, in " in told
        assert call(*question) == 0
        found = capsys.readouterr()
        assert found.out == exact.out and "of 300 rows, to which the index" in found.err and "recall@10" in found.err
        assert call(*question, "--exact") == 0
        assert capsys.readouterr() == exact
        (tmp_path / "t.npz.index").replace(tmp_path / "elsewhere")
        assert call(*question, "--index", tmp_path / "elsewhere") == 0
        assert capsys.readouterr().out == exact.out
        assert call(*question, "--index", tmp_path / "elsewhere", "--exact") == 2
        assert "leave one of the two out" in capsys.readouterr().err
        write(table, clustered(301))
        assert call(*question, "--index", tmp_path / "elsewhere") == 2
        assert "search without it (--exact)" in capsys.readouterr().err


def test_members_of_a_zip_begin_where_its_local_header_says(tmp_path: Path) -> None:
    table = tmp_path / "t.npz"
    rows = clustered(4)
    np.savez(table, ids=np.array(list("abcd")), vectors=rows.astype(np.float64))  # with a padded header, in float64
    with open_rows(table) as reader:
        np.testing.assert_array_equal(reader.read([(1, 3)]), rows[1:3])
    assert row_readers.LOCAL_HEADER.size == 30
