"""What is said of a list that cannot be used, in one sentence, by every command that reads lists."""

import re
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from helpers.corpora import noise, write
from sondino import cli
from sondino.corpus.table import build_corpus
from sondino.embedding.inputs import list_inputs
from sondino.errors import Note, OptionError
from sondino.lists import read_list
from sondino.tasks.labelled import read_labelled


def build(file: Path) -> None:
    build_corpus(file, file.parent / "corpus", 1.0)


READERS: list[tuple[Callable[[Path], object], str]] = [
    (list_inputs, "has no column path"),
    (build, "has no column path"),
    (read_labelled, "needs the columns path and label"),
]


@pytest.mark.parametrize(("read", "missing"), READERS)
def test_a_list_of_names_alone_says_which_column_is_missing_and_what_it_has(
    tmp_path: Path, read: Callable[[Path], object], missing: str
) -> None:
    (tmp_path / "l.csv").write_text("a.wav\nb.wav\n")
    with pytest.raises(OptionError, match=re.escape(f"l.csv {missing} (it has a.wav)")):
        read(tmp_path / "l.csv")


@pytest.mark.parametrize("read", [read for read, _ in READERS])
def test_a_list_without_rows_says_what_it_has(tmp_path: Path, read: Callable[[Path], object]) -> None:
    (tmp_path / "l.csv").write_text("path,label\n")
    none = pa.array([], pa.string())
    pq.write_table(pa.table({"path": none, "label": none}), tmp_path / "l.parquet")
    for name in ("l.csv", "l.parquet"):
        with pytest.raises(
            OptionError, match=re.escape(f"{name} has no rows below the names of its columns (path, label)")
        ):
            read(tmp_path / name)


@pytest.mark.parametrize(
    "command",
    [
        ["embed", "--output", "x.npz"],
        ["classify", "--output", "x.csv"],
        ["corpus", "--out", "c"],
        ["probe", "--out", "p"],
    ],
)
def test_columns_that_are_not_read_are_named_in_one_form(
    tmp_path: Path, command: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [f"{label}{number}.wav,{label},1" for number in range(4) for label in "ab"]
    for seed, row in enumerate(rows):
        write(tmp_path / row.partition(",")[0], noise(1.0, seed, 8000), 8000)
    site = f"site_{command[0]}"  # Python gives a warning of the same text only once
    (tmp_path / "l.csv").write_text("\n".join((f"path,label,{site}", *rows)))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit, match="0"):
        cli.main([command[0], "l.csv", *command[1:]])
    said = capsys.readouterr().err.splitlines()
    assert [line for line in said if "not read" in line] == [f"note: l.csv has columns that are not read: {site}"]


def test_what_is_said_of_given_labels_has_the_same_form(tmp_path: Path) -> None:
    (tmp_path / "l.csv").write_text("path,label,site\na.wav,x,1\n")
    with pytest.warns(Note, match="l.csv has columns that are not read: site"):
        read_list(tmp_path / "l.csv", {}).warn()
