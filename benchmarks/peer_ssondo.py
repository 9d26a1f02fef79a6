"""Embed files with the published package, driven as its README shows; run by embed.py in the environment of `make peers`.

    python benchmarks/peer_ssondo.py CHECKPOINT LIST.txt OUT.npz THREADS

Reading is soundfile and soxr, clips under 10 s are padded by hand. Prints one line of JSON.
"""

import json
import sys
import time

begun = time.perf_counter()

import numpy as np
import soundfile
import soxr
import torch
from ssondo import get_ssondo


def main() -> None:
    checkpoint, listed, out, threads = sys.argv[1:]
    torch.set_num_threads(int(threads))
    model = get_ssondo(checkpoint)
    loaded = time.perf_counter()
    vectors = []
    with open(listed) as lines:
        files = lines.read().split("\n")
    with torch.no_grad():
        for file in files:
            sound, rate = soundfile.read(file, dtype="float32", always_2d=True)
            x = soxr.resample(sound.mean(axis=1), rate, 32000)
            if len(x) < 320000:
                x = np.pad(x, (0, 320000 - len(x)))
            vectors.append(model(torch.from_numpy(x)[None])[0].mean(dim=0).numpy())
    done = time.perf_counter()
    np.savez(out, vectors=np.stack(vectors))
    print(json.dumps({"start": loaded - begun, "embed": done - loaded, "files": len(files)}))


main()
