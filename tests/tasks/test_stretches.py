"""Labels of stretches: columns of times, Audacity's label tracks, Raven's selection tables."""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

from helpers.loudness import CARD
from sondino.audio.fragment import stretch_of
from sondino.errors import OptionError
from sondino.tasks.labelled import Labelled, read_labelled
from sondino.tracks import Mark, read_track, track_of

RATE = 16000


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """dawn.wav and dusk.wav, see `record`."""
    for number, name in enumerate(("dawn", "dusk")):
        record(tmp_path / f"{name}.wav", number)
    return tmp_path


def record(file: Path, seed: int) -> None:
    """Ten seconds of noise that are quiet in even ones and loud in odd ones."""
    level = np.repeat([0.1, 0.9] * 5, RATE).astype(np.float32)
    noise = np.random.default_rng(seed).uniform(-1, 1, len(level)).astype(np.float32)
    soundfile.write(file, noise * level, RATE)


def spans(labelled: Labelled) -> list[tuple[str, float, float | None, tuple[str, ...]]]:
    parts = [(stretch_of(clip.path), clip.labels) for clip in labelled.clips]
    return [(Path(part.file).name, part.start, part.duration, labels) for part, labels in parts]


def test_a_list_gives_stretches(folder: Path) -> None:
    (folder / "l.csv").write_text(
        "path,start,end,label\ndawn.wav,0,1,quiet\ndawn.wav,1,2,loud\ndusk.wav,3,4,loud\ndusk.wav,8,,quiet\ndusk.wav,,1,quiet\n"
    )
    found = read_labelled(folder, folder / "l.csv")
    assert spans(found) == [
        ("dawn.wav", 0, 1, ("quiet",)),
        ("dawn.wav", 1, 1, ("loud",)),
        ("dusk.wav", 3, 1, ("loud",)),
        ("dusk.wav", 8, None, ("quiet",)),
        ("dusk.wav", 0, 1, ("quiet",)),
    ]
    assert [clip.id for clip in found.clips][:2] == ["dawn.wav#t=0,1", "dawn.wav#t=1,2"]
    assert found.sources().tolist() == [0, 0, 1, 1, 1]  # a recording stays on one side of every split
    (folder / "l.csv").write_text(
        "path,start,duration,label,source\ndawn.wav,0,1,a,x\ndawn.wav,5,1,b,y\ndusk.wav,0,1,a,y\ndusk.wav,2,1,b,x\n"
    )
    assert read_labelled(folder, folder / "l.csv").sources().tolist() == [0, 1, 1, 0]  # unless the list says otherwise


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ("dawn.wav,-1,1,a", "line 2: the stretch begins at -1 s and is 2 s long: give a start of 0 or more"),
        ("dawn.wav,2,2,a", "line 2: the stretch begins at 2 s and is 0 s long"),
        ("dawn.wav,3,1,a", "and is -2 s long"),
        ("dawn.wav,1,2,a\ndawn.wav,1.0,2.0,b", r"line 3: dawn.wav is listed twice and differs \(a and b\)"),
    ],
)
def test_times_that_are_none_get_a_message(folder: Path, rows: str, message: str) -> None:
    (folder / "l.csv").write_text(f"path,start,end,label\n{rows}\n")
    with pytest.raises(OptionError, match=message):
        read_labelled(folder, folder / "l.csv")


AUDACITY = "0.000000\t1.000000\tquiet\n\\\t100.0\t5000.0\n1.000000\t2.000000\tloud\t0.98\n\n2\t3\t\n"
RAVEN = (
    "Selection\tView\tChannel\tBegin Time (s)\tEnd Time (s)\tFile Offset (s)\tAnnotation\n"
    "1\tWaveform 1\t1\t13.0\t14.0\t3.0\tloud\n"
    "1\tSpectrogram 1\t1\t13.0\t14.0\t3.0\tloud\n"
    "2\tSpectrogram 1\t1\t14.5\t15.0\t4.5\tquiet\n"
)


def test_tracks_and_tables_lie_beside_recordings(folder: Path) -> None:
    (folder / "dawn.txt").write_text(AUDACITY)
    (folder / "dusk.Table.1.selections.txt").write_text(RAVEN)
    assert track_of(folder / "dusk.wav") == (folder / "dusk.Table.1.selections.txt", [])
    marks = read_track(folder / "dawn.txt", folder / "dawn.wav")
    assert marks == [Mark(0, 1, "quiet"), Mark(1, 1, "loud"), Mark(2, 1, "")]
    found = read_labelled(folder)
    assert spans(found) == [
        ("dawn.wav", 0, 1, ("quiet",)),
        ("dawn.wav", 1, 1, ("loud",)),
        ("dusk.wav", 3, 1, ("loud",)),
        ("dusk.wav", 4.5, 0.5, ("quiet",)),
    ]
    assert not found.multi_label and found.sources().tolist() == [0, 0, 1, 1]
    assert found.notes == ("1 labels have no text or no length (1 ms or more) and are left out",)
    (folder / "dawn.wav.labels.txt").write_text("0\t1\train\n")  # as classify writes it: what was corrected counts
    found = read_labelled(folder)
    assert [clip.labels[0] for clip in found.clips] == ["quiet", "loud", "loud", "quiet"]
    assert found.notes[0] == "of dawn.wav the labels in dawn.txt are used, not dawn.wav.labels.txt"
    # Two labels of one stretch are those of one clip.
    (folder / "dawn.txt").write_text("0\t1\tquiet\n0\t1\train\n1\t2\tloud\n")
    found = read_labelled(folder, fewest=1)
    assert found.multi_label and found.clips[0].labels == ("quiet", "rain")


