"""A chat request in Anthropic's words, field by field: translated, passed on, left out and told, or refused by name."""

import base64
from typing import Any

import msgspec
import pytest

from penstock.core.carried import box
from penstock.core.errors import Broken
from penstock.core.events import Json
from penstock.core.request import ChatRequest
from penstock.sources.anthropic_request import DEFAULT_MAX_TOKENS, question

PNG = base64.b64encode(b"\x89PNG").decode()
PDF = base64.b64encode(b"%PDF").decode()
USER: dict[str, Json] = {"role": "user", "content": "hi"}


def asked(*messages: dict[str, Json], **params: Json) -> tuple[dict[str, Any], tuple[str, ...]]:
    request = ChatRequest(model="any", messages=messages or (USER,), params=params)
    found = question("claude", request, host="provider.test")
    return msgspec.json.decode(found.body), found.left_out


def body(*messages: dict[str, Json], **params: Json) -> dict[str, Any]:
    found, left_out = asked(*messages, **params)
    assert left_out == ()
    return found


def said(*messages: dict[str, Json]) -> Any:
    return body(*messages)["messages"]


def refused(*messages: dict[str, Json], **params: Json) -> str | None:
    with pytest.raises(Broken) as broken:
        asked(*messages, **params)
    assert broken.value.fault.code == "not_carried"
    assert "provider.test" in broken.value.fault.message
    return broken.value.fault.param


def user(*parts: Json) -> dict[str, Json]:
    return {"role": "user", "content": list(parts)}


def call(arguments: Json, call_id: str = "call_1", **members: Json) -> dict[str, Json]:
    return {"id": call_id, "type": "function", "function": {"name": "f", "arguments": arguments}, **members}


def test_the_least_question_has_the_tokens_anthropic_wants() -> None:
    assert body() == {"model": "claude", "max_tokens": DEFAULT_MAX_TOKENS, "messages": [USER], "stream": True}


# -- messages --------------------------------------------------------------------------------------------------------


def test_system_messages_at_the_beginning_are_the_system_prompt() -> None:
    assert body({"role": "system", "content": "Be brief."}, USER)["system"] == "Be brief."
    kept: Json = {"type": "text", "text": "Rules.", "cache_control": {"type": "ephemeral"}}
    both = body({"role": "system", "content": "Be brief."}, {"role": "developer", "content": [kept]}, USER)
    assert both["system"] == [{"type": "text", "text": "Be brief."}, kept]
    assert both["messages"] == [USER]


def test_a_system_message_in_the_middle_stays_there() -> None:
    late: dict[str, Json] = {"role": "developer", "content": "Now in German."}
    assert said(USER, late) == [USER, {"role": "system", "content": "Now in German."}]


def test_neighbours_of_one_role_are_one_message() -> None:
    assert said(USER, {"role": "user", "content": "there"}, {"role": "assistant", "content": "a"}) == [
        {"role": "user", "content": [{"type": "text", "text": "hi"}, {"type": "text", "text": "there"}]},
        {"role": "assistant", "content": "a"},
    ]


@pytest.mark.parametrize("empty", ["", None, [], [{"type": "text", "text": ""}]])
def test_a_message_that_says_nothing_is_no_message(empty: Json) -> None:
    assert said(USER, {"role": "assistant", "content": empty}) == [USER]


def test_tools_are_used_and_their_results_come_before_what_the_user_says() -> None:
    picture: Json = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG}"}}
    assert said(
        USER,
        {"role": "assistant", "content": "Let me see.", "tool_calls": [call('{"a": [1]}'), call("", "call_2")]},
        {"role": "tool", "tool_call_id": "call_1", "name": "f", "content": "no", "is_error": True},
        {"role": "tool", "tool_call_id": "call_2", "content": [picture], "cache_control": {"type": "ephemeral"}},
        {"role": "user", "content": "And?"},
    )[1:] == [
        {
            "role": "assistant",
            "content": [
                {"type": "text", "text": "Let me see."},
                {"type": "tool_use", "id": "call_1", "name": "f", "input": {"a": [1]}},
                {"type": "tool_use", "id": "call_2", "name": "f", "input": {}},
            ],
        },
        {
            "role": "user",
            "content": [
                {"type": "tool_result", "tool_use_id": "call_1", "content": "no", "is_error": True},
                {
                    "type": "tool_result",
                    "tool_use_id": "call_2",
                    "content": [
                        {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PNG}}
                    ],
                    "cache_control": {"type": "ephemeral"},
                },
                {"type": "text", "text": "And?"},
            ],
        },
    ]


