"""Figures: where things stand, from numbers that can be worked out."""

import re
import xml.etree.ElementTree as ET

import pytest

from sondino.reporting.figures import (
    PAPER,
    Axis,
    Series,
    bar_figure,
    dot_figure,
    in_two_widths,
    line_figure,
    standalone,
    ticks,
    under_each_other,
)

SHARE = Axis("score", "{:g}".format)


def parsed(figure):
    return ET.fromstring(f"<svg>{figure.inside}</svg>")


def spots(figure, radius):
    return [(float(c.get("cx")), float(c.get("cy"))) for c in parsed(figure).iter("circle") if c.get("r") == radius]


@pytest.mark.parametrize(
    ("low", "high", "count", "expected"),
    [
        (0, 1, 5, [0, 0.2, 0.4, 0.6, 0.8, 1]),
        (0.51, 0.58, 4, [0.52, 0.54, 0.56, 0.58]),
        (-3, 3, 3, [-2, 0, 2]),
        (5, 5, 4, [5]),
        (0, 650e6, 4, [0, 2e8, 4e8, 6e8]),
    ],
)
def test_ticks_are_round(low, high, count, expected):
    assert ticks(low, high, count) == pytest.approx(expected)


def test_a_logarithmic_axis_sets_equal_factors_equally_far():
    series = [Series("a", [1, 10, 100], [0.1, 0.3, 0.2], [None] * 3)]
    x = [place for place, _ in spots(line_figure(series, Axis("n", log=True), SHARE, width=500), "3.6")]
    assert x[1] - x[0] == pytest.approx(x[2] - x[1], abs=0.11)
    x = [place for place, _ in spots(line_figure(series, Axis("n"), SHARE, width=500), "3.6")]
    assert (x[2] - x[0]) / (x[1] - x[0]) == pytest.approx(11, rel=0.02)


def test_values_stand_where_the_axis_has_them():
    series = [Series("a", [1, 2, 3], [0.2, 0.4, 0.3], [(0.1, 0.3), (0.35, 0.45), None], mark=2)]
    figure = line_figure(series, Axis("n"), SHARE, width=500)
    texts = {t.text: float(t.get("y")) - 4 for t in parsed(figure).iter("text") if t.get("text-anchor") == "end"}
    up = lambda value: texts["0.1"] + (value - 0.1) / 0.3 * (texts["0.4"] - texts["0.1"])  # noqa: E731
    assert [y for _, y in spots(figure, "3.6")] == pytest.approx([up(0.2), up(0.4), up(0.3)], abs=0.2)
    band = [tuple(map(float, pair.split(","))) for pair in parsed(figure).find("polygon").get("points").split()]
    assert [y for _, y in band] == pytest.approx([up(0.3), up(0.45), up(0.35), up(0.1)], abs=0.2)
    assert spots(figure, "8") == [spots(figure, "3.6")[1]]  # the ring
    assert "a, 2: 0.4 (0.35 to 0.45)" in figure.inside
    assert "1 0.2, 2 0.4, 3 0.3" in figure.label


def test_a_level_is_one_dashed_line_across():
    series = [
        Series("a", [30, 60], [0.7, 0.6], [None, None], level=0.65, level_interval=(0.6, 0.7), level_name="uniform"),
        Series("b", [30, 60], [0.5, 0.4], [None, None], level=0.45, level_name="uniform"),
    ]
    figure = line_figure(series, Axis("clusters"), SHARE, width=500)
    dashed = [line for line in parsed(figure).iter("line") if "dasharray:6" in line.get("style")]
    assert len(dashed) == 2 and all(line.get("y1") == line.get("y2") for line in dashed)
    assert float(dashed[0].get("x2")) - float(dashed[0].get("x1")) > 400
    assert figure.inside.count(">uniform</text>") == 1 and figure.inside.count("uniform: ") == 2
    assert len(list(parsed(figure).iter("rect"))) == 1  # the interval of the only one that has one


def test_dots_stand_in_their_rows_and_their_intervals_beside():
    series = [Series("a", [0, 1], [0.2, 0.4], [(0.1, 0.3), None]), Series("b", [1], [0.3], [None])]
    figure = dot_figure(["first", "second"], series, SHARE, width=600)
    (x1, y1), (x2, y2), (x3, y3) = spots(figure, "5")
    assert x1 < x3 < x2 and y1 < y2 < y3  # two series of one row stand under each other
    interval = next(line for line in parsed(figure).iter("line") if "stroke-width:6" in line.get("style"))
    assert float(interval.get("x1")) + float(interval.get("x2")) == pytest.approx(2 * x1, abs=0.2)


def test_a_long_name_is_cut_and_reported_whole():
    name = "a very long name of a setting that no figure has room for, however wide it may be drawn"
    figure = dot_figure([name, "b"], [Series("", [0, 1], [0.1, 0.2], [None, None])], SHARE, width=326)
    drawn = [t for t in parsed(figure).iter("text") if (t.text or "").startswith("a very")]
    assert drawn[0].text.endswith("…") and len(drawn[0].text) < 20
    assert f"<title>{name}</title>" in figure.inside


def test_bars_are_as_tall_as_their_values():
    figure = bar_figure([40, 20, 0], ["x", "y", "z"], SHARE, width=300)
    tall = [float(bar.get("height")) for bar in parsed(figure).iter("rect")]
    assert tall[0] == pytest.approx(2 * tall[1], abs=0.11) and tall[2] == 1  # nothing is a line, not a hole
    assert "<title>y: 20</title>" in figure.inside


def test_a_file_is_whole_and_needs_no_page():
    names = ('<b> "quoted" & co', "c")
    series = [Series(name, [1, 2], [0.1, 0.2], [None, None]) for name in names]
    one = line_figure(series, Axis("n"), SHARE, width=500, look=PAPER, title="A title")
    both = under_each_other([one, one])
    assert both.height > 2 * one.height
    file = standalone(both)
    root = ET.fromstring(file.encode())
    assert root.tag == "{http://www.w3.org/2000/svg}svg" and "var(" not in file
    assert names[0] in [t.text for t in root.iter("{http://www.w3.org/2000/svg}text")]
    assert re.search(r'<rect width="[\d.]+" height="[\d.]+" fill="#ffffff"/>', file)


def test_a_phone_gets_its_own_drawing():
    both = in_two_widths(lambda width: line_figure([Series("a", [1], [0.1], [None])], Axis("n"), SHARE, width=width))
    assert both.count("<svg") == 2 and 'width="1060"' in both and 'width="326"' in both
