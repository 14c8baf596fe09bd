"""The bytes of an event stream."""

from __future__ import annotations

from penstock.core.events import Cancelled, Finished
from penstock.core.frame import Frame
from penstock.encoders.sse import SharedSseEncoder, SseEncoder

ONE = Frame(b'{"a":1}')


def test_the_id_is_the_last_line_and_retry_rides_in_the_first_block() -> None:
    encoder = SseEncoder(retry_ms=250)
    assert encoder.frame(ONE, b"st_x:a1:1") == b'data: {"a":1}\nretry: 250\nid: st_x:a1:1\n\n'
    assert encoder.frame(ONE, b"st_x:a1:2") == b'data: {"a":1}\nid: st_x:a1:2\n\n'


def test_a_frame_that_is_no_place_to_resume_from_has_no_id() -> None:
    encoder = SseEncoder()
    encoder.frame(ONE, b"")
    assert encoder.frame(ONE, b"") == b'data: {"a":1}\n\n'


def test_an_event_name_comes_first() -> None:
    encoder = SseEncoder()
    encoder.frame(ONE, b"")
    assert encoder.frame(Frame(b'{"a":1}', "ping"), b"c:1") == b'event: ping\ndata: {"a":1}\nid: c:1\n\n'


def test_only_an_event_source_begins_with_a_block_of_its_own() -> None:
    assert [SseEncoder().opening(None), SseEncoder().opening("st_x:a1:0")] == [b"", b"id: st_x:a1:0\n\n"]


def test_a_sentinel_is_carried() -> None:
    assert SseEncoder().accepts(Frame(b"[DONE]", sentinel=True)) is True


def test_a_heartbeat_ends_no_block() -> None:
    assert SseEncoder().heartbeat() == b": ping\n"


def test_the_end_of_a_run_needs_nothing_more() -> None:
    assert [SseEncoder().ending(Finished()), SseEncoder().ending(Cancelled("client"))] == [b"", b""]


def test_runs_on_one_body_each_give_the_positions_of_all() -> None:
    positions = {"st_a": b"st_a:e:0", "st_b": b"st_b:e:4"}
    retry = [1000]
    first, second = SharedSseEncoder("st_a", positions, retry), SharedSseEncoder("st_b", positions, retry)
    assert first.frame(ONE, b"st_a:e:1") == (b'data: {"a":1,"stream":"st_a"}\nretry: 1000\nid: st_a:e:1,st_b:e:4\n\n')
    assert second.frame(Frame(b'{"a":1}', "x"), b"") == b'event: x\ndata: {"a":1,"stream":"st_b"}\n\n'
    assert second.frame(ONE, b"st_b:e:5") == b'data: {"a":1,"stream":"st_b"}\nid: st_a:e:1,st_b:e:5\n\n'
    assert (first.opening("x"), first.heartbeat(), first.ending(Finished())) == (b"", b": ping\n", b"")
    assert first.accepts(Frame(b"[DONE]", sentinel=True)) is False
