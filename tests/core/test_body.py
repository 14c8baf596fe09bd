"""What a request body is read as, and in which words it is refused."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from penstock.core.body import DEEPEST, read_chat, read_json, read_messages, read_object, take
from penstock.core.errors import Refused
from penstock.core.request import ChatRequest

HELLO: list[Any] = [{"role": "user", "content": "Hello"}]


def refusal(body: bytes) -> Refused:
    with pytest.raises(Refused) as caught:
        read_chat(read_object(body))
    return caught.value


def test_a_prompt_is_a_conversation_of_one_message() -> None:
    assert read_chat({"prompt": "Hello"}) == ChatRequest(model="", messages=tuple(HELLO))


def test_every_field_that_is_not_ours_is_passed_on_under_its_name() -> None:
    request = read_chat({"model": "m", "messages": HELLO, "temperature": 0.5, "n": 2, "made_up": {"deep": [1]}})
    assert request.params == {"temperature": 0.5, "n": 2, "made_up": {"deep": [1]}}


def test_the_fields_that_are_ours_are_read_and_not_passed_on() -> None:
    request = read_chat(
        {"messages": HELLO, "stream": False, "background": True, "stream_options": {"include_usage": True}}
    )
    assert request == ChatRequest(
        model="", messages=tuple(HELLO), stream=False, background=True, include_usage=True, params={}
    )


def test_null_is_the_same_as_missing() -> None:
    request = read_chat({"model": None, "messages": HELLO, "stream": None, "stream_options": None})
    assert request == ChatRequest(model="", messages=tuple(HELLO))


@pytest.mark.parametrize(
    ("body", "code", "param", "hint"),
    [
        (b"", "invalid_json", None, "empty"),
        (b"  \n", "invalid_json", None, "empty"),
        (b"{", "invalid_json", None, "not JSON"),
        (b'{"prompt": "\xff"}', "invalid_json", None, "not JSON"),
        (b"[]", "invalid_request", None, "not a list"),
        (b"null", "invalid_request", None, "not null"),
        (b'"Hello"', "invalid_request", None, "not a text"),
        (b"{}", "invalid_request", "messages", "'messages' is required"),
        (b'{"prompt": 5}', "invalid_request", "prompt", "a text, not a number"),
        (b'{"messages": []}', "invalid_request", "messages", "the list is empty"),
        (b'{"prompt": "x", "messages": []}', "invalid_request", "prompt", "not both"),
        (b'{"messages": []}', "invalid_request", "messages", "at least one"),
        (b'{"messages": "x"}', "invalid_request", "messages", "not a text"),
        (b'{"messages": ["x"]}', "invalid_request", "messages[0]", "not a text"),
        (b'{"messages": [{"content": "x"}]}', "invalid_request", "messages[0].role", "role"),
        (b'{"messages": [{"role": "user", "content": 5}]}', "invalid_request", "messages[0].content", "not a number"),
        (b'{"messages": [{"role": "user", "content": [5]}]}', "invalid_request", "messages[0].content", "objects only"),
        (b'{"prompt": "x", "model": 5}', "invalid_request", "model", "a text, not a number"),
        (b'{"prompt": "x", "stream": "yes"}', "invalid_request", "stream", "a boolean, not a text"),
        (b'{"prompt": "x", "stream_options": []}', "invalid_request", "stream_options", "an object, not a list"),
        (
            b'{"prompt": "x", "stream_options": {"include_usage": 1}}',
            "invalid_request",
            "stream_options.include_usage",
            "include_usage",
        ),
        (b'{"prompt": "x", "n": 0}', "invalid_request", "n", "1 to 128"),
        (b'{"prompt": "x", "n": true}', "invalid_request", "n", "1 to 128"),
        (b'{"prompt": "x", "n": 129}', "invalid_request", "n", "1 to 128"),
    ],
)
def test_a_wrong_body_is_refused_by_the_name_of_what_is_wrong(
    body: bytes, code: str, param: str | None, hint: str
) -> None:
    fault = refusal(body).fault
    assert (fault.code, fault.param) == (code, param)
    assert hint in fault.message


def test_a_body_may_have_so_many_levels_and_no_more() -> None:
    def nested(levels: int) -> bytes:
        return b"[" * levels + b"]" * levels

    assert msgspec.json.encode(read_json(nested(DEEPEST))) == nested(DEEPEST)
    for levels in (DEEPEST + 1, 100_000):
        with pytest.raises(Refused, match="deeper than 64 levels"):
            read_json(nested(levels))


def test_a_wide_body_is_not_taken_for_a_deep_one() -> None:
    assert len(read_object(b'{"messages": [' + b",".join([b"{}"] * 1000) + b"]}")["messages"]) == 1000  # type: ignore[arg-type]


def test_content_may_be_missing_null_a_text_or_objects() -> None:
    messages: list[Any] = [
        {"role": "assistant", "tool_calls": []},
        {"role": "assistant", "content": None},
        {"role": "user", "content": "x"},
        {"role": "user", "content": [{"type": "text", "text": "x"}]},
    ]
    assert read_messages(messages) == tuple(messages)


def test_a_field_is_taken_out_of_the_fields() -> None:
    fields: dict[str, Any] = {"a": "x", "b": None}
    assert (take(fields, "a", str, ""), take(fields, "b", str, "y"), take(fields, "c", str, "z")) == ("x", "y", "z")
    assert fields == {}
