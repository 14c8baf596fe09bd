"""What is asked in OpenAI's Responses, as a chat request."""

from __future__ import annotations

import json
from typing import Any

import pytest

from penstock.core.carried import hints, refuse_foreign
from penstock.core.errors import Broken
from penstock.registry import TABLES, resolve
from penstock.sources.responses_http import OpenAIResponses
from tests.dialects.responses_asking import CALL, CALLED, NAME, OUTPUT, PARSE, TOOL, asked, messages


def boxed(value: Any) -> Any:
    return {"type": NAME, NAME: value}


def echo(**fields: Any) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(asked(**fields).echo)
    return found


def test_a_text_is_a_message_and_nothing_else_is_said() -> None:
    request = PARSE(b'{"model":"demo","input":"hi"}')
    assert request.messages == ({"role": "user", "content": "hi"},)
    assert (request.model, request.params, request.stream, request.background) == ("demo", {}, False, False)
    assert (request.keep, request.previous, request.instructions) == (True, "", 0)


def test_instructions_are_the_first_message_and_hold_for_this_answer_alone() -> None:
    request = asked(instructions="Be brief.")
    assert request.messages[0] == {"role": "system", "content": "Be brief."}
    assert request.instructions == 1


def test_what_is_about_the_answers_keeping_is_penstocks() -> None:
    request = asked(stream=True, background=True, previous_response_id="resp_1")
    assert (request.stream, request.background, request.previous, request.keep) == (True, True, "resp_1", True)
    assert asked(store=False).keep is False
    assert request.params == {}


@pytest.mark.parametrize(
    ("part", "wanted"),
    [
        ({"type": "input_text", "text": "a"}, {"type": "text", "text": "a"}),
        (
            {"type": "input_text", "text": "a", "prompt_cache_breakpoint": {"mode": "explicit"}},
            {"type": "text", "text": "a", "prompt_cache_breakpoint": {"mode": "explicit"}},
        ),
        (
            {"type": "input_image", "image_url": "data:,x", "detail": "low"},
            {"type": "image_url", "image_url": {"url": "data:,x", "detail": "low"}},
        ),
        ({"type": "input_image", "image_url": "u", "file_id": None}, {"type": "image_url", "image_url": {"url": "u"}}),
        ({"type": "input_image", "file_id": "file-1"}, boxed({"type": "input_image", "file_id": "file-1"})),
        (
            {"type": "input_file", "file_data": "data:,x", "filename": "a.txt"},
            {"type": "file", "file": {"file_data": "data:,x", "filename": "a.txt"}},
        ),
        ({"type": "input_file", "file_url": "u"}, boxed({"type": "input_file", "file_url": "u"})),
        (
            {"type": "input_audio", "input_audio": {"data": "x", "format": "wav"}},
            {"type": "input_audio", "input_audio": {"data": "x", "format": "wav"}},
        ),
        ({"type": "output_text", "text": "a", "annotations": [], "logprobs": []}, {"type": "text", "text": "a"}),
        ({"type": "refusal", "refusal": "No."}, {"type": "refusal", "refusal": "No."}),
    ],
)
def test_parts_have_the_names_they_have_in_chat(part: Any, wanted: Any) -> None:
    (message,) = messages({"role": "user", "content": [part, {"type": "input_text", "text": "b"}]})
    assert message["content"] == [wanted, {"type": "text", "text": "b"}]


@pytest.mark.parametrize("role", ["user", "assistant", "system", "developer"])
def test_one_text_alone_is_a_text(role: str) -> None:
    kind = "output_text" if role == "assistant" else "input_text"
    item = {
        "type": "message",
        "role": role,
        "id": "msg_1",
        "status": "completed",
        "content": [{"type": kind, "text": "a"}],
    }
    assert messages(item) == [{"role": role, "content": "a"}]


