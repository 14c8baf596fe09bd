"""A chat request in the words of Responses: every field translated, left as it is, or refused by its name."""

from typing import Any

import msgspec
import pytest

from penstock.core.carried import box
from penstock.core.errors import Broken
from penstock.core.events import Json
from penstock.core.request import ChatRequest, Message
from penstock.sources.responses_http import ResponsesProvider
from penstock.sources.responses_request import question

NAME = "openai-responses"
HELLO: Message = {"role": "user", "content": "Hello"}


def body(*messages: Message, **params: Json) -> dict[str, Any]:
    asked = ChatRequest(model="any", messages=messages or (HELLO,), params=params)
    sent: dict[str, Any] = msgspec.json.decode(question("gpt", asked, host="provider.test").body)
    return sent


def items(*messages: Message) -> list[Any]:
    told: list[Any] = body(*messages)["input"]
    return told


def refused(*messages: Message, **params: Json) -> tuple[str, str | None]:
    with pytest.raises(Broken) as caught:
        body(*messages, **params)
    return caught.value.fault.code, caught.value.fault.param


def test_the_least_request() -> None:
    assert body() == {
        "model": "gpt",
        "input": [{"type": "message", "role": "user", "content": "Hello"}],
        "stream": True,
        "store": False,
    }


def test_it_is_posted_where_the_base_url_says() -> None:
    assert ResponsesProvider("https://api.openai.com")._url == "https://api.openai.com/v1/responses"
    assert ResponsesProvider("https://host/openai/v1/")._url == "https://host/openai/v1/responses"


def test_a_first_system_message_is_the_instructions() -> None:
    later: Message = {"role": "developer", "content": "Rhyme."}
    sent = body({"role": "system", "content": "Be brief."}, later, HELLO)
    assert sent["instructions"] == "Be brief."
    assert sent["input"][0] == {"type": "message", "role": "developer", "content": "Rhyme."}


def test_a_system_message_of_parts_stays_a_message() -> None:
    parts: Json = [{"type": "text", "text": "Be brief."}]
    sent = body({"role": "system", "content": parts}, HELLO)
    assert "instructions" not in sent
    assert sent["input"][0]["content"] == [{"type": "input_text", "text": "Be brief."}]


def test_parts_of_a_user() -> None:
    (message,) = items(
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "Look:", "prompt_cache_breakpoint": {"mode": "explicit"}},
                {"type": "image_url", "image_url": {"url": "https://host/a.png", "detail": "low"}},
                {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}},
                {"type": "input_audio", "input_audio": {"data": "AA==", "format": "wav"}},
                {"type": "file", "file": {"file_id": "file-1"}},
                {"type": "file", "file": {"file_data": "data:application/pdf;base64,AA==", "filename": "a.pdf"}},
                box(NAME, {"type": "input_image", "file_id": "file-2", "detail": "high"}),
            ],
        }
    )
    assert message["content"] == [
        {"type": "input_text", "text": "Look:", "prompt_cache_breakpoint": {"mode": "explicit"}},
        {"type": "input_image", "image_url": "https://host/a.png", "detail": "low"},
        {"type": "input_image", "image_url": "data:image/png;base64,AA==", "detail": "auto"},
        {"type": "input_audio", "input_audio": {"data": "AA==", "format": "wav"}},
        {"type": "input_file", "file_id": "file-1"},
        {"type": "input_file", "file_data": "data:application/pdf;base64,AA==", "filename": "a.pdf"},
        {"type": "input_image", "file_id": "file-2", "detail": "high"},
    ]


