"""Frames are what another implementation reads as the messages they were made of."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from penstock.server.websocket_frames import framed
from tests.contract.frames import messages_in

SIZES = [0, 1, 125, 126, 127, 65_535, 65_536]


@given(st.lists(st.text() | st.binary() | st.sampled_from(SIZES).map(lambda size: b"x" * size)))
def test_messages_come_out_as_they_went_in(messages: list[str | bytes]) -> None:
    assert messages_in(b"".join(framed(messages))) == messages


@given(st.text(min_size=1))
def test_the_length_of_text_is_counted_in_bytes(text: str) -> None:
    long = text * 126
    assert messages_in(framed([long])[0]) == [long]
