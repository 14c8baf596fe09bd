"""How a reader joins a run in mid-answer, on any transport: primed with the past, told of gaps, parts re-opened."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from penstock.core.errors import Refused
from penstock.core.frame import Dialect, Frame, Gaps, TransportEncoder, View, Wire_co
from penstock.encoders.stream import Stream
from penstock.flow.handle import Gap, Place, RunHandle

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
    if place.gap is not None and not isinstance(dialect, Gaps):
        raise Refused("cursor_gone", "what followed this cursor is no longer held; GET the stream's snapshot instead")
    if dialect.traits.retells and handle.log.first > 1 and handle.log.snapshot(place.after).elided:
        raise Refused("cursor_gone", "the beginning of this answer is no longer held, and its dialect would repeat it")


def retold(dialect: Dialect, stream: Stream[Wire_co], place: Place) -> list[Wire_co]:
    """What a reader is told that cannot get what it missed as it was: the gap, then the snapshot as re-opened parts."""
    if place.gap is None:
        return []
    told: Sequence[Frame] = _missed(dialect, place.gap)
    return stream.retell([*told, *stream.renderer.rejoin()], place.after)


def _missed(dialect: Dialect, gap: Gap) -> Sequence[Frame]:
    return dialect.gap(gap.start, gap.end, gap.reason) if isinstance(dialect, Gaps) else ()


def numbered(dialect: Dialect, view: View, handle: RunHandle, number: int) -> Place:
    """Where a reader joins that has every frame up to and with this number, of a dialect that numbers them (`sequence_key`).

    Found by halving, since a run may hold hundreds of thousands of frames. Raises `Refused`: `cursor_gone` where what
    followed is no longer held, `cursor_ahead` where no such frame was sent yet.
    """
    log = handle.log
    low, high = log.first - 1, log.shown
    following = _next_number(dialect, view, handle, low)
    if following is not None and following > number + 1:
        raise Refused("cursor_gone", "what followed this number is no longer held; ask for the answer as it stands")
    while low < high:  # the last offset behind which no frame beyond the next one stands
        middle = (low + high + 1) // 2
        following = _next_number(dialect, view, handle, middle)
        if following is not None and following <= number + 1:
            low = middle
        else:
            high = middle - 1
    renderer = dialect.renderer(view)
    if low:
        renderer.prime(log.snapshot(low))
    for entry in log.read(low, TURN):
        if frames := [frame for frame in renderer.render(entry) if not frame.sentinel]:
            skip = number + 1 - _number(dialect, frames[0])
            if skip < len(frames):
                return Place(low, skip=skip)
            if skip == len(frames):
                return Place(log.shown)
            break
    raise Refused("cursor_ahead", f"no frame was sent yet that has the number {number}", param="starting_after")


def _next_number(dialect: Dialect, view: View, handle: RunHandle, after: int) -> int | None:
    """The number of the first frame after an offset; None where none was sent yet."""
    renderer = dialect.renderer(view)
    if after:
        renderer.prime(handle.log.snapshot(after))
    while entries := handle.log.read(after, 1):
        for entry in entries:
            after = entry.last
            if frames := renderer.render(entry):
                return _number(dialect, frames[0])
    return None


def _number(dialect: Dialect, frame: Frame) -> int:
    number: int = msgspec.json.decode(frame.data)[dialect.traits.sequence_key]
    return number


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
