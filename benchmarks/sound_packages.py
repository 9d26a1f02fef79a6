"""Gather unlabelled sound from Debian packages: clips of at most 10 s, a manifest, and the licences.

The packages are those of a list, one name a line (``sound_packages.txt``). Each is downloaded with ``apt-get download``
and read without being installed. Audio files are taken from it, those inside zip-like archives (game data) included,
and Ogg streams and RIFF waves from a few kinds of data file that simply hold them one after another (these carry
made-up names, ``stream_000.ogg``). Left out are files under 0.5 s, silent ones, and exact duplicates.

    python benchmarks/sound_packages.py OUT --exclude labels.csv --have manifest.csv --skip 'drum|instrument'

OUT gets ``audio/PACKAGE/``, ``manifest.csv`` (path, package, version, source_path, start, seconds), ``licences.csv``
(package, version, licences named in debian/copyright), and ``copyright/PACKAGE.txt``. What a package gave is kept in
``done/PACKAGE.json``; a second run skips the packages that have one. It needs apt and dpkg-deb (Debian 12).
"""

import argparse
import csv
import gzip
import hashlib
import json
import re
import shutil
import subprocess
import tarfile
import tempfile
import time
import zipfile
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from math import gcd
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import soundfile as sf
from scipy.signal import resample_poly

AUDIO = {".wav", ".ogg", ".oga", ".opus", ".flac", ".mp3", ".au", ".aif", ".aiff"}
ZIPPED = {
    ".zip",
    ".pk3",
    ".pk4",
    ".pkz",
    ".wz",
    ".love",
    ".jar",
    ".sb",
    ".sb2",
    ".sb3",
    ".dat",
    ".rbz",
    ".kwad",
    ".xrs",
}
CARVED = {".rcc", ".cat", ".dat", ".1c", ".pak"}
CLIP = 10.0  # seconds of a clip cut from a longer file
WHOLE = 11.0  # a file up to this long stays in one piece
LEAST = 0.5  # seconds of the shortest file taken
SILENT = 10 ** (-55 / 20)  # the root mean square below which a clip is silent
TOP_RATE = 48000
Spans = dict[tuple[str, str], list[tuple[float, float]]]


@dataclass
class Limits:
    """What is taken of a file and of a package, and what is left out."""

    clips: int  # of one file
    minutes: float  # of one package
    skip: re.Pattern[str] | None
    exclude: set[tuple[str, str]]  # (package, source path) of files to leave out
    have: Spans  # parts of files that are there already


@dataclass
class Found:
    """What one package gave."""

    package: str
    version: str = ""
    megabytes: float = 0.0
    licences: str = ""
    files: int = 0  # audio files in the package
    failed: list[str] = field(default_factory=list)
    excluded: list[str] = field(default_factory=list)  # hashes of the files left out by name
    clips: list[dict[str, Any]] = field(default_factory=list)


def ogg_streams(data: bytes) -> Iterator[bytes]:
    """The Ogg streams that lie whole in some bytes, one after another or with other bytes between."""
    at = data.find(b"OggS")
    while at >= 0:
        first = at
        while data[at : at + 4] == b"OggS" and at + 27 <= len(data):
            table = at + 27
            segments = data[at + 26]
            last = data[at + 5] & 4
            at = table + segments + sum(data[table : table + segments])
            if last:
                break
        if data[first + 5] & 2 and at > first:
            yield data[first:at]
        at = data.find(b"OggS", max(at, first + 4))


def riff_waves(data: bytes) -> Iterator[bytes]:
    """The RIFF waves that lie whole in some bytes."""
    at = data.find(b"RIFF")
    while at >= 0:
        size = int.from_bytes(data[at + 4 : at + 8], "little") + 8
        if data[at + 8 : at + 12] == b"WAVE" and at + size <= len(data):
            yield data[at : at + size]
            at = data.find(b"RIFF", at + size)
        else:
            at = data.find(b"RIFF", at + 4)


