"""Is target extraction bound by the teacher? Its time against the teacher's alone on the same audio, already decoded.

    python benchmarks/target_extraction.py AUDIO TEACHER [TEACHER ...] [--clip 10] [--files 200]

Writes results/target_extraction.csv. A share of 0.9 means that extraction takes at most 1 / 0.9 of the teacher's time.
"""

import argparse
import shutil
import statistics
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from provenance import provenance, write_results
from sondino import audio
from sondino.corpus.table import build_corpus
from sondino.corpus.targets import compute_targets
from sondino.corpus.waveforms import try_clips
from sondino.encoder.encoder import embed_clips
from sondino.teachers import load_teacher


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("audio", type=Path)
    parser.add_argument("teachers", nargs="+")
    parser.add_argument("--clip", type=float, default=10.0)
    parser.add_argument("--files", type=int, default=200)
    parser.add_argument("--repeats", type=int, default=3)
    given = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        found = audio.find_audio(given.audio)
        chosen = found[:: max(1, len(found) // given.files)][: given.files]
        listed = Path(folder) / "list.csv"
        listed.write_text("path\n" + "".join(f"{file.resolve()}\n" for file in chosen))
        corpus = build_corpus(listed, Path(folder) / "corpus", given.clip)
        for spec in given.teachers:
            encoder = load_teacher(spec)
            with ThreadPoolExecutor() as pool:
                decoded = try_clips(corpus, range(len(corpus)), encoder.sample_rate, pool)
            clips = [clip for clip in decoded if not isinstance(clip, str)]
            embed_clips(encoder, clips[:16])
            alone, whole = [], []
            for _ in range(given.repeats):
                began = time.perf_counter()
                for first in range(0, len(clips), 64):
                    embed_clips(encoder, clips[first : first + 64])
                alone.append(time.perf_counter() - began)
                shutil.rmtree(corpus.folder / "targets", ignore_errors=True)
                began = time.perf_counter()
                compute_targets(corpus, encoder)
                whole.append(time.perf_counter() - began)
            rows.append(
                {
                    "teacher": encoder.name,
                    "clips": len(corpus),
                    "seconds_of_sound": round(float(corpus.column("duration").sum()), 1),
                    "teacher_alone_s": round(statistics.median(alone), 2),
                    "extraction_s": round(statistics.median(whole), 2),
                    "fastest_s": round(min(whole), 2),
                    "slowest_s": round(max(whole), 2),
                    "share": round(statistics.median(alone) / statistics.median(whole), 3),
                    **provenance("ai-edge-litert", "torch", "soundfile", "soxr"),
                }
            )
    write_results("target_extraction", rows)


if __name__ == "__main__":
    main()
