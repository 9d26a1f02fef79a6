"""Make unlabelled sound with sound fonts: clips of 5 s at 32 kHz, each a random phrase on random instruments.

A phrase has one to four parts, each with a preset of the font (those of sound effects more often), a scale, register,
rhythm, and loudness of its own; some have a drum part too, none only that. The phrases are written as one long MIDI
file a batch, which the ``fluidsynth`` program renders, and then cut apart. Silent ones are left out.

    apt-get install fluidsynth fluid-soundfont-gm fluid-soundfont-gs timgm6mb-soundfont opl3-soundfont ...
    python benchmarks/soundfont_sound.py OUT --clips 2500 --seed 0

OUT gets ``audio/00000.flac`` and so on, ``manifest.csv`` (path, font, presets, seconds), and ``licences.csv`` (package,
version, licences) for the fonts that come from Debian packages.
"""

import argparse
import csv
import mmap
import subprocess
import tempfile
from pathlib import Path

import numpy as np
import soundfile as sf

from sound_packages import named_licences

RATE = 32000
SECONDS = 5.0
SLOT = 6000  # ticks, of 1 ms, from one phrase to the next
BATCH = 50  # phrases of one MIDI file
DRUMS = 9  # the channel of the drums
FOLDERS = (Path("/usr/share/sounds/sf2"), Path("/usr/share/sounds/sf3"))
SCALES = (range(12), (0, 2, 4, 5, 7, 9, 11), (0, 2, 3, 5, 7, 8, 10), (0, 2, 4, 7, 9), (0, 3, 5, 6, 7, 10), (0, 4, 7))
Rng = np.random.Generator
Preset = tuple[int, int]  # bank and program
Events = list[tuple[int, bytes]]  # ticks and a MIDI message


def wide(rng: Rng, low: float, high: float) -> float:
    """A number spread evenly over the logarithm of a range."""
    return float(low * (high / low) ** rng.random())


def presets(font: Path) -> list[Preset]:
    """The presets of a sound font, read from its ``phdr`` chunk."""
    with font.open("rb") as opened, mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ) as data:
        at = data.rfind(b"phdr")  # after the samples; some fonts lack the pad bytes by which to walk there
        size = int.from_bytes(data[at + 4 : at + 8], "little")
        rows = [data[at + 8 + k + 20 : at + 8 + k + 24] for k in range(0, size - 38, 38)]
    return sorted({(int.from_bytes(row[2:], "little"), int.from_bytes(row[:2], "little")) for row in rows})


def note(events: Events, channel: int, start: float, length: float, key: float, velocity: float) -> None:
    """Write a note, cut off where the phrase ends."""
    end = min(start + max(length, 20), 1000 * SECONDS)
    if start < end and 0 <= key <= 127:
        events.append((int(start), bytes([0x90 | channel, int(key), int(np.clip(velocity, 1, 127))])))
        events.append((int(end), bytes([0x80 | channel, int(key), 0])))


def setting(events: Events, channel: int, time: float, controller: int, value: float) -> None:
    """Write the change of a controller."""
    events.append((int(time), bytes([0xB0 | channel, controller, int(np.clip(value, 0, 127))])))


