"""Cached embeddings: what counts as the same, and what is computed again."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from helpers.loudness import RATE, write_loudness
from sondino.audio.reading import read
from sondino.audio.windows import Windowing
from sondino.probing.embeddings import task_embeddings
from sondino.tasks.labelled import read_labelled


class Counting:
    """Mean square and peak of each second, and how many seconds it has embedded."""

    name, sample_rate, dim, window = "counting", RATE, 2, 1.0
    short = "native"

    def __init__(self, fingerprint: str = "one") -> None:
        self.fingerprint, self.embedded = fingerprint, 0

    def embed(self, waveforms: np.ndarray) -> np.ndarray:
        self.embedded += len(waveforms)
        return np.stack([(waveforms**2).mean(1), np.abs(waveforms).max(1)], 1).astype(np.float32)


def test_vectors_are_computed_once_and_are_those_of_the_clips_in_order(tmp_path: Path) -> None:
    labelled = read_labelled(write_loudness(tmp_path / "sounds", clips=3, seconds=0.5))
    model = Counting()
    usable, embeddings, table = task_embeddings(model, labelled, tmp_path / "kept")
    assert usable == labelled and embeddings.shape == (9, 2) and model.embedded == 9
    peaks = [np.abs(read(clip.path, RATE)).max() for clip in labelled.clips]
    assert np.allclose(embeddings[:, 1], peaks)
    again = task_embeddings(model, labelled, tmp_path / "kept")
    assert model.embedded == 9 and np.array_equal(again[1], embeddings) and again[2] == table
    # The same sounds in another place are the same sounds.
    shutil.copytree(tmp_path / "sounds", tmp_path / "moved")
    moved = task_embeddings(model, read_labelled(tmp_path / "moved"), tmp_path / "kept")
    assert model.embedded == 9 and np.array_equal(moved[1], embeddings)


def test_another_model_window_or_sound_is_computed_anew(tmp_path: Path) -> None:
    labelled = read_labelled(write_loudness(tmp_path / "sounds", clips=2, seconds=0.5))
    _, embeddings, table = task_embeddings(Counting(), labelled, tmp_path / "kept")
    other = Counting("two")
    assert task_embeddings(other, labelled, tmp_path / "kept")[2] != table and other.embedded == 6
    shorter = Counting()
    assert (
        task_embeddings(shorter, labelled, tmp_path / "kept", windowing=Windowing(0.1))[2] != table
        and shorter.embedded > 12
    )
    quiet = Path(labelled.clips[0].path)
    shutil.copy(labelled.clips[-1].path, quiet)
    changed = Counting()
    _, new, found = task_embeddings(changed, labelled, tmp_path / "kept")
    assert changed.embedded == 6 and found != table
    assert np.array_equal(new[1:], embeddings[1:]) and not np.allclose(new[0], embeddings[0])


def test_what_cannot_be_embedded_is_left_out_now_and_later(tmp_path: Path) -> None:
    sounds = write_loudness(tmp_path / "sounds", clips=3, seconds=0.5)
    (sounds / "loud" / "1.wav").write_bytes(b"no sound")
    labelled = read_labelled(sounds)
    for _ in range(2):
        usable, embeddings, _ = task_embeddings(Counting(), labelled, tmp_path / "kept")
        assert len(embeddings) == len(usable.clips) == 8
        ((path, reason),) = usable.skipped
        assert path.endswith("loud/1.wav") and reason
    assert "loud/1.wav" not in [clip.id for clip in usable.clips]


def test_a_damaged_file_of_vectors_is_made_again(tmp_path: Path) -> None:
    labelled = read_labelled(write_loudness(tmp_path / "sounds", clips=2, seconds=0.5))
    _, embeddings, table = task_embeddings(Counting(), labelled, tmp_path / "kept")
    for content in (b"", table.read_bytes()[:100], b"no table"):
        table.write_bytes(content)
        model = Counting()
        assert (
            np.array_equal(task_embeddings(model, labelled, tmp_path / "kept")[1], embeddings) and model.embedded == 6
        )


def test_stopped_half_way_it_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from sondino.embedding import files as embed

    monkeypatch.setattr(embed, "PART_FILES", 2)
    labelled = read_labelled(write_loudness(tmp_path / "sounds", clips=2, seconds=0.5))

    class Dying(Counting):
        def embed(self, waveforms: np.ndarray) -> np.ndarray:
            if self.embedded >= 4:
                raise KeyboardInterrupt
            return super().embed(waveforms)

    with pytest.raises(KeyboardInterrupt):
        task_embeddings(Dying(), labelled, tmp_path / "kept")
    model = Counting()
    _, embeddings, _ = task_embeddings(model, labelled, tmp_path / "kept")
    assert len(embeddings) == 6 and model.embedded == 2
