"""ESC-10 as the benchmarks take it: a folder with labels.csv (path, label, fold)."""

import argparse
from collections import Counter
from pathlib import Path

from sondino.errors import SondinoError
from sondino.tasks.registry import read_tasks


def esc10_folder(text: str) -> Path:
    """The folder of the whole ESC-10, as an argument's type: 40 clips of each of 10 labels, 80 in each of 5 folds."""
    folder = Path(text)
    try:
        ((_, found),) = read_tasks([str(folder / "labels.csv")])
    except SondinoError as error:
        raise argparse.ArgumentTypeError(str(error)) from error
    labels, folds = found.targets().sum(0).tolist(), Counter(found.folds().tolist())
    if labels != [40] * 10 or folds != dict.fromkeys("12345", 80) or found.skipped or found.notes:
        raise argparse.ArgumentTypeError(
            f"{folder}/labels.csv is not the whole ESC-10: clips of each label {labels}, of each fold {dict(folds)}, "
            f"{len(found.skipped)} left out"
        )
    return folder
