"""Tables of embeddings as Lance datasets."""

import sys
from pathlib import Path

import numpy as np
import pytest

from helpers.tiny_encoder import TINY_RATE, Tiny
from sondino.embedding.files import embed_files
from sondino.embedding.table_readers import read_rows
from sondino.embedding.tables import TableForm, TablePart, write_lance, writer_for
from sondino.errors import MissingExtra, OptionError, SondinoError


def part(name: str, *rows: list[float]) -> TablePart:
    return TablePart([name], [len(rows)], np.array(rows, np.float32), np.arange(len(rows)) / 2, 1.0, [])


def test_without_the_extra_the_message_has_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "lance", None)
    with pytest.raises(MissingExtra, match=r"pip install 'sondino\[lance\]'"):
        writer_for(tmp_path / "t.lance")


class TestWithLance:
    @pytest.fixture(autouse=True)
    def _installed(self) -> None:
        pytest.importorskip("lance", reason="the lance extra is not installed")

    def test_the_columns_are_those_of_parquet(self, tmp_path: Path) -> None:
        import lance
        import soundfile

        (tmp_path / "sounds").mkdir()
        soundfile.write(tmp_path / "sounds" / "a.wav", np.full(TINY_RATE * 5 // 2, 0.5), TINY_RATE)
        for output in ("t.lance", "t.parquet"):
            embed_files(tmp_path / "sounds", Tiny(), tmp_path / output, per_window=True)
        from pyarrow import parquet

        found, expected = (
            lance.dataset(str(tmp_path / "t.lance")).to_table(),
            parquet.read_table(tmp_path / "t.parquet"),
        )
        assert found.schema.remove_metadata() == expected.schema.remove_metadata() and found.equals(expected)
        assert found["start"].to_pylist() == [0.0, 1.0, 2.0]
        assert sorted(file.name for file in tmp_path.iterdir()) == ["sounds", "t.lance", "t.parquet"]

    def test_an_older_dataset_is_replaced_and_another_folder_is_not(self, tmp_path: Path) -> None:
        output = tmp_path / "t.lance"
        for names in (["a", "b"], ["c"]):
            write_lance(output, [part(name, [1, 2]) for name in names], TableForm(len(names), len(names), 2))
            assert [name for rows in read_rows(output) for name in rows.ids] == names
        (tmp_path / "other.lance").mkdir()
        (tmp_path / "other.lance" / "notes.txt").write_text("mine")
        with pytest.raises(OptionError, match=r"other\.lance exists and is no Lance dataset"):
            writer_for(tmp_path / "other.lance")
        with pytest.raises(OptionError, match=r"t\.parquet is a folder"):
            (tmp_path / "t.parquet").mkdir()
            writer_for(tmp_path / "t.parquet")

    @pytest.mark.parametrize(
        "error", [SondinoError("older table is damaged"), KeyboardInterrupt()], ids=["damage", "stop"]
    )
    def test_what_ends_the_writing_is_raised_and_the_older_dataset_stays(
        self, tmp_path: Path, error: BaseException
    ) -> None:
        output = tmp_path / "t.lance"
        write_lance(output, [part("a", [1, 2])], TableForm(1, 1, 2))

        def parts():  # type: ignore[no-untyped-def]
            yield part("b", [3, 4])
            raise error

        with pytest.raises(type(error)) as raised:
            write_lance(output, parts(), TableForm(2, 2, 2))
        assert raised.value is error
        assert [rows.ids for rows in read_rows(output)] == [["a"]]
        assert [file.name for file in tmp_path.iterdir()] == ["t.lance"]

    def test_a_damaged_dataset_gets_a_message(self, tmp_path: Path) -> None:
        output = tmp_path / "t.lance"
        write_lance(output, [part("a", [1, 2])], TableForm(1, 1, 2))
        (data,) = (output / "data").iterdir()
        data.write_bytes(data.read_bytes()[:100])
        with pytest.raises(SondinoError, match=r"t\.lance: cannot be read .*; make it again with `sondino embed`"):
            list(read_rows(output))
        (tmp_path / "empty.lance").mkdir()
        with pytest.raises(SondinoError, match=r"empty\.lance: cannot be read"):
            list(read_rows(tmp_path / "empty.lance"))
        with pytest.raises(OptionError, match="no such file"):
            list(read_rows(tmp_path / "none.lance"))

    def test_a_table_without_rows_is_read(self, tmp_path: Path) -> None:
        write_lance(tmp_path / "t.lance", [], TableForm(0, 0, 2))
        (rows,) = read_rows(tmp_path / "t.lance")
        assert rows.ids == [] and rows.embeddings.shape == (0, 2)
