"""Where a key stands in a TOML file, however the file is written."""

import tomllib
from textwrap import dedent

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.config.locate import Key, Places

DOCUMENT = dedent(
    '''\
    # a comment with [brackets]
    top = 1

    [server]
    host = "a # b"
    text = """
    [not.a.table]
    port = 1
    """
    port = 2
    log.level = "x"

    [[route]]
    path = "/a"
    transport = [
      "sse",  # one
      "text",
    ]
    [route.limits]
    gap = 5

    [[route]]
    path = "/b"
    on_disconnect = { grace = "5s" }
    [[route.inner]]
    x = 1
    [[route.inner]]
    x = 2

    ["quoted key"."with.dot"]
    'lit' = 1
    '''
)


@pytest.mark.parametrize(
    ("key", "line"),
    [
        (("top",), 2),
        (("server",), 4),
        (("server", "host"), 5),
        (("server", "text"), 6),
        (("server", "port"), 10),
        (("server", "log", "level"), 11),
        (("route", 0), 13),
        (("route", 0, "path"), 14),
        (("route", 0, "transport"), 15),
        (("route", 0, "transport", 1), 15),
        (("route", 0, "limits"), 19),
        (("route", 0, "limits", "gap"), 20),
        (("route", 1), 22),
        (("route", 1, "on_disconnect", "grace"), 24),
        (("route", 1, "inner", 0, "x"), 26),
        (("route", 1, "inner", 1, "x"), 28),
        (("quoted key", "with.dot", "lit"), 31),
    ],
)
def test_every_key_has_its_line(key: Key, line: int) -> None:
    assert Places(DOCUMENT).line(key) == line


def test_what_is_not_there_has_the_line_of_what_is_around_it() -> None:
    places = Places(DOCUMENT)
    assert (places.line(("route", 1, "model")), places.line(("server", "nothing", "deeper"))) == (22, 4)
    assert places.line(("elsewhere",)) is None


def test_line_ends_of_windows_change_nothing() -> None:
    assert Places(DOCUMENT.replace("\n", "\r\n")).line(("route", 1, "inner", 1, "x")) == 28


names = st.text("abcdefg", min_size=1, max_size=3)
values = st.sampled_from(["1", '"x"', "[\n1,\n2\n]", '"""\na\n[b]\n"""', "{ inner = 1 }", "1979-05-27T07:32:00Z"])


@given(tables=st.dictionaries(names, st.dictionaries(names, values, max_size=4), max_size=5))
def test_every_key_of_any_document_stands_where_it_was_written(tables: dict[str, dict[str, str]]) -> None:
    text = ""
    wanted: dict[Key, int] = {}
    for table, keys in tables.items():
        wanted[table,] = text.count("\n") + 1
        text += f"[{table}]\n"
        for name, value in keys.items():
            wanted[table, name] = text.count("\n") + 1
            text += f"{name} = {value}\n\n"
    assert list(tomllib.loads(text)) == list(tables)
    places = Places(text)
    assert {key: places.line(key) for key in wanted} == wanted


def test_a_table_that_stands_only_in_a_longer_header_is_found_there() -> None:
    places = Places('[server]\nport = 1\n\n[modles.x]\ntargets = ["demo"]\n')
    assert places.line(("modles",)) == 4
