"""Results as tables of Arrow and pandas: the columns, types and values of the tables in files."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

import sondino
from helpers.loudness import CARD, RATE, write_loudness
from helpers.tiny_encoder import Tiny
from sondino.benchmark.given import NamedModel
from sondino.benchmark.record import Bench
from sondino.encoder.head import Head
from sondino.errors import MissingExtra, OptionError
from sondino.evaluation.compare import Compared
from sondino.evaluation.evaluate import evaluate
from sondino.model.bundle import copy_with_head

pyarrow = pytest.importorskip("pyarrow")
parquet = pytest.importorskip("pyarrow.parquet")

# The probability of loud is that of 20 times the peak minus 10: of 0.9 it is 1 / (1 + exp(-8)).
HEAD = Head("levels", ("loud", "=quiet"), True, ((np.array([[0, 0, 20.0], [0, 0, -20]]), np.array([-10.0, 10])),))
LOUD = 1 / (1 + np.exp(-8))


@pytest.fixture
def sounds(tmp_path: Path) -> Path:
    """-a.wav, two seconds of 0.9, and b.wav, one of 0.1."""
    (tmp_path / "sounds").mkdir()
    soundfile.write(tmp_path / "sounds" / "-a.wav", np.full(2 * RATE, 0.9), RATE, subtype="FLOAT")
    soundfile.write(tmp_path / "sounds" / "b.wav", np.full(RATE, 0.1), RATE, subtype="FLOAT")
    return tmp_path / "sounds"


@pytest.fixture
def model(tmp_path: Path, make_tiny_bundle: Callable[..., Path]) -> sondino.Model:
    return sondino.load(copy_with_head(make_tiny_bundle("bare", **CARD), tmp_path / "bundle", HEAD, {}))


@pytest.mark.parametrize("suffix", ["npz", "npy", "csv", "parquet"])
@pytest.mark.parametrize(("windows", "channel"), [(False, "mean"), (True, "mean"), (True, "each")])
def test_embeddings_are_those_of_the_parquet_table(
    suffix: str, windows: bool, channel: Any, sounds: Path, tmp_path: Path
) -> None:
    def embed(name: str) -> Any:
        return sondino.embed_files(sounds, Tiny(), tmp_path / name, windows, channel=channel)

    embed("table.parquet")
    table = embed(f"t.{suffix}").to_arrow()
    assert table.equals(parquet.read_table(tmp_path / "table.parquet"))
    assert table.column("id").to_pylist() == ["-a.wav", *(["-a.wav"] if windows else []), "b.wav"]
    np.testing.assert_allclose(table.column("vector").to_pylist()[0], [0.9, 0.81, 0.9], rtol=1e-6)


@pytest.mark.parametrize("output", [None, "d.csv", "d.jsonl", "d.parquet"])
@pytest.mark.parametrize("channel", ["mean", "each"])
def test_detections_are_those_of_the_parquet_table(
    output: str | None, channel: Any, sounds: Path, tmp_path: Path, model: sondino.Model
) -> None:
    sondino.detect_files(sounds, model, tmp_path / "table.parquet", channel=channel)
    written = parquet.read_table(tmp_path / "table.parquet")
    table = sondino.detect_files(sounds, model, output and tmp_path / output, channel=channel).to_arrow()
    assert table.schema.equals(written.schema)
    numbers = ("start", "end", "probability")
    assert table.drop_columns(numbers).equals(written.drop_columns(numbers))
    assert table.column("label").to_pylist() == ["loud", "loud", "=quiet"]
    assert table.column("start").to_pylist() == [0, 1, 0] and table.column("end").to_pylist() == [1, 2, 1]
    assert table.column("probability").to_pylist() == pytest.approx([LOUD, LOUD, LOUD], abs=1e-5)


@pytest.mark.parametrize("output", [None, "c.csv", "c.jsonl"])
def test_labels_of_clips_are_a_row_each(output: str | None, sounds: Path, tmp_path: Path, model: sondino.Model) -> None:
    table = sondino.classify_files(sounds, model, output and tmp_path / output).to_arrow()
    assert [f"{field.name} {field.type}" for field in table.schema] == [
        "path string",
        "seconds double",
        "rank int32",
        "label string",
        "probability float",
        "unlike float",
    ]
    assert table.drop_columns(["probability", "unlike"]).to_pylist() == [
        {"path": "-a.wav", "seconds": 2, "rank": 1, "label": "loud"},
        {"path": "-a.wav", "seconds": 2, "rank": 2, "label": "=quiet"},
        {"path": "b.wav", "seconds": 1, "rank": 1, "label": "=quiet"},
        {"path": "b.wav", "seconds": 1, "rank": 2, "label": "loud"},
    ]
    assert table.column("probability").to_pylist() == pytest.approx([LOUD, 1 - LOUD, LOUD, 1 - LOUD], abs=1e-6)


def test_outputs_that_hold_no_table_are_named(sounds: Path, tmp_path: Path, model: sondino.Model) -> None:
    with pytest.raises(OptionError, match="show took the rows"):
        sondino.detect_files(sounds, model, show=lambda recording: None).to_arrow()
    with pytest.raises(OptionError, match="apart is a folder with a file of each recording"):
        sondino.detect_files(sounds, model, tmp_path / "apart").to_arrow()
    with pytest.raises(OptionError, match=r"t\.txt is written for another program"):
        sondino.detect_files(sounds, model, tmp_path / "t.txt", format="raven").to_arrow()
    gone = sondino.detect_files(sounds, model, tmp_path / "t.csv")
    (tmp_path / "t.csv").unlink()
    with pytest.raises(OptionError, match=r"t\.csv is no longer there"):
        gone.to_arrow()


def test_neighbours_are_a_list_and_a_table(sounds: Path, tmp_path: Path) -> None:
    sondino.embed_files(sounds, Tiny(), tmp_path / "t.npz")
    found = sondino.find_similar([0, 0, 1.0], tmp_path / "t.npz")
    cosines = [0.1 / np.sqrt(0.0201), 0.9 / np.sqrt(2 * 0.81 + 0.81**2)]
    assert [near.id for near in found] == ["b.wav", "-a.wav"]
    assert found.to_arrow().to_pylist() == [
        {"rank": 1, "id": "b.wav", "cosine": pytest.approx(cosines[0])},
        {"rank": 2, "id": "-a.wav", "cosine": pytest.approx(cosines[1])},
    ]
    assert sondino.find_similar([0, 0, 1.0], tmp_path / "t.npz", 1, "b.wav").to_arrow().num_rows == 1
    assert type(found)().to_arrow().column_names == ["rank", "id", "cosine"]


@pytest.mark.usefixtures("assumed_energy")
def test_scores_are_the_columns_of_the_csv(tmp_path: Path) -> None:
    pytest.importorskip("sklearn")
    levels = write_loudness(tmp_path / "levels", clips=8, seconds=0.3)
    done = evaluate([Tiny()], tmp_path / "out", tasks=[str(levels)], quiet=True)
    table = done.to_arrow()
    assert table.column_names == (tmp_path / "out" / "scores.csv").read_text().splitlines()[0].split(",")
    (row,) = table.to_pylist()
    (score,) = done.results["scores"]
    assert [row["low"], row["high"]] == score["interval95"] and row["value"] == score["value"]
    assert (row["model"], row["task"], row["clips"]) == ("tiny", "levels", 24)
    assert table.schema.field("clips").type == pyarrow.int64()
    assert table.schema.field("mean_average_precision").type == pyarrow.float64()  # null for one label a clip


def test_comparisons_and_benches_are_tables_too() -> None:
    rows = [{"model": "a", "parameters": 7, "average": 0.5}, {"model": "b", "parameters": None, "average": None}]
    table = Compared({"rows": rows}).to_arrow()
    assert table.to_pylist() == rows and table.schema.field("parameters").type == pyarrow.int64()
    bench = Bench([], {}, {NamedModel("a", "bundle", "here", True): "it is damaged"}, [1.0], {"processor": "Abacus"})
    table = bench.to_arrow()
    (row,) = table.to_pylist()
    assert {name: value for name, value in row.items() if value is not None} == {
        "model": "a",
        "peer": True,
        "source": "here",
        "error": "it is damaged",
        "processor": "Abacus",
    }
    assert table.schema.field("milliseconds").type == pyarrow.float64()


def test_pandas_gets_the_same_table(sounds: Path, tmp_path: Path, model: sondino.Model) -> None:
    pandas = pytest.importorskip("pandas", reason="the dev extra is not installed")
    found = sondino.detect_files(sounds, model).to_pandas()
    assert list(found.columns) == ["path", "start", "end", "label", "probability", "time", "unlike"]
    assert found.groupby("label")["end"].max().to_dict() == {"loud": 2, "=quiet": 1}
    assert isinstance(found, pandas.DataFrame) and found["probability"].dtype == np.float32
    frame = sondino.embed_files(sounds, Tiny(), tmp_path / "t.npz").to_pandas()
    assert np.stack(frame["vector"]).shape == (2, 3)


def test_a_missing_package_is_named_with_the_command(
    sounds: Path, model: sondino.Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = sondino.detect_files(sounds, model)
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(MissingExtra, match=r"pandas is not installed: pip install 'sondino\[pandas\]'"):
        found.to_pandas()
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(MissingExtra, match=r"pyarrow is not installed: pip install 'sondino\[tables\]'"):
        found.to_arrow()
