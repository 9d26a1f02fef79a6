"""AudioSet's classes by their numbers, which models that were trained on it, and PANNs' files, go by."""

import csv
from pathlib import Path


def audioset_names() -> dict[str, str]:
    """The display names of AudioSet's 527 classes by their ids, in the order of their numbers."""
    with Path(__file__).with_name("audioset.csv").open(newline="", encoding="utf-8") as lines:
        return {row["mid"]: row["display_name"] for row in csv.DictReader(lines)}


def audioset_classes() -> tuple[str, ...]:
    """The display names of AudioSet's 527 classes by index, "Speech" to "Field recording"."""
    return tuple(audioset_names().values())
