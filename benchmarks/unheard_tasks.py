"""Evaluate sondino-small on two tasks that no choice of its training looked at, of sounds that it was not trained on.

    apt-get install hydrogen-drumkits hydrogen-data timidity freepats
    python benchmarks/unheard_tasks.py --teacher mn04_as --against "litert:yamnet.tflite#TENSOR?rate=16000" --out FOLDER

Drum hits: the recordings of Hydrogen's drum kits whose names say what is hit, folds by kit. Notes: single notes of
freepats' instruments, which timidity renders, labelled with General MIDI's families of eight programs; an instrument is
in one fold, so a family is recognised by its other instruments. timidity renders some notes of pipes otherwise in each
run (33 of 448), and scores of notes change by up to 2 points. FOLDER gets the lists and the clips. Writes
results/unheard_tasks.csv.
"""

import argparse
import csv
import re
import subprocess
from itertools import groupby
from pathlib import Path

import numpy as np
import soundfile as sf

from provenance import write_results
from sondino import evaluate
from sondino.hub.catalogue import DEFAULT_MODEL
from sondino_small import score_rows
from soundfont_sound import BATCH, RATE, SLOT, Events, midi_file, note

KITS = Path("/usr/share/hydrogen/data/drumkits")
PATCHES = Path("/usr/share/midi/freepats")
HITS = {
    "kick": r"kick|\bbd\d*\b|bassdrum|^bd", "snare": r"snare|^sd", "hi-hat": r"hi.?hat|^hh|hat", "tom": r"tom",
    "crash": r"crash(?!ride)", "ride": r"ride", "clap": r"clap", "cowbell": r"cowbell", "tambourine": r"tambour",
}  # fmt: skip
FAMILIES = (
    "piano", "chromatic percussion", "organ", "guitar", "bass", "strings", "ensemble", "brass", "reed", "pipe",
    "synth lead", "synth pad", "synth effect", "ethnic", "percussive", "sound effect",
)  # fmt: skip
INSTRUMENTS = 4
"""Of a family, at least; one with fewer is left out."""
NOTES = 8  # of each instrument
SECONDS = 2.0
FOLDS = 4

Row = tuple[str, str, int]


def main() -> None:
    """Make both tasks and evaluate."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--teacher", required=True)
    parser.add_argument("--against", nargs="*", default=[], help="other models to evaluate")
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    tasks = {"drum hits": drum_hits(), "notes": notes(given.out / "notes")}
    lists = {}
    for name, rows in tasks.items():
        file = given.out / name / "labels.csv"
        file.parent.mkdir(parents=True, exist_ok=True)
        with file.open("w", newline="") as opened:
            csv.writer(opened, lineterminator="\n").writerows([("path", "label", "fold"), *rows])
        lists[str(file)] = name
    found = evaluate([DEFAULT_MODEL, *given.against], given.out / "evaluation", teacher=given.teacher, tasks=[*lists])
    write_results("unheard_tasks", score_rows(found, [*lists.values()], "numpy", "onnxruntime", "scikit-learn"))


def drum_hits() -> list[Row]:
    """Path, label and fold of each recording of a kit whose name says one thing that is hit."""
    rows = []
    for place, kit in enumerate(sorted(KITS.iterdir())):
        for file in sorted(file for file in kit.iterdir() if file.suffix.lower() in (".wav", ".flac")):
            labels = [label for label, pattern in HITS.items() if re.search(pattern, file.name.lower())]
            if len(labels) == 1:
                rows.append((str(file), labels[0], place % FOLDS))
    return rows


def instruments() -> list[tuple[str, int, int]]:
    """Family, program and fold of freepats' instruments: the instruments of a family take the folds in turn."""
    programs = sorted({int(file.name[:3]) for file in (PATCHES / "Tone_000").glob("[0-9][0-9][0-9]_*.pat")})
    found = []
    for family, group in groupby(programs, lambda program: FAMILIES[program // 8]):
        members = list(group)
        if len(members) >= INSTRUMENTS:
            found += [(family, program, place % FOLDS) for place, program in enumerate(members)]
    return found


def notes(folder: Path) -> list[Row]:
    """Render single notes of each instrument, random in key, loudness and length; path, label and fold of each."""
    rng = np.random.default_rng(0)
    (folder / "audio").mkdir(parents=True, exist_ok=True)
    played, phrases = [], []
    for family, program, fold in instruments():
        for _ in range(NOTES):
            events: Events = [(0, bytes([0xC0, program]))]
            key = int(rng.integers(28, 52) if family == "bass" else rng.integers(48, 80))
            note(events, 0, 20, rng.uniform(400, 1600), key, rng.uniform(60, 120))
            played.append((family, fold))
            phrases.append(sorted(events))
    rows: list[Row] = []
    for first in range(0, len(phrases), BATCH):
        samples = rendered(folder, midi_file(phrases[first : first + BATCH]))
        for place, (family, fold) in enumerate(played[first : first + BATCH]):
            start = round(place * SLOT / 1000 * RATE)
            clip = samples[start : start + round(SECONDS * RATE)]
            if np.abs(clip).max(initial=0) < 1e-3:
                continue  # a key that the instrument lacks
            name = f"audio/{first + place:04d}.wav"
            sf.write(folder / name, clip / np.abs(clip).max() / 2, RATE)
            rows.append((name, family, fold))
    return rows


def rendered(folder: Path, midi: bytes) -> np.ndarray:
    """What timidity plays with freepats, in mono."""
    song, wave = folder / "notes.mid", folder / "notes.wav"
    song.write_bytes(midi)
    subprocess.run(["timidity", "-c", "/etc/timidity/freepats.cfg", "-Ow", "--output-mono", "-s", str(RATE),
                    "-o", str(wave), str(song)], check=True, capture_output=True)  # fmt: skip
    samples, rate = sf.read(wave, dtype="float32")
    assert rate == RATE
    song.unlink()
    wave.unlink()
    mono: np.ndarray = samples
    return mono


if __name__ == "__main__":
    main()
