"""Files per second and peak memory of `sondino embed`, compared with the published package.

    python benchmarks/embed.py AUDIO [--peer .peers/bin/python] [--repeats 3] [--hours 10] [--work FOLDER]

AUDIO is a folder of real audio. Sets of files are made from it: `effects`, 200 files of at most 4 s in five formats;
`mixed`, 200 of any length; `full`, 200 WAV files of 10 s; `thousand`, 1,000 files; `long`, one WAV file of so many
hours. Both packages get equal weights (by the rule of tests/helpers/golden.py, in the published file format). Each run
is a separate process, timed from start to end, in turn; `start_s` is the time of the same command for one file of
0.1 s; peak memory is that of the operating system. Writes results/embed.csv.
"""

import argparse
import itertools
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray

from provenance import provenance, write_results
from sondino.audio.walk import find_audio

TESTS = Path(__file__).parents[1] / "tests"

COMPARED = ("start", "effects", "mixed", "full")
PADDED = ("--short", "pad")
HALF = ("--engine", "openvino", "--precision", "bfloat16")
AFTER = (
    "start_s",
    "files_per_s_after_start",
    "ms_per_s_of_sound_after_start",
    "times_peer",
    "times_peer_after_start",
    "difference",
)
OURS, PEER = "sondino", "ssondo 0.3.1"
FORMATS = (("wav", "PCM_16"), ("flac", "PCM_16"), ("ogg", "VORBIS"), ("mp3", None), ("wav", "FLOAT"))


@dataclass(frozen=True)
class ClipSet:
    """A set of files: its name, the files, seconds of sound in all."""

    name: str
    files: list[Path]
    seconds: float


@dataclass(frozen=True)
class Measured:
    """One process: seconds from start to end, MB at the most."""

    seconds: float
    megabytes: float


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


def mixed(files: list[Path], folder: Path, count: int, name: str) -> ClipSet:
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
    return ClipSet(name, made, seconds)