def test_a_turn_of_the_assistant_with_thoughts_text_and_calls() -> None:
    call: Json = {"id": "call_1", "type": "function", "function": {"name": "f", "arguments": '{"a":1}'}}
    told = items(
        {"role": "assistant", "reasoning_content": "Hm", "content": "Let me see.", "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "call_1", "content": "4"},
    )
    assert told == [
        {"type": "reasoning", "id": "rs_0", "summary": [], "content": [{"type": "reasoning_text", "text": "Hm"}]},
        {"type": "message", "role": "assistant", "content": "Let me see."},
        {"type": "function_call", "call_id": "call_1", "name": "f", "arguments": '{"a":1}'},
        {"type": "function_call_output", "call_id": "call_1", "output": "4"},
    ]


def test_what_the_sdk_dumps_of_an_answer_comes_back_without_its_nulls() -> None:
    dumped: Message = {
        "role": "assistant",
        "content": "See [1].",
        "refusal": None,
        "audio": None,
        "function_call": None,
        "tool_calls": None,
        "annotations": [{"type": "url_citation", "url_citation": {"url": "https://host", "title": "Host"}}],
    }
    note = {"type": "url_citation", "url": "https://host", "title": "Host"}
    assert items(dumped) == [
        {
            "type": "message",
            "role": "assistant",
            "content": [{"type": "output_text", "annotations": [note], "text": "See [1]."}],
        }
    ]


def test_a_refusal_of_the_assistant_is_one_here_too() -> None:
    (told,) = items({"role": "assistant", "content": None, "refusal": "I will not."})
    assert told["content"] == [{"type": "refusal", "refusal": "I will not."}]


def test_a_call_without_text_has_no_message() -> None:
    call: Json = {"id": "call_1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    assert [item["type"] for item in items({"role": "assistant", "content": None, "tool_calls": [call]})] == [
        "function_call"
    ]


@pytest.mark.parametrize("content", ["", []])
def test_a_message_without_a_word_is_still_one(content: Json) -> None:
    assert items({"role": "user", "content": content}) == [{"type": "message", "role": "user", "content": ""}]


def test_a_result_may_be_an_image_and_may_be_an_error() -> None:
    parts: Json = [{"type": "text", "text": "here"}, {"type": "image_url", "image_url": {"url": "https://host/a.png"}}]
    (told,) = items({"role": "tool", "tool_call_id": "c", "content": parts, "is_error": True})
    assert told == {
        "type": "function_call_output",
        "call_id": "c",
        "output": [
            {"type": "input_text", "text": "here"},
            {"type": "input_image", "image_url": "https://host/a.png", "detail": "auto"},
        ],
        "status": "incomplete",
    }


def test_boxed_items_stand_where_they_stood() -> None:
    search: Json = {"type": "web_search_call", "id": "ws_1", "status": "completed"}
    content: Json = [{"type": "text", "text": "a"}, box(NAME, search), {"type": "text", "text": "b"}]
    first, second, third = items({"role": "assistant", "content": content})
    assert (first["content"][0]["text"], second, third["content"][0]["text"]) == ("a", search, "b")


def test_encrypted_thoughts_go_back_under_the_id_they_came_with() -> None:
    thought: Json = {"type": "reasoning", "id": "rs_ours", "summary": [], "encrypted_content": "rs_theirs:gAAAA="}
    (told,) = items({"role": "assistant", "content": [box(NAME, thought)]})
    assert told == {"type": "reasoning", "id": "rs_theirs", "summary": [], "encrypted_content": "gAAAA="}


def test_tools_lose_their_inner_object_and_are_not_strict_unless_they_say_so() -> None:
    function: Json = {"name": "f", "description": "d", "parameters": {"type": "object"}}
    grammar: Json = {"type": "grammar", "grammar": {"syntax": "lark", "definition": "start: A"}}
    sent = body(
        tools=[
            {"type": "function", "function": function},
            {"type": "function", "function": {"name": "g", "strict": True}},
            {"type": "function", "function": {"name": "h", "strict": None}},
            {"type": "custom", "custom": {"name": "sql", "format": grammar}},
            {"type": "web_search"},
            box(NAME, {"type": "mcp", "server_label": "dice"}),
        ]
    )
    assert sent["tools"] == [
        {"type": "function", "name": "f", "description": "d", "parameters": {"type": "object"}, "strict": False},
        {"type": "function", "name": "g", "parameters": None, "strict": True},
        {"type": "function", "name": "h", "parameters": None},
        {"type": "custom", "name": "sql", "format": {"type": "grammar", "syntax": "lark", "definition": "start: A"}},
        {"type": "web_search"},
        {"type": "mcp", "server_label": "dice"},
    ]


@pytest.mark.parametrize(
    ("choice", "told"),
    [
        ("required", "required"),
        ({"type": "function", "function": {"name": "f"}}, {"type": "function", "name": "f"}),
        ({"type": "custom", "custom": {"name": "sql"}}, {"type": "custom", "name": "sql"}),
        (
            {
                "type": "allowed_tools",
                "allowed_tools": {"mode": "auto", "tools": [{"type": "function", "function": {"name": "f"}}]},
            },
            {"type": "allowed_tools", "mode": "auto", "tools": [{"type": "function", "name": "f"}]},
        ),
    ],
)
def test_which_tool_to_call(choice: Json, told: Json) -> None:
    assert body(tool_choice=choice)["tool_choice"] == told


def test_how_the_text_is_to_look() -> None:
    schema: Json = {"name": "answer", "schema": {"type": "object"}, "strict": True}
    sent = body(response_format={"type": "json_schema", "json_schema": schema}, verbosity="low")
    assert sent["text"] == {
        "format": {"type": "json_schema", "name": "answer", "schema": {"type": "object"}, "strict": True},
        "verbosity": "low",
    }
    assert body(response_format={"type": "json_object"})["text"] == {"format": {"type": "json_object"}}


@pytest.mark.parametrize("name", ["max_tokens", "max_completion_tokens"])
def test_both_spellings_of_the_limit(name: str) -> None:
    sent = body(**{name: 7})
    assert (sent["max_output_tokens"], name in sent) == (7, False)


def test_thoughts_that_nobody_keeps_are_asked_for_in_cipher() -> None:
    own: dict[str, Json] = {NAME: {"reasoning": {"summary": "auto"}, "include": ["web_search_call.results"]}}
    sent = body(reasoning_effort="high", **own)
    assert sent["reasoning"] == {"effort": "high", "summary": "auto"}
    assert sent["include"] == ["web_search_call.results", "reasoning.encrypted_content"]
    assert "include" not in body(reasoning_effort="high", store=True)
    assert "include" not in body()


def test_log_probabilities() -> None:
    sent = body(logprobs=True, top_logprobs=3)
    assert (sent["include"], sent["top_logprobs"]) == (["message.output_text.logprobs"], 3)


def test_what_both_know_and_what_nobody_knows_goes_as_it_is() -> None:
    params: dict[str, Json] = {
        "temperature": 0.5,
        "top_p": 0.9,
        "parallel_tool_calls": False,
        "metadata": {"a": "b"},
        "user": "me",
        "service_tier": "flex",
        "cache_prompt": [1],
        "stream_options": {"include_usage": True, "include_obfuscation": False},
    }
    sent = body(**params)
    assert {name: sent[name] for name in params} == {**params, "stream_options": {"include_obfuscation": False}}


def test_fields_that_only_responses_knows_come_out_of_their_box() -> None:
    own: dict[str, Json] = {NAME: {"truncation": "auto", "text": {"verbosity": "high"}}}
    sent = body(**own, response_format={"type": "text"})
    assert (sent["truncation"], sent["text"]) == ("auto", {"format": {"type": "text"}, "verbosity": "high"})
    assert NAME not in sent


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("stop", ["\n"]),
        ("n", 2),
        ("seed", 0),
        ("logit_bias", {"1": 5}),
        ("frequency_penalty", 0.5),
        ("presence_penalty", -1),
        ("modalities", ["text", "audio"]),
        ("audio", {"voice": "alloy"}),
        ("prediction", {"type": "content", "content": "x"}),
        ("functions", [{"name": "f"}]),
        ("function_call", "auto"),
        ("web_search_options", {}),
    ],
)
def test_a_field_without_a_word_here_is_refused_by_its_name(name: str, value: Json) -> None:
    assert refused(**{name: value}) == ("not_carried", name)


