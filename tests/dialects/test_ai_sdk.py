"""The AI SDK's UI message stream: steps, calls that were cut off, results without a call, and what goes on from an earlier message."""

import json
from typing import Any

import pytest

from penstock.core.carried import BLOCK
from penstock.core.errors import fault
from penstock.core.events import (
    Cancelled,
    Chunk,
    Closed,
    Delta,
    Event,
    Failed,
    Finished,
    Note,
    Opened,
    ToolReturned,
    Usage,
)
from penstock.dialects.ai_sdk import AiSdkDialect
from tests.dialects.telling import RUN, STARTED, frames, rejoined, values, whole

DIALECT = AiSdkDialect()
ID = "msg_" + "b" * 26
CALL = Opened(0, "tool_call", name="look", call_id="c1")
DEAD = Failed(fault("provider_truncated"))
STEPS = [{"type": "finish-step"}, {"type": "start-step"}]


def told(*events: Event, **view: Any) -> list[Any]:
    """What is said after the message has begun."""
    return values(frames(DIALECT, STARTED, *events, primed=1, **view))


def kinds(*events: Event, **view: Any) -> list[str]:
    return [value if isinstance(value, str) else value["type"] for value in told(*events, **view)]


def test_the_message_begins_with_whatever_comes_first_under_the_name_of_its_run() -> None:
    metadata = {"run": RUN, "model": "demo", "createdAt": 1_750_000_000_000}
    assert values(frames(DIALECT, Note("a b/ü", 1), STARTED)) == [
        {"type": "start", "messageId": ID},
        {"type": "start-step"},
        {"type": "data-a-b", "data": 1},
        {"type": "message-metadata", "messageMetadata": metadata},
    ]
    assert values(frames(DIALECT, STARTED))[0] == {"type": "start", "messageId": ID, "messageMetadata": metadata}
    assert [value["type"] for value in values(frames(DIALECT, DEAD))[:-1]] == ["start", "start-step", "error"]


@pytest.mark.parametrize(("topic", "kind"), [("", "data-note"), ("···", "data-note"), ("a_B-9", "data-a_B-9")])
def test_a_topic_becomes_a_name_that_every_client_takes(topic: str, kind: str) -> None:
    assert kinds(Note(topic, None)) == [kind]


@pytest.mark.parametrize(("last", "end"), [(DEAD, "error"), (Cancelled("client"), "abort")])
def test_a_call_that_was_cut_off_before_its_first_argument_is_none_to_be_made(last: Event, end: str) -> None:
    """Nothing at all reads as no arguments, and a page would run the call."""
    cut = told(CALL, Closed(0), last)
    assert cut[1] == {
        "type": "tool-input-error",
        "toolCallId": "c1",
        "toolName": "look",
        "input": "",
        "errorText": "the call was cut off",
    }
    assert [value if isinstance(value, str) else value["type"] for value in cut[2:]] == [end, "[DONE]"]


@pytest.mark.parametrize("after", [Finished("tool_calls"), Opened(1, "text"), ToolReturned("c1", 1)])
def test_a_call_without_arguments_is_made_as_soon_as_something_follows(after: Event) -> None:
    made = told(CALL, Closed(0), after)
    assert made[1] == {"type": "tool-input-available", "toolCallId": "c1", "toolName": "look", "input": {}}


def test_arguments_that_are_no_json_are_an_error_and_json_is_told_as_it_came() -> None:
    assert told(CALL, Delta(0, '{"a":'), Closed(0))[-1]["type"] == "tool-input-error"
    precise = '{"n": 12345678901234567890123,\n "x": 1.10}'
    (frame,) = frames(DIALECT, STARTED, CALL, Delta(0, precise), Closed(0), primed=3)
    assert b'"input":{"n":12345678901234567890123,"x":1.10}}' in frame.data
    assert b"\n" not in frame.data


def test_a_result_waits_for_its_call_and_one_without_a_call_is_a_note() -> None:
    early = kinds(CALL, ToolReturned("c1", 1), Delta(0, "{}"), Closed(0), ToolReturned("c1", "no", ok=False))
    start = ["tool-input-start", "tool-input-delta", "tool-input-available"]
    assert early == [*start, "tool-output-available", "tool-output-error"]
    assert told(ToolReturned("nobody", 1)) == [
        {"type": "data-tool-returned", "data": {"toolCallId": "nobody", "output": 1, "ok": True}}
    ]


