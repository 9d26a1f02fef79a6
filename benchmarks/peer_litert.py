"""Embed files with a LiteRT model as a script of a few lines does it: soundfile, soxr, an interpreter.

    python benchmarks/peer_litert.py MODEL.tflite RATE SAMPLES LIST.txt OUT.npz THREADS

Windows of SAMPLES follow one another, the last zero-padded; of a file the mean of the first output is kept, since
to keep an inner tensor takes more time. Run by speed.py.
"""

import sys
from pathlib import Path

import numpy as np
import soundfile
import soxr
from ai_edge_litert.interpreter import Interpreter


def main() -> None:
    model, rate, samples, listed, out, threads = sys.argv[1:]
    size = int(samples)
    interpreter = Interpreter(model_path=model, num_threads=int(threads))
    interpreter.allocate_tensors()
    given = interpreter.get_input_details()[0]["index"]
    wanted = interpreter.get_output_details()[0]["index"]
    vectors = []
    for file in Path(listed).read_text().split("\n"):
        sound, own = soundfile.read(file, dtype="float32", always_2d=True)
        x = soxr.resample(sound.mean(axis=1), own, int(rate))
        windows = np.pad(x, (0, -len(x) % size)).reshape(-1, 1, size)
        found = []
        for window in windows:
            interpreter.set_tensor(given, window.reshape(interpreter.get_input_details()[0]["shape"]))
            interpreter.invoke()
            found.append(interpreter.get_tensor(wanted).reshape(-1))
        vectors.append(np.mean(found, axis=0))
    np.savez(out, vectors=np.stack(vectors))


main()
