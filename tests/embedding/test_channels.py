"""One channel of a file, the mean of all, or each by itself."""

import csv
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

import sondino
from helpers.loudness import CARD, RATE
from helpers.tiny_encoder import Tiny
from sondino import audio, cli
from sondino.embedding.classify import classify_files
from sondino.embedding.detect import detect_files
from sondino.embedding.detections import Recording
from sondino.embedding.files import embed_files
from sondino.embedding.similar import find_similar
from sondino.embedding.table_readers import read_rows
from sondino.encoder.head import Head
from sondino.errors import AudioError, OptionError
from sondino.model.bundle import copy_with_head

HEAD = Head("levels", ("loud",), True, ((np.array([[0, 0, 20.0]]), np.array([-10.0])),))


@pytest.fixture
def sounds(tmp_path: Path) -> Path:
    """mono.wav, a second of 0.2; stereo.wav, two seconds of 0.1 on the left and 0.9 on the right."""
    (tmp_path / "sounds").mkdir()
    soundfile.write(tmp_path / "sounds" / "mono.wav", np.full(RATE, 0.2), RATE, subtype="FLOAT")
    both = np.tile([0.1, 0.9], (2 * RATE, 1))
    soundfile.write(tmp_path / "sounds" / "stereo.wav", both, RATE, subtype="FLOAT")
    return tmp_path / "sounds"


@pytest.fixture
def model(tmp_path: Path, make_tiny_bundle: Callable[..., Path]) -> sondino.Model:
    return sondino.load(copy_with_head(make_tiny_bundle("bare", **CARD), tmp_path / "bundle", HEAD, {}))


def rows_of(output: Path) -> list[tuple[str, int | None, float]]:
    """Id, channel and peak of each row."""
    found = []
    for rows in read_rows(output):
        channels = [None] * len(rows.ids) if rows.channels is None else rows.channels.tolist()
        peaks = rows.embeddings[:, 2].round(3).tolist()
        found += list(zip(rows.ids, channels, (round(peak, 3) for peak in peaks), strict=True))
    return found


def test_a_channel_is_read_alone(sounds: Path, model: sondino.Model) -> None:
    stereo = sounds / "stereo.wav"
    assert (
        audio.read(stereo, RATE, channel=2) == pytest.approx(0.9)
        and len(audio.read(stereo, RATE, channel=2)) == 2 * RATE
    )
    assert audio.read(stereo, RATE) == pytest.approx(0.5)
    array = np.tile([[0.1], [0.9]], (1, RATE)).astype(np.float32)
    for sound in (stereo, (array, RATE)):
        assert [model.embed([sound], channel=c)[0, 2] for c in (1, 2)] == pytest.approx([0.1, 0.9])
        assert model.embed_windows(sound, channel=2)[0][:, 2] == pytest.approx(0.9)
    with pytest.raises(AudioError, match=r"mono\.wav: has 1 channel, and no channel 2"):
        model.embed([sounds / "mono.wav"], channel=2)
    with pytest.raises(OptionError, match="channel is 0: give a number from 1"):
        model.embed([stereo], channel=0)


def test_a_file_without_the_channel_is_listed_and_the_rest_goes_on(sounds: Path, tmp_path: Path) -> None:
    report = embed_files(sounds, Tiny(), tmp_path / "o.npz", channel=2)
    assert rows_of(tmp_path / "o.npz") == [("stereo.wav", None, 0.9)]
    assert [(Path(path).name, reason) for path, reason in report.skipped] == [
        ("mono.wav", "has 1 channel, and no channel 2")
    ]


@pytest.mark.parametrize("suffix", ["npz", "npy", "csv", "parquet"])
@pytest.mark.parametrize("windows", [False, True])
def test_each_channel_has_rows_and_its_number(suffix: str, windows: bool, sounds: Path, tmp_path: Path) -> None:
    if suffix == "parquet":
        pytest.importorskip("pyarrow", reason="the tables extra is not installed")
    output = tmp_path / f"o.{suffix}"
    report = embed_files(sounds, Tiny(), output, per_window=windows, channel="each", append=True)
    assert (report.files, report.seconds, report.skipped) == (2, 3, [])
    times = 2 if windows else 1
    stereo = [("stereo.wav", 1, 0.1)] * times + [("stereo.wav", 2, 0.9)] * times
    assert rows_of(output) == [("mono.wav", 1, 0.2), *stereo]
    soundfile.write(sounds / "mono.wav", np.full((RATE, 2), 0.3), RATE, subtype="FLOAT")
    report = embed_files(sounds, Tiny(), output, per_window=windows, channel="each", append=True)
    assert (report.files, report.kept, report.replaced) == (1, 1, 1)
    assert rows_of(output) == [*stereo, ("mono.wav", 1, 0.3), ("mono.wav", 2, 0.3)]
    if suffix == "npz" and windows:
        with np.load(output) as table:
            assert table["clip"].tolist() == [0, 0, 1, 1, 2, 3] and table["channel"].tolist() == [1, 1, 2, 2, 1, 2]
    embed_files(sounds, Tiny(), output, per_window=windows)
    assert {channel for _, channel, _ in rows_of(output)} == {None}  # a column only where it is asked for


def test_detections_name_their_channel(sounds: Path, model: sondino.Model, tmp_path: Path) -> None:
    pytest.importorskip("pyarrow", reason="the tables extra is not installed")
    from pyarrow import parquet

    for suffix in ("csv", "jsonl", "parquet"):
        assert detect_files(sounds, model, tmp_path / f"o.{suffix}", channel="each").files == 2
    with (tmp_path / "o.csv").open(newline="") as opened:
        rows = list(csv.DictReader(opened))
    assert list(rows[0])[:3] == ["path", "channel", "start"]
    expected = [("stereo.wav", 2, 0), ("stereo.wav", 2, 1)]
    assert [(row["path"], int(row["channel"]), float(row["start"])) for row in rows] == expected
    rows = [json.loads(line) for line in (tmp_path / "o.jsonl").read_text().splitlines()]
    assert [(row["path"], row["channel"], row["start"]) for row in rows] == expected
    rows = parquet.read_table(tmp_path / "o.parquet").to_pylist()
    assert [(row["path"], row["channel"], row["start"]) for row in rows] == expected


