"""Blocks of one text: where a provider's note puts a border a message has one too, for whoever reads it, from wherever."""

from __future__ import annotations

from typing import Any

import pytest

from penstock.core.cursor import Entry
from penstock.core.events import Closed, Delta, Event, Finished, Json, Note, Opened
from penstock.core.frame import View
from penstock.dialects.anthropic import AnthropicDialect
from penstock.encoders.sse import SseEncoder
from penstock.testing.laws.dialects import check_rejoin, check_resume
from penstock.testing.readings import READERS
from penstock.testing.wire import expected
from tests.dialects.telling import RUN, STARTED, frames, placed, values, whole

ANTHROPIC = AnthropicDialect()
VIEW = View(run=RUN)


def cited(words: str, start: int, end: int) -> dict[str, Json]:
    return {"quote": words, "start": start, "end": end, "anthropic": {"type": "char_location", "cited_text": words}}


def border(at: int, part: int = 0, **members: Json) -> Note:
    return Note("block", {"part": part, "at": at, **members})


FIRST, SECOND = cited("one", 4, 7), cited("two", 13, 16)
TEXT: tuple[Event, ...] = (
    *(STARTED, Opened(0, "text"), Delta(0, "It "), Delta(0, "is ")),
    *(border(6), Delta(0, "first"), border(11, citations=[FIRST])),
    *(Delta(0, " and"), border(15, anthropic={"mark": 1}), Delta(0, " then")),
    *(Delta(0, "."), Closed(0, {"citations": [FIRST, SECOND]}), Finished()),
)
AFTER_A_CALL: tuple[Event, ...] = (
    *(STARTED, Opened(0, "tool_call", name="f", call_id="c", meta={"anthropic": {"caller": {"type": "direct"}}})),
    *(Delta(0, "{"), Opened(1, "text"), Delta(1, "a"), border(1, 1), Delta(1, "b")),
    *(Delta(0, "}"), Closed(0), Delta(1, "c"), Closed(1), Finished()),
)


def blocks(*events: Event) -> list[dict[str, Any]]:
    """The blocks of a legal stream, put together as SDKs do it."""
    told = frames(ANTHROPIC, *events)
    READERS["anthropic"]([expected(frame, "") for frame in told])
    found: list[dict[str, Any]] = []
    for value in values(told):
        if value["type"] == "content_block_start":
            found.append(value["content_block"])
        elif value["type"] == "content_block_delta":
            match value["delta"]:
                case {"text": text}:
                    found[-1]["text"] += text
                case {"citation": citation}:
                    found[-1].setdefault("citations", []).append(citation)
                case {"partial_json": piece}:
                    found[-1]["input"] = (found[-1]["input"] or "") + piece
    return found


def text(words: str, *citations: dict[str, Json], **members: Json) -> dict[str, Any]:
    return {
        "type": "text", "text": words, **members,
        **({"citations": [citation["anthropic"] for citation in citations]} if citations else {}),
    }  # fmt: skip


def test_every_border_ends_a_block_with_its_own_citations_and_begins_another() -> None:
    assert blocks(*TEXT) == [
        text("It is "),
        text("first", FIRST),
        text(" and"),
        text(" then.", SECOND, mark=1),
    ]
    assert whole(ANTHROPIC, *TEXT)["content"] == blocks(*TEXT)


def test_a_block_of_a_call_begins_with_what_its_provider_said_of_it() -> None:
    call = {"type": "tool_use", "id": "c", "name": "f", "caller": {"type": "direct"}}
    assert blocks(*AFTER_A_CALL) == [{**call, "input": "{}"}, text("a"), text("bc")]
    assert whole(ANTHROPIC, *AFTER_A_CALL)["content"] == [{**call, "input": {}}, text("a"), text("bc")]


@pytest.mark.parametrize("events", [TEXT, AFTER_A_CALL])
def test_borders_are_the_same_for_whoever_comes_back_or_joins_late(events: tuple[Event, ...]) -> None:
    entries: list[Entry] = placed(*events)
    check_resume(ANTHROPIC, VIEW, SseEncoder, entries)
    check_rejoin(ANTHROPIC, VIEW, entries, READERS["anthropic"])


@pytest.mark.parametrize(
    "body",
    [None, {}, {"part": 0}, {"part": 1, "at": 1}, {"part": "0", "at": 1}, {"part": 0, "at": 1, "citations": {}}],
)
def test_a_note_that_is_no_border_of_the_open_text_changes_nothing(body: Json) -> None:
    events = (STARTED, Opened(0, "text"), Delta(0, "a"), Note("block", body), Delta(0, "b"), Closed(0), Finished())
    assert blocks(*events) == [text("ab")]
    assert whole(ANTHROPIC, *events)["content"] == [text("ab")]
