"""A session from an archive to a classifier, with answers given by what the windows hold."""

import csv
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import sondino
from helpers.archive import is_loud, write_archive
from helpers.loudness import CARD
from sondino import cli
from sondino.annotation import server
from sondino.annotation.server import LabelServer
from sondino.annotation.session import Candidate, Session
from sondino.cli import labelling
from sondino.embedding.detect import detect_files
from sondino.encoder.head import Head
from sondino.errors import AudioError, Note, OptionError, RunError
from sondino.model.bundle import copy_with_head
from sondino.tasks.labelled import read_labelled
from sondino.tracks import read_track


@pytest.fixture
def model(make_tiny_bundle: Callable[..., Path], tmp_path: Path) -> sondino.Model:
    head = Head("levels", ("loud",), True, ((np.array([[0, 0, 20.0]]), np.array([-10.0])),))
    return sondino.load(copy_with_head(make_tiny_bundle("bare", **CARD), tmp_path / "bundle", head, {}), threads=1)


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    return write_archive(tmp_path / "recordings", 12, 5)


def judge(session: Session, label: str, count: int, how: str = "mixed") -> list[Candidate]:
    """Answer by what the windows hold, and give what was asked."""
    asked = []
    for _ in range(count):
        (candidate,) = session.next(label, how)
        session.answer(
            candidate.window, label, "yes" if is_loud(candidate.path, candidate.start) else "no", candidate.how
        )
        asked.append(candidate)
    return asked


def test_the_loop_finds_the_label_and_asks_nothing_twice(archive: Path, tmp_path: Path, model: sondino.Model) -> None:
    session = Session.open(archive, tmp_path / "out", model, ["loud"], "Ada")
    assert session.state().advice["loud"].startswith("Find a first yes")
    session.start("loud", "label:LOUD")
    (first,) = session.next("loud", "top")
    assert is_loud(first.path, first.start) and first.why == "similar to the start" and first.score is None
    asked = judge(session, "loud", 40)
    assert len({one.window for one in asked}) == 40
    state = session.state()
    assert state.labels == ("loud",) and (state.windows, state.files, state.who) == (60, 12, "Ada")
    assert state.answers["loud"] == {"yes": sum(is_loud(c.path, c.start) for c in asked),
                                     "no": sum(not is_loud(c.path, c.start) for c in asked), "unsure": 0}  # fmt: skip
    scores = session._fit("loud").scores
    assert scores is not None
    truth = [is_loud(*session.store.place_of(n)[:2]) for n in range(60)]
    assert min(scores[truth]) > max(scores[np.logical_not(truth)])
    rest = judge(session, "loud", 20, "top")
    assert len({one.window for one in [*asked, *rest]}) == 60
    assert session.next("loud", "mixed") == [] and session.state().advice["loud"].startswith("Every window")


def test_a_batch_is_of_different_recordings(archive: Path, tmp_path: Path, model: sondino.Model) -> None:
    session = Session.open(archive, tmp_path / "out", model, ["loud"])
    assert len({one.path for one in session.next("loud", "random", 12)}) == 12


def test_starts(archive: Path, tmp_path: Path, model: sondino.Model) -> None:
    session = Session.open(archive, tmp_path / "out", model)
    session.start("a", str(archive / "00.wav") + "#t=0,1")
    session.start("b", "group:1")
    session.start("c", "random")
    assert session.state().labels == ("a", "b", "c")
    assert [one.why for label in "abc" for one in session.next(label, "mixed")] == [
        "similar to the start", "similar to the start", "drawn at random",
    ]  # fmt: skip
    same = session.next("a", "top")[0]
    again = Session.open(archive, tmp_path / "out", model)  # the start is remembered
    assert again.next("a", "top")[0] == same
    for by, error in (("label:cat", OptionError), ("group:99", OptionError), ("nowhere.wav", AudioError)):
        with pytest.raises(error):
            session.start("d", by)
    assert "d" not in session.state().labels


