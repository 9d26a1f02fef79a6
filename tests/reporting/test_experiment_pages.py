"""The pages of temporal support and sweeps, without a browser: every number against the files."""

import xml.etree.ElementTree as ET

import pytest

from helpers.results_fixture import change, page_of, results_json, support, sweep, write_results

pytest.importorskip("sklearn")


def test_support_is_drawn_reported_and_listed(tmp_path):
    page = page_of(support(tmp_path))
    results = results_json(tmp_path)
    for row in results["chosen"]:
        assert row["sentence"] in page.text
    for row in results["rows"]:
        assert f"{100 * row['value']:.1f}\u00a0%" in page.text
    figures = [a for tag, a in page.tags if tag == "svg" and a.get("class") == "figure"]
    assert len(figures) == 2 * 4  # two models, time and memory; each for a screen and for a phone
    marks = [a for tag, a in page.tags if tag == "circle" and a.get("r") == "8"]
    assert len(marks) == 2 * 4  # what is enough, of each model and task
    marked = [a for tag, a in page.tags if tag == "tr" and a.get("class") == "student"]
    assert len(marked) == 4
    root = ET.parse(tmp_path / "support.svg").getroot()
    polylines = list(root.iter("{http://www.w3.org/2000/svg}polyline"))
    assert len(polylines) == 2 * 2 + 2 + 2
    assert "var(" not in (tmp_path / "support.svg").read_text()


def test_support_without_costs_or_windows_to_draw(tmp_path):
    rows = [{"model": "m", "task": "t", "window": w, "value": v} for w, v in ((0, 0.4), (1, None), (2, 0.5))]
    page = page_of(write_results(tmp_path, kind="support", title="T", rows=rows, chosen=[]))
    figures = [a for tag, a in page.tags if tag == "svg" and a.get("class") == "figure"]
    assert len(figures) == 2 and "50.0\u00a0%" in page.text
    page = page_of(write_results(tmp_path, kind="support", title="T", rows=[rows[0]]))
    assert not [a for tag, a in page.tags if tag == "svg" and a.get("class") == "figure"]


def test_a_sweep_over_words_is_a_table_and_dots(tmp_path):
    page = page_of(sweep(tmp_path))
    results = results_json(tmp_path)
    for row in results["table"]:
        half = (row["interval95"][1] - row["interval95"][0]) / 2
        assert f"{100 * row['average']:.1f} ± {100 * half:.1f}\u00a0%" in page.text
        assert f"{100 * row['domains']['environment']:.1f}\u00a0%" in page.text
    dots = [a for tag, a in page.tags if tag == "circle" and a.get("r") == "5"]
    assert len(dots) == 2 * 5
    best = page.text.index("best setting")
    assert "cosine" in page.text[best : best + 60] and "t over 2 seeds" in page.text


def test_a_sweep_over_clusters_has_uniform_sampling_as_a_dashed_line(tmp_path):
    page = page_of(sweep(tmp_path, (), (0, 30, 40, 50)))
    dashed = [a for tag, a in page.tags if tag == "line" and "dasharray:6" in (a.get("style") or "")]
    assert len(dashed) == 2  # on a screen and on a phone
    dots = [a for tag, a in page.tags if tag == "circle" and a.get("r") == "3.6"]
    assert len(dots) == 2 * 3  # 0 has no place on the axis
    assert "uniform sampling" in page.text
    text = (tmp_path / "sweep.svg").read_text()
    assert text.count("<polygon") == 1 and text.count("stroke-dasharray:6") == 1


def test_a_difference_within_the_intervals_is_reported_as_such(tmp_path):
    rows = [{"settings": {"loss": name}, "average": value, "seeds": 2} for name, value in (("a", 0.5), ("b", 0.4))]
    runs = [{"settings": row["settings"], "run": "r"} for row in rows]
    for half, expected in ((0.06, True), (0.04, False)):
        table = [row | {"interval95": [row["average"] - half, row["average"] + half]} for row in rows]
        write_results(tmp_path, kind="sweep", title="t", varied={"loss": ["a", "b"]}, runs=runs, table=table)
        assert ("it may be chance" in page_of(tmp_path).text) == expected


def test_one_number_beside_uniform_sampling_makes_no_line(tmp_path):
    page = page_of(sweep(tmp_path, (), (0, 30)))
    assert not [a for tag, a in page.tags if tag == "polyline"]
    assert len([a for tag, a in page.tags if tag == "circle" and a.get("r") == "5"]) == 2 * 2


def test_a_sweep_over_two_things_draws_each_against_the_other(tmp_path):
    page = page_of(sweep(tmp_path, ("cosine", "mse"), (0, 30, 60)))
    assert len([a for tag, a in page.tags if tag == "polyline"]) == 2 * 2
    assert len([a for tag, a in page.tags if tag == "circle" and a.get("r") == "5"]) == 2 * 6


def test_a_sweep_without_tasks_is_compared_by_its_cosine(tmp_path):
    folder = sweep(tmp_path)
    nothing = {"average": None, "interval95": None, "interval": "", "domains": {}, "tasks": {}}
    table = [row | nothing for row in results_json(folder)["table"]]
    page = page_of(change(folder, table=table, tasks=[]))
    first = table[0]
    half = (first["cosine_interval95"][1] - first["cosine_interval95"][0]) / 2
    assert f"cosine to teacher {first['cosine']:.3f} ± {half:.3f}" in page.text
    assert "average" not in page.text.split("Every run")[0]


def test_settings_that_are_no_numbers_or_far_apart(tmp_path):
    values = [0.0001, 0.001, 0.1]
    rows = [{"settings": {"lr": v, "init": None}, "average": 0.5 + v, "seeds": 1} for v in values]
    runs = [{"settings": row["settings"], "run": "r"} for row in rows]
    write_results(tmp_path, kind="sweep", title="lr", varied={"lr": values, "init": [None]}, runs=runs, table=rows)
    page = page_of(tmp_path)
    assert "lr, logarithmic" in page.text
    x = [float(a["cx"]) for tag, a in page.tags if tag == "circle" and a.get("r") == "3.6"][:3]
    assert x[2] - x[1] == pytest.approx(2 * (x[1] - x[0]), abs=0.2)