def test_a_step_ends_where_the_model_goes_on_after_all_results() -> None:
    second = Opened(1, "tool_call", name="look", call_id="c2")
    both = (CALL, Delta(0, "{}"), Closed(0), second, Delta(1, "{}"), Closed(1))
    returned = ToolReturned("c1", 1), ToolReturned("c2", 2)
    assert told(*both, *returned, Opened(2, "text"))[-3:-1] == STEPS
    assert told(*both, Opened(2, "text"))[-2:] == [
        {"type": "tool-input-available", "toolCallId": "c2", "toolName": "look", "input": {}},
        {"type": "text-start", "id": "2"},
    ]


def test_what_the_sdk_has_no_member_for_stands_in_the_metadata_of_the_provider() -> None:
    metadata = {"penstock": {"author": "critic", "refusal": True}}
    assert told(Opened(0, "refusal", author="critic"))[0] == {
        "type": "text-start",
        "id": "0",
        "providerMetadata": metadata,
    }
    closed = told(Opened(0, "reasoning", author="critic"), Closed(0, {"signature": "c2ln"}))[1]
    assert closed["providerMetadata"] == {"penstock": {"author": "critic", "signature": "c2ln"}}


def test_what_a_provider_wants_to_see_again_with_a_call_comes_with_it() -> None:
    again: dict[str, Any] = {"extra_content": {"google": {"thought_signature": "c2ln"}}}
    for arguments in ("{}", ""):
        (made,) = [
            value
            for value in told(CALL, Delta(0, arguments), Closed(0, again), Opened(1, "text"))
            if value["type"] == "tool-input-available"
        ]
        assert made["providerMetadata"] == {"penstock": again}
    message = whole(DIALECT, STARTED, CALL, Closed(0, again), Finished())
    assert message["parts"][1]["callProviderMetadata"] == {"penstock": again}


def test_citations_follow_their_text_as_sources() -> None:
    cited: list[Any] = [
        {"url": "https://x.example", "title": "X", "quote": "q", "anthropic": {"type": "a"}},
        {"title": "A book"},
        "no citation",
    ]
    assert told(Opened(0, "text"), Closed(0, {"citations": cited}))[2:] == [
        {
            "type": "source-url",
            "sourceId": "0-0",
            "url": "https://x.example",
            "title": "X",
            "providerMetadata": {"penstock": {"quote": "q"}, "anthropic": {"type": "a"}},
        },
        {"type": "source-document", "sourceId": "0-1", "mediaType": "text/plain", "title": "A book"},
    ]


def test_a_file_is_told_whole_and_what_one_protocol_alone_can_say_is_not() -> None:
    file = Opened(0, "binary", media_type="image/png")
    assert told(file, Chunk(0, b"ab"), Chunk(0, b"c"), Closed(0)) == [
        {"type": "file", "url": "data:image/png;base64,YWJj", "mediaType": "image/png"}
    ]
    block = Opened(0, "binary", media_type=BLOCK % "anthropic")
    assert told(block, Chunk(0, b"{}"), Closed(0)) == []
    assert told(Opened(0, "text", choice=1), Delta(0, "x"), Closed(0)) == []


@pytest.mark.parametrize(
    ("reason", "theirs"),
    [("stop", "stop"), ("tool_calls", "tool-calls"), ("content_filter", "content-filter"), ("pause_turn", "other")],
)
def test_reasons_are_in_the_words_of_the_sdk(reason: str, theirs: str) -> None:
    assert told(Finished(reason))[-2]["finishReason"] == theirs
    assert told(Opened(0, "text"), Closed(0, {"finish_reason": reason}), Finished("stop"))[-2]["finishReason"] == theirs


def test_usage_comes_with_every_end() -> None:
    usage = Usage(10, 5, "reported", cached=4, reasoning=3, cache_written=2)
    counted = {
        "inputTokens": 10,
        "outputTokens": 5,
        "totalTokens": 15,
        "inputTokenDetails": {"cacheReadTokens": 4, "cacheWriteTokens": 2},
        "outputTokenDetails": {"reasoningTokens": 3},
    }
    assert told(usage, Finished())[-2]["messageMetadata"] == {"usage": counted}
    for last in (DEAD, Cancelled("client")):
        assert told(usage, last)[0] == {"type": "message-metadata", "messageMetadata": {"usage": counted}}