def test_two_sessions_share_answers_and_undo_takes_ones_own(
    archive: Path, tmp_path: Path, model: sondino.Model
) -> None:
    ada = Session.open(archive, tmp_path / "out", model, ["loud"], "Ada")
    bo = Session.open(archive, tmp_path / "out", model, (), "Bo")
    (candidate,) = ada.next("loud", "random")
    ada.answer(candidate.window, "loud", "unsure", candidate.how)
    assert bo.state().answers["loud"]["unsure"] == 1
    assert candidate.window not in {one.window for one in bo.next("loud", "random", 60)}
    assert bo.undo() is None
    taken = ada.undo()
    assert taken is not None and (taken.window, taken.label) == (candidate.window, "loud")
    assert bo.state().answers["loud"]["unsure"] == 0 and ada.undo() is None


def test_what_cannot_be_asked_or_answered(archive: Path, tmp_path: Path, model: sondino.Model) -> None:
    session = Session.open(archive, tmp_path / "out", model, ["<b>loud</b>"])
    for call in (
        lambda: session.next("quiet", "top"),
        lambda: session.next("<b>loud</b>", "best"),
        lambda: session.next("<b>loud</b>", "disagree"),
        lambda: session.answer(60, "<b>loud</b>", "yes", "top"),
        lambda: session.answer(0, "<b>loud</b>", "maybe", "top"),  # type: ignore[arg-type]
        lambda: session.answer(0, "<b>loud</b>", "yes", "mixed"),
        lambda: session.add_label("a;b"),
        session.write,
    ):
        with pytest.raises(OptionError):
            call()
    assert session.state().answers["<b>loud</b>"] == {"yes": 0, "no": 0, "unsure": 0}


def test_a_recording_that_is_gone_stops_nothing(archive: Path, tmp_path: Path, model: sondino.Model) -> None:
    session = Session.open(archive, tmp_path / "out", model, ["loud"])
    judge(session, "loud", 30)
    (archive / "00.wav").unlink()
    with pytest.raises(AudioError, match="no longer there"):
        session.sound_of(0)
    assert session.sound_of(5) == (archive / "01.wav", 0.0, 1.0)
    session.write()
    again = Session.open(archive, tmp_path / "out", model)
    assert again.gone == ["00.wav"] and sum(again.state().answers["loud"].values()) == 30
    assert all(one.path != "00.wav" for one in again.next("loud", "random", 60))
    again.write()


def test_a_store_that_was_removed_is_made_again_and_answers_stay(
    archive: Path, tmp_path: Path, model: sondino.Model
) -> None:
    session = Session.open(archive, tmp_path / "out", model, ["loud"], "Ada")
    judge(session, "loud", 10)
    shutil.rmtree(tmp_path / "out" / "windows")
    again = Session.open(archive, tmp_path / "out", model, who="Ada")
    assert again._fit("loud").verdicts == session._fit("loud").verdicts
    assert len([1 for _ in range(11) if again.undo()]) == 10  # back to the start


def test_one_recording_is_enough(tmp_path: Path, model: sondino.Model) -> None:
    session = Session.open(write_archive(tmp_path / "one", 1, 6), tmp_path / "out", model, ["loud"])
    assert len(judge(session, "loud", 6)) == 6 and len(session.write()) == 4


def test_out_that_holds_something_else_is_left_alone(archive: Path, tmp_path: Path, model: sondino.Model) -> None:
    with pytest.raises(OptionError, match="no folder of labels"):
        Session.open(archive, archive, model)
    with pytest.raises(OptionError, match=r"the model itself|no folder of labels"):
        Session.open(archive, model.folder, model)


# ---- out ----------------------------------------------------------------------------------------------------------


