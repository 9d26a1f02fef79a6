"""Lists of sound: every column and value is used or refused by its name, whatever the bytes are."""

import csv
import io
import re
import shutil
from datetime import datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as some

from helpers.corpora import noise, write
from sondino.corpus.sources import UNUSED as CORPUS
from sondino.corpus.table import build_corpus
from sondino.errors import OptionError, SondinoError
from sondino.lists import SPLITS, read_list
from sondino.sample_sounds import sample_list
from sondino.tasks.labelled import read_labelled


def written(folder: Path, text: str | bytes, name: str = "l.csv") -> Path:
    file = folder / name
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    return file


def columns(folder: Path, **values: object) -> Path:
    pq.write_table(pa.table(values), folder / "l.parquet")
    return folder / "l.parquet"


def test_the_cells_of_a_list(tmp_path: Path) -> None:
    text = "path,label,split,start,end,note\na.wav, x ,test,1,2.5,\n,y,,,,\n\n,,,,,\nb.wav,,,nan,, seen \n"
    found = read_list(written(tmp_path, text), CORPUS)
    assert found.text == {"path": ["a.wav", "b.wav"], "label": ["x", ""], "split": ["test", ""]}
    assert found.seconds == {"start": [1.0, None], "duration": [1.5, None]}
    assert found.skipped == [("line 3 of l.csv", "has no path")]
    assert [found.place(row) for row in range(2)] == ["line 2", "line 6"]
    rows = {
        "path": ["a.wav", None, "b.wav"],
        "label": [["x", "y"], None, []],
        "start": [1, None, 2],
        "vector": [[1.0]] * 3,
    }
    found = read_list(columns(tmp_path, **rows), CORPUS)
    assert found.text == {"path": ["a.wav", "b.wav"], "label": ["x;y", ""]} and found.seconds == {"start": [1.0, 2.0]}
    assert found.skipped == [("row 2 of l.parquet", "has no path")] and found.place(1) == "row 3"


OTHER_NAMES = {
    "start": (
        "Start",
        " start",
        "Start_Time",
        "Begin Time (ms)",
        "onset",
        "segment_start",
        "startMs",
        "t_start",
        "start_timestamp",
        "window_start",
        "t0",
        "tmin",
    ),
    "end": ("END", "end ", "End_Time", "End Time", "stop", "clip-end", "endSeconds", "xmax"),
    "duration": ("Duration", "duration_s", "dur", "Durations"),
    "split": ("Split", " split", "split ", "splits", "SPLIT", "\u00a0split"),
    "label": ("Label ", " label"),
    "labels": ("Labels",),
    "id": ("ID",),
}


@pytest.mark.parametrize(("meant", "name"), [(meant, name) for meant, names in OTHER_NAMES.items() for name in names])
def test_a_column_that_is_nearly_ours_is_refused_by_both_readers(tmp_path: Path, meant: str, name: str) -> None:
    cell = "test" if meant == "split" else "1"
    csv_list = written(tmp_path, f'path,"{name}"\na.wav,{cell}\n')
    for file in (csv_list, columns(tmp_path, path=["a.wav"], **{name: [cell]})):
        with pytest.raises(OptionError) as refused:
            read_list(file, CORPUS)
        assert f"column {name!r}: write {meant!r}" in str(refused.value)
        with pytest.raises(OptionError) as refused:
            read_list(file, {})  # as for labels
        assert f"column {name!r}: write {meant!r}" in str(refused.value)
    empty = written(tmp_path, f'path,"{name}"\na.wav,\n')
    assert len(read_list(empty, CORPUS)) == 1  # nothing in it: nothing is dropped


