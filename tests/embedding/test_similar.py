"""Search: angles whose cosines are known, and brute force over random embeddings."""

import csv
import io
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

from helpers.tiny_bundle import TINY_RATE, tiny_vectors
from sondino import cli
from sondino.embedding import table_readers
from sondino.embedding.similar import find_similar, query_of_id, query_of_sound
from sondino.embedding.table_readers import read_rows
from sondino.embedding.tables import WRITERS, TableForm, TablePart
from sondino.errors import OptionError, SondinoError

SUFFIXES = sorted(WRITERS)


def write(file: Path, clips: dict[str, list[list[float]]], windows: bool = False) -> Path:
    """A table as `embed` writes it, one part a clip; window i of a clip starts at i / 2 seconds."""
    if file.suffix == ".parquet":
        pytest.importorskip("pyarrow")
    if file.suffix == ".lance":
        pytest.importorskip("lance", reason="the lance extra is not installed")
    parts = [
        TablePart([name], [len(rows)], np.array(rows, np.float32), np.arange(len(rows)) / 2, 1.0, [])
        for name, rows in clips.items()
    ]
    rows = sum(len(part.embeddings) for part in parts)
    WRITERS[file.suffix](file, parts, TableForm(len(parts), rows, parts[0].embeddings.shape[1], windows))
    return file


def at(*degrees: float, length: float = 1.0) -> list[list[float]]:
    """Embeddings in the plane, at angles."""
    return [[length * np.cos(np.radians(d)), length * np.sin(np.radians(d))] for d in degrees]


