"""Writes FOLDER/bundle, a small untrained student, and FOLDER/vectors.npy, its vectors of tests/data/clips by torch."""

import sys
from pathlib import Path

import numpy as np
import torch

from sondino.audio import merge, read, windows
from sondino.bundle import write_bundle
from sondino.frontend_torch import FFTLogMel
from sondino.students import build_student

CLIPS = sorted((Path(__file__).parent / "data" / "clips").glob("*.ogg"))


def main(folder: Path) -> None:
    torch.manual_seed(0)
    student = build_student("mobilenetv3", 0.4).eval()
    rate, frontend = student.logmel.sample_rate, FFTLogMel(student.logmel)
    sounds = [read(clip, rate) for clip in CLIPS]
    write_bundle(folder / "bundle", student, "ci", window=1.0, short="repeat", real_clips=sounds, facts={})
    vectors = []
    for sound in sounds:
        cut, _, weights = windows(sound, rate, 1.0, short="repeat")
        with torch.inference_mode():
            vectors.append(merge(student(frontend(torch.from_numpy(np.stack(list(cut))))).numpy(), weights))
    np.save(folder / "vectors.npy", np.stack(vectors))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