def test_a_table_in_another_encoding_or_with_quotation_marks_is_whole(folder: Path) -> None:
    wave = folder / "dawn.wav"
    for encoding in ("utf-8-sig", "utf-16", "cp1252"):
        (folder / "dawn.txt").write_bytes("\r\n0,5\t1,5\tKäuzchen\r\n2\t2\tpoint\r\n".encode(encoding))
        assert read_track(folder / "dawn.txt", wave) == [Mark(0.5, 1, "Käuzchen"), Mark(2, 0, "point")]
    rows = RAVEN.replace("13.0\t14.0\t3.0\tloud", '13.0\t14.0\t3.0\t"loud') + "1\tSpectrogram 1\t1\t16\t17\t6.0\train\n"
    (folder / "dawn.txt").write_text(rows)
    found = read_track(folder / "dawn.txt", wave)
    assert found == [Mark(3, 1, '"loud'), Mark(4.5, 0.5, "quiet"), Mark(6, 1, "rain")]  # a number that comes twice


def test_a_duration_stands_for_a_missing_end(folder: Path) -> None:
    rows = RAVEN.replace("End Time (s)", "Delta Time (s)").replace("\t14.0\t", "\t1.0\t").replace("\t15.0\t", "\t0.5\t")
    (folder / "dusk.txt").write_text(rows)
    assert read_track(folder / "dusk.txt", folder / "dusk.wav") == [Mark(3, 1, "loud"), Mark(4.5, 0.5, "quiet")]
    rows = rows.replace("14.5\t0.5", "14.5\tx")
    (folder / "dusk.txt").write_text(rows)
    with pytest.raises(OptionError, match=r"line 4: Begin Time \(s\) and End Time \(s\) \(or Delta Time"):
        read_track(folder / "dusk.txt", folder / "dusk.wav")


def test_one_table_of_several_recordings_is_a_list(folder: Path) -> None:
    """As Raven writes it where several files are open: times of the second count on from the end of the first."""
    table = "".join(
        line + ("\tDelta Time (s)\tBegin File\n" if number == 0 else f"\t{delta}\tdusk.wav\n")
        for number, (line, delta) in enumerate(zip(RAVEN.splitlines(), ("", "1", "1", "0.5"), strict=True))
    )
    table += "3\tSpectrogram 1\t1\t1.0\t2.0\t1.0\tloud\t1\tdawn.wav\n4\tSpectrogram 1\t1\t2\t3\t2\tquiet\t1\tdawn.wav\n"
    (folder / "both.txt").write_text(table)
    found = read_labelled(folder, folder / "both.txt")
    assert spans(found) == [
        ("dusk.wav", 3, 1, ("loud",)),
        ("dusk.wav", 4.5, 0.5, ("quiet",)),
        ("dawn.wav", 1, 1, ("loud",)),
        ("dawn.wav", 2, 1, ("quiet",)),
    ]
    (folder / "both.txt").rename(folder / "dusk.txt")
    with pytest.raises(OptionError, match=r"line 5 is a selection of dawn\.wav, .* or give it as a list \(--labels\)"):
        read_labelled(folder)


