"""Anthropic Messages, as its SDKs expect them: one block at a time, whatever is open at once."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given

from penstock.core.carried import BLOCK
from penstock.core.cursor import Entry
from penstock.core.errors import TABLE, fault
from penstock.core.events import (
    Cancelled,
    Chunk,
    Closed,
    Delta,
    Event,
    Failed,
    Finished,
    Json,
    Note,
    Opened,
    ToolReturned,
    Usage,
)
from penstock.core.frame import Frame, View
from penstock.core.snapshot import fold
from penstock.dialects.anthropic import AnthropicDialect
from penstock.encoders.sse import SseEncoder
from penstock.testing.laws.dialects import check_coalesce, check_rejoin, check_resume, check_shape
from penstock.testing.readings import READERS, Illegal, read_events
from penstock.testing.strategies import RUN as STRATEGY_RUN
from penstock.testing.strategies import batches, runs
from penstock.testing.wire import Received, expected
from tests.dialects.telling import RUN, STARTED, frames, rejoined, values, whole
from tests.laws.pairs import laws

ANTHROPIC = AnthropicDialect()
BOXED = BLOCK % "anthropic"
HELLO: tuple[Event, ...] = (STARTED, Opened(0, "text"), Delta(0, "Hel"), Delta(0, "lo"), Closed(0), Finished())
NO_TOKENS = {"input_tokens": 0, "output_tokens": 0}
read = READERS["anthropic"]


def start(index: int, **block: Any) -> dict[str, Any]:
    return {"type": "content_block_start", "index": index, "content_block": block}


def text(index: int, words: str) -> dict[str, Any]:
    return {"type": "content_block_delta", "index": index, "delta": {"type": "text_delta", "text": words}}


def arguments(index: int, words: str) -> dict[str, Any]:
    return {"type": "content_block_delta", "index": index, "delta": {"type": "input_json_delta", "partial_json": words}}


def stop(index: int) -> dict[str, Any]:
    return {"type": "content_block_stop", "index": index}


def told(*events: Event, primed: int = 0) -> list[Any]:
    """Everything between the beginning and the end of a message."""
    return [
        value
        for value in values(frames(ANTHROPIC, STARTED, *events, Finished(), primed=primed))
        if not value["type"].startswith("message_")
    ]


def blocks(*events: Event) -> list[tuple[str, str]]:
    """The type and the words of every block of a message that is legal."""
    got = frames(ANTHROPIC, STARTED, *events, Finished())
    reading = read([expected(frame, "") for frame in got])
    return [(part.key[1], part.text) for part in reading.parts.values()]


def ending(*events: Event) -> dict[str, Any]:
    """`message_delta` of a run."""
    (found,) = [v for v in values(frames(ANTHROPIC, STARTED, *events)) if v["type"] == "message_delta"]
    return dict(found)


def test_a_message_is_its_start_its_blocks_and_its_end_each_named_by_its_type() -> None:
    got = frames(ANTHROPIC, *HELLO)
    assert [frame.event for frame in got] == [value["type"] for value in values(got)]
    assert values(got) == [
        {
            "type": "message_start",
            "message": {
                "id": "msg_" + "b" * 26,
                "type": "message",
                "role": "assistant",
                "model": "demo",
                "content": [],
                "stop_reason": None,
                "stop_sequence": None,
                "usage": NO_TOKENS,
            },
        },
        start(0, type="text", text=""),
        text(0, "Hel"),
        text(0, "lo"),
        stop(0),
        {"type": "message_delta", "delta": {"stop_reason": "end_turn", "stop_sequence": None}, "usage": NO_TOKENS},
        {"type": "message_stop"},
    ]


def test_a_run_that_says_nothing_is_a_message_without_blocks() -> None:
    assert [v["type"] for v in values(frames(ANTHROPIC, STARTED, Finished()))] == [
        "message_start",
        "message_delta",
        "message_stop",
    ]


def test_what_is_known_of_the_prompt_stands_in_the_start_and_the_sum_in_the_end() -> None:
    early, late = Usage(100, 1, "reported", cached=70, cache_written=20), Usage(100, 9, "reported", 70, 4, 20)
    got = values(frames(ANTHROPIC, STARTED, early, Opened(0, "text"), Closed(0), late, Finished()))
    counts = {"input_tokens": 10, "cache_creation_input_tokens": 20, "cache_read_input_tokens": 70}
    assert got[0]["message"]["usage"] == {**counts, "output_tokens": 1}
    assert got[-2]["usage"] == {**counts, "output_tokens": 9, "output_tokens_details": {"thinking_tokens": 4}}


def test_thinking_ends_with_its_signature() -> None:
    assert told(Opened(0, "reasoning"), Delta(0, "hm"), Closed(0, {"signature": "c2ln"})) == [
        start(0, type="thinking", thinking="", signature=""),
        {"type": "content_block_delta", "index": 0, "delta": {"type": "thinking_delta", "thinking": "hm"}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "signature_delta", "signature": "c2ln"}},
        stop(0),
    ]


def test_citations_are_the_providers_own_or_places_on_the_web() -> None:
    own = {"type": "char_location", "cited_text": "x", "document_index": 0}
    meta: Any = {"citations": [{"quote": "x", "anthropic": own}, {"url": "https://a.example", "quote": "q"}, 7]}
    events = (Opened(0, "text"), Delta(0, "a"), Closed(0, meta))
    place = {
        "type": "web_search_result_location",
        "cited_text": "q",
        "url": "https://a.example",
        "title": None,
        "encrypted_index": "",
    }
    assert [v["delta"]["citation"] for v in told(*events)[2:4]] == [own, place]
    assert whole(ANTHROPIC, STARTED, *events, Finished())["content"] == [
        {"type": "text", "text": "a", "citations": [own, place]}
    ]


def test_a_box_of_its_own_is_told_as_the_block_it_is_and_any_other_box_not() -> None:
    block = {"type": "redacted_thinking", "data": "eA=="}
    events = (
        *(Opened(0, "binary", media_type=BOXED), Chunk(0, json.dumps(block).encode()), Closed(0)),
        *(Opened(1, "binary", media_type=BLOCK % "ai-sdk"), Chunk(1, b'{"type":"x"}'), Closed(1)),
        *(Opened(2, "binary", media_type=BOXED), Chunk(2, b"not JSON"), Closed(2)),
        *(Opened(3, "text"), Delta(3, "a"), Closed(3)),
    )
    assert told(*events) == [start(0, **block), stop(0), start(1, type="text", text=""), text(1, "a"), stop(1)]
    assert whole(ANTHROPIC, STARTED, *events, Finished())["content"] == [block, {"type": "text", "text": "a"}]


def test_a_tool_call_has_its_name_first_and_its_arguments_in_pieces() -> None:
    events = (
        Opened(0, "tool_call", name="look_up", call_id="toolu_1"),
        Delta(0, '{"a":'),
        Delta(0, "1}"),
        Closed(0),
    )
    assert told(*events) == [
        start(0, type="tool_use", id="toolu_1", name="look_up", input={}),
        arguments(0, '{"a":'),
        arguments(0, "1}"),
        stop(0),
    ]
    assert ending(*events, Finished("tool_calls"))["delta"]["stop_reason"] == "tool_use"


@pytest.mark.parametrize(("said", "made"), [("", {}), ('{"a":1}', {"a": 1}), ("{", {"INVALID_JSON": "{"})])
def test_the_input_of_a_whole_call_is_an_object_whatever_was_said(said: str, made: Any) -> None:
    answer = whole(ANTHROPIC, STARTED, Opened(7, "tool_call", name="f"), Delta(7, said), Closed(7), Finished())
    assert answer["content"] == [{"type": "tool_use", "id": "toolu_7", "name": "f", "input": made}]
    assert (answer["stop_reason"], answer["usage"]) == ("tool_use", NO_TOKENS)


@pytest.mark.parametrize(
    ("reason", "word"),
    [
        ("stop", "end_turn"),
        ("length", "max_tokens"),
        ("tool_calls", "tool_use"),
        ("content_filter", "refusal"),
        ("pause_turn", "pause_turn"),
    ],
)
def test_why_it_stopped_is_said_in_words_of_its_own(reason: str, word: str) -> None:
    assert ending(Finished(reason))["delta"]["stop_reason"] == word
    assert whole(ANTHROPIC, STARTED, Finished(reason))["stop_reason"] == word


def test_the_reason_of_its_last_part_counts_more_than_that_of_the_run() -> None:
    parts = (Opened(0, "text"), Closed(0, {"finish_reason": "length"}), Opened(1, "text", 1))
    assert ending(*parts, Closed(1, {"finish_reason": "stop"}), Finished())["delta"]["stop_reason"] == "max_tokens"


def test_a_refusal_is_text_and_a_reason() -> None:
    events = (Opened(0, "refusal"), Delta(0, "No."), Closed(0))
    assert blocks(*events) == [("text", "No.")]
    assert ending(*events, Finished())["delta"]["stop_reason"] == "refusal"


def test_a_sequence_that_stopped_it_is_named() -> None:
    more: Any = {"stop_sequence": "END", "container": {"id": "c"}}
    delta = {"stop_reason": "stop_sequence", "stop_sequence": "END", "container": {"id": "c"}}
    assert ending(Note("stop", more), Finished())["delta"] == delta
    answer = whole(ANTHROPIC, STARTED, Note("stop", more), Finished())
    assert {name: answer[name] for name in delta} == delta


def test_a_call_that_waits_for_its_result_is_a_reason_to_stop_and_one_the_server_ran_is_none() -> None:
    call = (Opened(0, "tool_call", name="f", call_id="c"), Delta(0, "{}"), Closed(0))
    assert ending(*call, Finished())["delta"]["stop_reason"] == "tool_use"
    assert ending(*call, ToolReturned("c", 1), Finished())["delta"]["stop_reason"] == "end_turn"


def test_a_block_ends_where_the_next_part_begins_and_what_it_says_later_comes_at_the_end() -> None:
    """A chat provider closes its parts at the end of the answer: thinking must not hold up the words that follow it."""
    thought, words = Opened(0, "reasoning"), Opened(1, "text")
    events = (thought, Delta(0, "hm"), words, Delta(1, "So"), Delta(0, " oh"), Delta(1, "!"), Closed(0), Closed(1))
    assert blocks(*events) == [("reasoning", "hm"), ("text", "So!"), ("reasoning", " oh")]
    got = values(frames(ANTHROPIC, STARTED, *events[:4]))
    assert got[-1] == text(1, "So")


def test_a_signature_that_comes_late_is_not_lost() -> None:
    events = (Opened(0, "reasoning"), Delta(0, "hm"), Opened(1, "text"), Closed(1), Closed(0, {"signature": "s"}))
    got = told(*events)
    assert [v["index"] for v in got if v["type"] == "content_block_start"] == [0, 1, 2]
    assert got[-2]["delta"] == {"type": "signature_delta", "signature": "s"}


def test_parallel_calls_stream_one_after_the_other_as_soon_as_the_arguments_of_each_are_complete() -> None:
    def call(part: int) -> Opened:
        return Opened(part, "tool_call", name="f", call_id=f"c{part}")

    got = told(call(0), Delta(0, '{"a":'), Delta(0, "1}"), call(1), Delta(1, "{"), Delta(1, "}"), Closed(0), Closed(1))
    assert got[3:6] == [stop(0), start(1, type="tool_use", id="c1", name="f", input={}), arguments(1, "{")]


def test_a_part_waits_for_the_arguments_of_the_call_before_it() -> None:
    first, second = (Opened(part, "tool_call", name="f", call_id=f"c{part}") for part in (0, 1))
    events = (first, Delta(0, '{"a":'), second, Delta(1, "{"), Delta(0, "1}"), Delta(1, "}"), Closed(0), Closed(1))
    assert blocks(*events) == [("tool_call", '{"a":1}'), ("tool_call", "{}")]
    before = values(frames(ANTHROPIC, STARTED, *events[:6]))
    assert before[-1] == arguments(0, "1}")
    assert values(frames(ANTHROPIC, STARTED, *events[:7]))[len(before) :] == [
        stop(0),
        start(1, type="tool_use", id="c1", name="f", input={}),
        arguments(1, "{}"),
    ]


def test_of_several_answers_the_first_is_told() -> None:
    events = (Opened(0, "text", 0), Opened(1, "text", 1), Delta(1, "b"), Delta(0, "a"), Closed(1), Closed(0))
    assert blocks(*events) == [("text", "a")]


@pytest.mark.parametrize("end", [Failed(fault("provider_overloaded", "busy")), Cancelled("client")])
def test_an_answer_that_is_not_complete_ends_in_an_error_and_never_in_a_stop(end: Event) -> None:
    got = values(frames(ANTHROPIC, *HELLO[:-1], end))
    assert got[-1]["type"] == "error"
    assert {"message_delta", "message_stop"} & {value["type"] for value in got} == set()


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        ("invalid_request", "invalid_request_error"),
        ("unauthenticated", "authentication_error"),
        ("forbidden", "permission_error"),
        ("unknown_model", "not_found_error"),
        ("body_too_large", "request_too_large"),
        ("provider_rate_limited", "rate_limit_error"),
        ("provider_overloaded", "overloaded_error"),
        ("gap_timeout", "timeout_error"),
        ("provider_truncated", "api_error"),
        ("internal", "api_error"),
    ],
)
def test_an_error_is_of_the_type_that_clients_know(code: str, kind: str) -> None:
    body = json.loads(ANTHROPIC.refuse(fault(code, param="max_tokens"), "req_1"))
    details = {"error_code": code, "param": "max_tokens"}
    assert body == {
        "type": "error",
        "error": {"type": kind, "message": TABLE[code].meaning, "details": details},
        "request_id": "req_1",
    }
    assert values(frames(ANTHROPIC, STARTED, Failed(fault(code))))[-1]["error"]["type"] == kind


def test_whoever_joins_late_is_told_the_blocks_so_far_and_goes_on_in_the_open_one() -> None:
    events = (STARTED, Opened(0, "text"), Delta(0, "a"), Closed(0), Opened(1, "reasoning"), Delta(1, "b"))
    assert [v.get("index") for v in values(rejoined(ANTHROPIC, *events))] == [None, 0, 0, 0, 1, 1]
    assert values(frames(ANTHROPIC, *events, Delta(1, "c"), primed=6))[0]["index"] == 1


def test_a_new_parser_has_the_open_block_opened_again_as_its_first() -> None:
    events: tuple[Event, ...] = (
        *(STARTED, Opened(0, "text"), Delta(0, "a"), Closed(0)),
        *(Opened(1, "text"), Delta(1, "b")),
    )
    renderer = ANTHROPIC.renderer(View(run=RUN))
    renderer.prime(fold([Entry(n, n, 0, event) for n, event in enumerate(events, 1)]))
    got = [*renderer.reopen(), *renderer.render(Entry(7, 7, 0, Delta(1, "c")))]
    assert values(got)[1:] == [start(0, type="text", text=""), text(0, "c")]


def boxes(entries: list[Entry]) -> list[Entry]:
    """The same run, its images being blocks of Anthropic's."""
    block = json.dumps({"type": "server_tool_use", "id": "s", "name": "web_search", "input": {"q": "ä"}}).encode()

    def boxed(event: Event) -> Event:
        if isinstance(event, Opened) and event.kind == "binary":
            return Opened(event.part, "binary", event.choice, media_type=BOXED)
        return Chunk(event.part, block) if isinstance(event, Chunk) else event

    return [Entry(entry.first, entry.last, entry.at, boxed(entry.event)) for entry in entries]