def test_what_an_assistant_did_in_one_turn_is_one_message() -> None:
    said = messages(
        {"type": "reasoning", "id": "rs_1", "summary": [{"type": "summary_text", "text": "Hm."}]},
        {"role": "assistant", "content": "Let me look."},
        CALL,
        {**CALL, "call_id": "c2"},
        OUTPUT,
        {"type": "function_call_output", "call_id": "c2", "output": [{"type": "input_image", "image_url": "u"}]},
        {"role": "assistant", "content": "It is sunny."},
    )
    assert said == [
        {
            "role": "assistant",
            "reasoning_content": "Hm.",
            "content": "Let me look.",
            "tool_calls": [CALLED, {**CALLED, "id": "c2"}],
        },
        {"role": "tool", "tool_call_id": "c1", "content": "sunny"},
        {"role": "tool", "tool_call_id": "c2", "content": [{"type": "image_url", "image_url": {"url": "u"}}]},
        {"role": "assistant", "content": "It is sunny."},
    ]


def test_reasoning_that_has_its_text_is_that_and_not_its_summary() -> None:
    item = {
        "type": "reasoning",
        "summary": [{"type": "summary_text", "text": "short"}],
        "content": [{"type": "reasoning_text", "text": "long"}, {"type": "reasoning_text", "text": "er"}],
    }
    assert messages(item)[0]["reasoning_content"] == "long\n\ner"


def test_thoughts_stay_where_they_were_and_calls_stay_together() -> None:
    hm = {"type": "reasoning", "id": "rs_1", "summary": [{"type": "summary_text", "text": "Hm."}]}
    say = {"role": "assistant", "content": "a"}
    assert messages(say, hm, say) == [say, {"role": "assistant", "reasoning_content": "Hm.", "content": "a"}]
    (turn, *_) = messages(hm, CALL, hm, {**CALL, "call_id": "c2"}, OUTPUT, {**OUTPUT, "call_id": "c2"})
    assert (turn["reasoning_content"], len(turn["tool_calls"])) == ("Hm.\n\nHm.", 2)


def test_what_chat_has_no_words_for_is_in_a_box_in_its_place() -> None:
    thought = {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "gAAA"}
    search = {"type": "web_search_call", "id": "ws_1", "status": "completed"}
    shell = {"type": "shell_call_output", "call_id": "s1", "output": []}
    phased = {"type": "message", "role": "assistant", "content": "x", "phase": "commentary"}
    assert messages(thought, {"role": "assistant", "content": "a"}, CALL, search, phased, shell, OUTPUT) == [
        {"role": "assistant", "content": [boxed(thought), {"type": "text", "text": "a"}], "tool_calls": [CALLED]},
        {"role": "assistant", "content": [boxed(search), boxed(phased)]},
        {"role": "user", "content": [boxed(shell)]},
        {"role": "tool", "tool_call_id": "c1", "content": "sunny"},
    ]
    assert messages({"id": "msg_1"}) == [{"role": "assistant", "content": [boxed({"id": "msg_1"})]}]


def test_a_call_that_says_more_is_in_a_box_with_its_output_behind_it() -> None:
    call = {**CALL, "namespace": "crm"}
    assert messages(call, OUTPUT) == [
        {"role": "assistant", "content": [boxed(call)]},
        {"role": "tool", "tool_call_id": "c1", "content": "sunny"},
    ]


def test_functions_are_nested_as_in_chat_and_other_tools_are_in_a_box() -> None:
    hosted, deferred = {"type": "web_search"}, {**TOOL, "name": "slow", "defer_loading": True}
    request = asked(tools=[TOOL, hosted, deferred, {"type": "function", "name": "bare", "strict": None}])
    function = {name: value for name, value in TOOL.items() if name != "type"}
    assert request.params["tools"] == [
        {"type": "function", "function": function},
        boxed(hosted),
        boxed(deferred),
        {"type": "function", "function": {"name": "bare", "strict": None}},
    ]


