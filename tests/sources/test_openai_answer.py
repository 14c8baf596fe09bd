"""Providers' streams, as recorded and as their quirks have it, become the same short vocabulary of events."""

import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.core.events import Closed, Delta, Event, Failed, Finished, Json, Opened, Usage
from penstock.core.lifecycle import Phase
from penstock.sources.openai_http import OpenAIChat
from penstock.testing.laws.order import check_order
from tests.sources.asking import text
from tests.sources.recordings import parsed as read


def parsed(*pieces: bytes) -> list[Event]:
    """The events of a stream that ends cleanly; a failure as its `Failed`."""
    return read(OpenAIChat().parser("provider.test", secret=None), *pieces)


def sse(*chunks: object) -> bytes:
    return b"".join(b"data: " + (c if isinstance(c, bytes) else json.dumps(c).encode()) + b"\n\n" for c in chunks)


def said(delta: object, finish: str | None = None, *, choice: int = 0, **more: object) -> dict[str, object]:
    return {"choices": [{"index": choice, "delta": delta, "finish_reason": finish}], **more}


STOP = said({}, "stop")
DONE = b"[DONE]"


def code(events: list[Event]) -> str:
    last = events[-1]
    assert isinstance(last, Failed)
    return last.error.code


def test_an_end_without_a_finish_reason_is_truncated_even_after_done() -> None:
    assert code(parsed(sse(said({"content": "Half"}), DONE))) == "provider_truncated"
    assert code(parsed(sse(said({"content": "Half"})))) == "provider_truncated"


def test_an_empty_stream_is_truncated() -> None:
    assert code(parsed(b"")) == "provider_truncated"
    assert code(parsed(sse(DONE))) == "provider_truncated"


def test_one_choice_of_two_without_a_finish_reason_is_truncated() -> None:
    assert (
        code(parsed(sse(said({"content": "a"}), said({"content": "b"}, choice=1), STOP, DONE))) == "provider_truncated"
    )


def test_an_answer_that_says_nothing_but_ends_is_finished() -> None:
    assert parsed(sse(said({"role": "assistant"}), STOP, DONE)) == [Finished("stop")]


def test_the_first_finish_reason_counts_and_text_after_it_is_kept() -> None:
    events = parsed(sse(said({"content": "a"}, "length"), said({"content": "b"}, "stop"), DONE))
    assert events == [
        Opened(0, "text"),
        Delta(0, "a"),
        Delta(0, "b"),
        Closed(0, {"finish_reason": "length"}),
        Finished("length"),
    ]


@pytest.mark.parametrize("nothing", [None, ""])
def test_an_empty_finish_reason_is_none(nothing: str | None) -> None:
    assert parsed(sse(said({"content": "a"}, nothing), STOP))[-1] == Finished("stop")


def test_nothing_after_done_is_read() -> None:
    events = parsed(
        sse(said({"content": "a"}), STOP, DONE, said({"content": "late"}), b"garbage", {"error": {"message": "x"}})
    )
    assert text(events) == "a"
    assert events[-1] == Finished("stop")


def test_parts_of_one_kind_and_choice_are_one_part() -> None:
    events = parsed(sse(*(said(d) for d in ({"reasoning": "1"}, {"content": "2"}, {"reasoning": "3"})), STOP))
    assert [event.kind for event in events if isinstance(event, Opened)] == ["reasoning", "text"]
    assert (text(events, 0), text(events, 1)) == ("13", "2")


def test_both_spellings_of_reasoning_in_one_chunk_are_said_once() -> None:
    assert text(parsed(sse(said({"reasoning_content": "once", "reasoning": "once"}), STOP))) == "once"


def test_the_last_usage_wins_and_stands_before_the_end() -> None:
    first, last = ({"prompt_tokens": 3, "completion_tokens": count} for count in (1, 2))
    events = parsed(sse(said({"content": "a"}, usage=first), STOP, {"choices": [], "usage": last}, DONE))
    assert events[-2:] == [Usage(3, 2, "reported"), Finished("stop")]