@pytest.mark.parametrize(
    "params", [{"n": 1}, {"stop": None}, {"seed": None}, {"logit_bias": {}}, {"presence_penalty": 0.0}]
)
def test_a_field_that_asks_for_nothing_is_left_out(params: dict[str, Json]) -> None:
    assert body(**params) == body()


@pytest.mark.parametrize(
    ("message", "param"),
    [
        ({"role": "user", "name": "Ann", "content": "x"}, "messages[0].name"),
        ({"role": "assistant", "audio": {"id": "audio_1"}}, "messages[0].audio"),
        ({"role": "assistant", "function_call": {"name": "f", "arguments": "{}"}}, "messages[0].function_call"),
        ({"role": "function", "content": "x"}, "messages[0].role"),
        ({"role": "user", "content": [{"type": "video_url", "video_url": {}}]}, "messages[0].content[0]"),
        ({"role": "user", "content": [box("anthropic", {"type": "document"})]}, "messages[0].content[0]"),
    ],
)
def test_what_a_message_says_without_a_word_here_is_refused_by_its_place(message: Message, param: str) -> None:
    assert refused(message) == ("not_carried", param)
    assert refused({"role": "system", "content": "x"}, message) == ("not_carried", param.replace("[0]", "[1]", 1))


def test_hints_of_another_protocol_are_left_out_and_told() -> None:
    marked: Json = {"type": "ephemeral"}
    parts: Json = [{"type": "text", "text": "a", "cache_control": marked}]
    tool: Json = {
        "type": "function",
        "function": {"name": "f", "parameters": {"citations": 1}},
        "cache_control": marked,
    }
    asked = ChatRequest(model="any", messages=({"role": "user", "content": parts},), params={"tools": [tool]})
    sent = question("gpt", asked, host="provider.test")
    body = msgspec.json.decode(sent.body)
    assert sent.left_out == ("cache_control",)
    assert body["input"][0]["content"] == [{"type": "input_text", "text": "a"}]
    assert body["tools"] == [{"type": "function", "name": "f", "parameters": {"citations": 1}, "strict": False}]


