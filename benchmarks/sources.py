"""What a corpus costs where its sound lies: bytes and requests from a store, and memory from Parquet with audio inside.

The store is moto's S3 server in this process, which counts the bodies of its answers; it needs `pip install
'moto[server]' 'sondino[remote]'`. Sound is noise. The recordings are the same bytes but for a few. Parquet is scanned
and embedded by a cheap teacher in separate processes; their peak memory includes Python and the libraries (measured
too, as "before"). Everything lies in a temporary folder and is removed.

    python benchmarks/sources.py [--recordings 50] [--groups 3] [--folder /tmp]
"""

import argparse
import io
import json
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from provenance import provenance, write_results

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
RECORDING_SECONDS, RATE = 600, 48_000
MEMBERS = 45
GROUP_BYTES = 180_000_000


class Cheap:
    """A teacher that costs nothing: the mean and the root mean square of what it embeds."""

    name, dim, fingerprint = "cheap", 2, "cheap-1"
    sample_rate, window = 16_000, None

    def embed(self, waveforms: np.ndarray) -> np.ndarray:
        """Mean and root mean square (batch, 2)."""
        return np.stack([waveforms.mean(1), np.sqrt((waveforms**2).mean(1))], 1).astype(np.float32)


def noise(seconds: float, rate: int, suffix: str, subtype: str, seed: int = 0) -> bytes:
    """A file of noise."""
    file = io.BytesIO()
    samples = (0.1 * np.random.default_rng(seed).standard_normal(round(seconds * rate))).astype(np.float32)
    soundfile.write(file, samples, rate, format=suffix, subtype=subtype)
    return file.getvalue()


# --- a store ------------------------------------------------------------------------------------------------------


def from_store(folder: Path, recordings: int) -> Iterator[dict[str, Any]]:
    """Bytes and requests of a scan, of a tar's members, and of windows."""
    from helpers.stores import s3_server
    from sondino.audio.reading import info, read
    from sondino.corpus.sources import Place, open_source
    from sondino.corpus.table import build_corpus
    from sondino.corpus.targets import compute_targets

    with s3_server() as s3:

        def counted(what: str, work: Callable[[], object], files: int) -> dict[str, Any]:
            s3.counter.reset()
            work()
            asked = s3.counter.requests
            return {
                "what": what,
                "files": files,
                "requests": len(asked),
                "megabytes": round(s3.counter.bytes / 1e6, 3),
                "kilobytes_a_file": round(s3.counter.bytes / files / 1e3, 1),
            }

        recording = bytearray(noise(RECORDING_SECONDS, RATE, "WAV", "PCM_16"))
        for number in range(recordings):
            recording[1000:1004] = number.to_bytes(4, "little")
            s3.put(f"recordings/{number:03d}.wav", bytes(recording))
        size = len(recording)
        one = "s3://sounds/recordings/000.wav"
        yield counted(f"header of a WAV of {size / 1e6:.1f} MB, s3fs as it comes", lambda: _as_it_comes(one, info), 1)
        yield counted(
            f"corpus of WAVs of {size / 1e6:.1f} MB",
            lambda: build_corpus("s3://sounds/recordings", folder / "recordings"),
            recordings,
        )
        del recording

        packed = io.BytesIO()
        with tarfile.open(fileobj=packed, mode="w") as tar:
            for number in range(MEMBERS):
                member = tarfile.TarInfo(f"{number:02d}.wav")
                content = noise(10, 16_000, "WAV", "PCM_16", number)
                member.size = len(content)
                tar.addfile(member, io.BytesIO(content))
        s3.put("shards/0.tar", packed.getvalue())
        name = f"tar of {len(packed.getvalue()) / 1e6:.1f} MB"
        from sondino.corpus.sources import list_audio

        yield counted(f"{name}: members found", lambda: list_audio("s3://sounds/shards"), MEMBERS)
        yield counted(
            f"{name}: corpus, members found and read for hash and length",
            lambda: build_corpus("s3://sounds/shards", folder / "shards"),
            MEMBERS,
        )
        corpus = build_corpus("s3://sounds/shards", folder / "shards")
        yield counted(f"{name}: targets of all", lambda: compute_targets(corpus, Cheap()), MEMBERS)

        long = noise(RECORDING_SECONDS, RATE, "FLAC", "PCM_16")
        s3.put("long.flac", long)
        name = f"10 s of a FLAC of {len(long) / 1e6:.1f} MB"
        place = Place("long.flac", length=len(long))
        starts = [RECORDING_SECONDS * (number + 0.5) / 10 for number in range(10)]

        def windows() -> None:
            for start in starts:
                with open_source("s3://sounds", place) as opened:
                    read(opened, 16_000, start, 10)

        def plain_windows() -> None:
            for start in starts:
                _as_it_comes("s3://sounds/long.flac", partial(read, sample_rate=16_000, start=start, duration=10))

        yield counted(f"{name}, s3fs as it comes, ten times", plain_windows, 10)
        yield counted(f"{name}, ten times", windows, 10)


