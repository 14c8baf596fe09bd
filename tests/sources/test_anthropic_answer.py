"""Anthropic's stream events, the usual and the odd, become the same short vocabulary of events."""

import json
from collections.abc import Mapping

import pytest

from penstock.core.events import Chunk, Closed, Delta, Event, Failed, Finished, Note, Opened, Usage
from penstock.core.events import Json as Value
from penstock.sources import anthropic_answer
from penstock.sources.anthropic_answer import MEDIA_TYPE
from penstock.sources.anthropic_http import AnthropicMessages
from penstock.sources.sse_splitter import LIMIT
from tests.sources.asking import text
from tests.sources.recordings import parsed as read

Json = object


def parsed(*pieces: bytes) -> list[Event]:
    return read(AnthropicMessages().parser("provider.test", secret=None), *pieces)


def sse(*events: Mapping[str, Json] | bytes) -> bytes:
    return b"".join(b"data: " + (e if isinstance(e, bytes) else json.dumps(e).encode()) + b"\n\n" for e in events)


def begin(index: int, kind: str, **members: Json) -> dict[str, Json]:
    return {"type": "content_block_start", "index": index, "content_block": {"type": kind, **members}}


def more(index: int, kind: str, **members: Json) -> dict[str, Json]:
    return {"type": "content_block_delta", "index": index, "delta": {"type": kind, **members}}


def over(index: int) -> dict[str, Json]:
    return {"type": "content_block_stop", "index": index}


def said(index: int, *pieces: str) -> list[dict[str, Json]]:
    return [begin(index, "text", text=""), *(more(index, "text_delta", text=piece) for piece in pieces), over(index)]


def end(reason: str | None = "end_turn", **members: Json) -> list[dict[str, Json]]:
    return [{"type": "message_delta", "delta": {"stop_reason": reason, **members}}, {"type": "message_stop"}]


def code(events: list[Event]) -> str:
    last = events[-1]
    assert isinstance(last, Failed)
    return last.error.code


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        ("end_turn", "stop"),
        ("stop_sequence", "stop"),
        ("max_tokens", "length"),
        ("tool_use", "tool_calls"),
        ("refusal", "refusal"),
        ("pause_turn", "pause_turn"),
        ("model_context_window_exceeded", "model_context_window_exceeded"),
        ("something_new", "something_new"),
    ],
)
def test_reasons_to_end_have_their_usual_names(theirs: str, ours: str) -> None:
    assert parsed(sse(*end(theirs))) == [Finished(ours)]


def test_what_stopped_a_message_is_noted() -> None:
    assert parsed(sse(*end("stop_sequence", stop_sequence="END", stop_details=None))) == [
        Note("stop", {"stop_sequence": "END"}),
        Finished("stop"),
    ]


def test_later_counts_replace_earlier_ones_and_leave_the_others() -> None:
    first = {"input_tokens": 5, "cache_read_input_tokens": 90, "cache_creation_input_tokens": 5, "output_tokens": 1}
    last = {"output_tokens": 40, "output_tokens_details": {"thinking_tokens": 30}}
    events = parsed(
        sse(
            {"type": "message_start", "message": {"usage": first}},
            {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": last},
            {"type": "message_stop"},
        )
    )
    assert events == [
        Usage(100, 1, "reported", cached=90, cache_written=5),
        Usage(100, 40, "reported", cached=90, reasoning=30, cache_written=5),
        Finished("stop"),
    ]


def test_texts_that_follow_one_another_are_one_part_and_citations_know_their_words() -> None:
    cited: dict[str, Value] = {
        "type": "char_location",
        "cited_text": "So.",
        "document_title": "Book",
        "start_char_index": 0,
    }
    events = parsed(
        sse(
            *said(0, "Ab ", "cd"),
            begin(1, "text", text="", citations=[]),
            more(1, "text_delta", text=" éf"),
            more(1, "citations_delta", citation=cited),
            over(1),
            begin(2, "tool_use", id="a", name="f", input={}),
            over(2),
            *said(3, "Then."),
            *end(),
        )
    )
    assert events == [
        Opened(0, "text"),
        *(Delta(0, piece) for piece in ("Ab ", "cd")),
        Note("block", {"part": 0, "at": 5}),
        Delta(0, " éf"),
        Closed(0, {"citations": [{"title": "Book", "quote": "So.", "start": 5, "end": 8, "anthropic": cited}]}),
        Opened(1, "tool_call", name="f", call_id="a"),
        Delta(1, "{}"),
        Closed(1),
        Opened(2, "text"),
        Delta(2, "Then."),
        Closed(2),
        Finished("stop"),
    ]


def test_a_signature_in_pieces_is_joined_and_thinking_may_say_nothing() -> None:
    events = parsed(
        sse(
            begin(0, "thinking", thinking="", signature=""),
            more(0, "signature_delta", signature="ab"),
            more(0, "signature_delta", signature="cd"),
            over(0),
            *end(),
        )
    )
    assert events == [Opened(0, "reasoning"), Closed(0, {"signature": "abcd"}), Finished("stop")]


def test_a_block_that_runs_at_the_provider_is_carried_whole() -> None:
    events = parsed(
        sse(
            begin(0, "server_tool_use", id="s", name="web_search", input={}),
            more(0, "input_json_delta", partial_json='{"query": '),
            more(0, "input_json_delta", partial_json='"a"}'),
            over(0),
            *end("pause_turn"),
        )
    )
    assert events[0] == Opened(0, "binary", media_type=MEDIA_TYPE)
    assert isinstance(events[1], Chunk)
    assert json.loads(events[1].data) == {
        "type": "server_tool_use", "id": "s", "name": "web_search", "input": {"query": "a"},
    }  # fmt: skip
    assert events[2:] == [Closed(0), Finished("pause_turn")]


def test_input_that_is_no_json_is_carried_as_the_text_it_is() -> None:
    broken = more(0, "input_json_delta", partial_json='{"query": ')
    events = parsed(sse(begin(0, "mcp_tool_use", input={}), broken, over(0), *end()))
    assert isinstance(events[1], Chunk)
    assert json.loads(events[1].data)["input"] == '{"query": '


@pytest.mark.parametrize(
    "events",
    [
        [more(0, "text_delta", text="a")],
        [*said(0, "a"), more(0, "text_delta", text="b")],
        [begin(0, "text"), begin(0, "text")],
        [{"type": "content_block_start", "index": 0, "content_block": "text"}],
        [{"type": "content_block_start", "content_block": {"type": "text"}}],
        [begin(0, "text"), {"type": "content_block_delta", "index": 0}],
        [begin(0, "text"), begin(1, "tool_use", id="a", name="f"), more(0, "text_delta", text="late")],
        [b"[1]"],
        [b"{"],
        [b'"text"'],
        [b"[" * 100_000],
    ],
)
def test_what_is_out_of_order_or_no_event_is_garbled(events: list[Mapping[str, Json] | bytes]) -> None:
    assert code(parsed(sse(*events, *end()))) == "provider_garbled"


def test_an_event_of_no_type_is_passed_over_unless_it_is_an_error() -> None:
    assert parsed(sse({"hello": 1}, {"type": "ping"}, {"type": "weather"}, *end())) == [Finished("stop")]
    error = {"error": {"type": "rate_limit_error", "message": "slow"}}
    assert code(parsed(sse(error))) == "provider_rate_limited"


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("overloaded_error", "provider_overloaded"),
        ("rate_limit_error", "provider_rate_limited"),
        ("authentication_error", "provider_auth"),
        ("permission_error", "provider_auth"),
        ("invalid_request_error", "provider_refused"),
        ("api_error", "provider_error"),
        ("timeout_error", "provider_error"),
        ("unheard_of", "provider_error"),
    ],
)
def test_an_error_in_the_middle_is_one_of_the_table(kind: str, expected: str) -> None:
    error = {"type": "error", "error": {"type": kind, "message": "m"}}
    events = parsed(sse(*said(0, "Half"), error, *end()))
    assert (text(events), code(events)) == ("Half", expected)


