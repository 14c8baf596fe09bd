"""Every way in which an Anthropic request can be wrong."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.core.errors import Refused
from penstock.dialects.anthropic_messages import LARGEST_IMAGE
from penstock.testing.laws.dialects import check_refusal
from penstock.testing.strategies import bodies, json_values
from tests.dialects.anthropic_asking import ANTHROPIC, FULL, PIXEL, RESULT, TOOL, USE, asked
from tests.laws.pairs import laws


def user(*blocks: Any) -> Any:
    return [{"role": "user", "content": list(blocks)}]


CALLED = {"role": "assistant", "content": [USE]}
WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "model": ({"model": 7}, "model"),
    "max_tokens of a wrong type": ({"max_tokens": "64"}, "max_tokens"),
    "max_tokens, a boolean": ({"max_tokens": True}, "max_tokens"),
    "max_tokens below 0": ({"max_tokens": -1}, "max_tokens"),
    "max_tokens missing": ({"max_tokens": None}, "max_tokens"),
    "messages missing": ({"messages": None}, "messages"),
    "messages of a wrong type": ({"messages": "hi"}, "messages"),
    "no message": ({"messages": []}, "messages"),
    "a message of a wrong type": ({"messages": ["hi"]}, "messages.0"),
    "a message without a role": ({"messages": [{"content": "hi"}]}, "messages.0.role"),
    "a role nobody has": ({"messages": [{"role": "tool", "content": "hi"}]}, "messages.0.role"),
    "a message without content": ({"messages": [{"role": "user"}]}, "messages.0.content"),
    "content of a wrong type": ({"messages": [{"role": "user", "content": 7}]}, "messages.0.content"),
    "empty content": ({"messages": [{"role": "user", "content": ""}]}, "messages.0.content"),
    "no blocks": ({"messages": user()}, "messages.0.content"),
    "a block of a wrong type": ({"messages": user("hi")}, "messages.0.content.0"),
    "a block without a type": ({"messages": user({"text": "hi"})}, "messages.0.content.0.type"),
    "text without text": ({"messages": user({"type": "text"})}, "messages.0.content.0.text"),
    "text of a wrong type": ({"messages": user({"type": "text", "text": 7})}, "messages.0.content.0.text"),
    "an image without a source": ({"messages": user({"type": "image"})}, "messages.0.content.0.source"),
    "a source of a wrong type": ({"messages": user({"type": "image", "source": "x"})}, "messages.0.content.0.source"),
    "a source without a type": (
        {"messages": user({"type": "text", "text": "a"}, {"type": "image", "source": {}})},
        "messages.0.content.1.source.type",
    ),
    "a picture format nobody shows": (
        {"messages": user({"type": "image", "source": {**PIXEL, "media_type": "image/bmp"}})},
        "messages.0.content.0.source.media_type",
    ),
    "an image that is no base64": (
        {"messages": user({"type": "image", "source": {**PIXEL, "data": "?"}})},
        "messages.0.content.0.source.data",
    ),
    "an image of nothing": (
        {"messages": user({"type": "image", "source": {**PIXEL, "data": ""}})},
        "messages.0.content.0.source.data",
    ),
    "an image that is too large": (
        {"messages": user({"type": "image", "source": {**PIXEL, "data": "AAAA" * (LARGEST_IMAGE // 4 + 1)}})},
        "messages.0.content.0.source.data",
    ),
    "an image on a disk": (
        {"messages": user({"type": "image", "source": {"type": "url", "url": "file:///etc/passwd"}})},
        "messages.0.content.0.source.url",
    ),
    "a document that is no PDF": (
        {"messages": user({"type": "document", "source": PIXEL})},
        "messages.0.content.0.source.media_type",
    ),
    "a title of a wrong type": (
        {
            "messages": user(
                {"type": "document", "title": 7, "source": {**PIXEL, "media_type": "application/pdf"}},
            )
        },
        "messages.0.content.0.title",
    ),
    "a call by the user": ({"messages": user(USE)}, "messages.0.content.0.type"),
    "a result by the assistant": (
        {"messages": [{"role": "assistant", "content": [RESULT]}]},
        "messages.0.content.0.type",
    ),
    "a call without an id": (
        {"messages": [{"role": "assistant", "content": [{**USE, "id": None}]}]},
        "messages.0.content.0.id",
    ),
    "a call of nothing": (
        {"messages": [{"role": "assistant", "content": [{**USE, "name": ""}]}]},
        "messages.0.content.0.name",
    ),
    "a call with a text for input": (
        {"messages": [{"role": "assistant", "content": [{**USE, "input": "{}"}]}]},
        "messages.0.content.0.input",
    ),
    "one id for two calls": (
        {"messages": [{"role": "assistant", "content": [USE, USE]}]},
        "messages.0.content.1.id",
    ),
    "a result of no call": ({"messages": user(RESULT)}, "messages.0.content.0.tool_use_id"),
    "a result twice": ({"messages": [CALLED, *user(RESULT, RESULT)]}, "messages.1.content.1.tool_use_id"),
    "a result after words": (
        {"messages": [CALLED, *user({"type": "text", "text": "a"}, RESULT)]},
        "messages.1.content.0",
    ),
    "a call without a result": ({"messages": [CALLED, {"role": "user", "content": "go on"}]}, "messages.1.content"),
    "a call without a result at the end": (
        {
            "messages": [
                {"role": "assistant", "content": [USE, {**USE, "id": "toolu_2"}]},
                *user(RESULT),
            ]
        },
        "messages.1.content",
    ),
    "a result of a wrong type": (
        {"messages": [CALLED, *user({**RESULT, "content": 7})]},
        "messages.1.content.0.content",
    ),
    "an error that is no boolean": (
        {"messages": [CALLED, *user({**RESULT, "is_error": "no"})]},
        "messages.1.content.0.is_error",
    ),
    "a result within a result": (
        {"messages": [CALLED, *user({**RESULT, "content": [RESULT]})]},
        "messages.1.content.0.content.0.type",
    ),
    "thinking without a thought": (
        {"messages": [{"role": "assistant", "content": [{"type": "thinking", "signature": "s"}]}]},
        "messages.0.content.0.thinking",
    ),
    "hidden thinking without data": (
        {"messages": [{"role": "assistant", "content": [{"type": "redacted_thinking"}]}]},
        "messages.0.content.0.data",
    ),
    "system of a wrong type": ({"system": 7}, "system"),
    "a system prompt of images": ({"system": [{"type": "image", "source": PIXEL}]}, "system.0.type"),
    "stream": ({"stream": "yes"}, "stream"),
    "temperature above 1": ({"temperature": 1.5}, "temperature"),
    "temperature below 0": ({"temperature": -0.1}, "temperature"),
    "temperature, a word": ({"temperature": "hot"}, "temperature"),
    "top_p above 1": ({"top_p": 2}, "top_p"),
    "top_p beyond every float": ({"top_p": 10**400}, "top_p"),
    "temperature beyond every float": ({"temperature": 10**400}, "temperature"),
    "top_k, a fraction": ({"top_k": 1.5}, "top_k"),
    "cache_control": ({"cache_control": True}, "cache_control"),
    "stop_sequences of a wrong type": ({"stop_sequences": "END"}, "stop_sequences"),
    "a stop sequence of a wrong type": ({"stop_sequences": ["END", 7]}, "stop_sequences.1"),
    "a stop sequence of blanks": ({"stop_sequences": [" \n"]}, "stop_sequences.0"),
    "metadata": ({"metadata": "u"}, "metadata"),
    "a user of a wrong type": ({"metadata": {"user_id": 7}}, "metadata.user_id"),
    "effort": ({"output_config": {"effort": 7}}, "output_config.effort"),
    "a format without a schema": (
        {"output_config": {"format": {"type": "json_schema"}}},
        "output_config.format.schema",
    ),
    "a format without a type": ({"output_config": {"format": {}}}, "output_config.format.type"),
    "thinking without a type": ({"thinking": {}}, "thinking.type"),
    "thinking without a budget": ({"thinking": {"type": "enabled"}}, "thinking.budget_tokens"),
    "a budget that is too small": (
        {"max_tokens": 4096, "thinking": {"type": "enabled", "budget_tokens": 9}},
        "thinking.budget_tokens",
    ),
    "a budget above max_tokens": ({"thinking": {"type": "enabled", "budget_tokens": 2048}}, "thinking.budget_tokens"),
    "tools of a wrong type": ({"tools": {}}, "tools"),
    "a tool of a wrong type": ({"tools": [7]}, "tools.0"),
    "a tool without a name": ({"tools": [{"input_schema": {}}]}, "tools.0.name"),
    "a tool with blanks in its name": ({"tools": [{**TOOL, "name": "look up"}]}, "tools.0.name"),
    "a tool with a long name": ({"tools": [{**TOOL, "name": "x" * 129}]}, "tools.0.name"),
    "a tool without a schema": ({"tools": [{"name": "f"}]}, "tools.0.input_schema"),
    "a schema of no object": ({"tools": [{**TOOL, "input_schema": {"type": "string"}}]}, "tools.0.input_schema.type"),
    "a description of a wrong type": ({"tools": [{**TOOL, "description": 7}]}, "tools.0.description"),
    "two tools of one name": ({"tools": [TOOL, TOOL]}, "tools.1.name"),
    "tool_choice of a wrong type": ({"tools": [TOOL], "tool_choice": "auto"}, "tool_choice"),
    "a choice nobody knows": ({"tools": [TOOL], "tool_choice": {"type": "some"}}, "tool_choice.type"),
    "a choice without tools": ({"tool_choice": {"type": "any"}}, "tool_choice"),
    "a choice of a tool there is not": (
        {"tools": [TOOL], "tool_choice": {"type": "tool", "name": "f"}},
        "tool_choice.name",
    ),
    "a choice with a field nobody knows": (
        {"tools": [TOOL], "tool_choice": {"type": "auto", "name": "look_up"}},
        "tool_choice",
    ),
    "parallel of a wrong type": (
        {"tools": [TOOL], "tool_choice": {"type": "auto", "disable_parallel_tool_use": 1}},
        "tool_choice.disable_parallel_tool_use",
    ),
}


@pytest.mark.parametrize(("fields", "param"), WRONG.values(), ids=WRONG)
def test_what_is_wrong_is_refused_under_its_path(fields: dict[str, Any], param: str) -> None:
    with pytest.raises(Refused) as refused:
        asked(**fields)
    told = json.loads(ANTHROPIC.refuse(refused.value.fault, "req_1"))["error"]
    assert (told["type"], told["details"]) == (
        "invalid_request_error",
        {"error_code": "invalid_request", "param": param},
    )
    assert told["message"].startswith(f"{param}: ")
    assert len(told["message"]) < 400


def test_an_error_repeats_little_of_what_it_was_sent() -> None:
    with pytest.raises(Refused) as refused:
        asked(messages=[{"role": "x" * 100_000, "content": "hi"}])
    assert len(refused.value.fault.message) < 400


def places(value: Any) -> list[tuple[Any, ...]]:
    """The way to every value within a value."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [(), *((key, *rest) for key, child in inner for rest in places(child))]


@laws
@given(place=st.sampled_from(places(FULL)[1:]), other=json_values(), data=st.data())
def test_a_request_with_any_one_value_replaced_is_a_request_or_refused(
    place: tuple[Any, ...], other: Any, data: st.DataObject
) -> None:
    body = json.loads(json.dumps(FULL))
    holder = body
    for step in place[:-1]:
        holder = holder[step]
    if data.draw(st.booleans()):
        holder[place[-1]] = other
    else:
        del holder[place[-1]]
    check_refusal(ANTHROPIC, json.dumps(body).encode())


@laws
@given(body=bodies(json.dumps(FULL).encode()))
def test_any_bytes_are_a_request_or_refused(body: bytes) -> None:
    check_refusal(ANTHROPIC, body)
