"""Tables that grow: new and changed files are processed, the rest of the table stays as it is."""

import csv
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

import sondino
from helpers.loudness import CARD, RATE
from helpers.tiny_bundle import tiny_vectors
from helpers.tiny_encoder import Tiny
from sondino import cli
from sondino.embedding import append, table_readers
from sondino.embedding.classify import classify_files
from sondino.embedding.detect import detect_files
from sondino.embedding.files import embed_files
from sondino.embedding.table_readers import read_rows
from sondino.encoder.head import Head
from sondino.errors import OptionError, RunError, SondinoError
from sondino.model.bundle import copy_with_head

# A window is "loud" if its peak is over 0.5.
HEAD = Head("levels", ("loud",), True, ((np.array([[0, 0, 20.0]]), np.array([-10.0])),))


def write(path: Path, peak: float, seconds: float = 1.0) -> Path:
    """A file of a constant, whose mean, mean square and peak are known, and that changes each time."""
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, np.full(int(seconds * RATE), peak, np.float32), RATE, subtype="FLOAT")
    write.time += 1_000_000_000  # type: ignore[attr-defined]
    os.utime(path, ns=(write.time, write.time))  # type: ignore[attr-defined]
    return path


write.time = 10**18  # type: ignore[attr-defined]


@pytest.fixture
def sounds(tmp_path: Path) -> Path:
    for name, peak in (("a", 0.1), ("b", 0.2), ("c", 0.3)):
        write(tmp_path / "sounds" / f"{name}.wav", peak)
    return tmp_path / "sounds"


@pytest.fixture
def model(tmp_path: Path, make_tiny_bundle: Callable[..., Path]) -> sondino.Model:
    return sondino.load(copy_with_head(make_tiny_bundle("bare", **CARD), tmp_path / "bundle", HEAD, {}))


def peaks(output: Path) -> list[tuple[str, float]]:
    """The id and the peak of each row."""
    return [
        (name, round(float(row[2]), 3))
        for rows in read_rows(output)
        for name, row in zip(rows.ids, rows.embeddings, strict=True)
    ]


def content(output: Path) -> dict[str, bytes]:
    """The bytes of a file, or of each file of a folder."""
    return {str(file): file.read_bytes() for file in (output, *output.rglob("*")) if file.is_file()}


def counts(report: Any) -> tuple[int, int, int, int]:
    return report.files, report.kept, report.replaced, report.gone


