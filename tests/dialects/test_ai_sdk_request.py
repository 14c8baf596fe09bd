"""What `useChat` sends, part by part, and how a part that is wrong is refused."""

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.core.carried import foreign
from penstock.core.errors import Refused
from penstock.core.request import ChatRequest
from penstock.dialects.ai_sdk import AiSdkDialect
from penstock.testing.laws.dialects import check_refusal
from penstock.testing.strategies import bodies, json_values
from tests.laws.pairs import laws

PIXEL = "data:image/png;base64,iVBORw0K"
CALL = {"type": "tool-look", "toolCallId": "c1", "state": "output-available", "input": {"at": 1}, "output": {"n": 2}}
RESULT = {"role": "tool", "tool_call_id": "c1", "content": '{"n":2}'}


def message(role: str, *parts: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"id": "m1", "role": role, "parts": list(parts), **more}


def text(words: str = "hi") -> dict[str, Any]:
    return {"type": "text", "text": words}


def parsed(*messages: Any, **fields: Any) -> ChatRequest:
    return AiSdkDialect().parse(json.dumps({"messages": list(messages), **fields}).encode())


def refused(*messages: Any, **fields: Any) -> tuple[str, str | None]:
    with pytest.raises(Refused) as problem:
        parsed(*messages, **fields)
    return problem.value.fault.message, problem.value.fault.param


def said(*messages: Any) -> list[dict[str, Any]]:
    return list(parsed(*messages).messages)


def call(**changed: Any) -> dict[str, Any]:
    return {**CALL, **changed}


def test_a_chat_with_its_extra_fields() -> None:
    request = parsed(
        message("user", text()), id="chat-1", trigger="submit-message", messageId=None, model="m", top_p=0.5
    )
    assert (request.chat, request.model, request.stream, request.echo) == ("chat-1", "m", True, b"")
    assert request.params == {"top_p": 0.5}
    assert request.messages == ({"role": "user", "content": "hi"},)


def test_system_messages_come_from_a_field_and_from_messages() -> None:
    request = parsed(message("system", text("be "), text("brief")), message("user", text()), system="be kind")
    assert [(each["role"], each["content"]) for each in request.messages] == [
        ("system", "be kind"),
        ("system", "be brief"),
        ("user", "hi"),
    ]


@pytest.mark.parametrize(
    ("part", "wanted"),
    [
        ({"url": PIXEL, "mediaType": "image/png"}, {"type": "image_url", "image_url": {"url": PIXEL}}),
        (
            {"url": "https://x.example/a.jpg", "mediaType": "image/jpeg"},
            {"type": "image_url", "image_url": {"url": "https://x.example/a.jpg"}},
        ),
        (
            {"url": "data:audio/mpeg;base64,AAAA", "mediaType": "audio/mpeg"},
            {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "mp3"}},
        ),
        (
            {"url": "data:audio/wav;base64,AAAA", "mediaType": "audio/wav"},
            {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}},
        ),
        (
            {"url": "data:application/pdf;base64,AAAA", "mediaType": "application/pdf", "filename": "a.pdf"},
            {"type": "file", "file": {"file_data": "data:application/pdf;base64,AAAA", "filename": "a.pdf"}},
        ),
    ],
    ids=["picture", "picture-elsewhere", "mp3", "wav", "pdf"],
)
def test_files_become_what_they_are(part: dict[str, Any], wanted: dict[str, Any]) -> None:
    (only,) = said(message("user", text(), {"type": "file", **part}))
    assert only["content"] == [text(), wanted]


def test_a_file_elsewhere_is_carried_and_no_source_takes_it_for_something_else() -> None:
    request = parsed(
        message("user", {"type": "file", "url": "https://x.example/a.pdf", "mediaType": "application/pdf"})
    )
    assert [(where, what) for where, what in foreign(request, "openai")] == [("messages[0].content[0]", "file")]


