"""Sondino and its neighbours, each in a new environment: time and size of the installation, and a first result.

    python benchmarks/comparison.py SPEECH.wav [NAME ...] [--environments FOLDER]

SPEECH.wav is speech at 16 kHz. pip takes the packages from the index, without its cache, and torch as the index or
`find-links` offers it: for results/comparison.csv the build for the CPU alone, except for lightly-train, since PyPI's
torchvision refuses that build (as its torchaudio does, which ssondo imports). Size is counted as install_size.py does.
A first result is what the package's own start page shows first; it is run twice, and once more in a network namespace
without a network (Linux: unshare). Where it fails, the last line of its error output is kept. Writes
results/comparison.csv; of the packages that are named, where some are, its rows are replaced.
"""

import argparse
import csv
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from install_size import COUNT
from provenance import RESULTS, provenance, write_results

ROOT = Path(__file__).parents[1]
TORCH = "torch==2.13.0"
LIMIT = 300  # seconds for a first result


@dataclass(frozen=True)
class Neighbour:
    """What is installed, and the program of the first result: SOUND is the speech, NOISE a folder of pictures."""

    name: str
    requirements: tuple[str, ...]
    program: str


NEIGHBOURS = [
    Neighbour("sondino", (str(ROOT),), "from sondino.cli import main\nmain(['classify', SOUND])"),
    Neighbour(
        "sondino[train]",
        (TORCH, f"{ROOT}[train]"),
        """
from sondino.sample_sounds import sample_folder
import sondino
bundle = sondino.distill(
    sample_folder(), teacher="sondino-small", out="run", width=0.2, clip=1.95, epochs=1, keep_labels="no"
)
print(sondino.load(bundle).embed(SOUND).shape)
""",
    ),
    Neighbour(
        "ssondo",
        (TORCH, "torchaudio==2.11.1", "ssondo==0.3.1"),
        "import torch\nfrom ssondo import get_ssondo\nprint(get_ssondo()(torch.zeros(1, 320000)).shape)",
    ),
    Neighbour(
        "lightly-train",
        ("torch==2.14.1", "torchvision==0.29.1", "lightly-train==0.18.0"),
        """
import lightly_train
if __name__ == "__main__":
    lightly_train.pretrain(out="out", data=NOISE, model="torchvision/resnet18", method="simclr", epochs=1, batch_size=4,
                           num_workers=0, accelerator="cpu", overwrite=True)
    print("trained")
""",
    ),
    Neighbour(
        "silero-vad",
        (TORCH, "silero-vad==6.2.3", "soundfile==0.13.1"),
        """
import soundfile, torch
from silero_vad import get_speech_timestamps, load_silero_vad
sound = torch.from_numpy(soundfile.read(SOUND, dtype="float32")[0])
print(get_speech_timestamps(sound, load_silero_vad(), return_seconds=True))
""",
    ),
    Neighbour(
        "birdnet",
        ("birdnet==1.3.1",),
        """
import birdnet
if __name__ == "__main__":
    print(birdnet.load("acoustic", "2.4", "tf", library="litert").predict(SOUND).to_dataframe())
""",
    ),
    Neighbour(
        "birdnet-analyzer",
        ("birdnet-analyzer==2.4.0",),
        """
from birdnet_analyzer import analyze
if __name__ == "__main__":
    analyze(SOUND, output="out")
""",
    ),
    Neighbour(
        "sentence-transformers",
        (TORCH, "sentence-transformers==6.2.0"),
        "from sentence_transformers import SentenceTransformer\n"
        "print(SentenceTransformer('all-MiniLM-L6-v2').encode(['a dog barks']).shape)",
    ),
    Neighbour(
        "perch-hoplite",
        ("perch-hoplite==1.0.2",),
        """
import soundfile
from perch_hoplite.zoo.handcrafted_features_model import HandcraftedFeaturesModel
sound, rate = soundfile.read(SOUND, dtype="float32")
print(HandcraftedFeaturesModel.beans_baseline(rate).embed(sound).embeddings.shape)
""",
    ),
]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("speech", type=Path)
    parser.add_argument("names", nargs="*", metavar="NAME", help="default: all")
    parser.add_argument("--environments", type=Path, help="where environments are made and stay")
    given = parser.parse_args()
    rows = {row["package"]: row for row in _earlier()} if given.names else {}
    order = [neighbour.name for neighbour in NEIGHBOURS]
    for name in given.names or order:
        neighbour = NEIGHBOURS[order.index(name)]
        folder = Path(tempfile.mkdtemp()) if given.environments is None else given.environments.absolute()
        rows[neighbour.name] = measure(neighbour, given.speech.absolute(), folder / neighbour.name)
        if given.environments is None:
            shutil.rmtree(folder)
        write_results("comparison", sorted(rows.values(), key=lambda row: order.index(row["package"])))


