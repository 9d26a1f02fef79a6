"""Labels that lie beside recordings are those of the clips that they overlap."""

from pathlib import Path

import numpy as np
import soundfile

from sondino.corpus.table import build_corpus

RATE = 8000


def recording(file: Path, seconds: float, seed: int) -> None:
    noise = np.random.default_rng(seed).uniform(-0.3, 0.3, round(seconds * RATE))
    soundfile.write(file, noise.astype(np.float32), RATE)


def test_clips_have_the_labels_of_the_tracks_beside_their_recordings(tmp_path):
    sounds = tmp_path / "sounds"
    (sounds / "plain").mkdir(parents=True)
    recording(sounds / "dawn.wav", 6.0, 1)
    recording(sounds / "dusk.wav", 2.0, 2)
    recording(sounds / "plain" / "noon.wav", 2.0, 3)
    # Of clips of 2 s: owl holds all of the second and a quarter of the third, the short rain lies in the first two
    # by halves, a point labels nothing.
    track = "2.0\t4.5\towl\n1.9\t2.1\train\n0.5\t0.5\tpoint\n"
    (sounds / "dawn.txt").write_text(track)
    table = "Selection\tBegin Time (s)\tEnd Time (s)\tAnnotation\n1\t0.2\t1.9\tfox\n"
    (sounds / "dusk.Table.1.selections.txt").write_text(table)
    (sounds / "plain" / "readme.txt").write_text("Nothing is labelled here.\n")
    corpus = build_corpus(sounds, tmp_path / "corpus", clip=2.0)
    by_place = {
        (row["path"], row["start"]): row["label"] for row in corpus.table.select(["path", "start", "label"]).to_pylist()
    }
    assert by_place == {
        ("dawn.wav", 0.0): "rain",
        ("dawn.wav", 2.0): "owl;rain",
        ("dawn.wav", 4.0): None,
        ("dusk.wav", 0.0): "fox",
        ("plain/noon.wav", 0.0): None,
    }
    assert corpus.facts["notes"] == ["3 of 5 clips have labels that lie beside their recordings"]
    labels = corpus.labels()
    assert tuple(labels.names) == ("fox", "owl", "rain") and labels.multi_label


def test_a_list_s_own_labels_stay(tmp_path):
    recording(tmp_path / "a.wav", 1.0, 1)
    (tmp_path / "a.txt").write_text("0\t1\towl\n")
    (tmp_path / "list.csv").write_text("path,label\na.wav,cat\n")
    corpus = build_corpus(tmp_path / "list.csv", tmp_path / "corpus", clip=1.0)
    assert corpus.column("label").tolist() == ["cat"]


def test_a_track_that_cannot_be_read_is_a_note(tmp_path):
    sounds = tmp_path / "sounds"
    sounds.mkdir()
    recording(sounds / "a.wav", 1.0, 1)
    (sounds / "a.txt").write_text("0\t1\towl\nx\ty\tz\n")
    corpus = build_corpus(sounds, tmp_path / "corpus", clip=1.0)
    assert "label" not in corpus.table.column_names
    (note,) = corpus.facts["notes"]
    assert "a.txt" in note and note.endswith("the clips of a.wav have no labels")


def test_a_folder_without_tracks_has_no_labels(tmp_path):
    sounds = tmp_path / "sounds"
    sounds.mkdir()
    recording(sounds / "a.wav", 1.0, 1)
    assert "label" not in build_corpus(sounds, tmp_path / "corpus", clip=1.0).table.column_names
