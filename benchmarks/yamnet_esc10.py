"""Accuracy of a student of YAMNet after an hour on this machine: a linear probe on ESC-10.

    python benchmarks/yamnet_esc10.py CORPUS ESC10 YAMNET.tflite --out RUN --epochs 20 --draws 16000

CORPUS is a folder of unlabelled audio; ESC10 a folder with labels.csv (path, label, fold); the run's folder must be
new, so that the seconds cover all stages. Writes results/yamnet_esc10.csv.
"""

import argparse
import csv
import json
import time
from pathlib import Path

import numpy as np
import torch

from esc10 import esc10_folder
from provenance import provenance, write_results
from sondino import audio, distill, load, load_teacher
from sondino.distillation.recipe import resolve_recipe
from sondino.distillation.summary import embed_rows
from sondino.encoder.encoder import embed_clips
from sondino.nets.registry import build_student
from sondino.probing.probe import probe_labels

TENSOR = "yamnet_frames/global_average_pooling2d/Mean"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("corpus", type=Path)
    parser.add_argument("esc10", type=esc10_folder)
    parser.add_argument("yamnet", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--width", type=float, default=1.0)
    parser.add_argument("--clip", type=float, default=1.95)
    parser.add_argument("--views", type=int, default=8)
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--draws", type=int, default=16_000)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--lr", type=float, default=1.5e-3)
    parser.add_argument("--device", default="auto")
    given = parser.parse_args()
    if (given.out / "recipe.yaml").exists():
        parser.error(f"{given.out} holds a run already: name a new folder")
    with (given.esc10 / "labels.csv").open(newline="") as lines:
        rows = list(csv.DictReader(lines))
    files = [given.esc10 / row["path"] for row in rows]
    labels, folds = [row["label"] for row in rows], [row["fold"] for row in rows]
    spec = f"litert:{given.yamnet}#{TENSOR}?rate=16000"
    names = ("width", "clip", "views", "epochs", "draws", "batch_size", "lr")
    options = {name: getattr(given, name) for name in names} | {"standardise": False}

    began = time.perf_counter()
    distill(given.corpus, teacher=spec, out=given.out, device=given.device, **options)
    seconds = time.perf_counter() - began

    teacher, student = load_teacher(spec), load(given.out)
    recipe = resolve_recipe(given.out / "recipe.yaml")
    torch.manual_seed(recipe.seed)
    untrained = build_student(recipe.student, recipe.width)
    whole = [audio.read(file, untrained.logmel.sample_rate) for file in files]
    five_seconds = resolve_recipe(given.out / "recipe.yaml", clip=5.0)
    metrics = [json.loads(line) for line in (given.out / "metrics.jsonl").read_text().splitlines()]
    vectors = {
        "teacher": embed_clips(teacher, [audio.read(file, teacher.sample_rate) for file in files]),
        "student": student.embed(files),
        "untrained student": embed_rows(untrained, lambda row: whole[row], np.arange(len(whole)), five_seconds),
    }
    results = []
    for name, of_model in vectors.items():
        probe = probe_labels(of_model, labels, folds)
        results.append(
            {
                "model": name,
                "esc10_accuracy": round(probe.value, 4),
                "interval_low": round(probe.interval95[0], 4),
                "interval_high": round(probe.interval95[1], 4),
                **(options if name != "teacher" else dict.fromkeys(options, "")),
                "whole_line_seconds": round(seconds) if name == "student" else "",
                "training_seconds": round(sum(m["seconds"] for m in metrics)) if name == "student" else "",
                "clips_per_second": np.median([m["clips_per_second"] for m in metrics]) if name == "student" else "",
                "data_wait": np.median([m["data_wait"] for m in metrics]) if name == "student" else "",
                "training_loss": round(metrics[-1]["loss"], 4) if name == "student" else "",
                "validation_cosine": max(m["validation_cosine"] for m in metrics) if name == "student" else "",
                **provenance("torch", "onnxruntime", "scikit-learn", "ai-edge-litert"),
            }
        )
    write_results("yamnet_esc10", results)


if __name__ == "__main__":
    main()