def test_a_whole_answer_is_the_message_a_page_would_have() -> None:
    message = whole(
        DIALECT, STARTED, Note("progress", 1), Opened(0, "reasoning"), Delta(0, "hm"), Closed(0, {"signature": "s"}),
        Opened(1, "tool_call", name="look", call_id="c1"), Delta(1, '{"a":1}'), Closed(1), ToolReturned("c1", 2),
        Opened(2, "tool_call", name="look", call_id="c2"), Delta(2, "{"), Closed(2),
        Opened(3, "tool_call", name="look", call_id="c3"), Closed(3), ToolReturned("c3", "no", ok=False),
        Opened(4, "tool_call", name="look"), Closed(4),
        Opened(5, "text"), Delta(5, "Done."), Closed(5), Opened(6, "binary"), Chunk(6, b"a"), Closed(6), Finished(),
    )  # fmt: skip
    assert (message["id"], message["role"], message["finishReason"]) == (ID, "assistant", "stop")
    assert message["parts"] == [
        {"type": "data-progress", "data": 1},
        {"type": "step-start"},
        {
            "type": "reasoning",
            "text": "hm",
            "state": "done",
            "providerMetadata": {"penstock": {"signature": "s"}},
        },
        {"type": "tool-look", "toolCallId": "c1", "input": {"a": 1}, "state": "output-available", "output": 2},
        {
            "type": "tool-look",
            "toolCallId": "c2",
            "state": "output-error",
            "rawInput": "{",
            "errorText": "the arguments of the call are not JSON",
        },
        {"type": "tool-look", "toolCallId": "c3", "input": {}, "state": "output-error", "errorText": "no"},
        {"type": "tool-look", "toolCallId": "call_4", "input": {}, "state": "input-available"},
        {"type": "text", "text": "Done.", "state": "done"},
        {
            "type": "file",
            "url": "data:application/octet-stream;base64,YQ==",
            "mediaType": "application/octet-stream",
        },
    ]


EARLIER = {
    "id": "theirs",
    "parts": [
        {"type": "data-x", "data": 1},
        {"type": "step-start"},
        {"type": "text", "text": "a", "state": "done"},
        {"type": "tool-look", "toolCallId": "e1", "state": "output-available", "input": {}, "output": 1},
        {"type": "step-start"},
        {"type": "dynamic-tool", "toolName": "d", "toolCallId": "e2", "state": "output-error", "rawInput": "{", "errorText": "x"},
        {"type": "dynamic-tool", "toolName": "d", "toolCallId": "e3", "state": "output-error", "input": 1, "errorText": "y"},
        {"type": "tool-look", "toolCallId": "e4", "state": "output-denied", "input": {}},
        {"type": "tool-look", "toolCallId": "e5", "state": "input-streaming"},
        {"type": "file", "url": "data:,", "mediaType": "text/plain"},
        {"type": "source-url", "sourceId": "1", "url": "u"},
    ],
}  # fmt: skip


def test_an_answer_goes_on_under_the_name_of_the_message_it_adds_to() -> None:
    echo = json.dumps(EARLIER).encode()
    begun = values(frames(DIALECT, STARTED, echo=echo))
    assert [(value["type"], value.get("messageId")) for value in begun] == [("start", "theirs"), ("start-step", None)]
    again = values(frames(DIALECT, STARTED, echo=echo, afresh=True))
    assert [value["type"] for value in again] == [
        "start", "start-step", "data-x", "finish-step",
        "start-step", "text-start", "text-delta", "text-end", "tool-input-available", "tool-output-available", "finish-step",
        "start-step", "tool-input-error", "tool-input-available", "tool-output-error", "tool-input-available",
        "tool-output-denied", "file", "source-url", "finish-step",
        "start-step",
    ]  # fmt: skip
    assert values(rejoined(DIALECT, STARTED, echo=echo)) == again
    assert whole(DIALECT, STARTED, Finished(), echo=echo)["parts"] == [*EARLIER["parts"], {"type": "step-start"}]


def test_an_echo_of_another_dialect_is_none_of_ours() -> None:
    for echo in (b'{"id":1}', b'{"instructions":"x"}'):
        assert values(frames(DIALECT, STARTED, echo=echo))[0]["messageId"] == ID