@pytest.mark.parametrize(
    ("choice", "wanted"),
    [
        ("auto", "auto"),
        ("none", "none"),
        ("required", "required"),
        ({"type": "function", "name": "weather"}, {"type": "function", "function": {"name": "weather"}}),
        (
            {"type": "allowed_tools", "mode": "auto", "tools": [{"type": "function", "name": "weather"}]},
            {
                "type": "allowed_tools",
                "allowed_tools": {"mode": "auto", "tools": [{"type": "function", "function": {"name": "weather"}}]},
            },
        ),
    ],
)
def test_the_choice_of_a_tool_has_the_shape_of_chat(choice: Any, wanted: Any) -> None:
    request = asked(tools=[TOOL], tool_choice=choice)
    assert (request.params["tool_choice"], NAME in request.params) == (wanted, False)


@pytest.mark.parametrize(
    "choice",
    [{"type": "web_search_preview"}, {"type": "allowed_tools", "mode": "auto", "tools": [{"type": "web_search"}]}],
)
def test_the_choice_of_another_tool_is_in_the_box(choice: Any) -> None:
    request = asked(tools=[{"type": "web_search"}], tool_choice=choice)
    assert request.params[NAME] == {"tool_choice": choice}


@pytest.mark.parametrize(
    ("fields", "params"),
    [
        ({"max_output_tokens": 9}, {"max_completion_tokens": 9}),
        ({"temperature": 0, "top_p": 1.0}, {"temperature": 0, "top_p": 1.0}),
        ({"parallel_tool_calls": False}, {"parallel_tool_calls": False}),
        ({"user": "u", "safety_identifier": "s"}, {"user": "u", "safety_identifier": "s"}),
        ({"prompt_cache_key": "k", "service_tier": "flex"}, {"prompt_cache_key": "k", "service_tier": "flex"}),
        ({"reasoning": {"effort": "low"}}, {"reasoning_effort": "low"}),
        ({"reasoning": {"effort": None, "summary": "auto"}}, {NAME: {"reasoning": {"summary": "auto"}}}),
        ({"top_logprobs": 2}, {"top_logprobs": 2, "logprobs": True}),
        ({"top_logprobs": 0}, {}),
        ({"include": ["message.output_text.logprobs"]}, {"logprobs": True}),
        ({"include": ["reasoning.encrypted_content"]}, {NAME: {"include": ["reasoning.encrypted_content"]}}),
        ({"text": {"format": {"type": "text"}, "verbosity": "low"}}, {"response_format": {"type": "text"}, "verbosity": "low"}),
        ({"text": {"format": {"type": "json_object"}}}, {"response_format": {"type": "json_object"}}),
        (
            {"text": {"format": {"type": "json_schema", "name": "n", "schema": {}, "strict": True}}},
            {"response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": {}, "strict": True}}},
        ),
        ({"text": {"format": {"type": "grammar", "g": 1}}}, {NAME: {"text": {"format": {"type": "grammar", "g": 1}}}}),
        ({"metadata": {"a": "b"}, "truncation": "disabled"}, {NAME: {"metadata": {"a": "b"}}}),
        ({"truncation": "auto", "max_tool_calls": 3}, {NAME: {"truncation": "auto", "max_tool_calls": 3}}),
        ({"stream_options": {"include_obfuscation": False}}, {}),
        ({"brand_new": [1], "nothing": None}, {NAME: {"brand_new": [1]}}),
        ({"tools": None, "metadata": None, "text": None, "reasoning": None, "temperature": None}, {}),
    ],
)  # fmt: skip
def test_fields_have_the_names_they_have_in_chat_or_are_in_the_box(fields: Any, params: Any) -> None:
    assert asked(**fields).params == params


def test_an_answer_repeats_what_was_asked_with_openais_defaults() -> None:
    assert echo()["text"] == {"format": {"type": "text"}}
    assert (echo()["temperature"], echo()["tools"], echo()["truncation"]) == (1.0, [], "disabled")
    said = echo(
        tools=[TOOL],
        tool_choice="required",
        reasoning={"effort": "low"},
        text={"verbosity": "low"},
        previous_response_id="resp_1",
        store=False,
        max_output_tokens=5,
        user="u",
    )
    assert (said["tools"], said["tool_choice"]) == ([TOOL], "required")
    assert said["reasoning"] == {"effort": "low", "summary": None}
    assert said["text"] == {"verbosity": "low", "format": {"type": "text"}}
    assert (said["previous_response_id"], said["store"], said["user"]) == ("resp_1", False, "u")
    assert said["max_output_tokens"] == 5