def test_what_comes_out_is_read_by_all_readers(archive: Path, tmp_path: Path, model: sondino.Model) -> None:
    out = tmp_path / "out"
    session = Session.open(archive, out, model, ["loud"], "Ada")
    asked = judge(session, "loud", 50)
    loud = {(one.path, one.start) for one in asked if is_loud(one.path, one.start)}
    assert [path.relative_to(out).as_posix() for path in session.write()] == [
        "labels.csv", "tables", "bundle", "report.html",
    ]  # fmt: skip
    with (out / "labels.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert {(Path(row["path"]).name, float(row["start"])) for row in rows if row["label"] == "loud"} == loud
    assert {row["label"] for row in rows} == {"loud", "background"} and len(rows) == 50
    labelled = read_labelled(archive, out / "labels.csv")
    assert labelled.labels == ("loud", "background") and len(labelled.clips) == 50 and not labelled.skipped
    for ending in (".selections.txt", ".labels.txt"):
        tables = sorted((out / "tables").glob(f"*{ending}"))
        marks = {(file.name.removesuffix(ending), mark.start, mark.duration, mark.label)
                 for file in tables for mark in read_track(file, archive / file.name.removesuffix(ending))}  # fmt: skip
        assert marks == {(path, start, 1.0, "loud") for path, start in loud}


def test_the_bundle_finds_the_label_with_the_defaults_of_classify(
    archive: Path, tmp_path: Path, model: sondino.Model
) -> None:
    session = Session.open(archive, tmp_path / "out", model, ["loud"], "Ada")
    judge(session, "loud", 50)
    session.write()
    opened = sondino.load(tmp_path / "out", threads=1)  # the folder itself
    assert opened.head is not None and opened.head.labels == ("loud",)
    report = detect_files(archive, opened)
    found = {(row[0], row[1]) for row in report.rows or ()}
    assert found == {(f"{n:02d}.wav", float(s)) for n in range(12) for s in range(5) if (n + s) % 3 == 0}


def test_labels_taken_back_leave_the_tables(archive: Path, tmp_path: Path, model: sondino.Model) -> None:
    session = Session.open(archive, tmp_path / "out", model, ["loud"])
    session.answer(0, "loud", "yes", "top")
    session.answer(5, "loud", "yes", "top")
    session.write()
    session.undo()
    session.write()
    assert {file.name for file in (tmp_path / "out" / "tables").iterdir()} == {
        "00.wav.selections.txt", "00.wav.labels.txt",
    }  # fmt: skip


def test_the_report_shows_a_label_with_markup_as_text(archive: Path, tmp_path: Path, model: sondino.Model) -> None:
    name = "<script>alert(1)</script>"
    session = Session.open(archive, tmp_path / "out", model, [name])
    session.start(name, "label:loud")
    judge(session, name, 30)
    session.write()
    page = (tmp_path / "out" / "report.html").read_text()
    assert name not in page and "&lt;script&gt;alert(1)" in page
    assert page.count("<audio controls") > 0 and "Precision and recall by answers" in page


# ---- given labels -------------------------------------------------------------------------------------------------


def given_rows(archive: Path, wrong: tuple[str, int]) -> list[dict[str, str]]:
    return [
        {"File": f"{n:02d}.wav", "Start (s)": str(s), "End (s)": str(s + 1), "Confidence": "0.9",
         "Common name": "loud" if is_loud(f"{n:02d}", s) != ((f"{n:02d}.wav", s) == wrong) else "quiet"}
        for n in range(len(list(archive.iterdir()))) for s in range(5)
    ]  # fmt: skip


def test_the_error_in_birdnets_results_comes_first(archive: Path, tmp_path: Path, model: sondino.Model) -> None:
    rows = given_rows(archive, ("03.wav", 3))
    with (tmp_path / "results.csv").open("w", newline="") as file:
        table = csv.DictWriter(file, list(rows[0]))
        table.writeheader()
        table.writerows(rows)
    with pytest.warns(Note, match=r"results\.csv has columns that are not read: Confidence$"):
        session = Session.open(archive, tmp_path / "out", model, given=tmp_path / "results.csv")
    assert session.state().labels == ("loud", "quiet") and session.given_elsewhere == 0
    (first,) = session.next("quiet", "disagree")
    assert (first.path, first.start, first.given, first.how) == ("03.wav", 3.0, "quiet", "disagree")
    session.answer(first.window, "quiet", "no", first.how)
    assert session.next("quiet", "disagree")[0].window != first.window
    assert is_loud(
        session.next("loud", "top")[0].path, session.next("loud", "top")[0].start
    )  # given labels are a start


def test_tracks_beside_the_recordings_are_given_labels(archive: Path, tmp_path: Path, model: sondino.Model) -> None:
    (archive / "00.txt").write_text("0.0\t1.0\tloud\n3.1\t3.9\tloud\n9\t10\tloud\n")
    session = Session.open(archive, tmp_path / "out", model, given=archive)
    assert session._given.of == {0: ("loud",), 3: ("loud",)} and session.given_elsewhere == 1
    (archive / "01.BirdNET.selection.table.txt").write_text(
        "Selection\tView\tChannel\tBegin Time (s)\tEnd Time (s)\tCommon Name\tConfidence\n"
        "1\tSpectrogram 1\t1\t2.0\t3.0\tloud\t0.9\n"
    )
    session = Session.open(archive, tmp_path / "out", model, given=archive)
    assert session._given.of == {0: ("loud",), 3: ("loud",), 7: ("loud",)}
    (archive / "01.BirdNET.selection.table.txt").unlink()
    (archive / "00.txt").write_text("9\t10\tloud\n")
    with pytest.raises(OptionError, match="fit no recording"):
        Session.open(archive, tmp_path / "out", model, given=archive)


# ---- the command --------------------------------------------------------------------------------------------------


def exit_code(command: list[str]) -> object:
    with pytest.raises(SystemExit) as ended:
        cli.main(command)
    return ended.value.code


@pytest.fixture
def served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[LabelServer]:
    """The servers that the command would serve, with a page that need not be built."""
    found: list[LabelServer] = []
    monkeypatch.setattr(labelling, "serve", lambda server, open: found.append(server))
    (tmp_path / "label.html").touch()
    monkeypatch.setattr(server, "PAGE", tmp_path)
    return found


def test_the_command_lists_what_it_serves(
    archive: Path,
    tmp_path: Path,
    model: sondino.Model,
    capsys: pytest.CaptureFixture[str],
    served: list[LabelServer],
) -> None:
    out = tmp_path / "out"
    command = [
        "label",
        str(archive),
        "--model",
        str(model.folder),
        "--out",
        str(out),
        "--name",
        "Ada",
        "--quiet",
        "--port",
        "0",
    ]
    assert exit_code(command) == 0
    assert "60 windows of 12 recordings" in capsys.readouterr().out and served[0].session.who == "Ada"
    Session.open(archive, out, model, ["loud"]).answer(0, "loud", "yes", "top")
    (archive / "01.wav").unlink()
    assert exit_code(command) == 0
    printed = capsys.readouterr()
    assert "loud: 1 yes, 0 no, 0 unsure." in printed.out and "no longer there, and left out: 01.wav" in printed.err
    settings = json.loads((out / "windows" / "windows.json").read_text())
    settings["settings"]["model"] = ["other", "0123456789"]
    (out / "windows" / "windows.json").write_text(json.dumps(settings))
    assert exit_code(command) == 2
    assert "was embedded with the model other (01234567)" in capsys.readouterr().err


def test_a_full_disk_while_answering(
    archive: Path, tmp_path: Path, model: sondino.Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = Session.open(archive, tmp_path / "out", model, ["loud"])

    def full(file: int, content: bytes) -> int:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr("os.write", full)
        with pytest.raises(RunError, match="does not count"):
            session.answer(0, "loud", "yes", "top")
    assert session.state().answers["loud"]["yes"] == 0
    assert 0 in {one.window for one in session.next("loud", "random", 60)}


def test_the_command_starts_labels(
    archive: Path,
    tmp_path: Path,
    model: sondino.Model,
    capsys: pytest.CaptureFixture[str],
    served: list[LabelServer],
) -> None:
    command = ["label", str(archive), "--model", str(model.folder), "--out", str(tmp_path / "out"), "--port", "0"]
    example = f"loud={archive / '01.wav'}#t=0,1"
    assert exit_code([*command, "--quiet", "--start", example, "--start", "a=b=random"]) == 2
    assert "start 'b=random' is no file" in capsys.readouterr().err
    assert exit_code([*command, "--quiet", "--start", example, "--start", "soft=random"]) == 0
    assert served[0].session.state().labels == ("loud", "soft")
    first = served[0].session.next("loud", "mixed")[0]
    assert first.path == "01.wav" and first.why == "similar to the start"
    for text in ("loud", "=random", "loud="):
        assert exit_code([*command, "--start", text]) == 2
        assert f"--start {text}: give a label and a start" in capsys.readouterr().err