def test_usage_without_choices_at_all_and_with_strange_numbers_is_read() -> None:
    usage = {
        "prompt_tokens": 3.0,
        "completion_tokens": "4",
        "prompt_tokens_details": [],
        "completion_tokens_details": None,
    }
    assert parsed(sse(STOP, {"usage": usage}))[-2] == Usage(3, 4, "reported")


def test_an_empty_usage_is_no_usage() -> None:
    assert parsed(sse(STOP, {"choices": [], "usage": {}})) == [Finished("stop")]


def test_logprobs_of_a_piece_without_text_are_not_lost() -> None:
    probs = {"content": [{"token": "\\xf0", "logprob": -0.5}]}
    with_probs = {"choices": [{"index": 0, "delta": {"content": ""}, "logprobs": probs, "finish_reason": None}]}
    opened, delta, *_ = parsed(sse(with_probs, STOP))
    assert opened == Opened(0, "text")
    assert isinstance(delta, Delta)
    assert delta.logprobs is not None
    assert (delta.text, json.loads(bytes(delta.logprobs))) == ("", probs)


def test_empty_logprobs_open_nothing() -> None:
    empty = {"choices": [{"index": 0, "delta": {"content": ""}, "logprobs": {"content": []}, "finish_reason": "stop"}]}
    assert parsed(sse(empty)) == [Finished("stop")]


def call(
    index: int | None = None, call_id: str | None = None, name: str | None = None, arguments: object = None
) -> object:
    piece = {"index": index, "id": call_id, "function": {"name": name, "arguments": arguments}}
    return {"tool_calls": [piece]}


def calls_of(events: list[Event]) -> list[tuple[str | None, str | None, str]]:
    return [
        (o.call_id, o.name, text(events, o.part)) for o in events if isinstance(o, Opened) and o.kind == "tool_call"
    ]


def test_fragments_of_tool_calls_may_be_interleaved() -> None:
    deltas = [call(0, "a", "f", "{"), call(1, "b", "g", "["), call(0, arguments="}"), call(1, arguments="]")]
    assert calls_of(parsed(sse(*map(said, deltas), STOP))) == [("a", "f", "{}"), ("b", "g", "[]")]


def test_arguments_that_come_before_the_name_wait_for_it() -> None:
    deltas = [call(0, arguments="{"), call(0, "a"), call(0, name="f"), call(0, arguments="}")]
    events = parsed(sse(*map(said, deltas), STOP))
    assert events[:3] == [Opened(0, "tool_call", name="f", call_id="a"), Delta(0, "{"), Delta(0, "}")]


def test_a_call_without_an_id_gets_one_when_the_choice_ends() -> None:
    events = parsed(sse(said(call(0, name="f", arguments="{}")), said({}, "tool_calls"), DONE))
    assert calls_of(events) == [("call_0_0", "f", "{}")]


def test_a_repeated_id_and_name_open_a_call_once() -> None:
    deltas = [call(0, "a", "f", "{"), call(0, "a", "f", "}")]
    assert calls_of(parsed(sse(*map(said, deltas), STOP))) == [("a", "f", "{}")]


def test_calls_without_an_index_are_told_apart_by_id_and_continued_without() -> None:
    deltas = [
        call(None, "a", "f", "{"),
        call(None, arguments="}"),
        call(None, "b", "f", "["),
        call(None, arguments="]"),
    ]
    assert calls_of(parsed(sse(*map(said, deltas), STOP))) == [("a", "f", "{}"), ("b", "f", "[]")]


def test_arguments_given_as_an_object_are_written_as_json() -> None:
    events = parsed(sse(said(call(0, "a", "f", {"city": "Zürich"})), STOP))
    assert calls_of(events) == [("a", "f", '{"city":"Zürich"}')]


