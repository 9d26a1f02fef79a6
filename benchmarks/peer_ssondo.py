"""Embed files with the published package, driven as its README shows, in the environment of `make peers`.

    python benchmarks/peer_ssondo.py CHECKPOINT LIST.txt OUT.npz THREADS

Reading is soundfile and soxr; clips under 10 s are padded by hand. Run by embed.py.
"""

import sys
from pathlib import Path

import numpy as np
import soundfile
import soxr
import torch
from ssondo import get_ssondo


def main() -> None:
    checkpoint, listed, out, threads = sys.argv[1:]
    torch.set_num_threads(int(threads))
    model = get_ssondo(checkpoint)
    vectors = []
    with torch.no_grad():
        for file in Path(listed).read_text().split("\n"):
            sound, rate = soundfile.read(file, dtype="float32", always_2d=True)
            x = soxr.resample(sound.mean(axis=1), rate, 32000)
            if len(x) < 320000:
                x = np.pad(x, (0, 320000 - len(x)))
            vectors.append(model(torch.from_numpy(x)[None])[0].mean(dim=0).numpy())
    np.savez(out, vectors=np.stack(vectors))


main()