def test_each_step_of_an_assistant_is_a_message_with_the_results_of_its_calls() -> None:
    step = {"type": "step-start"}
    thought = {"type": "reasoning", "text": "hm"}
    dynamic = {**call(toolCallId="c2", output="two"), "type": "dynamic-tool", "toolName": "other"}
    told = said(message("user", text()), message("assistant", step, thought, text("a"), CALL, dynamic, step, text("b")))
    assert told[1:] == [
        {
            "role": "assistant",
            "content": "a",
            "reasoning_content": "hm",
            "tool_calls": [
                {"id": "c1", "type": "function", "function": {"name": "look", "arguments": '{"at":1}'}},
                {"id": "c2", "type": "function", "function": {"name": "other", "arguments": '{"at":1}'}},
            ],
        },
        RESULT,
        {"role": "tool", "tool_call_id": "c2", "content": "two"},
        {"role": "assistant", "content": "b"},
    ]


@pytest.mark.parametrize(
    ("changed", "wanted"),
    [
        ({"state": "output-error", "errorText": "no"}, {"content": "no", "is_error": True}),
        (
            {"state": "output-denied", "approval": {"id": "a", "approved": False, "reason": "never"}},
            {"content": "never", "is_error": True},
        ),
        (
            {"state": "approval-responded", "approval": {"id": "a", "approved": False}},
            {"content": "Tool call execution denied.", "is_error": True},
        ),
        ({"output": None}, {"content": "null"}),
    ],
)
def test_a_call_that_failed_or_was_denied_has_a_result_that_says_so(
    changed: dict[str, Any], wanted: dict[str, Any]
) -> None:
    told = said(message("user", text()), message("assistant", call(**changed)))
    assert told[2] == {"role": "tool", "tool_call_id": "c1", **wanted}


def test_arguments_that_were_no_json_go_back_as_they_were() -> None:
    broken = call(state="output-error", errorText="no", input=None, rawInput='{"at"')
    told = said(message("user", text()), message("assistant", broken))
    assert told[1]["tool_calls"][0]["function"] == {"name": "look", "arguments": '{"at"'}


def test_what_only_the_page_shows_is_not_for_the_model() -> None:
    shown: list[dict[str, Any]] = [
        {"type": "source-url", "sourceId": "1", "url": "x"},
        {"type": "data-progress", "data": 1},
    ]
    cut = call(state="input-streaming")
    told = said(
        message("user", text()), message("assistant", *shown, cut), message("assistant", text("a"), *shown, cut)
    )
    assert told == [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "a"}]


@pytest.mark.parametrize(
    ("signature", "name", "block"),
    [
        ("c2ln", "anthropic", {"type": "thinking", "thinking": "hm", "signature": "c2ln"}),
        (
            "rs_1:c2ln",
            "openai-responses",
            {
                "type": "reasoning",
                "id": "rs_1",
                "summary": [{"type": "summary_text", "text": "hm"}],
                "encrypted_content": "c2ln",
            },
        ),
    ],
)
def test_reasoning_goes_back_to_its_provider_with_its_signature(
    signature: str, name: str, block: dict[str, Any]
) -> None:
    thought = {"type": "reasoning", "text": "hm", "providerMetadata": {"penstock": {"signature": signature}}}
    told = said(message("user", text()), message("assistant", thought, text("a")))
    assert told[1]["content"] == [{"type": name, name: block}, text("a")]


def test_what_came_with_a_call_goes_back_with_it() -> None:
    again = {"google": {"thought_signature": "c2ln"}}
    signed = call(callProviderMetadata={"penstock": {"extra_content": again}})
    assert said(message("user", text()), message("assistant", signed))[1]["tool_calls"][0]["extra_content"] == again


def test_a_refusal_goes_back_as_one() -> None:
    part = {**text("I will not"), "providerMetadata": {"penstock": {"refusal": True}}}
    told = said(message("user", text()), message("assistant", part))
    assert told[1]["content"] == [{"type": "refusal", "refusal": "I will not"}]


def test_messages_with_content_are_taken_as_they_are() -> None:
    plain = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": None, "tool_calls": []}, RESULT]
    assert said(*plain) == plain


@pytest.mark.parametrize(
    ("trigger", "goes_on"), [(None, True), ("submit-message", True), ("regenerate-message", False)]
)
def test_an_answer_adds_to_the_assistant_message_that_comes_last(trigger: str | None, goes_on: bool) -> None:
    last = message("assistant", CALL)
    request = parsed(message("user", text()), last, trigger=trigger)
    assert bool(request.echo) is goes_on
    assert not goes_on or json.loads(request.echo) == {"id": "m1", "parts": [CALL]}


