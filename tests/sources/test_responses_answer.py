"""What servers that speak Responses do beside the recordings: members left out, events repeated, out of order or unknown."""

import json

import pytest

from penstock.core.carried import BLOCK
from penstock.core.events import Chunk, Closed, Delta, Event, Failed, Finished, Json, Note, Opened, Usage
from penstock.sources.responses_http import OpenAIResponses
from tests.sources.asking import text
from tests.sources.recordings import parsed as read

KIND = "openai-responses"
ADDED, DONE = "response.output_item.added", "response.output_item.done"
DELTA, COMPLETED = "response.output_text.delta", "response.completed"


def said(event: str, **members: object) -> bytes:
    return f"event: {event}\ndata: {json.dumps({'type': event, **members})}\n\n".encode()


def parsed(*pieces: bytes) -> list[Event]:
    return read(OpenAIResponses().parser("provider.test", secret=None), *pieces)


def heard(*events: bytes) -> list[Event]:
    return parsed(b"".join(events))


def ended(**response: object) -> bytes:
    return said(COMPLETED, response={"status": "completed", **response})


def failure(*events: bytes) -> Failed:
    last = heard(*events)[-1]
    assert isinstance(last, Failed)
    return last


def message(*texts: str) -> dict[str, object]:
    return {"type": "message", "id": "msg_1", "content": [{"type": "output_text", "text": each} for each in texts]}


def test_a_text_that_was_never_announced_is_a_part() -> None:
    assert heard(said(DELTA, delta="a"), said(DELTA, delta="b"), ended()) == [
        Opened(0, "text"),
        Delta(0, "a"),
        Delta(0, "b"),
        Closed(0),
        Finished("stop"),
    ]


@pytest.mark.parametrize(
    "events",
    [
        [said("response.output_text.done", output_index=0, content_index=0, text="ab")],
        [said("response.content_part.done", output_index=0, part={"type": "output_text", "text": "ab"})],
        [said(DONE, output_index=0, item=message("ab"))],
        [said(DONE, item=message("ab"))],
    ],
    ids=["text", "part", "item", "item without an index"],
)
def test_a_text_without_pieces_is_told_when_it_is_done(events: list[bytes]) -> None:
    assert text(heard(*events, ended())) == "ab"


def test_what_was_told_in_pieces_is_not_told_again() -> None:
    at = {"output_index": 0, "content_index": 0, "item_id": "msg_1"}
    part = {"type": "output_text", "text": "ab"}
    events = heard(
        said(ADDED, output_index=0, item={"type": "message", "id": "msg_1"}),
        said(DELTA, delta="a", **at),
        said(DELTA, delta="b", **at),
        said("response.output_text.done", text="ab", **at),
        said("response.content_part.done", part=part, **at),
        said(DONE, output_index=0, item=message("ab")),
        said(DONE, output_index=0, item=message("ab")),
        ended(output=[message("ab")]),
    )
    assert text(events) == "ab"


def test_texts_of_one_message_are_parts_of_their_own() -> None:
    events = heard(
        *(
            said(DELTA, output_index=0, content_index=index, delta=piece)
            for index, piece in ((0, "a"), (1, "b"), (0, "c"))
        ),
        said(DONE, output_index=0, item=message("ac", "b")),
        ended(),
    )
    assert (text(events, 0), text(events, 1)) == ("ac", "b")


def test_arguments_wait_for_the_name_of_their_call() -> None:
    events = heard(
        said("response.function_call_arguments.delta", output_index=0, delta="{"),
        said("response.function_call_arguments.delta", output_index=0, delta="}"),
        said(DONE, output_index=0, item={"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"}),
        ended(),
    )
    assert events == [
        Opened(0, "tool_call", name="f", call_id="c"),
        Delta(0, "{}"),
        Closed(0),
        Finished("tool_calls"),
    ]


def test_a_call_without_a_call_id_goes_by_the_id_of_its_item() -> None:
    item = {"type": "function_call", "id": "fc_1", "name": "f", "arguments": "{}"}
    (opened, *_) = heard(said(ADDED, output_index=0, item=item), said(DONE, output_index=0, item=item), ended())
    assert opened == Opened(0, "tool_call", name="f", call_id="fc_1")


def test_thoughts_in_plain_text_are_reasoning() -> None:
    events = heard(
        said(ADDED, item={"type": "reasoning", "id": "rs_1"}),
        said("response.reasoning_text.delta", item_id="rs_1", delta="Hm"),
        said("response.reasoning_text.done", item_id="rs_1", text="Hm"),
        said(DONE, item={"type": "reasoning", "id": "rs_1", "content": [{"type": "reasoning_text", "text": "Hm"}]}),
        ended(),
    )
    assert events == [Opened(0, "reasoning"), Delta(0, "Hm"), Closed(0), Finished("stop")]


def test_an_item_that_is_never_done_is_told_as_it_was_added() -> None:
    item = {"type": "mcp_call", "id": "mcp_1", "name": "roll"}
    opened, chunk, closed, _ = heard(said(ADDED, output_index=0, item=item), ended())
    assert isinstance(opened, Opened)
    assert isinstance(chunk, Chunk)
    assert (json.loads(chunk.data), closed) == (item, Closed(0))