def _earlier() -> list[dict[str, Any]]:
    file = RESULTS / "comparison.csv"
    if not file.exists():
        return []
    with file.open(newline="") as lines:
        return list(csv.DictReader(lines))


def measure(neighbour: Neighbour, speech: Path, folder: Path) -> dict[str, Any]:
    """A row of the table."""
    shutil.rmtree(folder, ignore_errors=True)
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    python = folder / "bin" / "python"
    command: list[str | Path] = [python, "-m", "pip", "install", "--quiet", "--no-cache-dir", *neighbour.requirements]
    began, before = time.perf_counter(), processor_seconds()
    installed = subprocess.run(command, capture_output=True, text=True, check=False)
    took, worked = time.perf_counter() - began, processor_seconds() - before
    if installed.returncode:
        sys.exit(f"{neighbour.name}: {installed.stderr}")
    counted = json.loads(subprocess.run([python, "-c", COUNT], capture_output=True, text=True, check=True).stdout)
    asked = "import importlib.metadata as m, sys; print(m.version(sys.argv[1]))"
    version: list[str | Path] = [python, "-c", asked, neighbour.name.partition("[")[0]]
    row: dict[str, Any] = {
        "package": neighbour.name,
        "version": subprocess.run(version, capture_output=True, text=True, check=True).stdout.strip(),
        "installed": " ".join(r.replace(str(ROOT), ".") for r in neighbour.requirements),
        "install_s": round(took),
        "install_cpu_s": round(worked),
        **counted,
    }
    first, again = (first_result(neighbour, python, speech) for _ in range(2))
    offline = first_result(neighbour, python, speech, ("unshare", "--net", "--map-root-user"))
    row |= {
        "first_s": first[0],
        "again_s": again[0],
        "again_cpu_s": again[2],
        "offline": "yes" if offline[0] else "no",
        "printed": first[1] if first[0] else "",
        "error": first[1] if not first[0] else "",
        "error_offline": offline[1] if not offline[0] else "",
    }
    facts = provenance()
    return row | {name: facts[name] for name in ("python", "commit", "cpu", "date")}


def processor_seconds() -> float:
    """Of all processes that this one has started and waited for."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def first_result(
    neighbour: Neighbour, python: Path, speech: Path, within: tuple[str, ...] = ()
) -> tuple[Any, str, Any]:
    """Seconds of the program, what it printed last, seconds of processor; if it fails "", its last error, ""."""
    with tempfile.TemporaryDirectory() as where:
        if "NOISE" in neighbour.program:
            write_pictures(Path(where) / "noise")
        names = f"SOUND = {str(speech)!r}\nNOISE = 'noise'\n"
        (Path(where) / "program.py").write_text(names + neighbour.program)
        home = {"HOME": where, "XDG_CACHE_HOME": where}  # what an earlier run has downloaded is not there
        command: list[str | Path] = [*within, python, "program.py"]
        began, before = time.perf_counter(), processor_seconds()
        try:
            done = subprocess.run(
                command, cwd=where, capture_output=True, text=True, check=False, env=os.environ | home, timeout=LIMIT
            )
        except subprocess.TimeoutExpired:
            return "", f"no end after {LIMIT} s", ""
        took, worked = time.perf_counter() - began, processor_seconds() - before
    said = done.stderr or done.stdout if done.returncode else done.stdout
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    last = lines[-1].replace(str(python.parents[1]), "ENVIRONMENT")[:300] if lines else ""
    return ("", last, "") if done.returncode else (round(took, 1), last, round(worked, 1))


def write_pictures(folder: Path) -> None:
    """Eight PNG files of noise, 64 by 64."""
    import struct
    import zlib

    import numpy as np

    folder.mkdir()
    for number in range(8):
        pixels = np.random.default_rng(number).integers(0, 256, (64, 64, 3), dtype=np.uint8)
        lines = b"".join(b"\0" + line.tobytes() for line in pixels)
        parts = [
            (b"IHDR", struct.pack(">IIBBBBB", 64, 64, 8, 2, 0, 0, 0)),
            (b"IDAT", zlib.compress(lines)),
            (b"IEND", b""),
        ]
        chunks = (struct.pack(">I", len(d)) + n + d + struct.pack(">I", zlib.crc32(n + d)) for n, d in parts)
        (folder / f"{number}.png").write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(chunks))


if __name__ == "__main__":
    main()