@pytest.mark.parametrize(
    ("part", "param"),
    [
        ("words", ""),
        ({"text": "x"}, ""),
        ({"type": "text"}, ".text"),
        ({"type": "text", "text": 1}, ".text"),
        ({"type": "file", "mediaType": "image/png"}, ".url"),
        ({"type": "file", "url": PIXEL}, ".mediaType"),
        ({"type": "file", "url": "data:audio/wav,x", "mediaType": "audio/wav"}, ".url"),
        ({"type": "custom", "kind": "x"}, ".type"),
        (call(toolCallId=None), ".toolCallId"),
        (call(state="input-available"), ".output"),
        (call(state="approval-requested", approval={"id": "a"}), ".output"),
        (call(state="approval-responded", approval={"id": "a", "approved": True}), ".output"),
        (call(state="output-error"), ".errorText"),
        (call(state="lost"), ".state"),
        ({**CALL, "type": "dynamic-tool"}, ".toolName"),
    ],
)
def test_a_part_that_is_wrong_is_refused_by_its_place(part: Any, param: str) -> None:
    problem, place = refused(message("user", text()), message("assistant", part))
    assert place == f"messages[1].parts[0]{param}"
    assert "messages[1].parts[0]" in problem


@pytest.mark.parametrize(
    ("messages", "param"),
    [
        (["words"], "messages[0]"),
        ([{"role": "user"}], "messages[0].parts"),
        ([{"role": "user", "parts": "x"}], "messages[0].parts"),
        ([message("user")], "messages[0].parts"),
        ([message("user", {"type": "data-x", "data": 1})], "messages[0].parts"),
        ([message("user", CALL)], "messages[0].parts[0]"),
        ([message("tool", text())], "messages[0].role"),
        ([message("assistant", {"type": "data-x", "data": 1})], "messages"),
        ([], "messages"),
    ],
)
def test_a_message_that_is_wrong_is_refused_by_its_place(messages: list[Any], param: str) -> None:
    assert refused(*messages)[1] == param


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("id", 1),
        ("id", "x" * 256),
        ("trigger", "resume-stream"),
        ("messageId", 1),
        ("system", []),
        ("model", 1),
        ("stream", "yes"),
        ("n", 0),
    ],
)
def test_a_field_that_is_wrong_is_refused_by_its_name(field: str, value: Any) -> None:
    assert refused(message("user", text()), **{field: value})[1] == field


def test_messages_are_required() -> None:
    with pytest.raises(Refused) as problem:
        AiSdkDialect().parse(b'{"id":"chat-1"}')
    assert problem.value.fault.param == "messages"


MEMBERS = ("text", "url", "mediaType", "toolCallId", "toolName", "state", "input", "output", "errorText", "approval")
KINDS = ("text", "reasoning", "file", "step-start", "tool-look", "dynamic-tool", "source-url", "data-x", "custom")


@st.composite
def conversations(draw: st.DrawFn) -> bytes:
    """Messages whose parts have any members, of any kind."""
    states = st.sampled_from(["input-streaming", "output-available", "output-denied", "approval-responded"])
    values = json_values() | states | st.text(max_size=3)
    part = st.fixed_dictionaries({"type": st.sampled_from(KINDS)}, optional=dict.fromkeys(MEMBERS, values))
    roles = st.sampled_from(["user", "assistant", "system", "tool"])
    one = st.fixed_dictionaries(
        {"role": roles}, optional={"parts": st.lists(part, max_size=4), "content": values, "id": values}
    )
    return msgspec.json.encode(
        {"messages": draw(st.lists(one, max_size=4)), **draw(st.just({}) | st.just({"id": "c"}))}
    )


@laws
@given(
    body=conversations() | bodies(msgspec.json.encode({"id": "c", "messages": [message("assistant", text(), CALL)]}))
)
def test_any_conversation_is_a_request_or_refused(body: bytes) -> None:
    check_refusal(AiSdkDialect(), body)


def test_of_a_message_that_goes_on_no_more_is_held_than_fits() -> None:
    """It is held as long as its run, and read again for every reader."""
    long = message("assistant", text("x" * 1_100_000))
    assert json.loads(parsed(message("user", text()), long).echo) == {"id": "m1"}
    assert parsed(message("user", text()), {**long, "id": "i" * 1_100_000}).echo == b""
