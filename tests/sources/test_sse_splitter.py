"""The byte-level splitter against the suite's own reading of the WHATWG standard, whole, byte by byte and cut at random."""

from collections.abc import Iterable
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.sources.sse_splitter import LIMIT, SseSplitter
from tests.clients.eventsource_parser import EventStreamParser

# Streams that look like providers' more often than like noise, with every line end the standard knows.
LINE_ENDS = st.sampled_from([b"\n", b"\r\n", b"\r"])
VALUES = st.text(st.characters(exclude_characters="\r\n", exclude_categories=["Cs"]), max_size=12).map(str.encode)
FIELDS = st.sampled_from(
    [b"data: ", b"data:", b"data", b"data:  ", b"dat", b"event: ", b"id: ", b"retry: ", b": ", b":", b""]
)
LINES = st.builds(lambda field, value, end: field + value + end, FIELDS, VALUES, LINE_ENDS) | LINE_ENDS
USUAL = VALUES.map(lambda value: b"data: " + value + b"\n\n")
NAMED = st.builds(lambda name, value: b"event: " + name + b"\ndata: " + value + b"\n\n", VALUES, VALUES)
STREAMS = st.builds(
    lambda bom, blocks: bom + b"".join(blocks),
    st.sampled_from([b"", b"\xef\xbb\xbf"]),
    st.lists(LINES | USUAL | NAMED, max_size=12) | st.lists(USUAL, max_size=12) | st.lists(NAMED, max_size=12),
)


def events_of(pieces: Iterable[bytes]) -> list[bytes]:
    splitter = SseSplitter()
    return [event for piece in pieces for event in splitter.feed(piece)]


def dispatched(stream: bytes) -> list[str]:
    return [event.data for event in EventStreamParser().feed(stream)]


def shown(events: list[bytes]) -> list[str]:
    return [event.decode("utf-8", errors="replace") for event in events]


def cut(stream: bytes, places: list[int]) -> list[bytes]:
    edges = [0, *sorted(place % (len(stream) + 1) for place in places), len(stream)]
    return [stream[start:end] for start, end in pairwise(edges)]


@given(STREAMS)
def test_a_stream_read_at_once_gives_what_the_standard_dispatches(stream: bytes) -> None:
    assert shown(events_of([stream])) == dispatched(stream)


@given(STREAMS)
def test_a_stream_read_byte_by_byte_gives_the_same(stream: bytes) -> None:
    assert events_of([bytes([byte]) for byte in stream]) == events_of([stream])


@given(STREAMS, st.lists(st.integers(min_value=0), max_size=8))
def test_a_stream_cut_anywhere_gives_the_same(stream: bytes, places: list[int]) -> None:
    assert events_of(cut(stream, places)) == events_of([stream])


@given(st.binary(max_size=60), st.lists(st.integers(min_value=0), max_size=4))
def test_any_bytes_give_what_the_standard_dispatches(stream: bytes, places: list[int]) -> None:
    assert shown(events_of(cut(stream, places))) == dispatched(stream)


def test_an_event_without_its_blank_line_is_never_given() -> None:
    assert events_of([b"data: whole\n\ndata: half\n"]) == [b"whole"]


def test_a_cr_at_the_end_of_a_read_and_an_lf_at_the_start_of_the_next_are_one_line_end() -> None:
    assert events_of([b"data: a\r", b"\ndata: b\r", b"\n\r", b"\ndata: c\n\n"]) == [b"a\nb", b"c"]


@pytest.mark.parametrize("size", [1, 4096, LIMIT + 100])
def test_a_line_that_never_ends_overflows_whatever_its_pieces(size: int) -> None:
    splitter = SseSplitter()
    piece = b"data: " + b"x" * (max(size, 1000) - 6)
    while not splitter.overflowed:
        assert splitter.feed(piece) == []
        piece = b"x" * max(size, 1000)
    assert splitter.feed(b"\n\ndata: after\n\n") == []


def test_an_event_of_many_lines_overflows_like_a_long_line() -> None:
    splitter = SseSplitter()
    lines = b"data: " + b"x" * 1000 + b"\n"
    assert splitter.feed(lines * (LIMIT // 1000 + 2)) == []
    assert splitter.overflowed


def test_what_came_before_an_overflow_is_given() -> None:
    splitter = SseSplitter()
    assert splitter.feed(b"data: good\n\ndata: " + b"x" * (LIMIT + 1) + b"\n\n") == [b"good"]
    assert splitter.overflowed


def test_an_event_as_large_as_the_limit_is_given_in_one_read_and_in_pieces() -> None:
    stream = b"data: " + b"x" * (LIMIT - 6) + b"\n\n"
    assert [len(event) for event in events_of([stream])] == [LIMIT - 6]
    assert [len(event) for event in events_of(cut(stream, [9, LIMIT // 2, LIMIT]))] == [LIMIT - 6]
