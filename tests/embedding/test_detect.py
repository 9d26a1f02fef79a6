"""Detections: from windows to tables that other programs read."""

import csv
import io
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile

import sondino
from helpers.loudness import CARD, RATE
from sondino import cli
from sondino.embedding.detect import detect_files
from sondino.embedding.detection_tables import file_of, line_writer
from sondino.embedding.detections import Detection, Recording, merged
from sondino.encoder.head import Head
from sondino.encoder.unlike import Unlike
from sondino.errors import OptionError
from sondino.model.bundle import copy_with_head

# On the tiny model's embeddings (mean, mean square, peak), whose windows take a second: each label has its own
# probability. A window is "loud" if its peak is over 0.5, and always "here" with a probability of 0.3.
WEIGHT = np.array([[0, 0, 20.0], [0, 0, 0], [0, 0, 0]])
HERE = np.log(0.3 / 0.7)
HEAD = Head("levels", ("loud", "here", "never"), True, ((WEIGHT, np.array([-10, HERE, -99.0])),))
QUIET = 1 / (1 + np.exp(8))
LOUD = 1 / (1 + np.exp(-8))


@pytest.fixture
def bundle(tmp_path: Path, make_tiny_bundle: Callable[..., Path]) -> Path:
    return copy_with_head(make_tiny_bundle("bare", **CARD), tmp_path / "bundle", HEAD, {})