def test_a_call_stands_where_its_place_is_told() -> None:
    parts: list[Json] = [{"type": "text", "text": "a"}, box("anthropic", {"type": "thinking"})]
    calls: list[Json] = [
        call("{}", anthropic={"after": 0}),
        call("{}", "call_2", anthropic={"after": 1}),
        call("{}", "c3"),
    ]
    (message,) = said({"role": "assistant", "content": parts, "tool_calls": calls})
    assert [block.get("id", block["type"]) for block in message["content"]] == [
        "call_1", "text", "call_2", "thinking", "c3",
    ]  # fmt: skip
    assert all("anthropic" not in block for block in message["content"])


def test_what_came_from_anthropic_goes_back_as_it_was() -> None:
    block: Json = {"type": "search_result", "source": "s", "content": [{"type": "text", "text": ""}], "new": None}
    tool: Json = {"type": "web_search_20250305", "name": "web_search", "max_uses": 3}
    fields: Json = {"thinking": {"type": "adaptive"}, "output_config": {"task_budget": 1}, "container": "c"}
    found = body(
        user(box("anthropic", block)), tools=[box("anthropic", tool)], reasoning_effort="low", anthropic=fields
    )
    assert found["messages"] == [{"role": "user", "content": [block]}]
    assert found["tools"] == [tool]
    assert found["thinking"] == {"type": "adaptive"}
    assert found["output_config"] == {"effort": "low", "task_budget": 1}
    assert found["container"] == "c"


@pytest.mark.parametrize(
    ("part", "block"),
    [
        (
            {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG}", "detail": "auto"}},
            {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PNG}},
        ),
        (
            {"type": "image_url", "image_url": {"url": "https://x.test/a.png"}, "cache_control": {"type": "ephemeral"}},
            {
                "type": "image",
                "source": {"type": "url", "url": "https://x.test/a.png"},
                "cache_control": {"type": "ephemeral"},
            },
        ),
        (
            {"type": "image_url", "image_url": "https://x.test/a.png"},
            {"type": "image", "source": {"type": "url", "url": "https://x.test/a.png"}},
        ),
        (
            {"type": "file", "file": {"file_data": f"data:application/pdf;base64,{PDF}", "filename": "a.pdf"}},
            {
                "type": "document",
                "source": {"type": "base64", "media_type": "application/pdf", "data": PDF},
                "title": "a.pdf",
            },
        ),
        (
            {"type": "file", "file": {"file_data": PDF}},
            {"type": "document", "source": {"type": "base64", "media_type": "application/pdf", "data": PDF}},
        ),
        (
            {"type": "file", "file": {"file_data": "data:text/markdown;charset=utf-8;base64,w6TDtg=="}},
            {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "äö"}},
        ),
        (
            {"type": "file", "file": {"file_id": "file_1"}},
            {"type": "document", "source": {"type": "file", "file_id": "file_1"}},
        ),
        (
            {"type": "file", "file": {"file_data": "https://x.test/a.pdf"}},
            {"type": "document", "source": {"type": "url", "url": "https://x.test/a.pdf"}},
        ),
        ({"type": "refusal", "refusal": "No."}, {"type": "text", "text": "No."}),
        ({"type": "yet_to_come", "a": 1}, {"type": "yet_to_come", "a": 1}),
    ],
)
def test_a_part_becomes_a_block(part: Json, block: Json) -> None:
    assert said(user(part)) == [{"role": "user", "content": [block]}]


def test_the_refusal_of_an_earlier_answer_is_what_was_said() -> None:
    assert said({"role": "assistant", "content": None, "refusal": "No.", "audio": None}) == [
        {"role": "assistant", "content": [{"type": "text", "text": "No."}]}
    ]


@pytest.mark.parametrize(
    ("message", "param"),
    [
        (user({"type": "input_audio", "input_audio": {"data": "", "format": "wav"}}), "messages[0].content[0]"),
        (user({"type": "image_url", "image_url": {"url": "data:image/svg+xml,<svg/>"}}), "messages[0].content[0]"),
        (user({"type": "image_url", "image_url": {"url": "data:image/bmp;base64,Qk0="}}), "messages[0].content[0]"),
        (user({"type": "file", "file": {"file_data": "data:application/zip;base64,UEs="}}), "messages[0].content[0]"),
        (user({"type": "file", "file": {"filename": "a"}}), "messages[0].content[0]"),
        (user({"type": "file", "file": {"file_data": "data:text/plain;base64,/w=="}}), "messages[0].content[0]"),
        (user(box("openai-responses", {"type": "reasoning"})), "messages[0].content[0]"),
        ({"role": "user", "content": "a", "name": "Ann"}, "messages[0].name"),
        ({"role": "function", "name": "f", "content": "a"}, "messages[0].role"),
        ({"role": "assistant", "content": "a", "audio": {"id": "audio_1"}}, "messages[0].audio"),
        ({"role": "assistant", "function_call": {"name": "f", "arguments": "{}"}}, "messages[0].function_call"),
        ({"role": "assistant", "tool_calls": [call("{")]}, "messages[0].tool_calls[0].function.arguments"),
        ({"role": "assistant", "tool_calls": [call("[1]")]}, "messages[0].tool_calls[0].function.arguments"),
        ({"role": "assistant", "tool_calls": [{"id": "c", "type": "custom"}]}, "messages[0].tool_calls[0]"),
    ],
)
def test_what_a_message_cannot_say_is_refused_where_it_stands(message: dict[str, Json], param: str) -> None:
    assert refused(message) == param


