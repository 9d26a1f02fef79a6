"""The sounds that ship with the package: 130 short CC0 samples in 12 families, for the quickstart and the tests."""

import csv
from pathlib import Path

_FOLDER = Path(__file__).parent / "sonic_pi"


def sample_folder() -> Path:
    """The folder of the shipped clips: `audio/*.ogg` (32 kHz mono) beside `samples.csv`."""
    return _FOLDER


def sample_list() -> Path:
    """The shipped clips as a CSV list that a corpus can be built from.

    Columns are path (relative to the CSV), label (the family of sound), licence, source and author.
    """
    return _FOLDER / "samples.csv"


def sample_labels() -> dict[str, str]:
    """The family of every shipped clip, by its path relative to `sample_folder()`, such as "audio/bd_808.ogg"."""
    with sample_list().open(newline="", encoding="utf-8") as lines:
        return {row["path"]: row["label"] for row in csv.DictReader(lines)}