def inside(path: Path, name: str, failed: list[str]) -> Iterator[tuple[str, bytes]]:
    """The audio files inside an archive or data file, each under ``_z/`` and the archive's name; others are listed."""
    archive, suffix = PurePosixPath(name).name, PurePosixPath(name).suffix.lower()
    if suffix in ZIPPED and zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as opened:
            for member in opened.infolist():
                if PurePosixPath(member.filename).suffix.lower() in AUDIO and member.file_size:
                    try:
                        yield f"_z/{archive}/{member.filename}", opened.read(member)
                    except (zipfile.BadZipFile, NotImplementedError, RuntimeError) as error:
                        failed.append(f"{name}: {member.filename}: {error}"[:300])
    elif suffix in CARVED:
        data = path.read_bytes()
        for number, stream in enumerate(ogg_streams(data)):
            yield f"_z/{archive}/stream_{number:03d}.ogg", stream
        for number, wave in enumerate(riff_waves(data)):
            yield f"_z/{archive}/riff_{number:03d}.wav", wave


def unpack(deb: Path, folder: Path, failed: list[str]) -> tuple[list[tuple[str, Path]], str]:
    """The audio files of a package, as (path in the package, file in the folder), and its copyright text."""
    files: list[tuple[str, Path]] = []
    copyright_text = ""

    names: set[str] = set()

    def keep(name: str, data: bytes) -> None:
        if name in names:  # two archives of one name
            return
        names.add(name)
        file = folder / f"{len(files):06d}{PurePosixPath(name).suffix.lower()}"
        file.write_bytes(data)
        files.append((name, file))

    with (
        subprocess.Popen(["dpkg-deb", "--fsys-tarfile", str(deb)], stdout=subprocess.PIPE) as process,
        tarfile.open(fileobj=process.stdout, mode="r|") as tar,
    ):
        for member in tar:
            name = member.name.removeprefix("./")
            if not member.isfile() or (source := tar.extractfile(member)) is None:
                continue
            suffixes = [suffix.lower() for suffix in PurePosixPath(name).suffixes]
            last = suffixes[-1] if suffixes else ""
            if last in AUDIO:
                keep(name, source.read())
            elif last == ".gz" and len(suffixes) > 1 and suffixes[-2] in AUDIO:
                keep(name.removesuffix(".gz"), gzip.decompress(source.read()))
            elif last in ZIPPED | CARVED:
                archive = folder / "archive"
                with archive.open("wb") as copy:
                    shutil.copyfileobj(source, copy)
                for inner, data in inside(archive, name, failed):
                    keep(inner, data)
                archive.unlink()
            elif name.startswith("usr/share/doc/") and name.endswith("/copyright"):
                copyright_text = source.read().decode("utf-8", "replace")
    return files, copyright_text


def named_licences(copyright_text: str) -> str:
    """The licences that a debian/copyright names: its License fields, or the words of one written as free text."""
    fields = re.findall(r"^License:[ \t]*(\S.*)$", copyright_text, re.MULTILINE)
    if not fields:
        known = r"GPL|LGPL|Creative Commons[\w \-.]*|CC[- ]BY[\w \-.]*|CC0|(?i:public domain)|BSD|MIT|Artistic|zlib"
        fields = re.findall(known, copyright_text)
    return "; ".join(dict.fromkeys(text.strip() for text in fields))


def mono(samples: np.ndarray) -> np.ndarray:
    """The mean of the channels, or the first where they cancel each other."""
    mixed: np.ndarray = samples.mean(1)
    loudest = np.abs(samples).max(initial=0.0)
    return samples[:, 0] if np.abs(mixed).max(initial=0.0) < 0.1 * loudest else mixed