@pytest.mark.parametrize(("start", "end"), [("start_time", "end_time"), ("Begin Time (s)", "End Time (s)")])
def test_names_that_other_programs_write_are_read(tmp_path: Path, start: str, end: str) -> None:
    text = f"path,{start},{end},Annotation\na.wav,1,2.5,dog\na.wav,3,4,\n"
    table = {"path": ["a.wav"] * 2, start: [1.0, 3.0], end: [2.5, 4.0], "Annotation": ["dog", None]}
    for file in (written(tmp_path, text), columns(tmp_path, **table)):
        found = read_list(file, {}, labelled=True)
        assert found.seconds == {"start": [1.0, 3.0], "duration": [1.5, 1.0]}
        assert found.text["label"] == ["dog", ""] and found.unread == () == found.notes()
    both = written(tmp_path, f"path,label,start,{start}\na.wav,x,1,1\n")
    with pytest.raises(OptionError, match=re.escape(f"column {start!r}: keep one of the two")):
        read_list(both, {})
    date = written(tmp_path, f"path,{start}\na.wav,2024-05-01T05:30:00\n")
    with pytest.raises(OptionError, match=re.escape(f"line 2, column {start}: '2024-05-01T05:30:00' is no number")):
        read_list(date, {})
    for file in (written(tmp_path, text), columns(tmp_path, **table)):
        with pytest.raises(OptionError, match=re.escape(f"column {start!r}: leave it out")):
            read_list(file, {"start": "leave it out"})
    moments = columns(tmp_path, path=["a.wav"], **{start: [datetime(2024, 5, 1)]})
    with pytest.raises(OptionError, match=re.escape(f"column {start} holds timestamp")):
        read_list(moments, {})


def test_columns_that_are_not_read_are_named(tmp_path: Path) -> None:
    text = "path,label,site,empty,probability\na.wav,x,north,,0.5\nb.wav,y,,,\n"
    table = {"path": ["a.wav"], "label": ["x"], "site": ["north"], "empty": pa.nulls(1), "probability": [0.5]}
    for file in (written(tmp_path, text), columns(tmp_path, **table)):
        assert read_list(file, {}).unread == ("site", "probability")
    for place in "ab":
        write(tmp_path / f"{place}.wav", noise(1.0, 8000), 8000)
    file = written(tmp_path, "path,label,site\na.wav,x,north\nb.wav,y,south\n")
    note = "l.csv has columns that are not read: site"
    assert note in read_labelled(tmp_path, file, fewest=1).notes
    assert build_corpus(file, tmp_path / "corpus", 1.0).facts["notes"] == [note]
    many = written(tmp_path, "path," + ",".join(f"c{n}" for n in range(11)) + "\na.wav" + ",1" * 11 + "\n")
    (sentence,) = read_list(many, {}).notes()
    assert sentence.endswith("c6, c7 and 3 more")


@pytest.mark.parametrize(
    ("names", "cells"),
    [
        ("time", ["06:30"]),
        ("timestamp", ["2024-05-01T06:30:00Z"]),
        ("timestamp", ["1714545000"]),
        ("time,start", ["1", "2"]),  # the stretch is given
        ("seconds", ["12"]),  # of the file
    ],
)
def test_a_date_or_a_files_length_is_about_something_else(tmp_path: Path, names: str, cells: list[str]) -> None:
    csv_list = written(tmp_path, f"path,{names}\na.wav,{','.join(cells)}\n")
    named = dict(zip(names.split(","), ([cell] for cell in cells), strict=True))
    for file in (csv_list, columns(tmp_path, path=["a.wav"], **named)):
        assert len(read_list(file, CORPUS)) == 1


@pytest.mark.parametrize(
    ("text", "line"), [('path,label\na.wav,x\n"b.wav,y\nc.wav,z\n', 3), ('path,"label\na.wav,x\n', 1)]
)
def test_a_quote_that_is_never_closed_is_named_by_its_line(tmp_path: Path, text: str, line: int) -> None:
    with pytest.raises(OptionError, match=f"l.csv, line {line}: a double quote is opened and never closed"):
        read_list(written(tmp_path, text), CORPUS)


