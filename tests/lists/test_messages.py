"""What is said of a list that cannot be used, in one sentence, by every command that reads lists."""

import re
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sondino.corpus.table import build_corpus
from sondino.embedding.inputs import list_inputs
from sondino.errors import OptionError
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
        with pytest.raises(OptionError, match=re.escape(f"{name} has the columns path, label and no rows")):
            read(tmp_path / name)
