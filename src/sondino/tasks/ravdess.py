"""RAVDESS, 8 emotions, spoken by 24 actors (Livingstone and Russo 2018)."""

from collections.abc import Iterator
from itertools import product
from pathlib import Path

from sondino.tasks.labelled import Clip, Labelled
from sondino.tasks.reading import collect
from sondino.tasks.task import Archive, Task

EMOTIONS = ("neutral", "calm", "happy", "sad", "angry", "fearful", "disgust", "surprised")
FOLDS = ((2, 5, 14, 15, 16), (3, 6, 7, 13, 18), (10, 11, 12, 19, 20), (8, 17, 21, 23, 24), (1, 4, 9, 22))
"""The actors of each fold, as in Luna-Jiménez and others 2021 (github.com/cristinalunaj/MMEmotionRecognition)."""

_SPEECH = ("Audio_Speech_Actors_01-24", "audio_speech_actors_01-24")


def _ravdess_clips(folder: Path) -> Iterator[Clip]:
    inside = next((f"{name}/" for name in _SPEECH if (folder / name).is_dir()), "")
    for fold, actors in enumerate(FOLDS):
        for actor, (number, emotion) in product(actors, enumerate(EMOTIONS, 1)):
            loudness = ("01",) if emotion == "neutral" else ("01", "02")
            for strong, statement, take in product(loudness, ("01", "02"), ("01", "02")):
                # 03 is sound alone, 01 speech; songs, 03-02, lie beside them in some copies.
                name = f"Actor_{actor:02d}/03-01-{number:02d}-{strong}-{statement}-{take}-{actor:02d}.wav"
                yield Clip(name, inside + name, (emotion,), str(fold), f"actor {actor}")


def _read_ravdess(folder: Path) -> Labelled:
    return collect(RAVDESS, folder, _ravdess_clips(folder), "fold")


RAVDESS = Task(
    name="ravdess",
    title="RAVDESS",
    about="8 emotions, 24 actors speaking",
    domain="speech",
    clips=1440,
    classes=8,
    multi_label=False,
    hours=1.5,
    licence="CC BY-NC-SA 4.0",
    homepage="https://zenodo.org/records/1188976",
    folders=("RAVDESS", "ravdess", *_SPEECH),
    marks=("Actor_01", *(f"{name}/Actor_01" for name in _SPEECH)),
    archives=(
        Archive(  # md5 as on Zenodo, bytes as four public records of downloads state them
            name="Audio_Speech_Actors_01-24.zip",
            url="https://zenodo.org/records/1188976/files/Audio_Speech_Actors_01-24.zip?download=1",
            size=208_468_073,
            checksum="md5:bc696df654c87fed845eb13823edef8a",
            unpacked=1_000_000_000,
        ),
    ),
    how="",
    read=_read_ravdess,
)
