"""The table of a sweep: means and intervals that can be worked out by hand, in every form that it is written in."""

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.stats import t

from sondino.evaluation.sweep_table import averages, cells, over_seeds, rich_table, tabulate, verdict_of, write_tables


def ran(settings: dict[str, Any], scores: dict[str, float], cosine: float = 0.5, half: float = 0.1) -> dict[str, Any]:
    """A row of `runs`: scores on an environment task "a" and a music task "b"."""
    domains = {"a": "environment", "b": "music"}
    return {
        "settings": settings,
        "run": "runs/x",
        "scores": {
            name: {
                "value": v,
                "interval95": [v - half, v + half],
                "interval": "t over 5 folds",
                "clips": 40,
                "chance": 0.2,
            }
            for name, v in scores.items()
        },
        **averages(scores, {name: domains[name] for name in scores}),
        "cosine": cosine,
        "neighbour_overlap": 0.25,
        "overlap_by_chance": 0.1,
        "held_out": 32,
        "parameters": 1000,
        "training_seconds": 1.5,
    }


def results_of(runs: list[dict[str, Any]], tasks: str) -> dict[str, Any]:
    title = {"a": ("A", "accuracy", "environment"), "b": ("B", "mAP", "music")}
    results = {
        "tasks": [dict(zip(("name", "title", "metric", "domain"), (n, *title[n]), strict=True)) for n in tasks],
        "varied": {name: [] for name in runs[0]["settings"]},
        "runs": runs,
        "table": tabulate(runs),
    }
    return {**results, "verdict": verdict_of(results)}


def test_averages_are_over_tasks_and_over_those_of_a_domain() -> None:
    found = averages({"a": 0.5, "b": 0.7, "c": 0.9}, {"a": "environment", "b": "music", "c": "music"})
    assert found["average"] == pytest.approx(0.7)
    assert found["domains"] == pytest.approx({"environment": 0.5, "music": 0.8})
    assert averages({"a": 0.5}, {"a": "music", "b": "music"}) == {"average": None, "domains": {}}
    assert averages({}, {}) == {"average": None, "domains": {}}


def test_the_interval_over_seeds_is_students() -> None:
    low, high = over_seeds([0.5, 0.7])
    half = t.ppf(0.975, 1) * np.sqrt(0.02) / np.sqrt(2)
    assert (low, high) == pytest.approx((0.6 - half, 0.6 + half))
    assert over_seeds([0.5]) is None


def test_runs_of_several_seeds_are_one_row_with_the_interval_over_seeds() -> None:
    runs = [ran({"loss": loss, "seed": s}, {"a": v + s / 10, "b": v}, cosine=v)
            for loss, v in (("kl", 0.4), ("cosine", 0.6)) for s in (0, 1, 2)]  # fmt: skip
    first, second = tabulate(runs)
    assert first["settings"] == {"loss": "kl"} and first["seeds"] == 3
    assert first["average"] == pytest.approx(0.45) and first["domains"] == pytest.approx(
        {"environment": 0.5, "music": 0.4}
    )
    half = t.ppf(0.975, 2) * 0.05 / np.sqrt(3)  # averages of 0.40, 0.45 and 0.50
    assert first["interval95"] == pytest.approx([0.45 - half, 0.45 + half])
    assert first["interval"] == "t over 3 seeds"
    assert second["cosine"] == pytest.approx(0.6) and second["cosine_interval95"] is None  # not of zero width


def test_of_one_seed_the_tasks_own_intervals_count() -> None:
    (alone,) = tabulate([ran({"loss": "kl"}, {"a": 0.5}, half=0.2)])
    assert alone["interval95"] == pytest.approx([0.3, 0.7]) and alone["interval"] == "t over 5 folds"
    (both,) = tabulate([ran({"loss": "kl"}, {"a": 0.5, "b": 0.7}, half=0.2)])
    half = np.sqrt(2 * 0.2**2) / 2
    assert both["interval95"] == pytest.approx([0.6 - half, 0.6 + half])
    assert both["interval"] == "of the tasks' own intervals"


