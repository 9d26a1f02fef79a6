"""How well the labels of sondino-small agree with those of teachers, on sound that none of it was trained on.

    python benchmarks/sondino_small_labels.py FOLDER... --teacher efficientat/mn04_as \
        --teacher 'litert:yamnet.tflite#yamnet_frames/global_average_pooling2d/Mean?rate=16000'

From each folder of audio up to --windows windows of 1.95 s are taken, one a file, from its middle. Of the labels those
are compared that model and teacher both have, by name. A window's labels are the teacher's most probable one and those
with a probability of 0.5 or more. Writes results/sondino_small_labels.csv.
"""

import argparse
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

import sondino
from provenance import provenance, write_results
from sondino.audio.reading import read
from sondino.audio.walk import find_audio
from sondino.encoder.encoder import embed_clips, resolve
from sondino.encoder.head import Head
from sondino.metrics.classification import label_agreement
from sondino.pretrained.open import open_teacher

SECONDS = 1.95


def middle(file: Path, rate: int) -> NDArray[np.float32]:
    """The window in the middle of a file, or all of a shorter one."""
    samples = read(file, rate)
    start = max(0, (len(samples) - round(SECONDS * rate)) // 2)
    return samples[start : start + round(SECONDS * rate)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="+", type=Path)
    parser.add_argument("--teacher", action="append", required=True)
    parser.add_argument("--model", default="sondino-small")
    parser.add_argument("--windows", type=int, default=500)
    given = parser.parse_args()

    model, rows = sondino.load(given.model), []
    assert isinstance(model.head, Head)
    for name in given.teacher:
        teacher = resolve(open_teacher(name, "cpu"))
        head = getattr(teacher.encoder, "head", None)
        assert isinstance(head, Head)
        common = [label for label in model.head.labels if label in set(head.labels)]
        ours = [model.head.labels.index(label) for label in common]
        theirs = [head.labels.index(label) for label in common]
        for folder in given.folders:
            files = find_audio(folder)
            files = files[:: max(1, len(files) // given.windows)][: given.windows]
            student = np.stack([model.classify((middle(file, model.sample_rate), model.sample_rate)) for file in files])
            clips = [middle(file, teacher.sample_rate) for file in files]
            wanted = head.probabilities(embed_clips(teacher, clips, teacher.short))
            student, wanted = student.reshape(len(files), -1)[:, ours], wanted[:, theirs]
            five = np.argsort(-student, axis=1)[:, :5]
            found = label_agreement(student, wanted, multi_label=True)
            rows.append(
                {
                    "model": given.model,
                    "teacher": name.rpartition("/")[2] if "#" not in name else Path(name.partition("#")[0]).name,
                    "folder": folder.parent.name if folder.name == "audio" else folder.name,
                    "windows": len(files),
                    "labels": len(common),
                    **{key: round(value, 4) for key, value in found.items()},
                    "in_first_five": round(float((five == wanted.argmax(1)[:, None]).any(1).mean()), 4),
                    **provenance("numpy", "onnxruntime"),
                }
            )
    write_results("sondino_small_labels", rows)


if __name__ == "__main__":
    main()
