"""Write FOLDER/bundle, a small student, and `FOLDER/vectors.npy`, its embeddings of tests/data/clips by torch."""

import sys
from pathlib import Path

import numpy as np
import torch

from sondino.audio.reading import read
from sondino.audio.windows import Windowing, merge, stack_windows
from sondino.frontend.logmel_torch import FFTLogMel
from sondino.model.torch_model import TorchModel
from sondino.model.write import write_bundle
from sondino.nets.registry import build_student

CLIPS = sorted((Path(__file__).parents[1] / "data" / "clips").glob("*.ogg"))


def main(folder: Path) -> None:
    torch.manual_seed(0)
    student = build_student("mobilenetv3", 0.4).eval()
    rate, frontend = student.logmel.sample_rate, FFTLogMel(student.logmel)
    sounds = [read(clip, rate) for clip in CLIPS]
    write_bundle(TorchModel(student, "ci", window=1.0, short="repeat"), folder / "bundle", sounds)
    vectors = []
    for sound in sounds:
        cut, _, weights = stack_windows(sound, rate, Windowing(1.0, short="repeat"))
        with torch.inference_mode():
            vectors.append(merge(student(frontend(torch.from_numpy(np.stack(list(cut))))).numpy(), weights))
    np.save(folder / "vectors.npy", np.stack(vectors))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
