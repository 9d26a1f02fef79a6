"""Small but complete results folders, from the clips that ship with the package: what the reports are tested on.

PYTHONPATH=tests python -m helpers.results_fixture FOLDER     writes one of each kind, to look at
"""

import csv
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

from helpers.pages import Page
from sondino.sample_sounds import sample_folder, sample_labels

LABELS = sorted(set(sample_labels().values()))
MODELS = {"big teacher": ("teacher", 0.93), "small student": ("student", 0.85), "untrained student": ("untrained", 0.4)}


def write_results(folder: Path, **entries: Any) -> Path:
    """A results.json of these entries."""
    folder.mkdir(parents=True, exist_ok=True)
    head = {"format": "sondino-results-1", "command": ["sondino", "…"], "versions": {"sondino": "0.1.0"}, "notes": []}
    (folder / "results.json").write_text(json.dumps(head | entries))
    return folder


def task(name: str = "sonic", title: str = "Sonic Pi", **more: Any) -> dict[str, Any]:
    """A task on the shipped clips."""
    return {
        "name": name, "title": title, "domain": "music", "metric": "accuracy", "clips": len(sample_labels()),
        "classes": len(LABELS), "labels": LABELS, "multi_label": False, "licence": "CC0", "parting": "fold",
        "notes": [], "skipped": 0,
    } | more  # fmt: skip


def model(name: str, role: str) -> dict[str, Any]:
    """A model, as cheap as its role."""
    small = role != "teacher"
    return {
        "name": name, "role": role, "source": f"runs/{name}", "dim": 16, "sample_rate": 32000, "window": 3.0,
        "parameters": 1_200_000 if small else 29_800_000, "file_bytes": 5_100_000 if small else 121_000_000,
        "macs_per_10s": 61e6 if small else 1.9e9, "milliseconds_per_10s": 4.2 if small else 88.0,
        "joules_per_10s": 0.05 if small else 1.1, "joules_how": "estimated by codecarbon from the processor's name",
        "licence": "MIT",
    }  # fmt: skip


def write_embeddings(file: Path, paths: list[str], labels: list[str], spread: float, seed: int) -> None:
    """Embeddings that lie about their label's centre."""
    file.parent.mkdir(parents=True, exist_ok=True)
    centres = np.random.default_rng(0).standard_normal((len(LABELS), 16))
    noise = np.random.default_rng(seed).standard_normal((len(paths), 16))
    places = [LABELS.index(label) for label in labels]
    np.savez(file, ids=np.array(paths), vectors=(centres[places] + spread * noise).astype(np.float32))


