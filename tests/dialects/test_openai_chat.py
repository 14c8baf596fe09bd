"""OpenAI chat completions, as its SDKs expect them."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from penstock.core.errors import Refused, fault
from penstock.core.events import (
    Cancelled,
    Chunk,
    Closed,
    Delta,
    Event,
    Failed,
    Finished,
    Json,
    Note,
    Opened,
    ToolReturned,
    Usage,
)
from penstock.core.frame import Frame
from penstock.dialects.openai_chat import OpenAIChatDialect
from tests.dialects.telling import RUN, STARTED, frames, rejoined, values, whole

OPENAI = OpenAIChatDialect()
HEAD = {
    "id": "chatcmpl-" + "b" * 26,
    "object": "chat.completion.chunk",
    "created": 1_750_000_000,
    "model": "demo",
}
ROLE = {"role": "assistant", "content": ""}
HELLO: tuple[Event, ...] = (STARTED, Opened(0, "text"), Delta(0, "Hel"), Delta(0, "lo"), Closed(0), Finished())


def chunk(delta: object, reason: str | None = None, *, choice: int = 0, **more: object) -> dict[str, Any]:
    return {**HEAD, "choices": [{"index": choice, "delta": delta, "finish_reason": reason}], **more}


def deltas(*events: Event, **view: Any) -> list[Any]:
    """Choice and delta of every chunk that is no finish chunk."""
    told = values(frames(OPENAI, STARTED, *events, **{"sentinel": False, **view}))
    choices = [value["choices"][0] for value in told]
    return [(choice["index"], choice["delta"]) for choice in choices if choice["finish_reason"] is None]


def test_an_answer_is_a_role_pieces_of_content_a_reason_and_the_word_done() -> None:
    assert values(frames(OPENAI, *HELLO)) == [
        chunk(ROLE),
        chunk({"content": "Hel"}),
        chunk({"content": "lo"}),
        chunk({}, "stop"),
        "[DONE]",
    ]


def test_an_event_source_is_not_sent_the_word() -> None:
    assert values(frames(OPENAI, *HELLO, sentinel=False)) == values(frames(OPENAI, *HELLO))[:-1]


def test_a_run_that_says_nothing_still_has_a_role_and_a_reason() -> None:
    assert values(frames(OPENAI, STARTED, Finished("length"))) == [chunk(ROLE), chunk({}, "length"), "[DONE]"]


@pytest.mark.parametrize(
    ("reason", "told"),
    [("refusal", "content_filter"), ("model_context_window_exceeded", "length"), ("pause_turn", "pause_turn")],
)
def test_reasons_of_other_protocols_are_told_in_words_that_clients_know(reason: str, told: str) -> None:
    said = (STARTED, Opened(0, "text"), Delta(0, "a"), Closed(0), Finished(reason))
    assert values(frames(OPENAI, *said))[-2] == chunk({}, told)
    assert whole(OPENAI, *said)["choices"][0]["finish_reason"] == told


def test_usage_comes_last_and_only_when_it_was_asked_for() -> None:
    events = (*HELLO[:-1], Usage(3, 4, "reported", cached=2, reasoning=1), Finished())
    told = values(frames(OPENAI, *events, include_usage=True))
    assert told[-2] == {
        **HEAD,
        "choices": [],
        "usage": {
            "prompt_tokens": 3,
            "completion_tokens": 4,
            "total_tokens": 7,
            "prompt_tokens_details": {"cached_tokens": 2},
            "completion_tokens_details": {"reasoning_tokens": 1},
        },
    }
    assert [value["usage"] for value in told[:-2]] == [None] * 4
    assert values(frames(OPENAI, *events)) == values(frames(OPENAI, *HELLO))


def test_usage_that_is_not_known_is_not_made_up() -> None:
    told = values(frames(OPENAI, *HELLO, include_usage=True))
    assert told[-2:] == [chunk({}, "stop", usage=None), "[DONE]"]


def test_reasoning_and_refusals_have_members_of_their_own() -> None:
    assert deltas(
        Opened(0, "reasoning"), Delta(0, "hm"), Closed(0), Opened(1, "refusal"), Delta(1, "no"), Closed(1), Finished()
    ) == [(0, ROLE), (0, {"reasoning_content": "hm"}), (0, {"refusal": "no"})]


def test_a_call_gives_its_id_and_name_once_and_its_arguments_in_pieces() -> None:
    told = deltas(
        Opened(0, "tool_call", name="f", call_id="call_a"), Delta(0, '{"x"'), Opened(1, "tool_call", name="g"),
        Delta(1, "{}"), Delta(0, ":1}"), Closed(0), Closed(1), Finished("tool_calls"),
    )  # fmt: skip
    calls = [delta["tool_calls"][0] for _, delta in told if "tool_calls" in delta]
    assert calls == [
        {"index": 0, "id": "call_a", "type": "function", "function": {"name": "f", "arguments": ""}},
        {"index": 0, "function": {"arguments": '{"x"'}},
        {"index": 1, "id": "call_1", "type": "function", "function": {"name": "g", "arguments": ""}},
        {"index": 1, "function": {"arguments": "{}"}},
        {"index": 0, "function": {"arguments": ":1}"}},
    ]


def test_what_a_provider_wants_to_see_again_stands_with_its_call() -> None:
    again: Json = {"google": {"thought_signature": "EjQK"}}
    closed = Closed(1, {"finish_reason": "tool_calls", "extra_content": again})
    call = (Opened(0, "text"), Opened(1, "tool_call", name="f", call_id="c"), Delta(1, "{}"), closed)
    piece = {"index": 0, "function": {"arguments": ""}, "extra_content": again}
    assert deltas(*call, Finished("tool_calls"))[-1] == (0, {"tool_calls": [piece]})
    assert values(rejoined(OPENAI, STARTED, *call))[-1]["choices"][0]["delta"] == {"tool_calls": [piece]}
    (told,) = whole(OPENAI, STARTED, *call, Finished("tool_calls"))["choices"][0]["message"]["tool_calls"]
    assert told == {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}, "extra_content": again}


def test_every_choice_has_its_own_role_calls_and_reason() -> None:
    events: list[Event] = [
        Opened(0, "text", 1), Delta(0, "b"), Opened(1, "tool_call", 0, name="f"), Opened(2, "tool_call", 1, name="g"), Closed(0),
        Closed(1, {"finish_reason": "tool_calls"}), Closed(2, {"finish_reason": "length"}), Finished("stop"),
    ]  # fmt: skip
    told = deltas(*events)
    assert [choice for choice, delta in told if delta == ROLE] == [1, 0]
    calls = [(choice, delta["tool_calls"][0]["index"]) for choice, delta in told if "tool_calls" in delta]
    assert calls == [(0, 0), (1, 0)]
    ends = values(frames(OPENAI, STARTED, *events, sentinel=False))[-2:]
    assert ends == [chunk({}, "tool_calls"), chunk({}, "length", choice=1)]


def test_a_second_text_of_a_choice_begins_with_a_blank_line() -> None:
    assert deltas(
        Opened(0, "text"), Delta(0, "a"), Closed(0), Opened(1, "text"), Delta(1, ""), Delta(1, "b"), Delta(1, "c"),
        Opened(2, "text", 1), Delta(2, "d"), Finished(),
    ) == [(0, ROLE), (0, {"content": "a"}), (0, {"content": "\n\nb"}), (0, {"content": "c"}), (1, ROLE), (1, {"content": "d"})]  # fmt: skip


def test_log_probabilities_stand_beside_the_delta_on_one_line() -> None:
    raw = msgspec.Raw(b'{"content":\n[{"token":"x"}]}')
    told = frames(OPENAI, STARTED, Opened(0, "text"), Delta(0, "x", raw), Delta(0, "", raw))
    assert [frame.data.count(b"\n") for frame in told] == [0, 0, 0]
    assert [value["choices"][0].get("logprobs") for value in values(told)] == [
        None,
        {"content": [{"token": "x"}]},
        {"content": [{"token": "x"}]},
    ]


def test_what_it_has_no_words_for_is_left_out() -> None:
    events = (Opened(0, "binary"), Chunk(0, b"x"), Closed(0), Note("n", 1), ToolReturned("c", 1))
    assert deltas(*events, Finished()) == [(0, ROLE)]


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        ("provider_truncated", "server_error"),
        ("too_many_runs", "rate_limit_error"),
        ("provider_rate_limited", "rate_limit_error"),
        ("context_too_long", "invalid_request_error"),
        ("internal", "server_error"),
    ],
)
def test_a_failure_is_an_error_and_never_done(code: str, kind: str) -> None:
    told = values(frames(OPENAI, *HELLO[:-1], Failed(fault(code, "it broke")), include_usage=True))
    assert told[-1] == {"error": {"message": "it broke", "type": kind, "code": code, "param": None}}
    assert "[DONE]" not in told
    assert [value["choices"][0]["finish_reason"] for value in told[:-1]] == [None] * 3


def test_a_cancelled_answer_is_an_error_too() -> None:
    told = values(frames(OPENAI, *HELLO[:-1], Cancelled("client")))
    assert told[-1]["error"]["code"] == "cancelled"
    assert told[-1].keys() == {"error"}


def test_who_joins_in_the_middle_is_told_role_text_and_calls_again() -> None:
    past = (STARTED, Opened(0, "text"), Delta(0, "a"), Delta(0, "b"), Closed(0), Opened(1, "tool_call", name="f"))
    told = [value["choices"][0]["delta"] for value in values(rejoined(OPENAI, *past))]
    assert told[:2] == [ROLE, {"content": "ab"}]
    assert told[2]["tool_calls"][0]["function"] == {"name": "f", "arguments": ""}
    assert len(told) == 3


def test_the_whole_answer_has_everything_that_was_said() -> None:
    raw = msgspec.Raw(b'{"content":[1],"refusal":null}')
    value = whole(
        OPENAI, STARTED, Opened(0, "reasoning"), Delta(0, "hm"), Closed(0), Opened(1, "text"), Delta(1, "a", raw), Delta(1, "b", raw),
        Closed(1), Opened(2, "tool_call", name="f", call_id="call_a"), Delta(2, "{}"), Closed(2, {"finish_reason": "tool_calls"}),
        Usage(1, 2, "reported"), Finished(),
    )  # fmt: skip
    assert value == {
        **HEAD,
        "object": "chat.completion",
        "choices": [
            {
                "index": 0,
                "message": {
                    "role": "assistant",
                    "content": "ab",
                    "refusal": None,
                    "reasoning_content": "hm",
                    "tool_calls": [
                        {"id": "call_a", "type": "function", "function": {"name": "f", "arguments": "{}"}},
                    ],
                },
                "logprobs": {"content": [1, 1], "refusal": None},
                "finish_reason": "tool_calls",
            }
        ],
        "usage": {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3},
    }


def test_a_whole_answer_of_several_choices_has_one_message_each() -> None:
    value = whole(
        OPENAI, STARTED, Opened(0, "text", 1), Delta(0, "b"), Closed(0), Opened(1, "refusal"), Delta(1, "no"), Closed(1), Finished()
    )  # fmt: skip
    messages = [
        (choice["index"], choice["message"]["content"], choice["message"]["refusal"]) for choice in value["choices"]
    ]
    assert messages == [(0, None, "no"), (1, "b", None)]


def test_a_whole_answer_of_nothing_has_an_empty_message() -> None:
    (choice,) = whole(OPENAI, STARTED, Finished("length"))["choices"]
    assert choice == {
        "index": 0,
        "message": {"role": "assistant", "content": "", "refusal": None},
        "logprobs": None,
        "finish_reason": "length",
    }


def test_a_refusal_has_the_shape_its_sdks_read() -> None:
    assert json.loads(OPENAI.refuse(fault("unknown_model", "no such model", param="model"), "req_1")) == {
        "error": {
            "message": "no such model",
            "type": "invalid_request_error",
            "code": "unknown_model",
            "param": "model",
        },
        "request_id": "req_1",
    }


def test_a_missing_stream_means_false_as_openai_has_it() -> None:
    messages = b'"messages":[{"role":"user","content":"hi"}]'
    asked = [b"{%b}", b'{%b,"stream":null}', b'{%b,"stream":false}', b'{%b,"stream":true}']
    assert [OPENAI.parse(body % messages).stream for body in asked] == [False, False, False, True]


@pytest.mark.parametrize("body", [b"{}", b'{"prompt":"hi"}', b'{"messages":null}'])
def test_messages_are_required(body: bytes) -> None:
    with pytest.raises(Refused, match="'messages' is required") as caught:
        OPENAI.parse(body)
    assert caught.value.fault.param == "messages"


def test_fields_it_does_not_know_go_to_the_model() -> None:
    body = b'{"messages":[{"role":"user","content":"hi"}],"max_completion_tokens":5,"new":{"a":1}}'
    assert OPENAI.parse(body).params == {"max_completion_tokens": 5, "new": {"a": 1}}


def test_the_word_done_is_told_apart_from_json() -> None:
    assert frames(OPENAI, *HELLO)[-1] == Frame(b"[DONE]", sentinel=True)
    assert RUN.removeprefix("st_") in frames(OPENAI, *HELLO)[0].data.decode()
