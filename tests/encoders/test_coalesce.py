"""Adjacent deltas become one, and nothing else does."""

from __future__ import annotations

import msgspec
import pytest

from penstock.core.cursor import Entry
from penstock.core.events import Chunk, Closed, Delta, Event, Finished, Note, Opened, Usage
from penstock.encoders.coalesce import LONGEST, coalesce


def placed(*events: Event, first: int = 1) -> list[Entry]:
    return [Entry(offset, offset, offset * 10, event) for offset, event in enumerate(events, first)]


def test_adjacent_deltas_of_a_part_become_one_that_covers_them() -> None:
    merged = coalesce(placed(Opened(0, "text"), Delta(0, "a"), Delta(0, ""), Delta(0, "b"), Closed(0)))
    assert merged == [
        Entry(1, 1, 10, Opened(0, "text")),
        Entry(2, 4, 40, Delta(0, "ab")),
        Entry(5, 5, 50, Closed(0)),
    ]


@pytest.mark.parametrize(
    "between",
    [
        Delta(1, "x"),
        Chunk(1, b"x"),
        Note("n", None),
        Usage(1, 1, "counted"),
        Closed(1),
        Opened(2, "text"),
        Finished(),
        Delta(0, "x", msgspec.Raw(b"{}")),
    ],
    ids=["other-part", "chunk", "note", "usage", "closed", "opened", "finished", "logprobs"],
)
def test_whatever_stands_between_keeps_them_apart(between: Event) -> None:
    entries = placed(Delta(0, "a"), between, Delta(0, "b"))
    assert coalesce(entries) == entries


def test_chunks_and_deltas_with_data_of_their_own_are_left_alone() -> None:
    raw = msgspec.Raw(b"{}")
    entries = placed(Chunk(0, b"a"), Chunk(0, b"b"), Delta(1, "a", raw), Delta(1, "b", raw))
    assert coalesce(entries) == entries


def test_a_merged_delta_is_no_longer_than_it_may_be() -> None:
    half = "x" * (LONGEST // 2)
    merged = coalesce(placed(Delta(0, half), Delta(0, half), Delta(0, "y"), Delta(0, half * 3)))
    assert [(entry.first, entry.last) for entry in merged] == [(1, 2), (3, 3), (4, 4)]
    assert "".join(entry.event.text for entry in merged if isinstance(entry.event, Delta)) == half * 2 + "y" + half * 3


def test_what_was_merged_can_be_merged_again() -> None:
    once = coalesce(placed(Delta(0, "a"), Delta(0, "b"))) + placed(Delta(0, "c"), first=3)
    assert coalesce(once) == [Entry(1, 3, 30, Delta(0, "abc"))]


def test_nothing_becomes_nothing() -> None:
    assert coalesce([]) == []
