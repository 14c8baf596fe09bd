"""Law 6: what an encoder wrote can be read back, split anywhere, and no SSE block is without data."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from hypothesis import given
from hypothesis import strategies as st

from penstock.core.cursor import Entry
from penstock.core.frame import Gaps
from penstock.encoders.sse import SseEncoder
from penstock.encoders.stream import Stream
from penstock.registry import names
from penstock.testing.laws.dialects import Wire, folded
from penstock.testing.laws.encoders import check_byte_resume, check_envelope, check_sse_body
from penstock.testing.strategies import EPOCH, RUN, pieces, runs
from penstock.testing.wire import Received, expected
from tests.laws.pairs import BARE, DIALECTS, ENCODERS, PAIRS, Pair, laws, naming


@laws
@given(entries=runs(), data=st.data(), named=st.booleans())
def test_what_was_written_can_be_read_back_split_anywhere(
    entries: list[Entry], data: st.DataObject, named: bool
) -> None:
    for pair in PAIRS:
        with naming(pair):
            check_envelope(
                pair.dialect,
                pair.view(event_names=named),
                pair.encoder,
                entries,
                partial(_read_in_pieces, pair, data),
                names=pair.transport == "sse",
            )


def _read_in_pieces(pair: Pair, data: st.DataObject, wires: Sequence[Wire]) -> list[Received]:
    """Messages come whole; a body comes as the network likes."""
    if pair.transport == "websocket":
        return pair.parse(wires)
    return pair.parse(data.draw(pieces(b"".join(wire for wire in wires if isinstance(wire, bytes)))))


@laws
@given(entries=runs(), joint=st.integers(0, 30))
def test_what_is_told_again_can_be_read_back_and_only_its_last_id_counts(entries: list[Entry], joint: int) -> None:
    for pair in PAIRS:
        renderer = pair.dialect.renderer(pair.view())
        renderer.prime(folded(entries, joint))
        gap = pair.dialect.gap(1, joint, "trimmed") if isinstance(pair.dialect, Gaps) else ()
        frames = [*gap, *renderer.rejoin()]
        received = pair.parse(Stream(renderer, pair.encoder(), run=RUN, epoch=EPOCH).retell(frames, joint))
        ids = [""] * (len(frames) - 1) + [f"{RUN}:{EPOCH}:{joint}"] if frames else []
        with naming(pair):
            assert [(message.value, message.cursor, message.part) for message in received] == [
                (wanted.value, wanted.cursor, wanted.part) for wanted in map(expected, frames, ids)
            ]


@laws
@given(entries=runs(), event_source=st.booleans(), beats=st.sets(st.integers(0, 20)), data=st.data())
def test_no_event_stream_has_a_block_without_data(
    entries: list[Entry], event_source: bool, beats: set[int], data: st.DataObject
) -> None:
    for dialect in DIALECTS:
        encoder = SseEncoder()
        stream = Stream(dialect.renderer(Pair(dialect, "sse").view()), encoder, run=RUN, epoch=EPOCH)
        body = encoder.opening(f"{RUN}:{EPOCH}:0" if event_source else None)
        for index, entry in enumerate(entries):
            body += encoder.heartbeat() if index in beats else b""
            body += b"".join(stream.feed([entry]))
        assert stream.terminal is not None
        body += encoder.ending(stream.terminal)
        with naming(dialect.name):
            check_sse_body(data.draw(pieces(body)), event_source=event_source)


@laws
@given(entries=runs(), after=st.lists(st.integers(0, 10_000), min_size=1, max_size=8))
def test_bare_text_continues_after_any_number_of_bytes(entries: list[Entry], after: list[int]) -> None:
    check_byte_resume(BARE.dialect, BARE.view(), entries, after=after)


@laws
@given(entries=runs())
def test_the_last_id_of_a_run_is_the_same_on_every_transport(entries: list[Entry]) -> None:
    for pair in PAIRS:
        stream = Stream(pair.dialect.renderer(pair.view()), pair.encoder(), run=RUN, epoch=EPOCH)
        ids = [message.cursor for message in pair.parse(stream.feed(entries)) if message.cursor]
        with naming(pair):
            assert ids[-1] == f"{RUN}:{EPOCH}:{len(entries)}"


def test_every_registered_encoder_is_held_to_these_laws() -> None:
    assert sorted(ENCODERS) == sorted(names("encoders"))