def test_every_choice_has_parts_of_its_own_and_the_run_ends_with_the_first_choice() -> None:
    events = parsed(
        sse(
            said({"content": "b"}, choice=1),
            said({"content": "a"}),
            said({}, "stop", choice=1),
            said({}, "length"),
            DONE,
        )
    )
    assert events == [
        Opened(0, "text", 1),
        Delta(0, "b"),
        Opened(1, "text", 0),
        Delta(1, "a"),
        Closed(1, {"finish_reason": "length"}),
        Closed(0, {"finish_reason": "stop"}),
        Finished("length"),
    ]


def test_what_came_before_an_error_in_the_same_read_is_said() -> None:
    events = parsed(sse(said({"content": "a"}), {"error": {"message": "no", "code": 429}}))
    assert events[:2] == [Opened(0, "text"), Delta(0, "a")]
    assert code(events) == "provider_rate_limited"


def test_an_error_as_vllm_once_sent_it_is_an_error() -> None:
    assert (
        code(parsed(sse({"object": "error", "message": "bad", "type": "BadRequestError", "code": 400})))
        == "provider_refused"
    )


@pytest.mark.parametrize("nothing", [None, {}, "", False])
def test_an_empty_error_is_none(nothing: object) -> None:
    assert parsed(sse(said({"content": "a"}, error=nothing), STOP))[-1] == Finished("stop")


def test_a_finish_reason_that_says_error_is_an_error() -> None:
    assert code(parsed(sse(said({"content": "a"}), said({}, "error"), DONE))) == "provider_error"


@pytest.mark.parametrize(
    "garbage", [b"<html>", b"[1]", b"12", b'"text"', b"{", b'{"choices":', b"[" * 100_000, b"\xff\xfe"]
)
def test_data_that_is_no_object_is_garbled(garbage: bytes) -> None:
    assert code(parsed(sse(said({"content": "a"}), garbage))) == "provider_garbled"


def test_a_line_without_end_is_garbled() -> None:
    assert code(parsed(sse(said({"content": "a"})), b"data: " + b"x" * (2 << 20))) == "provider_garbled"


@pytest.mark.parametrize(
    "odd",
    [
        {},
        {"type": "ping"},
        {"choices": None},
        {"choices": {}},
        {"choices": [None, 3]},
        {"choices": [{"delta": None}]},
        {"choices": [{"delta": "text"}]},
        {"choices": [{"index": None, "delta": {"content": 3, "tool_calls": "none", "refusal": [], "reasoning": {}}}]},
        {"choices": [{"index": 0, "delta": {"tool_calls": [None, {"function": None}, {"index": "x"}]}}]},
    ],
)
def test_odd_shapes_are_survived(odd: object) -> None:
    events = parsed(sse(said({"content": "a"}), odd, said({"content": "b"}), STOP))
    assert text(events) == "ab"
    assert events[-1] == Finished("stop")


def test_blank_data_is_ignored() -> None:
    assert text(parsed(b"data\n\ndata:  \n\n" + sse(said({"content": "a"}), STOP))) == "a"


def test_invalid_utf8_inside_a_whole_event_is_marked() -> None:
    assert (
        text(parsed(b'data: {"choices":[{"index":0,"delta":{"content":"a\xc3"},"finish_reason":"stop"}]}\n\n'))
        == "a\ufffd"
    )


HALVES: dict[tuple[str, ...], str] = {
    ("\\ud83d", "\\ude00"): "😀",
    ("a\\ud83d", "\\ude00b"): "a😀b",
    ("\\ud83d", "plain"): "\ufffdplain",
    ("\\ude00", "plain"): "\ufffdplain",
    ("\\ud83d", "\\ud83d\\ude00"): "\ufffd😀",
    ("first", "\\ud83d"): "first\ufffd",
    ("first", "\\ud83d", "last"): "first\ufffdlast",
}


@pytest.mark.parametrize("pieces", HALVES)
def test_halves_of_a_pair_are_joined_or_marked(pieces: tuple[str, ...]) -> None:
    chunks = [b'{"choices":[{"index":0,"delta":{"content":"' + piece.encode() + b'"}}]}' for piece in pieces]
    events = parsed(sse(*chunks, STOP))
    assert text(events) == HALVES[pieces]
    msgspec.json.encode(events)


