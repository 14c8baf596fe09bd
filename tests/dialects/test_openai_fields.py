"""Every way a field of an OpenAI chat request can be wrong: the field is named as OpenAI spells it; what is merely unheard of passes."""

from __future__ import annotations

import json
from typing import Any

import pytest

from penstock.core.errors import Refused
from penstock.core.request import ChatRequest
from penstock.dialects.native import NativeDialect
from penstock.dialects.openai_chat import OpenAIChatDialect

CHAT = OpenAIChatDialect()
USER = {"role": "user", "content": "Hi"}
TOOL = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}
CALL = {"id": "call_1", "type": "function", "function": {"name": "weather", "arguments": "{}"}}
CALLING = {"role": "assistant", "content": None, "tool_calls": [CALL]}
RESULT = {"role": "tool", "tool_call_id": "call_1", "content": "17"}


def parsed(**fields: Any) -> ChatRequest:
    return CHAT.parse(json.dumps({"model": "m", "messages": [USER], **fields}).encode())


def refused(**fields: Any) -> str:
    """The param that a request is refused with; the message names it too."""
    with pytest.raises(Refused) as refusal:
        parsed(**fields)
    fault = refusal.value.fault
    assert fault.code == "invalid_request"
    assert f"'{fault.param}'" in fault.message
    return fault.param or ""


@pytest.mark.parametrize(
    ("field", "values"),
    {
        "model": [7, ["m"]],
        "messages": [None, [], "Hi", {}],
        "stream": ["yes", 1],
        "stream_options": [True, []],
        "n": [0, 129, "2", True, 1.5],
        "temperature": ["hot", -0.1, 2.1, True],
        "top_p": [-1, 1.1, "all"],
        "frequency_penalty": [-2.1, 2.1, "x"],
        "presence_penalty": [3, []],
        "max_tokens": [0, -2, 1.5, "many", True],
        "max_completion_tokens": [0, "8"],
        "seed": [1.5, "x", True],
        "stop": [7, [1], ["a"] * 5, {}],
        "logit_bias": [[], {"1": "x"}, {"1": 101}, {"1": True}],
        "logprobs": [1, "true"],
        "parallel_tool_calls": ["no", 0],
        "functions": [{}, "x"],
        "metadata": [[], "x"],
        "store": ["x"],
        "user": [7],
        "reasoning_effort": [3],
        "service_tier": [1],
        "prediction": ["x"],
        "response_format": ["json_object", []],
        "tools": ["weather", {}],
        "tool_choice": [7, "perhaps", "required", {"type": "function", "function": {"name": "nobody"}}],
        "modalities": ["text"],
        "audio": ["alloy"],
    }.items(),
)
def test_a_field_of_the_wrong_type_or_out_of_range_is_named(field: str, values: list[Any]) -> None:
    for value in values:
        assert (value, refused(**{field: value})) == (value, field)


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"top_logprobs": 21, "logprobs": True}, "top_logprobs"),
        ({"top_logprobs": "x", "logprobs": True}, "top_logprobs"),
        ({"top_logprobs": 2}, "top_logprobs"),
        ({"top_logprobs": 2, "logprobs": False}, "top_logprobs"),
        ({"stream_options": {"include_usage": "x"}}, "stream_options.include_usage"),
        ({"response_format": {}}, "response_format.type"),
        ({"response_format": {"type": 7}}, "response_format.type"),
        ({"response_format": {"type": "json_schema"}}, "response_format.json_schema"),
        ({"response_format": {"type": "json_schema", "json_schema": {"name": 7}}}, "response_format.json_schema.name"),
        (
            {"response_format": {"type": "json_schema", "json_schema": {"name": "a", "schema": "x"}}},
            "response_format.json_schema.schema",
        ),
        ({"tools": [7]}, "tools[0]"),
        ({"tools": [TOOL, {}]}, "tools[1].type"),
        ({"tools": [{"type": "function"}]}, "tools[0].function"),
        ({"tools": [{"type": "function", "function": {}}]}, "tools[0].function.name"),
        ({"tools": [{"type": "function", "function": {"name": ""}}]}, "tools[0].function.name"),
        (
            {"tools": [{"type": "function", "function": {"name": "f", "parameters": []}}]},
            "tools[0].function.parameters",
        ),
        (
            {"tools": [{"type": "function", "function": {"name": "f", "description": 7}}]},
            "tools[0].function.description",
        ),
        ({"tools": [TOOL], "tool_choice": {}}, "tool_choice.type"),
        ({"tools": [TOOL], "tool_choice": {"type": "function"}}, "tool_choice.function"),
        ({"tools": [TOOL], "tool_choice": {"type": "function", "function": {}}}, "tool_choice.function.name"),
        ({"tools": [TOOL], "tool_choice": {"type": "function", "function": {"name": "x"}}}, "tool_choice"),
        ({"tools": [], "tool_choice": "required"}, "tool_choice"),
        ({"modalities": [7]}, "modalities[0]"),
        ({"modalities": ["text", "audio"]}, "audio"),
    ],
)
def test_what_is_wrong_within_a_field_or_between_two_is_named(fields: dict[str, Any], param: str) -> None:
    assert refused(**fields) == param