def clip_starts(seconds: float, clips: int, have: list[tuple[float, float]]) -> list[float]:
    """Where to cut clips from a long file: spread over it, none that overlaps a part that is there already."""
    number = min(clips, int(seconds // CLIP))
    room = seconds - CLIP
    starts = [room / 2] if number == 1 else [room * k / (number - 1) for k in range(number)]
    return [round(s, 3) for s in starts if all(s + CLIP <= start or s >= start + length for start, length in have)]


def sound_of(samples: np.ndarray) -> bool:
    """Whether a clip is more than silence."""
    return bool(samples.size) and bool(np.isfinite(samples).all()) and float(np.sqrt(np.mean(samples**2))) > SILENT


def digest(samples: np.ndarray, rate: int) -> str:
    """A hash of the samples at 16 bits, the same for the same sound in two lossless formats."""
    whole = (np.clip(samples, -1, 1) * 32767).astype(np.int16)
    return hashlib.sha1(whole.tobytes() + str(rate).encode()).hexdigest()


def take(package: str, name: str, file: Path, out: Path, seconds_left: float, limits: Limits) -> list[dict[str, Any]]:
    """Write one audio file's clips and return their rows."""
    rows = []
    have = limits.have.get((package, name), [])
    slug = re.sub(r"[^A-Za-z0-9]+", "_", PurePosixPath(name).stem)[:40].strip("_")
    stem = f"{hashlib.sha1(name.encode()).hexdigest()[:8]}_{slug}"
    with sf.SoundFile(file) as source:
        rate, seconds = source.samplerate, source.frames / source.samplerate
        whole = seconds <= WHOLE
        if seconds < LEAST or (whole and have):
            return []
        starts = [0.0] if whole else clip_starts(seconds, limits.clips, have)
        for number, start in enumerate(starts):
            source.seek(int(start * rate))
            read = source.read(-1 if whole else int(CLIP * rate), dtype="float32", always_2d=True)
            if len(read) < LEAST * rate or not sound_of(read):
                continue
            length = len(read) / rate
            if length > seconds_left:
                break
            key = digest(mono(read), rate)
            copied = whole and source.channels <= 2 and rate <= TOP_RATE
            path = out / f"{stem}{file.suffix}" if copied else out / f"{stem}_{number:02d}.flac"
            if copied:
                shutil.copyfile(file, path)
            else:
                samples, new_rate = mono(read), rate
                if rate > TOP_RATE:
                    new_rate, common = TOP_RATE, gcd(TOP_RATE, rate)
                    samples = resample_poly(samples, TOP_RATE // common, rate // common)
                sf.write(path, np.clip(samples, -1, 1), new_rate, "PCM_16", format="FLAC")
            seconds_left -= length
            rows.append(
                {"path": path.name, "source_path": name, "start": start, "seconds": round(length, 3), "hash": key}
            )
    return rows


def gather(package: str, out: Path, limits: Limits) -> Found:
    """Download one package and take its sound."""
    found = Found(package)
    with tempfile.TemporaryDirectory() as text:
        folder = Path(text)
        run = subprocess.run(["apt-get", "download", package], cwd=folder, capture_output=True, text=True)
        debs = list(folder.glob("*.deb"))
        if run.returncode or not debs:
            found.failed.append(f"download: {run.stderr.strip()[-200:]}")
            return found
        found.megabytes = round(debs[0].stat().st_size / 1e6, 1)
        query = ["dpkg-deb", "-f", str(debs[0]), "Version"]
        found.version = subprocess.run(query, capture_output=True, text=True, check=True).stdout.strip()
        files, copyright_text = unpack(debs[0], folder, found.failed)
        found.files, found.licences = len(files), named_licences(copyright_text)
        # in the order of a hash of the name, so that a package over its limit gives a sample of all its folders
        files.sort(key=lambda pair: hashlib.sha1(pair[0].encode()).digest())
        audio = out / "audio" / package
        audio.mkdir(parents=True, exist_ok=True)
        left = limits.minutes * 60
        for name, file in files:
            try:
                if (package, name) in limits.exclude:
                    if sf.info(file).duration <= 60:
                        samples, rate = sf.read(file, dtype="float32", always_2d=True)
                        found.excluded.append(digest(mono(samples), rate))
                elif left >= LEAST and not (limits.skip and limits.skip.search(name)):
                    rows = take(package, name, file, audio, left, limits)
                    left -= sum(row["seconds"] for row in rows)
                    found.clips += rows
            except (sf.LibsndfileError, ValueError, RuntimeError) as error:
                found.failed.append(f"{name}: {error}"[:300])
            file.unlink()
        if found.clips:
            (out / "copyright").mkdir(exist_ok=True)
            (out / "copyright" / f"{package}.txt").write_text(copyright_text)
        else:
            audio.rmdir()
    return found


def write_tables(out: Path) -> tuple[int, float]:
    """Write manifest.csv and licences.csv from the clips that are there; the number of clips, and their hours."""
    packages = [json.loads(file.read_text()) for file in sorted((out / "done").glob("*.json"))]
    seen = {key for found in packages for key in found["excluded"]}
    clips, seconds = 0, 0.0
    with (
        (out / "manifest.csv").open("w", newline="") as manifest,
        (out / "licences.csv").open("w", newline="") as table,
    ):
        rows, licences = csv.writer(manifest, lineterminator="\n"), csv.writer(table, lineterminator="\n")
        rows.writerow(["path", "package", "version", "source_path", "start", "seconds"])
        licences.writerow(["package", "version", "licences"])
        for found in packages:
            package, version, before = found["package"], found["version"], clips
            for clip in found["clips"]:
                path = f"audio/{package}/{clip['path']}"
                if clip["hash"] in seen or not (out / path).exists():
                    (out / path).unlink(missing_ok=True)
                    continue
                seen.add(clip["hash"])
                rows.writerow([path, package, version, clip["source_path"], clip["start"], clip["seconds"]])
                clips, seconds = clips + 1, seconds + clip["seconds"]
            if clips > before:
                licences.writerow([package, version, found["licences"]])
    return clips, seconds / 3600


def main() -> None:
    """Gather the packages of a list."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, help="the folder to fill")
    parser.add_argument("--packages", type=Path, default=Path(__file__).with_suffix(".txt"), help="one name a line")
    parser.add_argument(
        "--exclude", type=Path, action="append", default=[], help="CSV (package, source_path): files to leave out"
    )
    parser.add_argument(
        "--have",
        type=Path,
        action="append",
        default=[],
        help="a manifest.csv of parts that were gathered already",
    )
    parser.add_argument("--skip", type=re.compile, help="leave out files whose path matches this regular expression")
    parser.add_argument("--clips", type=int, default=10, help="most clips of one file (default: 10)")
    parser.add_argument("--minutes", type=float, default=45, help="most minutes of one package (default: 45)")
    parser.add_argument("--hours", type=float, default=25, help="stop after this many hours of sound (default: 25)")
    parser.add_argument("--gigabytes", type=float, default=6, help="stop after this many downloaded (default: 6)")
    parser.add_argument("--until", help="start no package after this time of day, HH:MM")
    args = parser.parse_args()

    limits = Limits(args.clips, args.minutes, args.skip, set(), defaultdict(list))
    for table in args.exclude:
        with table.open(newline="") as opened:
            limits.exclude |= {(row["package"], row["source_path"]) for row in csv.DictReader(opened)}
    for table in args.have:
        with table.open(newline="") as opened:
            for row in csv.DictReader(opened):
                span = (float(row["start"]), float(row["seconds"]))
                limits.have[row["package"], row["source_path"]].append(span)
    done = args.out / "done"
    done.mkdir(parents=True, exist_ok=True)
    records = [json.loads(file.read_text()) for file in done.glob("*.json")]
    megabytes = sum(found["megabytes"] for found in records)
    seconds = sum(clip["seconds"] for found in records for clip in found["clips"])
    for package in args.packages.read_text().split():
        record = done / f"{package}.json"
        if record.exists():
            continue
        late = args.until and time.strftime("%H:%M") >= args.until
        if late or seconds >= args.hours * 3600 or megabytes >= args.gigabytes * 1000:
            print("stopped at a limit before", package)
            break
        began = time.monotonic()
        found = gather(package, args.out, limits)
        if found.version:  # what could not be downloaded is tried again by the next run
            record.write_text(json.dumps(vars(found)))
        kept = sum(clip["seconds"] for clip in found.clips)
        megabytes, seconds = megabytes + found.megabytes, seconds + kept
        print(
            f"{package}: {found.megabytes} MB, {found.files} files, {len(found.clips)} clips, {kept / 60:.1f} min, "
            f"{len(found.failed)} failed, {time.monotonic() - began:.1f} s; {seconds / 3600:.2f} h in all",
            flush=True,
        )
    clips, hours = write_tables(args.out)
    print(f"{clips} clips, {hours:.2f} h, {megabytes / 1000:.2f} GB downloaded")


if __name__ == "__main__":
    main()