@pytest.fixture
def sounds(tmp_path: Path) -> Path:
    """a/levels.wav, seconds of peaks 0.1, 0.9, 0.9, 0.1, 0.9 and half a second of 0.1; b.wav, a second of 0.1."""
    (tmp_path / "sounds" / "a").mkdir(parents=True)
    peaks = [0.1, 0.9, 0.9, 0.1, 0.9]
    level = np.concatenate([*(np.full(RATE, p) for p in peaks), np.full(RATE // 2, 0.1)]).astype(np.float32)
    soundfile.write(tmp_path / "sounds" / "a" / "levels.wav", level, RATE, subtype="FLOAT")
    soundfile.write(tmp_path / "sounds" / "b.wav", level[:RATE], RATE, subtype="FLOAT")
    return tmp_path / "sounds"


def call(*arguments: object) -> int:
    with pytest.raises(SystemExit) as left:
        cli.main([str(argument) for argument in arguments])
    return int(left.value.code or 0)


def spans(recording: Recording, label: str) -> list[tuple[float, float]]:
    return [(found.start, found.end) for found in recording.detections if found.label == label]


def found_in(sounds: Path, bundle: Path, **options: object) -> list[Recording]:
    recordings: list[Recording] = []
    detect_files(sounds, sondino.load(bundle), show=recordings.append, **options)  # type: ignore[arg-type]
    return recordings


def test_a_detection_is_a_label_of_a_window_that_is_probable_enough(bundle: Path, sounds: Path) -> None:
    levels, quiet = found_in(sounds, bundle)
    assert (levels.path, levels.seconds) == ("a/levels.wav", 5.5)
    assert Path(levels.file) == (sounds / "a" / "levels.wav").resolve()
    assert spans(levels, "loud") == [(1, 2), (2, 3), (4, 5)]
    assert spans(levels, "here") == [(0, 1), (1, 2), (2, 3), (3, 4), (4, 5), (5, 5.5)]
    by_window = [(found.start, found.label) for found in levels.detections]
    assert by_window == sorted(by_window, key=lambda pair: (pair[0], pair[1] != "loud"))  # the most probable first
    for found in levels.detections:
        assert found.probability == pytest.approx(LOUD if found.label == "loud" else 0.3, abs=1e-5)
    assert [(found.start, found.end, found.label) for found in quiet.detections] == [(0, 1, "here")]


def test_what_counts_can_be_chosen(bundle: Path, sounds: Path, tmp_path: Path) -> None:
    levels, quiet = found_in(sounds, bundle, min_confidence=0.31)
    assert {found.label for found in levels.detections} == {"loud"} and quiet.detections == ()
    assert quiet.likeliest == ("here", pytest.approx(0.3, abs=1e-5))
    levels, _ = found_in(sounds, bundle, top=1)
    assert spans(levels, "here") == [(0, 1), (3, 4), (5, 5.5)]
    levels, _ = found_in(sounds, bundle, min_confidence=0, top=3)
    assert len(levels.detections) == 6 * 3
    (tmp_path / "labels.txt").write_text("# those wanted\nhere\n\nnever\n")
    levels, quiet = found_in(sounds, bundle, labels=tmp_path / "labels.txt", top=1)
    assert {found.label for found in levels.detections} == {"here"}  # of those listed the most probable
    assert levels.likeliest[0] == "here"


def test_neighbours_of_a_label_are_merged_with_their_highest_probability(bundle: Path, sounds: Path) -> None:
    levels, _ = found_in(sounds, bundle, merge=0)
    assert spans(levels, "loud") == [(1, 3), (4, 5)] and spans(levels, "here") == [(0, 5.5)]
    levels, _ = found_in(sounds, bundle, merge=1)
    assert spans(levels, "loud") == [(1, 5)]
    apart = [
        Detection(0, 1, "a", 0.3),
        Detection(0.5, 1.5, "b", 0.4),
        Detection(1, 2, "a", 0.9),
        Detection(3, 4, "a", 0.5),
    ]
    assert merged(apart, 0.5) == (Detection(0, 2, "a", 0.9), Detection(0.5, 1.5, "b", 0.4), Detection(3, 4, "a", 0.5))
    inside = [Detection(0, 4, "a", 0.3), Detection(1, 2, "a", 0.4)]
    assert merged(inside, 0) == (Detection(0, 4, "a", 0.4),)


def test_windows_overlap_where_the_hop_is_shorter(bundle: Path, sounds: Path) -> None:
    levels, _ = found_in(sounds, bundle, hop=0.5, min_confidence=0.5)
    assert spans(levels, "loud") == [(s, s + 1) for s in (0.5, 1, 1.5, 2, 2.5, 3.5, 4, 4.5)]
    levels, _ = found_in(sounds, bundle, hop=0.5, min_confidence=0.5, merge=0)
    assert spans(levels, "loud") == [(0.5, 5.5)]


def test_one_table_has_a_row_a_detection(bundle: Path, sounds: Path, tmp_path: Path) -> None:
    pytest.importorskip("pyarrow", reason="the train extra is not installed")
    from pyarrow import parquet

    model, rows = sondino.load(bundle), {}
    for suffix in ("csv", "jsonl", "parquet"):
        report = detect_files(sounds, model, tmp_path / f"o.{suffix}", merge=0)
        assert (report.files, report.seconds, report.detections) == (2, 6.5, 4)
    with (tmp_path / "o.csv").open(newline="") as opened:
        rows["csv"] = list(csv.DictReader(opened))
    rows["jsonl"] = [json.loads(line) for line in (tmp_path / "o.jsonl").read_text().splitlines()]
    rows["parquet"] = parquet.read_table(tmp_path / "o.parquet").to_pylist()
    for found in rows.values():
        assert list(found[0]) == ["path", "start", "end", "label", "probability", "time", "unlike"]
        assert not any(row["time"] for row in found)
        assert [(row["path"], float(row["start"]), float(row["end"]), row["label"]) for row in found] == [
            ("a/levels.wav", 0, 5.5, "here"),
            ("a/levels.wav", 1, 3, "loud"),
            ("a/levels.wav", 4, 5, "loud"),
            ("b.wav", 0, 1, "here"),
        ]
        assert [float(row["probability"]) for row in found] == pytest.approx([0.3, LOUD, LOUD, 0.3], abs=1e-5)


def test_a_detection_has_the_time_of_day_that_its_file_is_named_by(bundle: Path, sounds: Path, tmp_path: Path) -> None:
    (sounds / "b.wav").rename(sounds / "S4A1_20240501_235959.wav")
    (sounds / "a" / "levels.wav").rename(sounds / "a" / "20240501T235958+0200_REC.wav")
    for suffix in ("csv", "jsonl", "parquet"):
        detect_files(sounds, sondino.load(bundle), tmp_path / f"o.{suffix}", merge=0)
    with (tmp_path / "o.csv").open(newline="") as opened:
        times = [row["time"] for row in csv.DictReader(opened)]
    assert times == [
        "2024-05-01T23:59:59.000",
        "2024-05-01T23:59:58.000+02:00",
        "2024-05-01T23:59:59.000+02:00",
        "2024-05-02T00:00:02.000+02:00",
    ]
    assert [json.loads(line)["time"] for line in (tmp_path / "o.jsonl").read_text().splitlines()] == times


def test_a_selection_table_of_several_recordings_counts_their_times_on(
    bundle: Path, sounds: Path, tmp_path: Path
) -> None:
    detect_files(sounds, sondino.load(bundle), tmp_path / "o.txt", format="raven", merge=0)
    lines = [line.split("\t") for line in (tmp_path / "o.txt").read_text().splitlines()]
    rows = [dict(zip(lines[0], line, strict=True)) for line in lines[1:]]
    assert [row["Selection"] for row in rows] == ["1", "2", "3", "4"]
    assert [float(row["Begin Time (s)"]) for row in rows] == [0, 1, 4, 5.5]
    assert [float(row["File Offset (s)"]) for row in rows] == [0, 1, 4, 0]
    assert [float(row["End Time (s)"]) for row in rows] == [5.5, 3, 5, 6.5]
    assert {row["High Freq (Hz)"] for row in rows} == {str(RATE // 2)}
    assert [Path(row["Begin Path"]).name for row in rows] == ["levels.wav"] * 3 + ["b.wav"]
    assert [row["Annotation"] for row in rows] == ["here", "loud", "loud", "here"]


def test_a_folder_gets_a_file_for_each_recording(bundle: Path, sounds: Path, tmp_path: Path) -> None:
    model = sondino.load(bundle)
    assert detect_files(sounds, model, tmp_path / "tracks", format="audacity", merge=0).files == 2
    track = (tmp_path / "tracks" / "a" / "levels.wav.labels.txt").read_text().splitlines()
    assert [line.split("\t")[:2] for line in track] == [
        ["0.000000", "5.500000"],
        ["1.000000", "3.000000"],
        ["4.000000", "5.000000"],
    ]
    assert track[1].split("\t")[2:] == ["loud", f"{LOUD:.6g}"]
    detect_files(sounds, model, tmp_path / "k", format="kaleidoscope", merge=0, min_confidence=0.5)
    with (tmp_path / "k" / "a" / "levels.wav.kaleidoscope.csv").open(newline="") as opened:
        rows = list(csv.DictReader(opened))
    assert [(row["INDIR"], row["FOLDER"], row["IN FILE"]) for row in rows] == [(str(sounds), "a", "levels.wav")] * 2
    assert [(row["OFFSET"], row["DURATION"], row["TOP1MATCH"]) for row in rows] == [
        ("1", "2", "loud"),
        ("4", "1", "loud"),
    ]
    # One without a detection has a file too.
    assert (tmp_path / "k" / "b.wav.kaleidoscope.csv").read_text().count("\n") == 1


def test_an_address_in_kaleidoscopes_table_stays_one() -> None:
    file = io.TextIOWrapper(io.BytesIO(), "utf-8")
    put = line_writer(file, "kaleidoscope", 16_000)
    address = "https://example.org/dawn/a.wav"
    put(Recording(address, address, 2.0, (Detection(0, 1, "frog", 0.5),), ("frog", 0.5)))
    file.seek(0)
    assert file.read().splitlines()[1] == "https://example.org/dawn,,a.wav,0,0,1,frog,0.5"


def test_what_is_there_is_left_and_the_rest_is_done(
    bundle: Path, sounds: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["classify", sounds, "--model", bundle, "--output", tmp_path / "out", "--skip-existing", "--quiet"]
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "b.wav.csv").write_text("kept")
    assert call(*command) == 0
    assert "9 detections in 1 files, 6 s of audio" in capsys.readouterr().out
    assert (tmp_path / "out" / "b.wav.csv").read_text() == "kept"
    assert (tmp_path / "out" / "a" / "levels.wav.csv").read_text().count("\n") == 10
    assert call(*command) == 0
    assert "0 detections in 0 files" in (shown := capsys.readouterr().out) and "2 files were there already" in shown
    assert sorted(file.name for file in (tmp_path / "out").rglob("*") if file.is_file()) == [
        "b.wav.csv",
        "levels.wav.csv",
    ]


def test_a_run_with_only_broken_recordings_left_is_no_failure(bundle: Path, sounds: Path, tmp_path: Path) -> None:
    (sounds / "broken.wav").write_text("no sound")
    command = ["classify", sounds, "--model", bundle, "--output", tmp_path / "out", "--skip-existing", "--quiet"]
    assert [call(*command), call(*command)] == [1, 1]


def test_recordings_that_would_share_a_file_are_refused(bundle: Path, sounds: Path, tmp_path: Path) -> None:
    (sounds / "a:b.wav").write_bytes((sounds / "b.wav").read_bytes())
    (sounds / "a_b.wav").write_bytes((sounds / "b.wav").read_bytes())
    with pytest.raises(OptionError, match=r"a:b\.wav and .*a_b\.wav would have one file in .*out: classify them apart"):
        detect_files(sounds, sondino.load(bundle), tmp_path / "out")


def test_the_times_of_a_stretch_are_those_in_its_file(bundle: Path, sounds: Path, tmp_path: Path) -> None:
    (sounds / "a" / "levels.wav").rename(sounds / "20240501_050000.wav")
    part = f"{sounds}/20240501_050000.wav#t=2,4.5"
    (levels,) = found_in(part, bundle, min_confidence=0.5)  # type: ignore[arg-type]
    assert spans(levels, "loud") == [(2, 3), (4, 4.5)] and levels.path == levels.file == part.partition("#")[0]
    detect_files(part, sondino.load(bundle), tmp_path / "o.csv", min_confidence=0.5)
    with (tmp_path / "o.csv").open(newline="") as opened:
        assert [row["time"] for row in csv.DictReader(opened)] == ["2024-05-01T05:00:02.000", "2024-05-01T05:00:04.000"]
    detect_files([part, f"{sounds}/20240501_050000.wav#t=0,2"], sondino.load(bundle), tmp_path / "out")
    assert len(list((tmp_path / "out").rglob("*.csv"))) == 2


def test_a_broken_recording_is_listed_and_has_no_file(bundle: Path, sounds: Path, tmp_path: Path) -> None:
    (sounds / "broken.wav").write_text("no sound")
    assert call("classify", sounds, "--model", bundle, "--output", tmp_path / "out", "--quiet") == 1
    assert not (tmp_path / "out" / "broken.wav.csv").exists() and (tmp_path / "out" / "b.wav.csv").exists()


def test_windows_that_are_too_unlike_have_no_detection(tmp_path: Path, bundle: Path, sounds: Path) -> None:
    assert call("classify", sounds, "--model", bundle, "--max-unlike", "0.9", "--quiet") == 2
    # The distance is the squared peak: that of 0.9 is 0.81, over which lies a quarter of the held-out windows.
    parts = np.zeros((1, 3)), np.array([[0.0, 0, 1]]), np.array([1, 1e9]), np.array([0, 0.01, 0.5, 0.81, 1.0])
    head = replace(HEAD, unlike=Unlike(*parts))
    scored = copy_with_head(bundle, tmp_path / "scored", head, {})
    levels, quiet = found_in(sounds, scored)
    assert [found.unlike for found in levels.detections if found.label == "loud"] == pytest.approx([0.75] * 3, abs=1e-4)
    assert [found.unlike for found in quiet.detections] == pytest.approx([0.25], abs=1e-4)
    levels, _ = found_in(sounds, scored, max_unlike=0.5)
    assert spans(levels, "loud") == [] and spans(levels, "here") == [(0, 1), (3, 4), (5, 5.5)]
    (found,) = merged([Detection(0, 1, "a", 0.5, 0.2), Detection(1, 2, "a", 0.6, 0.1)], 0)
    assert found.unlike == 0.1
    for name in ("o.csv", "o.jsonl"):
        assert call("classify", sounds, "--model", scored, "--output", tmp_path / name, "--quiet") == 0
    with (tmp_path / "o.csv").open(newline="") as opened:
        assert [float(row["unlike"]) for row in csv.DictReader(opened) if row["label"] == "loud"] == [0.75] * 3
    rows = [json.loads(line) for line in (tmp_path / "o.jsonl").read_text().splitlines()]
    assert [row["unlike"] for row in rows if row["label"] == "loud"] == [0.75] * 3


def test_the_background_is_never_a_detection(tmp_path: Path, bundle: Path, sounds: Path) -> None:
    weights = ((WEIGHT[[0, 2]], np.array([-10, 5.0])),)
    head = Head("levels", ("loud", "none"), False, weights, background="none")
    levels, quiet = found_in(sounds, copy_with_head(bundle, tmp_path / "b", head, {}), min_confidence=0.0)
    assert {found.label for found in (*levels.detections, *quiet.detections)} == {"loud"}


def test_a_name_cannot_lead_out_of_the_folder(tmp_path: Path) -> None:
    for path in ("/etc/x.wav", "../../x.wav", "C:\\x.wav", "a/../../x.wav"):
        file = file_of(tmp_path / "out", path, "csv")
        assert (tmp_path / "out").resolve() in file.resolve().parents and file.name.endswith("x.wav.csv")


def test_without_an_output_it_is_printed(bundle: Path, sounds: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call("classify", sounds, "--model", bundle, "--merge", 0, "--min-confidence", 0.5, "--quiet") == 0
    assert capsys.readouterr().out.splitlines() == [
        "a/levels.wav",
        "     1.00 to    3.00 s  loud 100.0 %",
        "     4.00 to    5.00 s  loud 100.0 %",
        "b.wav  nothing of 50 % or more; most probable: here 30.0 %",
    ]


def test_times_have_the_digits_by_which_they_differ(
    bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    soundfile.write(tmp_path / "click.wav", np.full(RATE // 500, 0.9), RATE, subtype="FLOAT")
    assert call("classify", tmp_path / "click.wav", "--model", bundle, "--quiet", "--top", 1) == 0
    assert "    0.000 to   0.002 s  loud" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--min-confidence", "25"], "min confidence is 25: give a probability from 0 to 1"),
        (["--top", "0"], "top is 0"),
        (["--merge", "-1"], "merge is -1"),
        (["--hop", "0"], "hop is 0"),
        (["--hop", "2"], "hop is 2 s: give more than 0 and at most the model's window of 1 s"),
        (["--output", "o.txt"], "must end in .csv, .parquet, .jsonl, or be a folder"),
        (["--output", "o.csv", "--format", "jsonl"], "ends in .csv, and format is jsonl"),
        (["--output", "o.txt", "--format", "audacity"], "a label track for each recording: name a folder"),
        (["--output", "o.csv", "--skip-existing"], "skip existing needs a file for each recording"),
        (["--format", "raven"], "nothing is written: give an output"),
        (["--labels", "none.txt"], "labels none.txt cannot be read"),
        (["--labels", "empty.txt"], "labels empty.txt lists no label"),
        (["--labels", "wrong.txt"], "'luod' is none of the 3 labels of levels; did you mean 'loud'?"),
    ],
)
def test_a_mistake_gets_one_message(
    options: list[str],
    message: str,
    bundle: Path,
    sounds: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(bundle.parent)
    Path("empty.txt").write_text("# nothing\n")
    Path("wrong.txt").write_text("luod\n")
    assert call("classify", sounds, "--model", bundle, *options) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1 and error.startswith("sondino: ")
    with pytest.raises(OptionError):
        detect_files(sounds, sondino.load(bundle), min_confidence=-1)
