"""The oracle against the standard's own examples, its corner cases, and pieces of every size."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.clients.eventsource_parser import EventStreamParser, ServerEvent, parse_event_stream

CASES = {
    "one event": (b"data: x\n\n", [("", "message", "x")]),
    "lines are joined": (b"data: YHOO\ndata: +2\ndata: 10\n\n", [("", "message", "YHOO\n+2\n10")]),
    "comment, id, reset id": (
        b": test stream\n\ndata: first event\nid: 1\n\ndata:second event\nid\n\ndata:  third event\n\n",
        [("1", "message", "first event"), ("", "message", "second event"), ("", "message", " third event")],
    ),
    "empty data is data, an unfinished block is not": (
        b"data\n\ndata\ndata\n\ndata:",
        [("", "message", ""), ("", "message", "\n")],
    ),
    "one space after the colon is dropped": (b"data:test\n\ndata: test\n\n", [("", "message", "test")] * 2),
    "named, and the name does not stick": (
        b"event: add\ndata: 7\n\ndata: 8\n\n",
        [("", "add", "7"), ("", "message", "8")],
    ),
    "a name without data is nothing": (b"event: add\n\ndata: 8\n\n", [("", "message", "8")]),
    "an id without data counts from then on": (b"id: 4\n\ndata: x\n\n", [("4", "message", "x")]),
    "an id sticks": (b"id: 4\ndata: x\n\ndata: y\n\n", [("4", "message", "x"), ("4", "message", "y")]),
    "an id with NUL is ignored": (
        b"id: 4\ndata: x\n\nid: 5\0\ndata: y\n\n",
        [("4", "message", "x"), ("4", "message", "y")],
    ),
    "CR ends lines": (b"data: x\rid: 1\r\rdata: y\r\r", [("1", "message", "x"), ("1", "message", "y")]),
    "CRLF ends lines": (b"data: x\r\ndata: y\r\n\r\n", [("", "message", "x\ny")]),
    "mixed line ends": (b"data: x\r\ndata: y\rdata: z\n\r", [("", "message", "x\ny\nz")]),
    "one BOM is dropped": (b"\xef\xbb\xbfdata: x\n\n", [("", "message", "x")]),
    "a second BOM is part of the name": (b"\xef\xbb\xbf\xef\xbb\xbfdata: x\n\ndata: y\n\n", [("", "message", "y")]),
    "unknown fields, upper case and leading spaces are ignored": (
        b"Data: a\n data: b\nfoo: c\ndata : d\ndata: e\n\n",
        [("", "message", "e")],
    ),
    "U+2028, NEL and form feed are text": (
        "data: a\u2028b\u0085c\fd\n\n".encode(),
        [("", "message", "a\u2028b\u0085c\fd")],
    ),
    "broken UTF-8 becomes U+FFFD": (b"data: \xe2\x82\n\n", [("", "message", "\ufffd")]),
    "a cut body loses its last block": (b"data: x\n\ndata: y\nid: 2\n", [("", "message", "x")]),
}


@pytest.mark.parametrize(("body", "expected"), CASES.values(), ids=CASES.keys())
def test_a_body_means_what_the_standard_says(body: bytes, expected: list[tuple[str, str, str]]) -> None:
    assert [(event.id, event.event, event.data) for event in parse_event_stream(body)] == expected


@given(
    pieces=st.lists(
        st.sampled_from(
            [b"data", b"id", b"event", b"retry", b":", b" ", b"\n", b"\r", b"\r\n", b"7", "é".encode(), b"\xef\xbb\xbf"]
        ),
        max_size=40,
    ),
    cuts=st.lists(st.integers(0, 90)),
)
def test_where_the_pieces_are_cut_changes_nothing(pieces: list[bytes], cuts: list[int]) -> None:
    body = b"".join(pieces)
    parser = EventStreamParser()
    events: list[ServerEvent] = []
    edges = [0, *sorted(min(cut, len(body)) for cut in cuts), len(body)]
    for start, end in itertools.pairwise(edges):
        events += parser.feed(body[start:end])
    whole = EventStreamParser()
    assert events == whole.feed(body)
    assert (parser.last_event_id, parser.retry, parser.comments) == (whole.last_event_id, whole.retry, whole.comments)


def test_it_keeps_what_is_no_event() -> None:
    parser = EventStreamParser(last_event_id="r:e:3")
    assert parser.feed(b": ping\ndata: x\n\n") == [ServerEvent("r:e:3", "message", "x")]
    assert parser.feed(b"retry: 1000\nretry: -1\nretry: 2s\n\n: ping\n\nid: r:e:4\n\n\n") == []
    assert parser.comments == ["ping", "ping"]
    assert parser.retry == 1000
    assert parser.last_event_id == "r:e:4"
    assert parser.blocks_without_data == 3