def test_an_end_without_a_reason_is_truncated() -> None:
    assert code(parsed(sse(*said(0, "a"), *end(None)))) == "provider_truncated"
    assert code(parsed(sse(*said(0, "a"), end(None)[0]))) == "provider_truncated"
    assert code(parsed(sse(begin(0, "tool_use", id="a", name="f"), end("tool_use")[0]))) == "provider_truncated"
    assert code(parsed(b"")) == "provider_truncated"


def test_an_answer_that_lacks_nothing_but_message_stop_is_whole() -> None:
    events = parsed(sse(*said(0, "a"), end("max_tokens")[0]))
    assert (text(events), events[-1]) == ("a", Finished("length"))


def test_blocks_that_never_stopped_are_closed_by_the_end_of_the_message() -> None:
    events = parsed(sse(begin(0, "thinking"), begin(1, "tool_use", id="a", name="f"), *end("tool_use")))
    assert events[-4:] == [Closed(0), Delta(1, "{}"), Closed(1), Finished("tool_calls")]


@pytest.mark.parametrize("odd", [None, 7, "x", [], {"type": 5, "text": []}, {"type": "text_delta", "text": None}])
def test_a_delta_that_says_nothing_readable_says_nothing(odd: Json) -> None:
    events = parsed(
        sse(begin(0, "text"), {"type": "content_block_delta", "index": 0, "delta": odd, "extra": "\ud800"}, *end())
    )
    assert (text(events), isinstance(events[-1], Finished | Failed)) == ("", True)


def test_what_must_be_kept_is_bounded() -> None:
    piece = more(0, "input_json_delta", partial_json="x" * (LIMIT // 4))
    assert code(parsed(*[sse(begin(0, "server_tool_use"))], *[sse(piece)] * 5)) == "provider_garbled"
    citing = more(0, "citations_delta", citation={"cited_text": "x" * (LIMIT // 4)})
    assert code(parsed(*[sse(begin(0, "text"))], *[sse(citing)] * 5)) == "provider_garbled"


def test_a_line_that_never_ends_is_garbled() -> None:
    assert code(parsed(b"data: " + b"x" * (LIMIT + 1))) == "provider_garbled"


def test_what_the_provider_quotes_of_the_key_is_not_quoted() -> None:
    parser = AnthropicMessages().parser("provider.test", secret="sk-secret")
    events = read(parser, sse({"type": "error", "error": {"type": "api_error", "message": "bad key sk-secret"}}))
    assert isinstance(events[-1], Failed)
    assert "sk-secret" not in events[-1].error.message


def test_what_follows_the_end_is_ignored() -> None:
    assert parsed(sse(*end(), *said(0, "late"))) == [Finished("stop")]


def test_a_text_in_countless_blocks_is_no_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(anthropic_answer, "MOST_PARTS", 2)
    three, four = ([event for index in range(count) for event in said(index, "a")] for count in (3, 4))
    assert parsed(sse(*three, *end()))[-1] == Finished("stop")
    assert code(parsed(sse(*four, *end()))) == "provider_garbled"