def test_what_changes_no_answer_is_left_out_and_told() -> None:
    picture: Json = {"type": "image_url", "image_url": {"url": "https://x.test/a", "detail": "low"}}
    thought: dict[str, Json] = {"role": "assistant", "content": "a", "reasoning_content": "hm", "annotations": [{}]}
    _, left_out = asked(user(picture), thought, store=True, metadata={"team": "blue"}, prediction={"type": "content"})
    assert left_out == (
        "image_url.detail", "messages.annotations", "messages.reasoning_content", "store", "metadata", "prediction",
    )  # fmt: skip


# -- fields ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("params", "fields"),
    [
        ({"max_tokens": 5}, {"max_tokens": 5}),
        ({"max_completion_tokens": 6}, {"max_tokens": 6}),
        ({"temperature": 0.5, "top_p": 0.9, "top_k": 4}, {"temperature": 0.5, "top_p": 0.9, "top_k": 4}),
        ({"stop": "a"}, {"stop_sequences": ["a"]}),
        ({"stop": ["a", "b"]}, {"stop_sequences": ["a", "b"]}),
        ({"user": "u1"}, {"metadata": {"user_id": "u1"}}),
        ({"safety_identifier": "u1"}, {"metadata": {"user_id": "u1"}}),
        ({"metadata": {"user_id": "u1"}}, {"metadata": {"user_id": "u1"}}),
        ({"service_tier": "auto"}, {"service_tier": "auto"}),
        ({"service_tier": "default"}, {"service_tier": "standard_only"}),
        ({"reasoning_effort": "minimal"}, {"output_config": {"effort": "low"}}),
        ({"reasoning_effort": "xhigh"}, {"output_config": {"effort": "xhigh"}}),
        ({"reasoning_effort": "none"}, {"thinking": {"type": "disabled"}}),
        ({"response_format": {"type": "text"}}, {}),
        (
            {"response_format": {"type": "json_schema", "json_schema": {"schema": {"type": "object"}, "strict": True}}},
            {"output_config": {"format": {"type": "json_schema", "schema": {"type": "object"}}}},
        ),
        (
            {"response_format": {"type": "json_schema", "json_schema": {"schema": {}, "description": "D"}}},
            {"output_config": {"format": {"type": "json_schema", "schema": {"description": "D"}}}},
        ),
        ({"thinking": {"type": "adaptive"}, "cache_control": None}, {"thinking": {"type": "adaptive"}, "cache_control": None}),
        ({"unheard_of": [1]}, {"unheard_of": [1]}),
        ({"n": 1, "logprobs": False, "seed": None, "logit_bias": {}, "presence_penalty": 0, "modalities": ["text"]}, {}),
        ({"model": "other", "stream": False, "stream_options": {"include_usage": False}}, {}),
    ],
)  # fmt: skip
def test_a_field_is_said_in_anthropics_words(params: dict[str, Json], fields: dict[str, Json]) -> None:
    least = {"model": "claude", "max_tokens": DEFAULT_MAX_TOKENS, "messages": [USER], "stream": True}
    assert body(**params) == {**least, **fields}


def test_fields_of_both_protocols_are_one_whichever_comes_first() -> None:
    config: Json = {"task_budget": 1}
    both = {"effort": "low", "task_budget": 1}
    assert body(reasoning_effort="low", output_config=config)["output_config"] == both
    assert body(output_config=config, reasoning_effort="low")["output_config"] == both
    assert body(metadata={"user_id": "a"}, user="b")["metadata"] == {"user_id": "b"}
    assert body(user="b", metadata={"user_id": "a"})["metadata"] == {"user_id": "b"}


def test_the_request_stays_as_it_was_for_whoever_is_asked_next() -> None:
    parts: list[Json] = [{"type": "text", "text": "a"}]
    said: list[dict[str, Json]] = [
        {"role": "system", "content": [*parts]},
        {"role": "user", "content": [*parts]},
        {"role": "user", "content": [*parts]},
        {"role": "assistant", "content": [*parts], "tool_calls": [call("{}")]},
    ]
    params: dict[str, Json] = {
        "output_config": {}, "reasoning_effort": "low", "metadata": {"user_id": "u"}, "tool_choice": {"type": "auto"},
        "parallel_tool_calls": False, "tools": [FUNCTION], "anthropic": {"metadata": {"more": 1}},
    }  # fmt: skip
    before = msgspec.json.encode((said, params))
    asked(*said, **params)
    assert msgspec.json.encode((said, params)) == before


