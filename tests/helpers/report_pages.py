"""A report page of each kind, for the tests that open them in Chromium."""

from pathlib import Path

import numpy as np

from helpers.pretraining_run import write_pretraining_run
from helpers.results_fixture import evaluation, support, sweep

LONG = "recordings_of_the_northern_reserve/2023-05-14T04-30-00/site-A/recorder_0123456789_channel_left_very_long_name"


def write_pages(where: Path) -> dict[str, Path]:
    """A page of each kind, and that of a run with long names and many groups."""
    from sondino.reporting.report import report

    return {
        "evaluation": report(evaluation(where / "evaluation")),
        "support": report(support(where / "support")),
        "sweep": report(sweep(where / "sweep", ("cosine", "mse"), (0, 30, 60))),
        "pretraining": report(write_pretraining_run(where / "pretraining", last={"deviation": 0.05})),
        "run": _run(where / "run.html"),
        "long": _long_run(where / "long.html"),
    }


def _run(file: Path) -> Path:
    from sondino.reporting.map import Points, cluster_mode
    from sondino.reporting.run_page import write_report

    rng = np.random.default_rng(0)
    points = Points(
        "", rng.standard_normal((40, 2)), [f"clip {i}" for i in range(40)], [cluster_mode(np.arange(40) % 4)]
    )
    rows = [{"model": "small", "role": "student", "cosine": 0.8}]
    metrics = [{"epoch": i, "loss": 1 / i, "validation_cosine": 1 - 1 / i} for i in (1, 2, 3)]
    clusters = {"groups": [{"cluster": i, "clips": 9 - i, "mostly": None} for i in range(4)]}
    write_report(file, "A run", rows, metrics, points, {"a": 1}, {"b": 2}, clusters=clusters)
    return file


def _long_run(file: Path) -> Path:
    """Long names everywhere, 23 groups, and values that differ by a few millionths."""
    from sondino.reporting.map import Mode, Points, cluster_mode
    from sondino.reporting.run_page import write_report

    groups = 23
    labels = [f"Brown_long_eared_bat_calling_over_water_{i % groups}" for i in range(60)]
    points = Points(
        "", np.random.default_rng(0).standard_normal((60, 2)), [f"{LONG}/{i}.wav" for i in range(60)],
        [cluster_mode(np.arange(60) % groups, labels), Mode("label", labels)],
    )  # fmt: skip
    costs = {"file_bytes": 3e6, "macs_per_10s": 5e7, "milliseconds_per_10s": 8.0, "joules_per_10s": 0.1}
    rows = [
        {"model": f"teacher/{LONG}", "role": "teacher", "parameters": 4_900_000, "probe_accuracy": 0.95, **costs},
        {"model": LONG, "role": "student", "cosine": 0.8, "parameters": 790_000, "neighbour_overlap": 0.4, **costs},
    ]
    metrics = [
        {"epoch": i, "loss": 1 + 1e-5 / i, "validation_loss": 1 + 1.3e-5 / i,
         "validation_cosine": 1 - 1e-6 / i, "validation_overlap": 1 - 2e-6 / i}
        for i in (1, 2, 3)
    ]  # fmt: skip
    found = {"groups": [{"cluster": i, "clips": 3 - (i > 2), "mostly": labels[i], "share": 0.5} for i in range(groups)]}
    recipe = {"inputs": [LONG] * 3, "teacher": LONG}
    write_report(file, LONG, rows, metrics, points, recipe, {"b": LONG}, LONG, clusters=found, notes=[LONG])
    return file