def _as_it_comes(url: str, work: Callable[[Any], object]) -> None:
    import fsspec

    with fsspec.open(url, "rb") as opened:
        work(opened)


# --- Parquet ------------------------------------------------------------------------------------------------------


def write_parquet(file: Path, groups: int, **options: bool) -> int:
    """The hub's layout: a column of struct{bytes, path}, row groups of 180 MB; the rows in all."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    features = {"info": {"features": {"audio": {"_type": "Audio"}}}}
    schema = pa.schema([("audio", kind)], metadata={"huggingface": json.dumps(features)})
    rows = 0
    with pq.ParquetWriter(file, schema, **options) as out:
        for group in range(groups):
            cells: list[dict[str, bytes | str]] = []
            size = 0
            while size < GROUP_BYTES:
                content = noise(10, 48_000, "WAV", "PCM_24", 1000 * group + len(cells))
                cells.append({"bytes": content, "path": f"{len(cells)}.wav"})
                size += len(content)
            rows += len(cells)
            out.write_table(pa.table({"audio": pa.array(cells, kind)}, schema), row_group_size=len(cells))
    return rows


def in_process(what: str, source: Path, out: Path) -> None:
    """Scan, or embed what was scanned, in this process; prints its peak memory as JSON."""
    from sondino.corpus.table import build_corpus, open_corpus
    from sondino.corpus.targets import compute_targets

    before = _peak()
    if what == "corpus":
        rows = len(build_corpus(source, out))
    else:
        part_rows = 256 if what == "targets, parts of 256" else None
        rows = len(compute_targets(open_corpus(out), Cheap(), part_rows=part_rows))
    print(json.dumps({"files": rows, "peak_mb": round(_peak()), "before_mb": round(before)}))


def _peak() -> float:
    """Megabytes that this program held at most; what getrusage gives begins with what its parent held."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024


def from_parquet(folder: Path, groups: int) -> Iterator[dict[str, Any]]:
    """Peak memory of a scan and of targets, with pages of 1 MB and with one page a row group."""
    file = folder / "sounds.parquet"
    for pages, options in (
        ("as datasets 5 writes", {"use_content_defined_chunking": True, "write_page_index": True}),
        ("as pyarrow writes", {}),
    ):
        write_parquet(file, groups, **options)
        name = f"Parquet {pages}, {groups} row groups of {file.stat().st_size / groups / 1e6:.0f} MB"
        for what in ("corpus", "targets", "targets, parts of 256"):
            out = folder / "parquet"
            if what != "corpus":
                subprocess.run(_again("corpus", file, out), check=True, stdout=subprocess.DEVNULL)
            done = subprocess.run(_again(what, file, out), check=True, stdout=subprocess.PIPE, text=True)
            yield {"what": f"{name}: {what}"} | json.loads(done.stdout.splitlines()[-1])
            shutil.rmtree(out)


def _again(what: str, source: Path, out: Path) -> list[str]:
    return [sys.executable, __file__, "--one", what, str(source), str(out)]


def main() -> None:
    """Measure and write results/sources.csv."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--recordings", type=int, default=50)
    parser.add_argument("--groups", type=int, default=3)
    parser.add_argument("--folder", type=Path, default=None, help="where the temporary folder is made")
    parser.add_argument("--one", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        in_process(options.one[0], Path(options.one[1]), Path(options.one[2]))
        return
    versions = provenance("pyarrow", "fsspec", "s3fs", "moto", "soundfile")
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        folder = Path(name)
        rows = [*from_parquet(folder, options.groups), *from_store(folder, options.recordings)]
    columns = ("what", "files", "requests", "megabytes", "kilobytes_a_file", "peak_mb", "before_mb")
    write_results("sources", [{name: row.get(name, "") for name in columns} | versions for row in rows])


if __name__ == "__main__":
    main()
