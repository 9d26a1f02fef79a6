"""The page of a pretraining run: what stands on it, and of which runs."""

import json
import math
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("yaml")
pytest.importorskip("torch", reason="the train extra is not installed")

from helpers.pages import Page
from helpers.pretraining_run import row, write_pretraining_run
from sondino.errors import RunError
from sondino.reporting.entries import is_pretraining
from sondino.reporting.pretraining_page import CLASSES, MOST_SKIPPED, report_pretraining
from sondino.reporting.report import report


def page_of(run: Path) -> Page:
    return Page(report(run).read_text(encoding="utf-8"))


def words(page: Page) -> str:
    return " ".join(page.text.split())


def charts(page: Page) -> dict[str, dict[str, Any]]:
    """Series by their name, by the title of their chart."""
    drawn = page.data()["curves"]["charts"]
    return {chart["title"]: {one["name"]: one for one in chart["series"]} for chart in drawn}


def test_it_says_what_was_trained_on_what(tmp_path: Path) -> None:
    shown = words(page_of(write_pretraining_run(tmp_path / "mine")))
    assert "mine: matpac++ tiny" in shown
    assert "5.68 hours of sound in 1,234 recordings" in shown and "200 updates in 1.7 min" in shown
    assert "1.54 M" in shown and "crops of 6.09 s" in shown
    assert "2.0 %" in shown and "0.5 seconds an update" in shown  # 4 x 25 s, 200 updates
    assert f"sondino distill AUDIO --teacher {tmp_path / 'mine'} --out STUDENT" in shown
    assert "batch_size 32" in shown and "torch 2.13" in shown


def test_the_curves_are_what_was_measured_and_what_it_is_compared_with(tmp_path: Path) -> None:
    page = page_of(write_pretraining_run(tmp_path / "mine"))
    assert page.data()["curves"]["unit"] == "update" and page.data()["curves"]["places"] == [50, 100, 150, 200]
    drawn = charts(page)
    assert drawn["Loss of prediction"]["loss of prediction"]["values"] == pytest.approx([1.55, 1.3, 1.05, 0.8])
    assert drawn["Loss of prediction"]["unrelated"]["values"] == [2] * 4
    assert drawn["Loss of classification"]["all classes equally likely"]["values"] == [math.log(256)] * 4
    deviation = drawn["Deviation of the targets"]
    assert deviation["targets' deviation"]["values"] == pytest.approx([0.85, 0.8, 0.75, 0.7])
    assert deviation["unrelated targets"]["values"] == [1] * 4 and deviation["unrelated targets"]["dash"]
    assert drawn["Classes"]["all classes"]["values"] == [256] * 4
    wins = drawn["Patches that each hypothesis is nearest to"]
    assert wins["wins of 1"]["values"] == [0.5] * 4 and wins["chance"]["values"] == [0.2] * 4 and len(wins) == 6
    taken = drawn["Share of the student that the teacher takes on, 1 - decay"]
    assert taken["encoder"]["values"] == pytest.approx([0.4, 0.3, 0.2, 0.1])
    assert taken["class head"]["values"] == pytest.approx([0.075, 0.05, 0.025, 0.0])
    assert drawn["Seconds an update"]["seconds"]["values"] == [0.5] * 4


def test_what_the_recipe_leaves_out_is_not_there(tmp_path: Path) -> None:
    one = charts(page_of(write_pretraining_run(tmp_path / "one", method="matpac")))
    assert "Patches that each hypothesis is nearest to" not in one
    assert list(one["Temperatures"]) == ["classes' temperature"]
    page = page_of(write_pretraining_run(tmp_path / "alone", class_weight=0))
    alone = charts(page)
    assert not {"Loss of classification", "Classes"} & set(alone)
    assert list(alone["Share of the student that the teacher takes on, 1 - decay"]) == ["encoder"]
    assert "classes are in use" not in page.text


def test_classes_are_those_of_the_nets() -> None:
    from sondino.pretraining.model import SIZES

    assert {name: sizes.head[2] for name, sizes in SIZES.items() if sizes.head} == CLASSES


@pytest.mark.parametrize(
    ("last", "message"),
    [
        ({}, "Not collapsed : the teacher's outputs have 0.70 of the deviation of unrelated ones and 220 of 256"),
        ({"deviation": 0.05}, "Collapsed since update 200: the teacher gives all patches nearly the same output"),
        ({"perplexity": 1.5}, "Collapsed since update 200: one class takes nearly all patches (perplexity 1.50)"),
    ],
)
def test_collapse_is_told(last: dict[str, float], message: str, tmp_path: Path) -> None:
    shown = words(page_of(write_pretraining_run(tmp_path / "run", last=last)))
    assert message in shown.replace("Collapsed  since", "Collapsed since")


def test_collapse_is_told_since_when(tmp_path: Path) -> None:
    run = write_pretraining_run(tmp_path / "run")
    values = {50: 0.05, 100: 0.5, 150: 0.06, 200: 0.04}
    lines = [json.dumps(row(update, deviation=value)) for update, value in values.items()]
    (run / "metrics.jsonl").write_text("\n".join(lines) + "\n")
    assert "Collapsed since update 150:" in words(page_of(run))


def test_a_run_that_has_not_finished_has_a_page_too(tmp_path: Path) -> None:
    run = write_pretraining_run(tmp_path / "half", finished=False)
    (run / "corpus").mkdir()
    (run / "corpus" / "corpus.json").write_text('{"seconds": 5400}')
    (run / "metrics.jsonl").write_text((run / "metrics.jsonl").read_text() + '{"update": 200, "lo')
    assert is_pretraining(run)
    shown = words(page_of(run))
    assert "half: matpac++ tiny" in shown and "Not finished: 150 of 200 updates, on 1.50 hours of sound." in shown
    assert "the same `sondino pretrain` command resumes it" in shown


def test_skipped_files_are_listed_up_to_a_number(tmp_path: Path) -> None:
    run = write_pretraining_run(tmp_path / "run")
    shown = words(page_of(run))
    assert "2 skipped" in shown and "bad.wav it is <empty>" in shown
    many = "".join(f"{i}.wav,broken\n" for i in range(MOST_SKIPPED + 1))
    (run / "skipped.csv").write_text("path,reason\n" + many)
    shown = words(page_of(run))
    assert f"The first {MOST_SKIPPED} of 201" in shown and "199.wav" in shown and "200.wav" not in shown
    (run / "skipped.csv").write_text("path,reason\n")
    assert "reason" not in words(page_of(run))


def test_a_folder_without_measurements_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="holds no pretraining that has measured anything"):
        report_pretraining(tmp_path)


def test_a_damaged_summary_is_an_error(tmp_path: Path) -> None:
    run = write_pretraining_run(tmp_path / "run")
    (run / "summary.json").write_text('{"kind": "pretraining", "method": 3}')
    with pytest.raises(RunError, match=r"summary\.json is damaged"):
        report(run)