@pytest.mark.parametrize(
    "chunk",
    [
        b'{"error":{"message":"\\ud83d"}}',
        b'{"choices":[{"delta":{"content":"a"},"finish_reason":"\\ud83d"}]}',
        b'{"choices":[{"delta":{"tool_calls":[{"id":"\\ud83d","function":{"name":"\\ud83d","arguments":"\\ud83d"}}]}}]}',
        b'{"choices":[{"delta":{"content":"a"},"logprobs":{"content":[{"token":"\\ud83d"}]}}]}',
    ],
)
def test_a_lone_half_anywhere_leaves_events_that_can_be_written(chunk: bytes) -> None:
    msgspec.json.encode(parsed(sse(chunk, STOP)))


JSON = st.sampled_from(
    [
        None,
        True,
        0,
        1,
        -1,
        2**70,
        1.5,
        "",
        "a",
        "1",
        "\ud800",
        "\udc00",
        [],
        [1],
        ["a"],
        {},
        {"text": "a"},
        {"content": ["a"]},
    ]
)
CALLS = st.lists(
    st.fixed_dictionaries(
        {},
        optional={
            "index": JSON,
            "id": JSON,
            "function": JSON | st.fixed_dictionaries({}, optional={"name": JSON, "arguments": JSON}),
        },
    ),
    max_size=2,
)
DELTAS = st.fixed_dictionaries(
    {},
    optional={
        "content": JSON,
        "reasoning": JSON,
        "reasoning_content": JSON,
        "refusal": JSON,
        "tool_calls": JSON | CALLS,
    },
)
CHOICES = st.fixed_dictionaries(
    {}, optional={"index": JSON, "delta": JSON | DELTAS, "finish_reason": JSON, "logprobs": JSON}
)
COUNTS = st.fixed_dictionaries({}, optional=dict.fromkeys(("prompt_tokens", "completion_tokens"), JSON))
CHUNKS = st.fixed_dictionaries(
    {}, optional={"choices": JSON | st.lists(CHOICES, max_size=2), "usage": JSON | COUNTS, "error": JSON}
)


@given(st.lists(CHUNKS, max_size=4))
def test_any_json_gives_legal_events_and_one_end(chunks: list[object]) -> None:
    events = parsed(sse(*chunks))
    check_order(events, phase=Phase.WAITING, whole=False)
    msgspec.json.encode(events)


def test_thoughts_that_only_the_total_counts_are_of_the_output() -> None:
    gemini = {"prompt_tokens": 14, "completion_tokens": 31, "total_tokens": 131}
    xai = {**gemini, "completion_tokens_details": {"reasoning_tokens": 86}}
    for usage in (gemini, xai):
        assert parsed(sse(STOP, {"usage": usage}))[-2] == Usage(14, 117, "reported", reasoning=86)


def test_what_gemini_wants_to_see_again_stands_with_its_call() -> None:
    again: Json = {"google": {"thought_signature": "EjQK"}}
    piece = {"id": "a", "function": {"name": "f", "arguments": "{}"}, "extra_content": again}
    opened, *_, closed, _ = parsed(sse(said({"tool_calls": [piece]}), said({}, "tool_calls")))
    assert opened == Opened(0, "tool_call", name="f", call_id="a", meta={"extra_content": again})
    assert closed == Closed(0, {"finish_reason": "tool_calls", "extra_content": again})


def test_thoughts_and_words_of_gemini_may_follow_each_other() -> None:
    thought = {"extra_content": {"google": {"thought": True}}}
    deltas = [
        {"content": "a"},
        {"content": "<thought>b", **thought},
        {"content": "</thought>c"},
        {"content": "d</thought>"},
    ]
    events = parsed(sse(*map(said, deltas), STOP))
    assert (text(events, 0), text(events, 1)) == ("acd</thought>", "b")