def test_tables_of_other_programs_have_the_channel_in_their_column(
    sounds: Path, model: sondino.Model, tmp_path: Path
) -> None:
    detect_files(sounds, model, tmp_path / "o.txt", format="raven", channel="each", min_confidence=0)
    lines = [line.split("\t") for line in (tmp_path / "o.txt").read_text().splitlines()[1:]]
    # The channels of a file have the same times; the next file's count on.
    assert [(line[2], float(line[3])) for line in lines] == [("1", 0), ("1", 1), ("1", 2), ("2", 1), ("2", 2)]
    detect_files(sounds, model, tmp_path / "k.csv", format="kaleidoscope", channel=2)
    with (tmp_path / "k.csv").open(newline="") as opened:
        assert [row["CHANNEL"] for row in csv.DictReader(opened)] == ["1", "1"]  # from 0
    detect_files(sounds, model, tmp_path / "apart", channel="each")
    text = (tmp_path / "apart" / "stereo.wav.csv").read_text().splitlines()
    assert [line.split(",")[1] for line in text] == ["channel", "2", "2"]
    with pytest.raises(OptionError, match="a label track has no channel"):
        detect_files(sounds, model, tmp_path / "apart", format="audacity", channel="each")


def test_a_file_of_channels_is_written_with_all_or_not_at_all(
    sounds: Path, model: sondino.Model, tmp_path: Path
) -> None:
    both = tmp_path / "out" / "stereo.wav.csv"

    def stop(recording: Recording) -> None:
        if recording.path == "stereo.wav":
            assert both.exists() == (recording.channel == 2)
            raise KeyboardInterrupt

    for _ in range(2):  # of the first recording too, which is kept then
        with pytest.raises(KeyboardInterrupt):
            detect_files(sounds, model, tmp_path / "out", channel="each", skip_existing=True, show=stop)
        assert (tmp_path / "out" / "mono.wav.csv").exists() and not both.exists()
    report = detect_files(sounds, model, tmp_path / "out", channel="each", skip_existing=True, min_confidence=0)
    assert (report.files, report.kept) == (1, 1)
    assert [line.split(",")[1] for line in both.read_text().splitlines()] == ["channel", "1", "1", "2", "2"]


def test_labels_of_clips_and_lines(
    sounds: Path, model: sondino.Model, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    classify_files(sounds, model, tmp_path / "o.csv", channel="each")
    assert [line.split(",")[:2] for line in (tmp_path / "o.csv").read_text().splitlines()] == [
        ["path", "channel"],
        ["mono.wav", "1"],
        ["stereo.wav", "1"],
        ["stereo.wav", "2"],
    ]
    command = ["--model", str(model.folder), "--channel", "each", "--quiet"]
    for words in (["embed", "--output", "-"], ["classify", "--output", "-"]):
        with pytest.raises(SystemExit):
            cli.main([words[0], str(sounds / "stereo.wav"), *words[1:], *command, "--format", "jsonl"])
        rows = [json.loads(line) for line in capfd.readouterr().out.splitlines()]
        assert [row["channel"] for row in rows] == ([1, 2] if words[0] == "embed" else [2, 2])
    with pytest.raises(SystemExit):
        cli.main(["classify", str(sounds / "stereo.wav"), *command])
    assert "stereo.wav, channel 2\n" in capfd.readouterr().out


@pytest.mark.parametrize("given", ["0", "left", "-1"])
def test_a_channel_that_is_none_is_refused(
    given: str, sounds: Path, model: sondino.Model, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as left:
        cli.main(
            [
                "embed",
                str(sounds),
                "--model",
                str(model.folder),
                "--output",
                str(tmp_path / "o.npz"),
                "--channel",
                given,
            ]
        )
    assert left.value.code and "hannel" in capsys.readouterr().err
    assert not (tmp_path / "o.npz").exists()


@pytest.mark.parametrize("windows", [False, True])
def test_similar_names_the_channel(
    windows: bool, sounds: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    embed_files(sounds, Tiny(), tmp_path / "o.npz", windows, channel="each")

    def cosine(level: float) -> float:  # of (1, 0, 0) to the embedding of a constant: level, its square, level
        return 1 / np.sqrt(2 + level**2)

    found = find_similar([1.0, 0, 0], tmp_path / "o.npz")
    assert [(near.id, near.channel) for near in found] == [("stereo.wav", 1), ("mono.wav", 1), ("stereo.wav", 2)]
    assert [near.cosine for near in found] == pytest.approx([cosine(0.1), cosine(0.2), cosine(0.9)], abs=1e-6)
    with pytest.raises(SystemExit):
        cli.main(["similar", "mono.wav", "--in", str(tmp_path / "o.npz"), "--output", str(tmp_path / "a.csv")])
    rows = (tmp_path / "a.csv").read_text().splitlines()
    assert rows[0].split(",")[:3] == ["rank", "id", "channel"]
    assert [row.split(",")[1:3] for row in rows[1:]] == [["stereo.wav", "1"], ["stereo.wav", "2"]]
    assert "channel" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        cli.main(["similar", "mono.wav", "--in", str(tmp_path / "o.npz"), "--json"])
    assert [near["channel"] for near in json.loads(capsys.readouterr().out)["neighbours"]] == [1, 2]