def write_predictions(file: Path, rows: list[dict[str, Any]]) -> None:
    """A predictions CSV; names need not be UTF-8."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("w", newline="", encoding="utf-8", errors="surrogateescape") as lines:
        writer = csv.DictWriter(lines, rows[0])
        writer.writeheader()
        writer.writerows(rows)


def evaluation(folder: Path, tasks: int = 2, vectors: bool = True) -> Path:
    """Three models on some tasks: scores, predictions, agreement, and if asked for, embeddings to draw a map of."""
    labels = {str(sample_folder() / path): label for path, label in sample_labels().items()}
    paths = list(labels)
    titles = ["Sonic Pi", *(f"Task {number}" for number in range(2, tasks + 1))]
    names = ["sonic", *(f"task{number}" for number in range(2, tasks + 1))]
    rng = np.random.default_rng(3)
    scores, retention = [], []
    for place, (name, (role, right)) in enumerate(MODELS.items()):
        values = {}
        for own in names:
            rows = []
            for path, label in labels.items():
                good = rng.random() < right
                near = LABELS[(LABELS.index(label) + int(rng.integers(1, 3))) % len(LABELS)]
                sure = float(rng.uniform(0.5, 0.99) if good else rng.uniform(0.2, 0.95))
                rows.append({
                    "path": path, "truth": label, "predicted": label if good else near, "probability": round(sure, 4),
                    "fold": int(rng.integers(5)),
                })  # fmt: skip
            right_ones = [row["truth"] == row["predicted"] for row in rows]
            value = values[own] = float(np.mean(right_ones))
            per_label = {
                label: float(
                    np.mean([good for row, good in zip(rows, right_ones, strict=True) if row["truth"] == label])
                )
                for label in LABELS
            }
            write_predictions(folder / "predictions" / f"{role}-{own}.csv", rows)
            if vectors:
                write_embeddings(folder / "vectors" / f"{role}.npz", paths, list(labels.values()), 1.2 - right, place)
            scores.append({
                "model": name, "task": own, "metric": "accuracy", "value": value,
                "interval95": [value - 0.03, value + 0.03], "interval": "t over 5 folds", "chance": 0.15,
                "rounds": [value] * 5, "strength": 0.1, "knn": value - 0.05, "accuracy": value,
                "mean_average_precision": None, "per_label": per_label, "clips": len(rows),
                "vectors": f"vectors/{role}.npz" if vectors else None, "predictions": f"predictions/{role}-{own}.csv",
            })  # fmt: skip
        average = float(np.mean(list(values.values())))
        best = retention[0]["average"] if retention else average
        retention.append({
            "model": name, "role": role, "scores": values, "average": average, "kept": average / best,
            "times_smaller": 29.8 / (1.2 if role != "teacher" else 29.8),
        })  # fmt: skip
    chance = dict.fromkeys(names, 0.15)
    retention.append({"model": "chance", "role": "chance", "scores": chance, "average": 0.15, "kept": 0.15 / best})
    agreement = [
        {
            "model": name, "task": own, "cosine": right - 0.1, "cosine_of_mean": 0.3, "neighbour_overlap": right - 0.3,
            "cka": right - 0.15, "cka_unbiased": right - 0.2, "retrieval_at_1": right - 0.4,
            "retrieval_at_10": right - 0.1, "clips": len(paths), "searched": len(paths) // 2,
        }
        for name, (role, right) in MODELS.items() if role != "teacher" for own in names
    ]  # fmt: skip
    return write_results(
        folder,
        kind="evaluation",
        title="Retention",
        tasks=[task(name, title) for name, title in zip(names, titles, strict=True)],
        models=[model(name, role) for name, (role, _) in MODELS.items()],
        scores=scores,
        retention=retention,
        agreement=agreement,
    )


def support(folder: Path, tasks: int = 2) -> Path:
    """Two models whose scores rise with the window and then stay."""
    rows, chosen = [], []
    for name, high in (("big teacher", 0.93), ("small student", 0.86)):
        for number in range(tasks):
            own = "sonic" if number == 0 else f"task{number + 1}"
            for window in (0.25, 0.5, 1.0, 2.0, 5.0, 10.0):
                value = (high - 0.1 * number) * (1 - 0.35 * np.exp(-window / (0.5 + 0.3 * number)))
                rows.append({
                    "model": name, "task": own, "window": window, "value": float(value),
                    "interval95": [float(value) - 0.02, float(value) + 0.02],
                    "milliseconds_per_10s": 4 + 2 / window * (3 if "big" in name else 1),
                    "memory_bytes": int(5e7 + 2e7 * window * (3 if "big" in name else 1)),
                })  # fmt: skip
            chosen.append({
                "model": name, "task": own, "window": 2.0, "best_window": 10.0,
                "sentence": f"{name} on {own}: 2 s is enough, within one interval of the best, which is 10 s.",
            })  # fmt: skip
    return write_results(
        folder, kind="support", title="Temporal support",
        tasks=[task(), *(task(f"task{number}", f"Task {number}") for number in range(2, tasks + 1))],
        models=[model(name, role) for name, (role, _) in MODELS.items()][:2], rows=rows, chosen=chosen,
    )  # fmt: skip


def sweep(
    folder: Path, losses: tuple[str, ...] = ("cosine", "clap", "kl", "l1", "mse"), clusters: tuple[int, ...] = ()
) -> Path:
    """Runs over losses and cluster counts, with two seeds each."""
    rng = np.random.default_rng(1)
    runs, table = [], []
    for number, loss in enumerate(losses or ("",)):
        for k in clusters or (None,):
            settings = ({"loss": loss} if loss else {}) | ({"clusters": k} if k is not None else {})
            base = 0.727 - 0.025 * number + (0.012 if k else 0) * np.sin((k or 0) / 12)
            for seed in (0, 1):
                value = float(base + rng.normal(0, 0.002))
                runs.append({
                    "settings": {**settings, "seed": seed}, "run": f"runs/{loss}-{k}-{seed}",
                    "scores": {"sonic": {"value": value, "interval95": [value - 0.01, value + 0.01]}},
                    "average": value, "domains": {"music": value - 0.01, "environment": value + 0.02},
                    "cosine": value, "neighbour_overlap": value - 0.4, "training_seconds": 612.0,
                })  # fmt: skip
            values = [run["average"] for run in runs[-2:]]
            mean, half = float(np.mean(values)), 12.7 * float(np.std(values, ddof=1)) / np.sqrt(2)
            table.append({
                "settings": settings, "seeds": 2, "average": mean, "interval95": [mean - half, mean + half],
                "interval": "t over 2 seeds", "domains": {"music": mean - 0.01, "environment": mean + 0.02},
                "tasks": {"sonic": mean}, "cosine": mean, "cosine_interval95": [mean - half, mean + half],
                "neighbour_overlap": mean - 0.4, "parameters": 1_200_000,
            })  # fmt: skip
    varied = {"loss": list(losses)} if losses else {}
    varied |= {"clusters": list(clusters)} if clusters else {}
    return write_results(
        folder, kind="sweep", title=" × ".join(varied), tasks=[task()], models=[], varied={**varied, "seed": [0, 1]},
        recipe={"student": "mobilenetv3", "epochs": 20}, runs=runs, table=table,
    )  # fmt: skip


def page_of(folder: Path) -> Page:
    """The page of these results, written now."""
    from sondino.reporting.report import report

    return Page(report(folder).read_text(encoding="utf-8"))


def results_json(folder: Path) -> dict[str, Any]:
    """The content of results.json."""
    return json.loads((folder / "results.json").read_text())


def change(folder: Path, **entries: Any) -> Path:
    """Other entries in results.json."""
    (folder / "results.json").write_text(json.dumps(results_json(folder) | entries))
    return folder


if __name__ == "__main__":
    from sondino.reporting.report import report

    where = Path(sys.argv[1])
    evaluation(where / "evaluation")
    evaluation(where / "nine", tasks=9)
    support(where / "support")
    sweep(where / "losses")
    sweep(where / "clusters", (), (0, 30, 40, 45, 50, 55, 60))
    sweep(where / "both", ("cosine", "mse"), (0, 30, 40, 50, 60))
    for folder in sorted(where.iterdir()):
        print(report(folder))  # noqa: T201
