"""The token/done dialect, member by member as its clients read it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from penstock.core.cursor import Entry
from penstock.core.errors import Refused, fault
from penstock.core.events import (
    Cancelled,
    Chunk,
    Closed,
    Delta,
    Event,
    Failed,
    Finished,
    Note,
    Opened,
    ToolReturned,
    Usage,
)
from penstock.core.frame import View
from penstock.dialects.token_done import TokenDoneDialect
from tests.dialects.telling import RUN, STARTED, frames, rejoined, values, whole

TOKENS = TokenDoneDialect()
HELLO: tuple[Event, ...] = (STARTED, Opened(0, "text"), Delta(0, "Hel"), Delta(0, "lo"), Closed(0), Finished())
CALL: tuple[Event, ...] = (
    STARTED,
    Opened(0, "tool_call", name="get_weather", call_id="c1"),
    Delta(0, '{"city":'),
    Delta(0, '"Oslo"}'),
    Closed(0),
)


def test_an_answer_is_a_token_each_and_an_end() -> None:
    assert [frame.data for frame in frames(TOKENS, *HELLO)] == [
        b'{"token":"Hel","done":false,"model":"demo","timestamp":1750000000.200}',
        b'{"token":"lo","done":false,"model":"demo","timestamp":1750000000.300}',
        b'{"done":true,"total_tokens":2,"finish_reason":"stop","response_time":0.5}',
    ]


def test_the_tokens_of_a_merged_delta_are_counted() -> None:
    renderer = TOKENS.renderer(View(run=RUN))
    for entry in (Entry(1, 1, 0, STARTED), Entry(2, 2, 0, Opened(0, "text")), Entry(3, 9, 70, Delta(0, "all"))):
        renderer.render(entry)
    (end,) = renderer.render(Entry(10, 10, 90, Finished()))
    assert json.loads(end.data)["total_tokens"] == 7


def test_what_the_provider_counted_wins() -> None:
    told = values(frames(TOKENS, *HELLO[:-1], Usage(9, 41, "reported"), Finished()))
    assert told[-1]["total_tokens"] == 41


def test_only_what_people_read_of_choice_0_is_a_token() -> None:
    told = values(
        frames(
            TOKENS,
            STARTED,
            Opened(0, "reasoning"),
            Delta(0, "hm"),
            Opened(1, "text", 1),
            Delta(1, "b"),
            Opened(2, "text"),
            Delta(2, ""),
            Delta(2, "a"),
            Opened(3, "binary"),
            Chunk(3, b"x"),
            Note("n", 1),
            Finished(),
        )
    )
    assert [value.get("token") for value in told] == ["a", None]
    assert told[-1]["total_tokens"] == 2


def test_a_tool_is_told_when_its_result_is_there() -> None:
    told = values(frames(TOKENS, *CALL, ToolReturned("c1", {"celsius": -3}), Finished()))
    assert told[:-1] == [
        {
            "tool_name": "get_weather",
            "tool_input": {"city": "Oslo"},
            "tool_result": {"celsius": -3},
            "token": "",
            "done": False,
        }
    ]


def test_a_tool_that_did_not_work_says_so() -> None:
    (told,) = values(frames(TOKENS, *CALL, ToolReturned("c1", "no such city", ok=False)))
    assert (told["tool_result"], told["tool_failed"]) == ("no such city", True)


def test_a_call_left_to_the_client_is_told_before_the_end() -> None:
    told = values(frames(TOKENS, *CALL, Finished("tool_calls")))
    assert [(value.get("tool_name"), value.get("tool_result"), value["done"]) for value in told] == [
        ("get_weather", None, False),
        (None, None, True),
    ]


@pytest.mark.parametrize(("text", "told"), [("", {}), ("{broken", "{broken"), ("[1]", [1])])
def test_arguments_that_are_no_json_are_shown_as_they_are(text: str, told: object) -> None:
    events = (STARTED, Opened(0, "tool_call", name="f", call_id="c1"), Delta(0, text), ToolReturned("c1", 1))
    assert values(frames(TOKENS, *events))[0]["tool_input"] == told


def test_a_result_of_a_call_nobody_made_is_told_under_its_id() -> None:
    (told,) = values(frames(TOKENS, STARTED, ToolReturned("c9", 1)))
    assert (told["tool_name"], told["tool_input"]) == ("c9", {})


def test_why_choice_0_ended_is_said_by_its_own_part() -> None:
    told = values(
        frames(
            TOKENS,
            STARTED,
            Opened(0, "text"),
            Opened(1, "text", 1),
            Closed(0, {"finish_reason": "length"}),
            Closed(1, {"finish_reason": "stop"}),
            Finished("stop"),
        )
    )
    assert told[-1]["finish_reason"] == "length"


@pytest.mark.parametrize(
    ("code", "told"),
    [("provider_rate_limited", "RATE_LIMIT"), ("too_many_runs", "RATE_LIMIT"), ("internal", "INTERNAL")],
)
def test_a_failure_is_done_and_says_when_to_come_back(code: str, told: str) -> None:
    last = values(frames(TOKENS, *HELLO[:-1], Failed(fault(code, "it broke", retry_after=2.5))))[-1]
    assert last == {"error": "it broke", "error_code": told, "done": True, "retry_after": 2.5}


def test_a_cancelled_answer_is_an_error_too() -> None:
    last = values(frames(TOKENS, *HELLO[:-1], Cancelled("client")))[-1]
    assert last == {
        "error": "the answer was cancelled (client)",
        "error_code": "CANCELLED",
        "done": True,
        "retry_after": None,
    }


def test_who_joins_in_the_middle_is_told_the_words_and_the_tools_again() -> None:
    told = values(rejoined(TOKENS, *CALL, ToolReturned("c1", 1), Opened(1, "text"), Delta(1, "a"), Delta(1, "b")))
    assert [(value["token"], value.get("tool_name")) for value in told] == [("ab", None), ("", "get_weather")]


def test_the_whole_answer_is_one_object_with_all_of_it() -> None:
    value = whole(TOKENS, *CALL, ToolReturned("c1", 1), Opened(1, "text"), Delta(1, "a"), Closed(1), Finished())
    assert value == {
        "token": "a",
        "done": True,
        "total_tokens": 1,
        "finish_reason": "stop",
        "response_time": 0.9,
        "model": "demo",
        "tools": [
            {
                "tool_name": "get_weather",
                "tool_input": {"city": "Oslo"},
                "tool_result": 1,
                "token": "",
                "done": False,
            }
        ],
    }


def test_a_refusal_is_done_too() -> None:
    assert json.loads(TOKENS.refuse(fault("too_many_runs", "wait", retry_after=3), "req_1")) == {
        "error": "wait",
        "error_code": "RATE_LIMIT",
        "done": True,
        "retry_after": 3,
        "request_id": "req_1",
    }


def test_a_message_is_enough() -> None:
    request = TOKENS.parse(b'{"message":"hi","model":"demo","stream":false,"user_id":"u"}')
    assert (request.prompt, request.model, request.stream) == ("hi", "demo", False)
    assert request.params == {"user_id": "u"}
    assert TOKENS.parse(b'{"message":"hi"}').stream is True


def test_the_message_follows_its_history() -> None:
    body: dict[str, Any] = {"message": "and now?", "history": [{"role": "user", "content": "hi"}]}
    request = TOKENS.parse(json.dumps(body).encode())
    assert [message["content"] for message in request.messages] == ["hi", "and now?"]


def test_messages_are_taken_instead() -> None:
    assert TOKENS.parse(b'{"messages":[{"role":"user","content":"hi"}]}').prompt == "hi"


@pytest.mark.parametrize(
    ("body", "param"),
    [
        (b"{}", "message"),
        (b'{"message":5}', "message"),
        (b'{"message":"hi","messages":[]}', "message"),
        (b'{"message":"hi","history":"x"}', "history"),
        (b'{"history":[],"messages":[{"role":"user"}]}', "history"),
        (b'{"message":"hi","history":[5]}', "history[0]"),
    ],
)
def test_a_wrong_body_is_refused_by_the_name_of_what_is_wrong(body: bytes, param: str) -> None:
    with pytest.raises(Refused) as caught:
        TOKENS.parse(body)
    assert caught.value.fault.param == param
