"""How a reader joins a run in mid-answer, on any transport: primed with the past, told of gaps, parts re-opened."""

from __future__ import annotations

from collections.abc import Sequence

from penstock.core.errors import Refused
from penstock.core.frame import Dialect, Frame, TransportEncoder, View, Wire_co
from penstock.encoders.stream import Stream
from penstock.flow.handle import Place, RunHandle

TURN = 64 * 1024


def pipeline(
    dialect: Dialect, view: View, encoder: TransportEncoder[Wire_co], handle: RunHandle, place: Place
) -> Stream[Wire_co]:
    """Renderer and encoder for a reader at `place`, primed with everything before it."""
    renderer = dialect.renderer(view)
    if place.after:
        renderer.prime(handle.log.snapshot(place.after))
    return Stream(renderer, encoder, run=handle.id, epoch=handle.log.epoch, skip=place.skip)


def check_joins(dialect: Dialect, handle: RunHandle, place: Place) -> None:
    """Raise `Refused(cursor_gone)` where the dialect has no words for what such a reader cannot be given."""
    if place.gap is not None and not dialect.traits.gaps:
        raise Refused("cursor_gone", "what followed this cursor is no longer held; GET the stream's snapshot instead")
    if dialect.traits.retells and handle.log.first > 1 and handle.log.snapshot(place.after).elided:
        raise Refused("cursor_gone", "the beginning of this answer is no longer held, and its dialect would repeat it")


def retold(dialect: Dialect, stream: Stream[Wire_co], place: Place) -> list[Wire_co]:
    """What a reader is told that cannot get what it missed as it was: the gap, then the snapshot as re-opened parts."""
    if place.gap is None:
        return []
    told: Sequence[Frame] = dialect.gap(place.gap.start, place.gap.end, place.gap.reason)
    return stream.retell([*told, *stream.renderer.rejoin()], place.after)


def text_length(dialect: Dialect, view: View, handle: RunHandle) -> int:
    """Bytes of the bare text of everything said so far; of a trimmed run, of what its snapshot holds."""
    renderer = dialect.renderer(view)
    size = 0
    after = 0
    log = handle.log
    if log.first > 1:
        renderer.prime(log.snapshot(log.first - 1))
        size += sum(len(frame.data) for frame in renderer.rejoin())
        after = log.first - 1
    while entries := log.read(after, TURN):
        size += sum(len(frame.data) for entry in entries for frame in renderer.render(entry))
        after = entries[-1].last
    return size