def test_an_item_of_another_type_is_carried_whole_and_its_progress_is_noted() -> None:
    item = {"type": "mcp_call", "id": "mcp_1", "name": "roll", "arguments": "{}", "output": "4"}
    begun: dict[str, Json] = {**item, "output": None}
    opened, note, chunk, closed, _ = heard(
        said(ADDED, output_index=0, item=begun),
        said("response.mcp_call.in_progress", output_index=0, item_id="mcp_1"),
        said("response.mcp_call.in_progress", output_index=0, item_id="mcp_1"),
        said("response.mcp_call_arguments.delta", output_index=0, item_id="mcp_1", delta="{"),
        said("response.image_generation_call.in_progress", output_index=0, item_id="mcp_1"),
        said(DONE, output_index=0, item=item),
        said("response.mcp_call.completed", output_index=0, item_id="mcp_1"),
        ended(),
    )
    assert opened == Opened(0, "binary", media_type=BLOCK % KIND, meta={KIND: begun})
    assert note == Note("progress", {"part": 0, "state": "in_progress"})
    assert isinstance(chunk, Chunk)
    assert json.loads(chunk.data) == item
    assert closed == Closed(0)


def test_events_of_unknown_types_are_passed_over() -> None:
    events = heard(
        said("keepalive"), said("response.weather.changed", delta="x", output_index=0), said(DELTA, delta="a"), ended()
    )
    assert text(events) == "a"


def test_halves_of_a_pair_are_joined() -> None:
    events = heard(
        b'data: {"type":"response.output_text.delta","delta":"a\\ud83d"}\n\n',
        b'data: {"type":"response.output_text.delta","delta":"\\ude00b"}\n\n',
        ended(),
    )
    assert text(events) == "a😀b"


def test_the_name_of_an_event_is_read_from_its_data() -> None:
    assert text(parsed(b'data: {"type":"response.output_text.delta","delta":"a"}\r\n\r\n', ended())) == "a"


@pytest.mark.parametrize(
    ("reason", "finish"),
    [("max_output_tokens", "length"), ("content_filter", "content_filter"), ("steered", "steered")],
)
def test_why_an_answer_is_incomplete_is_why_it_finished(reason: str, finish: str) -> None:
    response = {"status": "incomplete", "incomplete_details": {"reason": reason}}
    assert heard(said("response.incomplete", response=response)) == [Finished(finish)]


@pytest.mark.parametrize(
    ("event", "code"),
    [
        (said("response.failed", response={"error": {"code": "server_error", "message": "x"}}), "provider_error"),
        (said("response.failed", response={"error": {"code": "invalid_prompt", "message": "x"}}), "provider_refused"),
        (said("response.failed", response={"error": {"code": "bio_policy", "message": "x"}}), "content_refused"),
        (said("response.completed", response={"status": "failed", "error": None}), "provider_error"),
        (said("response.cancelled", response={}), "provider_error"),
        (said("error", code="rate_limit_exceeded", message="x"), "provider_rate_limited"),
        (said("error", error={"type": "invalid_request_error", "message": "prompt is too long"}), "context_too_long"),
        (b'data: {"error":{"message":"x","code":"context_length_exceeded"}}\n\n', "context_too_long"),
        (b"data: [1]\n\n", "provider_garbled"),
        (b"data: [DONE]\n\n", "provider_truncated"),
    ],
)
def test_every_way_to_fail_is_an_error_of_the_table(event: bytes, code: str) -> None:
    assert failure(said(DELTA, delta="a"), event).error.code == code


def test_usage_stands_before_the_end_with_its_details() -> None:
    usage = {
        "input_tokens": 9,
        "input_tokens_details": {"cached_tokens": 4, "cache_write_tokens": 2},
        "output_tokens": 3,
    }
    assert heard(ended(usage=usage)) == [Usage(9, 3, "reported", cached=4, cache_written=2), Finished("stop")]


def test_a_last_event_that_is_larger_than_other_protocols_allow_is_read() -> None:
    item = {"type": "image_generation_call", "id": "ig_1", "result": "A" * 3_000_000}
    chunk = heard(said(DONE, output_index=0, item=item), ended())[1]
    assert isinstance(chunk, Chunk)
    assert len(chunk.data) > 3_000_000


def test_an_item_nested_beyond_reason_is_null() -> None:
    deep = json.loads("[" * 200 + "]" * 200)
    chunk = heard(said(DONE, output_index=0, item={"type": "mcp_call", "output": deep}), ended())[1]
    assert chunk == Chunk(0, b"null")


def test_where_the_answer_stands_is_known_for_whoever_reads_on() -> None:
    reading = OpenAIResponses().parser("provider.test", secret=None)
    reading.feed(said("response.created", response={"id": "resp_1", "background": True}, sequence_number=0))
    reading.feed(said(DELTA, delta="a", sequence_number=7))
    assert (reading.answer.response_id, reading.answer.sequence) == ("resp_1", 7)