def test_what_one_reader_does_not_use_it_refuses(tmp_path: Path) -> None:
    for name in ("onset", "offset", "time", "timestamps", "start_s"):
        file = written(tmp_path, f"path,label,{name}\na.wav,x,1\n")
        with pytest.raises(OptionError, match=f"column '{name}': write 'start', in seconds, or rename it"):
            read_labelled(tmp_path, file)
    for name in ("fold", "Fold", "fold_id"):
        with pytest.raises(OptionError, match=f"column '{name}': a corpus has none"):
            read_list(written(tmp_path, f"path,{name}\na.wav,1\n"), CORPUS)


@pytest.mark.parametrize(
    ("names", "cells", "message"),
    [
        ("time", "1.5", "column 'time': write 'start', in seconds, or rename it"),
        ("times,duration", "1.5,2", "column 'times': write 'start'"),
        ("Timestamp", "90000", "column 'Timestamp': write 'start'"),  # milliseconds
        ("time_s,end", "1,2", "column 'time_s': write 'start'"),
        ("event time (ms)", "1", "write 'start', in seconds"),
        ("start,seconds", "1,2", "column 'seconds': write 'duration'"),
        ("from,to", "1,2", "column 'from': write 'start'"),
        ("label_start,label_end", "1,2", "column 'label_start': write 'start'"),
        ("onset,offset", "1,2", "column 'onset': write 'start'"),
        ("start,offset", "1,2", "column 'offset': write 'end'"),
        ("offset,duration", "1,2", "column 'offset': write 'start'"),
        ("start,length", "1,2", "column 'length': write 'duration'"),
        ("subset", "test", "column 'subset' holds test: write 'split'"),
        ("subset", " Holdout ", "column 'subset' holds Holdout: write 'split'"),
        ("Split,Split", ",test", "column 'Split': write 'split'"),
        (",", ",test", "column '' holds test: write 'split'"),
        ("is_test", "0", "column 'is_test': write a column 'split'"),
        ("data_split", "7", "column 'data_split': write a column 'split'"),
        ("label,labels", "a,b", "both a column label and a column labels"),
        ("fold,split", "1,test", "both a column fold and a column split"),
        ("label,label", "a,b", "has 2 columns label"),
        ("path", "b.wav", "has 2 columns path"),
        ("start,start", "1,2", "has 2 columns start"),
    ],
)
def test_a_list_of_doubtful_columns_is_refused(tmp_path: Path, names: str, cells: str, message: str) -> None:
    with pytest.raises(OptionError, match=message):
        read_list(written(tmp_path, f"path,{names}\na.wav,{cells}\n"), {})


def test_columns_about_something_else_are_no_matter(tmp_path: Path) -> None:
    others = {"note": "test of a microphone", "species_count": "3", "length": "0:35", "begin_date": "2024-05-01",
              "subset": "small", "latitude": "1", "": "", "site": "train"}  # fmt: skip
    text = io.StringIO()
    csv.writer(text).writerows([["path", *others], ["a.wav", *others.values()]])
    assert list(read_list(written(tmp_path, text.getvalue()), CORPUS).text) == ["path"]
    found = read_list(columns(tmp_path, path=["a.wav"], **{name: [cell] for name, cell in others.items()}), CORPUS)
    assert list(found.text) == ["path"]
    # A column that says the part of each row beside one that is ours is an older one.
    assert len(read_list(written(tmp_path, "path,split,was\na.wav,train,test\n"), CORPUS)) == 1


@pytest.mark.parametrize("value", ["holdout", "test ", " test", "Test", "TRAIN", "dev", "0"])
def test_a_part_that_is_none_is_refused_with_its_row(tmp_path: Path, value: str) -> None:
    rows = [("a.wav", "x", "train"), ("b.wav", "y", value)]
    csv_list = written(tmp_path, "path,label,split\n" + "".join(",".join(row) + "\n" for row in rows))
    parquet = columns(tmp_path, **dict(zip(("path", "label", "split"), zip(*rows, strict=True), strict=True)))
    for file, row in ((csv_list, "line 3"), (parquet, "row 2")):
        with pytest.raises(OptionError, match=f"{row}: split is '{value}': give train, valid or test"):
            build_corpus(file, tmp_path / "out")
    with pytest.raises(OptionError, match=f"line 3: split is '{value}'"):
        read_labelled(tmp_path, csv_list)


