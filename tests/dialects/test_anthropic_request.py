"""What an Anthropic request asks, field by field, and every way in which one can be wrong."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.core.errors import Refused
from penstock.core.request import ChatRequest
from penstock.dialects.anthropic import AnthropicDialect
from penstock.dialects.anthropic_messages import LARGEST_IMAGE
from penstock.sources.anthropic_request import question
from penstock.testing.laws.dialects import check_refusal
from penstock.testing.strategies import bodies, json_values
from tests.laws.pairs import laws

ANTHROPIC = AnthropicDialect()
PIXEL = {"type": "base64", "media_type": "image/png", "data": "aGk="}
CACHED = {"type": "ephemeral"}
USE = {"type": "tool_use", "id": "toolu_1", "name": "look_up", "input": {"q": "ä"}}
TOOL = {"name": "look_up", "description": "Looks up.", "input_schema": {"type": "object", "properties": {}}}


def asked(**fields: Any) -> ChatRequest:
    """A request with these fields; the smallest there is without any."""
    least = {"model": "demo", "max_tokens": 64, "messages": [{"role": "user", "content": "hi"}]}
    return ANTHROPIC.parse(json.dumps({**least, **fields}).encode())


def said(*messages: Any) -> list[Any]:
    return list(asked(messages=list(messages)).messages)


def content(*blocks: Any, role: str = "user") -> Any:
    (message,) = said({"role": role, "content": list(blocks)})
    return message["content"]


def boxed(value: Any) -> dict[str, Any]:
    return {"type": "anthropic", "anthropic": value}


def answered(*results: Any) -> list[Any]:
    """A call, and a message of the user after it."""
    return said({"role": "assistant", "content": [USE]}, {"role": "user", "content": list(results)})[1:]


def test_the_smallest_request() -> None:
    request = asked()
    assert (request.model, request.stream, request.params) == ("demo", False, {"max_tokens": 64})
    assert request.messages == ({"role": "user", "content": "hi"},)


def test_a_model_may_be_missing_and_null_is_nothing() -> None:
    assert asked(model=None, system=None, tools=None, thinking=None).model == ""


@pytest.mark.parametrize("prompt", ["Be brief.", [{"type": "text", "text": "Be brief.", "cache_control": CACHED}]])
def test_the_system_prompt_is_the_first_message(prompt: Any) -> None:
    assert asked(system=prompt).messages[0] == {"role": "system", "content": prompt}


def test_text_keeps_what_stands_with_it() -> None:
    block = {"type": "text", "text": "a", "cache_control": CACHED, "citations": [{"type": "char_location"}], "new": 1}
    assert content(block) == [block]
    assert said({"role": "user", "content": "a", "new": 1}) == [{"role": "user", "content": "a", "new": 1}]


def test_an_image_becomes_one_and_what_nobody_else_knows_of_it_is_boxed() -> None:
    inline = {"type": "image", "source": PIXEL, "cache_control": CACHED}
    linked = {"type": "image", "source": {"type": "url", "url": "https://example.com/cat.png"}}
    filed = {"type": "image", "source": {"type": "file", "file_id": "file_1"}}
    odd = {"type": "image", "source": {**PIXEL, "new": 1}}
    assert content(inline, linked, filed, odd) == [
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,aGk="}, "cache_control": CACHED},
        {"type": "image_url", "image_url": {"url": "https://example.com/cat.png"}},
        boxed(filed),
        boxed(odd),
    ]


def test_a_pdf_is_a_file_and_any_other_document_is_boxed() -> None:
    source = {"type": "base64", "media_type": "application/pdf", "data": "aGk="}
    others: list[Any] = [
        {"type": "document", "source": source, "citations": {"enabled": True}},
        {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "x"}},
        {"type": "document", "source": {"type": "url", "url": "https://example.com/a.pdf"}},
        {"type": "document", "source": {"type": "content", "content": []}},
    ]
    assert content({"type": "document", "source": source, "title": "A"}, *others) == [
        {"type": "file", "file": {"file_data": "data:application/pdf;base64,aGk=", "filename": "A"}},
        *map(boxed, others),
    ]


def test_a_call_and_its_result() -> None:
    result = {"type": "tool_result", "tool_use_id": "toolu_1", "is_error": True, "cache_control": CACHED}
    messages = said(
        {"role": "assistant", "content": [{"type": "text", "text": "Let me see."}, {**USE, "cache_control": CACHED}]},
        {"role": "user", "content": [{**result, "content": "no"}, {"type": "text", "text": "Well?"}]},
    )
    assert messages == [
        {
            "role": "assistant",
            "content": [{"type": "text", "text": "Let me see."}],
            "tool_calls": [
                {
                    "id": "toolu_1",
                    "type": "function",
                    "function": {"name": "look_up", "arguments": '{"q":"ä"}'},
                    "cache_control": CACHED,
                }
            ],
        },
        {"role": "tool", "tool_call_id": "toolu_1", "content": "no", "is_error": True, "cache_control": CACHED},
        {"role": "user", "content": [{"type": "text", "text": "Well?"}]},
    ]


def test_a_result_may_hold_blocks_or_nothing() -> None:
    (message,) = answered(
        {"type": "tool_result", "tool_use_id": "toolu_1", "content": [{"type": "image", "source": PIXEL}]}
    )
    assert message["content"] == [{"type": "image_url", "image_url": {"url": "data:image/png;base64,aGk="}}]
    assert answered({"type": "tool_result", "tool_use_id": "toolu_1"})[0]["content"] == ""


def test_where_a_call_stands_is_told_only_where_something_follows_it() -> None:
    (alone,) = said({"role": "assistant", "content": [USE]})
    assert (alone["content"], "anthropic" in alone["tool_calls"][0]) == (None, False)
    (before,) = said({"role": "assistant", "content": [USE, {"type": "text", "text": "a"}]})
    assert before["tool_calls"][0]["anthropic"] == {"after": 0}


def test_thinking_with_a_signature_is_boxed_and_without_one_is_reasoning() -> None:
    signed = {"type": "thinking", "thinking": "hm", "signature": "c2ln"}
    hidden = {"type": "redacted_thinking", "data": "eA=="}
    plain = {"type": "thinking", "thinking": "oh", "signature": ""}
    (message,) = said({"role": "assistant", "content": [signed, hidden, plain, plain]})
    assert message == {"role": "assistant", "content": [boxed(signed), boxed(hidden)], "reasoning_content": "oh\n\noh"}


def test_blocks_of_server_tools_and_those_of_tomorrow_are_boxed() -> None:
    blocks = [
        {"type": "server_tool_use", "id": "s", "name": "web_search", "input": {}},
        {"type": "web_search_tool_result", "tool_use_id": "s", "content": []},
        {"type": "of_tomorrow"},
    ]
    assert content(*blocks, role="assistant") == list(map(boxed, blocks))


def test_a_function_becomes_one_and_a_tool_of_anthropics_is_boxed() -> None:
    search = {"type": "web_search_20250305", "name": "web_search", "max_uses": 3}
    tools = [{**TOOL, "type": "custom", "strict": True, "cache_control": CACHED, "input_examples": [{}]}, search]
    assert asked(tools=tools).params["tools"] == [
        {
            "type": "function",
            "function": {
                "name": "look_up",
                "description": "Looks up.",
                "parameters": {"type": "object", "properties": {}},
                "strict": True,
            },
            "cache_control": CACHED,
            "input_examples": [{}],
        },
        boxed(search),
    ]


@pytest.mark.parametrize(
    ("choice", "meant"),
    [
        ({"type": "auto"}, {"tool_choice": "auto"}),
        ({"type": "any"}, {"tool_choice": "required"}),
        ({"type": "none"}, {"tool_choice": "none"}),
        (
            {"type": "tool", "name": "look_up"},
            {"tool_choice": {"type": "function", "function": {"name": "look_up"}}},
        ),
        (
            {"type": "auto", "disable_parallel_tool_use": True},
            {"tool_choice": "auto", "parallel_tool_calls": False},
        ),
        (
            {"type": "any", "disable_parallel_tool_use": False},
            {"tool_choice": "required", "parallel_tool_calls": True},
        ),
    ],
)
def test_how_tools_may_be_used(choice: Any, meant: Any) -> None:
    params = asked(tools=[TOOL], tool_choice=choice).params
    assert {name: params[name] for name in params if name in ("tool_choice", "parallel_tool_calls")} == meant


def test_not_to_think_is_an_effort_too() -> None:
    off = {"type": "disabled"}
    assert asked(thinking=off).params == {"max_tokens": 64, "reasoning_effort": "none"}
    params = asked(thinking=off, output_config={"effort": "low"}).params
    assert (params["reasoning_effort"], params["anthropic"]) == ("low", {"thinking": off})


def test_every_other_field_has_its_place() -> None:
    schema = {"type": "object", "properties": {"a": {"type": "string"}}}
    request = asked(
        stream=True,
        temperature=1,
        top_p=0.5,
        top_k=4,
        stop_sequences=["END", "\n\nHuman"],
        cache_control=CACHED,
        metadata={"user_id": "u", "more": 1},
        output_config={"effort": "low", "format": {"type": "json_schema", "schema": schema}, "more": 1},
        thinking={"type": "adaptive"},
        service_tier="auto",
        mcp_servers=[{"type": "url"}],
    )
    assert request.stream is True
    assert request.params == {
        "max_tokens": 64,
        "temperature": 1,
        "top_p": 0.5,
        "top_k": 4,
        "stop": ["END", "\n\nHuman"],
        "cache_control": CACHED,
        "user": "u",
        "reasoning_effort": "low",
        "response_format": {
            "type": "json_schema",
            "json_schema": {"name": "answer", "schema": schema, "strict": True},
        },
        "anthropic": {
            "thinking": {"type": "adaptive"},
            "service_tier": "auto",
            "mcp_servers": [{"type": "url"}],
            "metadata": {"more": 1},
            "output_config": {"more": 1},
        },
    }


def user(*blocks: Any) -> Any:
    return [{"role": "user", "content": list(blocks)}]


RESULT = {"type": "tool_result", "tool_use_id": "toolu_1"}
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


FULL = {
    "model": "demo",
    "max_tokens": 2048,
    "system": [{"type": "text", "text": "s"}],
    "messages": [
        {"role": "user", "content": [{"type": "image", "source": PIXEL}, {"type": "text", "text": "a"}]},
        {"role": "assistant", "content": [{"type": "thinking", "thinking": "t", "signature": "s"}, USE]},
        {"role": "user", "content": [{**RESULT, "content": [{"type": "text", "text": "r"}]}]},
    ],
    "tools": [TOOL, {"type": "web_search_20250305", "name": "web_search"}],
    "tool_choice": {"type": "tool", "name": "look_up"},
    "thinking": {"type": "enabled", "budget_tokens": 1024},
    "stop_sequences": ["END"],
    "metadata": {"user_id": "u"},
    "output_config": {"effort": "low"},
}


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


def test_a_provider_of_the_same_protocol_is_asked_in_the_very_words() -> None:
    shown = {"type": "image", "source": {"type": "url", "url": "https://example.com/a.png"}}
    pdf = {"type": "document", "title": "A", "source": {**PIXEL, "media_type": "application/pdf"}}
    body = {
        **FULL,
        "stream": True,
        "system": [{"type": "text", "text": "s", "cache_control": CACHED}],
        "messages": [
            {"role": "user", "content": [{"type": "image", "source": PIXEL, "cache_control": CACHED}, pdf]},
            {
                "role": "assistant",
                "content": [
                    {"type": "thinking", "thinking": "t", "signature": "s"},
                    {"type": "text", "text": "a", "citations": [{"type": "char_location"}]},
                    {**USE, "caller": {"type": "direct"}},
                    {"type": "text", "text": "b"},
                    {**USE, "id": "toolu_2"},
                ],
            },
            {
                "role": "user",
                "content": [
                    {**RESULT, "content": [shown], "is_error": False},
                    {**RESULT, "tool_use_id": "toolu_2", "content": "x"},
                    {"type": "text", "text": "Go on."},
                ],
            },
            {"role": "assistant", "content": "Yes."},
            {"role": "user", "content": "And?"},
        ],
        "tool_choice": {"type": "tool", "name": "look_up", "disable_parallel_tool_use": True},
        "top_k": 4,
        "output_config": {"effort": "low", "format": {"type": "json_schema", "schema": {"type": "object"}}, "more": 1},
        "unheard_of": {"a": [1]},
    }
    asked_upstream = question("demo", ANTHROPIC.parse(json.dumps(body).encode()), host="provider.test")
    assert json.loads(asked_upstream.body) == body
    assert asked_upstream.left_out == ()