@laws
@given(pieces=runs().map(boxes).flatmap(batches))
def test_boxes_obey_the_laws_too(pieces: list[list[Entry]]) -> None:
    entries = [entry for batch in pieces for entry in batch]
    view = View(run=STRATEGY_RUN)
    check_resume(ANTHROPIC, view, SseEncoder, entries)
    check_coalesce(ANTHROPIC, view, pieces, read)
    check_shape(ANTHROPIC, view, entries)


@laws
@given(entries=runs(overlapping=False).map(boxes))
def test_boxes_are_told_to_whoever_joins_late(entries: list[Entry]) -> None:
    check_rejoin(ANTHROPIC, View(run=STRATEGY_RUN), entries, read)


@laws
@given(entries=runs(kinds=["text", "reasoning", "refusal"]))
def test_nothing_that_was_said_is_lost_however_parts_overlap(entries: list[Entry]) -> None:
    renderer = ANTHROPIC.renderer(View(run=STRATEGY_RUN))
    reading = read([expected(frame, "") for entry in entries for frame in renderer.render(entry)])
    said = [part.text for part in read_events(entries).parts.values() if part.key[0] == 0]
    assert sorted(reading.words()) == sorted("".join(said))


@pytest.mark.parametrize(
    "events",
    [
        [start(0, type="text", text="")],
        [{"type": "message_stop"}],
        ["begin", start(1, type="text", text="")],
        ["begin", text(0, "a")],
        ["begin", start(0, type="text", text=""), start(1, type="text", text="")],
        ["begin", start(0, type="text", text=""), arguments(0, "{}")],
        ["begin", start(0, type="text", text=""), {"type": "message_stop"}],
        ["begin", "begin"],
        ["begin", start(0, type="text", text=""), stop(1)],
        ["begin", {"type": "message_delta", "delta": {"stop_reason": None}, "usage": {"output_tokens": 1}}],
        ["begin", {"type": "news"}],
    ],
)
def test_the_reader_of_these_tests_takes_nothing_out_of_order(events: list[Any]) -> None:
    begin = values(frames(ANTHROPIC, *HELLO))[0]
    with pytest.raises(Illegal):
        read([Received(begin if event == "begin" else event) for event in events])


def test_a_ping_is_a_frame_of_its_own() -> None:
    assert ANTHROPIC.traits.ping == Frame(b'{"type":"ping"}', "ping")
    assert SseEncoder(ping=ANTHROPIC.traits.ping).heartbeat() == b'event: ping\ndata: {"type":"ping"}\n\n'


def test_a_run_that_failed_before_it_began_is_an_error_alone() -> None:
    assert [value["type"] for value in values(frames(ANTHROPIC, Failed(fault("internal"))))] == ["error"]


def test_what_a_provider_counts_beside_tokens_is_told_at_the_end() -> None:
    searches: Json = {"web_search_requests": 2}
    noted = Note("usage", {"server_tool_use": searches, "input_tokens": {"x": 1}, "service_tier": "standard"})
    events = (STARTED, Usage(3, 2, "reported"), noted, Finished())
    tokens = {"input_tokens": 3, "cache_creation_input_tokens": 0, "cache_read_input_tokens": 0, "output_tokens": 2}
    assert ending(*events)["usage"] == {**tokens, "server_tool_use": searches}
    assert whole(ANTHROPIC, *events)["usage"] == {**tokens, "server_tool_use": searches}