@pytest.mark.parametrize("cell", ["soon", "1,5", "0:01:05", "inf", "-inf", "1_000", "1 s"])
def test_a_time_that_is_no_number_is_refused_with_its_row(tmp_path: Path, cell: str) -> None:
    for name in ("start", "end", "duration"):
        with pytest.raises(OptionError, match=rf"line 3, column {name}: '{cell}' is no number"):
            read_list(written(tmp_path, f'path,{name}\na.wav,1\nb.wav,"{cell}"\n'), {})


def test_duration_and_end_must_agree(tmp_path: Path) -> None:
    found = read_list(written(tmp_path, "path,start,duration,end\na.wav,1,2,3\nb.wav,1,,3\nc.wav,1,2,\n"), {})
    assert found.seconds == {"start": [1.0] * 3, "duration": [2.0] * 3}
    with pytest.raises(OptionError, match="line 2: start 1 s and duration 2 s do not make end 4 s"):
        read_list(written(tmp_path, "path,start,duration,end\na.wav,1,2,4\n"), {})


SELECTIONS = {  # of two files of 10 s, as Raven opens them: the times of the second count on
    "Selection": [1, 1, 2, 2, 3],
    "View": ["Waveform 1", "Spectrogram 1", "Waveform 1", "Spectrogram 1", "Spectrogram 1"],
    "Channel": [1] * 5,
    "Begin Time (s)": [6.709509878, 6.709509878, 13.25, 13.25, 14.0],
    "End Time (s)": [8.209509878, 8.209509878, 15.75, 15.75, 15.0],
    "Low Freq (Hz)": [1739.012] * 5,
    "High Freq (Hz)": [3798.813] * 5,
    "Begin Path": ["x/a.wav", "x/a.wav", "x/b.wav", "x/b.wav", "x/b.wav"],
    "Begin File": ["a.wav", "a.wav", "b.wav", "b.wav", "b.wav"],
    "File Offset (s)": [6.709509878, 6.709509878, 3.25, 3.25, 4.0],
    "Delta Time (s)": [1.5, 1.5, 2.5, 2.5, 1.0],
    "Annotation": ["owl", "owl", "fox", "fox", "owl"],
}


def selections(folder: Path, form: str, *without: str, **instead: list[object]) -> Path:
    """The table as tabs, commas or Parquet, without some columns and with others' cells."""
    table = {name: cells for name, cells in (SELECTIONS | instead).items() if name not in without}
    if form == "parquet":
        return columns(folder, **table)
    between = {"tabs": "\t", "commas": ","}[form]
    rows = [list(table), *(map(str, cells) for cells in zip(*table.values(), strict=True))]
    return written(folder, "".join(between.join(row) + "\n" for row in rows), f"l.{form}")


@pytest.mark.parametrize("form", ["tabs", "commas", "parquet"])
def test_a_selection_table_is_read_as_raven_means_it(tmp_path: Path, form: str) -> None:
    text = {"path": ["x/a.wav", "x/b.wav", "x/b.wav"], "label": ["owl", "fox", "owl"]}
    seconds = {"start": [6.709509878, 3.25, 4.0], "duration": [1.5, 2.5, 1.0]}
    for without in ((), ("End Time (s)",), ("Delta Time (s)",)):
        found = read_list(selections(tmp_path, form, *without), {}, labelled=True)
        assert (found.text, found.seconds) == (text, seconds)
        assert [found.lines[0] + 2, found.lines[0] + 4] == found.lines[1:]  # each selection once, though in two views
    assert found.unread == ("Channel", "Low Freq (Hz)", "High Freq (Hz)", "Begin File")
    one = read_list(selections(tmp_path, form, "File Offset (s)", "Begin Path"), {})  # of one recording
    assert one.text["path"] == ["a.wav", "b.wav", "b.wav"] and one.seconds["start"] == [6.709509878, 13.25, 14.0]
    lengths = read_list(selections(tmp_path, form, "Begin Time (s)", "End Time (s)", "File Offset (s)"), {})
    assert lengths.seconds == {"duration": [1.5, 2.5, 1.0]}
    with pytest.raises(OptionError, match=re.escape("column 'File Offset (s)': write 'start'")):
        read_list(selections(tmp_path, form, "Begin Time (s)"), {})
    named = read_list(selections(tmp_path, form, "View"), {})
    assert len(named) == 5  # without views rows that are the same are the user's own


