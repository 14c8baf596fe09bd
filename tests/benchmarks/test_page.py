"""The page gets the tables there are results for and keeps its own words; the pictures are sound and can be read anywhere."""

from xml.etree import ElementTree as ET

import pytest

from benchmarks.page import PAGE, TABLES, filled
from benchmarks.pictures import Bar, chart, drawn
from benchmarks.report import Results
from benchmarks.rows import Row

SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture
def results() -> Results:
    row = Row(group="idle", label="ten <streams>", columns={"KiB per stream": [1.0, 3.0]})
    return Results(machine="a machine", measured=[], rows=[row])


def widths(picture: str) -> list[float]:
    return [float(bar.attrib["width"]) for bar in ET.fromstring(picture).iter(f"{SVG}rect")]


def test_a_table_with_results_is_written_anew(results: Results) -> None:
    page = "# Words\n\n<!-- measured: machine -->\n\nan old one\n\n<!-- end -->\n\nMore words.\n"
    assert (
        filled(page, results) == "# Words\n\n<!-- measured: machine -->\n\na machine\n\n<!-- end -->\n\nMore words.\n"
    )


def test_a_table_without_results_stays_as_it_is(results: Results) -> None:
    page = "<!-- measured: resume -->\n\nan old one\n\n<!-- end -->\n"
    assert filled(page, results) == page
    assert filled(page.replace("resume", "goals"), results) == page.replace("resume", "goals")


def test_writing_the_same_results_twice_changes_nothing(results: Results) -> None:
    once = filled("<!-- measured: idle -->\n<!-- end -->\n", results)
    assert "| ten <streams> | 2 (1–3) |" in once
    assert filled(once, results) == once


def test_every_table_of_the_page_is_filled() -> None:
    text = PAGE.read_text()
    empty = Results(machine="", measured=[])
    assert all(f"<!-- measured: {name} -->" in text for name in TABLES)
    assert filled(text, empty).count("<!-- measured: ") == text.count("<!-- measured: ")
    assert "-->\n\n<!-- end -->" not in text


def test_bars_are_as_long_as_their_medians() -> None:
    one, two = widths(chart("cost", "µs", [Bar("one", [1.0]), Bar("two", [1.0, 2.0, 3.0], ours=False)]))
    assert two == 2 * one


def test_a_bar_far_longer_than_the_others_is_cut_and_keeps_its_number() -> None:
    picture = chart("cost", "µs", [Bar("one", [1.0]), Bar("two", [2.0]), Bar("far", [1000.0])])
    one, two, far = widths(picture)
    assert (two, far) == (2 * one, two)
    assert [text.text for text in ET.fromstring(picture).iter(f"{SVG}text")][-1] == "1,000"


def test_a_picture_has_no_background_and_loads_nothing(results: Results) -> None:
    picture = drawn(results)["idle"]
    assert [bar.attrib["fill"] for bar in ET.fromstring(picture).iter(f"{SVG}rect")] == ["#2f81f7"]
    assert picture.count("http") == 1
    assert "ten &lt;streams&gt;" in picture