def part(rng: Rng, events: Events, channel: int, preset: Preset, scale: list[int], step: float) -> None:
    """Write one part of a phrase."""
    effect = 120 <= preset[1] <= 127
    step = step * float(rng.choice([0.5, 1, 1, 2, 4])) * (3 if effect and rng.random() < 0.7 else 1)
    kind, density, legato = rng.integers(6), rng.uniform(0.4, 1), wide(rng, 0.15, 4)
    centre, loud, spread = rng.normal(60, 15), rng.uniform(35, 120), rng.uniform(0, 35)
    keys = [key for key in scale if abs(key - centre) < 20] or [60]
    place, time = len(keys) // 2, float(rng.choice([0, 0, 0, rng.uniform(0, 2000)]))
    pattern = rng.integers(-3, 4, int(rng.integers(2, 9)))
    for controller, most in ((1, 127), (91, 127), (93, 127)):
        setting(events, channel, 0, controller, rng.uniform(0, most) * (rng.random() < 0.4))
    setting(events, channel, 0, 64, 127 * (rng.random() < 0.15))
    if rng.random() < 0.2:  # a swell or a fade
        ramp = np.linspace(rng.uniform(20, 127), rng.uniform(20, 127), 20)
        for number, value in enumerate(ramp):
            setting(events, channel, number * 250, 11, value)
    if rng.random() < 0.15:  # pitch that bends
        for number, value in enumerate(np.clip(np.cumsum(rng.normal(0, 1200, 50)) + 8192, 0, 16383).astype(int)):
            events.append((number * 100, bytes([0xE0 | channel, int(value) & 127, int(value) >> 7])))
    count = 0
    while time < 1000 * SECONDS:
        length = step * (1 if kind == 3 else float(rng.choice([0.5, 1, 1, 1.5, 2])))
        if rng.random() < density or not count:
            velocity = loud + rng.uniform(-spread, spread)
            if kind == 0:  # a chord
                for offset in range(0, 2 * int(rng.integers(2, 5)), 2):
                    note(events, channel, time, length * legato, keys[(place + offset) % len(keys)], velocity)
            elif kind == 1:  # keys without order
                note(events, channel, time, length * legato, keys[rng.integers(len(keys))], velocity)
            elif kind == 2:  # one held or repeated key
                note(events, channel, time, length * legato, keys[place], velocity)
            else:
                note(events, channel, time, length * legato, keys[place], velocity)
            count += 1
        move = pattern[count % len(pattern)] if kind in (3, 5) else 0 if kind == 2 else rng.integers(-2, 3)
        place = int(np.clip(place + move, 0, len(keys) - 1))
        time += length


def drum_part(rng: Rng, events: Events, step: float) -> None:
    """Write a pattern for the drums."""
    for _ in range(rng.integers(1, 5)):
        key, pattern = int(rng.integers(35, 82)), rng.random(int(rng.integers(2, 17))) < rng.uniform(0.15, 0.7)
        loud = rng.uniform(30, 110)
        for number in range(int(1000 * SECONDS / step)):
            if pattern[number % len(pattern)]:
                note(events, DRUMS, number * step, 100, key, loud + rng.uniform(-15, 15))


def phrase(rng: Rng, melodic: list[Preset], kits: list[Preset]) -> tuple[Events, list[Preset]]:
    """The MIDI messages of a phrase, and the presets in it."""
    events: Events = []
    weights = np.array([4.0 if 120 <= program <= 127 else 1.0 for _, program in melodic])
    count = int(rng.choice([1, 2, 3, 4], p=(0.45, 0.25, 0.18, 0.12)))
    chosen = [melodic[k] for k in rng.choice(len(melodic), count, p=weights / weights.sum())]
    root, steps, step = int(rng.integers(12)), set(SCALES[rng.integers(len(SCALES))]), wide(rng, 70, 700)
    scale = [key for key in range(12, 116) if (key - root) % 12 in steps]
    drums = bool(kits) and rng.random() < 0.2
    used = chosen + ([kits[rng.integers(len(kits))]] if drums else [])
    for number, (bank, program) in enumerate(used):
        channel = DRUMS if number == count else number
        setting(events, channel, 0, 121, 0)  # all controllers back
        if channel != DRUMS:
            setting(events, channel, 0, 0, bank)
        events.append((0, bytes([0xC0 | channel, program])))
        setting(events, channel, 0, 7, rng.uniform(50, 127))
        if channel != DRUMS:
            part(rng, events, channel, (bank, program), scale, step)
    if drums:
        drum_part(rng, events, step / 2)
    for channel in (*range(4), DRUMS):
        setting(events, channel, SLOT - 900, 64, 0)
        setting(events, channel, SLOT - 900, 120, 0)  # all sound off
    return sorted(events, key=lambda event: event[0]), used


def number_bytes(value: int) -> bytes:
    """A number as MIDI files write times."""
    out = [value & 127]
    while value := value >> 7:
        out.insert(0, 128 | value & 127)
    return bytes(out)


def midi_file(phrases: list[Events]) -> bytes:
    """A MIDI file of the phrases, one after another, with a tick of 1 ms."""
    body, now = bytearray(), 0
    for number, events in enumerate(phrases):
        for time, message in events:
            body += number_bytes(number * SLOT + time - now) + message
            now = number * SLOT + time
    body += number_bytes(len(phrases) * SLOT - now) + b"\xff\x2f\x00"
    return b"MThd\0\0\0\6\0\0\0\1" + (500).to_bytes(2, "big") + b"MTrk" + len(body).to_bytes(4, "big") + bytes(body)


