"""The store of windows: it grows by what is new, survives a kill, and notices what is gone."""

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

import sondino
from helpers.archive import write_archive
from helpers.loudness import CARD, RATE
from helpers.tiny_bundle import write_tiny_bundle
from sondino.annotation import windows
from sondino.annotation.windows import Store, open_store
from sondino.errors import AudioError, OptionError, RunError


@pytest.fixture
def model(make_tiny_bundle: Callable[..., Path]) -> sondino.Model:
    return sondino.load(make_tiny_bundle("bundle", **CARD), threads=1)


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    return write_archive(tmp_path / "recordings", 3, 4)


def peaks(store: Store, path: str) -> list[float]:
    """The peaks of the alive windows of a recording: the tiny model's third dimension."""
    return [float(store.embeddings[n, 2]) for n in store.windows_in(path, 0, 1e9)]


def test_windows_have_their_recordings_times_and_embeddings(
    archive: Path, tmp_path: Path, model: sondino.Model
) -> None:
    store = open_store(tmp_path / "store", archive, model)
    assert len(store) == 12 and store.alive.all()
    assert [store.place_of(n) for n in (0, 5)] == [("00.wav", 0.0, 1.0), ("01.wav", 1.0, 2.0)]
    assert store.file_of(5) == archive / "01.wav"
    expected, starts = model.embed_windows(archive / "01.wav")
    assert np.allclose(store.embeddings[4:8], expected, rtol=1e-3) and starts.tolist() == [0, 1, 2, 3]
    assert store.window_at("01.wav", 2.0) == 6 and store.window_at("01.wav", 2.5) is None
    assert store.windows_in("01.wav", 0.9, 3.4) == [5, 6]
    with pytest.raises(OptionError, match="no window 12"):
        store.place_of(12)


def test_the_last_window_ends_with_its_recording(tmp_path: Path, model: sondino.Model) -> None:
    (tmp_path / "in").mkdir()
    soundfile.write(tmp_path / "in" / "a.wav", np.full(RATE + 4000, 0.5, np.float32), RATE)
    store = open_store(tmp_path / "store", tmp_path / "in", model)
    assert store.times.tolist() == [[0, 1], [1, 1.25]]


def test_only_new_and_changed_files_are_embedded_and_numbers_stay(
    archive: Path, tmp_path: Path, model: sondino.Model
) -> None:
    open_store(tmp_path / "store", archive, model)
    soundfile.write(archive / "00.wav", np.full(2 * RATE, 0.25, np.float32), RATE, subtype="FLOAT")
    soundfile.write(archive / "new.wav", np.full(RATE, 0.75, np.float32), RATE, subtype="FLOAT")
    counts: list[tuple[int, int]] = []
    store = open_store(tmp_path / "store", archive, model, lambda done, total: counts.append((done, total)))
    assert counts[-1] == (2, 2)
    assert len(store) == 12 + 3 and store.place_of(5) == ("01.wav", 1.0, 2.0)
    assert store.alive.tolist() == [False] * 4 + [True] * 11
    assert peaks(store, "00.wav") == [0.25, 0.25] and peaks(store, "new.wav") == [0.75]
    counts.clear()
    open_store(tmp_path / "store", archive, model, lambda done, total: counts.append((done, total)))
    assert counts == []


def test_a_recording_that_is_gone_is_noticed(archive: Path, tmp_path: Path, model: sondino.Model) -> None:
    store = open_store(tmp_path / "store", archive, model)
    (archive / "01.wav").unlink()
    with pytest.raises(AudioError, match=r"01.wav is no longer there"):
        store.file_of(5)
    again = open_store(tmp_path / "store", archive, model)
    assert again.gone == ["01.wav"] and not again.alive[4:8].any() and again.alive.sum() == 8
    with pytest.raises(AudioError, match="no longer there"):
        again.file_of(5)
    assert again.window_at("01.wav", 1.0) == 5  # answers to it still teach


def test_an_archive_that_moved_as_a_whole_is_not_embedded_again(
    archive: Path, tmp_path: Path, model: sondino.Model
) -> None:
    open_store(tmp_path / "store", archive, model)
    moved = archive.rename(tmp_path / "elsewhere")
    store = open_store(tmp_path / "store", moved, model, lambda done, total: pytest.fail("embedded again"))
    assert store.file_of(5) == moved / "01.wav"


def test_what_cannot_be_decoded_is_listed_and_not_tried_again(
    archive: Path, tmp_path: Path, model: sondino.Model
) -> None:
    (archive / "bad.wav").write_bytes(b"RIFF nothing")
    first = open_store(tmp_path / "store", archive, model)
    assert [Path(path).name for path, _ in first.skipped] == ["bad.wav"]
    again = open_store(tmp_path / "store", archive, model, lambda done, total: pytest.fail("tried again"))
    assert again.skipped == first.skipped and len(again) == 12


def test_another_models_store_is_refused_in_one_sentence(archive: Path, tmp_path: Path, model: sondino.Model) -> None:
    open_store(tmp_path / "store", archive, model)
    other = sondino.load(write_tiny_bundle(tmp_path / "other", **CARD, name="other", window=0.5), threads=1)
    with pytest.raises(RunError, match=r"embedded with the model tiny \(.*and this is other \(.*another --out"):
        open_store(tmp_path / "store", archive, other)
    copied = sondino.load(write_tiny_bundle(tmp_path / "copy", **CARD, name="copy"), threads=1)  # the same embeddings
    assert len(open_store(tmp_path / "store", archive, copied)) == 12


def test_a_kill_between_rows_and_line_loses_that_line_alone(
    archive: Path, tmp_path: Path, model: sondino.Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(windows, "LINE_FILES", 1)
    add_line, lines = windows._add_line, []

    def killed(file: Path, line: bytes) -> None:
        lines.append(line)
        if len(lines) == 2:
            file.write_bytes(file.read_bytes() + line[:9])  # torn
            raise KeyboardInterrupt
        add_line(file, line)

    monkeypatch.setattr(windows, "_add_line", killed)
    with pytest.raises(KeyboardInterrupt):
        open_store(tmp_path / "store", archive, model)
    counts: list[tuple[int, int]] = []
    store = open_store(tmp_path / "store", archive, model, lambda done, total: counts.append((done, total)))
    assert counts[-1] == (2, 2) and len(store) == 12
    for number in range(3):
        expected, _ = model.embed_windows(archive / f"{number:02d}.wav")
        assert np.allclose(store.embeddings[4 * number : 4 * number + 4], expected, rtol=1e-3)


def test_a_full_disk_is_one_sentence(
    archive: Path, tmp_path: Path, model: sondino.Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, os.strerror(28))

    with monkeypatch.context() as patched:
        patched.setattr(windows, "_write_rows", full)
        with pytest.raises(RunError, match="No space left"):
            open_store(tmp_path / "store", archive, model)
    assert len(open_store(tmp_path / "store", archive, model)) == 12


def test_a_folder_without_sound_and_sound_that_cannot_be_decoded(tmp_path: Path, model: sondino.Model) -> None:
    (tmp_path / "none").mkdir()
    with pytest.raises(AudioError):
        open_store(tmp_path / "store", tmp_path / "none", model)
    (tmp_path / "none" / "bad.wav").write_bytes(b"RIFF nothing")
    with pytest.raises(AudioError, match="none of the 1 recordings"):
        open_store(tmp_path / "store", tmp_path / "none", model)
