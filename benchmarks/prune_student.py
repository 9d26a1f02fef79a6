"""A pruned wide student against a narrow one of the same size: probe accuracy on labelled audio.

    python benchmarks/prune_student.py WIDE --corpus CORPUS --teacher TEACHER --labels LABELS.csv --out FOLDER

WIDE is a distilled bundle, CORPUS unlabelled audio (what `sondino corpus` made, so that all share targets). At each
ratio the wide student is pruned and recovered for some epochs, from TEACHER or from the unpruned student itself. A
narrow student, of the width with the nearest number of multiply-adds, is distilled from scratch twice: for as many
epochs as a recovery, and with the wide student's recipe plus as many clips as a recovery trains on.
Results in FOLDER from an earlier call are reused. Writes results/prune_student.csv.
"""

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from provenance import provenance, write_results
from sondino import distill, load
from sondino.files import read_json
from sondino.model.torch_model import TorchModel
from sondino.nets.registry import build_student
from sondino.nets.size import macs
from sondino.probing.embeddings import task_embeddings
from sondino.probing.probe import probe
from sondino.pruning.filters import prune_student
from sondino.pruning.prune import prune
from sondino.tasks.labelled import read_labelled

WIDTHS = np.arange(0.1, 1.0, 0.025)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("wide", type=Path)
    parser.add_argument("--corpus", type=Path, required=True)
    parser.add_argument("--teacher", required=True)
    parser.add_argument("--labels", type=Path, required=True)
    parser.add_argument("--ratios", default="0.5,0.75")
    parser.add_argument("--scores", default="operator-norm,l1,taylor")
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    source = TorchModel.open(given.wide)
    learnt = source.facts["recipe"]
    clip, clips = (read_json(given.corpus / "corpus.json")[name] for name in ("clip", "clips"))
    rows = [row("wide", given.wide, given.labels, epochs=0)]
    for ratio in map(float, given.ratios.split(",")):
        pruned = prune_student(source.backbone, "l1", ratio).student
        hop = learnt.get("hop")
        nets = [build_student(source.backbone.name, width, hop=hop) for width in WIDTHS]
        narrow = min(nets, key=lambda net: abs(macs(net) - macs(pruned)))
        recovered = given.epochs * clips
        longer = {name: learnt[name] for name in ("views", "epochs", "batch_size", "lr")}
        longer["draws"] = learnt["draws"] + round(recovered / learnt["epochs"])
        for name, options in {"recovery": {"epochs": given.epochs}, "wide one and recovery": longer}.items():
            run = given.out / f"narrow-{narrow.width:g}-{'short' if name == 'recovery' else 'long'}"
            distill(given.corpus, teacher=given.teacher, out=run, student=narrow.name, width=float(narrow.width),
                    clip=clip, hop=hop, standardise=learnt.get("standardise", False), page=False,
                    **options)  # fmt: skip
            made = f"narrow, width {narrow.width:g}, distilled from scratch, as long as {name}"
            rows.append(row(made, run / "bundle", given.labels, epochs=options["epochs"]))
        for score in given.scores.split(","):
            for name, teacher in {"none": None, "teacher": given.teacher, "itself": None}.items():
                folder = given.out / f"{score}-{ratio:g}-{name}"
                epochs = 0 if name == "none" else given.epochs
                if not (folder / "config.json").exists():
                    prune(given.wide, folder, score=score, ratio=ratio, corpus=given.corpus, teacher=teacher,
                          epochs=epochs)  # fmt: skip
                made = f"pruned by {score} at {ratio:g}, recovery: {name}"
                rows.append(row(made, folder, given.labels, epochs=epochs))
        write_results("prune_student", rows)


def row(name: str, bundle: Path, labels: Path, epochs: int) -> dict[str, Any]:
    """Size of a bundle and probe accuracy of its embeddings."""
    config = read_json(bundle / "config.json")
    with tempfile.TemporaryDirectory() as store:
        labelled, vectors, _ = task_embeddings(load(bundle), read_labelled(labels), store)
    probed = probe(vectors, labelled)
    found = {
        "model": name,
        "parameters": config["parameters"],
        "macs_per_10s": config["macs_per_10s"],
        "epochs": epochs,
        "accuracy": round(probed.value, 4),
        "interval_low": round(probed.interval95[0], 4),
        "interval_high": round(probed.interval95[1], 4),
        **provenance("torch", "torch-pruning", "onnxruntime", "scikit-learn"),
    }
    print(json.dumps(found), flush=True)
    return found


if __name__ == "__main__":
    main()
