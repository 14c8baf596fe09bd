"""Thoughts that a provider signed are handed back to it on the next turn, whichever way the conversation goes on."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from penstock.core.carried import BLOCK
from penstock.core.cursor import Entry
from penstock.core.events import Chunk, Closed, Delta, Event, Finished, Json, Opened, Started
from penstock.core.request import ChatRequest, Message
from penstock.core.snapshot import fold
from penstock.core.turn import spoken
from penstock.registry import resolve

THINKING: Json = {"type": "enabled", "budget_tokens": 2048}
RESULT: Message = {"role": "tool", "tool_call_id": "c1", "content": "dry"}
USER: Message = {"role": "user", "content": "Wet?"}
CALL: list[Event] = [
    Opened(7, "tool_call", name="look", call_id="c1"),
    Delta(7, "{}"),
    Closed(7),
    Finished("tool_calls"),
]


def thought(signature: str | None) -> list[Event]:
    return [Opened(0, "reasoning"), Delta(0, "Hm."), Closed(0, {"signature": signature} if signature else None)]


def kept(*events: Event) -> list[Message]:
    """What `previous_response_id` goes on from."""
    told = [Started("st_x", "m", 0), *events]
    return spoken(fold([Entry(at, at, 0, event) for at, event in enumerate(told, 1)]))


def asked(kind: str, *messages: Message, dialect: str = "", **params: Json) -> tuple[dict[str, Any], tuple[str, ...]]:
    request = ChatRequest(model="m", messages=messages, params=params, dialect=dialect)
    question = resolve("providers", kind)("http://provider.test")._protocol.question("m", request, host="provider.test")
    return msgspec.json.decode(question.body), question.left_out


def test_what_anthropic_signed_stands_before_the_calls_of_an_answer_that_was_kept() -> None:
    redacted: list[Event] = [
        Opened(1, "binary", media_type=BLOCK % "anthropic"),
        Chunk(1, b'{"type":"redacted_thinking","data":"EmwK"}'),
        Closed(1),
    ]
    body, left_out = asked("anthropic", USER, *kept(*thought("EqQB"), *redacted, *CALL), RESULT, thinking=THINKING)
    assert body["messages"][1]["content"] == [
        {"type": "thinking", "thinking": "Hm.", "signature": "EqQB"},
        {"type": "redacted_thinking", "data": "EmwK"},
        {"type": "tool_use", "id": "c1", "name": "look", "input": {}},
    ]
    assert (body["thinking"], left_out) == (THINKING, ())


def test_what_openai_signed_stands_before_the_calls_under_its_id() -> None:
    body, left_out = asked("openai-responses", USER, *kept(*thought("rs_1:gAAAA="), *CALL), RESULT)
    assert body["input"][1] == {
        "type": "reasoning",
        "id": "rs_1",
        "summary": [{"type": "summary_text", "text": "Hm."}],
        "encrypted_content": "gAAAA=",
    }
    assert ([item["type"] for item in body["input"][2:]], left_out) == (["function_call", "function_call_output"], ())


def test_whoever_did_not_sign_a_kept_thought_is_given_its_words() -> None:
    body, left_out = asked("openai", USER, *kept(*thought("EqQB"), *CALL), RESULT)
    assert (body["messages"][1]["reasoning_content"], body["messages"][1]["content"]) == ("Hm.", None)
    assert left_out == ("reasoning.encrypted_content", "reasoning.id")


@pytest.mark.parametrize("signature", [None, "rs_1:gAAAA="])
def test_anthropic_is_not_asked_to_think_on_calls_whose_thought_it_cannot_be_given(signature: str | None) -> None:
    body, left_out = asked("anthropic", USER, *kept(*thought(signature), *CALL), RESULT, thinking=THINKING)
    assert "thinking" not in body
    assert left_out[-1] == "thinking"


def test_a_client_of_anthropic_is_taken_at_its_word() -> None:
    messages = (USER, *kept(*thought(None), *CALL), RESULT)
    assert asked("anthropic", *messages, dialect="anthropic", thinking=THINKING)[0]["thinking"] == THINKING


def test_a_new_question_may_be_thought_about_again() -> None:
    messages: list[Message] = [
        USER,
        *kept(*thought(None), *CALL),
        RESULT,
        {"role": "assistant", "content": "No."},
        USER,
    ]
    assert asked("anthropic", *messages, thinking=THINKING)[0]["thinking"] == THINKING


@pytest.mark.parametrize(
    ("kind", "kept"), [("openai", True), ("anthropic", False), ("openai-responses", False), ("ollama", False)]
)
def test_what_a_call_was_signed_with_goes_to_those_who_speak_the_protocol_it_came_in(kind: str, kept: bool) -> None:
    function: Json = {"name": "look", "arguments": "{}"}
    again: dict[str, Json] = {"extra_content": {"google": {"thought_signature": "EjQK"}}}
    call: Message = {
        "role": "assistant",
        "tool_calls": [{"id": "c1", "type": "function", "function": function, **again}],
    }
    body, left_out = asked(kind, USER, call, RESULT)
    assert ("EjQK" in str(body), "tool_calls.extra_content" in left_out) == (kept, not kept)
