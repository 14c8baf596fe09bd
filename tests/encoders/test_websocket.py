"""The messages of a run on a socket that many runs share."""

from __future__ import annotations

from penstock.core.events import Finished
from penstock.core.frame import Frame
from penstock.encoders.websocket import WebSocketEncoder


def test_a_message_has_its_cursor_and_names_its_stream() -> None:
    encoder = WebSocketEncoder("st_x")
    assert encoder.frame(Frame('{"a":"ü"}'.encode()), b"st_x:a1:1") == '{"a":"ü","id":"st_x:a1:1","stream":"st_x"}'


def test_a_message_that_is_no_place_to_resume_from_has_no_cursor() -> None:
    assert WebSocketEncoder("st_x").frame(Frame(b'{"a":1}'), b"") == '{"a":1,"stream":"st_x"}'


def test_the_cursor_stands_where_the_dialect_has_room_for_it() -> None:
    encoder = WebSocketEncoder("st_x", cursor_key="cursor")
    assert encoder.frame(Frame(b'{"id":1}'), b"c:1") == '{"id":1,"cursor":"c:1","stream":"st_x"}'


def test_bytes_follow_a_header_that_says_how_long_it_is() -> None:
    encoder = WebSocketEncoder("st_x")
    header = b'{"stream":"st_x","id":"st_x:a1:9","part":3}'
    assert (
        encoder.frame(Frame(b"\x00\xff", part=3), b"st_x:a1:9") == b"\x00" + bytes([len(header)]) + header + b"\x00\xff"
    )


def test_bytes_that_are_told_again_have_no_cursor() -> None:
    header = b'{"stream":"st_x","part":0}'
    assert WebSocketEncoder("st_x").frame(Frame(b"", part=0), b"") == b"\x00" + bytes([len(header)]) + header


def test_the_socket_has_pings_of_its_own_and_stays_open() -> None:
    encoder = WebSocketEncoder("st_x")
    assert (encoder.opening("x"), encoder.heartbeat(), encoder.ending(Finished())) == (b"", b"", b"")
    assert encoder.accepts(Frame(b"[DONE]", sentinel=True)) is False
