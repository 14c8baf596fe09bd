"""Tools that run at the provider are told while they run: added, how far they are, done; whoever comes back is told the rest."""

from __future__ import annotations

import json
from typing import Any

import pytest

from penstock.core.carried import BLOCK
from penstock.core.events import Chunk, Closed, Delta, Event, Finished, Json, Note, Opened
from penstock.core.frame import View
from penstock.dialects.openai_responses import OpenAIResponsesDialect
from penstock.encoders.sse import SseEncoder
from penstock.testing.laws.dialects import check_rejoin, check_reopen, check_resume
from penstock.testing.readings import READERS
from penstock.testing.wire import expected
from tests.dialects.telling import RUN, STARTED, frames, placed, values, whole

RESPONSES = OpenAIResponsesDialect()
VIEW = View(run=RUN)
READ = READERS["openai-responses"]
BEGUN: dict[str, Json] = {"id": "ws_1", "type": "web_search_call", "status": "in_progress"}
DONE = {**BEGUN, "status": "completed", "action": {"type": "search", "query": "it"}}


def opened(part: int, **meta: Json) -> Opened:
    return Opened(part, "binary", media_type=BLOCK % "openai-responses", meta=meta or None)


def progress(state: Json, part: int = 0) -> Note:
    return Note("progress", {"part": part, "state": state})


SEARCH: tuple[Event, ...] = (
    *(STARTED, opened(0, **{"openai-responses": BEGUN}), progress("in_progress"), progress("searching")),
    *(Opened(1, "text"), Delta(1, "So"), progress("completed"), Chunk(0, json.dumps(DONE).encode()), Closed(0)),
    *(Delta(1, "."), Closed(1), Finished()),
)


def told(*events: Event) -> list[Any]:
    got = frames(RESPONSES, *events)
    READ([expected(frame, "") for frame in got])
    return [value for value in values(got) if value.get("output_index") == 0]


def test_an_item_of_the_providers_is_added_makes_progress_and_is_done() -> None:
    added, *states, done = told(*SEARCH)
    assert (added["type"], added["item"]) == ("response.output_item.added", BEGUN)
    assert [(state["type"], state["item_id"]) for state in states] == [
        (f"response.web_search_call.{state}", "ws_1") for state in ("in_progress", "searching", "completed")
    ]
    assert (done["type"], done["item"]) == ("response.output_item.done", DONE)
    assert whole(RESPONSES, *SEARCH)["output"][0] == DONE
    assert whole(RESPONSES, *SEARCH[:3])["output"] == [BEGUN]


def test_whoever_comes_back_joins_late_or_has_a_new_parser_is_told_it_too() -> None:
    entries = placed(*SEARCH)
    check_resume(RESPONSES, VIEW, SseEncoder, entries)
    check_rejoin(RESPONSES, VIEW, entries, READ)
    check_reopen(RESPONSES, VIEW, entries, READ)


@pytest.mark.parametrize(
    "note", [progress("searching", 1), progress("no.word"), progress(""), progress(7), Note("progress", 1)]
)
def test_a_note_that_is_no_progress_of_an_open_item_is_none(note: Note) -> None:
    events = (*SEARCH[:2], note, *SEARCH[7:9], Opened(1, "text"), Closed(1), Finished())
    assert [value["type"] for value in told(*events)] == ["response.output_item.added", "response.output_item.done"]


def test_an_item_that_is_cut_stays_as_it_was_added() -> None:
    events = (*SEARCH[:3], Closed(0, {"cut": True}), Finished())
    assert values(frames(RESPONSES, *events))[-1]["response"]["output"] == [BEGUN]
