"""Numbers, CSV, Markdown and errors as text."""

import csv
import io

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


ODD = [
    "plain name.wav", "ä 大山雀", "a\rb", "a\nb", "a\tb", "\x00", "\x1b[2J", "\x7f", "\x85", "\u2028", "\udcff",
    "C:\\x", "a\\x0d",
    "\\\\x0d", "\\\r", "\\x5c", "\\udcff", "=1+1", "+1+1", "-a",
    "@sum", "'=1", "''-x", "'plain", "\t=1", "＝1", "-", "",
]  # fmt: skip


@pytest.mark.parametrize("name", ODD)
def test_a_name_in_a_table_is_one_cell_that_no_program_computes_and_reads_back(name) -> None:
    written = text.csv_text(["id", "n"], [[name, -1.5], ["next", "-2e-05"]])
    assert written.encode().decode().splitlines()[2:] == ["next,-2e-05"]  # one line a row, and valid UTF-8
    for rows in (csv.DictReader(io.StringIO(written)), csv.DictReader(written.splitlines())):
        (cell, _) = (row["id"] for row in rows)
        assert cell[:1] not in tuple("=+@\t\r＝") or cell == "-", cell
        assert cell.isprintable()
    assert [row["id"] for row in text.read_csv(io.StringIO(written))] == [name, "next"]
    assert text.unescape(text.escape(name)) == name


def test_names_differ_in_a_table_as_they_do_on_disk() -> None:
    assert len({text.to_cell(name) for name in ODD}) == len({text.escape(name) for name in ODD}) == len(ODD)
    assert text.escape("a\rb\udcff") == "a\\x0db\\udcff" and text.escape("C:\\music\\x") == "C:\\music\\x"
    assert [text.to_cell(number) for number in ("-1.5", "+3", "-inf", "-", -2)] == ["-1.5", "+3", "-inf", "-", -2]


def test_control_codes_are_harmless_in_a_terminal() -> None:
    assert text.printable("a\x1b[2J\rb\x07\n\tc\x9b\udcff") == "a\\x1b[2J\\x0db\\x07\n\tc\\x9b\\udcff"


def test_markdown() -> None:
    table = text.markdown_table(["name", "value"], [["a|b", 1]], left=1)
    assert table == "| name | value |\n| --- | ---: |\n| a\\|b | 1 |"
    odd = "<b>*x*</b> [a](b) `c` _d_ e_f & \r|"
    assert text.markdown_table([odd], []).splitlines()[0] == (r"| \<b>\*x\*\</b> \[a\](b) \`c\` \_d\_ e_f \& \\x0d\| |")
    assert text.markdown_code("a`b``c") == "``` a`b``c ```" and text.markdown_code("x") == "`x`"
    assert text.markdown_table(["name"], []) == "| name |\n| --- |"
    assert text.markdown_facts({"labels": "a|b", "n": 2}) == "| | |\n| --- | --- |\n| labels | a\\|b |\n| n | 2 |"
