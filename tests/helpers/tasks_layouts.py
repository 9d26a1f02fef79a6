"""Miniature data sets in the layouts in which they are published: tiny sines, each label another loudness."""

import csv
import io
import json
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np
import soundfile

from sondino.tasks.gtzan import FILTERED, numbers

RATE = 16000


def write_layout(name: str, root: Path) -> Path:
    """Write a data set under a folder, as its archive unpacks; the folder of the data set."""
    return LAYOUTS[name](root)


def sound(level: float, kind: str = "WAV") -> bytes:
    """A sine of 50 ms."""
    out = io.BytesIO()
    wave = level * np.sin(2 * np.pi * 400 * np.arange(RATE // 20) / RATE)
    soundfile.write(out, wave.astype(np.float32), RATE, format=kind)
    return out.getvalue()


def put(folder: Path, names: Iterable[str], level: float, kind: str = "WAV") -> None:
    content = sound(level, kind)
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)


def table(file: Path, header: Sequence[object], rows: Iterable[Sequence[object]], delimiter: str = ",") -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("w", newline="", encoding="utf-8") as opened:
        writer = csv.writer(opened, delimiter=delimiter, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)
    return file


ESC_HEADER = ("filename", "fold", "target", "category", "esc10", "src_file", "take")


def write_esc50(root: Path) -> Path:
    """Three labels, two of them of ESC-10, 5 folds with two clips a label, which are takes of one recording."""
    folder, rows = root / "ESC-50-master", []
    for target, (label, ten) in enumerate((("dog", True), ("rain", True), ("hen", False))):
        for fold in range(1, 6):
            recording = 1000 * target + fold
            names = [f"{fold}-{recording}-{take}-{target}.wav" for take in "AB"]
            put(folder / "audio", names, 0.1 + 0.3 * target)
            rows += [(name, fold, target, label, ten, recording, name[-7]) for name in names]
    table(folder / "meta" / "esc50.csv", ESC_HEADER, rows)
    return folder


def write_us8k(root: Path) -> Path:
    """Two labels, 10 folds, two slices of one recording in each."""
    folder, rows = root / "UrbanSound8K", []
    for target, label in enumerate(("siren", "drilling")):
        for fold in range(1, 11):
            source = 100 * fold + target
            names = [f"{source}-{target}-0-{slice_}.wav" for slice_ in range(2)]
            put(folder / "audio" / f"fold{fold}", names, 0.1 + 0.5 * target)
            rows += [(name, source, 0.0, 4.0, 1, fold, target, label) for name in names]
    header = ("slice_file_name", "fsID", "start", "end", "salience", "fold", "classID", "class")
    table(folder / "metadata" / "UrbanSound8K.csv", header, rows)
    return folder


def write_fsd50k(root: Path) -> Path:
    """Three labels, of which Animal is above Dog; 12 clips of train, 4 of val, 6 of eval."""
    folder = root / "FSD50K"
    kinds = ("Dog,Animal", "Animal", "Rain")
    dev = [(64000 + i, kinds[i % 3], "/m/x", "train" if i < 12 else "val") for i in range(16)]
    evaluation = [(90000 + i, kinds[i % 3], "/m/x") for i in range(6)]
    for part, rows in (("dev", dev), ("eval", evaluation)):
        for number, labels, *_ in rows:
            put(folder / f"FSD50K.{part}_audio", [f"{number}.wav"], 0.1 + 0.4 * kinds.index(labels))
    table(folder / "FSD50K.ground_truth" / "dev.csv", ("fname", "labels", "mids", "split"), dev)
    table(folder / "FSD50K.ground_truth" / "eval.csv", ("fname", "labels", "mids"), evaluation)
    return folder


def write_gtzan(root: Path) -> Path:
    """The first two excerpts that each split has of each genre, and one that the fault-filter leaves out."""
    folder = root / "GTZAN"
    for genres in FILTERED.values():
        for place, (genre, spans) in enumerate(genres.items()):
            names = [f"{genre}/{genre}.{number:05d}.wav" for number in numbers(spans)[:2]]
            put(folder / "genres", names, 0.05 + 0.09 * place)
    put(folder / "genres", ["reggae/reggae.00086.wav"], 0.5)
    return folder


def write_openmic(root: Path) -> Path:
    """Three instruments; clips 0 to 9 train, 10 to 15 test; each clip has two instruments known and the third not."""
    folder, rows = root / "openmic-2018", []
    names = ("cello", "drums", "flute")
    keys = [f"{i // 2:06d}_{3840 + i}" for i in range(16)]
    for i, key in enumerate(keys):
        put(folder / "audio" / key[:3], [f"{key}.ogg"], 0.1 + 0.4 * (i % 3), "OGG")
        rows.append((key, names[i % 3], 0.5 if i % 2 else 1.0, 3))  # half of the answers is enough
        rows.append((key, names[(i + 1) % 3], 0.4999, 3))
    table(
        folder / "openmic-2018-aggregated-labels.csv", ("sample_key", "instrument", "relevance", "num_responses"), rows
    )
    for split, part in (("train", keys[:10]), ("test", keys[10:])):
        file = folder / "partitions" / f"split01_{split}.csv"
        file.parent.mkdir(exist_ok=True)
        file.write_text("".join(f"{key}\n" for key in part))
    (folder / "class-map.json").write_text(json.dumps({name: i for i, name in enumerate(names)}))
    return folder


def nsynth_note(family: str, instrument: int, pitch: int) -> tuple[str, dict[str, object]]:
    """A note's name and entry in examples.json."""
    name = f"{family}_acoustic_{instrument:03d}"
    note = f"{name}-{pitch:03d}-100"
    return note, {
        "note_str": note, "sample_rate": 16000, "pitch": pitch, "instrument": instrument, "velocity": 100, "note": 7,
        "instrument_str": name, "instrument_source": 0, "instrument_source_str": "acoustic", "instrument_family": 1,
        "instrument_family_str": family, "qualities": [0, 0, 1, 0, 0, 0, 0, 0, 0, 0], "qualities_str": ["bright"],
    }  # fmt: skip


def write_nsynth(root: Path) -> Path:
    """Two families; two instruments of each in train, one in both valid and test as published, two notes each."""
    folder = root / "nsynth"
    for split, instruments in (("train", (0, 1)), ("valid", (2,)), ("test", (2,))):
        notes = {}
        for level, family in ((0.1, "bass"), (0.7, "synth_lead")):
            made = [nsynth_note(family, i, 60 + step + len(split)) for i in instruments for step in range(2)]
            put(folder / f"nsynth-{split}" / "audio", [f"{name}.wav" for name, _ in made], level)
            notes.update(made)
        (folder / f"nsynth-{split}" / "examples.json").write_text(json.dumps(notes))
    return folder


def write_mtt(root: Path) -> Path:
    """52 tags, of which the last two are the rarest; two clips of one track in each of the sixteen folders."""
    folder, rows = root / "MagnaTagATune", []
    tags = [f"tag {i:02d}" for i in range(52)]
    for place, top in enumerate("0123456789abcdef"):
        for begin in (30, 59):
            name = f"{top}/artist-album-{place:02d}-song-{begin}-{begin + 29}.mp3"
            marks = [int((place + i) % 4 < 2) for i in range(50)] + [int(place == 0)] + [0]
            put(folder / "mp3", [name], 0.1 + 0.05 * place, "MP3")
            rows.append((2 * place + begin, *marks, name))
    put(folder / "mp3", ["6/nothing-at-all-0-29.mp3"], 0.1, "MP3")
    (folder / "mp3/6/nothing-at-all-0-29.mp3").write_bytes(b"")
    rows.append((99, *([1] * 50), 0, 0, "6/nothing-at-all-0-29.mp3"))
    table(folder / "annotations_final.csv", ("clip_id", *tags, "mp3_path"), rows, "\t")
    return folder


def write_tau2020(root: Path) -> Path:
    """Two scenes; three places in train and one in test, each by two devices; one clip is in neither."""
    folder = root / "TAU-urban-acoustic-scenes-2020-mobile-development"
    setup: dict[str, list[tuple[str, str]]] = {"train": [], "evaluate": []}
    meta = []
    for level, scene in ((0.1, "airport"), (0.6, "tram")):
        for place in range(5):
            for device in ("a", "s1"):
                name = f"audio/{scene}-lyon-{place}-{place}00-{device}.wav"
                put(folder, [name], level)
                meta.append((name, scene, f"lyon-{scene}-{place}", device))
                if place < 4:
                    setup["train" if place < 3 else "evaluate"].append((name, scene))
    table(folder / "meta.csv", ("filename", "scene_label", "identifier", "source_label"), meta, "\t")
    for name, rows in setup.items():
        table(folder / "evaluation_setup" / f"fold1_{name}.csv", ("filename", "scene_label"), rows, "\t")
    return folder


def write_ravdess(root: Path) -> Path:
    """Actors 2, 3, 10, 8 and 1, one of each fold, whole; and a song, which is not taken."""
    folder = root / "RAVDESS"
    for actor in (2, 3, 10, 8, 1):
        for emotion in range(1, 9):
            strong = (1,) if emotion == 1 else (1, 2)
            names = [
                f"Actor_{actor:02d}/03-01-{emotion:02d}-{s:02d}-{statement:02d}-{take:02d}-{actor:02d}.wav"
                for s in strong
                for statement in (1, 2)
                for take in (1, 2)
            ]
            put(folder, names, 0.1 * emotion)
        put(folder, [f"Actor_{actor:02d}/03-02-03-01-01-01-{actor:02d}.wav"], 0.9)
    return folder


LAYOUTS: dict[str, Callable[[Path], Path]] = {
    "esc50": write_esc50,
    "esc10": write_esc50,
    "us8k": write_us8k,
    "fsd50k": write_fsd50k,
    "gtzan": write_gtzan,
    "openmic": write_openmic,
    "nsynth": write_nsynth,
    "mtt": write_mtt,
    "tau2020": write_tau2020,
    "ravdess": write_ravdess,
}
