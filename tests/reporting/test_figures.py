"""Figures: where things stand, from numbers that can be worked out."""

import re
import xml.etree.ElementTree as ET
from dataclasses import replace

import pytest

from sondino.reporting.figures import (
    PAPER,
    Axis,
    Series,
    bar_figure,
    dot_figure,
    in_two_widths,
    line_figure,
    share,
    standalone,
    ticks,
    under_each_other,
)
from sondino.text import short_bytes

SHARE = Axis("score")


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


def test_a_long_name_wraps_and_only_a_very_long_one_is_cut():
    for name, whole in (("a long name of a setting, in lines", True), ("a very long name of a setting " * 4, False)):
        series = [Series("", [0, 1], [0.1, 0.2], [None, None])]
        figure = dot_figure([name, "b"], series, SHARE, width=326)
        lines = parsed(figure).find("g[title]").findall("text")
        assert all(len(line.text) * 7.5 <= 0.4 * 326 - 14 for line in lines) and 2 < len(lines) <= 4
        assert (" ".join(line.text for line in lines) == name) == whole
        assert lines[-1].text.endswith("…") != whole
        assert f"<title>{name}</title>" in figure.inside
        heights = [float(line.get("y")) for line in lines]
        first, second = spots(figure, "5")
        assert heights == sorted(heights) and heights[-1] < (first[1] + second[1]) / 2 + 4


def test_names_in_a_legend_and_titles_wrap():
    name = "a_name_without_spaces_" * 4
    series = [Series(name + str(i), [1, 2], [0.1, 0.2], [None, None]) for i in range(2)]
    figure = line_figure(series, Axis("n"), SHARE, width=326, title="A title of several words " * 4)
    texts = list(parsed(figure).iter("text"))
    bold = [t for t in texts if "font-weight" in t.get("style")]
    assert 1 < len(bold) <= 4 and all(8.8 * len(t.text) <= 326 for t in bold)
    legend = [t for t in texts if "12.5px" in t.get("style")]
    assert "".join(t.text for t in legend) == name + "0" + name + "1"
    assert all(6.9 * len(t.text) <= 326 - 25 for t in legend)
    lowest = max(float(t.get("y")) for t in legend)
    assert lowest < min(float(line.get("y1")) for line in parsed(figure).findall("line"))


@pytest.mark.parametrize("axis", [SHARE, Axis("score", share), Axis("memory", short_bytes, digits=3)])
@pytest.mark.parametrize("low", [0.0, 1.0, 1e9])
@pytest.mark.parametrize("span", [3e-9, 1e-6, 0.01, 0.3])
def test_ticks_never_read_the_same(axis, low, span):
    values = [low + span * i * max(low, 1) for i in range(3)]
    series = [Series("", [1, 2, 3], values, [None] * 3)]
    for figure in (line_figure(series, Axis("n"), axis, width=500), bar_figure(values, "abc", axis, width=500)):
        texts = [t.text for t in parsed(figure).iter("text") if t.get("text-anchor") == "end"]
        assert len(texts) > 1 and len(set(texts)) == len(texts)
    dots = dot_figure(["a", "b", "c"], [Series("", [0, 1, 2], values, [None] * 3)], axis, width=700)
    texts = [t.text for t in parsed(dots).iter("text") if t.get("text-anchor") == "middle"][:-1]
    assert len(texts) > 1 and len(set(texts)) == len(texts)


def test_counts_have_whole_ticks():
    figure = bar_figure([2, 1], ["a", "b"], Axis("clips", lambda value, _: f"{value:,.0f}"), width=300)
    assert [t.text for t in parsed(figure).iter("text")] == ["0", "1", "2"]


@pytest.mark.parametrize(("count", "colours"), [(10, 10), (11, 10), (14, 10)])
def test_further_series_share_one_colour_and_the_legend_says_so(count, colours):
    names = [f"s{i}" for i in range(count)]
    series = [Series(name, [1, 2], [i, i + 1], [None, None]) for i, name in enumerate(names)]
    drawn = [
        line_figure(series, Axis("n"), SHARE, width=500, look=PAPER),
        dot_figure(["a", "b"], [replace(one, x=[0, 1]) for one in series], SHARE, width=500, look=PAPER),
    ]
    for figure in drawn:
        used = re.findall(r'r="(?:3.6|5)" style="fill:(#\w+)', figure.inside)
        assert len(used) % count == 0 and len(set(used)) == colours
        legend = [t.text for t in parsed(figure).iter("text") if "12.5px" in t.get("style")]
        others = count - 9
        assert legend == (names if count == 10 else [*names[:9], f"the other {others}, in one colour"])


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
