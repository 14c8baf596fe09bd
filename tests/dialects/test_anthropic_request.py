"""What an Anthropic request asks, field by field."""

from __future__ import annotations

import json
from typing import Any

import pytest

from penstock.sources.anthropic_request import question
from tests.dialects.anthropic_asking import ANTHROPIC, CACHED, FULL, PIXEL, RESULT, TOOL, USE, asked


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