@pytest.mark.parametrize(
    ("message", "param"),
    [
        (7, "messages[1]"),
        ({"content": "x"}, "messages[1].role"),
        ({"role": 7, "content": "x"}, "messages[1].role"),
        ({"role": "user"}, "messages[1].content"),
        ({"role": "user", "content": None}, "messages[1].content"),
        ({"role": "system"}, "messages[1].content"),
        ({"role": "developer", "content": 7}, "messages[1].content"),
        ({"role": "user", "content": []}, "messages[1].content"),
        ({"role": "user", "content": ["x"]}, "messages[1].content"),
        ({"role": "user", "content": "x", "name": 7}, "messages[1].name"),
        ({"role": "assistant"}, "messages[1].content"),
        ({"role": "assistant", "tool_calls": {}}, "messages[1].tool_calls"),
        ({"role": "assistant", "tool_calls": []}, "messages[1].content"),
        ({"role": "assistant", "tool_calls": [7]}, "messages[1].tool_calls[0]"),
        ({"role": "assistant", "tool_calls": [{**CALL, "id": None}]}, "messages[1].tool_calls[0].id"),
        ({"role": "assistant", "tool_calls": [{"id": "c"}]}, "messages[1].tool_calls[0].function"),
        ({"role": "assistant", "tool_calls": [{"id": "c", "function": {}}]}, "messages[1].tool_calls[0].function.name"),
        (
            {"role": "assistant", "tool_calls": [{"id": "c", "function": {"name": "f", "arguments": {}}}]},
            "messages[1].tool_calls[0].function.arguments",
        ),
        ({"role": "tool", "content": "x"}, "messages[1].tool_call_id"),
        ({"role": "tool", "content": "x", "tool_call_id": 7}, "messages[1].tool_call_id"),
        (RESULT, "messages[1].tool_call_id"),
    ],
)
def test_a_message_that_is_wrong_is_named_with_its_place(message: Any, param: str) -> None:
    assert refused(messages=[USER, message]) == param


def test_a_result_belongs_to_a_call_before_it() -> None:
    assert len(parsed(messages=[USER, CALLING, RESULT, RESULT]).messages) == 4
    assert refused(messages=[USER, CALLING, {**RESULT, "tool_call_id": "call_2"}]) == "messages[2].tool_call_id"
    assert refused(messages=[USER, RESULT, CALLING]) == "messages[1].tool_call_id"
    assert refused(messages=[USER, CALLING, {**RESULT, "content": None}]) == "messages[2].content"


def test_a_call_has_its_result_before_anybody_else_speaks() -> None:
    both = {**CALLING, "tool_calls": [CALL, {**CALL, "id": "call_2"}]}
    second = {**RESULT, "tool_call_id": "call_2"}
    assert len(parsed(messages=[USER, both, second, RESULT, USER]).messages) == 5
    assert refused(messages=[USER, CALLING]) == "messages[1].tool_calls[0]"
    assert refused(messages=[USER, both, RESULT, USER, second]) == "messages[1].tool_calls[1]"
    assert refused(messages=[USER, CALLING, CALLING, RESULT]) == "messages[1].tool_calls[0]"


PICTURE = "data:image/png;base64,iVBORw0KGgo="