@pytest.mark.parametrize("suffix", ["npz", "npy", "csv", "parquet", "lance"])
@pytest.mark.parametrize("windows", [False, True])
def test_new_and_changed_files_are_embedded_and_the_rest_stays(
    suffix: str, windows: bool, sounds: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if suffix == "parquet":
        pytest.importorskip("pyarrow", reason="the tables extra is not installed")
    if suffix == "lance":
        pytest.importorskip("lance", reason="the lance extra is not installed")
    output = tmp_path / f"all.{suffix}"
    write(sounds / "c.wav", 0.3, 2.5)
    first = embed_files(sounds, Tiny(), output, per_window=windows, append=True)
    assert counts(first) == (3, 0, 0, 0)
    write(sounds / "b.wav", 0.7)
    write(sounds / "d.wav", 0.4)
    (sounds / "a.wav").unlink()
    monkeypatch.setattr(table_readers, "BLOCK_BYTES", 1)  # a block for each row: a recording's windows are in several
    model = Tiny()
    report = embed_files(sounds, model, output, per_window=windows, append=True)
    assert counts(report) == (2, 2, 1, 1) and report.seconds == 2
    assert sum(shape[0] for shape in model.shapes) == 2  # windows that were embedded
    last = [("c.wav", 0.3)] * (3 if windows else 1)
    assert peaks(output) == [("a.wav", 0.1), *last, ("b.wav", 0.7), ("d.wav", 0.4)]
    if windows:
        starts = np.concatenate([rows.starts for rows in read_rows(output) if rows.starts is not None])
        assert starts.tolist() == [0, 0, 1, 2, 0, 0]
    if windows and suffix == "npz":
        with np.load(output) as table:
            assert table["ids"].tolist() == ["a.wav", "c.wav", "b.wav", "d.wav"]
            assert table["clip"].tolist() == [0, 1, 1, 1, 2, 3]
    before = content(output)
    model = Tiny()
    assert counts(embed_files(sounds, model, output, per_window=windows, append=True)) == (0, 4, 0, 1)
    assert content(output) == before and not model.shapes
    assert not list(tmp_path.glob("*.partial"))


def test_embeddings_are_those_of_one_call(sounds: Path, tmp_path: Path) -> None:
    for name in "ab":
        embed_files([sounds / f"{name}.wav"], Tiny(), tmp_path / "grown.npz", append=True)
    embed_files([sounds / f"{name}.wav" for name in "ab"], Tiny(), tmp_path / "once.npz")
    with np.load(tmp_path / "grown.npz") as grown, np.load(tmp_path / "once.npz") as once:
        assert np.array_equal(grown["vectors"], once["vectors"]) and np.array_equal(grown["ids"], once["ids"])
        assert grown["vectors"] == pytest.approx(tiny_vectors(np.array([[0.1] * 9, [0.2] * 9])), abs=1e-6)


def test_another_folder_with_the_same_names_replaces_nothing(
    sounds: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    embed_files("sounds", Tiny(), tmp_path / "all.npz", append=True)
    write(tmp_path / "more" / "a.wav", 0.9)
    write(tmp_path / "more" / "new.wav", 0.8)
    assert counts(embed_files("more", Tiny(), tmp_path / "all.npz", append=True)) == (2, 3, 0, 0)
    assert peaks(tmp_path / "all.npz")[3:] == [("more/a.wav", 0.9), ("new.wav", 0.8)]
    # Given together, with whole paths as ids, each is known by its path and keeps its id.
    write(sounds / "a.wav", 0.5)
    assert counts(embed_files(["more", "sounds"], Tiny(), "all.npz", append=True)) == (1, 4, 1, 0)
    assert peaks(tmp_path / "all.npz")[-1] == ("a.wav", 0.5) and len(peaks(tmp_path / "all.npz")) == 5


def test_a_changed_file_that_cannot_be_read_keeps_its_row_and_is_tried_again(sounds: Path, tmp_path: Path) -> None:
    output = tmp_path / "all.csv"
    embed_files(sounds, Tiny(), output, append=True)
    (sounds / "b.wav").write_text("no sound")
    report = embed_files(sounds, Tiny(), output, append=True)
    assert counts(report) == (0, 3, 0, 0) and [Path(path).name for path, _ in report.skipped] == ["b.wav"]
    write(sounds / "b.wav", 0.9)
    assert counts(embed_files(sounds, Tiny(), output, append=True)) == (1, 2, 1, 0)
    assert peaks(output) == [("a.wav", 0.1), ("c.wav", 0.3), ("b.wav", 0.9)]


def test_a_table_of_another_model_or_of_other_options_is_refused(sounds: Path, tmp_path: Path) -> None:
    output = tmp_path / "all.npz"

    class Other(Tiny):
        name, fingerprint = "other", "two"

    class Retrained(Tiny):
        fingerprint = "three"

    embed_files(sounds, Tiny(), output, append=True)
    before = output.read_bytes()
    for model, options, message in (
        (Other(), {}, r"all\.npz was written with the model tiny \(one\), and this is the model other \(two\): give"),
        (Retrained(), {}, r"this is the model tiny \(three\) \(weights, --engine, --precision, --resample"),
        (Tiny(), {"hop": 0.5}, "was written with hop unset, and this is hop 0.5"),
        (Tiny(), {"per_window": True}, "was written with per window False, and this is per window True"),
    ):
        with pytest.raises(OptionError, match=message):
            embed_files(sounds, model, output, append=True, **options)
        assert output.read_bytes() == before and not list(tmp_path.glob("*.partial"))
    embed_files(sounds, Tiny(), output)  # anew: what was known of it no longer holds
    with pytest.raises(OptionError, match=r"written without append, so that all\.npz\.inputs\.json, .* is not there"):
        embed_files(sounds, Tiny(), output, append=True)
    for damaged in ("{", "[]", "{}", '{"form": 1, "settings": {"a": 1}, "files": {"x": 3}}'):
        (tmp_path / "all.npz.inputs.json").write_text(damaged)
        with pytest.raises(SondinoError, match=r"all\.npz\.inputs\.json"):
            embed_files(sounds, Tiny(), output, append=True)


def test_a_table_that_is_gone_is_written_anew(sounds: Path, tmp_path: Path) -> None:
    embed_files(sounds, Tiny(), tmp_path / "all.npz", append=True)
    (tmp_path / "all.npz").unlink()
    assert counts(embed_files(sounds, Tiny(), tmp_path / "all.npz", per_window=True, append=True)) == (3, 0, 0, 0)


# ---- labels ---------------------------------------------------------------------------------------------------


def detections(output: Path) -> list[tuple[str, float, float]]:
    if output.suffix == ".parquet":
        from pyarrow import parquet

        rows = parquet.read_table(output).to_pylist()
    elif output.suffix == ".csv":
        with output.open(newline="") as opened:
            rows = list(csv.DictReader(opened))
    else:
        rows = [json.loads(line) for line in output.read_text().splitlines()]
    return [(row["path"], float(row["start"]), float(row["end"])) for row in rows]


@pytest.mark.parametrize("suffix", ["csv", "jsonl", "parquet"])
def test_detections_of_new_and_changed_recordings_are_added(
    suffix: str, model: sondino.Model, sounds: Path, tmp_path: Path
) -> None:
    if suffix == "parquet":
        pytest.importorskip("pyarrow", reason="the tables extra is not installed")
    output = tmp_path / f"all.{suffix}"
    for name, peak in (("a", 0.9), ("b", 0.1), ("=c", 0.9)):
        write(sounds / f"{name}.wav", peak, 2)
    (sounds / "c.wav").unlink()
    first = detect_files(sounds, model, output, append=True)
    assert counts(first) == (3, 0, 0, 0) and first.detections == 4
    assert detections(output) == [
        (name, start, start + 1) for name in ("'=c.wav" if suffix == "csv" else "=c.wav", "a.wav") for start in (0, 1)
    ]
    write(sounds / "=c.wav", 0.9)
    write(sounds / "b.wav", 0.9)
    write(sounds / "d.wav", 0.1)
    report = detect_files(sounds, model, output, append=True)
    assert counts(report) == (3, 1, 2, 0) and report.detections == 2
    assert detections(output) == [
        ("a.wav", 0, 1),
        ("a.wav", 1, 2),
        ("'=c.wav" if suffix == "csv" else "=c.wav", 0, 1),
        ("b.wav", 0, 1),
    ]
    (sounds / "a.wav").write_text("no sound")  # its rows stay
    write(sounds / "e.wav", 0.9)
    assert counts(detect_files(sounds, model, output, append=True)) == (1, 4, 0, 0)
    assert sorted(detections(output))[-4:] == [("a.wav", 0, 1), ("a.wav", 1, 2), ("b.wav", 0, 1), ("e.wav", 0, 1)]
    assert counts(detect_files(sounds, model, output, append=True)) == (0, 5, 0, 0)


def test_the_rows_of_a_changed_stretch_are_replaced_and_no_others(
    model: sondino.Model, sounds: Path, tmp_path: Path
) -> None:
    write(sounds / "a.wav", 0.9, 4)
    stretches = [f"{sounds}/a.wav#t=0,2", f"{sounds}/a.wav#t=2,4"]
    detect_files(stretches, model, tmp_path / "all.csv", append=True)
    write(sounds / "a.wav", 0.1, 4)
    detect_files(stretches[:1], model, tmp_path / "all.csv", append=True)
    assert [start for _, start, _ in detections(tmp_path / "all.csv")] == [2, 3]


def test_a_row_that_was_edited_stays_so(model: sondino.Model, sounds: Path, tmp_path: Path) -> None:
    write(sounds / "a.wav", 0.9)
    detect_files(sounds, model, tmp_path / "all.csv", append=True)
    text = (tmp_path / "all.csv").read_text().replace("loud", '"a, b"')
    (tmp_path / "all.csv").write_text(text)
    write(sounds / "d.wav", 0.1)
    detect_files(sounds, model, tmp_path / "all.csv", append=True)
    assert (tmp_path / "all.csv").read_text() == text
    (tmp_path / "all.csv").write_text(text.replace(",time", ",time,note"))
    write(sounds / "e.wav", 0.1)
    with pytest.raises(
        OptionError, match=r"has the columns .*note, .*and this call writes path, start, end, .*unlike: name"
    ):
        detect_files(sounds, model, tmp_path / "all.csv", append=True)


@pytest.mark.parametrize("suffix", ["csv", "jsonl"])
def test_labels_of_clips_are_added(suffix: str, model: sondino.Model, sounds: Path, tmp_path: Path) -> None:
    output = tmp_path / f"all.{suffix}"
    assert counts(classify_files(sounds, model, output, append=True)) == (3, 0, 0, 0)
    lines = output.read_text().splitlines()
    write(sounds / "b.wav", 0.9)
    assert counts(classify_files(sounds, model, output, append=True)) == (1, 2, 1, 0)
    first = 1 if suffix == "csv" else 0
    new = output.read_text().splitlines()
    assert new[:-1] == [*lines[: first + 1], lines[first + 2]] and "b.wav" in new[-1] and new[-1] != lines[first + 1]
    with pytest.raises(OptionError, match="was written with top 3, and this is top 1"):
        classify_files(sounds, model, output, top=1, append=True)


def test_a_process_that_adds_meanwhile_is_noticed(
    model: sondino.Model, sounds: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = tmp_path / "all.csv"
    detect_files(sounds / "a.wav", model, output, append=True)
    plan = append.plan_append

    def late(*given: Any) -> append.Plan:
        made = plan(*given)
        append.record_of(output).write_text(append.record_of(output).read_text() + " ")
        return made

    monkeypatch.setattr("sondino.embedding.detect.plan_append", late)
    before = output.read_text()
    with pytest.raises(RunError, match=r"another process has written .*all\.csv meanwhile"):
        detect_files(sounds, model, output, append=True)
    assert output.read_text() == before


# ---- the commands ---------------------------------------------------------------------------------------------


def call(*arguments: object) -> int:
    with pytest.raises(SystemExit) as left:
        cli.main([str(argument) for argument in arguments])
    return int(left.value.code or 0)


def test_the_summary_states_what_was_there(
    model: sondino.Model, sounds: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    embed = ["embed", sounds, "--model", model.folder, "--output", tmp_path / "all.npz", "--append", "--quiet"]
    label = ["classify", sounds, "--model", model.folder, "--output", tmp_path / "all.csv", "--append", "--quiet"]
    assert call(*embed) == call(*label) == 0
    assert "there already" not in capsys.readouterr().out
    write(sounds / "a.wav", 0.9)
    write(sounds / "d.wav", 0.9)
    (sounds / "c.wav").unlink()
    assert call(*embed) == call(*label) == 0
    note = "2 files were there already, 1 of them is no longer on disk; 1 file was replaced"
    assert capsys.readouterr().out.splitlines() == [
        f"2 files, 2 s of audio, in {tmp_path / 'all.npz'}; {note}",
        f"2 detections in 2 files, 2 s of audio, in {tmp_path / 'all.csv'}; {note}",
    ]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--output", "tables"], "is a folder, with a file of each recording: skip existing adds new ones"),
        (["--output", "o.txt", "--format", "raven"], "a raven table cannot be added to: take csv, parquet or jsonl"),
        ([], "append is for a table, and nothing is written"),
        (["--per-clip"], "append is for a table, and nothing is written"),
    ],
)
def test_what_cannot_be_added_to_is_refused(
    options: list[str],
    message: str,
    model: sondino.Model,
    sounds: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert call("classify", sounds, "--model", model.folder, "--append", *options) == 2
    assert message in capsys.readouterr().err
    assert call("embed", "-", "--model", model.folder, "--append") == 2
    assert "--append is for files" in capsys.readouterr().err
