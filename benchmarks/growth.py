"""Seconds and memory of `sondino embed` as files become more, and as one file becomes longer.

    python benchmarks/growth.py AUDIO [--work FOLDER]

Sets: 200, 2,000 and 20,000 files of at most 4 s (200 files under other names), and one WAV of 1 and of 10 hours; the
model is sondino-small, on one core. Writes results/growth.csv.
"""

import argparse
import os
import sys
import tempfile
from pathlib import Path

import soundfile

from embed import long, mixed, run
from provenance import provenance, write_results
from sondino.audio.walk import find_audio


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("audio", type=Path)
    parser.add_argument("--work", type=Path, default=Path(tempfile.gettempdir()) / "sondino-growth")
    given = parser.parse_args()
    work: Path = given.work
    work.mkdir(parents=True, exist_ok=True)
    files = find_audio(given.audio)
    short = [file for file in files if soundfile.info(file).duration <= 4.0]
    effects = mixed(short, work / "effects", 200, "effects")
    sets: dict[str, tuple[Path, int, float]] = {"files 200": (work / "effects", 200, effects.seconds)}
    for turns in (10, 100):
        folder = work / f"files{200 * turns}"
        folder.mkdir(exist_ok=True)
        for turn in range(turns):
            for file in effects.files:
                link = folder / f"{turn:03d}_{file.name}"
                if not link.exists():
                    os.link(file, link)
        sets[f"files {200 * turns}"] = (folder, 200 * turns, turns * effects.seconds)
    for hours in (1.0, 10.0):
        made = long(files, work / f"long{hours:g}", hours)
        sets[f"hours {hours:g}"] = (made.files[0], 1, made.seconds)
    rows = []
    for name, (source, count, seconds) in sets.items():
        command = [sys.executable, "-m", "sondino", "embed", str(source), "--output", str(work / "out.npz")]
        measured = run([*command, "--threads", "1", "--quiet"], 1)
        row = {"set": name, "files": count, "sound_s": f"{seconds:.0f}", "seconds": f"{measured.seconds:.1f}"}
        row |= {"ms_per_s_of_sound": f"{1000 * measured.seconds / seconds:.3f}", "peak_mb": f"{measured.megabytes:.0f}"}
        print(row, flush=True)
        rows.append(row | provenance("numpy", "onnxruntime", "soundfile"))
    write_results("growth", rows)


if __name__ == "__main__":
    main()
