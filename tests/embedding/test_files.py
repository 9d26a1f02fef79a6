"""Folders to tables of embeddings, over a tiny model that gives mean, mean square and peak of a waveform."""

import csv
import errno
import json
import logging
import math
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
import soundfile

from helpers.skips import needs_posix
from helpers.tiny_bundle import TINY_RATE, tiny_vectors
from helpers.tiny_encoder import Tiny
from sondino import audio
from sondino.embedding import files as embed
from sondino.embedding import tables
from sondino.embedding.files import embed_files
from sondino.encoder import pipeline
from sondino.errors import AudioError, OptionError, RunError, SondinoError
from sondino.model.model import Model

CLIPS = Path(__file__).parents[1] / "data" / "clips"
LENGTHS = (1, 3000, 16000, 16001, 40000, 65000)


def sound(samples: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-0.5, 0.5, samples).astype(np.float32)


def by_hand(x: np.ndarray) -> np.ndarray:
    pieces, _, weights = audio.stack_windows(x, TINY_RATE, audio.Windowing(1.0))
    return audio.merge(tiny_vectors(pieces), weights)


@pytest.fixture
def folder(tmp_path) -> Path:
    """Six wav files of different lengths, the last two in a subfolder, and something that is no sound."""
    root = tmp_path / "sounds"
    (root / "sub").mkdir(parents=True)
    for seed, samples in enumerate(LENGTHS):
        path = root / ("sub" if seed > 3 else "") / f"{seed}.wav"
        soundfile.write(path, sound(samples, seed), TINY_RATE, subtype="FLOAT")
    (root / "notes.txt").write_text("no sound")
    return root


IDS = ["0.wav", "1.wav", "2.wav", "3.wav", "sub/4.wav", "sub/5.wav"]
VECTORS = np.stack([by_hand(sound(n, seed)) for seed, n in enumerate(LENGTHS)])
SECONDS = sum(LENGTHS) / TINY_RATE
WINDOWS = [audio.stack_windows(sound(n, seed), TINY_RATE, audio.Windowing(1.0)) for seed, n in enumerate(LENGTHS)]
ROWS = np.concatenate([tiny_vectors(w) for w, _, _ in WINDOWS])
STARTS = np.concatenate([s for _, s, _ in WINDOWS])
CLIP = np.repeat(np.arange(6), [len(s) for _, s, _ in WINDOWS])


@pytest.mark.parametrize("threads", [1, 2, 4])
def test_npz(folder, tmp_path, threads):
    report = embed_files(folder, Tiny(), tmp_path / "out.npz", threads=threads)
    with np.load(tmp_path / "out.npz") as table:
        assert sorted(table.files) == ["ids", "vectors"]
        assert table["ids"].tolist() == IDS and table["ids"].dtype.kind == "U"
        assert table["vectors"].dtype == np.float32
        assert table["vectors"] == pytest.approx(VECTORS, abs=1e-6)
    assert (report.files, report.embeddings, report.skipped, report.resumed) == (6, 6, [], 0)
    assert report.seconds == pytest.approx(SECONDS)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["out.npz", "sounds"]  # nothing is left lying about


def test_npz_of_windows(folder, tmp_path):
    report = embed_files(folder, Tiny(), tmp_path / "out.npz", per_window=True)
    with np.load(tmp_path / "out.npz") as table:
        assert sorted(table.files) == ["clip", "ids", "start", "vectors"]
        assert table["ids"].tolist() == IDS
        assert table["clip"].tolist() == CLIP.tolist()
        assert table["start"].tolist() == STARTS.tolist()
        assert table["vectors"] == pytest.approx(ROWS, abs=1e-6)
    assert (report.files, report.embeddings) == (6, len(ROWS))


