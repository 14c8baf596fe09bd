"""A chat request in Ollama's words, field by field: translated, passed on, left out and told, or refused by name."""

from typing import Any

import msgspec
import pytest

from penstock.core.carried import box
from penstock.core.errors import Broken
from penstock.core.events import Json
from penstock.core.request import ChatRequest
from penstock.sources.ollama_request import question

USER: dict[str, Json] = {"role": "user", "content": "hi"}
FUNCTION: Json = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}
CALL: Json = {"id": "call_1", "type": "function", "function": {"name": "f", "arguments": '{"a": 1}'}}


def asked(*messages: dict[str, Json], **params: Json) -> tuple[dict[str, Any], tuple[str, ...]]:
    request = ChatRequest(model="any", messages=messages or (USER,), params=params)
    found = question("qwen3", request, host="provider.test")
    return msgspec.json.decode(found.body), found.left_out


def refused(*messages: dict[str, Json], **params: Json) -> str | None:
    with pytest.raises(Broken) as broken:
        asked(*messages, **params)
    assert broken.value.fault.code == "not_carried"
    return broken.value.fault.param


def user(*parts: Json) -> dict[str, Json]:
    return {"role": "user", "content": list(parts)}


@pytest.mark.parametrize(
    ("message", "said"),
    [
        (USER, USER),
        ({"role": "developer", "content": "Be brief."}, {"role": "system", "content": "Be brief."}),
        (
            user({"type": "text", "text": "a"}, {"type": "text", "text": "b"}),
            {"role": "user", "content": "a\nb"},
        ),
        (
            user({"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw=="}}, {"type": "text", "text": "?"}),
            {"role": "user", "content": "?", "images": ["iVBORw=="]},
        ),
        (
            {"role": "assistant", "content": None, "reasoning_content": "hm", "tool_calls": [CALL]},
            {
                "role": "assistant",
                "content": "",
                "thinking": "hm",
                "tool_calls": [{"id": "call_1", "function": {"name": "f", "arguments": {"a": 1}}}],
            },
        ),
        ({"role": "assistant", "content": None, "refusal": "No."}, {"role": "assistant", "content": "No."}),
        ({"role": "user", "content": "a", "new": 1}, {"role": "user", "content": "a", "new": 1}),
    ],
)  # fmt: skip
def test_a_message_is_said_in_ollamas_words(message: dict[str, Json], said: Json) -> None:
    assert asked(message)[0]["messages"] == [said]


def test_the_result_of_a_tool_names_the_tool() -> None:
    calling: dict[str, Json] = {"role": "assistant", "content": "", "tool_calls": [CALL]}
    result: dict[str, Json] = {"role": "tool", "tool_call_id": "call_1", "content": "7", "is_error": False}
    assert asked(calling, result)[0]["messages"][1] == {
        "role": "tool", "content": "7", "tool_name": "f", "tool_call_id": "call_1", "is_error": False,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("params", "fields"),
    [
        ({}, {}),
        ({"max_tokens": 5}, {"options": {"num_predict": 5}}),
        ({"max_completion_tokens": 6, "stop": "a", "seed": 0}, {"options": {"num_predict": 6, "stop": ["a"], "seed": 0}}),
        ({"temperature": 0.5, "top_p": 1, "top_k": 4}, {"options": {"temperature": 0.5, "top_p": 1, "top_k": 4}}),
        ({"num_ctx": 8192, "options": {"num_ctx": 4096, "num_gpu": 1}}, {"options": {"num_ctx": 4096, "num_gpu": 1}}),
        ({"frequency_penalty": 0.5, "temperature": None}, {"options": {"frequency_penalty": 0.5}}),
        ({"response_format": {"type": "json_object"}}, {"format": "json"}),
        ({"response_format": {"type": "text"}}, {}),
        (
            {"response_format": {"type": "json_schema", "json_schema": {"schema": {"type": "object"}, "strict": True}}},
            {"format": {"type": "object"}},
        ),
        ({"reasoning_effort": "none"}, {"think": False}),
        ({"reasoning_effort": "medium"}, {"think": "medium"}),
        ({"reasoning_effort": "xhigh", "think": True}, {"think": True}),
        ({"think": True, "reasoning_effort": "low"}, {"think": True}),
        ({"keep_alive": "5m", "unheard_of": [1]}, {"keep_alive": "5m", "unheard_of": [1]}),
        ({"logprobs": True, "top_logprobs": 2}, {"logprobs": True, "top_logprobs": 2}),
        ({"tools": [FUNCTION], "tool_choice": "auto", "parallel_tool_calls": True}, {"tools": [FUNCTION]}),
        ({"tools": [FUNCTION], "tool_choice": "none", "parallel_tool_calls": False}, {}),
        ({"n": 1, "stream": False, "model": "other", "stream_options": {}}, {}),
    ],
)  # fmt: skip
def test_a_field_is_said_in_ollamas_words(params: dict[str, Json], fields: dict[str, Json]) -> None:
    assert asked(**params)[0] == {"model": "qwen3", "messages": [USER], **fields, "stream": True}


