"""Numbers, CSV, Markdown and errors as text."""

import pytest

from sondino import text


def test_the_first_line_of_an_error() -> None:
    assert text.first_line(ValueError("\n the file is damaged \nat line 3 of engine.cc")) == "the file is damaged "
    assert text.first_line(KeyError()) == text.format_error(KeyError()) == "KeyError"
    assert text.format_error(ValueError("too short\nmore")) == "ValueError: too short"


def test_numbers_in_one_unit() -> None:
    assert text.percent(0.8123) == "81.2 %"
    assert text.percent(0.8123, 0, text.NO_BREAK) == "81\u00a0%"
    assert text.score_text(0.8123, (0.79, 0.83)) == "81.2 ± 2.0"
    assert text.score_text(0.8123) == "81.2"
    assert text.millions(2_970_000) == "2.97 M" and text.megabytes(12_400_000) == "12.4 MB"
    assert text.if_known(None, text.percent) == "" and text.if_known(0, text.percent) == "0.0 %"


@pytest.mark.parametrize(
    ("form", "value", "shown"),
    [
        (text.short_count, 12, "12"),
        (text.short_count, 12_345, "12.3 k"),
        (text.short_count, 2_970_000, "2.97 M"),
        (text.short_count, 4.1e9, "4.1 G"),
        (text.short_bytes, 999, "999 B"),
        (text.short_bytes, 4_100_000, "4.1 MB"),
        (text.short_duration, 0.5, "0.5 s"),
        (text.short_duration, 90, "1.5 min"),
        (text.short_duration, 5400, "1.5 h"),
        (text.milliseconds, 5.43, "5.4"),
        (text.milliseconds, 1234.5, "1,234"),
        (text.joules, 0.0123, "0.0123"),
        (text.joules, 1234, "1,234"),
        (text.times, 28.9, "29×"),
        (text.times, 2.34, "2.3×"),
    ],
)
def test_numbers_in_the_unit_that_fits(form, value, shown) -> None:
    assert form(value) == shown.replace(" ", text.NO_BREAK)


def test_csv() -> None:
    rows = [{"name": "a,b", "value": 1 / 3}, {"name": None, "value": 2, "other": 3}]
    assert text.csv_of_dicts(rows, digits=3) == 'name,value\n"a,b",0.333\n,2\n'
    assert text.csv_of_dicts(rows, ("value", "other")) == "value,other\n0.3333333333333333,\n2,3\n"
    assert text.csv_text(["n"], []) == "n\n"
    assert text.to_bytes("\udce9é") == b"\xe9\xc3\xa9"  # a byte of a name that is not UTF-8 comes out as it was


def test_markdown() -> None:
    table = text.markdown_table(["name", "value"], [["a|b", 1]], left=1)
    assert table == "| name | value |\n| --- | ---: |\n| a\\|b | 1 |"
    assert text.markdown_table(["name"], []) == "| name |\n| --- |"
    assert text.markdown_facts({"labels": "a|b", "n": 2}) == "| | |\n| --- | --- |\n| labels | a\\|b |\n| n | 2 |"