def test_what_only_hints_is_left_out_by_other_providers_and_told() -> None:
    request = asked(metadata={"a": "b"}, reasoning={"summary": "auto"}, include=["reasoning.encrypted_content"])
    refuse_foreign(request, "openai-chat", "host")
    assert hints(request, "openai-chat") == ("reasoning", "include", "metadata")
    assert hints(request, NAME) == ()
    with pytest.raises(Broken) as broken:
        refuse_foreign(asked(truncation="auto"), "openai-chat", "host")
    assert (broken.value.fault.code, broken.value.fault.param) == ("not_carried", "truncation")


@pytest.mark.parametrize("provider", sorted(TABLES["providers"]))
def test_no_provider_of_another_protocol_is_sent_the_hints(provider: str) -> None:
    request = asked(metadata={"a": "b"}, reasoning={"summary": "auto"}, include=["reasoning.encrypted_content"])
    protocol = resolve("providers", provider)("http://127.0.0.1:9")._protocol
    question = protocol.question("m", request, host="host")
    sent = json.loads(question.body)
    if provider == NAME:
        assert (sent["metadata"], sent["reasoning"], question.left_out) == ({"a": "b"}, {"summary": "auto"}, ())
    else:
        assert {NAME, "metadata", "reasoning", "include"} & set(sent) == set()
        assert set(question.left_out) == {"metadata", "reasoning", "include"}


def test_a_result_may_belong_to_a_call_that_is_not_in_the_request() -> None:
    wanted = {"role": "tool", "tool_call_id": "c1", "content": "sunny"}
    assert messages(OUTPUT, previous_response_id="resp_1") == [wanted]
    assert messages({"type": "item_reference", "id": "fc_1"}, OUTPUT)[-1] == wanted


def test_a_provider_that_speaks_responses_is_asked_what_was_asked() -> None:
    """Through the chat shape and out of it again, item by item and field by field."""
    image, file = {"type": "input_image", "file_id": "file-1"}, {"type": "input_file", "file_url": "u"}
    spoken = {"type": "output_text", "text": "t", "annotations": []}
    call = {name: CALL[name] for name in ("type", "call_id", "name", "arguments")}
    question: dict[str, Any] = {
        "instructions": "Be brief.",
        "input": [
            {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "a"}, image, file]},
            {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "gAAA"},
            {"type": "message", "role": "assistant", "content": [spoken]},
            call,
            {"type": "web_search_call", "id": "ws_1", "status": "completed"},
            {**call, "call_id": "c2"},
            OUTPUT,
            {**OUTPUT, "call_id": "c2", "output": [{"type": "input_text", "text": "x"}, image]},
            {"type": "message", "role": "assistant", "content": "x", "phase": "commentary"},
            {"type": "message", "role": "developer", "content": "y"},
        ],
        "tools": [TOOL, {"type": "web_search"}, {"type": "custom", "name": "x"}],
        "tool_choice": {"type": "allowed_tools", "mode": "auto", "tools": [{"type": "function", "name": "weather"}]},
        "parallel_tool_calls": False,
        "text": {"format": {"type": "json_schema", "name": "n", "schema": {}, "strict": True}, "verbosity": "low"},
        "reasoning": {"effort": "low", "summary": "auto"},
        "include": ["file_search_call.results"],
        "max_output_tokens": 9,
        "max_tool_calls": 3,
        "temperature": 0.5,
        "top_p": 0.5,
        "top_logprobs": 3,
        "truncation": "auto",
        "metadata": {"a": "b"},
        "user": "u",
        "service_tier": "flex",
        "brand_new": {"x": 1},
    }
    body = json.loads(OpenAIResponses().question("m", asked(**question), host="host").body)
    include = body.pop("include")
    assert question.pop("include")[0] in include
    assert {name: body[name] for name in question} == question
    assert set(body) - set(question) == {"model", "stream", "store"}