def test_thoughts_that_a_client_of_anthropic_hands_back_are_items_again() -> None:
    thinking: Json = {"type": "thinking", "thinking": "Hm", "signature": "rs_1:gAAAA="}
    (told,) = items({"role": "assistant", "content": [box("anthropic", thinking)]})
    summary = [{"type": "summary_text", "text": "Hm"}]
    assert told == {"type": "reasoning", "id": "rs_1", "summary": summary, "encrypted_content": "gAAAA="}
    signed: Json = {"type": "thinking", "thinking": "Hm", "signature": "EqQB"}
    (told,) = items({"role": "assistant", "content": [box("anthropic", signed)]})
    assert told["content"] == [{"type": "reasoning_text", "text": "Hm"}]


def test_openai_itself_is_given_no_thoughts_but_its_own() -> None:
    turn: Message = {"role": "assistant", "content": "So.", "reasoning_content": "Hm"}
    sent = question("gpt", ChatRequest(model="any", messages=(turn,)), host="api.openai.com")
    assert [item["type"] for item in msgspec.json.decode(sent.body)["input"]] == ["message"]
    assert sent.left_out == ("reasoning_content",)


@pytest.mark.parametrize("kind", [[], {}, 1])
def test_an_item_in_a_box_whose_type_is_no_text_goes_as_it_came(kind: Json) -> None:
    """It is for the provider to refuse."""
    item: Json = {"type": kind, "id": "x"}
    assert items({"role": "user", "content": [box(NAME, item)]}) == [item]