def rendered(font: Path, midi: bytes, reverb: bool, chorus: bool) -> np.ndarray:
    """What fluidsynth plays, in mono."""
    with tempfile.TemporaryDirectory() as folder:
        song, wave = Path(folder) / "phrases.mid", Path(folder) / "phrases.wav"
        song.write_bytes(midi)
        options = [
            "-g",
            "0.4",
            "-r",
            str(RATE),
            "-T",
            "wav",
            "-O",
            "float",
            "-R",
            str(int(reverb)),
            "-C",
            str(int(chorus)),
        ]
        command = ["fluidsynth", "-niq", *options, "-F", str(wave), str(font), str(song)]
        subprocess.run(command, check=True, capture_output=True)
        samples, _ = sf.read(wave, dtype="float32", always_2d=True)
        mono: np.ndarray = samples.mean(1)
        return mono


def write_licences(table: Path, fonts: list[Path]) -> None:
    """Write the package, version, and licences of each font."""

    def text(*command: str) -> str:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    rows = set()
    for font in fonts:
        package = text("dpkg-query", "-S", str(font)).split(":")[0]
        version = text("dpkg-query", "-W", "-f", "${Version}", package)
        licences = named_licences(Path(f"/usr/share/doc/{package}/copyright").read_text())
        rows.add((package, version, licences))
    with table.open("w", newline="") as opened:
        csv.writer(opened, lineterminator="\n").writerows([("package", "version", "licences"), *sorted(rows)])


def main() -> None:
    """Make the clips."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, help="the folder to fill")
    parser.add_argument("fonts", type=Path, nargs="*", help="sound fonts (default: those of /usr/share/sounds)")
    parser.add_argument("--clips", type=int, default=2500, help="how many (default: 2500)")
    parser.add_argument("--seed", type=int, default=0, help="another seed gives other clips (default: 0)")
    args = parser.parse_args()
    found = [file for folder in FOLDERS for file in sorted(folder.glob("*.sf[23]")) if not file.is_symlink()]
    fonts: list[Path] = args.fonts or found
    if not fonts:
        parser.error("no sound fonts")
    (args.out / "audio").mkdir(parents=True, exist_ok=True)
    if not args.fonts:
        write_licences(args.out / "licences.csv", fonts)
    available = [presets(font) for font in fonts]
    clips, batch, tries = 0, 0, 3 * args.clips // BATCH + 10
    with (args.out / "manifest.csv").open("w", newline="") as opened:
        table = csv.writer(opened, lineterminator="\n")
        table.writerow(["path", "font", "presets", "seconds"])
        while clips < args.clips and batch < tries:
            rng, which = np.random.default_rng([args.seed, batch]), batch % len(fonts)
            melodic = [preset for preset in available[which] if preset[0] < 128]
            kits = [preset for preset in available[which] if preset[0] == 128]
            phrases = [phrase(rng, melodic, kits) for _ in range(BATCH)]
            midi = midi_file([events for events, _ in phrases])
            sound = rendered(fonts[which], midi, bool(rng.random() < 0.6), bool(rng.random() < 0.5))
            for number, (_, used) in enumerate(phrases):
                begin = number * SLOT * RATE // 1000
                samples = sound[begin : begin + int(SECONDS * RATE)]
                gain = 10 ** (rng.uniform(-20, -0.3) / 20)
                if clips == args.clips or len(samples) < SECONDS * RATE or np.sqrt(np.mean(samples**2)) < 3e-4:
                    continue
                path = f"audio/{clips:05d}.flac"
                sf.write(args.out / path, gain * samples / np.abs(samples).max(), RATE, "PCM_16")
                names = " ".join(f"{bank}:{program}" for bank, program in used)
                table.writerow([path, fonts[which].name, names, SECONDS])
                clips += 1
            opened.flush()
            batch += 1
    print(f"{clips} clips, {clips * SECONDS / 3600:.2f} h, {batch} batches of {BATCH}")


if __name__ == "__main__":
    main()
