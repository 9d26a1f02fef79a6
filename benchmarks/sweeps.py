"""Loss functions and numbers of clusters: S-SONDO's two ablations (arXiv 2604.24933) as small as two cores allow.

    python benchmarks/sweeps.py CORPUS ESC10/labels.csv YAMNET.tflite --out FOLDER

A half-width student of YAMNet is trained on 12,000 clips of 1.95 s (the published ones on 10 million of 10 s) and
probed on ESC-10, by `sondino sweep`, with its pages under FOLDER; a stopped run resumes. Writes
results/sweep_losses.csv and results/sweep_clusters.csv.
"""

import argparse
from pathlib import Path
from typing import Any

from provenance import provenance, write_results
from sondino.evaluation.sweep import sweep
from sondino.reporting.report import report

TENSOR = "yamnet_frames/global_average_pooling2d/Mean"
SWEEPS: dict[str, dict[str, list[Any]]] = {
    "losses": {"loss": ["cosine", "clap", "kl", "l1", "mse"], "seed": [0, 1]},
    "clusters": {"clusters": [0, 30, 40, 50, 60]},
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("corpus", type=Path)
    parser.add_argument("esc10", type=Path)
    parser.add_argument("yamnet", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    recipe = {
        "student": "mobilenetv3", "width": 0.5, "clip": 1.95, "epochs": 4, "draws": 3000, "batch_size": 64, "lr": 2e-3,
        "standardise": False,
        "teacher": f"litert:{given.yamnet}#{TENSOR}?rate=16000",
    }  # fmt: skip
    for name, varied in SWEEPS.items():
        done = sweep(recipe, given.corpus, varied, given.out / name, tasks=[str(given.esc10)])
        report(given.out / name)
        versions = provenance("torch", "onnxruntime", "scikit-learn", "ai-edge-litert")
        rows = []
        for run in done.results["runs"]:
            (score,) = run["scores"].values()
            low, high = score["interval95"]
            figures = {"esc10": score["value"], "low": low, "high": high}
            figures |= {part: run[part] for part in ("cosine", "neighbour_overlap", "training_seconds")}
            rounded = {k: round(v, 5) if isinstance(v, float) else v for k, v in figures.items()}
            rows.append(run["settings"] | rounded | versions)
        write_results(f"sweep_{name}", rows)


if __name__ == "__main__":
    main()