def test_the_table_in_markdown_and_csv(tmp_path: Path) -> None:
    runs = [ran({"clusters": k}, {"a": v, "b": v + 0.1}, half=0.02 * np.sqrt(2)) for k, v in ((0, 0.5), (30, 0.61))]
    write_tables(tmp_path, results_of(runs, "ab"))
    lines = (tmp_path / "table.md").read_text().splitlines()
    assert lines[0] == "| clusters | environment | music | average | cosine | 10-NN overlap |"
    assert lines[1] == "| --- | ---: | ---: | ---: | ---: | ---: |"
    assert lines[2] == "| 0 (uniform) | 50.0 | 60.0 | 55.0 ± 2.0 | 0.500 | 25.0 |"
    assert lines[3] == "| 30 | 61.0 | 71.0 | 66.0 ± 2.0 | 0.500 | 25.0 |"
    assert "of the tasks' own intervals" in lines[5] and "A (accuracy, environment), B (mAP, music)" in lines[5]
    rows = list(csv.DictReader((tmp_path / "runs.csv").open()))
    assert [(row["clusters"], row["a"], row["average"]) for row in rows] == [
        ("0", "0.5", "0.55"),
        ("30", "0.61", "0.66"),
    ]
    (first, _) = csv.DictReader((tmp_path / "table.csv").open())
    assert (first["clusters"], first["music"], first["low95"], first["high95"]) == ("0", "0.6", "0.53", "0.57")


def test_without_tasks_the_table_has_the_agreement_alone() -> None:
    runs = [ran({"loss": "kl", "seed": s}, {}, cosine=0.5 + s / 10) for s in (0, 1)]
    head, rows, under = cells(results_of(runs, ""))
    assert head == ["loss", "cosine", "10-NN overlap"]
    assert rows == [["kl", f"0.550 ± {t.ppf(0.975, 1) * 0.05:.3f}", "25.0"]]
    assert under == [
        "Cosine to teacher and 10-NN overlap with teacher (in percent), on 32 held-out clips (±: half of Student's "
        "95 % interval over seeds); overlap by chance: 10.0."
    ]


def test_where_the_best_setting_is_not_known_a_message_states_it() -> None:
    runs = [ran({"loss": loss}, {"a": v}, half=0.05) for loss, v in (("kl", 0.5), ("mse", 0.58), ("l1", 0.3))]
    results = results_of(runs, "a")
    assert results["verdict"] == (
        "loss mse is the best, and cannot be distinguished from loss kl by 40 clips: their 95 % intervals overlap"
    )
    _, _, under = cells(results)
    assert under[0].endswith("t over 5 folds, 40 clips or more; chance: 20.0.") and under[-1].startswith("Loss mse is")
    assert results_of(runs[1:], "a")["verdict"] is None
    alone = [ran({"loss": loss}, {}, cosine=v) for loss, v in (("kl", 0.5), ("mse", 0.6))]
    assert "there is no interval, and 32 clips are held out" in results_of(alone, "")["verdict"]
    first, _ = results_of(alone, "")["table"]
    assert (first["overlap_by_chance"], first["held_out"]) == (0.1, 32)


def test_a_seed_alone_is_a_table_of_one_row() -> None:
    head, rows, _ = cells(results_of([ran({"seed": s}, {"a": 0.5}) for s in (0, 1)], "a"))
    assert head == ["recipe", "A (accuracy)", "cosine", "10-NN overlap"]
    assert rows[0][:2] == ["as it is", "50.0 ± 10.0"]  # equal seeds say nothing: the interval is the task's own


def test_different_intervals_are_shown_in_each_row() -> None:
    runs = [ran({"loss": "kl", "seed": 0}, {"a": 0.5}), ran({"loss": "kl", "seed": 1}, {"a": 0.6}),
            ran({"loss": "mse", "seed": 0}, {"a": 0.5})]  # fmt: skip
    head, rows, _ = cells(results_of(runs, "a"))
    assert head[-1] == "interval" and [row[-1] for row in rows] == ["t over 2 seeds", "t over 5 folds"]


def test_the_best_average_is_bold() -> None:
    table, _ = rich_table(results_of([ran({"loss": "kl"}, {"a": 0.5}), ran({"loss": "mse"}, {"a": 0.7})], "a"))
    assert [row.style for row in table.rows] == [None, "bold"]
