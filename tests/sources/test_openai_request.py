"""What a chat provider is asked: the client's own words, without what another protocol has beside them."""

from __future__ import annotations

import msgspec
import pytest

from penstock.core.errors import Broken
from penstock.core.events import Json
from penstock.core.request import ChatRequest, Message
from penstock.sources.openai_http import OpenAIChat
from penstock.sources.provider import Question

CACHED: dict[str, Json] = {"type": "ephemeral"}
CALL: Json = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}, "anthropic": {"after": 0}}
MESSAGES: tuple[Message, ...] = (
    {"role": "user", "content": [{"type": "text", "text": "a", "cache_control": CACHED}]},
    {"role": "assistant", "content": [{"type": "text", "text": "b", "citations": []}], "tool_calls": [CALL]},
    {"role": "tool", "tool_call_id": "c", "content": "no", "is_error": True, "cache_control": CACHED},
)


def asked(dialect: str = "", **params: Json) -> Question:
    request = ChatRequest(model="m", messages=MESSAGES, params=params, dialect=dialect)
    return OpenAIChat().question("m", request, host="provider.test")


def test_a_client_that_spoke_chat_is_taken_at_its_word() -> None:
    question = asked(cache_control=CACHED)
    body = msgspec.json.decode(question.body)
    assert (body["messages"], body["cache_control"]) == (list(MESSAGES), CACHED)
    assert question.left_out == ()


def test_the_hints_of_another_dialect_are_left_out_and_named() -> None:
    tool: Json = {"type": "function", "function": {"name": "f", "parameters": {}}, "cache_control": CACHED}
    question = asked("anthropic", cache_control=CACHED, tools=[tool], top_k=4)
    body = msgspec.json.decode(question.body)
    assert body["messages"] == [
        {"role": "user", "content": [{"type": "text", "text": "a"}]},
        {
            "role": "assistant",
            "content": [{"type": "text", "text": "b"}],
            "tool_calls": [{"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}],
        },
        {"role": "tool", "tool_call_id": "c", "content": "no"},
    ]
    assert body["tools"] == [{"type": "function", "function": {"name": "f", "parameters": {}}}]
    assert (body["top_k"], "cache_control" in body) == (4, False)
    assert sorted(question.left_out) == ["cache_control", "citations", "is_error"]


def test_what_is_no_hint_is_refused_by_its_name() -> None:
    with pytest.raises(Broken) as broken:
        asked("anthropic", anthropic={"thinking": {"type": "deep"}})
    assert (broken.value.fault.code, broken.value.fault.param) == ("not_carried", "thinking")
