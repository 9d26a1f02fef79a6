"""PANNs' HDF5 files."""

import io
from pathlib import Path

import numpy as np
import pytest
import soundfile

from helpers.corpora import RATE, Moments, noise, read_clips
from sondino.corpus.sources import hdf5
from sondino.corpus.table import build_corpus
from sondino.corpus.targets import compute_targets
from sondino.errors import AudioError, MissingExtra

h5py = pytest.importorskip("h5py", reason="the hdf5 extra is not installed")


def panns(
    file: Path, names: list[str], waveform: np.ndarray, target: np.ndarray | None = None, rate: int | None = RATE
):
    file.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(file, "w") as out:
        out["audio_name"] = np.array([name.encode() for name in names], "S20")
        out["waveform"] = waveform
        if target is not None:
            out["target"] = target
        if rate:
            out.attrs["sample_rate"] = rate
    return file


def whole(seed: int, seconds: float = 1.0) -> np.ndarray:
    return np.round(noise(seconds, seed) * 32767).astype(np.int16)


def test_a_clip_is_what_its_file_would_be(tmp_path):
    names = [f"Y{seed}.wav" for seed in range(7)]
    panns(tmp_path / "h/x.h5", names, np.array([whole(seed) for seed in range(7)]))
    for name, seed in zip(names, range(7), strict=True):
        (tmp_path / "files").mkdir(exist_ok=True)
        soundfile.write(tmp_path / "files" / name, whole(seed), RATE, subtype="PCM_16")
    inside, files = build_corpus(tmp_path / "h", tmp_path / "a"), build_corpus(tmp_path / "files", tmp_path / "b")
    assert inside.ids() == files.ids() == names and inside.skipped == []
    assert list(inside.column("row")) == list(range(7)) and set(inside.column("column")) == {"waveform"}
    found, expected = (np.array(compute_targets(one, Moments(), part_rows=3).matrix) for one in (inside, files))
    np.testing.assert_array_equal(found, expected)


def test_floats_are_kept_and_a_stretch_is_read(tmp_path):
    file = panns(tmp_path / "x.hdf5", ["a", "b"], np.array([noise(3.0, 0), noise(3.0, 1)]))
    corpus = build_corpus(file, tmp_path / "out", clip=1.0)
    assert corpus.ids()[4] == "b@1.000"
    np.testing.assert_array_equal(read_clips(corpus, [4], RATE)[0], noise(3.0, 1)[RATE : 2 * RATE])


def test_what_was_missing_is_named_and_targets_are_numbers(tmp_path):
    sound = np.array([whole(0), np.zeros(RATE, np.int16), whole(2), whole(0)])
    target = np.zeros((4, 5), bool)
    target[0, [1, 3]] = target[2, 4] = True
    file = panns(tmp_path / "x.h5", ["Ya.wav", "", "Yb.wav", "Yc.wav"], sound, target)
    corpus = build_corpus(file, tmp_path / "out")
    assert corpus.ids() == ["Ya.wav", "Yb.wav"] and list(corpus.column("label")) == ["1;3", "4"]
    assert corpus.skipped[0] == ("x.h5:1", hdf5.MISSING)
    assert corpus.skipped[1][0] == "Yc.wav" and "whose label is 1;3" in corpus.skipped[1][1]


def test_names_in_two_files_give_way_to_the_row(tmp_path):
    panns(tmp_path / "set/a.h5", ["x", "y"], np.array([whole(0), whole(1)]))
    panns(tmp_path / "set/b.h5", ["x"], np.array([whole(2)]))
    assert build_corpus(tmp_path / "set", tmp_path / "out").ids() == ["a.h5:0", "y", "b.h5:0"]


def test_neighbours_are_one_read(tmp_path, monkeypatch):
    file = panns(tmp_path / "x.h5", [str(seed) for seed in range(9)], np.array([whole(seed) for seed in range(9)]))
    monkeypatch.setattr(hdf5, "SLICE", 4 * RATE * 2)
    from sondino.corpus.sources import Place

    rows = [3, 0, 1, 2, 4, 7, 8]
    places = [(number, Place("x.h5", row=row, column="waveform")) for number, row in enumerate(rows)]
    assert [[place.row for _, place in run] for run in hdf5._runs(places, 4)] == [[0, 1, 2, 3], [4], [7, 8]]
    for number, opener in hdf5.read_clips(file, places):
        with opener() as opened:
            assert isinstance(opened, io.BytesIO)
            samples, rate = soundfile.read(opened, dtype="int16")
        np.testing.assert_array_equal(samples, whole(rows[number]))
        assert rate == RATE


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda out: out.pop("audio_name"), "it has no audio_name"),
        (lambda out: out.pop("waveform"), "it has no waveform"),
        (lambda out: out.attrs.pop("sample_rate"), "it has no attribute sample_rate"),
    ],
)
def test_another_layout_is_named(change, message, tmp_path):
    file = panns(tmp_path / "set/x.h5", ["a"], np.array([whole(0)]))
    with h5py.File(file, "a") as out:
        change(out)
    for given in (file, file.parent):
        with pytest.raises(AudioError, match=message):
            build_corpus(given, tmp_path / "out")
    (tmp_path / "text.h5").write_text("no HDF5")
    with pytest.raises(AudioError, match="is no HDF5 file of PANNs' layout"):
        build_corpus(tmp_path / "text.h5", tmp_path / "out")


def test_without_h5py_the_extra_is_named(tmp_path, monkeypatch):
    file = panns(tmp_path / "set/x.h5", ["a"], np.array([whole(0)]))
    monkeypatch.setitem(__import__("sys").modules, "h5py", None)
    with pytest.raises(MissingExtra, match=r"pip install 'sondino\[hdf5\]'"):
        build_corpus(file, tmp_path / "out")