@pytest.mark.parametrize("name", ["Begin Time (s)", "File Offset (s)"])
def test_a_selection_needs_both_its_beginning_and_its_place_in_the_file(tmp_path: Path, name: str) -> None:
    """Without its offset it would be taken from another place of the second file."""
    cells: list[object] = [*SELECTIONS[name][:4], ""]
    with pytest.raises(OptionError, match=r"line 6: Begin Time \(s\) or File Offset \(s\) is empty"):
        read_list(selections(tmp_path, "tabs", **{name: cells, "Delta Time (s)": [""] * 5}), {})


def test_quotes_are_of_the_label_in_a_selection_table_and_around_cells_in_other_lists(tmp_path: Path) -> None:
    labels: list[object] = ['"tit', '"tit', 'owl"', 'owl"', "a b"]
    found = read_list(selections(tmp_path, "tabs", Annotation=labels), {})
    assert found.text["label"] == ['"tit', 'owl"', "a b"]
    named = read_list(written(tmp_path, 'path,"a\tb\tc"\n"x, y.wav",1\n'), {})
    assert named.text["path"] == ["x, y.wav"] and named.unread == ("a\tb\tc",)
    tabs = read_list(written(tmp_path, 'path\tlabel\n"x\ty.wav"\t"a ""b"""\n'), {})
    assert tabs.text == {"path": ["x\ty.wav"], "label": ['a "b"']}


@pytest.mark.parametrize("form", ["tabs", "commas", "parquet"])
def test_a_delta_time_that_is_not_the_end_less_the_beginning_is_refused(tmp_path: Path, form: str) -> None:
    rounded = {"End Time (s)": [8.21, 8.21, 15.751, 15.751, 15.0], "Delta Time (s)": [1.4995, 1.4995, 2.5, 2.5, 1.0]}
    found = read_list(selections(tmp_path, form, **rounded), {})
    assert found.seconds["duration"] == pytest.approx([1.500490122, 2.501, 1.0])  # the end's, which has more digits
    place = "row 5" if form == "parquet" else "line 6"
    wrong = selections(tmp_path, form, **{"Delta Time (s)": [1.5, 1.5, 2.5, 2.5, 1.25]})
    message = f"{wrong}, {place}: Begin Time (s) 14 s and Delta Time (s) 1.25 s do not make End Time (s) 15 s: keep one"
    with pytest.raises(OptionError, match=re.escape(message)):
        read_list(wrong, {})


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("path\na.wav\n".encode("utf-16"), "no CSV in UTF-8 .*0xff"),
        ("path\na.wav\n".encode("utf-16-le"), "NUL byte"),
        (b"path,na\xefve\na.wav,x\n", "no CSV in UTF-8 .*0xef"),
        (b"path,label\na.wav,\xe9\n", "no CSV in UTF-8 .*0xe9"),
        (b"path,la\0bel\na.wav,x\n", "NUL byte"),
        (b'path,label\na.wav,"x"y\n', "no CSV"),
        (b"path,label\na.wav,dog, big\n", "line 2 has 3 cells and the line of names 2"),
        (b"path,label,split\na.wav,test\n", "line 2 has 2 cells and the line of names 3"),
        (b"path;label\na.wav;x\n", "with commas or tabs between"),
        (b"file,label\na.wav,x\n", r"has no column path \(it has file, label\)"),
        (b" Path\na.wav\n", "column ' Path': write 'path'"),
        (b"", "it has none"),
        (b"path,label\na.wav," + b"x" * 200_000, "field larger than"),
    ],
)
def test_odd_bytes_get_a_sentence(tmp_path: Path, content: bytes, message: str) -> None:
    with pytest.raises(OptionError, match=message):
        read_list(written(tmp_path, content), {})