def full(files: list[Path], folder: Path, count: int) -> ClipSet:
    """So many WAV files of 10 s."""
    folder.mkdir(parents=True, exist_ok=True)
    made = []
    for at, piece in zip(range(count), joined(files, 10.0), strict=False):
        target = folder / f"{at:04d}.wav"
        if not target.exists():
            soundfile.write(target, piece, len(piece) // 10, subtype="PCM_16")
        made.append(target)
    return ClipSet("full", made, 10.0 * len(made))


def long(files: list[Path], folder: Path, hours: float) -> ClipSet:
    """One WAV file of so many hours."""
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / f"{hours:g}h.wav"
    pieces = list(itertools.islice(joined(files, 60.0), 30))
    rate = len(pieces[0]) // 60
    if not target.exists():
        with soundfile.SoundFile(target, "w", rate, 1, "PCM_16") as out:
            for minute in range(int(60 * hours)):
                out.write(pieces[minute % len(pieces)])
    return ClipSet("long", [target], 3600.0 * hours)


# What a process holds when it forks, its child is counted with: so a small one stands between.
LAUNCH = """
import os, sys
child = os.spawnvp(os.P_NOWAIT, sys.argv[2], sys.argv[2:])
_, status, usage = os.wait4(child, 0)
open(sys.argv[1], "w").write(str(usage.ru_maxrss))
sys.exit(os.waitstatus_to_exitcode(status))
"""


def run(command: list[str], cores: int) -> Measured:
    """Run a command on so many cores."""
    # Threads that spin while they wait are the peer's default, and here they help it.
    left_out = ("OMP_WAIT_POLICY", "PYTHONDONTWRITEBYTECODE")
    environment = {name: value for name, value in os.environ.items() if name not in left_out}
    # Modules are compiled once, as where a package is installed, and not at each start.
    environment["PYTHONPYCACHEPREFIX"] = str(Path(tempfile.gettempdir()) / "sondino-pycache")
    with tempfile.NamedTemporaryFile("r") as peak:
        launch = [sys.executable, "-S", "-c", LAUNCH, peak.name]
        pinned = ["taskset", "-c", ",".join(str(core) for core in range(cores)), *launch, *command]
        begun = time.perf_counter()
        left = subprocess.run(pinned, stdout=subprocess.DEVNULL, env=environment, check=False)
        seconds = time.perf_counter() - begun
        if left.returncode != 0:
            sys.exit(f"failed: {' '.join(command)}")
        return Measured(seconds, int(peak.read()) / 1024)


def published_model(work: Path) -> tuple[Path, Path]:
    """A MobileNetV3 in the published file format, and the bundle of it; made where they are not there."""
    checkpoint, bundle = work / "matpac_mobilenetv3.ckpt", work / "bundle"
    if not bundle.exists():
        # In a process of its own: what this one holds in memory, its children would be counted with.
        rule = "import sys, pathlib; from helpers.published import write_ssondo as write; "
        rule += "write(pathlib.Path(sys.argv[1]), 'mobilenetv3')"
        subprocess.run([sys.executable, "-c", rule, str(checkpoint.resolve())], check=True, cwd=TESTS)
        subprocess.run([sys.executable, "-m", "sondino", "convert", str(checkpoint), "--out", str(bundle)], check=True)
    return checkpoint, bundle


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
    checkpoint, bundle = published_model(work)
    files = find_audio(given.audio)
    short = [file for file in files if soundfile.info(file).duration <= 4.0]
    sets = {
        "effects": mixed(short, work / "effects", 200, "effects"),
        "mixed": mixed(files, work / "mixed", 200, "mixed"),
        "full": full(files, work / "full", 200),
        "thousand": mixed(files, work / "thousand", 1000, "thousand"),
        "long": long(files, work / "long", given.hours),
    }
    soundfile.write(work / "start.wav", np.zeros(3200, np.float32), 32000)
    sets["start"] = ClipSet("start", [work / "start.wav"], 0.1)

    def ours(name: str, cores: int, *more: str) -> list[str]:
        source = sets[name].files[0] if len(sets[name].files) == 1 else sets[name].files[0].parent
        output = work / f"{name}{''.join(more)}.npz"
        command = [sys.executable, "-m", "sondino", "embed", source, "--model", bundle, "--output", output]
        return [str(part) for part in [*command, "--threads", cores, "--quiet", *more]]

    def theirs(name: str, cores: int) -> list[str]:
        listed = work / f"{name}.txt"
        listed.write_text("\n".join(str(file) for file in sets[name].files))
        script = str(Path(__file__).parent / "peer_ssondo.py")
        return [str(given.peer), script, str(checkpoint), str(listed), str(work / f"{name}.peer.npz"), str(cores)]

    plan: list[tuple[str, str, int, list[str]]] = []  # set, tool, cores, command
    for name, cores in [*((name, cores) for cores in (2, 1) for name in COMPARED), ("thousand", 2), ("long", 2)]:
        plan.append((name, OURS, cores, ours(name, cores)))
        if name in ("effects", "mixed", "full"):
            plan.append((name, f"{OURS} {' '.join(PADDED)}", cores, ours(name, cores, *PADDED)))
        if name == "full" and cores == 2:
            plan.append((name, f"{OURS} {' '.join(HALF)}", cores, ours(name, cores, *HALF)))
        if given.peer and name in COMPARED:
            plan.append((name, PEER, cores, theirs(name, cores)))
    found: dict[tuple[str, str, int], list[Measured]] = {}
    for turn in range(given.repeats):
        for name, tool, cores, command in plan:
            if turn and name in ("thousand", "long"):
                continue
            measured = run(command, cores)
            found.setdefault((name, tool, cores), []).append(measured)
            figures = f"{measured.seconds:7.2f} s {measured.megabytes:6.0f} MB"
            print(f"{name:9} {tool:24} {cores} cores {figures}", flush=True)

    def median(name: str, tool: str, cores: int) -> float:
        return statistics.median(r.seconds for r in found[name, tool, cores])

    about = provenance("numpy", "onnxruntime", "soundfile", "soxr")
    rows = []
    for (name, tool, cores), runs in found.items():
        seconds, sounds = median(name, tool, cores), sets[name]
        start = median("start", PEER if tool == PEER else OURS, cores)
        peer = median(name, PEER, cores) if (name, PEER, cores) in found else None
        after = seconds - start
        row: dict[str, object] = {
            "set": name,
            "files": len(sounds.files),
            "sound_s": f"{sounds.seconds:.1f}",
            "cores": cores,
            "tool": tool,
            "runs": len(runs),
            "median_s": f"{seconds:.2f}",
            "lowest_s": f"{min(r.seconds for r in runs):.2f}",
            "highest_s": f"{max(r.seconds for r in runs):.2f}",
            "peak_mb": f"{max(r.megabytes for r in runs):.0f}",
        }
        more = dict.fromkeys(AFTER, "")
        if name != "start":
            more["start_s"] = f"{start:.2f}"
            more["files_per_s_after_start"] = f"{len(sounds.files) / after:.1f}"
            more["ms_per_s_of_sound_after_start"] = f"{1000 * after / sounds.seconds:.3f}"
            if peer and tool != PEER:
                more["times_peer"] = f"{peer / seconds:.2f}"
                more["times_peer_after_start"] = f"{(peer - median('start', PEER, cores)) / after:.2f}"
                more["difference"] = difference(work, name, tool)
        rows.append({**row, **more, **about})
    write_results("embed", rows)


def difference(work: Path, name: str, tool: str) -> str:
    """Largest difference of our embeddings from the peer's, relative to the largest value."""
    options = "".join(tool.split()[1:])
    with np.load(work / f"{name}{options}.npz") as one, np.load(work / f"{name}.peer.npz") as other:
        return f"{np.abs(one['vectors'] - other['vectors']).max() / np.abs(other['vectors']).max():.1e}"


if __name__ == "__main__":
    main()
