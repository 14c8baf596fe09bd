"""OpenAI Responses, as its SDKs expect them."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given

from penstock.core.carried import BLOCK
from penstock.core.cursor import Entry
from penstock.core.errors import fault
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
    Terminal,
    ToolReturned,
    Usage,
)
from penstock.core.frame import Frame, View
from penstock.core.snapshot import fold
from penstock.dialects.openai_responses import OpenAIResponsesDialect
from penstock.encoders.coalesce import coalesce
from penstock.testing.readings import READERS, Illegal
from penstock.testing.strategies import RUN as ANY_RUN
from penstock.testing.strategies import runs
from penstock.testing.wire import expected
from tests.dialects.telling import RUN, STARTED, frames, placed, rejoined, values, whole
from tests.laws.pairs import laws

RESPONSES = OpenAIResponsesDialect()
ID = "resp_" + "b" * 26
READ = READERS["openai-responses"]
TEXT: tuple[Event, ...] = (STARTED, Opened(0, "text"), Delta(0, "Hel"), Delta(0, "lo"), Closed(0))
HELLO: tuple[Event, ...] = (*TEXT, Finished())


def item(kind: str, part: int = 0) -> str:
    return f"{kind}_{'b' * 26}_{part}"


def told(*events: Event, **view: Any) -> list[Any]:
    return values(frames(RESPONSES, *events, **view))


def types(messages: list[Any]) -> list[str]:
    return [message["type"].removeprefix("response.") for message in messages]


def only(messages: list[Any], name: str) -> list[Any]:
    return [message for message in messages if message["type"] == f"response.{name}"]


def output(*events: Event) -> Any:
    """The items of the last event of a good answer."""
    return told(STARTED, *events, Finished())[-1]["response"]["output"]


def test_a_text_is_an_item_with_a_part_with_deltas_and_all_of_it_is_told_again() -> None:
    messages = told(*HELLO)
    assert types(messages) == [
        "created",
        "in_progress",
        "output_item.added",
        "content_part.added",
        "output_text.delta",
        "output_text.delta",
        "output_text.done",
        "content_part.done",
        "output_item.done",
        "completed",
    ]
    assert [message["sequence_number"] for message in messages] == list(range(10))
    place = {"item_id": item("msg"), "output_index": 0, "content_index": 0}
    part = {"type": "output_text", "text": "Hello", "annotations": [], "logprobs": []}
    done = {"id": item("msg"), "type": "message", "status": "completed", "role": "assistant", "content": [part]}
    assert messages[2]["item"] == {**done, "status": "in_progress", "content": []}
    assert messages[3] == {
        "type": "response.content_part.added", **place, "part": {**part, "text": ""}, "sequence_number": 3,
    }  # fmt: skip
    assert messages[4] == {
        "type": "response.output_text.delta", **place, "delta": "Hel", "logprobs": [], "sequence_number": 4,
    }  # fmt: skip
    assert (messages[6]["text"], messages[7]["part"], messages[8]["item"]) == ("Hello", part, done)
    assert messages[9]["response"]["output"] == [done]


def test_an_event_is_called_by_its_type() -> None:
    said = frames(RESPONSES, *HELLO)
    assert [frame.event for frame in said] == [value["type"] for value in values(said)]


def test_the_response_says_who_it_is_and_repeats_what_was_asked() -> None:
    request = RESPONSES.parse(b'{"input":"hi","instructions":"Be brief.","metadata":{"a":"b"},"temperature":0.5}')
    (created, *_, last) = told(*HELLO, echo=request.echo)
    response = created["response"]
    assert (response["id"], response["object"], response["model"]) == (ID, "response", "demo")
    assert (response["created_at"], response["status"], response["output"]) == (1_750_000_000, "in_progress", [])
    assert (response["instructions"], response["metadata"], response["temperature"]) == ("Be brief.", {"a": "b"}, 0.5)
    assert (response["tools"], response["tool_choice"], response["parallel_tool_calls"]) == ([], "auto", True)
    assert (last["response"]["status"], last["response"]["completed_at"]) == ("completed", 1_750_000_000)
    assert last["response"]["error"] is last["response"]["incomplete_details"] is None


def test_an_answer_in_the_background_waits_in_a_queue_first() -> None:
    request = RESPONSES.parse(b'{"input":"hi","background":true}')
    messages = told(*HELLO, echo=request.echo)
    assert types(messages)[:3] == ["created", "queued", "in_progress"]
    assert [message["response"]["status"] for message in messages[:3]] == ["queued", "queued", "in_progress"]


def test_reasoning_is_a_summary_and_its_signature_is_what_is_encrypted() -> None:
    events = (STARTED, Opened(0, "reasoning"), Delta(0, "Hm"), Closed(0, {"signature": "c2ln"}), Finished())
    messages = told(*events)
    assert types(messages)[2:] == [
        "output_item.added",
        "reasoning_summary_part.added",
        "reasoning_summary_text.delta",
        "reasoning_summary_text.done",
        "reasoning_summary_part.done",
        "output_item.done",
        "completed",
    ]
    assert messages[4]["summary_index"] == 0
    assert messages[7]["item"] == {
        "id": item("rs"),
        "type": "reasoning",
        "status": "completed",
        "summary": [{"type": "summary_text", "text": "Hm"}],
        "encrypted_content": "c2ln",
    }


def test_calls_that_are_made_at_once_stay_apart() -> None:
    messages = told(
        STARTED,
        Opened(0, "tool_call", name="weather", call_id="call_1"),
        Opened(1, "tool_call", name="time", call_id="call_2"),
        Delta(0, '{"city":'),
        Delta(1, "{}"),
        Delta(0, '"Ulm"}'),
        Closed(1),
        Closed(0),
        Finished("tool_calls"),
    )
    pieces = [(m["output_index"], m["item_id"], m["delta"]) for m in only(messages, "function_call_arguments.delta")]
    assert pieces == [(0, item("fc", 0), '{"city":'), (1, item("fc", 1), "{}"), (0, item("fc", 0), '"Ulm"}')]
    done = [(m["output_index"], m["name"], m["arguments"]) for m in only(messages, "function_call_arguments.done")]
    assert done == [(1, "time", "{}"), (0, "weather", '{"city":"Ulm"}')]
    calls = [(c["type"], c["call_id"], c["name"], c["arguments"]) for c in messages[-1]["response"]["output"]]
    assert calls == [
        ("function_call", "call_1", "weather", '{"city":"Ulm"}'),
        ("function_call", "call_2", "time", "{}"),
    ]


def test_a_refusal_is_a_part_of_a_message() -> None:
    events = (Opened(0, "refusal"), Delta(0, "No"), Closed(0))
    assert types(told(STARTED, *events, Finished()))[4:7] == ["refusal.delta", "refusal.done", "content_part.done"]
    assert output(*events)[0]["content"] == [{"type": "refusal", "refusal": "No"}]


@pytest.mark.parametrize(
    ("citation", "annotation"),
    [
        (
            {"url": "https://a.b", "title": "A"},
            {"type": "url_citation", "url": "https://a.b", "title": "A", "start_index": 0, "end_index": 2},
        ),
        (
            {"url": "https://a.b", "start": 1, "end": 2},
            {"type": "url_citation", "url": "https://a.b", "title": "https://a.b", "start_index": 1, "end_index": 2},
        ),
        ({"title": "a.pdf", "quote": "x"}, {"type": "file_citation", "file_id": "", "filename": "a.pdf", "index": 2}),
        ({"url": "x", "openai-responses": {"type": "file_path", "index": 1}}, {"type": "file_path", "index": 1}),
    ],
)
def test_a_citation_is_an_annotation_before_the_text_is_done(citation: Json, annotation: Json) -> None:
    events = (Opened(0, "text"), Delta(0, "hi"), Closed(0, {"citations": [citation]}))
    messages = told(STARTED, *events, Finished())
    assert types(messages)[5:7] == ["output_text.annotation.added", "output_text.done"]
    assert (messages[5]["annotation_index"], messages[5]["annotation"]) == (0, annotation)
    assert output(*events)[0]["content"][0]["annotations"] == [annotation]


def test_log_probabilities_stand_beside_their_words_and_all_together_at_the_end() -> None:
    token = {"token": "hi", "logprob": -0.5, "bytes": [104, 105], "top_logprobs": []}
    raw = msgspec.Raw(json.dumps({"content": [token], "refusal": None}, indent=1).encode())
    messages = told(STARTED, Opened(0, "text"), Delta(0, "hi", raw), Delta(0, "!"), Closed(0), Finished())
    assert [m["logprobs"] for m in only(messages, "output_text.delta")] == [[token], []]
    assert only(messages, "output_text.done")[0]["logprobs"] == [token]
    assert messages[-1]["response"]["output"][0]["content"][0]["logprobs"] == [token]


def test_an_item_of_another_kind_is_told_as_its_provider_wrote_it() -> None:
    search = {"id": "ws_1", "type": "web_search_call", "status": "completed", "action": {"type": "search"}}
    media = BLOCK % "openai-responses"
    events = (Opened(0, "binary", media_type=media), Chunk(0, json.dumps(search).encode()), Closed(0))
    messages = told(STARTED, *events, Finished())
    assert types(messages)[2:4] == ["output_item.added", "output_item.done"]
    assert messages[2]["item"] == messages[3]["item"] == search
    assert output(*events) == [search]


def test_what_only_its_provider_says_of_an_item_stands_in_it_when_it_is_done() -> None:
    events = (
        Opened(0, "text"),
        Delta(0, "hi"),
        Closed(0, {"openai-responses": {"phase": "commentary", "id": "msg_theirs"}}),
    )
    (message,) = output(*events)
    assert (message["phase"], message["id"]) == ("commentary", item("msg"))
    assert whole(RESPONSES, STARTED, *events, Finished())["output"] == [message]


@pytest.mark.parametrize("data", [b"", b"[1]", b'{"id":1}', b"\xff", b"[" * 3000])
def test_what_is_no_item_is_not_told(data: bytes) -> None:
    events = (Opened(0, "binary", media_type=BLOCK % "openai-responses"), Chunk(0, data), Closed(0))
    assert types(told(STARTED, *events, Finished())) == ["created", "in_progress", "completed"]
    assert whole(RESPONSES, STARTED, *events, Finished())["output"] == []


def test_what_it_has_no_words_for_is_left_out() -> None:
    silent = (
        Note("retrieval", {"hits": 3}),
        ToolReturned("call_1", {"a": 1}),
        Opened(0, "binary", media_type="image/png"),
        Chunk(0, b"png"),
        Closed(0),
        Opened(1, "text", choice=1),
        Delta(1, "other"),
        Closed(1),
    )
    assert types(told(STARTED, *silent, Finished())) == ["created", "in_progress", "completed"]
    assert output(*silent) == []


def test_usage_comes_with_the_ending() -> None:
    usage = Usage(30, 4, "reported", cached=20, reasoning=1, cache_written=5)
    response = told(*TEXT, usage, Finished())[-1]["response"]
    assert response["usage"] == {
        "input_tokens": 30,
        "input_tokens_details": {"cached_tokens": 20, "cache_write_tokens": 5},
        "output_tokens": 4,
        "output_tokens_details": {"reasoning_tokens": 1},
        "total_tokens": 34,
    }


@pytest.mark.parametrize(
    ("reason", "name", "details"),
    [
        ("stop", "completed", None),
        ("tool_calls", "completed", None),
        ("length", "incomplete", {"reason": "max_output_tokens"}),
        ("model_context_window_exceeded", "incomplete", {"reason": "max_output_tokens"}),
        ("refusal", "incomplete", {"reason": "content_filter"}),
        ("content_filter", "incomplete", {"reason": "content_filter"}),
    ],
)
def test_an_answer_that_was_cut_is_incomplete(reason: str, name: str, details: Json) -> None:
    """Whether the run says why it ended or its last part does."""
    for ending in (Finished(reason), Finished("stop")):
        meta: dict[str, Json] | None = {"finish_reason": reason} if ending.reason != reason else None
        last = told(*TEXT[:-1], Closed(0, meta), ending)[-1]
        assert last["type"] == f"response.{name}"
        assert (last["response"]["status"], last["response"]["incomplete_details"]) == (name, details)


@pytest.mark.parametrize(
    ("end", "status", "error"),
    [
        (Failed(fault("gap_timeout", "silence")), "failed", ("server_error", "silence", "gap_timeout")),
        (
            Failed(fault("provider_rate_limited", "slow")),
            "failed",
            ("rate_limit_exceeded", "slow", "provider_rate_limited"),
        ),
        (Failed(fault("context_too_long", "long")), "failed", ("invalid_prompt", "long", "context_too_long")),
        (Cancelled("client"), "cancelled", ("server_error", "the answer was cancelled (client)", "cancelled")),
    ],
)
def test_a_failure_and_a_cancel_are_no_clean_end(end: Terminal, status: str, error: tuple[str, str, str]) -> None:
    *_, item, last = told(*TEXT[:-1], Closed(0, {"cut": True}), end)
    assert (item["type"], item["item"]["status"]) == ("response.output_item.done", "incomplete")
    assert last["type"] == "response.failed"
    assert last["response"]["output"] == [item["item"]]
    response = last["response"]
    assert (response["status"], response["completed_at"]) == (status, None)
    assert (response["error"]["code"], response["error"]["message"], response["error"]["reason"]) == error
    assert response["output"][0]["content"][0]["text"] == "Hello"


def test_a_run_that_fails_before_it_begins_is_created_for_the_sake_of_its_failure() -> None:
    messages = told(Note("retry", 1), Failed(fault("overloaded")), model="asked", created=7)
    assert types(messages) == ["created", "in_progress", "failed"]
    assert (messages[-1]["response"]["model"], messages[-1]["response"]["created_at"]) == ("asked", 7)


@laws
@given(entries=runs())
def test_numbers_count_what_is_told_one_by_one_and_mean_the_same_to_a_reader_that_fell_behind(
    entries: list[Entry],
) -> None:
    one_by_one, merged = (RESPONSES.renderer(View(run=ANY_RUN)) for _ in range(2))
    numbered = {}
    for entry in entries:
        for frame in one_by_one.render(entry):
            numbered[json.loads(frame.data)["sequence_number"]] = entry, frame
    assert list(numbered) == list(range(len(numbered)))
    for entry in coalesce(entries):
        for frame in merged.render(entry):
            last, same = numbered[json.loads(frame.data)["sequence_number"]]
            assert last.last == entry.last
            assert entry.first < entry.last or frame == same


@laws
@given(entries=runs())
def test_whoever_comes_at_any_moment_finds_the_response_as_it_then_stands(entries: list[Entry]) -> None:
    renderer = RESPONSES.renderer(View(run=ANY_RUN))
    *_, last = (frame for entry in entries for frame in renderer.render(entry))
    answer = json.loads(RESPONSES.whole(fold(entries), View(run=ANY_RUN)))
    assert answer == json.loads(last.data)["response"]


def test_a_response_is_queued_then_in_progress_with_what_was_said_so_far() -> None:
    assert whole(RESPONSES)["status"] == "queued"
    response = whole(RESPONSES, *TEXT[:-1])
    assert (response["status"], response["output"][0]["status"]) == ("in_progress", "in_progress")
    assert response["output"][0]["content"][0]["text"] == "Hello"
    assert response["usage"] is response["completed_at"] is None


def test_a_reader_that_has_nothing_is_told_everything_and_goes_on_with_the_same_numbers() -> None:
    messages = values(rejoined(RESPONSES, *TEXT[:-1]))
    assert [m["delta"] for m in only(messages, "output_text.delta")] == ["Hello"]
    assert [m["sequence_number"] for m in messages] == [0, 1, 2, 3, 5]
    (following, *_) = values(frames(RESPONSES, *HELLO, primed=len(TEXT) - 1))
    assert following["sequence_number"] == 6


def test_a_new_parser_is_told_in_the_opening_what_was_said_and_of_what_is_done_that_it_is_there() -> None:
    call = Opened(1, "tool_call", name="weather", call_id="call_1")
    renderer = RESPONSES.renderer(View(run=RUN))
    renderer.prime(fold(placed(*TEXT, call, Delta(1, '{"a"'), Opened(2, "text"), Delta(2, "so"))))
    messages = values(renderer.reopen())
    assert types(messages) == ["created", "in_progress", *["output_item.added"] * 3, "content_part.added"]
    assert [message["output_index"] for message in messages[2:5]] == [0, 1, 2]
    assert (messages[2]["item"]["status"], messages[2]["item"]["content"][0]["text"]) == ("completed", "Hello")
    assert messages[3]["item"]["arguments"] == '{"a"'
    assert messages[5]["part"]["text"] == "so"
    (following,) = values(list(renderer.render(Entry(11, 11, 0, Delta(2, " far")))))
    assert [m["sequence_number"] for m in [*messages, following]] == list(range(8, 15))


def test_an_error_has_the_words_of_openai() -> None:
    body = json.loads(RESPONSES.refuse(fault("invalid_request", "no", param="input[0]"), "req_1"))
    error = {"message": "no", "type": "invalid_request_error", "code": "invalid_request", "param": "input[0]"}
    assert body == {"error": error, "request_id": "req_1"}
    assert json.loads(RESPONSES.refuse(fault("rate_limited"), "r"))["error"]["type"] == "rate_limit_error"
    assert json.loads(RESPONSES.refuse(fault("internal"), "r"))["error"]["type"] == "server_error"


def changed(index: int, **members: Any) -> list[Frame]:
    """A good answer in which one event says something else."""
    said = frames(RESPONSES, *HELLO)
    said[index] = Frame(json.dumps({**json.loads(said[index].data), **members}).encode())
    return said


@pytest.mark.parametrize(
    "said",
    [
        frames(RESPONSES, *HELLO)[1:],
        [f for f in frames(RESPONSES, *HELLO) if f.event != "response.output_item.added"],
        [f for f in frames(RESPONSES, *HELLO) if f.event != "response.content_part.added"],
        [f for f in frames(RESPONSES, *HELLO) if f.event != "response.output_text.done"],
        [f for f in frames(RESPONSES, *HELLO) if f.event != "response.output_item.done"],
        [*frames(RESPONSES, *HELLO), *frames(RESPONSES, *HELLO)],
        changed(5, sequence_number=4),
        changed(5, delta="la"),
        changed(5, item_id="msg_other"),
        changed(6, text="Help"),
        changed(8, output_index=1),
        changed(9, type="response.failed"),
    ],
    ids=["no-created", "no-item", "no-part", "no-text-done", "no-item-done", "twice", "number", "delta", "id", "done",
         "index", "ending"],
)  # fmt: skip
def test_its_client_takes_nothing_that_is_not_legal(said: list[Frame]) -> None:
    assert READ([expected(frame, "") for frame in frames(RESPONSES, *HELLO)]).text() == "Hello"
    with pytest.raises(Illegal):
        READ([expected(frame, "") for frame in said])