def test_other_texts_are_no_tracks(folder: Path) -> None:
    (folder / "dawn.txt").write_text("recorded by the lake\n")
    assert track_of(folder / "dawn.wav") == (None, [])
    with pytest.raises(OptionError, match="has no subfolder with audio"):
        read_labelled(folder)
    for number in range(3):  # a note beside one clip of many is no track of all
        (folder / f"label{number}").mkdir()
        for place, name in enumerate("abc"):
            record(folder / f"label{number}" / f"{name}.wav", 3 * number + place)
    (folder / "label1" / "a.txt").write_text("0\t1\twoof\n")
    found = read_labelled(folder)
    assert found.labels == ("label0", "label1", "label2")
    assert "selection tables beside 1 of 11 recordings, fewer than half, are not used" in found.notes[0]
    for number in range(3):
        shutil.rmtree(folder / f"label{number}")
    (folder / "dusk.txt").write_text("0\t1\ta\n3\t4\tb\n")
    found = read_labelled(folder, fewest=1)
    assert len(found.clips) == 2 and not found.skipped
    assert found.notes == (
        "1 of 2 recordings have no label track or selection table beside them and are left out, the first dawn.wav",
    )
    record(folder / "noon.wav", 1)
    record(folder / "night.wav", 2)
    assert spans(read_labelled(folder, fewest=1)) == spans(found)  # few recordings of a flat folder may be labelled


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("0\t1\ta\nsoon\t2\tb\n", "dawn.txt, line 2: 'soon\\\\t2\\\\tb' is no label"),
        ("1\t1\ta\n", "hold no label with a text and a length"),
        (RAVEN.replace("Annotation", "Remark"), "has no column Annotation or Label"),
        (
            RAVEN.replace("14.5", "x"),
            r"line 4: Begin Time \(s\) and End Time \(s\) \(or Delta Time \(s\)\) must be seconds",
        ),
        (
            RAVEN.replace("File Offset (s)", "Delta Time (s)")
            .replace("\t4.5\t", "\t0.6\t")
            .replace("\t3.0\t", "\t1.0\t"),
            r"dawn.txt, line 4: Begin Time \(s\) 14.5 s and Delta Time \(s\) 0.6 s do not make End Time \(s\) 15 s",
        ),
        (
            RAVEN.replace("File Offset (s)", "Begin File")
            .replace("\t4.5\t", "\tnoon.wav\t")
            .replace("\t3.0\t", "\tdawn.wav\t"),
            "line 4 is a selection of noon.wav, and the table lies beside dawn.wav",
        ),
        (RAVEN.replace("\t4.5\t", "\t\t"), r"line 4: File Offset \(s\) must be seconds, 0 or more"),
        (RAVEN.replace("\t4.5\t", "\t-1\t"), r"line 4: File Offset \(s\) must be seconds, 0 or more"),
    ],
)
def test_a_damaged_track_gets_a_message(folder: Path, text: str, message: str) -> None:
    (folder / "dawn.txt").write_text(text)
    with pytest.raises(OptionError, match=message):
        read_labelled(folder)


def test_what_classify_writes_can_be_read_back(folder: Path, tmp_path: Path) -> None:
    from sondino.embedding.detection_tables import file_of, write_one
    from sondino.embedding.detections import Detection, Recording

    found = (Detection(0, 1, "a", 0.9), Detection(2.5, 4, "b", 0.5))
    recording = Recording("dawn.wav", str(folder / "dawn.wav"), 10.0, found, ("a", 0.9))
    for form in ("audacity", "raven"):
        file = file_of(folder, "dawn.wav", form)
        write_one(file, [recording], form, 8000)
        assert read_track(file, folder / "dawn.wav") == [Mark(0, 1, "a"), Mark(2.5, 1.5, "b")]
        assert track_of(folder / "dawn.wav")[0] == file
        file.unlink()


def test_a_probe_is_fitted_on_stretches(
    folder: Path, make_tiny_bundle: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("sklearn", reason="the report extra is not installed")
    import sondino
    from sondino import cli

    names = ["dawn", "dusk", "a", "b", "c", "d"]
    for number, name in enumerate(names[2:]):
        record(folder / f"{name}.wav", 2 + number)
    rows = [f"{name}.wav,{s},{s + 1},{('quiet', 'loud')[s % 2]}" for name in names for s in range(10)]
    (folder / "l.csv").write_text("path,start,end,label\n" + "\n".join(rows) + "\n")
    bundle = make_tiny_bundle("bare", **CARD)
    given = [folder, "--labels", folder / "l.csv", "--model", bundle, "--out", folder / "classifier", "--quiet"]
    with pytest.raises(SystemExit, match="0"):
        cli.main(["probe", *map(str, given)])
    assert "100.0 %" in capsys.readouterr().out
    model = sondino.load(folder / "classifier")
    probabilities = model.classify([str(folder / "dusk.wav#t=4,5"), str(folder / "dusk.wav#t=5,6")])
    assert [model.head.labels[place] for place in probabilities.argmax(1)] == ["quiet", "loud"]


def test_a_fine_tuning_reads_the_stretches_alone(folder: Path, tmp_path: Path) -> None:
    pytest.importorskip("torch", reason="the train extra is not installed")
    from sondino.audio import read
    from sondino.finetuning.clips import gather

    (folder / "l.csv").write_text(
        "path,start,end,label\ndawn.wav,1,2,loud\ndawn.wav,4,5.5,quiet\ndusk.wav,3,4,loud\ndusk.wav,0,1,quiet\n"
    )
    kept, clips = gather(read_labelled(folder, folder / "l.csv"), tmp_path / "cache", RATE, quiet=True)
    assert len(kept.clips) == 4 and clips.clips.tolist() == [0, 1, 2, 3]
    for row, clip in zip(clips.rows, kept.clips, strict=True):
        np.testing.assert_allclose(clips.waveforms.read(int(row)), read(clip.path, RATE), atol=1e-4)
