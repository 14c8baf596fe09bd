"""Law 6: what an encoder wrote can be read back, split anywhere, and no SSE block is without data."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.core.cursor import Entry
from penstock.encoders.sse import SseEncoder
from penstock.encoders.stream import Stream
from penstock.registry import names
from penstock.testing.laws.dialects import Wire
from penstock.testing.laws.encoders import check_byte_resume, check_envelope, check_sse_body
from penstock.testing.strategies import EPOCH, RUN, pieces, runs
from tests.laws.pairs import BARE, ENCODERS, PAIRS, Pair, laws

every_pair = pytest.mark.parametrize("pair", PAIRS, ids=str)


@every_pair
@laws
@given(entries=runs(), data=st.data(), named=st.booleans())
def test_what_was_written_can_be_read_back_split_anywhere(
    pair: Pair, entries: list[Entry], data: st.DataObject, named: bool
) -> None:
    def parse(wires: list[Wire]) -> object:
        if pair.transport == "websocket":
            return pair.parse(wires)
        return pair.parse(data.draw(pieces(b"".join(wire for wire in wires if isinstance(wire, bytes)))))

    view = pair.view(event_names=named)
    check_envelope(pair.dialect, view, pair.encoder, entries, parse, names=pair.transport == "sse")  # type: ignore[arg-type]


@pytest.mark.parametrize("pair", [pair for pair in PAIRS if pair.transport == "sse"], ids=str)
@laws
@given(entries=runs(), event_source=st.booleans(), beats=st.sets(st.integers(0, 20)), data=st.data())
def test_no_event_stream_has_a_block_without_data(
    pair: Pair, entries: list[Entry], event_source: bool, beats: set[int], data: st.DataObject
) -> None:
    encoder = SseEncoder()
    stream = Stream(pair.dialect.renderer(pair.view()), encoder, run=RUN, epoch=EPOCH)
    body = encoder.opening(f"{RUN}:{EPOCH}:0" if event_source else None)
    for index, entry in enumerate(entries):
        body += encoder.heartbeat() if index in beats else b""
        body += b"".join(stream.feed([entry]))
    assert stream.terminal is not None
    body += encoder.ending(stream.terminal)
    check_sse_body(data.draw(pieces(body)), event_source=event_source)


@laws
@given(entries=runs(), after=st.lists(st.integers(0, 10_000), min_size=1, max_size=8))
def test_bare_text_continues_after_any_number_of_bytes(entries: list[Entry], after: list[int]) -> None:
    check_byte_resume(BARE.dialect, BARE.view(), entries, after=after)


@every_pair
@laws
@given(entries=runs())
def test_the_last_id_of_a_run_is_the_same_on_every_transport(pair: Pair, entries: list[Entry]) -> None:
    stream = Stream(pair.dialect.renderer(pair.view()), pair.encoder(), run=RUN, epoch=EPOCH)
    ids = [message.cursor for message in pair.parse(stream.feed(entries)) if message.cursor]
    assert ids[-1] == f"{RUN}:{EPOCH}:{len(entries)}"


def test_every_registered_encoder_is_held_to_these_laws() -> None:
    assert sorted(ENCODERS) == sorted(names("encoders"))
