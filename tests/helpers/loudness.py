"""Labelled sound whose answer is known: labels are loudness, which the tiny model's embeddings hold."""

import csv
from pathlib import Path

import numpy as np
import soundfile

RATE = 16000
LEVELS = {"quiet": 0.05, "middle": 0.2, "loud": 0.6}
CARD = {"parameters": 0, "macs_per_10s": 0, "onnx_difference": 0.0}
"""What a bundle's card reports of a net, which the tiny bundle has none of."""


def write_loudness(
    folder: Path, clips: int = 8, seconds: float = 1.0, levels: dict[str, float] | None = None, rate: int = RATE
) -> Path:
    """A folder of sines: FOLDER/label/0.wav and on; each of another length and phase."""
    rng = np.random.default_rng(0)
    for label, level in (levels or LEVELS).items():
        (folder / label).mkdir(parents=True, exist_ok=True)
        for number in range(clips):
            at = np.arange(round(rate * seconds * rng.uniform(0.8, 1.2))) / rate
            sine = level * rng.uniform(0.8, 1.2) * np.sin(2 * np.pi * (300 * at + rng.uniform()))
            soundfile.write(folder / label / f"{number}.wav", sine.astype(np.float32), rate, subtype="FLOAT")
    return folder


def write_list(file: Path, rows: list[dict[str, object]]) -> Path:
    """A CSV of rows."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("w", newline="", encoding="utf-8") as opened:
        table = csv.DictWriter(opened, list(rows[0]))
        table.writeheader()
        table.writerows(rows)
    return file


def loudness_rows(folder: Path) -> list[dict[str, object]]:
    """Path and label of each file that `write_loudness` made, by label and number."""
    return [
        {"path": file.relative_to(folder).as_posix(), "label": file.parent.name}
        for file in sorted(folder.glob("*/*.wav"))
    ]
