"""Positions, as they are written and read back."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.core.cursor import LONGEST, Cursor, is_run_id, new_run_id, parse_cursor
from penstock.core.errors import Refused

RUN = "st_" + "a" * 26


@given(
    offset=st.integers(0, 10**15 - 1), frame=st.integers(0, 9999), epoch=st.from_regex("[a-z0-9]{1,8}", fullmatch=True)
)
def test_a_cursor_is_read_as_it_was_written(offset: int, frame: int, epoch: str) -> None:
    cursor = Cursor(RUN, epoch, offset, frame if offset else 0)
    assert len(str(cursor)) <= LONGEST
    assert parse_cursor(str(cursor)) == cursor


def test_within_an_entry_the_one_before_is_the_last_whole_one() -> None:
    assert [Cursor(RUN, "a1", 7).whole, Cursor(RUN, "a1", 7, 2).whole] == [7, 6]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "7",
        RUN,
        f"{RUN}:a1",
        f"{RUN}:a1:",
        f"{RUN}:a1:-1",
        f"{RUN}:a1:007",
        f"{RUN}:a1:7.0",
        f"{RUN}:a1:0.1",
        f"{RUN}:a1:7.",
        f"{RUN}:a1:7\n",
        f" {RUN}:a1:7",
        f"{RUN}:a1:7\x00",
        f"{RUN}:a1:٧",
        f"{RUN}:A1:7",
        f"{RUN}:toolongan:7",
        f"st_{'A' * 26}:a1:7",
        f"st_{'a' * 25}:a1:7",
        f"{RUN}:a1:{10**15}",
        "x" * 10_240,
    ],
)
def test_what_we_cannot_have_written_is_refused(text: str) -> None:
    with pytest.raises(Refused) as caught:
        parse_cursor(text)
    assert caught.value.fault.code == "bad_cursor"
    assert text[:40] not in caught.value.fault.message or not text


@given(st.text(max_size=120))
def test_any_text_is_a_cursor_or_refused(text: str) -> None:
    try:
        written = str(parse_cursor(text))
    except Refused as refused:
        written = refused.fault.code
    assert written in (text, "bad_cursor")


def test_run_ids_are_known_by_their_form_and_are_never_the_same() -> None:
    ids = {new_run_id() for _ in range(1000)}
    assert len(ids) == 1000
    assert all(is_run_id(text) for text in ids)
    assert [is_run_id(text) for text in ("", "st_", RUN + "a", RUN[:-1], RUN[:-1] + "1", RUN + "\n")] == [False] * 6