def plain(file: Path) -> Path:
    clips = {"a": at(0, length=3), "b, c": at(90), "é": at(30, length=0.01), "d": at(180), "e": at(300)}
    return write(file, clips)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_nearest_by_angle_whatever_the_length(suffix: str, tmp_path: Path) -> None:
    found = find_similar([5.0, 0.0], plain(tmp_path / f"t{suffix}"), k=4)
    assert [(near.id, near.start) for near in found] == [("a", None), ("é", None), ("e", None), ("b, c", None)]
    assert [near.cosine for near in found] == pytest.approx([1, np.cos(np.radians(30)), 0.5, 0], abs=1e-6)


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("queries", [1, 3])
def test_windows_equal_brute_force_also_when_a_clip_spans_blocks(
    suffix: str, queries: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(table_readers, "BLOCK_BYTES", 7 * 8 * 4)  # 7 rows, of csv fewer
    rng = np.random.default_rng(0)
    clips = {f"clip {i}": rng.normal(size=(rng.integers(1, 12), 8)).tolist() for i in range(30)}
    query = rng.normal(size=(queries, 8))
    unit = query / np.linalg.norm(query, axis=1, keepdims=True)
    expected = []
    for name, rows in clips.items():
        x = np.array(rows, np.float32).astype(np.float64)
        cosines = unit @ (x / np.linalg.norm(x, axis=1, keepdims=True)).T
        expected.append((-cosines.max(1).mean(), name, cosines.mean(0).argmax() / 2))
    found = find_similar(query, write(tmp_path / f"t{suffix}", clips, windows=True), k=10)
    assert [(near.id, near.start) for near in found] == [(name, start) for _, name, start in sorted(expected)[:10]]
    np.testing.assert_allclose([near.cosine for near in found], [-score for score, *_ in sorted(expected)[:10]])


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_table_is_read_in_blocks(suffix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = write(tmp_path / f"t{suffix}", {"long": [[i, 1.0] for i in range(1000)], "short": [[0, 1]]}, windows=True)
    monkeypatch.setattr(table_readers, "BLOCK_BYTES", 1024)
    blocks = list(read_rows(table))
    assert max(len(rows.ids) for rows in blocks) <= 128
    assert [name for rows in blocks for name in rows.ids] == ["long"] * 1000 + ["short"]
    assert np.concatenate([rows.embeddings for rows in blocks])[:1000, 0].tolist() == list(range(1000))
    starts = np.concatenate([rows.starts for rows in blocks if rows.starts is not None])
    assert starts.tolist() == [*(np.arange(1000) / 2), 0]


def test_a_moment_of_a_long_clip_is_found_and_shared_silence_is_not(tmp_path: Path) -> None:
    silence, bark, rain = [1.0, 0, 0], [0, 1.0, 0], [0, 0, 1.0]
    clips = {"rain": [silence, rain, silence], "long": [silence] * 40 + [bark] + [silence] * 40, "silent": [silence]}
    table = write(tmp_path / "t.npz", clips, windows=True)
    found = find_similar([bark, silence], table)
    assert [(near.id, near.cosine) for near in found] == [("long", 1.0), ("rain", 0.5), ("silent", 0.5)]
    assert [(near.id, near.start) for near in find_similar(bark, table, 1)] == [("long", 20.0)]


def test_equals_stand_in_the_tables_order_and_silence_has_cosine_0(tmp_path: Path) -> None:
    clips = {"z": at(50), "silent": [[0.0, 0.0]], "y": at(50, length=8), "x": at(50), "far": at(120)}
    found = find_similar(at(20)[0], write(tmp_path / "t.npz", clips), k=9)
    assert [near.id for near in found] == ["z", "y", "x", "silent", "far"]
    assert found[3].cosine == 0


def test_equals_keep_their_order_whatever_the_last_digits(tmp_path: Path) -> None:
    names = [f"{i:03d}" for i in range(131)]
    for seed in range(6):  # how a product of matrices rounds differs between processors
        embedding, query = np.random.default_rng(seed).normal(size=(2, 33))
        table = write(tmp_path / "t.npz", {name: [embedding.tolist()] for name in names})
        assert [near.id for near in find_similar(query, table, 131)] == names


@pytest.mark.parametrize("size", [1e-30, 1e30])
def test_very_small_and_very_large_vectors_have_their_cosine(size: float, tmp_path: Path) -> None:
    table = write(tmp_path / "t.npz", {"a": at(60, length=size), "b": at(0, length=size)})
    cosines = [near.cosine for near in find_similar([size, 0.0], table)]
    assert cosines == pytest.approx([1, 0.5], abs=1e-6)


def test_numpys_own_files_are_read(tmp_path: Path) -> None:
    ids, embeddings = np.array([7, 8]), np.array([[1.0, 0], [1, 1]])
    np.savez_compressed(tmp_path / "deflated.npz", ids=ids, vectors=embeddings.astype(np.float16))
    np.savez(tmp_path / "double.npz", ids=ids, vectors=embeddings)
    for name in ("deflated.npz", "double.npz"):
        found = find_similar([1, 1], tmp_path / name)
        assert [near.id for near in found] == ["8", "7"]
        assert found[1].cosine == pytest.approx(np.sqrt(0.5))


def test_a_smaller_table_and_an_empty_one(tmp_path: Path) -> None:
    assert len(find_similar([1, 0], plain(tmp_path / "t.npz"), k=100)) == 5
    np.savez(tmp_path / "none.npz", ids=np.array([], str), vectors=np.zeros((0, 2), np.float32))
    assert find_similar([1, 0], tmp_path / "none.npz") == []


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_nan_in_a_table_is_refused_by_name(suffix: str, bad: float, tmp_path: Path) -> None:
    table = write(tmp_path / f"t{suffix}", {"fine": at(0), "spoilt": [[1.0, bad]]})
    with pytest.raises(SondinoError, match="the embedding of spoilt holds NaN or infinite"):
        find_similar([1, 0], table)


@pytest.mark.parametrize(
    ("query", "k", "message"),
    [
        ([1.0, 0.0], 0, "k is 0"),
        ([1.0, 0.0], True, "k is True"),
        ([0.0, 0.0], 5, "all zeros"),
        ([np.nan, 0.0], 5, "NaN"),
        ([1.0, 0.0, 0.0], 5, "embeddings of dimension 2, the query has 3"),
        ([], 5, "shape"),
        (np.zeros((1, 1, 2)), 5, "shape"),
    ],
)
def test_queries_that_are_rejected(query: object, k: int, message: str, tmp_path: Path) -> None:
    with pytest.raises(OptionError, match=message):
        find_similar(query, plain(tmp_path / "t.npz"), k)  # type: ignore[arg-type]


def pickled(file: Path) -> None:
    np.savez(file, ids=np.array(["a"], object), vectors=np.ones((1, 2), np.float32))


def flipped(file: Path) -> None:
    content = bytearray(plain(file).read_bytes())
    with zipfile.ZipFile(file) as archive:
        entry = archive.getinfo("vectors.npy")
    content[entry.header_offset + entry.compress_size] ^= 1
    file.write_bytes(content)


def fewer_ids(file: Path) -> None:
    np.savez(file, ids=np.array(["a"]), vectors=np.ones((2, 2), np.float32))


def by_column(file: Path) -> None:
    np.savez(file, ids=np.array(["a", "b"]), vectors=np.asfortranarray(np.ones((2, 2), np.float32)))


def another_csv_count(file: Path) -> None:
    plain(file)
    beside = file.with_name("t.ids.csv")
    beside.write_text(beside.read_text() + "more\n")


def without_ids(file: Path) -> None:
    np.save(file, np.ones((1, 2), np.float32))


def parquet_of_something(file: Path) -> None:
    pyarrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    parquet.write_table(pyarrow.table({"path": ["a"]}), file)


@pytest.mark.parametrize(
    ("name", "make", "message"),
    [
        ("gone.npz", lambda file: None, "no such file"),
        ("t.txt", lambda file: file.write_text("a"), "must end in one of"),
        ("t.npz", lambda file: file.write_bytes(b""), "cannot be read"),
        ("t.npz", lambda file: file.write_bytes(plain(file).read_bytes()[:-30]), "cannot be read"),
        ("t.npz", flipped, "cannot be read"),
        ("t.npz", pickled, "not a table of"),
        ("t.npz", fewer_ids, "2 embeddings and 1 ids"),
        ("t.npz", by_column, "column by column"),
        ("t.npz", lambda file: np.savez(file, x=np.ones(3)), "no arrays `ids` and `vectors`"),
        ("t.npy", without_ids, "t.ids.csv"),
        ("t.npy", another_csv_count, "does not have one row for each embedding"),
        ("t.npy", lambda file: file.write_bytes(plain(file).read_bytes()[:-3]), "truncated"),
        ("t.csv", lambda file: file.write_text("path,v0\na,1\n"), "does not begin with a column `id`"),
        ("t.csv", lambda file: file.write_text("id\na\n"), "no columns of numbers"),
        ("t.csv", lambda file: file.write_text("id,v0,v1\na,1,2\nb,1\n"), "row 3 has 2 fields"),
        ("t.csv", lambda file: file.write_text("id,v0,v1\na,1,loud\n"), "loud"),
        ("t.parquet", lambda file: file.write_bytes(b"PAR1 and no more PAR1"), "cannot be read"),
        ("t.parquet", parquet_of_something, "no columns `id` and `vector`"),
    ],
)
def test_what_is_no_table_gets_an_error_message(
    name: str, make: Callable[[Path], object], message: str, tmp_path: Path
) -> None:
    make(tmp_path / name)
    with pytest.raises(SondinoError, match=message) as refused:
        find_similar([1, 0], tmp_path / name)
    assert name.partition(".")[0] in str(refused.value)


# ---- asked by id, or by sound ----------------------------------------------------------------------------------


def test_a_clip_of_the_table_is_left_out_of_its_own_answer(tmp_path: Path) -> None:
    table = plain(tmp_path / "t.npz")
    query = query_of_id("é", table)
    assert query.shape == (1, 2)
    assert [near.id for near in find_similar(query, table, leave_out="é")] == ["a", "b, c", "e", "d"]
    windows = write(tmp_path / "w.npz", {"a": at(0, 10), "b": at(0, 90)}, windows=True)
    assert query_of_id("a", windows).shape == (2, 2)
    assert [near.id for near in find_similar(query_of_id("a", windows), windows, leave_out="a")] == ["b"]


def test_an_unknown_id_names_those_like_it_and_a_file_the_option(tmp_path: Path) -> None:
    table = write(tmp_path / "t.npz", {"dogs/bark.wav": at(0), "cats/mew.wav": at(90)})
    with pytest.raises(OptionError, match=r"did you mean dogs/bark\.wav\?"):
        query_of_id("bark.wav", table)
    (tmp_path / "new.wav").touch()
    with pytest.raises(OptionError, match="--model"):
        query_of_id(str(tmp_path / "new.wav"), table)


def call(*arguments: object) -> int:
    with pytest.raises(SystemExit) as left:
        cli.main([str(argument) for argument in arguments])
    return int(left.value.code or 0)


@pytest.fixture
def recordings(tmp_path: Path) -> Path:
    """Constant sounds with tiny embeddings (level, level squared, level); `both` has 1 s of each of two levels."""
    folder = tmp_path / "sounds"
    folder.mkdir()
    for name, levels in {"quiet": [0.1], "middle": [0.5], "loud": [0.9], "both": [0.1, 0.9]}.items():
        x = np.repeat(levels, TINY_RATE)
        soundfile.write(folder / f"{name}.wav", x.astype(np.float32), TINY_RATE, subtype="FLOAT")
    return folder


def test_similar_from_the_command_line(
    recordings: Path, tiny_bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table, answer = tmp_path / "vectors.npz", tmp_path / "answer.csv"
    assert call("embed", recordings, "--model", tiny_bundle, "--output", table, "--quiet") == 0
    query = recordings / "loud.wav"
    assert call("similar", query, "--in", table, "--model", tiny_bundle, "-k", 3, "--output", answer) == 0
    rows = list(csv.DictReader(io.StringIO(answer.read_text())))
    embeddings = {
        n: tiny_vectors(np.full((1, 10), v))[0] for n, v in {"quiet": 0.1, "middle": 0.5, "loud": 0.9}.items()
    }
    embeddings["both"] = (embeddings["quiet"] + embeddings["loud"]) / 2
    unit = {name: embedding / np.linalg.norm(embedding) for name, embedding in embeddings.items()}
    cosines = sorted(
        ((float(unit["loud"] @ embedding), f"{name}.wav") for name, embedding in unit.items()), reverse=True
    )
    assert [(row["rank"], row["id"]) for row in rows] == [(str(i + 1), cosines[i][1]) for i in range(3)]
    assert [float(row["cosine"]) for row in rows] == pytest.approx([cosine for cosine, _ in cosines[:3]], abs=1e-5)
    assert "loud.wav" in capsys.readouterr().out
    assert call("similar", "loud.wav", "--in", table, "--output", answer) == 0
    assert [row["id"] for row in csv.DictReader(io.StringIO(answer.read_text()))] == [name for _, name in cosines[1:]]


def test_similar_in_a_table_of_windows_reports_when(
    recordings: Path, tiny_bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table, answer = tmp_path / "windows.npz", tmp_path / "answer.csv"
    assert call("embed", recordings, "--model", tiny_bundle, "--output", table, "--per-window", "--quiet") == 0
    assert call("similar", "loud.wav", "--in", table, "-k", 1, "--output", answer) == 0
    assert answer.read_text() == "rank,id,start,cosine\n1,both.wav,1,1.000000\n"


def test_mistakes_of_similar(
    recordings: Path, tiny_bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = plain(tmp_path / "t.npz")
    for arguments, message in (
        (["similar", recordings, "--in", table, "--model", tiny_bundle], "is a folder"),
        (["similar", recordings / "loud.wav", "--in", table, "--model", tiny_bundle], "the query has 3"),
        (["similar", recordings / "gone.wav", "--in", table, "--model", tiny_bundle], "gone.wav: no such file"),
        (["similar", "nobody", "--in", table], "nobody is not an id"),
        (["similar", "a", "--in", table, "-k", 0], "k is 0"),
    ):
        assert call(*arguments) == 2
        error = capsys.readouterr().err
        assert message in error and error.startswith("sondino: ") and "Traceback" not in error
    np.savez(tmp_path / "one.npz", ids=np.array(["a"]), vectors=np.ones((1, 2), np.float32))
    assert call("similar", "a", "--in", tmp_path / "one.npz") == 0
    assert "holds no other clip" in capsys.readouterr().out


def test_an_array_is_a_query_too(recordings: Path, tiny_bundle: Path, tmp_path: Path) -> None:
    import sondino

    model, table = sondino.load(tiny_bundle), tmp_path / "vectors.npz"
    sondino.embed_files(recordings, model, table)
    query = query_of_sound((np.full(TINY_RATE, 0.5, np.float32), TINY_RATE), model, table)
    assert find_similar(query, table, 1)[0].id == "middle.wav"