@pytest.mark.parametrize("windows", [False, True])
def test_npy(folder, tmp_path, windows):
    embed_files([folder], Tiny(), tmp_path / "out.npy", per_window=windows)
    assert np.load(tmp_path / "out.npy") == pytest.approx(ROWS if windows else VECTORS, abs=1e-6)
    with (tmp_path / "out.ids.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["id"] for row in rows] == ([IDS[i] for i in CLIP] if windows else IDS)
    assert [float(row["start"]) for row in rows] == STARTS.tolist() if windows else "start" not in rows[0]


@pytest.mark.parametrize("windows", [False, True])
def test_csv_gives_back_the_same_floats(folder, tmp_path, windows):
    (folder / "0.wav").rename(folder / '0, "quoted".wav')
    embed_files(folder, Tiny(), tmp_path / "out.csv", per_window=windows)
    embed_files(folder, Tiny(), tmp_path / "out.npy", per_window=windows)
    with (tmp_path / "out.csv").open(newline="", encoding="utf-8") as file:
        header, *rows = list(csv.reader(file))
    assert header == [*(["id", "start"] if windows else ["id"]), "v0", "v1", "v2"]
    assert rows[0][0] == '0, "quoted".wav'
    assert np.array_equal(np.array([row[-3:] for row in rows], np.float32), np.load(tmp_path / "out.npy"))


@pytest.mark.parametrize("windows", [False, True])
def test_parquet(folder, tmp_path, windows):
    parquet = pytest.importorskip("pyarrow.parquet")
    embed_files(folder, Tiny(), tmp_path / "out.parquet", per_window=windows)
    table = parquet.read_table(tmp_path / "out.parquet")
    assert table.column_names == (["id", "start", "vector"] if windows else ["id", "vector"])
    assert table["id"].to_pylist() == ([IDS[i] for i in CLIP] if windows else IDS)
    assert np.array(table["vector"].to_pylist()) == pytest.approx(ROWS if windows else VECTORS, abs=1e-6)


def test_a_bundle_embeds_real_clips(tiny_bundle, tmp_path):
    model = Model(tiny_bundle)
    report = embed_files(CLIPS, model, tmp_path / "deep" / "out.npz")
    with np.load(tmp_path / "deep" / "out.npz") as table:
        assert table["ids"].tolist() == [p.name for p in sorted(CLIPS.iterdir())]
        assert table["vectors"] == pytest.approx(model.embed(CLIPS), abs=1e-6)
    assert report.files == 4


def test_windows_are_batched_across_files(folder, tmp_path):
    model = Tiny()
    embed_files(folder, model, tmp_path / "out.npz")
    assert len(ROWS) == 13
    assert model.shapes == [(10, 16000), (3, 16000)]


def test_long_windows_go_through_few_at_a_time(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(pipeline, "BATCH_SECONDS", 5.0)
    model = Tiny()
    embed_files(folder, model, tmp_path / "out.npz")
    assert model.shapes == [(5, 16000), (5, 16000), (3, 16000)]


def test_batches_side_by_side_give_what_they_give_in_turn(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(pipeline, "BATCH", 2)
    together = threading.Barrier(2, timeout=60)

    class Two(Tiny):
        workers = 2

        def embed_batch(self, waveforms):
            if not self.shapes:  # the first call goes on only once a second one is there
                together.wait()
            return self.embed(waveforms)

    embed_files(folder, Tiny(), tmp_path / "turn.npz", per_window=True)
    model = Two()
    embed_files(folder, model, tmp_path / "side.npz", per_window=True)
    assert len(model.shapes) == sum(math.ceil(len(starts) / 2) for _, starts, _ in WINDOWS)
    with np.load(tmp_path / "turn.npz") as one, np.load(tmp_path / "side.npz") as other:
        for name in ("ids", "vectors", "clip", "start"):
            assert np.array_equal(one[name], other[name])


def test_options_reach_the_cutting(folder, tmp_path):
    embed_files(folder, Tiny(), tmp_path / "out.npz", per_window=True, short="native", window=2.0, hop=1.5)
    with np.load(tmp_path / "out.npz") as table:
        for clip, samples in enumerate(LENGTHS):
            x = sound(samples, clip)
            pieces, starts, _ = audio.stack_windows(x, TINY_RATE, audio.Windowing(2.0, 1.5, "native"))
            assert table["start"][table["clip"] == clip].tolist() == starts.tolist()
            assert table["vectors"][table["clip"] == clip] == pytest.approx(tiny_vectors(pieces), abs=1e-5)


# ---- inputs and ids -------------------------------------------------------------------------------------------


def ids_of(output: Path) -> list[str]:
    with np.load(output) as table:
        return table["ids"].tolist()


def test_ids_of_files_are_their_paths_as_given(folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    embed_files(["sounds/1.wav", Path("sounds/sub/4.wav"), folder / "0.wav"], Tiny(), "out.npz")
    assert ids_of(Path("out.npz")) == ["sounds/1.wav", "sounds/sub/4.wav", (folder / "0.wav").as_posix()]
    embed_files(".", Tiny(), "two.npz")
    assert ids_of(Path("two.npz")) == [f"sounds/{name}" for name in IDS]


def test_folders_with_the_same_names_inside_get_whole_paths(folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "more").mkdir()
    soundfile.write("more/0.wav", sound(100, 9), TINY_RATE)
    soundfile.write("more/new.wav", sound(100, 9), TINY_RATE)
    embed_files(["sounds", "more"], Tiny(), "out.npz")
    assert ids_of(Path("out.npz")) == [*(f"sounds/{name}" for name in IDS), "more/0.wav", "more/new.wav"]
    embed_files(["sounds", "more/new.wav", "sounds"], Tiny(), "once.npz")
    assert ids_of(Path("once.npz")) == [*IDS, "more/new.wav"]


def test_inputs_and_outputs_that_are_rejected(folder, tmp_path):
    with pytest.raises(AudioError, match="no such file"):
        embed_files([folder, tmp_path / "nowhere"], Tiny(), tmp_path / "out.npz")
    with pytest.raises(OptionError, match="no input"):
        embed_files([], Tiny(), tmp_path / "out.npz")
    for name in ("out.txt", "out", "out.npz.gz"):
        with pytest.raises(OptionError, match=r"\.npz, \.npy, \.csv, \.parquet, \.lance"):
            embed_files(folder, Tiny(), tmp_path / name)
    (tmp_path / "dir.npz").mkdir()
    with pytest.raises(OptionError, match="is a folder"):
        embed_files(folder, Tiny(), tmp_path / "dir.npz")
    with pytest.raises(OptionError, match="threads"):
        embed_files(folder, Tiny(), tmp_path / "out.npz", threads=0)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["dir.npz", "sounds"]


# ---- files that fail ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("threads", [1, 3])
def test_bad_files_are_left_out_and_listed(folder, tmp_path, threads):
    (folder / "00-text.wav").write_text("no sound")
    (folder / "2-empty.wav").touch()
    soundfile.write(folder / "9-none.wav", np.zeros(0), TINY_RATE)
    soundfile.write(folder / "9-nan.wav", np.full(100_000, np.nan), TINY_RATE, subtype="FLOAT")
    with pytest.warns(UserWarning, match="NaN"):
        report = embed_files(folder, Tiny(), tmp_path / "out.npz", threads=threads)
    assert ids_of(tmp_path / "out.npz") == IDS
    with np.load(tmp_path / "out.npz") as table:
        assert table["vectors"] == pytest.approx(VECTORS, abs=1e-6)
    names = [Path(path).name for path, _ in report.skipped]
    assert names == ["00-text.wav", "2-empty.wav", "9-nan.wav", "9-none.wav"]
    assert [reason[:14] for _, reason in report.skipped] == ["not a sound th", *["holds no sound"] * 3]
    assert report.files == 6 and report.seconds == pytest.approx(SECONDS)


@needs_posix
def test_what_is_passed_over_is_listed_and_stops_nothing(folder, tmp_path):
    (folder / "gone.wav").symlink_to(".git/annex/objects/gone.wav")
    (folder / "1.tar.gz").write_bytes(b"x")
    (folder / "list.tsv").write_text("path\n0.wav\n")
    (folder / "shard.tar").write_bytes(b"no tar")
    named = [folder, folder / "list.tsv", folder / "gone.wav"]
    report = embed_files(named, Tiny(), tmp_path / "out.npz")
    assert report.files == 6 and {Path(path).name: reason.partition(":")[0] for path, reason in report.skipped} == {
        "1.tar.gz": "compressed, so that a clip cannot be found in it",
        "gone.wav": "a link of git-annex, whose content was not fetched",
        "list.tsv": "a list, not audio",
        "shard.tar": "not a whole, uncompressed tar file (truncated header)",
    }
    for name in ("list.tsv", "shard.tar", "gone.wav"):
        with pytest.raises(AudioError, match=name):
            embed_files(folder / name, Tiny(), tmp_path / "none.npz")
    (folder / "bad.wav").write_bytes(b"text")
    with pytest.raises(SondinoError, match=r"none of the 1 files could be decoded.*bad\.wav"):
        embed_files([folder / "bad.wav", folder / "list.tsv"], Tiny(), tmp_path / "none.npz")


def test_a_model_that_gives_nan_for_one_file_loses_that_file_only(folder, tmp_path):
    class Sick(Tiny):
        def embed(self, waveforms):
            embeddings = tiny_vectors(waveforms)
            embeddings[np.count_nonzero(waveforms, axis=1) == 3000] = np.nan
            return embeddings

    report = embed_files(folder, Sick(), tmp_path / "out.npz")
    assert ids_of(tmp_path / "out.npz") == [name for name in IDS if name != "1.wav"]
    assert [(Path(path).name, reason) for path, reason in report.skipped] == [
        ("1.wav", "the model gave NaN or infinite values at 0 s")
    ]


def test_nothing_is_written_when_every_file_fails(tmp_path):
    (tmp_path / "in").mkdir()
    for name in "ab":
        (tmp_path / "in" / f"{name}.wav").write_text("no sound")
    with pytest.raises(SondinoError, match=r"none of the 2 files could be decoded.*a\.wav: not a sound"):
        embed_files(tmp_path / "in", Tiny(), tmp_path / "out.npz")
    assert [p.name for p in tmp_path.iterdir()] == ["in"]


def test_a_model_that_changes_its_dimension_stops_with_a_message(folder, tmp_path):
    class Wrong(Tiny):
        def embed(self, waveforms):
            return np.zeros((len(waveforms), 4), np.float32)

    with pytest.raises(SondinoError, match=r"shape \(10, 4\)"):
        embed_files(folder, Wrong(), tmp_path / "out.npz")
    assert not (tmp_path / "out.npz").exists()


# ---- stopping and going on ------------------------------------------------------------------------------------

KILLED = """
import os, signal, sys
sys.path.insert(0, sys.argv[1])
import sondino.embedding.files as embed
from helpers.tiny_encoder import Tiny

class Killer(Tiny):
    def embed(self, waveforms):
        if len(self.shapes) == int(sys.argv[4]):
            os.kill(os.getpid(), signal.SIGKILL)
        return super().embed(waveforms)

embed.PART_FILES = 2
embed.embed_files(sys.argv[2], Killer(), sys.argv[3], per_window=True)
"""


@pytest.mark.parametrize("calls", [1, 2])
def test_a_killed_call_goes_on_and_ends_the_same(folder, tmp_path, monkeypatch, calls):
    monkeypatch.setattr(embed, "PART_FILES", 2)
    embed_files(folder, Tiny(), tmp_path / "whole.npz", per_window=True)
    run = [
        sys.executable,
        "-c",
        KILLED,
        str(Path(__file__).parents[1]),
        str(folder),
        str(tmp_path / "out.npz"),
        str(calls),
    ]
    assert subprocess.run(run, capture_output=True).returncode == -signal.SIGKILL
    assert (tmp_path / "out.npz.partial").is_dir() and not (tmp_path / "out.npz").exists()
    model = Tiny()
    report = embed_files(str(folder), model, tmp_path / "out.npz", per_window=True)
    assert report.resumed == 2 * calls
    assert len(model.shapes) == 3 - calls  # a call of the model for each part that was not there
    with np.load(tmp_path / "out.npz") as one, np.load(tmp_path / "whole.npz") as other:
        for name in ("ids", "vectors", "clip", "start"):
            assert np.array_equal(one[name], other[name])
    assert not (tmp_path / "out.npz.partial").exists()


class Stopping(Tiny):
    """Fails at its second call: what the first part gave stays."""

    def embed(self, waveforms: np.ndarray) -> np.ndarray:
        if self.shapes:
            raise SondinoError("stop")
        return super().embed(waveforms)


def stopped(folder: Path, output: Path, **options: object) -> None:
    with pytest.raises(SondinoError, match="stop"):
        embed_files(folder, Stopping(), output, **options)


def test_another_model_other_options_or_files_start_over(folder, tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(embed, "PART_FILES", 2)
    output = tmp_path / "out.npz"

    class Other(Tiny):
        fingerprint = "two"

    def change_file() -> None:
        soundfile.write(folder / "0.wav", sound(50, 3), TINY_RATE)

    for model, options, before in (
        (Other(), {}, None),
        (Tiny(), {"per_window": True}, None),
        (Tiny(), {"hop": 0.5}, None),
        (Tiny(), {"short": "repeat"}, None),
        (Tiny(), {}, change_file),
    ):
        stopped(folder, output)
        if before:
            before()
        caplog.clear()
        with caplog.at_level(logging.WARNING):
            report = embed_files(folder, model, output, **options)
        assert report.resumed == 0
        assert ["starting over" in message for message in caplog.messages] == [True]
    stopped(folder, output)
    caplog.clear()
    assert embed_files(folder, Tiny(), output).resumed == 2  # and the same call resumes silently
    assert not caplog.messages


def test_a_part_that_is_not_whole_does_not_count(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(embed, "PART_FILES", 2)
    for spoil in ("000000.embeddings.npy", "000000.json"):
        stopped(folder, tmp_path / "out.npz")
        file = tmp_path / "out.npz.partial" / spoil
        file.write_bytes(file.read_bytes()[:-5])
        report = embed_files(folder, Tiny(), tmp_path / "out.npz")
        assert report.resumed == 0 and ids_of(tmp_path / "out.npz") == IDS


def test_skipped_files_are_remembered(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(embed, "PART_FILES", 2)
    (folder / "00-text.wav").write_text("no sound")
    stopped(folder, tmp_path / "out.npz")
    report = embed_files(folder, Tiny(), tmp_path / "out.npz")
    assert report.resumed == 2 and report.files == 6
    assert [Path(path).name for path, _ in report.skipped] == ["00-text.wav"]


def test_an_earlier_output_stays_until_the_new_one_is_whole(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(embed, "PART_FILES", 2)
    output = tmp_path / "out.npz"
    output.write_bytes(b"earlier")
    stopped(folder, output)
    assert output.read_bytes() == b"earlier"
    embed_files(folder, Tiny(), output)
    assert ids_of(output) == IDS


def test_a_full_disk_is_an_error_message_and_what_is_done_stays(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(embed, "PART_FILES", 2)
    output = tmp_path / "out.npz"

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(tables, "_npy_header", full)
        with pytest.raises(RunError, match=r"out\.npz could not be written \(No space left on device\)"):
            embed_files(folder, Tiny(), output)
    assert not output.exists() and not output.with_name("out.npz.new").exists()
    model = Tiny()
    assert embed_files(folder, model, output).resumed == 6
    assert model.shapes == [] and ids_of(output) == IDS


def test_a_second_process_on_one_output_is_refused(folder, tmp_path):
    class Meanwhile(Tiny):
        def embed(self, waveforms):
            if not self.shapes:
                with pytest.raises(RunError, match="another process is filling"):
                    embed_files(folder, Tiny(), tmp_path / "out.npz")
            return super().embed(waveforms)

    embed_files(folder, Meanwhile(), tmp_path / "out.npz")
    assert ids_of(tmp_path / "out.npz") == IDS


def test_progress(folder, tmp_path):
    seen = []
    embed_files(folder, Tiny(), tmp_path / "out.npz", progress=lambda *now: seen.append(now))
    assert [done for done, _, _ in seen] == [1, 2, 3, 4, 5, 6, 6]
    assert {total for _, total, _ in seen} == {6}
    assert seen[-1][2] == pytest.approx(SECONDS)
    assert [s for _, _, s in seen] == sorted(s for _, _, s in seen)


def test_parts_hold_so_many_files_and_so_many_bytes(monkeypatch):
    monkeypatch.setattr(embed, "PART_FILES", 3)
    monkeypatch.setattr(embed, "PART_BYTES", 100)
    files = [embed.Input(str(i), str(i), size, 0, str(i)) for i, size in enumerate([10, 10, 10, 10, 500, 60, 60])]
    assert list(embed.part_bounds(files)) == [(0, 3), (3, 4), (4, 5), (5, 6), (6, 7)]
    assert json.loads(json.dumps(list(embed.part_bounds(files[:1])))) == [[0, 1]]