def test_what_changes_no_answer_is_left_out_and_told() -> None:
    schema: Json = {"type": "json_schema", "json_schema": {"name": "n", "schema": {}}}
    part: Json = {"type": "text", "text": "a", "cache_control": {"type": "ephemeral"}}
    _, left_out = asked(user(part), response_format=schema, user="u", service_tier="auto")
    assert left_out == ("messages.content.cache_control", "response_format.json_schema.name", "user", "service_tier")


@pytest.mark.parametrize(
    ("params", "param"),
    [
        ({"n": 2}, "n"),
        ({"logit_bias": {"5": 1}}, "logit_bias"),
        ({"audio": {}}, "audio"),
        ({"tool_choice": "required"}, "tool_choice"),
        ({"tools": [FUNCTION], "tool_choice": {"type": "function", "function": {"name": "f"}}}, "tool_choice"),
        ({"tools": [FUNCTION], "parallel_tool_calls": False}, "parallel_tool_calls"),
        ({"tools": [{"type": "custom", "custom": {}}]}, "tools[0]"),
        ({"tools": [box("anthropic", {"type": "web_search_20250305"})]}, "tools[0]"),
        ({"anthropic": {"thinking": {"type": "adaptive"}}}, "thinking"),
        ({"response_format": {"type": "grammar"}}, "response_format"),
    ],
)
def test_a_field_that_cannot_be_said_is_refused_by_its_name(params: dict[str, Json], param: str) -> None:
    assert refused(**params) == param


@pytest.mark.parametrize(
    ("message", "param"),
    [
        (user({"type": "image_url", "image_url": {"url": "https://x.test/a.png"}}), "messages[0].content[0]"),
        (user({"type": "input_audio", "input_audio": {}}), "messages[0].content[0]"),
        (user({"type": "file", "file": {"file_id": "f"}}), "messages[0].content[0]"),
        (user({"type": "yet_to_come"}), "messages[0].content[0]"),
        ({"role": "user", "content": "a", "name": "Ann"}, "messages[0].name"),
        ({"role": "function", "name": "f", "content": "a"}, "messages[0].role"),
        ({"role": "assistant", "tool_calls": [{"id": "c", "type": "custom"}]}, "messages[0].tool_calls[0]"),
        (
            {"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": "no"}}]},
            "messages[0].tool_calls[0].function.arguments",
        ),
    ],
)
def test_what_a_message_cannot_say_is_refused_where_it_stands(message: dict[str, Json], param: str) -> None:
    assert refused(message) == param


@pytest.mark.parametrize(
    "params",
    [
        {"tools": "f"}, {"tools": [7]}, {"stop": 7}, {"response_format": "json"}, {"options": 7},
        {"reasoning_effort": 7}, {"max_tokens": "many"},
    ],
)  # fmt: skip
def test_a_field_of_the_wrong_type_is_the_providers_to_judge(params: dict[str, Json]) -> None:
    assert asked(**params)[0]["model"] == "qwen3"
