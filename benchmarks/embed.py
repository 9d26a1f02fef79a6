"""How many files a second `sondino embed` does, in how much memory, beside the published package.

    python benchmarks/embed.py AUDIO [--peer .peers/bin/python] [--repeats 3] [--hours 10] [--work FOLDER]

AUDIO is a folder of real sound. Sets of files are made of it: `mixed`, 200 files in five formats as long as they are;
`full`, 200 WAV files of 10 s; `thousand`, 1,000 files; `long`, one WAV file of so many hours. Both packages get the same
weights (by the rule of tests/golden.py, in the published file format of tests/published.py). Each run is a process of its own, from its start
to its end, in turn; peak memory is what the system counted. Writes results/embed.csv.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from numpy.typing import NDArray

from provenance import provenance, write_results
from sondino.audio import find_audio
from sondino.convert import convert

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from published import write_ssondo

FORMATS = (("wav", "PCM_16"), ("flac", "PCM_16"), ("ogg", "VORBIS"), ("mp3", None), ("wav", "FLOAT"))


@dataclass(frozen=True)
class Sounds:
    """A set of files: its name, the files, seconds of sound in all."""

    name: str
    files: list[Path]
    seconds: float


@dataclass(frozen=True)
class Measured:
    """One process: seconds from start to end, MB at the most, seconds until the model was there."""

    seconds: float
    megabytes: float
    start: float


def joined(files: list[Path], seconds: float) -> Iterator[NDArray[np.float32]]:
    """Real sound in pieces of equal length, files put one after another."""
    held = np.zeros(0, np.float32)
    for file in files:
        sound, rate = soundfile.read(file, dtype="float32", always_2d=True)
        size = int(seconds * rate)
        held = np.concatenate([held, sound.mean(axis=1)])
        while len(held) >= size:
            yield held[:size]
            held = held[size:]


def evenly(files: list[Path], count: int) -> list[Path]:
    return [files[i * len(files) // count] for i in range(count)]


def mixed(files: list[Path], folder: Path, count: int, name: str) -> Sounds:
    """So many files in five formats, as long as they are."""
    folder.mkdir(parents=True, exist_ok=True)
    made, seconds = [], 0.0
    for at, file in enumerate(evenly(files, count)):
        suffix, subtype = FORMATS[at % len(FORMATS)]
        target = folder / f"{at:04d}.{suffix}"
        sound, rate = soundfile.read(file, dtype="float32")
        seconds += len(sound) / rate
        if not target.exists():
            soundfile.write(target, sound, rate, subtype=subtype)
        made.append(target)
    return Sounds(name, made, seconds)


def full(files: list[Path], folder: Path, count: int) -> Sounds:
    """So many WAV files of 10 s."""
    folder.mkdir(parents=True, exist_ok=True)
    made = []
    for at, piece in zip(range(count), joined(files, 10.0), strict=False):
        target = folder / f"{at:04d}.wav"
        if not target.exists():
            soundfile.write(target, piece, len(piece) // 10, subtype="PCM_16")
        made.append(target)
    return Sounds("full", made, 10.0 * len(made))


def long(files: list[Path], folder: Path, hours: float) -> Sounds:
    """One WAV file of so many hours."""
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / f"{hours:g}h.wav"
    pieces = list(joined(files, 60.0))
    rate = len(pieces[0]) // 60
    if not target.exists():
        with soundfile.SoundFile(target, "w", rate, 1, "PCM_16") as out:
            for minute in range(int(60 * hours)):
                out.write(pieces[minute % len(pieces)])
    return Sounds("long", [target], 3600.0 * hours)


def run(command: list[str], cores: int) -> tuple[Measured, dict[str, Any]]:
    """Run a command on so many cores; what it took, and the JSON line that it printed, if any."""
    environment = {**os.environ, "OMP_WAIT_POLICY": "PASSIVE", "OMP_NUM_THREADS": str(cores)}
    begun = time.perf_counter()
    with tempfile.TemporaryFile("w+") as out:
        child = subprocess.Popen(
            ["taskset", "-c", ",".join(str(core) for core in range(cores)), *command], stdout=out, env=environment
        )
        _, status, usage = os.wait4(child.pid, 0)
        seconds = time.perf_counter() - begun
        if os.waitstatus_to_exitcode(status) != 0:
            sys.exit(f"failed: {' '.join(command)}")
        out.seek(0)
        last = (out.read().strip().splitlines() or [""])[-1]
    said = json.loads(last) if last.startswith("{") else {}
    return Measured(seconds, usage.ru_maxrss / 1024, said.get("start", 0.0)), said


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("audio", type=Path)
    parser.add_argument("--peer", type=Path, help="the python of `make peers`")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--hours", type=float, default=10.0)
    parser.add_argument("--work", type=Path, default=Path(tempfile.gettempdir()) / "sondino-embed")
    given = parser.parse_args()
    work: Path = given.work
    work.mkdir(parents=True, exist_ok=True)
    checkpoint, bundle = work / "matpac_mobilenetv3.ckpt", work / "bundle"
    if not bundle.exists():
        convert(write_ssondo(checkpoint, "mobilenetv3"), bundle)
    files = find_audio(given.audio)
    sets = {
        "mixed": mixed(files, work / "mixed", 200, "mixed"),
        "full": full(files, work / "full", 200),
        "thousand": mixed(files, work / "thousand", 1000, "thousand"),
        "long": long(files, work / "long", given.hours),
    }
    ours = [sys.executable, "-m", "sondino", "embed", "--model", str(bundle), "--quiet"]
    plan: list[tuple[str, str, int, list[str]]] = []  # set, tool, cores, command
    for name, cores in (("mixed", 2), ("full", 2), ("mixed", 1), ("full", 1), ("thousand", 2), ("long", 2)):
        folder = str(sets[name].files[0].parent)
        here = [*ours, folder, "--threads", str(cores), "--output", str(work / f"{name}.npz")]
        plan.append((name, "sondino", cores, here))
        if name in ("mixed", "full"):
            native = [*ours, folder, "--threads", str(cores), "--short", "native", "--output", str(work / "native.npz")]
            if name == "mixed":
                plan.append((name, "sondino --short native", cores, native))
            if given.peer:
                listed = work / f"{name}.txt"
                listed.write_text("\n".join(str(file) for file in sets[name].files))
                script = str(Path(__file__).parent / "peer_ssondo.py")
                theirs = [str(given.peer), script, str(checkpoint), str(listed), str(work / f"{name}.peer.npz")]
                plan.append((name, "ssondo 0.3.1", cores, [*theirs, str(cores)]))
    found: dict[tuple[str, str, int], list[Measured]] = {}
    for turn in range(given.repeats):
        for name, tool, cores, command in plan:
            if turn and name in ("thousand", "long"):
                continue
            measured, _ = run(command, cores)
            found.setdefault((name, tool, cores), []).append(measured)
            print(f"{name:9} {tool:24} {cores} cores {measured.seconds:7.2f} s {measured.megabytes:6.0f} MB", flush=True)
    about = provenance("numpy", "onnxruntime", "soundfile", "soxr")
    rows = []
    for (name, tool, cores), runs in found.items():
        seconds = statistics.median(r.seconds for r in runs)
        sounds = sets[name]
        peer = found.get((name, "ssondo 0.3.1", cores))
        rows.append(
            {
                "set": name,
                "files": len(sounds.files),
                "sound_s": f"{sounds.seconds:.0f}",
                "cores": cores,
                "tool": tool,
                "runs": len(runs),
                "median_s": f"{seconds:.2f}",
                "lowest_s": f"{min(r.seconds for r in runs):.2f}",
                "highest_s": f"{max(r.seconds for r in runs):.2f}",
                "files_per_s": f"{len(sounds.files) / seconds:.1f}",
                "ms_per_s_of_sound": f"{1000 * seconds / sounds.seconds:.3f}",
                "peak_mb": f"{max(r.megabytes for r in runs):.0f}",
                "start_s": f"{statistics.median(r.start for r in runs):.2f}" if tool.startswith("ssondo") else "",
                "times_peer": f"{statistics.median(r.seconds for r in peer) / seconds:.2f}" if peer else "",
                "difference": difference(work, name) if tool == "sondino" and peer else "",
                **about,
            }
        )
    write_results("embed", rows)


def difference(work: Path, name: str) -> str:
    """Largest difference of our vectors from the peer's, relative to the largest value, over files of 10 s at most."""
    with np.load(work / f"{name}.npz") as one, np.load(work / f"{name}.peer.npz") as other:
        return f"{np.abs(one['vectors'] - other['vectors']).max() / np.abs(other['vectors']).max():.1e}"


if __name__ == "__main__":
    main()