FUNCTION: Json = {
    "type": "function",
    "function": {"name": "f", "description": "d", "parameters": {"type": "object"}, "strict": True},
    "cache_control": {"type": "ephemeral"},
}
TOOL = {
    "name": "f",
    "description": "d",
    "strict": True,
    "input_schema": {"type": "object"},
    "cache_control": {"type": "ephemeral"},
}


@pytest.mark.parametrize(
    ("params", "choice"),
    [
        ({}, None),
        ({"tool_choice": "auto"}, {"type": "auto"}),
        ({"tool_choice": "none", "parallel_tool_calls": False}, {"type": "none"}),
        ({"tool_choice": "required"}, {"type": "any"}),
        ({"tool_choice": {"type": "function", "function": {"name": "f"}}}, {"type": "tool", "name": "f"}),
        ({"tool_choice": {"type": "any"}}, {"type": "any"}),
        ({"parallel_tool_calls": False}, {"type": "auto", "disable_parallel_tool_use": True}),
        ({"parallel_tool_calls": True}, None),
        (
            {"tool_choice": "required", "parallel_tool_calls": False},
            {"type": "any", "disable_parallel_tool_use": True},
        ),
    ],
)
def test_tools_and_how_they_may_be_used(params: dict[str, Json], choice: Json) -> None:
    found = body(tools=[FUNCTION, {"type": "function", "function": {"name": "g"}}], **params)
    assert found["tools"] == [TOOL, {"name": "g", "input_schema": {"type": "object", "properties": {}}}]
    assert found.get("tool_choice") == choice


def test_without_tools_nothing_is_said_of_several_at_once() -> None:
    assert "tool_choice" not in body(parallel_tool_calls=False)


@pytest.mark.parametrize(
    ("params", "param"),
    [
        ({"n": 2}, "n"),
        ({"seed": 0}, "seed"),
        ({"logprobs": True}, "logprobs"),
        ({"top_logprobs": 3}, "top_logprobs"),
        ({"presence_penalty": 0.5}, "presence_penalty"),
        ({"frequency_penalty": -1}, "frequency_penalty"),
        ({"logit_bias": {"5": 1}}, "logit_bias"),
        ({"audio": {"voice": "alloy"}}, "audio"),
        ({"modalities": ["text", "audio"]}, "modalities"),
        ({"functions": [{"name": "f"}]}, "functions"),
        ({"web_search_options": {}}, "web_search_options"),
        ({"verbosity": "low"}, "verbosity"),
        ({"service_tier": "flex"}, "service_tier"),
        ({"response_format": {"type": "json_object"}}, "response_format"),
        ({"tools": [{"type": "custom", "custom": {"name": "f"}}]}, "tools[0]"),
        ({"tools": [box("openai-responses", {"type": "file_search"})]}, "tools[0]"),
        ({"tool_choice": {"type": "allowed_tools", "allowed_tools": {}}}, "tool_choice"),
        ({"tool_choice": "some"}, "tool_choice"),
        ({"openai-responses": {"truncation": "auto"}}, "truncation"),
    ],
)
def test_a_field_that_cannot_be_said_is_refused_by_its_name(params: dict[str, Json], param: str) -> None:
    assert refused(**params) == param


@pytest.mark.parametrize(
    "params",
    [
        {"tools": "f"}, {"tools": [7]}, {"stop": 7}, {"response_format": "json"}, {"metadata": "m"}, {"user": 7},
        {"reasoning_effort": 7}, {"tool_choice": 7}, {"anthropic": "x"}, {"max_tokens": "many"},
    ],
)  # fmt: skip
def test_a_field_of_the_wrong_type_is_the_providers_to_judge(params: dict[str, Json]) -> None:
    assert asked(**params)[0]["model"] == "claude"


def test_thoughts_that_a_client_of_responses_hands_back_are_blocks_again() -> None:
    summary: Json = [{"type": "summary_text", "text": "Hm"}]
    signed: Json = {"type": "reasoning", "id": "rs_ours", "summary": summary, "encrypted_content": "EqQB"}
    turn: dict[str, Json] = {"role": "assistant", "content": [box("openai-responses", signed)]}
    assert said(USER, turn)[1]["content"] == [{"type": "thinking", "thinking": "Hm", "signature": "EqQB"}]


def test_thoughts_that_others_signed_are_left_out_by_name() -> None:
    hidden: Json = {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "gAAAAABo"}
    answer: Json = [box("openai-responses", hidden), {"type": "text", "text": "So."}]
    question, left_out = asked(USER, {"role": "assistant", "content": answer})
    assert question["messages"][1]["content"] == [{"type": "text", "text": "So."}]
    assert left_out == ("reasoning.encrypted_content", "reasoning.id")