def test_a_byte_order_mark_and_a_row_of_commas_are_no_matter(tmp_path: Path) -> None:
    found = read_list(written(tmp_path, b"\xef\xbb\xbfpath,label,,\r\na.wav,x,,\r\n,,,\r\nb.wav,y,,,,\r\n"), {})
    assert found.text == {"path": ["a.wav", "b.wav"], "label": ["x", "y"]} and not found.skipped


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"path": [["a.wav"]]}, "column path holds list"),
        ({"path": [{"a": 1}]}, "column path holds struct"),
        ({"path": [b"\xff"]}, "column path holds binary"),
        ({"path": ["a.wav"], "label": [[b"x"]]}, "column label holds list<.*binary"),
        ({"path": ["a.wav"], "split": [["test"]]}, "column split holds list"),
        ({"path": ["a.wav"], "start": [[1.0]]}, "column start holds list"),
        ({"path": ["a.wav"], "start": pa.array([1], pa.timestamp("s"))}, "column start holds timestamp"),
        ({"path": ["a.wav"], "end": [True]}, "column end holds bool"),
        ({"path": ["a.wav"], "start": [np.inf]}, "row 1, column start: inf is no number"),
        ({"path": ["a.wav"], "Split": pa.array(["test"]).dictionary_encode()}, "column 'Split': write 'split'"),
    ],
)
def test_odd_types_of_parquet_get_a_sentence(tmp_path: Path, values: dict[str, object], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        read_list(columns(tmp_path, **values), {})


def test_parquet_of_many_types_is_read(tmp_path: Path) -> None:
    file = columns(
        tmp_path,
        path=pa.array(["a.wav", "b.wav"]).dictionary_encode(),
        label=[[1, 2], [3]],
        id=pa.array([7, None], pa.float64()),
        start=pa.array(["0.5", ""], pa.large_string()),
        duration=pa.array([1, 2], pa.int8()),
    )
    found = read_list(file, {})
    assert found.text == {"path": ["a.wav", "b.wav"], "id": ["7", ""], "label": ["1;2", "3"]}
    assert found.seconds == {"start": [0.5, None], "duration": [1.0, 2.0]}
    hive = tmp_path / "split=test"  # a folder's name is no column
    hive.mkdir()
    assert list(read_list(columns(hive, path=["a.wav"]), {}).text) == ["path"]
    schema = pa.schema([("path", pa.string()), ("path", pa.string())])
    pq.write_table(pa.table([pa.array(["a"]), pa.array(["b"])], schema=schema), tmp_path / "l.parquet")
    with pytest.raises(OptionError, match="has 2 columns path"):
        read_list(tmp_path / "l.parquet", {})
    whole = columns(tmp_path, path=["a.wav"], label=["seven"]).read_bytes()
    with pytest.raises(OptionError, match=r"cannot be read as Parquet .*UTF8"):
        read_list(written(tmp_path, whole.replace(b"seven", b"sev\xffn"), "l.parquet"), {})
    with pytest.raises(OptionError, match="cannot be read as Parquet"):
        read_list(written(tmp_path, b"PAR1" * 9, "l.parquet"), {})


CELLS = some.one_of(
    some.sampled_from(["", "a.wav", "../a.wav", "test", "Test ", "train", "1", "-2", "0.1", "nan", "inf", "x;y", '"']),
    some.text(max_size=6),
    some.floats().map(repr),
)
NAMES = some.one_of(
    some.sampled_from(
        ["path", "label", "labels", "split", "Split", "fold", "start", "end", "duration", "id", "source", ""]
    ),
    some.text(max_size=5),
)
FUZZ = settings(
    max_examples=120,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


def read_by_all(folder: Path, file: Path) -> None:
    """A listing, or an error of ours; and no test clip among the others."""
    if not (folder / "a.wav").exists():
        write(folder / "a.wav", noise(0.2, 1))
    shutil.rmtree(folder / file.stem, ignore_errors=True)
    for number, read in enumerate((build_corpus, read_labelled)):
        try:
            found = read(file, folder / file.stem) if number == 0 else read(folder, file)
        except SondinoError as error:
            assert str(error)
        else:
            assert number or {split or "" for split in found.column("split")} <= SPLITS.keys()


@FUZZ
@given(names=some.lists(NAMES, max_size=5), rows=some.lists(some.lists(CELLS, max_size=5), max_size=3))
def test_any_csv_gives_a_list_or_a_sentence(tmp_path: Path, names: list[str], rows: list[list[str]]) -> None:
    text = io.StringIO(newline="")
    width = max(1, len(names))
    csv.writer(text).writerows([["path", *names], *(["a.wav", *(row + [""] * width)[:width]] for row in rows)])
    read_by_all(tmp_path, written(tmp_path, text.getvalue().encode(errors="surrogatepass")))


@FUZZ
@given(content=some.binary(max_size=40) | some.binary(max_size=20).map(b"path,split\na.wav,".__add__))
def test_any_bytes_give_a_list_or_a_sentence(tmp_path: Path, content: bytes) -> None:
    for name in ("l.csv", "l.parquet"):
        read_by_all(tmp_path, written(tmp_path, content, name))


@FUZZ
@given(places=some.lists(some.integers(0, 10_000), min_size=1, max_size=3), byte=some.integers(0, 255))
def test_a_damaged_parquet_gives_a_list_or_a_sentence(tmp_path: Path, places: list[int], byte: int) -> None:
    content = bytearray(columns(tmp_path, path=["a.wav", "b.wav"], label=["x", "y"], start=[1.0, 2.0]).read_bytes())
    for place in places:
        content[place % len(content)] = byte
    try:
        read_list(written(tmp_path, bytes(content), "l.parquet"), {})
    except SondinoError as error:
        assert str(error)


VALUES = {
    pa.string(): "a.wav",
    pa.large_string(): "1",
    pa.dictionary(pa.int8(), pa.string()): "test",
    pa.binary(): b"\xff",
    pa.int64(): 2**62,
    pa.float64(): 1e9,
    pa.decimal128(5, 2): 2,
    pa.bool_(): True,
    pa.null(): None,
    pa.timestamp("s"): 1,
    pa.date32(): None,
    pa.list_(pa.string()): ["a", None],
    pa.list_(pa.float32()): [0.5],
    pa.struct([("a", pa.int8())]): {"a": 1},
    pa.map_(pa.string(), pa.int8()): None,
}


@FUZZ
@given(names=some.lists(NAMES, max_size=4), kinds=some.lists(some.sampled_from([*VALUES]), min_size=4, max_size=4))
def test_any_types_of_parquet_give_a_list_or_a_sentence(
    tmp_path: Path, names: list[str], kinds: list[pa.DataType]
) -> None:
    fields = [("path", pa.string()), *zip(names, kinds, strict=False)]
    arrays = [pa.array(["a.wav", "b.wav"]), *(pa.array([VALUES[kind], None], kind) for _, kind in fields[1:])]
    try:
        pq.write_table(pa.table(arrays, schema=pa.schema(fields)), tmp_path / "l.parquet")
    except (UnicodeEncodeError, pa.ArrowException):
        return  # not a file that can be made
    read_by_all(tmp_path, tmp_path / "l.parquet")


@pytest.mark.parametrize("form", ["csv", "parquet"])
def test_the_licence_of_a_sound_is_in_no_note(form: str, tmp_path: Path) -> None:
    table = {"path": ["a.wav"], "licence": ["CC0"], "author": ["me"], "site": ["north"]}
    text = "".join(",".join(row) + "\n" for row in (table, *zip(*table.values(), strict=True)))
    found = read_list(written(tmp_path, text) if form == "csv" else columns(tmp_path, **table), {})
    assert found.unread == ("site",)
    assert read_list(sample_list(), {}).notes() == ()