@pytest.mark.parametrize(
    ("part", "place"),
    [
        ({}, ".type"),
        ({"type": 7}, ".type"),
        ({"type": "text"}, ".text"),
        ({"type": "text", "text": 7}, ".text"),
        ({"type": "refusal"}, ".refusal"),
        ({"type": "image_url"}, ".image_url"),
        ({"type": "image_url", "image_url": {}}, ".image_url.url"),
        ({"type": "image_url", "image_url": {"url": ""}}, ".image_url.url"),
        ({"type": "image_url", "image_url": {"url": "file:///etc/passwd"}}, ".image_url.url"),
        ({"type": "image_url", "image_url": {"url": "data:image/png,raw"}}, ".image_url.url"),
        ({"type": "image_url", "image_url": {"url": "data:image/png;base64,"}}, ".image_url.url"),
        ({"type": "image_url", "image_url": {"url": PICTURE, "detail": 7}}, ".image_url.detail"),
        ({"type": "image_url", "image_url": "nowhere"}, ".image_url"),
        ({"type": "input_audio"}, ".input_audio"),
        ({"type": "input_audio", "input_audio": {"format": "wav"}}, ".input_audio.data"),
        ({"type": "input_audio", "input_audio": {"data": "UklG"}}, ".input_audio.format"),
        ({"type": "file", "file": {}}, ".file"),
        ({"type": "file", "file": {"file_data": 7}}, ".file.file_data"),
        ({"type": "file", "file": {"file_id": "f", "filename": 7}}, ".file.filename"),
    ],
)
def test_a_part_of_a_content_that_is_wrong_is_named_with_its_place(part: Any, place: str) -> None:
    content = [{"type": "text", "text": "Look:"}, part]
    assert refused(messages=[{"role": "user", "content": content}]) == f"messages[0].content[1]{place}"


@pytest.mark.parametrize(
    "part",
    [
        {"type": "text", "text": ""},
        {"type": "image_url", "image_url": {"url": PICTURE, "detail": "low"}},
        {"type": "image_url", "image_url": {"url": "HTTPS://example.com/a.png"}},
        {"type": "image_url", "image_url": "https://example.com/a.png"},
        {"type": "input_audio", "input_audio": {"data": "UklG", "format": "wav"}},
        {"type": "file", "file": {"file_id": "file-1"}},
        {"type": "file", "file": {"file_data": "JVBE", "filename": "a.pdf"}},
        {"type": "video_url", "video_url": {"url": "anything"}},
    ],
)
def test_a_part_that_is_right_or_unheard_of_passes_as_it_is(part: Any) -> None:
    assert parsed(messages=[{"role": "user", "content": [part]}]).messages[0]["content"] == [part]


@pytest.mark.parametrize(
    "fields",
    [
        {"temperature": 2, "top_p": 0, "seed": -7, "max_tokens": -1, "stop": ["a", "b", "c", "d"], "user": "u"},
        {"temperature": None, "stop": None, "tools": None, "tool_choice": None, "response_format": None},
        {"top_k": 40, "min_p": 0.1, "cache_prompt": True, "chat_template_kwargs": {"thinking": False}},
        {"tools": [TOOL], "tool_choice": "auto", "parallel_tool_calls": False},
        {"tools": [TOOL], "tool_choice": {"type": "function", "function": {"name": "weather"}}},
        {"tools": [{"type": "custom", "custom": {"name": "x"}}], "tool_choice": {"type": "allowed_tools"}},
        {"tool_choice": "none"},
        {"response_format": {"type": "json_object", "schema": {}}},
        {"response_format": {"type": "structural_tag"}},
        {"response_format": {"type": "json_schema", "json_schema": {"schema": {"type": "object"}}}},
        {"modalities": ["text", "audio"], "audio": {"voice": "alloy", "format": "wav"}},
        {"logprobs": True, "top_logprobs": 0},
    ],
)
def test_what_is_right_or_only_a_compatible_server_knows_passes_as_it_is(fields: dict[str, Any]) -> None:
    assert parsed(**fields).params == fields


@pytest.mark.parametrize(
    "messages",
    [
        [{"role": "model", "content": None}],
        [USER, {"role": "assistant", "content": ""}],
        [USER, {"role": "assistant", "reasoning_content": "hm"}],
        [USER, {"role": "assistant", "refusal": "no", "content": None}],
        [USER, {"role": "assistant", "content": "x", "tool_calls": []}],
        [USER, {"role": "function", "name": "f", "content": None}],
        [{**USER, "name": "Ann", "unheard_of": {"x": 1}}],
    ],
)
def test_a_message_that_is_right_or_unheard_of_passes_as_it_is(messages: list[Any]) -> None:
    assert list(parsed(messages=messages).messages) == messages


def test_the_native_dialect_leaves_these_fields_to_the_provider() -> None:
    asked = {"messages": [USER, RESULT], "temperature": 9, "tool_choice": "required"}
    assert NativeDialect().parse(json.dumps(asked).encode()).params == {"temperature": 9, "tool_choice": "required"}
