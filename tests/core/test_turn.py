"""What an answer said, as the messages that the next question goes on from."""

from __future__ import annotations

from typing import Any

import msgspec

from penstock.core.carried import BLOCK
from penstock.core.errors import fault
from penstock.core.events import Cancelled, Chunk, Closed, Delta, Event, Failed, Finished, Opened, Started, ToolReturned
from penstock.core.request import Message
from penstock.core.snapshot import fold
from penstock.core.turn import spoken
from tests.core.test_snapshot import placed


def said(*events: Event) -> list[Message]:
    return spoken(fold(placed(Started("st_x", "m", 0), *events)))


def part(number: int, kind: str, text: str, **more: str) -> list[Event]:
    opened = msgspec.convert({"type": "opened", "part": number, "kind": kind, **more}, Opened)
    return [opened, Delta(number, text[:2]), Delta(number, text[2:]), Closed(number)]


def test_one_text_is_the_content() -> None:
    assert said(*part(0, "text", "Hello"), Finished()) == [{"role": "assistant", "content": "Hello"}]


def test_reasoning_and_several_parts_stand_in_one_message() -> None:
    assert said(*part(0, "reasoning", "hm"), *part(1, "text", "One."), *part(2, "refusal", "No."), Finished()) == [
        {
            "role": "assistant",
            "content": [{"type": "text", "text": "One."}, {"type": "refusal", "refusal": "No."}],
            "reasoning_content": "hm",
        }
    ]


def test_calls_have_their_ids_and_arguments() -> None:
    assert said(
        *part(0, "text", "Let me look."),
        *part(1, "tool_call", '{"city":"Bern"}', name="weather", call_id="c1"),
        *part(2, "tool_call", "{}", name="time"),
        Finished("tool_calls"),
    ) == [
        {
            "role": "assistant",
            "content": "Let me look.",
            "tool_calls": [
                {"id": "c1", "type": "function", "function": {"name": "weather", "arguments": '{"city":"Bern"}'}},
                {"id": "call_2", "type": "function", "function": {"name": "time", "arguments": "{}"}},
            ],
        }
    ]


def test_what_the_provider_wants_to_see_again_stays_with_its_call() -> None:
    extra: dict[str, Any] = {"google": {"thought_signature": "c2ln"}}
    closed = Closed(0, {"extra_content": extra, "finish_reason": "tool_calls"})
    (message,) = said(Opened(0, "tool_call", name="f", call_id="c1"), Delta(0, "{}"), closed, Finished("tool_calls"))
    function = {"name": "f", "arguments": "{}"}
    assert message["tool_calls"] == [{"id": "c1", "type": "function", "function": function, "extra_content": extra}]


def test_the_result_of_a_tool_that_ran_here_stands_between_its_call_and_what_follows() -> None:
    messages = said(
        *part(0, "tool_call", "{}", name="time", call_id="c1"),
        ToolReturned("c1", {"now": 12}),
        *part(1, "text", "Noon."),
        Finished(),
    )
    assert [(m["role"], m["content"]) for m in messages] == [
        ("assistant", None),
        ("tool", '{"now":12}'),
        ("assistant", "Noon."),
    ]


def test_what_one_protocol_alone_can_say_stays_in_its_box() -> None:
    item = {"type": "web_search_call", "id": "ws_1"}
    boxed = Opened(0, "binary", media_type=BLOCK % "openai-responses")
    picture = Opened(1, "binary", media_type="image/png")
    assert said(
        boxed, Chunk(0, msgspec.json.encode(item)), Closed(0), picture, Chunk(1, b"\x89"), Closed(1), Finished()
    ) == [{"role": "assistant", "content": [{"type": "openai-responses", "openai-responses": item}]}]


def test_a_call_that_broke_off_is_left_out() -> None:
    whole = part(0, "tool_call", '{"a":1}', name="f", call_id="c0")
    broken: list[Event] = [Opened(1, "tool_call", name="f", call_id="c1"), Delta(1, '{"a":'), Closed(1)]
    for end in (Cancelled("client"), Failed(fault("provider_truncated"))):
        messages = said(*whole, *broken, end)
        assert [call["id"] for call in messages[0]["tool_calls"]] == ["c0"]  # type: ignore[union-attr,call-overload,index]


def test_other_choices_and_silence_are_no_turn() -> None:
    assert said(Opened(0, "text", 1), Delta(0, "x"), Closed(0), Finished()) == []
    assert said(Finished()) == []
