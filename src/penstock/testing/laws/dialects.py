"""The laws of a dialect: resume, coalesce, rejoin, shape and refusal. Runs come from `penstock.testing.strategies`.

@given(runs())
def test_resume(entries):
    check_resume(MyDialect(), View(run=RUN), SseEncoder, entries)
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from penstock.core.cursor import Cursor, Entry, parse_cursor
from penstock.core.errors import TABLE, Refused, fault
from penstock.core.events import TERMINAL, Delta, Event
from penstock.core.frame import Dialect, Frame, TransportEncoder, View
from penstock.core.request import ChatRequest
from penstock.core.snapshot import Folder, Snapshot
from penstock.encoders.coalesce import coalesce
from penstock.encoders.stream import Stream
from penstock.testing.readings import Read
from penstock.testing.strategies import EPOCH
from penstock.testing.wire import Received, expected

Wire = str | bytes
Encoders = Callable[[], TransportEncoder[Any]]


class Recorder:
    """An encoder that remembers what it was given. It has begun already: what only a first frame carries is behind it."""

    def __init__(self, encoder: TransportEncoder[Any]):
        self.encoder = encoder
        self.frames: list[Frame] = []
        self.cursors: list[str] = []
        self.wires: list[Wire] = []
        encoder.frame(Frame(b'{"begun":true}'), b"")

    def opening(self, cursor: str | None) -> bytes:
        return self.encoder.opening(cursor)

    def frame(self, frame: Frame, cursor: bytes) -> Wire:
        wire: Wire = self.encoder.frame(frame, cursor)
        self.frames.append(frame)
        self.cursors.append(cursor.decode())
        self.wires.append(wire)
        return wire

    def accepts(self, frame: Frame) -> bool:
        return self.encoder.accepts(frame)

    def heartbeat(self) -> bytes:
        return self.encoder.heartbeat()

    def ending(self, terminal: Any) -> bytes | None:
        return self.encoder.ending(terminal)

    def received(self) -> list[Received]:
        """What a client of any transport has of it."""
        return [expected(frame, cursor) for frame, cursor in zip(self.frames, self.cursors, strict=True)]


def same(found: object, wanted: object, what: str) -> None:
    """Raise `AssertionError` unless both are equal."""
    if found != wanted:
        raise AssertionError(f"{what}:\n  found    {found!r}\n  expected {wanted!r}")


def folded(entries: Iterable[Entry], through: int, limit: int | None = None) -> Snapshot:
    """What was said up to and including an offset, held within `limit`."""
    folder = Folder(limit)
    for entry in entries:
        if entry.last > through:
            break
        folder.add(entry)
    return folder.snapshot()


def tell(dialect: Dialect, view: View, encoder: TransportEncoder[Any], entries: Iterable[Entry]) -> Recorder:
    """A run told from the beginning to one reader."""
    recorder = Recorder(encoder)
    Stream(dialect.renderer(view), recorder, run=view.run, epoch=EPOCH).feed(list(entries))
    return recorder


def tell_rest(
    dialect: Dialect,
    view: View,
    encoder: TransportEncoder[Any],
    entries: Sequence[Entry],
    cursor: Cursor,
    *,
    limit: int | None = None,
) -> Recorder:
    """What a reader gets that comes back with `cursor`."""
    recorder = Recorder(encoder)
    renderer = dialect.renderer(view)
    renderer.prime(folded(entries, cursor.whole, limit))
    stream = Stream(renderer, recorder, run=view.run, epoch=EPOCH, skip=cursor.frame)
    stream.feed([entry for entry in entries if entry.first > cursor.whole])
    return recorder


def check_resume(
    dialect: Dialect, view: View, encoder: Encoders, entries: Sequence[Entry], *, limit: int | None = None
) -> None:
    """For every id that was sent, what follows from a resumed encoder is the tail of the uninterrupted one, byte for byte.

    Only a sentinel may go without an id: whoever has the last id has the whole answer.
    """
    whole = tell(dialect, view, encoder(), entries)
    positions = []
    for index, text in enumerate(whole.cursors):
        if not text:
            same((whole.frames[index].sentinel, index), (True, len(whole.cursors) - 1), "what may go without an id")
            continue
        cursor = parse_cursor(text)
        positions.append((cursor.whole, cursor.frame))
        if cursor.offset == entries[-1].last and not cursor.frame:
            continue  # everything was received: such a reader is answered that there is no more
        rest = tell_rest(dialect, view, encoder(), entries, cursor, limit=limit)
        same(rest.wires, whole.wires[index + 1 :], f"resumed after {text}")
        same(rest.cursors, whole.cursors[index + 1 :], f"ids after {text}")
    same(positions, sorted(set(positions)), "ids that only grow")


def check_merged_resume(
    dialect: Dialect, view: View, encoder: Encoders, batches: Sequence[Sequence[Entry]], read: Read
) -> None:
    """A reader that fell behind and was sent merged deltas comes back with any of its ids and has the same answer."""
    entries = [entry for batch in batches for entry in batch]
    complete = read(tell(dialect, view, encoder(), entries).received())
    merged = tell(dialect, view, encoder(), [entry for batch in batches for entry in coalesce(batch)])
    for index, text in enumerate(merged.cursors):
        if not text or text.endswith(f":{entries[-1].last}"):
            continue
        rest = tell_rest(dialect, view, encoder(), entries, parse_cursor(text))
        same(read(merged.received()[: index + 1] + rest.received()), complete, f"merged, then resumed after {text}")


def check_coalesce(dialect: Dialect, view: View, batches: Sequence[Sequence[Entry]], read: Read) -> None:
    """Merging changes how many frames there are, never what they add up to."""
    plain, merged = dialect.renderer(view), dialect.renderer(view)
    one_by_one = [expected(frame, "") for batch in batches for entry in batch for frame in plain.render(entry)]
    at_once = [expected(frame, "") for batch in batches for entry in coalesce(batch) for frame in merged.render(entry)]
    same(read(at_once), read(one_by_one), "what merged frames add up to")
    if len(at_once) > len(one_by_one):
        raise AssertionError(f"merging made {len(at_once)} frames of {len(one_by_one)}")


def check_rejoin(dialect: Dialect, view: View, entries: Sequence[Entry], read: Read) -> None:
    """A fresh reader that joins anywhere, and is told what was said before, has the same parts and the same ending."""
    told = dialect.renderer(view)
    complete = read([expected(frame, "") for entry in entries for frame in told.render(entry)])
    for joint in range(len(entries)):
        renderer = dialect.renderer(view)
        renderer.prime(folded(entries, joint))
        frames = [*renderer.rejoin(), *(frame for entry in entries[joint:] for frame in renderer.render(entry))]
        reading = read([expected(frame, "") for frame in frames])
        said = {name: (part.key, part.text, part.data) for name, part in reading.parts.items()}
        wanted = {name: (part.key, part.text, part.data) for name, part in complete.parts.items()}
        same(said, wanted, f"parts of a reader that joined after {joint}")
        same(reading.ending, complete.ending, f"the ending for a reader that joined after {joint}")


def check_reopen(dialect: Dialect, view: View, entries: Sequence[Entry], read: Read) -> None:
    """A client with a new parser that comes back anywhere is told a legal stream, with the words it lacks and no others."""
    told = dialect.renderer(view)
    complete = read([expected(frame, "") for entry in entries for frame in told.render(entry)])
    for joint in range(1, len(entries)):
        renderer = dialect.renderer(view)
        renderer.prime(folded(entries, joint))
        frames = [*renderer.reopen(), *(frame for entry in entries[joint:] for frame in renderer.render(entry))]
        reading = read([expected(frame, "") for frame in frames])
        same(reading.ending, complete.ending, f"the ending for a new parser after {joint}")
        told_before = dialect.renderer(view)
        before = read([expected(frame, "") for entry in entries[:joint] for frame in told_before.render(entry)])
        words = before.words() + reading.words()
        same(sorted(words), sorted(complete.words()), f"the words before {joint} and after it")


def check_shape(dialect: Dialect, view: View, entries: Sequence[Entry]) -> None:
    """Frames are what encoders take: one JSON object on one line, with room for a cursor; a delta has one frame at most."""
    renderer = dialect.renderer(view)
    for entry in entries:
        frames = renderer.render(entry)
        if isinstance(entry.event, Delta) and len(frames) > 1:
            raise AssertionError(f"{len(frames)} frames for one delta")
        for frame in frames:
            _check_frame(dialect, view, frame, entry.event, last=frame is frames[-1])


def _check_frame(dialect: Dialect, view: View, frame: Frame, event: Event, *, last: bool) -> None:
    if not view.bare and frame.part < 0 and (b"\n" in frame.data or b"\r" in frame.data):
        raise AssertionError(f"a line break within {frame.data!r}")
    if frame.sentinel:
        if not view.sentinel or not last or not isinstance(event, TERMINAL):
            raise AssertionError(f"{frame.data!r} is out of place")
    elif frame.part >= 0:
        if not view.binary:
            raise AssertionError("bytes for a transport that has none")
    elif view.bare:
        frame.data.decode()
    else:
        value = json.loads(frame.data)
        if not isinstance(value, dict) or not value or frame.data[-1:] != b"}":
            raise AssertionError(f"{frame.data!r} is not a JSON object with members")
        if taken := {dialect.traits.cursor_key, "stream"} & value.keys():
            raise AssertionError(f"{frame.data!r} has {taken}, which the transports add")


def check_whole(dialect: Dialect, view: View, entries: Sequence[Entry]) -> dict[str, Any]:
    """The answer to `stream: false` is one JSON object. Returns it."""
    value = json.loads(dialect.whole(folded(entries, len(entries)), view))
    if not isinstance(value, dict):
        raise AssertionError(f"{value!r} is not an object")
    return value


def check_refusal(dialect: Dialect, body: bytes) -> ChatRequest | None:
    """Any bytes are a `ChatRequest` or `Refused`, nothing else. Returns the request, if it is one."""
    try:
        request = dialect.parse(body)
    except Refused as refused:
        if TABLE[refused.fault.code].blame != "client":
            raise AssertionError(f"a body cannot be the fault of anyone but the client: {refused.fault}") from None
        value = json.loads(dialect.refuse(refused.fault, "req_1"))
        if not isinstance(value, dict) or refused.fault.message not in _words(value):
            raise AssertionError(f"{value!r} does not tell what was wrong") from None
        return None
    same(type(request), ChatRequest, "what a body is read as")
    if not request.messages:
        raise AssertionError("a request without a message")
    return request


def _words(value: Any) -> list[str]:
    """Every text within a JSON value."""
    if isinstance(value, dict):
        return [word for inner in value.values() for word in _words(inner)]
    return [value] if isinstance(value, str) else []


def check_every_fault(dialect: Dialect) -> None:
    """Every error of the table can be told."""
    for code, row in TABLE.items():
        value = dialect.refuse(fault(code), "req_1")
        if row.meaning not in value.decode():
            raise AssertionError(f"{value!r} does not say {row.meaning!r}")
