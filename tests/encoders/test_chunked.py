"""Lines of JSON, and bare text."""

from __future__ import annotations

import pytest

from penstock.core.errors import fault
from penstock.core.events import Cancelled, Failed, Finished, Terminal
from penstock.core.frame import Frame
from penstock.encoders.chunked import NdjsonEncoder, TextEncoder

UNFINISHED: list[Terminal] = [Failed(fault("internal")), Cancelled("client")]


def test_a_line_ends_with_its_cursor() -> None:
    assert NdjsonEncoder().frame(Frame(b'{"a":1}'), b"c:1") == b'{"a":1,"id":"c:1"}\n'
    assert NdjsonEncoder(cursor_key="cursor").frame(Frame(b'{"a":1}'), b"c:1") == b'{"a":1,"cursor":"c:1"}\n'


def test_a_line_that_is_no_place_to_resume_from_has_no_cursor() -> None:
    assert NdjsonEncoder().frame(Frame(b'{"a":1}'), b"") == b'{"a":1}\n'


def test_lines_carry_no_bare_words() -> None:
    assert NdjsonEncoder().accepts(Frame(b"[DONE]", sentinel=True)) is False


def test_a_blank_line_keeps_the_connection_alive() -> None:
    assert (NdjsonEncoder().opening("x"), NdjsonEncoder().heartbeat()) == (b"", b"\n")


@pytest.mark.parametrize("terminal", UNFINISHED)
def test_lines_end_properly_whatever_happened_unless_the_route_says_otherwise(terminal: Terminal) -> None:
    assert NdjsonEncoder().ending(terminal) == b""
    assert NdjsonEncoder(abort_on_error=True).ending(terminal) is None
    assert NdjsonEncoder(abort_on_error=True).ending(Finished()) == b""


@pytest.mark.parametrize("terminal", UNFINISHED)
def test_bare_text_ends_properly_only_when_the_answer_is_complete(terminal: Terminal) -> None:
    assert TextEncoder().ending(terminal) is None
    assert TextEncoder().ending(Finished()) == b""


def test_bare_text_is_the_words_alone() -> None:
    encoder = TextEncoder()
    assert encoder.frame(Frame(b"Hello"), b"c:1") == b"Hello"
    assert (encoder.opening("x"), encoder.heartbeat(), encoder.accepts(Frame(b""))) == (b"", b"", True)


def test_bytes_a_reader_has_are_left_out_also_within_a_character() -> None:
    encoder = TextEncoder(skip=4)
    written = [encoder.frame(Frame(text.encode()), b"") for text in ("ab", "", "ßc", "d")]
    assert written == [b"", b"", b"c", b"d"]
    assert TextEncoder(skip=1).frame(Frame("ß".encode()), b"") == b"\x9f"
