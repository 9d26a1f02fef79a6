"""Train the model that comes with the package, and evaluate it beside its teacher.

    python benchmarks/sondino_small.py SOUNDS --teacher efficientat/mn04_as --out RUN --tasks a.csv b.csv

SOUNDS is a folder of unlabelled audio, or a corpus that was built from one with clips of 1.95 s; sound_packages.py
fills such a folder from Debian packages. Training runs recipes/sondino-small.yaml and resumes if interrupted. Its
bundle, with weights in float16, replaces src/sondino/shipped/sondino-small. Tasks are labelled folders or lists; their
scores are written to results/sondino_small.csv.
"""

import argparse
import json
from pathlib import Path

from provenance import provenance, write_results
from sondino import distill, evaluate
from sondino.audio.reading import read
from sondino.exporters.half_bundle import halve_bundle
from sondino.hub.catalogue import DEFAULT_MODEL
from sondino.sample_sounds import sample_folder

ROOT = Path(__file__).parents[1]
SHIPPED = ROOT / "src" / "sondino" / "shipped" / DEFAULT_MODEL
CLIPS = 24


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sounds", type=Path)
    parser.add_argument("--teacher", required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--tasks", nargs="*", default=[])
    parser.add_argument("--against", nargs="*", default=[], help="other models to evaluate")
    given = parser.parse_args()

    recipe = ROOT / "recipes" / f"{DEFAULT_MODEL}.yaml"
    bundle = distill(given.sounds, teacher=given.teacher, recipe=recipe, out=given.out / DEFAULT_MODEL)
    clips = [read(file, 32000)[:62400] for file in sorted(sample_folder().glob("**/*.ogg"))[:CLIPS]]
    halve_bundle(bundle, SHIPPED, clips)
    print(json.loads((SHIPPED / "config.json").read_text())["onnx_difference"], "between torch and ONNX")
    if given.tasks:
        models = [str(SHIPPED), str(bundle), *given.against]
        found = evaluate(models, given.out / "evaluation", teacher=given.teacher, tasks=given.tasks)
        used = ("numpy", "torch", "onnxruntime", "scikit-learn")
        write_results("sondino_small", [{**row, **provenance(*used)} for row in found.results["scores"]])


if __name__ == "__main__":
    main()
