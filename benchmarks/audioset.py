"""Seconds and memory to read AudioSet's metadata, and to build a corpus table of 2,000,000 clips.

METADATA is a folder with AudioSet's segment lists (unbalanced_train_segments.csv among them); it is not part of this
repository. The corpus is a real build: a list of 2,000,000 stretches of a second, each with its labels, of 40 files of
noise that last 50,000 s each. So 40 headers are read in place of 2,000,000, and all the rest is what AudioSet costs.
Each row is measured in a process of its own, whose peak resident memory includes Python and the libraries.

    python benchmarks/audioset.py METADATA [--rows 2000000] [--folder /tmp]
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from provenance import provenance, write_results

FILES = 40
RATE = 100
"""Hz of the files: nothing of them is decoded."""


def figures(began: float, rows: int) -> dict[str, Any]:
    """Wall and processor seconds, and the peak memory of this process."""
    unit = 1024 if sys.platform != "darwin" else 1024**2
    return {
        "rows": rows,
        "seconds": round(time.perf_counter() - began, 1),
        "processor_seconds": round(time.process_time(), 1),
        "peak_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit),
    }


def read_lists(metadata: Path) -> dict[str, Any]:
    """Read the unbalanced list alone."""
    from sondino.tasks.audioset.metadata import read_metadata

    began = time.perf_counter()
    return figures(began, len(read_metadata(metadata / "unbalanced_train_segments.csv").segments))


def choose_balanced(metadata: Path) -> dict[str, Any]:
    """Read all lists, and choose a subset with 1,000 clips of each label."""
    from sondino.tasks.audioset.metadata import read_metadata
    from sondino.tasks.audioset.subsets import choose

    began = time.perf_counter()
    found = read_metadata(metadata)
    choose(found, per_label=1000)
    return figures(began, len(found.segments))


def write_long_list(metadata: Path, folder: Path, rows: int) -> None:
    """A list of stretches with AudioSet's labels, and the files that they are of."""
    import soundfile

    from sondino.tasks.audioset.metadata import read_metadata

    cells = list(read_metadata(metadata / "unbalanced_train_segments.csv").cells())
    each = -(-rows // FILES)
    for number in range(FILES):
        sound = np.random.default_rng(number).standard_normal(each * RATE).astype(np.float32) / 10
        soundfile.write(folder / f"{number:02}.wav", sound, RATE, subtype="PCM_16")
    with (folder / "list.csv").open("w") as out:
        out.write("path,id,start,duration,label,split\n")
        for row in range(rows):
            label = cells[row % len(cells)].replace('"', '""')
            out.write(f'{row // each:02}.wav,c{row:07},{row % each},1,"{label}",train\n')


def build(folder: Path) -> dict[str, Any]:
    """Build the corpus of the list."""
    from sondino.corpus.table import build_corpus

    began = time.perf_counter()
    return figures(began, len(build_corpus(folder / "list.csv", folder / "corpus", clip=1.0)))


def read_labels(folder: Path) -> dict[str, Any]:
    """Open the corpus and its labels, and take the marks of 1,000 batches of 32 clips."""
    from sondino.corpus.table import open_corpus

    began = time.perf_counter()
    labels = open_corpus(folder / "corpus").labels()
    rng = np.random.default_rng(0)
    for _ in range(1000):
        labels.marks(rng.integers(len(labels), size=32))
    return figures(began, len(labels))


def measured(step: str, *arguments: object) -> dict[str, Any]:
    """A step in a process of its own."""
    command = [sys.executable, __file__, "--step", step, *map(str, arguments)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


STEPS = {"read": read_lists, "choose": choose_balanced, "build": build, "labels": read_labels}
NAMES = {
    "read": "read unbalanced_train_segments.csv",
    "choose": "read all lists, choose 1,000 clips of each label",
    "build": "build a corpus of a list with labels",
    "labels": "open its labels, marks of 1,000 batches of 32",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("metadata", type=Path)
    parser.add_argument("--rows", type=int, default=2_000_000)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--step", choices=STEPS)
    args = parser.parse_args()
    if args.step:
        print(json.dumps(STEPS[args.step](args.metadata)))
        return
    with tempfile.TemporaryDirectory(dir=args.folder) as made:
        folder = Path(made)
        write_long_list(args.metadata, folder, args.rows)
        places = {"read": args.metadata, "choose": args.metadata, "build": folder, "labels": folder}
        rows = [{"step": NAMES[step]} | measured(step, place) for step, place in places.items()]
    write_results("audioset", [row | provenance("numpy", "pyarrow") for row in rows])


if __name__ == "__main__":
    main()
