"""Whole `sondino embed` commands beside an older build, the published package, and YAMNet and BirdNET in LiteRT.

    python benchmarks/speed.py AUDIO --before OLDER_CHECKOUT [--peer .peers/bin/python] [--yamnet FILE] [--birdnet FILE]
        [--repeats 5] [--work FOLDER]

AUDIO is a folder of real audio. Sets as in embed.py: `full`, 200 WAV files of 10 s at 48 kHz; `effects`, 200 files of
at most 4 s in five formats; `many`, the files of `full` ten times. Each run is a process pinned to its cores, in turn
with the others; peak memory is that of the operating system. Writes results/speed.csv: seconds, the seconds of the same
tool for one file of 0.1 s, and by how much the first command of the set and model is faster, start included.
"""

import argparse
import os
import statistics
import sys
import tempfile
from pathlib import Path

import numpy as np
import soundfile

from embed import Measured, full, mixed, published_model, run
from provenance import provenance, write_results
from sondino.audio.signal import resample
from sondino.audio.walk import find_audio

HERE = Path(__file__).parent
YAMNET, BIRDNET = ("16000", "15600"), ("48000", "144000")  # hertz, samples of a window


def sets_of(audio: Path, work: Path) -> dict[str, list[Path]]:
    """The files of each set."""
    files = find_audio(audio)
    short = [file for file in files if soundfile.info(file).duration <= 4.0]
    clips = []
    (work / "full48").mkdir(parents=True, exist_ok=True)
    for file in full(files, work / "full", 200).files:
        clip, rate = soundfile.read(file, dtype="float32")
        target = work / "full48" / file.name
        soundfile.write(target, resample(clip, rate, 48000)[:480000], 48000, subtype="PCM_16")
        clips.append(target)
    (work / "many").mkdir(exist_ok=True)
    many = []
    for turn in range(10):
        for clip in clips:
            link = work / "many" / f"{turn}_{clip.name}"
            if not link.exists():
                os.link(clip, link)
            many.append(link)
    (work / "start").mkdir(exist_ok=True)
    soundfile.write(work / "start" / "one.wav", np.zeros(4800, np.float32), 48000)
    effects = mixed(short, work / "effects", 200, "effects").files
    return {"start": [work / "start" / "one.wav"], "full": clips, "effects": effects, "many": many}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("audio", type=Path)
    parser.add_argument("--before", type=Path, required=True, help="a checkout of an older version")
    parser.add_argument("--peer", type=Path, help="the python of `make peers`")
    parser.add_argument("--yamnet", type=Path)
    parser.add_argument("--birdnet", type=Path)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--work", type=Path, default=Path(tempfile.gettempdir()) / "sondino-speed")
    given = parser.parse_args()
    work: Path = given.work
    work.mkdir(parents=True, exist_ok=True)
    checkpoint, bundle = published_model(work)
    sets = sets_of(given.audio, work)

    def embed(source: Path, name: str, model: str | Path, cores: int, *more: str) -> list[str]:
        command = ["env", f"PYTHONPATH={source.resolve() / 'src'}", sys.executable, "-m", "sondino", "embed"]
        command += [str(sets[name][0].parent), "--model", str(model), "--output", str(work / "out.npz")]
        return [*command, "--threads", str(cores), "--quiet", *more]

    def script(python: Path | str, file: str, name: str, *arguments: object) -> list[str]:
        listed = work / f"{name}.txt"
        listed.write_text("\n".join(str(file) for file in sets[name]))
        options = [str(listed) if each == "LIST" else str(each) for each in arguments]
        return [str(python), str(HERE / file), *options]

    def tools(name: str, cores: int) -> dict[tuple[str, str], list[str]]:
        """(model, tool): its command; the first of a model is what the others are compared with."""
        found = {
            ("mobilenetv3", "sondino"): embed(HERE.parent, name, bundle, cores),
            ("mobilenetv3", "sondino --resample always"): embed(
                HERE.parent, name, bundle, cores, "--resample", "always"
            ),
            ("mobilenetv3", "sondino before"): embed(given.before, name, bundle, cores),
        }
        if name == "many":
            auto = embed(HERE.parent, name, bundle, cores, "--precision", "auto")
            return {("mobilenetv3", "sondino --precision auto"): auto, **found}
        if given.peer:
            command = script(given.peer, "peer_ssondo.py", name, checkpoint, "LIST", work / "peer.npz", cores)
            found["mobilenetv3", "ssondo 0.3.1"] = command
        found["small", "sondino"] = embed(HERE.parent, name, "sondino-small", cores)
        found["small", "sondino before"] = embed(given.before, name, "sondino-small", cores)
        for tool, file, facts in (("YAMNet", given.yamnet, YAMNET), ("BirdNET", given.birdnet, BIRDNET)):
            if file:
                out = work / "light.npz"
                command = script(sys.executable, "peer_litert.py", name, file, *facts, "LIST", out, cores)
                found["small", f"{tool} in LiteRT"] = command
        return found

    measured: dict[tuple[str, int, str, str], list[Measured]] = {}
    for turn in range(given.repeats):
        for name, cores in (("start", 1), ("full", 1), ("full", 2), ("effects", 1), ("effects", 2), ("many", 2)):
            for (model, tool), command in tools(name, cores).items():
                if turn and tool == "BirdNET in LiteRT" and turn > 1:
                    continue  # twenty times as long as the others
                if turn == 0 and name == "start":
                    run(command, cores)  # which compiles its modules
                one = run(command, cores)
                measured.setdefault((name, cores, model, tool), []).append(one)
                print(f"{name:8} {cores} {model:12} {tool:26} {one.seconds:7.2f} s {one.megabytes:5.0f} MB", flush=True)
    rows = []
    first: dict[tuple[str, int, str], float] = {}
    for (name, cores, model, tool), runs in measured.items():
        seconds = [each.seconds for each in runs]
        median = statistics.median(seconds)
        ours = first.setdefault((name, cores, model), median)
        start = measured.get(("start", 1, model, tool), [])
        row = {"set": name, "files": len(sets[name]), "cores": cores, "model": model, "tool": tool, "runs": len(runs)}
        row |= {"median_s": f"{median:.2f}", "lowest_s": f"{min(seconds):.2f}", "highest_s": f"{max(seconds):.2f}"}
        row |= {"peak_mb": f"{max(each.megabytes for each in runs):.0f}"}
        row |= {"start_s": f"{statistics.median(each.seconds for each in start):.2f}" if start else ""}
        rows.append(row | {"times_first": f"{median / ours:.2f}"})
    about = provenance("numpy", "onnxruntime", "soundfile", "soxr")
    write_results("speed", [row | about for row in rows])


if __name__ == "__main__":
    main()
